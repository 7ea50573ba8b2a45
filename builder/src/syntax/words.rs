//! The three ways in which arguments are cut into words: at white space, with quotes and escapes, and as JSON.

use super::cursor::{Cursor, Piece};

/// Cuts at white space; quotes mean nothing. `FROM`, `EXPOSE`, `COPY`, `ADD` and `VOLUME` read their words so.
pub(crate) fn plain<'a>(cursor: &Cursor<'a>) -> Vec<Piece<'a>> {
    let mut words = Vec::new();
    let mut here = *cursor;
    while !here.rest().is_empty() {
        let word = here.keyword();
        words.push(word);
        here = here.after(word.text.len());
    }
    words
}

/// Cuts at white space outside quotes; quotes and escapes stay. `ENV`, `LABEL` and `ARG` read their words so.
pub(crate) fn quoted<'a>(cursor: &Cursor<'a>) -> Vec<Piece<'a>> {
    let mut words = Vec::new();
    let mut here = *cursor;
    while !here.rest().is_empty() {
        let rest = here.rest();
        let word = &rest[..quoted_end(rest, here.escape)];
        words.push(Piece { at: here.at, text: word });
        here = here.after(word.len());
    }
    words
}

/// The JSON form: an array of strings and nothing else. Anything else is not the JSON form, which is no error.
pub(crate) fn json(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

fn quoted_end(text: &str, escape: char) -> usize {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return at,
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(q) if c == q => quote = None,
            Some('\'') => {}
            _ if c == escape => {
                chars.next();
            }
            _ => {}
        }
    }
    text.len()
}
