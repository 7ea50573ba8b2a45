//! Listings: rows of named fields in a table, through a template, as JSON, or as bare IDs.

use serde_json::{Map, Value as Json};

use super::table;
use crate::template::{Piece, Template, TemplateError, Value};

/// What a listing can show.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// Every field a template may name, with its heading.
    pub headings: &'static [(&'static str, &'static str)],
    /// The template of the plain table, without the word `table`.
    pub table: &'static str,
    /// The template of `-q`.
    pub quiet: &'static str,
}

/// How a person wants to see a listing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style<'a> {
    /// `--format`.
    pub format: Option<&'a str>,
    /// `-q`.
    pub quiet: bool,
}

/// Which fields of rows are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Possibly every one.
    All,
    /// These.
    Named(Vec<String>),
}

impl Shown {
    /// True when somebody looks at the field.
    pub fn has(&self, field: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == field),
        }
    }
}

/// The fields that [`render`] will look at, so that rows of long listings hold no others.
pub fn shown(columns: &Columns, style: Style<'_>) -> Shown {
    let template = match style.format {
        None | Some("table") if style.quiet => columns.quiet,
        None => columns.table,
        Some(format) => match format.strip_prefix("table") {
            Some(cells) if cells.trim().is_empty() => columns.table,
            Some(cells) => cells,
            // The word `json` is a template without fields.
            None if format == "json" => return Shown::All,
            None => format,
        },
    };
    match Template::parse(template).as_ref().map(Template::fields) {
        Ok(Some(fields)) => Shown::Named(fields.into_iter().map(str::to_owned).collect()),
        // What is wrong with a template is said when it is rendered.
        Ok(None) | Err(_) => Shown::All,
    }
}

/// Leaves what was listed to the end of the process, which is near: taking a thousand records apart again, string by string,
/// is a tenth of the time of a listing.
pub fn leave<T>(listed: T) {
    std::mem::forget(listed);
}

