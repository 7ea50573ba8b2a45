//! Physical lines to logical ones: directives, comments, continuations and heredocs, with the way back to the source.

use super::SyntaxError;
use super::ast::{Directives, Position, Warning};
use super::heredoc::{self, Heredoc};

/// One instruction's text on one line, and where its pieces came from.
#[derive(Debug, Clone)]
pub(crate) struct Logical {
    /// The text without continuations and comments.
    pub text: String,
    /// The heredocs that followed it.
    pub heredocs: Vec<Heredoc>,
    /// The last physical line.
    pub end_line: usize,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
struct Piece {
    /// Byte offset in the logical text.
    at: usize,
    start: Position,
}

impl Logical {
    /// The place in the source of a byte of the logical text.
    pub fn position(&self, at: usize) -> Position {
        let piece = self.pieces.iter().rev().find(|piece| piece.at <= at).or(self.pieces.first());
        let Some(piece) = piece else { return Position { line: self.end_line, column: 1 } };
        let columns = self.text.get(piece.at..at).map_or(0, |text| text.chars().count());
        Position { line: piece.start.line, column: piece.start.column + columns }
    }

    /// An error about `width` characters from a byte of the logical text.
    pub fn error(&self, at: usize, width: usize, message: impl Into<String>) -> SyntaxError {
        SyntaxError { position: self.position(at), width, message: message.into() }
    }
}

/// Everything a Dockerfile's text says before words are looked at.
#[derive(Debug)]
pub(crate) struct Document {
    pub directives: Directives,
    pub lines: Vec<Logical>,
    pub warnings: Vec<Warning>,
}

/// Splits the text into logical lines.
pub(crate) fn read(text: &str) -> Result<Document, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let physical: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    if let Some((index, line)) = physical.iter().enumerate().find(|(_, line)| line.contains('\0')) {
        let column = line.chars().take_while(|c| *c != '\0').count() + 1;
        let position = Position { line: index + 1, column };
        return Err(SyntaxError { position, width: 1, message: "a NUL byte does not belong in a Dockerfile".into() });
    }
    let directives = directives(&physical)?;
    let mut document = Document { directives, lines: Vec::new(), warnings: Vec::new() };
    let mut next = 0;
    while next < physical.len() {
        if physical[next].trim().is_empty() || is_comment(physical[next]) {
            next += 1;
            continue;
        }
        let line = logical(&physical, &mut next, &mut document)?;
        if !line.text.trim().is_empty() {
            document.lines.push(line);
        }
    }
    Ok(document)
}

fn directives(physical: &[&str]) -> Result<Directives, SyntaxError> {
    let mut found = Directives::default();
    let mut escape_seen = false;
    for (index, line) in physical.iter().enumerate() {
        let Some((key, value)) = directive(line) else { break };
        let key = key.to_ascii_lowercase();
        let error = |message: String| SyntaxError {
            position: Position { line: index + 1, column: 1 },
            width: line.chars().count(),
            message,
        };
        let twice = match key.as_str() {
            "syntax" => found.syntax.replace(value.to_owned()).is_some(),
            "check" => found.check.replace(value.to_owned()).is_some(),
            "escape" => {
                found.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => return Err(error(format!("invalid escape `{value}`: it must be a backslash or a backtick"))),
                };
                std::mem::replace(&mut escape_seen, true)
            }
            _ => break,
        };
        if twice {
            return Err(error(format!("only one `{key}` parser directive can be used")));
        }
    }
    Ok(found)
}

/// `# key = value`, where the key is a word of ASCII letters and digits.
fn directive(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let word = key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    (word && !value.is_empty()).then_some((key, value))
}

fn logical(physical: &[&str], next: &mut usize, document: &mut Document) -> Result<Logical, SyntaxError> {
    let escape = document.directives.escape;
    let mut line = Logical { text: String::new(), heredocs: Vec::new(), end_line: 0, pieces: Vec::new() };
    let mut first = true;
    while *next < physical.len() {
        let raw = physical[*next];
        *next += 1;
        line.end_line = *next;
        if !first && is_comment(raw) {
            continue;
        }
        if !first && raw.trim().is_empty() {
            let text = "NoEmptyContinuation: an empty line inside a continued instruction".into();
            document.warnings.push(Warning { line: *next, text });
            continue;
        }
        let shown = if first { raw.trim_start() } else { raw };
        let column = raw.chars().count() - shown.chars().count() + 1;
        let (kept, continues) = continuation(shown, escape);
        line.pieces.push(Piece { at: line.text.len(), start: Position { line: *next, column } });
        line.text.push_str(kept);
        first = false;
        if !continues {
            break;
        }
    }
    line.text.truncate(line.text.trim_end().len());
    if takes_heredocs(&line.text) {
        line.heredocs = heredoc::announced(&line.text, escape);
        for document in &mut line.heredocs {
            read_heredoc(document, physical, next, line.end_line)?;
        }
        line.end_line = *next;
    }
    line.end_line = line.end_line.min(physical.len());
    Ok(line)
}

/// The line without its continuation character, and whether it had one: an escape character, alone or after
/// something other than another one, followed by nothing but blanks.
fn continuation(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(kept) if !kept.ends_with(escape) => (kept, true),
        _ => (line, false),
    }
}

fn takes_heredocs(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let mut word = words.next().unwrap_or_default();
    if word.eq_ignore_ascii_case("onbuild") {
        word = words.next().unwrap_or_default();
    }
    ["add", "copy", "run"].iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

fn read_heredoc(
    document: &mut Heredoc,
    physical: &[&str],
    next: &mut usize,
    announced: usize,
) -> Result<(), SyntaxError> {
    loop {
        let Some(line) = physical.get(*next) else {
            return Err(SyntaxError {
                position: Position { line: announced, column: 1 },
                width: physical[announced - 1].chars().count(),
                message: format!("unterminated heredoc: no line says `{}`", document.name),
            });
        };
        *next += 1;
        if document.ends_with(line) {
            return Ok(());
        }
        document.text.push_str(line);
        document.text.push('\n');
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}
