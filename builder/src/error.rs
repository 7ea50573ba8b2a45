//! What can go wrong in a build, and the lines that show a person where.

use std::fmt;

use mica_engine::{Error as EngineError, Kind};

use crate::syntax::SyntaxError;
use crate::syntax::ast::{Position, Span};

/// The builder's result.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A build that failed: what happened, and the line of the Dockerfile that asked for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A line of the Dockerfile is wrong, or what it asks for failed.
    #[error("{place}: {fault}{}", place.snippet())]
    At {
        /// The line.
        place: Box<Place>,
        /// What happened.
        fault: Fault,
    },
    /// The request itself is wrong.
    #[error("{0}")]
    Request(Fault),
}

/// What happened, wherever it did.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The text, a value or a name is wrong; the message says which and why.
    #[error("{0}")]
    Invalid(String),
    /// The language has it and this builder does not.
    #[error("{0} is not supported yet")]
    Unsupported(String),
    /// A RUN step's program ended with a status other than 0.
    #[error("process {command:?} did not complete successfully: exit code: {status}")]
    Exit {
        /// The argument vector, joined by spaces.
        command: String,
        /// Its status.
        status: i32,
    },
    /// Files could not be read or written.
    #[error("cannot {operation} `{path}`")]
    Files {
        /// The verb.
        operation: &'static str,
        /// The path in its own root.
        path: String,
        /// The layer crate's answer.
        #[source]
        source: mica_layer::Error,
    },
    /// The engine refused or failed.
    #[error("{0}")]
    Host(Box<EngineError>),
}

impl Fault {
    /// Puts the fault at an instruction.
    pub(crate) fn at(self, source: &Source<'_>, span: Span) -> Error {
        Error::At { place: Box::new(source.place(span.start, span.width)), fault: self }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        Self::Host(Box::new(error))
    }
}

impl From<crate::expand::ExpandError> for Fault {
    fn from(error: crate::expand::ExpandError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        let kind = match error.fault() {
            Fault::Invalid(_) | Fault::Exit { .. } => Kind::InvalidInput,
            Fault::Unsupported(_) => Kind::Unsupported,
            Fault::Files { source, .. } => of_files(source.kind()),
            Fault::Host(host) => host.kind(),
        };
        let message = error.to_string();
        let (place, fault) = match error {
            Error::At { place, fault } => (Some(place), fault),
            Error::Request(fault) => (None, fault),
        };
        match (place, fault) {
            (None, Fault::Host(host)) => *host,
            (Some(place), Fault::Host(host)) => match *host {
                // An adapter's error has no hint of its own, and the engine's remedy must not be lost.
                Self::Refused { hint, .. } => Self::Refused { kind, message, hint },
                host => {
                    let context = format!("{place}: the step failed{}", place.snippet());
                    Self::Adapter { kind, context, source: Box::new(host) }
                }
            },
            (_, Fault::Files { source, .. }) => Self::Adapter { kind, context: message, source: Box::new(source) },
            _ => Self::Refused { kind, message, hint: None },
        }
    }
}

impl Error {
    fn fault(&self) -> &Fault {
        match self {
            Self::At { fault, .. } | Self::Request(fault) => fault,
        }
    }
}

fn of_files(kind: mica_layer::ErrorKind) -> Kind {
    use mica_layer::ErrorKind;
    match kind {
        ErrorKind::InvalidInput => Kind::InvalidInput,
        ErrorKind::Corrupt => Kind::Corrupt,
        ErrorKind::Unsupported => Kind::Unsupported,
        ErrorKind::NotFound => Kind::NotFound,
        ErrorKind::Denied => Kind::Denied,
        ErrorKind::NoSpace => Kind::NoSpace,
        _ => Kind::Internal,
    }
}

/// A Dockerfile's name and text, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    /// The error of a text that does not parse.
    pub fn syntax(&self, error: SyntaxError) -> Error {
        let place = Box::new(self.place(error.position, error.width));
        Error::At { place, fault: Fault::Invalid(error.message) }
    }

    fn place(&self, position: Position, width: usize) -> Place {
        let line = self.text.lines().nth(position.line.saturating_sub(1)).unwrap_or_default();
        Place { file: self.name.to_owned(), position, width, line: line.trim_end_matches('\r').to_owned() }
    }
}

/// Where in a Dockerfile something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as messages show it.
    pub file: String,
    /// Line and column.
    pub position: Position,
    /// How many characters it concerns.
    pub width: usize,
    /// The source line.
    pub line: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.position.line)
    }
}

impl Place {
    /// The source line with a caret below what is meant; long lines are cut around it.
    fn snippet(&self) -> String {
        const MAX: usize = 120;
        let chars: Vec<char> = self.line.chars().collect();
        let from = self.position.column.saturating_sub(1).min(chars.len());
        let start = from.saturating_sub(MAX / 2) * usize::from(chars.len() > MAX);
        let shown = &chars[start..chars.len().min(start + MAX)];
        let width = self.width.clamp(1, shown.len().saturating_sub(from - start).max(1));
        // A tab moves the caret as far as it moves the text above it.
        let pad: String = chars[start..from].iter().map(|c| if *c == '\t' { '\t' } else { ' ' }).collect();
        let number = self.position.line.to_string();
        let gutter = " ".repeat(number.len());
        let shown: String = shown.iter().collect();
        format!("\n{number} | {shown}\n{gutter} | {pad}{}", "^".repeat(width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_the_line_and_a_caret() {
        let table = [
            (
                "FROM a\nCPY x y\n",
                "Dockerfile:2: unknown instruction `CPY` (did you mean `COPY`?)\n2 | CPY x y\n  | ^^^",
            ),
            (
                "FROM a\n\tENV A=1 \\\n\t\tB\n",
                "Dockerfile:3: no `=` in `B`: `ENV` takes `name=value`\n3 | \t\tB\n  | \t\t^",
            ),
        ];
        for (text, expected) in table {
            let source = Source { name: "Dockerfile", text };
            let error = source.syntax(crate::syntax::parse(text).unwrap_err());
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn long_lines_are_cut_around_the_caret() {
        let text = format!("FROM a\nENV {} B", "A=1 ".repeat(100_000));
        let source = Source { name: "D", text: &text };
        let message = source.syntax(crate::syntax::parse(&text).unwrap_err()).to_string();
        assert!(message.len() < 400, "{}", message.len());
        assert!(message.ends_with('^'), "{message}");
    }
}