/// Renders rows.
pub fn render(columns: &Columns, style: Style<'_>, rows: &[Map<String, Json>]) -> Result<String, TemplateError> {
    if style.quiet && matches!(style.format, None | Some("table")) {
        return lines(columns, columns.quiet, rows);
    }
    let format = style.format.unwrap_or("table");
    if matches!(format, "json" | "{{json .}}" | "{{ json . }}") {
        // `Label` is Docker's method, not a field.
        let fields = |row: &Map<String, Json>| {
            row.iter().filter(|(name, _)| *name != "Label").map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        return lines(columns, "{{json .}}", &rows.iter().map(fields).collect::<Vec<_>>());
    }
    // Shells do not make tabs of `\t`, so Docker does.
    let format = format.replace("\\t", "\t").replace("\\n", "\n");
    let Some(cells) = format.strip_prefix("table") else {
        return lines(columns, &format, rows);
    };
    let cells = if cells.trim().is_empty() { columns.table } else { cells.trim() };
    let template = Template::parse(cells)?;
    let headings: Map<String, Json> =
        columns.headings.iter().map(|(field, heading)| ((*field).to_owned(), (*heading).into())).collect();
    let mut text = template.render_headings(&Value::from_json(&headings.into()))?;
    text.push('\n');
    text.push_str(&lines(columns, cells, rows)?);
    Ok(table::align(&text))
}

fn lines(columns: &Columns, template: &str, rows: &[Map<String, Json>]) -> Result<String, TemplateError> {
    let template = Template::parse(template)?;
    if rows.is_empty() {
        // A wrong field is an error even when there is nothing to list.
        let headings: Map<String, Json> =
            columns.headings.iter().map(|(field, heading)| ((*field).to_owned(), (*heading).into())).collect();
        template.render_headings(&Value::from_json(&headings.into()))?;
    }
    let mut out = String::new();
    let pieces = template.pieces();
    for row in rows {
        if !pieces.as_ref().is_some_and(|pieces| fill(pieces, row, &mut out)) {
            out.push_str(&template.render(&Value::from_fields(row))?);
        }
        out.push('\n');
    }
    Ok(out)
}

/// Writes text and fields out as they are; false, and nothing is written, where a field is no text or is missing.
fn fill(pieces: &[Piece<'_>], row: &Map<String, Json>, out: &mut String) -> bool {
    let begin = out.len();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Field(name) => match row.get(*name) {
                Some(Json::String(text)) => out.push_str(text),
                _ => {
                    out.truncate(begin);
                    return false;
                }
            },
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: Columns = Columns {
        headings: &[("ID", "IMAGE ID"), ("Repository", "REPOSITORY"), ("Size", "SIZE")],
        table: "{{.Repository}}\t{{.ID}}\t{{.Size}}",
        quiet: "{{.ID}}",
    };

    fn rows() -> Vec<Map<String, Json>> {
        [
            json!({"ID": "aaa", "Repository": "busybox", "Size": "1MB"}),
            json!({"ID": "bbb", "Repository": "a/very/long/name", "Size": "2MB"}),
        ]
        .into_iter()
        .filter_map(|row| row.as_object().cloned())
        .collect()
    }

    #[test]
    fn every_style() {
        let cases: &[(Option<&str>, bool, &str)] = &[
            (
                None,
                false,
                "REPOSITORY         IMAGE ID   SIZE\nbusybox            aaa        1MB\na/very/long/name   bbb        2MB\n",
            ),
            (
                Some("table"),
                false,
                "REPOSITORY         IMAGE ID   SIZE\nbusybox            aaa        1MB\na/very/long/name   bbb        2MB\n",
            ),
            (None, true, "aaa\nbbb\n"),
            (Some("table"), true, "aaa\nbbb\n"),
            (Some("table {{.ID}}\\t{{.Size}}"), false, "IMAGE ID   SIZE\naaa        1MB\nbbb        2MB\n"),
            (Some("{{.ID}}:{{.Size}}"), false, "aaa:1MB\nbbb:2MB\n"),
            (Some("{{upper .ID}}\\t."), false, "AAA\t.\nBBB\t.\n"),
            (Some("table {{upper .ID}}"), false, "IMAGE ID\nAAA\nBBB\n"),
            (
                Some("json"),
                false,
                "{\"ID\":\"aaa\",\"Repository\":\"busybox\",\"Size\":\"1MB\"}\n{\"ID\":\"bbb\",\"Repository\":\"a/very/long/name\",\"Size\":\"2MB\"}\n",
            ),
        ];
        for (format, quiet, expected) in cases {
            let text = render(&COLUMNS, Style { format: *format, quiet: *quiet }, &rows());
            assert_eq!(text.as_deref(), Ok(*expected), "{format:?} {quiet}");
        }
    }

    #[test]
    fn the_fields_that_are_shown() {
        let named = |names: &[&str]| Shown::Named(names.iter().map(|name| (*name).to_owned()).collect());
        let cases: &[(Option<&str>, bool, Shown)] = &[
            (None, false, named(&["ID", "Repository", "Size"])),
            (Some("table"), false, named(&["ID", "Repository", "Size"])),
            (None, true, named(&["ID"])),
            (Some("table"), true, named(&["ID"])),
            (Some("{{.Size}}"), true, named(&["Size"])),
            (Some("table {{.Size}}\\t{{upper .ID}}"), false, named(&["ID", "Size"])),
            (Some("json"), false, Shown::All),
            (Some("json"), true, Shown::All),
            (Some("{{json .}}"), false, Shown::All),
            (Some("{{.Size"), false, Shown::All),
        ];
        for (format, quiet, expected) in cases {
            assert_eq!(shown(&COLUMNS, Style { format: *format, quiet: *quiet }), *expected, "{format:?} {quiet}");
        }
    }

    #[test]
    fn fields_that_are_no_text_are_evaluated() {
        let row = json!({"ID": 7, "Repository": null, "Size": "1MB"}).as_object().cloned().unwrap_or_default();
        let style = Style { format: Some("{{.Size}} {{.ID}} {{.Repository}}"), quiet: false };
        assert_eq!(render(&COLUMNS, style, std::slice::from_ref(&row)).as_deref(), Ok("1MB 7 <no value>\n"));
        let wrong = Style { format: Some("{{.Size}} {{.Nope}}"), quiet: false };
        assert!(render(&COLUMNS, wrong, &[row]).is_err());
    }

    #[test]
    fn nothing_to_list_still_has_headings_and_still_checks_the_template() {
        let style = Style::default();
        assert_eq!(render(&COLUMNS, style, &[]).as_deref(), Ok("REPOSITORY   IMAGE ID   SIZE\n"));
        let wrong = Style { format: Some("{{.Nope}}"), quiet: false };
        let error = render(&COLUMNS, wrong, &[]).expect_err("an unknown field");
        assert!(error.to_string().contains("<.Nope>"), "{error}");
    }
}
