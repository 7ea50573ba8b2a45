//! `mica-storage-conformance [--thorough] [--json] PATH.so ROOT [key=value …]`: runs the suite against a driver and says how
//! each case ended, in lines for people or, with `--json`, in one object a line for `mica storage test`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the verdicts are what this program is for")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mica_storage_conformance::{CaseReport, Depth, Subject, Verdict, WorkerCommand, case_names, run, serve_worker};
use mica_storage_loader::Plugin;
use serde_json::json;

const USAGE: &str = "usage: mica-storage-conformance [--thorough] [--json] PATH.so ROOT [key=value ...]";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    let depth = if args.next_if(|arg| arg == "--thorough").is_some() { Depth::Thorough } else { Depth::Quick };
    let json = args.next_if(|arg| arg == "--json").is_some();
    let (Some(library), Some(root)) = (args.next().map(PathBuf::from), args.next().map(PathBuf::from)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let options: Vec<String> = args.map(|option| option.to_string_lossy().into_owned()).collect();
    if serve_worker(|| Plugin::load(&library)) {
        return ExitCode::SUCCESS;
    }
    match check(&library, &root, &options, depth, json) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(error) = source {
                eprintln!("  because: {error}");
                source = error.source();
            }
            ExitCode::from(2)
        }
    }
}

fn check(
    library: &Path,
    root: &Path,
    options: &[String],
    depth: Depth,
    json: bool,
) -> Result<bool, Box<dyn std::error::Error>> {
    let plugin = Plugin::load(library)?;
    // A worker needs the library again and nothing else from the command line.
    let args = vec![library.to_string_lossy().into_owned(), root.to_string_lossy().into_owned()];
    let worker = WorkerCommand { args, environment: Vec::new() };
    let subject = Subject { options, depth, ..Subject::new(&plugin, &worker) };
    if json {
        // What will be tried comes first, so that whoever reads knows which case a driver has ended this process in.
        println!("{}", json!({ "suite": case_names().collect::<Vec<_>>() }));
        return Ok(run(&subject, root, &mut |case| println!("{}", object(case)))?.passed());
    }
    let report = run(&subject, root, &mut |case| println!("{case}"))?;
    println!("{}", report.summary());
    Ok(report.passed())
}

fn object(case: &CaseReport) -> serde_json::Value {
    let (verdict, reason) = match &case.verdict {
        Verdict::Pass => ("passed", ""),
        Verdict::Fail(reason) => ("failed", reason.as_str()),
        Verdict::Skip(reason) => ("skipped", reason.as_str()),
    };
    let milliseconds = u64::try_from(case.took.as_millis()).unwrap_or(u64::MAX);
    json!({
        "name": case.name, "demands": case.demands, "verdict": verdict, "reason": reason, "milliseconds": milliseconds,
    })
}
