//! Terminals: the socket on which an OCI runtime hands over the terminal it made inside the container, and its size.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::failure::{Failure, OrFail};
use crate::stdio::{Ours, nonblocking};

/// The OCI console socket protocol's listening side.
#[derive(Debug)]
pub struct ConsoleSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl ConsoleSocket {
    /// Listens in a directory only the engine's user may enter.
    pub fn bind(path: PathBuf) -> Result<Self, Failure> {
        let context = || format!("cannot listen on `{}`", path.display());
        fs_err::remove_file(&path).ok();
        let listener = bind_anywhere(&path).or_fail(context)?;
        Ok(Self { path, listener })
    }

    /// What the OCI runtime is told.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal's master, which the runtime has sent by the time it reports success.
    pub fn receive(&self) -> Result<OwnedFd, Failure> {
        let context = || "cannot receive the container's terminal".into();
        self.listener.set_nonblocking(true).or_fail(context)?;
        let (connection, _) = self.listener.accept().or_fail(context)?;
        connection.set_nonblocking(false).or_fail(context)?;
        receive_descriptor(&connection).or_fail(context)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        fs_err::remove_file(&self.path).ok();
    }
}

/// The monitor's ends of a terminal, given to its user and set to its first size.
pub fn streams(master: OwnedFd, owner: u32, size: Option<(u16, u16)>) -> io::Result<Ours> {
    nonblocking(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    if owner != 0 {
        rustix::fs::fchown(&terminal, Some(Uid::from_raw(owner)), None::<Gid>)?;
    }
    if let Some((rows, columns)) = size {
        resize(&master, rows, columns)?;
    }
    let input = Some(master.try_clone()?);
    Ok(Ours { input, output: Some(master), error: None, terminal: Some(terminal) })
}

/// Sets a terminal's size.
pub fn resize(terminal: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// Binds a socket whose path may be longer than the 107 bytes a socket address holds.
pub fn bind_anywhere(path: &Path) -> io::Result<UnixListener> {
    use std::os::fd::AsRawFd;
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, rustix::fs::Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    // A socket gets the mode 0777 less the umask; connecting asks for write permission.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(short);
    rustix::process::umask(before);
    listener
}

/// One descriptor from a socket.
pub fn receive_descriptor(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut byte = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut byte)];
    rustix::io::retry_on_intr(|| rustix::net::recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC))?;
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = part
            && let Some(descriptor) = descriptors.next()
        {
            return Ok(descriptor);
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
