//! What the drivers cost: one container's life, a commit and a diff against the size and the depth of the image; bytes on
//! disk against the sum of the layers; check and repair.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::archive::{Archive, Stored};
use super::load::large_image;
use super::{median, met, quiet};
use crate::mica::Sandbox;
use crate::{output, sh};

const DRIVERS: [&str; 3] = ["overlay", "btrfs", "vfs"];
const ROUNDS: usize = 5;
/// Files of one of the small images, and their bytes together.
const FILES: usize = 400;
const CONTENT: usize = 10_000_000;
/// Their files end where a block ends, so that bytes on disk are bytes of content.
const BLOCK: usize = 4096;
/// How far from its layers' bytes an image may be on vfs, and a container from its tree.
const TOLERANCE: f64 = 0.05;
/// What a container changes before it is compared and committed.
const CHANGED: usize = 100;

/// The image that the goal for bytes on disk is about.
const DEEP: &str = "small-30:1";

/// An image under test.
struct Subject {
    title: String,
    name: &'static str,
    archive: PathBuf,
}

/// Prints one table.
pub fn run(memory: &Path) -> Result<()> {
    let subjects = [
        small(memory, "small-2:1", 2)?,
        small(memory, DEEP, 30)?,
        small(memory, "small-120:1", 120)?,
        Subject { title: "900 MB, 12 layers".to_owned(), name: "large:1", archive: large_image()? },
    ];
    output::heading(format!("storage drivers, medians of {ROUNDS} rounds in milliseconds; all stores in memory"));
    output::line(format!(
        "  {:8} {:20} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>12} {:>12}",
        "driver", "image", "load", "create", "rm", "diff", "commit", "check", "repair", "disk/layers", "a container"
    ));
    for driver in DRIVERS {
        for subject in &subjects {
            row(&Sandbox::below(memory, "storage", driver)?, driver, subject)?;
        }
    }
    output::line("  disk/layers: bytes on disk of the unpacked image, as a part of the content of its layers");
    output::line(
        "  a container: bytes on disk of a new one, as a part of the same; the last image's files end within blocks",
    );
    Ok(())
}

fn row(mica: &Sandbox, driver: &str, subject: &Subject) -> Result<()> {
    let image = subject.name;
    let empty = on_disk(mica, driver)?;
    let load = once(|| quiet(mica.command(&["load", "-q", "-i"]).arg(&subject.archive)))?;
    // A driver unpacks what it needs when a container is made.
    quiet(&mut mica.command(&["create", "--name", "first", "--network", "none", image, "true"]))?;
    quiet(&mut mica.command(&["rm", "first"]))?;
    mica.settle()?;
    let unpacked = on_disk(mica, driver)?.saturating_sub(empty);
    let (mut create, mut remove, mut diff, mut commit) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut container = 0;
    for round in 0..ROUNDS {
        create.push(timed(mica, &["create", "--name", "cc", "--network", "none", image, "true"])?);
        if round == 0 {
            container = on_disk(mica, driver)?.saturating_sub(empty + unpacked);
        }
        let changes = changes(mica)?;
        quiet(mica.command(&["cp"]).arg(&changes).arg("cc:/changed"))?;
        diff.push(timed(mica, &["diff", "cc"])?);
        commit.push(timed(mica, &["commit", "cc", "committed:1"])?);
        quiet(&mut mica.command(&["rmi", "committed:1"]))?;
        remove.push(timed(mica, &["rm", "cc"])?);
        mica.settle()?;
    }
    let check = once(|| quiet(&mut mica.command(&["system", "check"])))?;
    let repair = match damage(mica, driver)? {
        true => format!("{:.1}", once(|| quiet(&mut mica.command(&["system", "check", "--repair"])))?),
        false => "-".to_owned(),
    };
    let content: u64 = mica.read(&["image", "inspect", "-f", "{{.Size}}", image])?.trim().parse()?;
    let [create, remove, diff, commit] = [&mut create, &mut remove, &mut diff, &mut commit]
        .map(|times| format!("{:.1}", median(times).as_secs_f64() * 1e3));
    let (unpacked, container) = (unpacked as f64 / content as f64, container as f64 / content as f64);
    output::line(format!(
        "  {driver:8} {:20} {load:>8.1} {create:>8} {remove:>8} {diff:>8} {commit:>8} {check:>8.1} {repair:>8} {unpacked:>12.3} {container:>12.3}",
        subject.title,
    ));
    if driver == "vfs" && subject.name == DEEP {
        let near = |ratio: f64| (ratio - 1.0).abs() <= TOLERANCE;
        met("vfs: 30 layers cost their diffs and one tree a container, within 5 %", near(unpacked) && near(container));
    }
    quiet(&mut mica.command(&["rmi", image]))
}

/// Bytes of the driver's own directory. A file system of its own says it better than a walk, which counts shared bytes often.
fn on_disk(mica: &Sandbox, driver: &str) -> Result<u64> {
    if driver == "btrfs" {
        quiet(sh::command(&["sync", "-f"]).arg(mica.root()))?;
        let said = sh::read(sh::command(&["df", "--output=used", "-B1"]).arg(mica.root()))?;
        let used: u64 = said.lines().last().context("df said nothing")?.trim().parse()?;
        return Ok(used.saturating_sub(du(&mica.root().join("content"))?));
    }
    du(&mica.root().join("drivers"))
}

fn du(path: &Path) -> Result<u64> {
    // A store that nothing was put into yet.
    if !path.exists() {
        return Ok(0);
    }
    let said = sh::read(sh::command(&["du", "-s", "-B1"]).arg(path))?;
    said.split_whitespace().next().context("du said nothing")?.parse().context("du said no number")
}

/// Takes one file out of an unpacked layer; false where layers are read-only.
fn damage(mica: &Sandbox, driver: &str) -> Result<bool> {
    let layers = mica.root().join("drivers").join(driver).join("layers");
    let found = sh::read(sh::command(&["find"]).arg(&layers).args(["-type", "f", "-size", "+1k", "-print", "-quit"]))?;
    Ok(fs_err::remove_file(found.trim()).is_ok())
}

/// A directory of files for a container to be changed with.
pub fn changes(mica: &Sandbox) -> Result<PathBuf> {
    let folder = mica.path("changes");
    if !folder.exists() {
        fs_err::create_dir_all(&folder)?;
        for file in 0..CHANGED {
            fs_err::write(folder.join(file.to_string()), vec![b'c'; 10_000])?;
        }
    }
    Ok(folder)
}

fn timed(mica: &Sandbox, args: &[&str]) -> Result<std::time::Duration> {
    let started = Instant::now();
    quiet(&mut mica.command(args))?;
    Ok(started.elapsed())
}

fn once(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// An image of 10 MB in so many layers.
fn small(memory: &Path, name: &'static str, layers: usize) -> Result<Subject> {
    let path = memory.join(format!("{layers}.tar"));
    let mut archive = Archive::create(&path)?;
    let per_layer = FILES.div_ceil(layers);
    let length = (CONTENT / layers / per_layer).next_multiple_of(BLOCK);
    let stored = (0..layers)
        .map(|layer| {
            let file = |file| {
                // No two alike.
                let mut bytes = format!("{layer} {file} ").into_bytes();
                bytes.resize(length, b'x');
                (format!("layer-{layer}/file-{file}"), bytes)
            };
            archive.layer(&(0..per_layer).map(file).collect())
        })
        .collect::<Result<Vec<Stored>>>()?;
    archive.image(name, &stored.iter().collect::<Vec<_>>())?;
    archive.finish()?;
    Ok(Subject { title: format!("10 MB, {layers} layers"), name, archive: path })
}
