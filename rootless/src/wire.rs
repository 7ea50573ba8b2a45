//! What commands and the holder say to each other, over a stream socket in the run root.
//!
//! A connection begins with one byte from the holder that carries three descriptors: of the user, the mount and the network
//! namespace. A command may then send [`WAY_OUT`] and gets a line back: empty when the network namespace has a way out, else
//! why it has none. Or it sends [`START`] with two descriptors and an environment, and gets back whether the program runs. A
//! connection that stays open keeps the holder alive.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

/// The socket in the run root.
pub const SOCKET: &str = "namespaces.sock";

/// The file whose lock is held by whoever makes or takes away the namespaces.
pub const LOCK: &str = "namespaces.lock";

/// Asks for a way out of the network namespace.
pub const WAY_OUT: u8 = b'w';

/// Asks for a program to be started among the holder's control groups.
pub const START: u8 = b's';

/// The longest environment of such a program, in bytes.
const ENVIRONMENT: usize = 1 << 20;

/// The namespaces of a user.
#[derive(Debug)]
pub struct Namespaces {
    /// The user namespace.
    pub user: OwnedFd,
    /// The mount namespace.
    pub mount: OwnedFd,
    /// The network namespace.
    pub network: OwnedFd,
}

/// Connects to the holder of a run root.
pub fn connect(run_root: &Path) -> io::Result<UnixStream> {
    at(run_root, UnixStream::connect)
}

/// Makes the socket of a run root, which nobody else listens on.
pub fn listen(run_root: &Path) -> io::Result<UnixListener> {
    let _ = fs_err::remove_file(run_root.join(SOCKET));
    let listener = at(run_root, UnixListener::bind)?;
    // Its mode is the caller's umask's, and connecting asks for write permission; nobody else can write to the directory.
    fs_err::set_permissions(run_root.join(SOCKET), Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Through a descriptor, because a socket's path is limited to 107 bytes (unix(7)) and a run root may lie deep.
fn at<T>(run_root: &Path, act: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(run_root, flags, Mode::empty())?;
    act(PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(SOCKET))
}

/// Hands the namespaces to whoever has connected.
pub fn hand_over(socket: &UnixStream, namespaces: &Namespaces) -> io::Result<()> {
    let fds = [&namespaces.user, &namespaces.mount, &namespaces.network].map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(b"n")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives them. `None` when the holder ended instead.
pub fn take(socket: &UnixStream) -> io::Result<Option<Namespaces>> {
    let Some((_, fds)) = first(socket)? else { return Ok(None) };
    match <[OwnedFd; 3]>::try_from(fds) {
        Ok([user, mount, network]) => Ok(Some(Namespaces { user, mount, network })),
        Err(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// One byte with its descriptors; `None` when the other side has gone.
pub fn first(socket: &UnixStream) -> io::Result<Option<(u8, Vec<OwnedFd>)>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut byte)];
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    });
    match received {
        Ok(message) if message.bytes == 0 => return Ok(None),
        Ok(_) => {}
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    let mut fds = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
            fds.extend(descriptors);
        }
    }
    Ok(Some((byte[0], fds)))
}

/// Has the holder start a program with a standard input and an environment.
pub fn ask_start(
    mut socket: &UnixStream,
    program: BorrowedFd<'_>,
    input: BorrowedFd<'_>,
    environment: &[(OsString, OsString)],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [program, input];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(&[START])], &mut ancillary, SendFlags::NOSIGNAL)?;
    let entry = |(name, value): &(OsString, OsString)| [name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat();
    let text: Vec<u8> = environment.iter().flat_map(entry).collect();
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    socket.write_all(&length.to_ne_bytes())?;
    socket.write_all(&text)?;
    let mut answer = [0; 4];
    socket.read_exact(&mut answer)?;
    match i32::from_ne_bytes(answer) {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

/// The environment that follows [`START`].
pub fn environment(mut socket: &UnixStream) -> io::Result<Vec<(OsString, OsString)>> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_ne_bytes(length) as usize;
    if length > ENVIRONMENT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length];
    socket.read_exact(&mut text)?;
    let entries = text.split(|byte| *byte == 0).filter_map(|entry| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        Some((OsStr::from_bytes(&entry[..at]).to_owned(), OsStr::from_bytes(&entry[at + 1..]).to_owned()))
    });
    Ok(entries.collect())
}

/// Answers [`START`].
pub fn answer_start(mut socket: &UnixStream, started: io::Result<()>) -> io::Result<()> {
    let number = started.err().map_or(0, |error| error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error()));
    socket.write_all(&number.to_ne_bytes())
}

/// Asks the holder for a way out of the network namespace; what comes back is why there is none.
pub fn ask_way_out(mut socket: &UnixStream) -> io::Result<Option<String>> {
    socket.write_all(&[WAY_OUT])?;
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        socket.read_exact(&mut byte)?;
        if byte == *b"\n" {
            let text = String::from_utf8_lossy(&line).into_owned();
            return Ok(Some(text).filter(|text| !text.is_empty()));
        }
        line.extend(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_go_through_a_deep_socket_and_an_end_is_told_from_them() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(120));
        fs_err::create_dir(&deep).unwrap();
        let listener = listen(&deep).unwrap();
        let mode = fs_err::symlink_metadata(deep.join(SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let there = connect(&deep).unwrap();
        let (here, _) = listener.accept().unwrap();
        let open =
            |kind: &str| OwnedFd::from(fs_err::File::open(format!("/proc/self/ns/{kind}")).unwrap().into_parts().0);
        hand_over(&here, &Namespaces { user: open("user"), mount: open("mnt"), network: open("net") }).unwrap();
        let taken = take(&there).unwrap().unwrap();
        let own = |kind: &str| rustix::fs::stat(format!("/proc/self/ns/{kind}")).unwrap().st_ino;
        assert_eq!(rustix::fs::fstat(&taken.user).unwrap().st_ino, own("user"));
        assert_eq!(rustix::fs::fstat(&taken.network).unwrap().st_ino, own("net"));
        let mut writer = &here;
        writer.write_all(b"no pasta\n\n").unwrap();
        assert_eq!(ask_way_out(&there).unwrap().as_deref(), Some("no pasta"));
        assert_eq!(ask_way_out(&there).unwrap(), None);
        drop(here);
        assert!(take(&there).unwrap().is_none());
    }

    #[test]
    fn a_program_is_asked_for_with_its_environment_and_refused_with_a_number() {
        let asked = vec![("PATH".into(), "/bin".into()), ("TEXT".into(), "a=b\nc".into()), ("EMPTY".into(), "".into())];
        for (started, expected) in [(Ok(()), None), (Err(io::Error::from_raw_os_error(13)), Some(13))] {
            let (here, there) = UnixStream::pair().unwrap();
            let served = std::thread::spawn(move || {
                let (byte, fds) = first(&there).unwrap().unwrap();
                assert_eq!((byte, fds.len()), (START, 2));
                let environment = environment(&there).unwrap();
                answer_start(&there, started).unwrap();
                environment
            });
            let null = OwnedFd::from(fs_err::File::open("/dev/null").unwrap().into_parts().0);
            let done = ask_start(&here, null.as_fd(), null.as_fd(), &asked);
            assert_eq!(done.err().and_then(|error| error.raw_os_error()), expected);
            assert_eq!(served.join().unwrap(), asked);
        }
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(&u32::MAX.to_ne_bytes()).unwrap();
        assert_eq!(environment(&there).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
