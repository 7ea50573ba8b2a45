//! Receiving frames with the descriptors that come along.

use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use mica_runtime::frame::{Decoder, Frame};
use mica_runtime::request::{DESCRIPTORS, Request};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// The request and the descriptors that came along.
pub fn request(mut socket: &UnixStream) -> io::Result<(Request, Vec<OwnedFd>)> {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 64 << 10];
    let (mut read, descriptors) = bytes(socket, &mut buffer, RecvFlags::empty())?;
    loop {
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        decoder.push(buffer.get(..read).unwrap_or_default());
        match decoder.next_frame().map_err(io::Error::other)? {
            Some(Frame::Request(json)) => return Ok((serde_json::from_slice(&json)?, descriptors)),
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
            None => read = socket.read(&mut buffer)?,
        }
    }
}

/// What is there, with its descriptors.
pub fn bytes(socket: &UnixStream, buffer: &mut [u8], flags: RecvFlags) -> rustix::io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut slices, &mut ancillary, flags | RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut received = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
            received.extend(descriptors);
        }
    }
    Ok((message.bytes, received))
}
