//! The table of a security run: what was expected, what was found.

use anyhow::{Result, ensure};

use crate::output;

/// Widest value shown.
const WIDTH: usize = 58;

/// All rows so far.
#[derive(Debug, Default)]
pub struct Report {
    rows: usize,
    failed: Vec<String>,
}

impl Report {
    /// A row whose two sides must be equal.
    pub fn equal(&mut self, item: &str, expected: impl Into<String>, found: impl Into<String>) {
        let (expected, found) = (expected.into(), found.into());
        let outcome = if expected == found { Ok(found) } else { Err(found) };
        self.outcome(item, &expected, outcome);
    }

    /// A row about something that holds (`Ok`) or does not, with what was found.
    pub fn outcome(&mut self, item: &str, expected: &str, found: Result<String, String>) {
        self.rows += 1;
        let (mark, found) = match &found {
            Ok(found) => ("ok  ", found),
            Err(found) => {
                self.failed.push(item.to_owned());
                ("FAIL", found)
            }
        };
        output::line(format!("    {mark} {item:<44} {:<WIDTH$} {}", cut(expected), cut(found)));
    }

    /// The items that did not hold so far.
    #[cfg(test)]
    pub fn failed(&self) -> &[String] {
        &self.failed
    }

    /// The end: an error when a row failed.
    pub fn finish(self) -> Result<()> {
        output::line(format!("    {} items, {} failed", self.rows, self.failed.len()));
        ensure!(self.failed.is_empty(), "security items that do not hold: {}", self.failed.join(", "));
        Ok(())
    }
}

fn cut(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= WIDTH { line } else { line.chars().take(WIDTH - 1).chain(['…']).collect() }
}
