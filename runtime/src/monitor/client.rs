//! One attached client: frames in, bounded frames out, and never a wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use mica_runtime::frame::{Decoder, Frame, FrameError, Stream, encode_output};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::receive;

/// How many unsent bytes make a client slow. While one is, the process's output is not read, so it waits in turn.
pub const SLOW: usize = 256 << 10;

/// An attached client.
#[derive(Debug)]
pub struct Client {
    socket: UnixStream,
    decoder: Decoder,
    /// What came along with its frames.
    descriptors: Vec<OwnedFd>,
    out: Vec<u8>,
    sent: usize,
    /// True once it has sent input, or its end.
    pub gave_input: bool,
    /// True for the session that came with the request.
    pub first: bool,
    /// True once it has shut its sending side, and may still be listening.
    pub silent: bool,
    /// True when it wants no output.
    pub quiet: bool,
    /// True once it was told of the end: it gets what is left to it and goes, and nobody waits for it.
    pub leaving: bool,
}

impl Client {
    /// A client on a connected socket.
    pub fn new(socket: UnixStream, first: bool) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            decoder: Decoder::default(),
            descriptors: Vec::new(),
            out: Vec::new(),
            sent: 0,
            gave_input: false,
            first,
            silent: false,
            quiet: false,
            leaving: false,
        })
    }

    /// Queues a frame.
    pub fn send(&mut self, frame: &Frame) {
        frame.encode(&mut self.out);
    }

    /// Queues output.
    pub fn send_output(&mut self, stream: Stream, bytes: &[u8]) {
        if !self.quiet && !self.leaving {
            encode_output(stream, bytes, &mut self.out);
        }
    }

    /// True while it holds up the process's output.
    pub fn is_slow(&self) -> bool {
        !self.leaving && self.unsent() >= SLOW
    }

    /// How many bytes wait.
    pub fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Sends what the socket takes. False when the client has gone.
    pub fn flush(&mut self) -> bool {
        while self.unsent() > 0 {
            let rest = self.out.get(self.sent..).unwrap_or_default();
            match rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => self.sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return false,
            }
        }
        if self.unsent() == 0 {
            self.out.clear();
            self.sent = 0;
        } else if self.sent > SLOW {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        true
    }

    /// Receives what is there. False when the client has gone.
    pub fn receive(&mut self, buffer: &mut [u8]) -> bool {
        match receive::bytes(&self.socket, buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                self.silent = true;
                true
            }
            Ok((count, descriptors)) => {
                self.descriptors.extend(descriptors);
                self.decoder.push(buffer.get(..count).unwrap_or_default());
                true
            }
            Err(error) => matches!(error, Errno::INTR | Errno::AGAIN),
        }
    }

    /// The descriptors that came along with its frames.
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    /// The next frame it sent.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        self.decoder.next_frame()
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
