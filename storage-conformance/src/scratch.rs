//! Places for the suite to run in: directories that clean up, and a btrfs of its own inside a private mount namespace.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory that is removed with all it holds.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes one in `parent`.
    pub fn new(parent: &Path) -> io::Result<Self> {
        /// Tells two of one process apart; the clock tells it from an earlier process with the same id.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let path =
            parent.join(format!("mica-conformance-{}-{}-{}-{number}", std::process::id(), now.tv_sec, now.tv_nsec));
        fs_err::create_dir(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A mount inside keeps it; the mount's namespace ends with the process, and the next removal succeeds.
        let _ = fs_err::remove_dir_all(&self.path);
    }
}

/// Runs the test `test` of the running test program again, in a process with a mount namespace of its own: its mounts end with
/// it, however it ends. The environment tells the two apart.
pub fn in_private_mounts(test: &str, environment: &[(&str, &OsStr)]) -> io::Result<()> {
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe()?)
        .args([test, "--exact", "--nocapture"])
        .envs(environment.iter().copied())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("the test in a private mount namespace ended with {status}")))
    }
}

/// Makes a btrfs in an image file and mounts it on `directory/mnt`. For the inside of a private mount namespace only.
///
/// The image has no name any more when this returns, so it and its loop device go when the mount goes.
pub fn mount_loop_btrfs(directory: &Path) -> io::Result<PathBuf> {
    let (image, mount_point) = (directory.join("image"), directory.join("mnt"));
    fs_err::create_dir(&mount_point)?;
    fs_err::File::create(&image)?.set_len(1 << 30)?;
    let mounted = checked(Command::new("mkfs.btrfs").arg("--quiet").arg(&image)).and_then(|()| {
        checked(Command::new("mount").args(["-t", "btrfs", "-o", "loop"]).arg(&image).arg(&mount_point))
    });
    fs_err::remove_file(&image)?;
    mounted.map(|()| mount_point)
}

/// Why this machine cannot run the privileged tests of a driver; `None` when it can.
pub fn missing_for(programs: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root is needed".to_owned());
    }
    let found = |program: &str| {
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|dir| Path::new(dir).join(program).exists())
    };
    programs.iter().find(|program| !found(program)).map(|program| format!("`{program}` is not installed"))
}

fn checked(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{:?} ended with {}: {}",
        command.get_program(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
