//! The writer: POSIX ustar headers, with a pax extension only where ustar cannot hold a value.
//!
//! Deterministic by construction: no user names, no access or change times, records in a fixed order, and the name of
//! an extension header says nothing of the process that wrote it.

use std::fmt;
use std::io::{Read, Write};

use super::{BLOCK, Entry, Kind, pax};
use crate::error::{Error, Result};

/// A tar archive being written.
pub struct Writer<W> {
    sink: W,
    size: u64,
    records: Vec<u8>,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes to `sink`, in pieces as small as a header: give it a buffer.
    pub fn new(sink: W) -> Writer<W> {
        Writer { sink, size: 0, records: Vec::new(), buffer: Vec::new() }
    }

    /// Writes an entry; a regular file's content is read from `content`, exactly `entry.size` bytes of it.
    ///
    /// A sparse map in `entry` is not written: holes become zeros.
    pub fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        self.header(entry)?;
        if entry.kind == Kind::File { self.content(entry, content) } else { Ok(()) }
    }

    /// Writes the end marker, and returns the sink and the size of the archive.
    pub fn finish(mut self) -> Result<(W, u64)> {
        self.put(&[0; 2 * BLOCK])?;
        self.sink.flush().map_err(Error::Sink)?;
        Ok((self.sink, self.size))
    }

    fn header(&mut self, entry: &Entry) -> Result<()> {
        let mut path = entry.path.clone();
        if entry.kind == Kind::Directory && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let mut block = [0; BLOCK];
        let size = if entry.kind == Kind::File { entry.size } else { 0 };
        let mut records = std::mem::take(&mut self.records);
        records.clear();
        if !put_name(&mut block, &path) {
            pax::append(&mut records, b"path", &path);
            put_text(&mut block[..100], &path);
        }
        if !put_text(&mut block[157..257], &entry.link) {
            pax::append(&mut records, b"linkpath", &entry.link);
        }
        put_octal(&mut block[100..108], u64::from(entry.mode & 0o7777));
        for (at, key, id) in [(108, &b"uid"[..], entry.uid), (116, &b"gid"[..], entry.gid)] {
            if !put_octal(&mut block[at..at + 8], u64::from(id)) {
                pax::append(&mut records, key, id.to_string().as_bytes());
            }
        }
        if !put_octal(&mut block[124..136], size) {
            pax::append(&mut records, b"size", size.to_string().as_bytes());
        }
        let seconds = u64::try_from(entry.mtime.seconds).ok();
        let whole = seconds.is_some_and(|s| put_octal(&mut block[136..148], s));
        if !whole || entry.mtime.nanoseconds != 0 {
            pax::append(&mut records, b"mtime", time(entry).as_bytes());
        }
        if !whole {
            put_octal(&mut block[136..148], 0);
        }
        if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
            put_device(&mut block[329..337], entry.major);
            put_device(&mut block[337..345], entry.minor);
        }
        for (name, value) in &entry.xattrs {
            pax::append(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        block[156] = match entry.kind {
            Kind::File => b'0',
            Kind::HardLink => b'1',
            Kind::Symlink => b'2',
            Kind::CharDevice => b'3',
            Kind::BlockDevice => b'4',
            Kind::Directory => b'5',
            Kind::Fifo => b'6',
        };
        if !records.is_empty() {
            self.extension(&records)?;
        }
        self.records = records;
        self.block(block)
    }

    fn extension(&mut self, records: &[u8]) -> Result<()> {
        let mut block = [0; BLOCK];
        put_text(&mut block[..100], b"./PaxHeaders/entry");
        put_octal(&mut block[100..108], 0o644);
        put_octal(&mut block[108..116], 0);
        put_octal(&mut block[116..124], 0);
        put_octal(&mut block[124..136], records.len() as u64);
        put_octal(&mut block[136..148], 0);
        block[156] = b'x';
        self.block(block)?;
        self.put(records)?;
        self.pad(records.len() as u64)
    }

    fn content(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        self.buffer.resize(256 * 1024, 0);
        let mut left = entry.size;
        while left > 0 {
            let want = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = content.read(&mut self.buffer[..want]).map_err(|e| Error::io("read", &entry.path, e))?;
            if read == 0 {
                // A file that shrinks while it is read: filling up with zeros would archive what never existed.
                let short = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "file shrank while it was read");
                return Err(Error::io("read", &entry.path, short));
            }
            self.sink.write_all(&self.buffer[..read]).map_err(Error::Sink)?;
            self.size += read as u64;
            left -= read as u64;
        }
        self.pad(entry.size)
    }

    /// Completes a header with what all have in common, and writes it.
    fn block(&mut self, mut block: [u8; BLOCK]) -> Result<()> {
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].copy_from_slice(b"        ");
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        put_octal(&mut block[148..155], sum);
        self.put(&block)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.size += bytes.len() as u64;
        self.sink.write_all(bytes).map_err(Error::Sink)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let padding = usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or(0);
        self.put(&[0; BLOCK][..padding])
    }
}

impl<W> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Puts a name into its field, or splits it at a slash into prefix and name; false when neither can hold it.
fn put_name(block: &mut [u8; BLOCK], path: &[u8]) -> bool {
    if path.len() <= 100 {
        return put_text(&mut block[..100], path);
    }
    // The slash between the two fields is not stored; the name must not be empty, as a directory's last slash would
    // leave it.
    let from = path.len().saturating_sub(101);
    for at in from..path.len().min(156).saturating_sub(1) {
        if path[at] == b'/' && at > 0 && at + 1 < path.len() {
            put_text(&mut block[..100], &path[at + 1..]);
            put_text(&mut block[345..500], &path[..at]);
            return true;
        }
    }
    false
}

/// Puts as much of a text as fits; true when all of it did.
fn put_text(field: &mut [u8], text: &[u8]) -> bool {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
    length == text.len()
}

/// Puts a number as octal digits and a final zero byte; when it does not fit, puts 0 and returns false.
fn put_octal(field: &mut [u8], number: u64) -> bool {
    let digits = field.len() - 1;
    let fits = digits * 3 >= 64 || number >> (digits * 3) == 0;
    let mut rest = if fits { number } else { 0 };
    for digit in field[..digits].iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest & 7).unwrap_or(0);
        rest >>= 3;
    }
    field[digits] = 0;
    fits
}

/// Puts a device number, in GNU's base-256 where octal cannot hold it: pax has no record for it.
fn put_device(field: &mut [u8], number: u32) {
    if !put_octal(field, u64::from(number)) {
        field.fill(0);
        field[0] = 0x80;
        field[4..8].copy_from_slice(&number.to_be_bytes());
    }
}

fn time(entry: &Entry) -> String {
    let (seconds, nanoseconds) = (entry.mtime.seconds, entry.mtime.nanoseconds);
    // Before 1970 the fraction runs the other way: 0.25 s before -3 s is stored as (-4, 750 000 000) and written -3.25.
    let (sign, seconds, nanoseconds) = match (seconds < 0, nanoseconds) {
        (false, n) => ("", seconds.unsigned_abs(), n),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, n) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - n),
    };
    if nanoseconds == 0 {
        return format!("{sign}{seconds}");
    }
    let fraction = format!("{nanoseconds:09}");
    format!("{sign}{seconds}.{}", fraction.trim_end_matches('0'))
}
