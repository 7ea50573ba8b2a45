//! Listings: rows of named fields in a table, through a template, as JSON, or as bare IDs.

use serde_json::{Map, Value as Json};

use super::table;
use crate::template::{Template, TemplateError, Value};

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
    for row in rows {
        out.push_str(&template.render(&Value::from_json(&Json::Object(row.clone())))?);
        out.push('\n');
    }
    Ok(out)
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
    fn nothing_to_list_still_has_headings_and_still_checks_the_template() {
        let style = Style::default();
        assert_eq!(render(&COLUMNS, style, &[]).as_deref(), Ok("REPOSITORY   IMAGE ID   SIZE\n"));
        let wrong = Style { format: Some("{{.Nope}}"), quiet: false };
        let error = render(&COLUMNS, wrong, &[]).expect_err("an unknown field");
        assert!(error.to_string().contains("<.Nope>"), "{error}");
    }
}
