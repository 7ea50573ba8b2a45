//! Root file systems for test images, made on this machine: nothing is pulled from anywhere but the Debian mirror.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{output, sh, workspace};

/// `cargo xtask fixtures`.
pub fn run() -> Result<()> {
    output::line(busybox()?.display());
    output::line(debian()?.display());
    Ok(())
}

/// A tar of a root file system with a static busybox and its applets.
pub fn busybox() -> Result<PathBuf> {
    made("busybox.tar", |scratch, tar| {
        let root = scratch.join("root");
        for directory in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
            fs_err::create_dir_all(root.join(directory))?;
        }
        fs_err::copy(which("busybox")?, root.join("bin/busybox"))?;
        for applet in sh::read(&mut sh::command(&["busybox", "--list"]))?.lines().filter(|applet| *applet != "busybox")
        {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
        }
        fs_err::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n")?;
        fs_err::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")?;
        pack(&root, tar)
    })
}

/// A tar of a minimal Debian root file system.
pub fn debian() -> Result<PathBuf> {
    made("debian.tar", |scratch, tar| {
        let root = scratch.join("root");
        let suite = suite();
        output::line(format!("debootstrap {suite} (about 30 seconds and 60 MB of downloads)"));
        let log = scratch.join("debootstrap.log");
        let out = fs_err::File::create(&log)?;
        let mut command = sh::command(&["debootstrap", "--variant=minbase"]);
        command.arg(&suite).arg(&root).arg("http://deb.debian.org/debian");
        command.stdout(out.try_clone()?.into_parts().0).stderr(out.into_parts().0);
        sh::run(&mut command)
            .with_context(|| fs_err::read_to_string(&log).unwrap_or_default())
            .context("debootstrap failed")?;
        pack(&root, tar)
    })
}

/// Makes a fixture once; a run that is cut off leaves only a scratch directory, which the next one removes.
fn made(name: &str, make: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
    let fixtures = workspace::fixtures();
    let tar = fixtures.join(name);
    if tar.exists() {
        return Ok(tar);
    }
    fs_err::create_dir_all(&fixtures)?;
    let scratch = fixtures.join(format!("{name}.scratch"));
    if scratch.exists() {
        fs_err::remove_dir_all(&scratch)?;
    }
    fs_err::create_dir_all(&scratch)?;
    let partial = scratch.join("tar");
    make(&scratch, &partial)?;
    fs_err::rename(&partial, &tar)?;
    fs_err::remove_dir_all(&scratch)?;
    Ok(tar)
}

fn pack(root: &Path, tar: &Path) -> Result<()> {
    let mut command = sh::command(&["tar", "--numeric-owner", "--xattrs", "--one-file-system", "-cf"]);
    sh::run(command.arg(tar).arg("-C").arg(root).arg("."))
}

/// This machine's own Debian suite, so that packages it downloads resemble its own; `stable` elsewhere.
fn suite() -> String {
    let release = fs_err::read_to_string("/etc/os-release").unwrap_or_default();
    let field =
        |name: &str| release.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_matches('"'));
    match (field("ID="), field("VERSION_CODENAME=")) {
        (Some("debian"), Some(codename)) => codename.to_owned(),
        _ => "stable".to_owned(),
    }
}

fn which(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("`{program}` is not in PATH: run `cargo xtask setup`"))
}
