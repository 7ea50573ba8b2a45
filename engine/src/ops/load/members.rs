//! The members of an archive on disk: where each one's bytes lie, found by hopping from header to header.
//!
//! Nothing is extracted and no name from the archive ever becomes a path. A member that is a link is followed among the
//! members only (old `docker save` wrote repeated layers as links), so one that points to the host's files finds nothing.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use mica_layer::Digest;
use tar::{EntryType, Header};

use crate::store::Store;
use crate::store::content::{DOCUMENT_MAX, Ingest};
use crate::{Error, Kind, Result};

const BLOCK: u64 = 512;
/// The most bytes of a long name or of attributes.
const EXTENSION_MAX: u64 = 1 << 20;
/// The most members: a thousand images of a hundred layers.
const MEMBERS_MAX: usize = 100_000;
/// How many links in a row are followed.
const LINKS_MAX: usize = 8;

/// An archive and what it holds.
#[derive(Debug)]
pub(super) struct Members {
    file: File,
    by_name: HashMap<String, Member>,
}

#[derive(Debug, Clone)]
enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// The name of another member.
    Link(String),
    Other,
}

/// The bytes of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl Members {
    /// Reads all headers.
    pub(super) fn read(file: File) -> Result<Members> {
        let length = file.metadata().map_err(Error::io("stat", "the archive"))?.len();
        let mut by_name = HashMap::new();
        let mut walk = Walk { file: &file, length, position: 0 };
        while let Some((name, member)) = walk.next()? {
            if by_name.len() >= MEMBERS_MAX {
                return Err(refused(format!("the archive has more than {MEMBERS_MAX} members")));
            }
            // A name that climbs has no clean form, so nothing can ask for it.
            if let Some(name) = clean("", &name) {
                by_name.insert(name, member);
            }
        }
        Ok(Members { file, by_name })
    }

    /// True when there is such a member.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Finds a member's bytes.
    pub(super) fn find(&self, name: &str) -> Result<Extent> {
        let shown = || name.chars().take(200).flat_map(char::escape_debug).collect::<String>();
        let mut wanted =
            clean("", name).ok_or_else(|| refused(format!("`{}` is not the name of a member", shown())))?;
        for _ in 0..LINKS_MAX {
            match self.by_name.get(&wanted) {
                Some(Member::File { offset, size }) => return Ok(Extent { offset: *offset, size: *size }),
                Some(Member::Link(target)) => wanted.clone_from(target),
                Some(Member::Other) => {
                    return Err(refused(format!("member `{}` of the archive is not a file", shown())));
                }
                None => return Err(refused(format!("the archive has no member `{}`", shown()))),
            }
        }
        Err(refused(format!("member `{}` of the archive is a link that leads nowhere", shown())))
    }

    /// Reads a manifest, index or config.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>> {
        let extent = self.find(name)?;
        if extent.size > DOCUMENT_MAX {
            return Err(refused(format!(
                "`{name}` has {} bytes, and no more than {DOCUMENT_MAX} are read",
                extent.size
            )));
        }
        let mut bytes = vec![0; usize::try_from(extent.size).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, extent.offset).map_err(Error::io("read", "the archive"))?;
        Ok(bytes)
    }

    /// Finds the blob with this digest and size in the layout of the image specification.
    pub(super) fn blob(&self, digest: &Digest, size: u64) -> Result<Extent> {
        let extent = self.find(&blob_name(digest))?;
        if extent.size != size {
            return Err(corrupt(format!("blob `{digest}` has {} bytes, and its descriptor says {size}", extent.size)));
        }
        Ok(extent)
    }

    /// Reads the blob with this digest and size, a manifest, index or config, and verifies it.
    pub(super) fn blob_document(&self, digest: &Digest, size: u64) -> Result<Vec<u8>> {
        self.blob(digest, size)?;
        let bytes = self.document(&blob_name(digest))?;
        verify(&bytes, digest)?;
        Ok(bytes)
    }

    /// Copies a member's bytes into the store. What is read and verified afterwards is the copy, which nobody else can write.
    pub(super) fn take(&self, store: &Store, extent: Extent) -> Result<Ingest> {
        let mut ingest = store.ingest()?;
        let path = ingest.path().to_owned();
        copy(&self.file, extent, ingest.file()).map_err(Error::io("copy the archive to", path))?;
        Ok(ingest)
    }
}

/// Refuses bytes that do not have the digest.
pub(super) fn verify(bytes: &[u8], digest: &Digest) -> Result<()> {
    let mut hasher = mica_layer::Hasher::with(digest.algorithm());
    hasher.update(bytes);
    let found = hasher.finish();
    if found == *digest { Ok(()) } else { Err(corrupt(format!("`{digest}` in the archive has the digest `{found}`"))) }
}

/// A digest's place in the layout of the image specification.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The archive breaks a rule.
pub(super) fn refused(message: String) -> Error {
    Error::refused(Kind::InvalidInput, message)
}

/// The archive's bytes are not what it says they are.
pub(super) fn corrupt(message: String) -> Error {
    Error::refused(Kind::Corrupt, message)
}

struct Walk<'a> {
    file: &'a File,
    length: u64,
    position: u64,
}

