//! The reader: a stream of entries, with their content lent straight from the source's buffer.

use std::fmt;
use std::io::{BufRead, Read};

use super::header::Header;
use super::pax::{self, Records};
use super::{BLOCK, EXTENSION_MAX, Entry, Kind, NAME_MAX, Segment, sparse};
use crate::copy::Owners;
use crate::error::{Error, Result};

/// A tar archive being read.
///
/// ```
/// # use mica_layer::archive::{Archive, Entry, Writer};
/// # let mut tar = Vec::new();
/// # let mut writer = Writer::new(&mut tar);
/// # writer.append(&Entry { path: b"hello".to_vec(), mode: 0o644, size: 5, ..Entry::default() }, &mut &b"world"[..])?;
/// # writer.finish()?;
/// let mut archive = Archive::new(&tar[..]);
/// while let Some(entry) = archive.next()? {
///     assert_eq!(entry.path, b"hello");
///     let mut content = Vec::new();
///     archive.read_content(&mut content, 1024)?;
///     assert_eq!(content, b"world");
/// }
/// # Ok::<(), mica_layer::Error>(())
/// ```
pub struct Archive<R> {
    source: R,
    entry: Entry,
    /// Stored bytes of the current entry that have not been lent yet.
    stored: u64,
    /// Bytes between the end of the content and the next header.
    padding: u64,
    /// How many bytes of the stream have been consumed.
    offset: u64,
    /// Where the header of the current entry starts.
    header: u64,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Start,
    Entries,
    End,
}

impl<R: BufRead> Archive<R> {
    /// Reads from `source`, which should have a large buffer: content is written straight from it.
    pub fn new(source: R) -> Archive<R> {
        let entry = Entry::default();
        Archive { source, entry, stored: 0, padding: 0, offset: 0, header: 0, state: State::Start }
    }

