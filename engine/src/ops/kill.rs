//! `kill`: one signal to a container's first process.

use nix::sys::signal::Signal;

use crate::container::{ContainerRecord, ContainerState};
use crate::events::Actor;
use crate::runtime::STOPPED;
use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// Sends `signal` (a name with or without `SIG`, or a number) to a running container.
    pub async fn kill(&self, container: &str, signal: &str) -> Result<()> {
        let signal = parse_signal(signal)?;
        let (record, state) = self.look_up(container).await?;
        if !state.is_running() {
            return Err(not_running(&record.id));
        }
        let run = self.store().directories(&record.id).run;
        // Before the signal, or the end that it leads to could be told first.
        self.tell("container", "kill", Actor::container(&record).with("signal", signal));
        if stops(&record, signal) {
            self.mark_stopped(&record)?;
            if matches!(state, ContainerState::Restarting { .. }) {
                // There is no process, and there will be none.
                self.options().runtime.wake(&run);
                return Ok(());
            }
        }
        self.options().runtime.kill(&run, signal).await?;
        if stops(&record, signal) && matches!(state, ContainerState::Paused { .. }) {
            self.blocking(move |engine| engine.thaw(&record)).await?;
        }
        Ok(())
    }

    /// Notes that somebody stopped a container, so that its monitor starts it no more.
    pub(crate) fn mark_stopped(&self, record: &ContainerRecord) -> Result<()> {
        let mark = self.store().directories(&record.id).state.join(STOPPED);
        fs_err::write(&mark, "").map_err(Error::io("write", mark))
    }
}

/// Whether whoever sends this signal wants the container's end, and not, say, that it reads its configuration again.
fn stops(record: &ContainerRecord, signal: i32) -> bool {
    let ends = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT].map(|signal| signal as i32);
    let own = record.config.stop_signal.as_deref().and_then(|name| parse_signal(name).ok());
    ends.contains(&signal) || own == Some(signal)
}

/// A signal by its number, or by its name with or without `SIG`; `RTMIN+3` and `RTMAX-1` too.
pub fn parse_signal(text: &str) -> Result<i32> {
    let wrong = || Error::refused(Kind::InvalidInput, format!("invalid signal: `{}`", text.escape_debug()));
    // The C library keeps 32 and 33 for itself, so this is what programs know as the first and the last.
    const FIRST_REAL_TIME: i32 = 34;
    const LAST: i32 = 64;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (1..=LAST).contains(number)).ok_or_else(wrong);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(FIRST_REAL_TIME),
        (_, Some("")) => Some(LAST),
        (Some(rest), _) => rest
            .strip_prefix('+')
            .and_then(|plus| plus.parse::<i32>().ok())
            .map(|plus| FIRST_REAL_TIME.saturating_add(plus)),
        (_, Some(rest)) => rest.strip_prefix('-').and_then(|minus| minus.parse::<i32>().ok()).map(|minus| LAST - minus),
        _ => None,
    };
    match real_time {
        Some(number) if (FIRST_REAL_TIME..=LAST).contains(&number) => Ok(number),
        Some(_) => Err(wrong()),
        None => format!("SIG{name}").parse::<Signal>().map(|signal| signal as i32).map_err(|_| wrong()),
    }
}

/// The refusal of verbs that need a running container.
pub(crate) fn not_running(id: &str) -> Error {
    Error::refused(Kind::Conflict, format!("container `{id}` is not running"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, wanted) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("hup", 1),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("WINCH", 28),
            ("64", 64),
        ] {
            assert_eq!(parse_signal(text).unwrap(), wanted, "{text}");
        }
        for text in ["", "0", "65", "-9", "SIG", "NOPE", "RTMIN+31", "RTMAX-31", "9 ", "RTMIN+"] {
            assert_eq!(parse_signal(text).unwrap_err().kind(), Kind::InvalidInput, "{text}");
        }
    }
}