impl Walk<'_> {
    /// The next member with its name, extensions taken into account.
    fn next(&mut self) -> Result<Option<(String, Member)>> {
        let (mut name, mut link, mut size) = (None, None, None);
        loop {
            let at = self.position;
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.entry_type();
            let own = header.entry_size().map_err(|_| malformed(at, "the size is not a number"))?;
            let extends = matches!(
                kind,
                EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
            );
            let length = if extends { own } else { size.unwrap_or(own) };
            let offset = at + BLOCK;
            let end = offset
                .checked_add(length)
                .filter(|end| *end <= self.length)
                .ok_or_else(|| malformed(at, "it ends before its content does"))?;
            self.position = end.div_ceil(BLOCK) * BLOCK;
            match kind {
                EntryType::GNULongName => name = Some(text(&self.extension(offset, length)?)),
                EntryType::GNULongLink => link = Some(text(&self.extension(offset, length)?)),
                EntryType::XHeader => {
                    let records = self.extension(offset, length)?;
                    for (key, value) in
                        records_of(&records).ok_or_else(|| malformed(at, "its extended header is broken"))?
                    {
                        match key {
                            b"path" => name = Some(text(value)),
                            b"linkpath" => link = Some(text(value)),
                            b"size" => {
                                size = Some(number(value).ok_or_else(|| malformed(at, "the size is not a number"))?)
                            }
                            sparse if sparse.starts_with(b"GNU.sparse.") => {
                                return Err(malformed(at, "a member is a sparse file"));
                            }
                            _ => {}
                        }
                    }
                }
                EntryType::XGlobalHeader => {}
                _ => {
                    let name = name.unwrap_or_else(|| text(&header.path_bytes()));
                    let link =
                        link.unwrap_or_else(|| header.link_name_bytes().map(|bytes| text(&bytes)).unwrap_or_default());
                    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                    let member = match kind {
                        EntryType::Regular | EntryType::Continuous => Member::File { offset, size: length },
                        EntryType::Symlink => clean(directory, &link).map_or(Member::Other, Member::Link),
                        EntryType::Link => clean("", &link).map_or(Member::Other, Member::Link),
                        _ => Member::Other,
                    };
                    return Ok(Some((name, member)));
                }
            }
        }
    }

    /// The header at the position; `None` at the end.
    fn header(&self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK as usize];
        if self.position + BLOCK > self.length {
            // Some writers leave the end marker out.
            return if self.position >= self.length {
                Ok(None)
            } else {
                Err(malformed(self.position, "it is cut short"))
            };
        }
        self.file.read_exact_at(&mut block, self.position).map_err(Error::io("read", "the archive"))?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block);
        let spaces = 8 * u32::from(b' ');
        let sum = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + spaces;
        if header.cksum().ok() != Some(sum) {
            return Err(malformed(self.position, "this is not a tar header"));
        }
        Ok(Some(header.clone()))
    }

    fn extension(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        if length > EXTENSION_MAX {
            return Err(malformed(offset, "a name or an extended header has more than a mebibyte"));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, offset).map_err(Error::io("read", "the archive"))?;
        Ok(bytes)
    }
}

fn malformed(offset: u64, reason: &str) -> Error {
    Error::refused(Kind::InvalidInput, format!("the file is not a sound archive: at byte {offset}, {reason}"))
}

/// A name without its terminator. Bytes that are not UTF-8 become something no manifest can ask for.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The records `length key=value\n` of an extended header.
fn records_of(mut bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let length = usize::try_from(number(&bytes[..space])?).ok()?;
        let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        records.push((&record[..equals], &record[equals + 1..]));
        bytes = &bytes[length..];
    }
    Some(records)
}

/// A member's name in its one form, seen from a directory of the archive; `None` when it leaves the archive.
fn clean(directory: &str, name: &str) -> Option<String> {
    if name.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Copies inside the kernel where it can; the file position of neither file counts, so threads may share the archive.
fn copy(from: &File, extent: Extent, to: &mut File) -> std::io::Result<()> {
    let (mut offset, mut left) = (extent.offset, extent.size);
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut offset), &*to, None, length) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => left -= count as u64,
            Err(rustix::io::Errno::INTR) => {}
            // Another file system, or one without the call.
            Err(_) => return copy_through(from, Extent { offset, size: left }, to),
        }
    }
    Ok(())
}

fn copy_through(from: &File, mut extent: Extent, to: &mut File) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 18];
    while extent.size > 0 {
        let length = buffer.len().min(usize::try_from(extent.size).unwrap_or(usize::MAX));
        let count = from.read_at(&mut buffer[..length], extent.offset)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&buffer[..count])?;
        extent = Extent { offset: extent.offset + count as u64, size: extent.size - count as u64 };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form_and_do_not_climb() {
        for (directory, name, expected) in [
            ("", "./a//b/", Some("a/b")),
            ("x", "../y/layer.tar", Some("y/layer.tar")),
            ("", "../a", None),
            ("a", "../../b", None),
            ("", "/etc/passwd", None),
            ("", "a/../../b", None),
        ] {
            assert_eq!(clean(directory, name).as_deref(), expected, "{directory} {name}");
        }
    }

    #[test]
    fn extended_headers_parse_or_are_refused() {
        assert_eq!(records_of(b"10 path=a\n11 size=42\n"), Some(vec![(&b"path"[..], &b"a"[..]), (b"size", b"42")]));
        for broken in
            [&b"8 path=a\n"[..], b"99 path=a\n", b"x path=a\n", b"8 path\n\n", b"0 a=b\n", b"10path=ab\n", b"-1 a=b\n"]
        {
            assert_eq!(records_of(broken), None, "{:?}", broken.escape_ascii().to_string());
        }
    }
}
