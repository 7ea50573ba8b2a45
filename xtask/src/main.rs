//! Development tasks: `cargo xtask help` lists them. This file only dispatches; each task has a file of its own.

mod bench;
mod check;
mod conformance;
mod crash;
mod demo;
mod fixtures;
mod fuzz;
mod install;
mod integration;
mod isolate;
mod mica;
mod output;
mod setup;
mod sh;
mod tidy;
mod workspace;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask TASK

  demo [--keep] [--yes]        the whole story once, from system packages to a removed container
  test                         everything CI runs: tidy, fmt, clippy, tests, conformance, integration, faults, docs
  ci                           the same
  setup [--print]              installs the system packages that building and testing need
  build                        release build with drivers and monitor staged beside the binary
  install --prefix P           binary, monitor, drivers, header, completions and man pages below P
  conformance [--thorough] [PATH.so]
                               the driver suite on a driver file, or on all three of ours
  integration NAME [--storage-driver D]
                               story | concurrency | interop | all
  crash [--points N] [--fs ext4|xfs|btrfs] [--storage-driver D] [--case C] [--at POINT] [--list] [--spread]
                               kills commands at system calls that change something, and checks the store after each
  enospc [the same]            the same with calls that fail: no space, I/O error
  fixtures                     makes the test images' root file systems below target/fixtures
  bench [run|load|containers]  ratios against podman and docker, interleaved, in one run
  fuzz [TARGET [SECONDS]]      hands a parser of strangers' bytes to libFuzzer; without TARGET, lists them
  tidy                         the structural rules of the source tree
";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Err(error) = dispatch(&args) {
        output::error(&error);
        std::process::exit(1);
    }
}

fn dispatch(args: &[String]) -> Result<()> {
    let rest = args.get(1..).unwrap_or_default();
    match args.first().map(String::as_str) {
        Some("demo") => demo::run(rest),
        Some("test" | "ci") => check::run(rest),
        Some("setup") => setup::run(rest),
        Some("build") => workspace::build_release().map(drop),
        Some("install") => install::run(rest),
        Some("conformance") => conformance::run(rest),
        Some("crash") => crash::run(rest),
        Some("enospc") => crash::enospc(rest),
        Some(crash::launch::TASK) => crash::launch::run(rest),
        Some("integration") => integration::run(rest),
        Some("fixtures") => fixtures::run(),
        Some("bench") => bench::run(rest),
        Some("fuzz") => fuzz::run(rest),
        Some("tidy") => tidy::run(),
        None | Some("help" | "--help" | "-h") => {
            output::line(USAGE);
            Ok(())
        }
        Some(other) => bail!("no task `{other}`\n\n{USAGE}"),
    }
}
