//! The only place that writes to the terminal: text for people, bytes for pipes, and listings in Docker's shapes.
//!
//! What a command has to say goes to standard output through [`line()`] or [`raw`]; what went wrong goes to standard error
//! through [`error`] or [`warn`]. A closed pipe is not a failure worth a message: it surfaces as [`Closed`].

pub mod human;
pub mod json;
pub mod listing;
pub mod table;

use std::io::{ErrorKind, IsTerminal, Write};

/// The reader of standard output has gone.
#[derive(Debug)]
pub struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for Closed {}

/// Writes text and a newline to standard output.
pub fn line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    raw(format!("{text}\n").as_bytes())
}

/// Writes bytes to standard output, unchanged and at once.
pub fn raw(bytes: &[u8]) -> anyhow::Result<()> {
    write(&mut std::io::stdout().lock(), bytes, "standard output")
}

/// Writes bytes to standard error, unchanged and at once.
pub fn raw_error(bytes: &[u8]) -> anyhow::Result<()> {
    write(&mut std::io::stderr().lock(), bytes, "standard error")
}

/// Writes a line for a person to standard error. When nobody reads it there is nobody to tell.
pub fn warn(text: impl std::fmt::Display) {
    let _ = raw_error(format!("{text}\n").as_bytes());
}

/// Prints an error: its message with the causes behind it, then the remedies.
pub fn error(failure: &anyhow::Error) {
    let red = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let head = if red { "\x1b[31mError:\x1b[0m" } else { "Error:" };
    warn(format!("{head} {}", crate::failure::chain(failure)));
    for hint in crate::failure::hints(failure) {
        warn(format!("hint: {hint}"));
    }
}

fn write(stream: &mut dyn Write, bytes: &[u8], name: &str) -> anyhow::Result<()> {
    match stream.write_all(bytes).and_then(|()| stream.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(error) => Err(anyhow::Error::new(error).context(format!("cannot write to {name}"))),
    }
}
