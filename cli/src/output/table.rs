//! Columns of text, laid out as Docker's tab writer does.

/// The least width of a column, its padding included.
const MIN_WIDTH: usize = 10;
/// Spaces between a column and the next.
const PADDING: usize = 3;

/// Lays out lines whose cells are separated by tabs. A cell belongs to a column only when a tab follows it, so the last
/// cell of a line is never padded.
pub fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = lines.iter().filter(|cells| column + 1 < cells.len());
            let widest = cells.map(|cells| cells[column].chars().count()).max().unwrap_or(0);
            if widest == 0 { 0 } else { (widest + PADDING).max(MIN_WIDTH) }
        })
        .collect();
    let mut out = String::with_capacity(text.len() * 2);
    for cells in &lines {
        for (column, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < cells.len() {
                let missing = widths[column].saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', missing));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let cases = [
            ("", ""),
            ("A\n", "A\n"),
            ("A\tB\n1\t2\n", "A         B\n1         2\n"),
            (
                "CONTAINER ID\tIMAGE\tX\nabc\tsomething/long:1\ty\n",
                "CONTAINER ID   IMAGE              X\nabc            something/long:1   y\n",
            ),
            ("é\tB\n", "é         B\n"),
            ("A\t\tB\n1\t\t2\n", "A         B\n1         2\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(align(text), expected, "{text:?}");
        }
    }
}
