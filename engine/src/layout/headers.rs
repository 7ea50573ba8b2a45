//! The headers of an archive on disk: which members it has and where each one's bytes lie, found by hopping from one to the next.
//!
//! No name from the archive ever becomes a path. A member that is a link is followed among the members only (old `docker save`
//! wrote repeated layers as links), so one that points to the host's files finds nothing.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use tar::{EntryType, Header};

use super::members::refused;
use crate::{Error, Kind, Result};

const BLOCK: u64 = 512;
/// The most bytes of a long name or of attributes.
const EXTENSION_MAX: u64 = 1 << 20;
/// The most members: a thousand images of a hundred layers.
const MEMBERS_MAX: usize = 100_000;

/// What a header says.
#[derive(Debug, Clone)]
pub(super) enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// The name of another member.
    Link(String),
    Other,
}

/// Reads all headers.
pub(super) fn read(file: &File) -> Result<HashMap<String, Member>> {
    let length = file.metadata().map_err(Error::io("stat", "the archive"))?.len();
    let mut by_name = HashMap::new();
    let mut walk = Walk { file, length, position: 0 };
    while let Some((name, member)) = walk.next()? {
        if by_name.len() >= MEMBERS_MAX {
            return Err(refused(format!("the archive has more than {MEMBERS_MAX} members")));
        }
        // A name that climbs has no clean form, so nothing can ask for it.
        if let Some(name) = clean("", &name) {
            by_name.insert(name, member);
        }
    }
    Ok(by_name)
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
pub(super) fn clean(directory: &str, name: &str) -> Option<String> {
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
