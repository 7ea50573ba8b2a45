//! `mica-storage-conformance [--thorough] PATH.so ROOT [key=value …]`: runs the suite against a driver and prints the verdicts.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the verdicts are what this program is for")]

use std::path::PathBuf;
use std::process::ExitCode;

use mica_storage_conformance::{Depth, Subject, WorkerCommand, run, serve_worker};
use mica_storage_loader::Plugin;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    let depth = if args.next_if(|arg| arg == "--thorough").is_some() { Depth::Thorough } else { Depth::Quick };
    let (Some(library), Some(root)) = (args.next().map(PathBuf::from), args.next().map(PathBuf::from)) else {
        eprintln!("usage: mica-storage-conformance [--thorough] PATH.so ROOT [key=value ...]");
        return ExitCode::from(2);
    };
    let options: Vec<String> = args.map(|option| option.to_string_lossy().into_owned()).collect();
    if serve_worker(|| Plugin::load(&library)) {
        return ExitCode::SUCCESS;
    }
    match check(&library, &root, &options, depth) {
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
    library: &std::path::Path,
    root: &std::path::Path,
    options: &[String],
    depth: Depth,
) -> Result<bool, Box<dyn std::error::Error>> {
    let plugin = Plugin::load(library)?;
    // A worker needs the library again and nothing else from the command line.
    let args = vec![library.to_string_lossy().into_owned(), root.to_string_lossy().into_owned()];
    let worker = WorkerCommand { args, environment: Vec::new() };
    let report =
        run(&Subject { options, depth, ..Subject::new(&plugin, &worker) }, root, &mut |case| println!("{case}"))?;
    println!("{}", report.summary());
    Ok(report.passed())
}
