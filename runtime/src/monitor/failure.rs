//! Why something did not work, in the form in which it travels to the client: a kind and one line.

use std::error::Error;

use mica_engine::Kind;

/// A failure on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: Kind,
    pub message: String,
}

impl Failure {
    /// A failure whose message says everything.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// An internal failure with the whole chain of its causes, since only text crosses the socket.
    pub fn caused(context: impl Into<String>, source: &dyn Error) -> Self {
        let mut message = context.into();
        let mut cause = Some(source);
        while let Some(error) = cause {
            let text = error.to_string();
            // Some libraries repeat their cause in their own text.
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        Self { kind: Kind::Internal, message }
    }
}

/// Turns foreign errors into failures.
pub trait OrFail<T> {
    /// Adds what was being done.
    fn or_fail(self, context: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Error + 'static> OrFail<T> for Result<T, E> {
    fn or_fail(self, context: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::caused(context(), &error))
    }
}
