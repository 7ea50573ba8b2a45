//! `cargo xtask conformance [--thorough] [PATH.so]`: the suite of storage-conformance on driver files, through the C interface.

use std::path::Path;

use anyhow::Result;

use crate::{isolate, output, sh, workspace};

/// Where a driver is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// In the directory for temporary files.
    Here,
    /// On a btrfs made for it.
    Btrfs,
    /// On an xfs with project quotas made for it, where the kernel has them.
    Xfs,
}

/// Our drivers, where each is tried, and with which option.
const OURS: [(&str, Disk, &[&str]); 5] = [
    ("vfs", Disk::Here, &[]),
    ("overlay", Disk::Here, &[]),
    ("overlay", Disk::Xfs, &[]),
    ("btrfs", Disk::Btrfs, &[]),
    ("btrfs", Disk::Btrfs, &["quota=simple"]),
];

/// Runs the suite on one driver file, or on ours.
pub fn run(args: &[String]) -> Result<()> {
    if isolate::reexec()? {
        return Ok(());
    }
    let thorough = args.first().is_some_and(|arg| arg == "--thorough");
    let args = if thorough { &args[1..] } else { args };
    workspace::mica_binary().or_else(|_| workspace::build_release())?;
    match args.first() {
        Some(path) => suite(Path::new(path), Disk::Here, &[], thorough),
        None => {
            OURS.iter().try_for_each(|(name, disk, options)| suite(&workspace::driver(name), *disk, options, thorough))
        }
    }
}

fn suite(driver: &Path, disk: Disk, options: &[&str], thorough: bool) -> Result<()> {
    output::heading(driver.display());
    let scratch = std::env::temp_dir().join(format!("mica-conformance-{}", std::process::id()));
    let root = scratch.join("root");
    fs_err::create_dir_all(&root)?;
    let verdict = prepared(&scratch, &root, disk).and_then(|ready| {
        if !ready {
            output::line("not tried: this kernel mounts no xfs with project quotas (CONFIG_XFS_QUOTA)");
            return Ok(());
        }
        let program = workspace::target().join("release/mica-storage-conformance");
        let mut command = sh::command(&[program.to_string_lossy().as_ref()]);
        if thorough {
            command.arg("--thorough");
        }
        let verdict = sh::run(command.arg(driver).arg(&root).args(options));
        if disk != Disk::Here {
            sh::run(sh::command(&["umount"]).arg(&root))?;
        }
        verdict
    });
    fs_err::remove_dir_all(&scratch)?;
    verdict
}

/// Mounts the disk; false when the kernel cannot.
fn prepared(scratch: &Path, root: &Path, disk: Disk) -> Result<bool> {
    let (make, options): (&[&str], _) = match disk {
        Disk::Here => return Ok(true),
        Disk::Btrfs => (&["mkfs.btrfs", "-q"], "loop"),
        Disk::Xfs => (&["mkfs.xfs", "-q"], "loop,prjquota"),
    };
    let image = scratch.join("image");
    sh::run(sh::command(&["truncate", "-s", "4G"]).arg(&image))?;
    sh::run(sh::command(make).arg(&image))?;
    let mut mount = sh::command(&["mount", "-o", options]);
    mount.arg(&image).arg(root);
    if disk == Disk::Xfs {
        return Ok(sh::output(&mut mount)?.status.success());
    }
    sh::run(&mut mount).map(|()| true)
}
