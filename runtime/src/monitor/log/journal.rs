//! The systemd journal by its native protocol (systemd's `JOURNAL_NATIVE_PROTOCOL.md`): one datagram for each line.

use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use mica_engine::runtime::JournalTarget;
use mica_runtime::frame::Stream;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

/// Docker's priorities: what is said on the standard error is an error.
const INFORMATION: &str = "6";
const ERROR: &str = "3";

/// A connected journal.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    /// The fields that every entry has.
    fields: Vec<u8>,
    entry: Vec<u8>,
}

impl Journal {
    /// Connects, which fails where no journal listens.
    pub fn open(target: &JournalTarget) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&target.socket)?;
        let mut fields = Vec::new();
        for (name, value) in &target.fields {
            put(name, value.as_bytes(), &mut fields);
        }
        Ok(Self { socket, fields, entry: Vec::new() })
    }

    /// Sends a line with its newline, or a part of one.
    pub fn send(&mut self, stream: Stream, line: &[u8]) -> io::Result<()> {
        let (message, partial) = match line.strip_suffix(b"\n") {
            Some(message) => (message, false),
            None => (line, true),
        };
        self.entry.clear();
        put("MESSAGE", message, &mut self.entry);
        let priority = if stream == Stream::Stdout { INFORMATION } else { ERROR };
        put("PRIORITY", priority.as_bytes(), &mut self.entry);
        if partial {
            put("CONTAINER_PARTIAL_MESSAGE", b"true", &mut self.entry);
        }
        self.entry.extend_from_slice(&self.fields);
        match rustix::net::send(&self.socket, &self.entry, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            // Longer than a datagram may be: the journal takes a sealed file instead.
            Err(Errno::MSGSIZE | Errno::NOBUFS) => self.send_file(),
            Err(error) => Err(error.into()),
        }
    }

    fn send_file(&self) -> io::Result<()> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = std::fs::File::from(rustix::fs::memfd_create("journal-entry", flags)?);
        file.write_all(&self.entry)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [file.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(&[])], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// A field: its value has its length before it when it is more than one line.
fn put(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_datagram() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let fields = [("CONTAINER_NAME".to_owned(), "web".to_owned()), ("TWO".to_owned(), "a\nb".to_owned())];
        let target = JournalTarget { socket: path, fields: fields.into() };
        let mut journal = Journal::open(&target).unwrap();
        let mut buffer = [0; 4096];
        journal.send(Stream::Stdout, b"hello\n").unwrap();
        let read = listener.recv(&mut buffer).unwrap();
        let wanted = b"MESSAGE=hello\nPRIORITY=6\nCONTAINER_NAME=web\nTWO\n\x03\0\0\0\0\0\0\0a\nb\n";
        assert_eq!(buffer[..read], wanted[..]);
        journal.send(Stream::Stderr, b"part").unwrap();
        let read = listener.recv(&mut buffer).unwrap();
        assert!(buffer[..read].starts_with(b"MESSAGE=part\nPRIORITY=3\nCONTAINER_PARTIAL_MESSAGE=true\n"));
        let missing = JournalTarget { socket: directory.path().join("none"), fields: [].into() };
        assert!(Journal::open(&missing).is_err());
    }
}
