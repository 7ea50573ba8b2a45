//! Small processes beside a container: how they are started with what they need, and how they receive it.
//!
//! One is told a line of JSON on its standard input, with descriptors. It lives as long as somebody holds the other end, or
//! as its request says.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Descriptors in one message; the kernel takes at most 253 (unix(7)).
const AT_ONCE: usize = 128;

/// Starts a program and tells it what to do.
pub fn start(program: &Path, request: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<OwnedFd> {
    let failed = |source: io::Error| Error::file("start", program)(source);
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut child = Command::new(program)
        .env_clear()
        .current_dir("/")
        // A key typed at the terminal of whoever starts the container is not meant for it.
        .process_group(0)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    // A caller that outlives the container must not collect zombies.
    std::thread::spawn(move || child.wait());
    let mut text = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    for some in fds.chunks(AT_ONCE) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(some));
        // Descriptors need a byte to travel with, and JSON may begin with spaces.
        rustix::net::sendmsg(&ours, &[IoSlice::new(b" ")], &mut ancillary, SendFlags::NOSIGNAL)
            .map_err(|errno| failed(errno.into()))?;
    }
    (&ours).write_all(&text).map_err(failed)?;
    Ok(ours.into())
}

/// What a helper was told.
#[derive(Debug)]
pub struct Told<T> {
    /// The line.
    pub request: T,
    /// The descriptors.
    pub fds: Vec<OwnedFd>,
    /// What says, by becoming readable, that whoever holds the other end has let go.
    pub line: OwnedFd,
}

/// Waits, in a helper, for what it is told.
pub fn receive<T: DeserializeOwned>() -> io::Result<Told<T>> {
    let line = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let mut text = Vec::new();
    let mut fds = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    while !text.ends_with(b"\n") {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let message = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&line, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        })?;
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                fds.extend(descriptors);
            }
        }
        if message.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.extend(&buffer[..message.bytes]);
    }
    Ok(Told { request: serde_json::from_slice(&text)?, fds, line })
}
