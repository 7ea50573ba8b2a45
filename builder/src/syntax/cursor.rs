//! A position inside one logical line, from which keywords, arguments and errors are taken.

use super::SyntaxError;
use super::lines::Logical;

/// What is left of a logical line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    pub line: &'a Logical,
    pub escape: char,
    /// Byte offset where the rest starts.
    pub at: usize,
}

/// A piece of a logical line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub at: usize,
    pub text: &'a str,
}

impl<'a> Cursor<'a> {
    pub fn new(line: &'a Logical, escape: char) -> Self {
        Self { line, escape, at: 0 }.skip_blanks()
    }

    /// The text from here on.
    pub fn rest(&self) -> &'a str {
        &self.line.text[self.at..]
    }

    /// The word here, up to the next white space.
    pub fn keyword(&self) -> Piece<'a> {
        let rest = self.rest();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        Piece { at: self.at, text: &rest[..end] }
    }

    /// The cursor after some bytes and the white space that follows them.
    pub fn after(self, bytes: usize) -> Self {
        Self { at: self.at + bytes, ..self }.skip_blanks()
    }

    /// An error about a piece of the line.
    pub fn error(&self, piece: Piece<'_>, message: impl Into<String>) -> SyntaxError {
        self.line.error(piece.at, piece.text.chars().count().max(1), message)
    }

    /// An error about everything from here on.
    pub fn error_here(&self, message: impl Into<String>) -> SyntaxError {
        self.error(Piece { at: self.at, text: self.rest() }, message)
    }

    fn skip_blanks(self) -> Self {
        let rest = self.rest();
        Self { at: self.at + rest.len() - rest.trim_start().len(), ..self }
    }
}
