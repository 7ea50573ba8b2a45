//! `top`.

use crate::args::top::Top;
use crate::context::Context;
use crate::output;

/// The width of a column in Docker's listing, and the space behind its widest cell.
const WIDTH: usize = 20;
const PADDING: usize = 3;

/// `top`.
pub(super) async fn run(context: &Context, args: &Top) -> anyhow::Result<()> {
    let Some((container, options)) = args.words.split_first() else {
        anyhow::bail!("no container was named");
    };
    let processes = context.engine()?.top(container, options).await?;
    output::raw(table(&processes.titles, &processes.rows).as_bytes())
}

fn table(titles: &[String], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..titles.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).chain(titles.get(column));
            cells.map(|cell| cell.chars().count() + PADDING).max().unwrap_or(0).max(WIDTH)
        })
        .collect();
    let mut out = String::new();
    for row in std::iter::once(titles).chain(rows.iter().map(Vec::as_slice)) {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            out.push_str(cell);
            if at + 1 < row.len() {
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_dockers() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let text = table(&words("PID CMD"), &[words("7 sleep"), words("123456789012345678901 x")]);
        assert_eq!(text, "PID                     CMD\n7                       sleep\n123456789012345678901   x\n");
    }
}
