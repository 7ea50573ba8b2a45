//! Control groups for a user, which with version 2 a service manager gives: a scope of the user's own systemd, below which the
//! user may do as root does everywhere. Version 1 has nothing of the kind.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::mount::MountFlags;

/// Where control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// How the scope's name begins, by which the holder knows that the group it is in is its own.
const SCOPE: &str = "mica-holder-";

/// The group below the scope's in which the holder and all monitors are: a group whose controllers are on for those below it
/// holds no processes itself (cgroups(7), no internal processes).
const OWN: &str = "holder";

/// The file by which processes come into a group.
const PROCESSES: &str = "cgroup.procs";

/// What `systemd-run` needs to find the user's service manager.
pub const ENVIRONMENT: [&str; 2] = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];

/// True when this process may make control groups where it sees them.
pub fn are_given() -> bool {
    has_version_2() && rustix::fs::access(MOUNT, rustix::fs::Access::WRITE_OK).is_ok()
}

fn has_version_2() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

/// A command that becomes the holder in a scope, with the same process ID. `None` where nobody would make one.
pub fn scope(holder: &Path) -> Option<Command> {
    let is_socket = |path: &Path| fs_err::metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let manager = PathBuf::from(std::env::var_os(ENVIRONMENT[0])?).join("systemd/private");
    if !has_version_2() || are_given() || !is_socket(&manager) {
        return None;
    }
    let mut command = Command::new("systemd-run");
    command.args(["--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes"]);
    // A scope outlives its holder as long as there are containers, and process IDs come again.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    command.arg(format!("--unit={SCOPE}{}-{now:x}", std::process::id())).arg("--").arg(holder);
    Some(command)
}

/// Makes the scope's group the root of all that is seen of control groups from here on, in a mount namespace of this process. Does
/// nothing where this process is in no scope of ours. A holder that follows one that was killed goes to that one's scope, where the
/// containers of `survivor` are.
pub fn settle(survivor: Option<&str>) -> io::Result<()> {
    if scope_of("self")?.is_none() {
        return Ok(());
    }
    let theirs = survivor.map(scope_of).transpose()?.flatten();
    let own = match &theirs {
        Some(scope) => follow(scope)?,
        None => {
            // The namespace's root is the group that this process is in now, and it leaves that afterwards.
            unshare(CloneFlags::CLONE_NEWCGROUP)?;
            Path::new(MOUNT).join(OWN)
        }
    };
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // The kernel mounts no file system over itself, so something else is in between.
    for kind in ["tmpfs", "cgroup2"] {
        rustix::mount::mount(kind, MOUNT, kind, flags, None)?;
    }
    if theirs.is_none() {
        fs_err::create_dir(&own)?;
        fs_err::write(own.join(PROCESSES), "0")?;
    }
    Ok(())
}

/// Moves this process to the other holder's group, and to the namespace that it left to its monitors.
fn follow(scope: &Path) -> io::Result<PathBuf> {
    let own = Path::new(MOUNT).join(scope).join(OWN);
    let monitors = fs_err::read_to_string(own.join(PROCESSES))?;
    let monitor = monitors.lines().next().ok_or(io::ErrorKind::NotFound)?;
    let namespace = fs_err::File::open(format!("/proc/{monitor}/ns/cgroup"))?;
    fs_err::write(own.join(PROCESSES), "0")?;
    setns(namespace, CloneFlags::CLONE_NEWCGROUP)?;
    Ok(own)
}

/// The scope of ours that a process is in, as a path from the root of the hierarchy.
fn scope_of(process: &str) -> io::Result<Option<PathBuf>> {
    let text = fs_err::read_to_string(format!("/proc/{process}/cgroup"))?;
    Ok(text.lines().find_map(|line| line.strip_prefix("0::/")).and_then(scope_in))
}

fn scope_in(path: &str) -> Option<PathBuf> {
    let is_ours = |path: &&Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(SCOPE) && name.ends_with(".scope")
    };
    Path::new(path).ancestors().find(is_ours).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_known_by_their_names() {
        let scope = "user.slice/user-1000.slice/user@1000.service/app.slice/mica-holder-7.scope";
        for (path, wanted) in [
            (scope.to_owned(), Some(scope)),
            (format!("{scope}/holder"), Some(scope)),
            (format!("{scope}/mica/c1"), Some(scope)),
            ("user.slice/user-1000.slice/session-3.scope".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(scope_in(&path).as_deref(), wanted.map(Path::new), "{path}");
        }
    }
}