    /// Goes to the next entry, skipping what was not read of the current one; nothing at the end of the archive.
    // Not an Iterator: the entry is lent, so that its buffers serve for all entries.
    #[expect(clippy::should_implement_trait, reason = "it lends, which Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<&Entry>> {
        if self.state == State::End {
            return Ok(None);
        }
        self.skip(self.stored + self.padding)?;
        (self.stored, self.padding) = (0, 0);
        if !self.read_entry()? {
            self.state = State::End;
            return Ok(None);
        }
        Ok(Some(&self.entry))
    }

    /// Gives the current entry another owner and group.
    pub fn change_owner(&mut self, owners: &Owners<'_>) {
        (self.entry.uid, self.entry.gid) = owners((self.entry.uid, self.entry.gid));
    }

    /// The entry [`Archive::next`] went to.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The next stored bytes of the entry's content, for the caller to [`Archive::consume`]; empty at its end.
    ///
    /// For a sparse file these are the bytes of its segments, one after the other.
    pub fn content(&mut self) -> Result<&[u8]> {
        if self.stored == 0 {
            return Ok(&[]);
        }
        let offset = self.offset;
        let chunk = self.source.fill_buf().map_err(Error::Source)?;
        if chunk.is_empty() {
            return Err(Error::Truncated { offset });
        }
        let length = chunk.len().min(usize::try_from(self.stored).unwrap_or(usize::MAX));
        Ok(&chunk[..length])
    }

    /// Marks bytes that [`Archive::content`] lent as used.
    pub fn consume(&mut self, length: usize) {
        let length = length.min(usize::try_from(self.stored).unwrap_or(usize::MAX));
        self.source.consume(length);
        self.stored -= length as u64;
        self.offset += length as u64;
    }

    /// Appends the entry's content to `out`, refusing more than `limit` bytes before reading any.
    pub fn read_content(&mut self, out: &mut Vec<u8>, limit: u64) -> Result<()> {
        if self.stored > limit {
            return Err(Error::Limit { what: "bytes in one file", limit });
        }
        loop {
            let chunk = self.content()?;
            let length = chunk.len();
            if length == 0 {
                return Ok(());
            }
            out.extend_from_slice(chunk);
            self.consume(length);
        }
    }

    /// The source, at whatever follows the archive's end marker: padding, as a rule.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// Reads headers until one describes an entry; false at the end of the archive.
    fn read_entry(&mut self) -> Result<bool> {
        self.entry.clear();
        let mut records = Records::default();
        let (mut long_name, mut long_link) = (None, None);
        let mut extended = false;
        let mut block = [0; BLOCK];
        loop {
            self.header = self.offset;
            if !self.read_block(&mut block)? {
                return self.ended(extended);
            }
            // One zero block ends an archive. There should be two, but a reader that insists is of no use to anyone.
            if block.iter().all(|b| *b == 0) {
                return self.ended(extended);
            }
            let Some(header) = Header::new(&block) else {
                return Err(match self.state {
                    State::Start => Error::NotAnArchive("the first header has a wrong checksum"),
                    _ => self.malformed("header has a wrong checksum"),
                });
            };
            self.state = State::Entries;
            let size = header.size().and_then(|s| u64::try_from(s).map_err(|_| "size is negative"));
            let size = size.map_err(|e| self.malformed(e))?;
            match header.typeflag() {
                // Defaults for the whole archive: git writes a comment. Nobody who unpacks layers honours them, and a
                // layer must not mean something else here than elsewhere.
                b'g' => drop(self.extension(size)?),
                b'x' => {
                    let block = self.extension(size)?;
                    records = Records::default();
                    pax::parse(&block, &mut records).map_err(|e| self.malformed(e))?;
                    extended = true;
                }
                b'L' | b'K' => {
                    if size > NAME_MAX as u64 + 1 {
                        return Err(self.malformed("long name is longer than a path can be"));
                    }
                    let mut name = self.extension(size)?;
                    name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
                    *(if header.typeflag() == b'L' { &mut long_name } else { &mut long_link }) = Some(name);
                    extended = true;
                }
                _ => {
                    self.stored = size;
                    self.describe(&header, records, long_name, long_link)?;
                    return Ok(true);
                }
            }
        }
    }

    fn ended(&self, extended: bool) -> Result<bool> {
        if self.state == State::Start && self.offset == 0 {
            return Err(Error::NotAnArchive("it is empty"));
        }
        if extended {
            return Err(self.malformed("extension header is followed by no entry"));
        }
        Ok(false)
    }

    /// Fills in the entry from its header and what came before it, which wins.
    fn describe(
        &mut self,
        header: &Header<'_>,
        mut records: Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<()> {
        let bad = |e: &str| Error::Malformed { offset: self.header, reason: e.to_owned() };
        let entry = &mut self.entry;
        match records.sparse.name.take().or(records.path).or(long_name) {
            Some(name) => entry.path = name,
            None => {
                entry.path.extend_from_slice(header.prefix());
                if !entry.path.is_empty() {
                    entry.path.push(b'/');
                }
                entry.path.extend_from_slice(header.name());
            }
        }
        match records.link.or(long_link) {
            Some(link) => entry.link = link,
            None => entry.link.extend_from_slice(header.link()),
        }
        entry.kind = match header.typeflag() {
            // Before ustar, a directory was a file whose name ends in a slash.
            b'0' | 0 | b'7' | b'S' if entry.path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                let reason = format!("entry has the unknown type `{}`", other.escape_ascii());
                return Err(Error::refused(&entry.path, reason));
            }
        };
        entry.mode = header.mode().map_err(bad)?;
        entry.uid = id(records.uid, || header.uid()).map_err(bad)?;
        entry.gid = id(records.gid, || header.gid()).map_err(bad)?;
        entry.mtime = match records.mtime {
            Some(time) => time,
            None => super::Time { seconds: header.mtime().map_err(bad)?, nanoseconds: 0 },
        };
        if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
            let (major, minor) = header.device().map_err(bad)?;
            let range = |_| bad("device number is out of range");
            (entry.major, entry.minor) = (major.try_into().map_err(range)?, minor.try_into().map_err(range)?);
        }
        entry.xattrs = records.xattrs;
        if let Some(size) = records.size {
            self.stored = size;
        }
        // Only files have content, whatever the size says: Go reads it so, and two readers that disagree about where
        // the next header is would see two different layers.
        if entry.kind != Kind::File && header.typeflag() >= b'1' && header.typeflag() <= b'6' {
            self.stored = 0;
        }
        if self.stored > i64::MAX.unsigned_abs() {
            return Err(bad("size is larger than a file can be"));
        }
        self.padding = self.stored.next_multiple_of(BLOCK as u64) - self.stored;
        entry.size = self.stored;
        if header.typeflag() == b'S' {
            let (slots, more, size) = header.gnu_sparse().map_err(bad)?;
            let size = u64::try_from(size).map_err(|_| bad("real size is negative"))?;
            let mut map = Vec::new();
            sparse::gnu(slots, &mut map).map_err(bad)?;
            self.gnu_sparse(map, more, size)?;
        } else if entry.kind == Kind::File && records.sparse.is_present() {
            let size = records.sparse.size.ok_or_else(|| bad("sparse file has no size"))?;
            self.pax_sparse(records.sparse.map, records.sparse.map_in_content, size)?;
        }
        let entry = &mut self.entry;
        while entry.path.len() > 1 && entry.path.ends_with(b"/") {
            entry.path.pop();
        }
        if entry.path.len() > NAME_MAX {
            return Err(self.malformed("name is longer than a path can be"));
        }
        Ok(())
    }

    fn gnu_sparse(&mut self, mut map: Vec<Segment>, mut more: bool, size: u64) -> Result<()> {
        let mut block = [0; BLOCK];
        while more {
            if !self.read_block(&mut block)? {
                return Err(Error::Truncated { offset: self.offset });
            }
            sparse::gnu(&block[..504], &mut map).map_err(|e| self.malformed(e))?;
            more = block[504] != 0;
        }
        self.set_sparse(map, size)
    }

    fn pax_sparse(&mut self, mut map: Vec<Segment>, in_content: bool, size: u64) -> Result<()> {
        if in_content {
            let mut lines = Lines { archive: self, block: [0; BLOCK], at: BLOCK };
            let count = lines.number()?;
            for _ in 0..count {
                let segment = Segment { offset: lines.number()?, length: lines.number()? };
                sparse::push(&mut map, segment).map_err(|e| lines.archive.malformed(e))?;
            }
        }
        self.set_sparse(map, size)
    }

    fn set_sparse(&mut self, mut map: Vec<Segment>, size: u64) -> Result<()> {
        sparse::check(&mut map, size, self.stored).map_err(|e| self.malformed(e))?;
        self.entry.size = size;
        self.entry.sparse = Some(map);
        Ok(())
    }

    /// Reads the content of an extension header and its padding.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > EXTENSION_MAX {
            return Err(self.malformed("extension header is larger than 1 MiB"));
        }
        let offset = self.offset + size;
        let mut content = Vec::new();
        // `take` rather than a buffer of the announced size: nothing is allocated before it has come.
        let read = self.source.by_ref().take(size).read_to_end(&mut content).map_err(Error::Source)?;
        self.offset += read as u64;
        if read as u64 != size {
            return Err(Error::Truncated { offset: self.offset });
        }
        self.skip(offset.next_multiple_of(BLOCK as u64) - offset)?;
        Ok(content)
    }

    /// Reads one block; false when the stream ends exactly before it.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool> {
        let chunk = self.source.fill_buf().map_err(Error::Source)?;
        if chunk.len() >= BLOCK {
            block.copy_from_slice(&chunk[..BLOCK]);
            self.source.consume(BLOCK);
            self.offset += BLOCK as u64;
            return Ok(true);
        }
        let mut filled = 0;
        while filled < BLOCK {
            let read = self.source.read(&mut block[filled..]).map_err(Error::Source)?;
            if read == 0 && filled == 0 {
                return Ok(false);
            }
            if read == 0 {
                return Err(match self.state {
                    State::Start => Error::NotAnArchive("it is shorter than one header"),
                    _ => Error::Truncated { offset: self.offset },
                });
            }
            filled += read;
            self.offset += read as u64;
        }
        Ok(true)
    }

    fn skip(&mut self, mut length: u64) -> Result<()> {
        while length > 0 {
            let chunk = self.source.fill_buf().map_err(Error::Source)?;
            if chunk.is_empty() {
                return Err(Error::Truncated { offset: self.offset });
            }
            let step = chunk.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            self.source.consume(step);
            length -= step as u64;
            self.offset += step as u64;
        }
        Ok(())
    }

    fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::Malformed { offset: self.header, reason: reason.into() }
    }
}

