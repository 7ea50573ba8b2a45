//! `cargo xtask security`: containers look at their cage from inside, and hostile images, requests and containers try to
//! reach the host. Every item is a row of expected and found; one that does not hold fails the run.

mod canary;
mod entry;
mod hostile;
mod image;
mod isolation;
mod peer;
mod probe;
mod report;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::mica::Sandbox;
use crate::{isolate, output, workspace};

/// Runs everything on one driver: what is looked at here is the runtime's.
pub fn run(args: &[String]) -> Result<()> {
    ensure!(args.is_empty(), "usage: cargo xtask security");
    if isolate::reexec()? {
        return Ok(());
    }
    workspace::mica_binary().or_else(|_| workspace::build_release())?;
    let sandbox = Sandbox::new("security", "overlay")?;
    let canary = canary::Canary::new(sandbox.path("canary"))?;
    let probe = probe::build(&sandbox)?;
    import(&sandbox, &probe)?;
    let mut report = report::Report::default();
    output::part("isolation by default", || isolation::run(&sandbox, &probe, &mut report))?;
    output::part("beside docker", || peer::run(&sandbox, &probe, &mut report))?;
    output::part("hostile images and requests", || hostile::run(&sandbox, &canary, &mut report))?;
    output::part("reaching into containers", || entry::run(&sandbox, &canary, &mut report))?;
    report.finish()
}

/// The image `probe`: the probe, once more as a setuid program, and something to sleep with.
fn import(sandbox: &Sandbox, probe: &std::path::Path) -> Result<()> {
    let mut image = image::Image::new()?;
    let bytes = fs_err::read(probe)?;
    image.entry("probe", tar::EntryType::Regular, 0o755, &bytes)?;
    image.entry("suid", tar::EntryType::Regular, 0o4755, &bytes)?;
    image.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n")?;
    image.file("etc/group", "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")?;
    ensure!(image.load(sandbox, "probe")?, "the probe's image was refused");
    Ok(())
}

/// The static busybox of this machine.
fn busybox() -> Result<PathBuf> {
    let places =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let found = places.into_iter().map(|place| place.join("busybox")).find(|path| path.is_file());
    found.context("no `busybox` in PATH (apt-get install busybox-static)")
}
