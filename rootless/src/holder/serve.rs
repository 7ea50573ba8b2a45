//! The holder's life: handing the namespaces out, and ending when nobody has needed them for a while.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mica_rootless::survivor::ID;
use mica_rootless::wire::{self, LOCK, Namespaces, SOCKET, START, WAY_OUT};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::NETWORK;
use crate::way_out::WayOut;

/// How long the namespaces wait for the next command: making them costs some 50 ms, and commands come one after the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until nobody is left.
pub fn run(run_root: &Path, listener: UnixListener, namespaces: Namespaces) -> io::Result<()> {
    let mut guests: Vec<UnixStream> = Vec::new();
    let mut way_out = WayOut::new(run_root);
    loop {
        let mut fds = vec![PollFd::new(&listener, PollFlags::IN)];
        fds.extend(guests.iter().map(|guest| PollFd::new(guest, PollFlags::IN)));
        let patience = rustix::fs::Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
        let ready = match poll(&mut fds, guests.is_empty().then_some(&patience)) {
            Err(rustix::io::Errno::INTR) => continue,
            ready => ready?,
        };
        if ready == 0 {
            if let Some(_alone) = lock(run_root)? {
                return leave(run_root, way_out);
            }
            continue;
        }
        let woken: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut woken = woken.into_iter();
        let knocked = woken.next().unwrap_or(false);
        let mut stay: Vec<UnixStream> = Vec::new();
        for (guest, woken) in guests.into_iter().zip(woken) {
            if !woken || answer(&guest, &mut way_out) {
                stay.push(guest);
            }
        }
        guests = stay;
        if knocked {
            let (guest, _) = listener.accept()?;
            if wire::hand_over(&guest, &namespaces).is_ok() {
                guests.push(guest);
            }
        }
    }
}

/// Serves a connection that has something to say; false when it was closed.
fn answer(mut guest: &UnixStream, way_out: &mut WayOut) -> bool {
    match wire::first(guest) {
        Ok(Some((WAY_OUT, _))) => {
            let reason = way_out.ready().err().unwrap_or_default();
            guest.write_all(format!("{}\n", reason.replace('\n', " ")).as_bytes()).is_ok()
        }
        Ok(Some((START, descriptors))) => {
            let Ok(environment) = wire::environment(guest) else { return false };
            wire::answer_start(guest, start(descriptors, environment)).is_ok()
        }
        _ => false,
    }
}

/// Starts a program, given by a descriptor, with the other one as its standard input.
fn start(descriptors: Vec<OwnedFd>, environment: Vec<(OsString, OsString)>) -> io::Result<()> {
    let [program, input] = <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .arg0("mica-monitor")
        .env_clear()
        .envs(environment)
        .current_dir("/")
        .stdin(Stdio::from(input))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    std::thread::spawn(move || child.wait());
    Ok(())
}

/// The lock under which holders come and go, unless somebody who has it is about to need this one.
fn lock(run_root: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = rustix::fs::open(run_root.join(LOCK), flags, Mode::RUSR | Mode::WUSR)?;
    match rustix::fs::flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes away what shows the namespaces. Whoever has connected meanwhile sees the connection end and makes new ones.
fn leave(run_root: &Path, way_out: WayOut) -> io::Result<()> {
    for file in [SOCKET, ID] {
        fs_err::remove_file(run_root.join(file))?;
    }
    drop(way_out);
    let file = run_root.join(NETWORK);
    rustix::mount::unmount(&file, rustix::mount::UnmountFlags::DETACH)?;
    fs_err::remove_file(&file)
}
