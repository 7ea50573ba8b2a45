//! What durability costs: the verbs that make images with everything flushed, against a store of `durability = "none"`.
//!
//! Unlike the other benches this one needs a disk. Its stores lie on an ext4 of their own, in a file in the target
//! directory: there the blocks of what one round removed are not discarded at the expense of the next.

use std::path::Path;

use anyhow::{Result, ensure};

use super::load::large_image;
use super::{Contender, compare, met, quiet};
use crate::mica::Sandbox;
use crate::{fixtures, sh, workspace};

/// What durability may add to the time of a load.
const GOAL: f64 = 1.10;

/// Compares both for `load`, `import` and `commit`.
pub fn run() -> Result<()> {
    let disk = workspace::target().join("durability");
    let file = workspace::target().join("durability.img");
    let result = mount(&file, &disk).and_then(|()| on(&disk));
    let _not_mounted = sh::output(sh::command(&["umount"]).arg(&disk))?;
    fs_err::remove_file(file)?;
    fs_err::remove_dir(disk)?;
    result
}

fn mount(file: &Path, disk: &Path) -> Result<()> {
    fs_err::create_dir_all(disk)?;
    quiet(sh::command(&["fallocate", "-l", "6G"]).arg(file))?;
    // What mkfs leaves to be done later would be done in the middle of a round.
    quiet(sh::command(&["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(file))?;
    let device = sh::read(sh::command(&["losetup", "--direct-io=on", "--find", "--show"]).arg(file))?;
    let mounted = quiet(sh::command(&["mount", device.trim()]).arg(disk));
    // The device goes with its last user, which is the mount.
    quiet(&mut sh::command(&["losetup", "--detach", device.trim()]))?;
    mounted
}

fn on(disk: &Path) -> Result<()> {
    let (large, debian) = (large_image()?, fixtures::debian()?);
    let mica = Sandbox::below(disk, "durability", "overlay")?;
    let (none, full) = (mica.path("none.toml"), mica.path("full.toml"));
    fs_err::write(&none, "[storage]\ndurability = \"none\"\n")?;
    fs_err::write(&full, "")?;
    let changes = super::storage::changes(&mica)?;
    mica.import(&fixtures::busybox()?, "base")?;
    quiet(&mut mica.command(&["create", "--name", "changed", "--network", "none", "base", "true"]))?;
    quiet(mica.command(&["cp"]).arg(changes).arg("changed:/changed"))?;

    let mica = &mica;
    let clean = |name: &'static str, archive: Option<&Path>| -> Result<()> {
        let _not_there_at_first = mica.output(&["rmi", name])?;
        // Nobody pays for what another round left to be written, and reading is the same for everybody.
        mica.settle()?;
        quiet(sh::command(&["sync", "-f"]).arg(mica.root()))?;
        archive.map_or(Ok(()), |archive| quiet(sh::command(&["cat"]).arg(archive)))
    };
    let pair = |title: &str, rounds, name: &'static str, args: &[&str], archive: Option<&Path>| -> Result<f64> {
        let contender = |title, config| Contender {
            name: title,
            prepare: Box::new(move || clean(name, archive)),
            round: Box::new(move || quiet(mica.command(args).env("MICA_CONFIG", config))),
        };
        let both = [contender("durability = none", &none), contender("durability = full", &full)];
        let medians = compare(title, rounds, &both)?;
        ensure!(medians.len() == 2, "two contenders have two medians");
        Ok(medians[1].as_secs_f64() / medians[0].as_secs_f64())
    };
    let load = ["load", "-q", "-i", &large.to_string_lossy()];
    met(
        "durability costs at most 10 %",
        pair("load of 12 layers, 900 MB", 11, "large:1", &load, Some(&large))? <= GOAL,
    );
    let import = ["import", &debian.to_string_lossy(), "debian:1"];
    met(
        "durability costs at most 10 %",
        pair("import of Debian, 200 MB in 8,000 files", 15, "debian:1", &import, Some(&debian))? <= GOAL,
    );
    // No goal: a commit is mostly waiting for the disk to say that it has the bytes.
    pair("commit of 100 files, 1 MB", 15, "committed:1", &["commit", "changed", "committed:1"], None).map(drop)
}
