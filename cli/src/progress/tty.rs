//! Progress on a terminal: one line for each step, and the last lines of those that run, which collapse when they end.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use mica_engine::build::{BuildProgress, Stream};

use super::Lines;
use crate::{output, terminal};

/// Lines of output that a running step shows.
const TAIL: usize = 6;
/// Lines of output that a failed step shows.
const KEPT: usize = 200;

/// Progress that is drawn over.
#[derive(Debug, Default)]
pub(super) struct Tty(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<usize, Step>,
    /// Lines below the permanent ones, which the next drawing replaces.
    drawn: usize,
}

#[derive(Debug)]
struct Step {
    name: String,
    began: Instant,
    cached: bool,
    lines: [Lines; 2],
    output: VecDeque<String>,
}

impl Step {
    fn keep(&mut self, lines: Vec<String>) {
        self.output.extend(lines);
        let surplus = self.output.len().saturating_sub(KEPT);
        self.output.drain(..surplus);
    }
}

impl Tty {
    /// Changes the state, prints what is permanent and draws what is not.
    fn draw(&self, act: impl FnOnce(&mut State) -> String) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let permanent = act(&mut state);
        let width =
            terminal::size().map_or(80, |(_, columns)| if columns == 0 { 80 } else { usize::from(columns.max(20)) });
        let mut text = String::new();
        if state.drawn > 0 {
            let _ = write!(text, "\x1b[{}A\x1b[J", state.drawn);
        }
        text.push_str(&permanent);
        let mut drawn = 0;
        for step in state.running.values() {
            let seconds = step.began.elapsed().as_secs_f64();
            let _ = writeln!(text, "{}", fit(&format!(" => {}  {seconds:.1}s", step.name), width));
            drawn += 1;
            for line in step.output.iter().skip(step.output.len().saturating_sub(TAIL)) {
                let _ = writeln!(text, "\x1b[2m{}\x1b[0m", fit(&format!(" => => {line}"), width));
                drawn += 1;
            }
        }
        state.drawn = drawn;
        let _ = output::raw_error(text.as_bytes());
    }
}

impl BuildProgress for Tty {
    fn begin(&self, step: usize, name: &str) {
        self.draw(|state| {
            let began = Step {
                name: name.to_owned(),
                began: Instant::now(),
                cached: false,
                lines: <[Lines; 2]>::default(),
                output: VecDeque::new(),
            };
            state.running.insert(step, began);
            String::new()
        });
    }

    fn cached(&self, step: usize) {
        self.draw(|state| {
            if let Some(step) = state.running.get_mut(&step) {
                step.cached = true;
            }
            String::new()
        });
    }

    fn output(&self, step: usize, stream: Stream, bytes: &[u8]) {
        self.draw(|state| {
            if let Some(step) = state.running.get_mut(&step) {
                let lines = step.lines[usize::from(stream == Stream::Stderr)].push(bytes);
                step.keep(lines);
            }
            String::new()
        });
    }

    fn end(&self, step: usize, error: Option<&str>) {
        self.draw(|state| {
            let Some(mut step) = state.running.remove(&step) else {
                return String::new();
            };
            let rest: Vec<String> = step.lines.iter_mut().filter_map(Lines::finish).collect();
            step.keep(rest);
            let seconds = step.began.elapsed().as_secs_f64();
            match error {
                None if step.cached => format!("\x1b[34m => CACHED {}\x1b[0m\n", step.name),
                None => format!("\x1b[34m => {}  {seconds:.1}s\x1b[0m\n", step.name),
                Some(error) => {
                    let log: String = step.output.iter().map(|line| format!("{line}\n")).collect();
                    format!(
                        "\x1b[31m => ERROR {}  {seconds:.1}s\x1b[0m\n------\n > {}:\n{log}------\n{error}\n",
                        step.name, step.name
                    )
                }
            }
        });
    }

    fn warning(&self, text: &str) {
        self.draw(|_| format!("WARNING: {text}\n"));
    }
}

/// A line that does not wrap and cannot move the cursor, so the count of drawn lines stays true.
fn fit(line: &str, width: usize) -> String {
    line.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(width.saturating_sub(1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn lines_fit_and_cannot_move_the_cursor() {
        assert_eq!(fit("abcdef", 4), "abc");
        assert_eq!(fit("a\tb\x1b[2Jc", 80), "a b [2Jc");
    }
}
