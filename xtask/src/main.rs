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
mod parity;
mod power;
mod security;
mod servers;
mod setup;
mod sh;
mod tidy;
mod vm;
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
                               story | concurrency | containers | bundles | interop | network | rootless | registry |
                               all
  parity [--record]            everyday docker command lines, compared with what Docker said to them; records that anew
  crash [--points N] [--fs ext4|xfs|btrfs] [--storage-driver D] [--case C] [--at POINT] [--list] [--spread]
                               kills commands at system calls that change something, and checks the store after each
  enospc [the same]            the same with calls that fail: no space, I/O error
  power [--points N] [--fs ext4|xfs|btrfs] [--storage-driver D] [--case C]
                               cuts the power under a store, and checks it in the next boot
  vm [--cgroup v1|hybrid|v2] [--accel A] [-- COMMAND…]
                               tests in a guest with Debian's kernel, systemd and, unless told otherwise, unified control groups
  fixtures                     makes the test images' root file systems below target/fixtures
  bench [run|load|containers]  ratios against podman and docker, interleaved, in one run
  bench registry [pull|push]   pull and push on this machine against the peers, pull against its slowest single step
  bench durability             load with everything flushed against load without, on the target directory's disk
  bench storage                each driver against size and depth of images, bytes on disk, check and repair
  bench scale                  listings over 1,000 images and 1,000 containers, while another process loads
  fuzz [TARGET [SECONDS]]      hands a parser of strangers' bytes to libFuzzer; without TARGET, lists them
  security                     what containers see of the host, item by item, and hostile images that try to reach it
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
    if let (Some(task), true) = (args.first(), rest.iter().any(|word| word == "--help" || word == "-h"))
        && let Some(usage) = usage_of(task)
    {
        output::line(usage);
        return Ok(());
    }
    match args.first().map(String::as_str) {
        Some("demo") => demo::run(rest),
        Some("test" | "ci") => check::run(rest),
        Some("setup") => setup::run(rest),
        Some("build") => workspace::build_release().map(drop),
        Some("install") => install::run(rest),
        Some("conformance") => conformance::run(rest),
        Some("crash") => crash::run(rest),
        Some("enospc") => crash::enospc(rest),
        Some("parity") => parity::run(rest),
        Some("power") => power::run(rest),
        Some(crash::launch::TASK) => crash::launch::run(rest),
        Some(integration::network::TASK) => integration::network::serve(rest),
        Some("integration") => integration::run(rest),
        Some("fixtures") => fixtures::run(),
        Some("bench") => bench::run(rest),
        Some("fuzz") => fuzz::run(rest),
        Some("security") => security::run(rest),
        Some("tidy") => tidy::run(),
        Some("vm") => vm::run(rest),
        None | Some("help" | "--help" | "-h") => {
            output::line(USAGE);
            Ok(())
        }
        Some(other) => bail!("no task `{other}`\n\n{USAGE}"),
    }
}

/// What the list says about one task.
fn usage_of(task: &str) -> Option<String> {
    let is_entry = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let mut lines = USAGE.lines().skip_while(|line| !is_entry(line) || line.split_whitespace().next() != Some(task));
    let first = lines.next()?;
    let more = lines.take_while(|line| line.starts_with("   "));
    Some(std::iter::once(first).chain(more).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_a_part_of_the_list() {
        let crash = usage_of("crash").unwrap();
        assert!(crash.starts_with("  crash ") && crash.ends_with("the store after each"), "{crash}");
        assert_eq!(usage_of("tidy").unwrap().lines().count(), 1);
        assert_eq!((usage_of("none"), usage_of("kills")), (None, None));
    }
}
