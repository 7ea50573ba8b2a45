//! What a command must say when the disk failed it: something a person can act on.

use anyhow::{Result, ensure};

use super::ground::Site;
use super::tracer::Trace;

/// A command that met an error ended as commands end, and told what failed, where, and what to do.
pub fn told(trace: &Trace, _site: &Site) -> Result<()> {
    let said = &trace.stderr;
    ensure!(!said.contains("panicked at"), "it panicked: {said}");
    ensure!(trace.status < 128, "it ended with {}: {said}", trace.status);
    if !trace.struck || trace.status == 0 {
        return Ok(());
    }
    ensure!([1, 125, 126, 127].contains(&trace.status), "exit status {}: {said}", trace.status);
    let errors = [
        "No space left on device",
        "Input/output error",
        "database or disk is full",
        "disk I/O error",
        "Read-only file system",
        "readonly database",
        "unable to open database file",
    ];
    ensure!(errors.iter().any(|error| said.contains(error)), "the error does not say what the disk said: {said}");
    ensure!(said.contains('`') || said.contains("the metadata database"), "the error names nothing: {said}");
    ensure!(said.contains("hint: "), "the error has no remedy: {said}");
    Ok(())
}
