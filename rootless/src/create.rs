//! Making the namespaces of a user: the holder makes them, and this process, which is still outside, has the IDs mapped.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::ids::{self, Kind};
use crate::{groups, survivor, wire};

/// How long each step may take: a service manager that answers nobody must not hold a command for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a holder and returns when it answers. The caller holds the lock of the run root.
pub fn create(run_root: &Path, holder: &Path) -> Result<()> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let user = ids::user_name(uid);
    let map = |kind, id| Ok((kind, ids::map(kind, (&user, uid), id)?));
    let maps = [map(Kind::User, uid)?, map(Kind::Group, gid)?];
    let survivor = survivor::find(run_root);
    let plain = || make(Command::new(holder), run_root, holder, &maps, survivor);
    // A service manager that does not do it costs the limits of containers, and nothing else.
    let made = match groups::scope(holder) {
        Some(command) => make(command, run_root, holder, &maps, survivor).or_else(|_| plain()),
        None => plain(),
    };
    made.inspect_err(|_| {
        let _ = fs_err::remove_file(run_root.join(wire::SOCKET));
    })
}

/// Starts the holder and has these IDs mapped, unless it takes the user namespace of a process that survived another holder.
fn make(
    mut command: Command,
    run_root: &Path,
    holder: &Path,
    maps: &[(Kind, Vec<String>)],
    survivor: Option<i32>,
) -> Result<()> {
    let started = |error: io::Error| Error::file("start", holder)(error);
    let listener = wire::listen(run_root).map_err(Error::file("make a socket in", run_root))?;
    let (mut ours, theirs) = UnixStream::pair().map_err(started)?;
    ours.set_read_timeout(Some(PATIENCE)).map_err(started)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let kept = groups::ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let child = command
        .arg(run_root)
        .args(survivor.map(|pid| pid.to_string()))
        .env_clear()
        .envs(kept)
        .env("PATH", usual(&path))
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(OwnedFd::from(listener)))
        .stderr(Stdio::null())
        .spawn()
        .map_err(started)?;
    // The copy of the holder's end of the line, without which its end would not be seen.
    drop(command);
    step(&mut ours)?;
    for (kind, words) in maps.iter().filter(|_| survivor.is_none()) {
        let mut command = Command::new(kind.program());
        command.arg(child.id().to_string()).args(words).env("PATH", usual(&path)).stdin(Stdio::null());
        let failed = |reason: String| Error::Mapping { program: kind.program(), reason };
        let done = command.output().map_err(|error| failed(error.to_string()))?;
        if !done.status.success() {
            return Err(failed(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
        }
    }
    ours.write_all(b"m").map_err(started)?;
    step(&mut ours)
}

/// The caller's search path, and the places of programs that users' search paths leave out.
fn usual(path: &OsStr) -> std::ffi::OsString {
    let mut all = path.to_owned();
    all.push(if path.is_empty() { "/usr/bin:/bin:/usr/sbin:/sbin" } else { ":/usr/bin:/bin:/usr/sbin:/sbin" });
    all
}

/// Waits until the holder has done its next step, or for the number of the error that kept it from it.
fn step(holder: &mut UnixStream) -> Result<()> {
    let mut answer = [0; 5];
    let refused = |source: io::Error| Error::Refused { source };
    holder.read_exact(&mut answer[..1]).map_err(refused)?;
    if answer[0] == b'+' {
        return Ok(());
    }
    holder.read_exact(&mut answer[1..]).map_err(refused)?;
    let number = i32::from_ne_bytes([answer[1], answer[2], answer[3], answer[4]]);
    Err(refused(io::Error::from_raw_os_error(number)))
}
