//! Go templates over JSON values: the language of `--format`, written by hand because scripts depend on its details.
//!
//! The three stages are pure functions: [`lexer`] cuts the text into tokens, [`parser`] makes a tree that is known to
//! name only existing functions and variables, [`eval`] renders it. `define`, `template` and `block` are refused: a
//! one-line format has no use for named templates.

mod ast;
mod eval;
mod functions;
mod lexer;
mod named;
mod parser;
mod printf;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeSet;

pub use printf::quote;
pub use value::Value;

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    text: String,
    nodes: Vec<ast::Node>,
}

/// A part of a template that needs no evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text copied as it is.
    Text(&'a str),
    /// A field of the dot.
    Field(&'a str),
}

/// Why a template could not be parsed or rendered, in the words of Go's `text/template`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError(String);

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "template parsing error: template: {}", self.0)
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Parses a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let tokens = lexer::tokens(text)?;
        let nodes = parser::parse(text, &tokens)?;
        Ok(Self { text: text.to_owned(), nodes })
    }

    /// The fields of the dot that it looks at; nothing when it may look at all of them.
    pub fn fields(&self) -> Option<BTreeSet<&str>> {
        let mut fields = BTreeSet::new();
        named::fields(&self.nodes, &mut fields).then_some(fields)
    }

    /// What it consists of, when that is nothing but text and fields of the dot.
    pub fn pieces(&self) -> Option<Vec<Piece<'_>>> {
        self.nodes.iter().map(named::piece).collect()
    }

    /// Renders the template with `data` as its dot.
    pub fn render(&self, data: &Value) -> Result<String, TemplateError> {
        eval::render(&self.text, &self.nodes, data, functions::Mode::Value)
    }

    /// Renders the line of headings of a `table` format: functions that change text return it as it is.
    pub fn render_headings(&self, headings: &Value) -> Result<String, TemplateError> {
        eval::render(&self.text, &self.nodes, headings, functions::Mode::Heading)
    }
}

/// Line and column (both from 1, in bytes as Go counts them) of an offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count();
    (line, column)
}

fn parse_error(text: &str, offset: usize, message: impl std::fmt::Display) -> TemplateError {
    let (line, _) = position(text, offset);
    TemplateError(format!(":{line}: {message}"))
}

fn exec_error(text: &str, at: &std::ops::Range<usize>, message: impl std::fmt::Display) -> TemplateError {
    let (line, column) = position(text, at.start);
    let node = text.get(at.clone()).unwrap_or_default();
    TemplateError(format!(":{line}:{column}: executing \"\" at <{node}>: {message}"))
}
