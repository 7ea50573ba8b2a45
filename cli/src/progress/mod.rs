//! What long commands show while they go on: a build on standard error, layers that travel on standard output.

pub mod layers;
mod plain;
pub mod pulling;
pub mod pushing;
mod tty;

use mica_engine::build::{BuildProgress, Stream};

use crate::args::build::Progress;
use crate::stream::stderr_is_terminal;

/// The progress that was asked for.
pub fn of(style: Progress, quiet: bool) -> Box<dyn BuildProgress> {
    match style {
        _ if quiet => Box::new(Quiet),
        Progress::Quiet => Box::new(Quiet),
        Progress::Plain => Box::new(plain::Plain::default()),
        Progress::Tty => Box::new(tty::Tty::default()),
        Progress::Auto if stderr_is_terminal() => Box::new(tty::Tty::default()),
        Progress::Auto => Box::new(plain::Plain::default()),
    }
}

/// Nothing but warnings.
#[derive(Debug)]
struct Quiet;

impl BuildProgress for Quiet {
    fn begin(&self, _: usize, _: &str) {}
    fn cached(&self, _: usize) {}
    fn output(&self, _: usize, _: Stream, _: &[u8]) {}
    fn end(&self, _: usize, _: Option<&str>) {}
    fn warning(&self, text: &str) {
        crate::output::warn(format!("WARNING: {text}"));
    }
}

/// Cuts pieces of output into lines; what has no end yet waits for it.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// The lines that are whole now.
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            return Vec::new();
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        whole[..end].split(|&byte| byte == b'\n').map(show).collect()
    }

    /// What never got its end.
    fn finish(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| show(&rest))
    }
}

/// A line fit for a terminal: the last state of one that draws over itself.
fn show(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let visible = line.rsplit(|&byte| byte == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(visible).into_owned()
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn lines_come_whole_and_redrawn_ones_in_their_last_state() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"a\nb"), ["a"]);
        assert_eq!(lines.push(b"c\r\n10%\r20%\r30%\nx"), ["bc", "30%"]);
        assert_eq!(lines.finish().as_deref(), Some("x"));
        assert_eq!(lines.finish(), None);
        assert_eq!(lines.push(b"\n\n"), ["", ""]);
    }
}
