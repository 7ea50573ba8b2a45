//! Questions to the person at the terminal, with or without what is typed being shown.

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::{INTERRUPTED, Status};
use crate::output;

/// Whether the terminal shows what is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// It does.
    Shown,
    /// It does not.
    Hidden,
}

/// A terminal that does not show what is typed. Dropping it restores what was before.
struct Silence {
    before: Termios,
}

impl Silence {
    fn begin() -> anyhow::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that has gone needs no restoring.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Asks and reads one line, without its end. The interrupt key ends the program with the terminal as it was.
pub async fn ask(question: &str, echo: Echo) -> anyhow::Result<String> {
    // The handler comes first: without it the key would leave the terminal silent.
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let silence = if echo == Echo::Hidden { Some(Silence::begin()?) } else { None };
    output::raw(question.as_bytes())?;
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|count| (count, line))
    });
    let (count, line) = tokio::select! {
        read = read => read??,
        _ = interrupt.recv() => {
            drop(silence);
            output::raw(b"\n")?;
            return Err(Status(INTERRUPTED).into());
        }
    };
    anyhow::ensure!(count > 0, "the terminal was closed before there was an answer");
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
