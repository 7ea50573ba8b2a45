//! `cargo xtask conformance [--thorough] [PATH.so]`: the suite of storage-conformance on driver files, through the C interface.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{isolate, output, sh, workspace};

/// Runs the suite on one driver file, or on our three.
pub fn run(args: &[String]) -> Result<()> {
    if isolate::reexec()? {
        return Ok(());
    }
    let thorough = args.first().is_some_and(|arg| arg == "--thorough");
    let args = if thorough { &args[1..] } else { args };
    workspace::mica_binary().or_else(|_| workspace::build_release())?;
    match args.first() {
        Some(path) => suite(Path::new(path), false, thorough),
        None => ["vfs", "overlay", "btrfs"]
            .iter()
            .try_for_each(|name| suite(&workspace::driver(name), *name == "btrfs", thorough)),
    }
}

fn suite(driver: &Path, on_btrfs: bool, thorough: bool) -> Result<()> {
    output::heading(driver.display());
    let scratch = std::env::temp_dir().join(format!("mica-conformance-{}", std::process::id()));
    let root = scratch.join("root");
    fs_err::create_dir_all(&root)?;
    let verdict = prepared(&scratch, &root, on_btrfs).and_then(|()| {
        let program = workspace::target().join("release/mica-storage-conformance");
        let mut command = sh::command(&[program.to_string_lossy().as_ref()]);
        if thorough {
            command.arg("--thorough");
        }
        sh::run(command.arg(driver).arg(&root))
    });
    if on_btrfs {
        sh::run(sh::command(&["umount"]).arg(&root))?;
    }
    fs_err::remove_dir_all(&scratch)?;
    verdict
}

fn prepared(scratch: &Path, root: &Path, on_btrfs: bool) -> Result<()> {
    if !on_btrfs {
        return Ok(());
    }
    let image: PathBuf = scratch.join("btrfs.img");
    sh::run(sh::command(&["truncate", "-s", "4G"]).arg(&image))?;
    sh::run(sh::command(&["mkfs.btrfs", "-q"]).arg(&image))?;
    sh::run(sh::command(&["mount", "-o", "loop,noatime"]).arg(&image).arg(root))
}
