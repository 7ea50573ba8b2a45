//! How a case ends: nothing to say, a failure with its reason, or a skip with its reason.

use std::error::Error;

/// Why a case did not pass. Cases return it early through `?`.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The driver broke its contract.
    Fail(String),
    /// The driver does not claim what the case is about, or this machine cannot show it.
    Skip(String),
}

/// What a case returns.
pub(crate) type Outcome<T = ()> = Result<T, Stop>;

/// Says what was being done when something failed.
pub(crate) trait Context<T> {
    /// `what` reads like "open `a/b`".
    fn doing(self, what: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T, E: Error> Context<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|error| Stop::Fail(format!("{}: {}", what(), words(&error))))
    }
}

/// An error with all its sources.
pub(crate) fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words.push_str(&format!(": {error}"));
        source = error.source();
    }
    words
}

/// A failure unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err($crate::verdict::Stop::Fail(format!($($reason)+)));
        }
    };
}

pub(crate) use ensure;