impl<R> fmt::Debug for Archive<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("entry", &self.entry).field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// An owner or group. Neither 2^32 nor -1 may pass: cut to 32 bits the first is root, and the second tells `chown` to
/// leave the file to whoever made it, which is root too.
fn id(record: Option<i64>, header: impl Fn() -> Result<i64, &'static str>) -> Result<u32, &'static str> {
    let id = match record {
        Some(id) => id,
        None => header()?,
    };
    match u32::try_from(id) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err("owner or group is out of range"),
    }
}

/// The lines of decimal numbers that open the content of a sparse file in GNU's encoding 1.0.
struct Lines<'a, R> {
    archive: &'a mut Archive<R>,
    block: [u8; BLOCK],
    at: usize,
}

impl<R: BufRead> Lines<'_, R> {
    fn number(&mut self) -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                if self.archive.stored < BLOCK as u64 || !self.archive.read_block(&mut self.block)? {
                    return Err(self.archive.malformed("sparse map is cut short"));
                }
                self.archive.stored -= BLOCK as u64;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            if byte == b'\n' {
                return pax::decimal(&digits)
                    .ok_or_else(|| self.archive.malformed("sparse map is not a list of numbers"));
            }
            if digits.len() == 20 {
                return Err(self.archive.malformed("sparse map is not a list of numbers"));
            }
            digits.push(byte);
        }
    }
}
