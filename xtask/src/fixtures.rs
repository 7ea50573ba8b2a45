//! Root file systems for test images, and programs for tests, made on this machine: nothing is pulled from anywhere but the
//! Debian mirror.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{output, sh, vm, workspace};

/// `cargo xtask fixtures`.
pub fn run() -> Result<()> {
    output::line(busybox()?.display());
    output::line(debian()?.display());
    if let Some(qemu) = qemu()? {
        output::line(qemu.display());
    }
    Ok(())
}

/// The interpreter of arm64 programs from Debian's package, unpacked and not installed: installing it registers handlers with
/// the kernel, for the whole machine. `None` on machines without apt.
pub fn qemu() -> Result<Option<PathBuf>> {
    if !sh::exists("apt-get") {
        return Ok(None);
    }
    made("qemu-aarch64-static", |scratch, file| {
        // The user that apt downloads as cannot write below `target`, and need not.
        let download = || {
            let mut apt = sh::command(&["apt-get", "-o", "APT::Sandbox::User=root", "download", "qemu-user-static"]);
            sh::run(apt.current_dir(scratch))
        };
        // The lists of a machine on which nothing had to be installed may be of another day.
        download().or_else(|_| sh::run(&mut sh::command(&["apt-get", "update", "-q"])).and_then(|()| download()))?;
        let package = fs_err::read_dir(scratch)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("apt-get downloaded no package")?;
        sh::run(sh::command(&["dpkg-deb", "-x"]).arg(package).arg(scratch.join("package")))?;
        Ok(fs_err::rename(scratch.join("package/usr/bin/qemu-aarch64-static"), file)?)
    })
    .map(Some)
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
        output::line("debootstrap (about 30 seconds and 60 MB of downloads)");
        pack(&debootstrap(scratch, "")?, tar)
    })
}

/// A folder with the disk, the kernel and the initial memory disk of a guest.
pub fn guest() -> Result<PathBuf> {
    made("guest", |scratch, folder| {
        output::line("debootstrap of a guest with a kernel (about 90 seconds and 200 MB of downloads)");
        vm::make(&debootstrap(scratch, vm::PACKAGES)?, folder)
    })
}

/// A minimal Debian with more packages, their names separated by commas.
fn debootstrap(scratch: &Path, packages: &str) -> Result<PathBuf> {
    let (root, log) = (scratch.join("root"), scratch.join("debootstrap.log"));
    let out = fs_err::File::create(&log)?;
    let mut command = sh::command(&["debootstrap", "--variant=minbase"]);
    // debootstrap refuses an empty list.
    if !packages.is_empty() {
        command.arg(format!("--include={packages}"));
    }
    command.arg(suite()).arg(&root).arg("http://deb.debian.org/debian");
    command.stdout(out.try_clone()?.into_parts().0).stderr(out.into_parts().0);
    sh::run(&mut command)
        .with_context(|| fs_err::read_to_string(&log).unwrap_or_default())
        .context("debootstrap failed")?;
    Ok(root)
}

/// Makes a fixture once; a run that is cut off leaves only a scratch directory, which the next one removes.
fn made(name: &str, make: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
    let fixtures = workspace::fixtures();
    let file = fixtures.join(name);
    if file.exists() {
        return Ok(file);
    }
    fs_err::create_dir_all(&fixtures)?;
    let scratch = fixtures.join(format!("{name}.scratch"));
    if scratch.exists() {
        fs_err::remove_dir_all(&scratch)?;
    }
    fs_err::create_dir_all(&scratch)?;
    let partial = scratch.join("made");
    make(&scratch, &partial)?;
    fs_err::rename(&partial, &file)?;
    fs_err::remove_dir_all(&scratch)?;
    Ok(file)
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
