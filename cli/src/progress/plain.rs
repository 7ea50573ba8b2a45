//! Progress in lines, each with its step's number: for logs, and for `--progress plain`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use mica_engine::build::{BuildProgress, Stream};

use super::Lines;
use crate::output;

/// Progress in lines.
#[derive(Debug, Default)]
pub(super) struct Plain(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    steps: BTreeMap<usize, Step>,
    last: Option<usize>,
}

#[derive(Debug)]
struct Step {
    name: String,
    began: Instant,
    cached: bool,
    lines: [Lines; 2],
}

impl Plain {
    fn change(&self, act: impl FnOnce(&mut State, &mut String)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        act(&mut state, &mut text);
        let _ = output::raw_error(text.as_bytes());
    }
}

impl State {
    /// Begins a paragraph when another step spoke last.
    fn turn(&mut self, step: usize, text: &mut String) {
        if self.last != Some(step) {
            let name = self.steps.get(&step).map_or("", |step| step.name.as_str());
            let gap = if self.last.is_some() { "\n" } else { "" };
            let _ = writeln!(text, "{gap}#{} {name}", step + 1);
            self.last = Some(step);
        }
    }

    fn output(&mut self, step: usize, lines: &[String], text: &mut String) {
        if lines.is_empty() {
            return;
        }
        self.turn(step, text);
        let seconds = self.steps.get(&step).map_or(0.0, |step| step.began.elapsed().as_secs_f64());
        for line in lines {
            let _ = writeln!(text, "#{} {seconds:.3} {line}", step + 1);
        }
    }
}

impl BuildProgress for Plain {
    fn begin(&self, step: usize, name: &str) {
        self.change(|state, text| {
            let began =
                Step { name: name.to_owned(), began: Instant::now(), cached: false, lines: <[Lines; 2]>::default() };
            state.steps.insert(step, began);
            state.turn(step, text);
        });
    }

    fn cached(&self, step: usize) {
        self.change(|state, text| {
            state.turn(step, text);
            if let Some(step) = state.steps.get_mut(&step) {
                step.cached = true;
            }
            let _ = writeln!(text, "#{} CACHED", step + 1);
        });
    }

    fn output(&self, step: usize, stream: Stream, bytes: &[u8]) {
        self.change(|state, text| {
            let lines = match state.steps.get_mut(&step) {
                Some(step) => step.lines[usize::from(stream == Stream::Stderr)].push(bytes),
                None => Vec::new(),
            };
            state.output(step, &lines, text);
        });
    }

    fn end(&self, step: usize, error: Option<&str>) {
        self.change(|state, text| {
            let Some(known) = state.steps.get_mut(&step) else {
                return;
            };
            let rest: Vec<String> = known.lines.iter_mut().filter_map(Lines::finish).collect();
            let (seconds, cached) = (known.began.elapsed().as_secs_f64(), known.cached);
            state.output(step, &rest, text);
            if let Some(error) = error {
                state.turn(step, text);
                let _ = writeln!(text, "#{} ERROR: {error}", step + 1);
            } else if !cached {
                state.turn(step, text);
                let _ = writeln!(text, "#{} DONE {seconds:.1}s", step + 1);
            }
        });
    }

    fn warning(&self, text: &str) {
        output::warn(format!("WARNING: {text}"));
    }
}
