//! What xtask says to a person. Nothing else in xtask prints.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the one file of xtask that prints")]

use std::time::Instant;

/// A plain line.
pub fn line(text: impl std::fmt::Display) {
    println!("{text}");
}

/// A heading before a part of a task.
pub fn heading(text: impl std::fmt::Display) {
    println!("\n==> {text}");
}

/// An error with its causes.
pub fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// Runs one part of a task under a heading and says how long it took.
pub fn part<T>(name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    heading(name);
    let started = Instant::now();
    let result = work()?;
    println!("    {name}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(result)
}
