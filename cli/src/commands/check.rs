//! `system check`: what is wrong with the store, in lines or as one document.

use std::sync::Arc;

use mica_engine::ops::check::{CheckOptions, CheckProgress, CheckReport, Damage};

use crate::args::system::Check;
use crate::context::Context;
use crate::failure::Status;
use crate::output;
use crate::stream::stderr_is_terminal;

/// The exit code when damage is left.
const DAMAGED: u8 = 1;
/// The exit code when the check could not be done; Docker's for a failure of its own.
const FAILED: u8 = 125;

/// `system check`.
pub(super) async fn run(context: &Context, args: &Check) -> anyhow::Result<()> {
    let report = match check(context, args).await {
        Ok(report) => report,
        Err(failure) => {
            output::error(&failure);
            return Err(Status(FAILED).into());
        }
    };
    if args.json || args.format.as_deref() == Some("json") {
        output::line(document(&report)?)?;
    } else {
        show(args, &report)?;
    }
    if report.is_clean() { Ok(()) } else { Err(Status(DAMAGED).into()) }
}

async fn check(context: &Context, args: &Check) -> anyhow::Result<CheckReport> {
    let bar = Arc::new(Bar { visible: stderr_is_terminal() });
    let options = CheckOptions { quick: args.quick, repair: args.repair };
    let report = context.engine()?.check_watched(options, Arc::clone(&bar) as Arc<dyn CheckProgress>).await;
    if bar.visible {
        let _ = output::raw_error(b"\r\x1b[K");
    }
    Ok(report?)
}

fn document(report: &CheckReport) -> anyhow::Result<String> {
    let mut document = serde_json::to_value(report)?;
    document["clean"] = report.is_clean().into();
    Ok(document.to_string())
}

fn show(args: &Check, report: &CheckReport) -> anyhow::Result<()> {
    for damage in &report.damages {
        output::line(format!("{}: {}", word(damage), damage.message))?;
        if let Some(remedy) = &damage.remedy {
            output::line(format!("  {remedy}"))?;
        }
    }
    for note in &report.notes {
        output::line(format!("note: {note}"))?;
    }
    output::line(format!(
        "checked {} blobs, {} layers, {} chains, {} containers",
        report.blobs, report.layers, report.chains, report.containers
    ))?;
    if report.is_clean() {
        return output::line("the store is clean");
    }
    if !args.repair {
        output::warn("hint: `mica system check --repair` mends what can be mended");
    }
    Ok(())
}

fn word(damage: &Damage) -> &'static str {
    match (damage.repaired, damage.garbage) {
        (true, true) => "removed",
        (true, false) => "repaired",
        (false, true) => "garbage",
        (false, false) => "damaged",
    }
}

/// One line on the terminal, drawn over again.
struct Bar {
    visible: bool,
}

impl CheckProgress for Bar {
    fn step(&self, done: u64, total: u64) {
        if self.visible {
            let _ = output::raw_error(format!("\r\x1b[KChecking {done}/{total}").as_bytes());
        }
    }
}
