//! `cargo xtask test`: everything CI runs, in the order in which it fails soonest.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::workspace::cargo;
use crate::{fixtures, isolate, output, setup, sh, tidy, workspace};

/// Runs all parts; the first failure ends the run.
///
/// With `MICA_NO_SKIP=1`, which CI sets, a test that cannot run here fails instead of saying so and passing.
pub fn run(_args: &[String]) -> Result<()> {
    setup::ensure_test()?;
    output::part("tidy", tidy::run)?;
    output::part("fmt", || sh::run(&mut cargo(&["fmt", "--all", "--check"])))?;
    output::part("clippy", || {
        sh::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
    })?;
    // All targets, so that features are those of the tests: `cargo build` alone would compile the dependencies twice.
    output::part("build for tests", || sh::run(&mut cargo(&["build", "--workspace", "--all-targets", "--locked"])))?;
    output::part("unit and command tests", || {
        let mut test = cargo(&["test", "--workspace", "--locked"]);
        if let Some(qemu) = fixtures::qemu()? {
            test.env("MICA_TEST_QEMU_AARCH64", qemu);
        }
        sh::run_within(minutes(25), &mut isolate::wrapped(&test))
    })?;
    output::part("docs", || {
        let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"]);
        // A link from a public module to a private one is right in these docs, which show both: their readers are
        // contributors.
        sh::run(doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"))
    })?;
    workspace::build_release()?;
    output::part("fixtures", fixtures::run)?;
    // Each of these re-executes itself in a mount namespace of its own, so it runs as a command. Cargo starts it: the
    // tests above may have built xtask again, with other features, over the file that runs here.
    // A fixed seed, so that a run can be repeated; other points are for whoever runs the tasks by hand.
    let points = ["--points", "200", "--seed", "1"];
    let faults = ["crash", "enospc", "power"].map(|task| [&[task][..], &points].concat());
    // The driver that most stores use is tried longer: half a minute.
    let overlay = workspace::driver("overlay");
    let overlay = overlay.to_str().context("the target directory's name is not UTF-8")?;
    let thorough = ["conformance", "--thorough", overlay];
    let by_themselves = [
        &["conformance"][..],
        &thorough,
        &["integration", "all"],
        &["parity"],
        &["security"],
        &faults[0],
        &faults[1],
        &faults[2],
    ];
    for task in by_themselves {
        output::part(&task.join(" "), || sh::run_within(minutes(15), cargo(&["xtask"]).args(task)))?;
    }
    output::line("everything passed");
    Ok(())
}

/// Ten times what the slowest part takes on two cores: what is not done then hangs, and CI should say where.
fn minutes(number: u64) -> Duration {
    Duration::from_secs(number * 60)
}
