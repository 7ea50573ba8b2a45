//! `ADD` of a local archive: recognised by its content, extracted by the layer crate, which never leaves its root.

use std::io::{BufReader, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;

use mica_layer::{Compression, Decoder, Limits, Target, Whiteouts, apply, beneath};
use rustix::fs::{Mode, OFlags};

use super::tree::files;
use crate::error::Fault;

const BLOCK: usize = 512;

/// Whether a file is a tar archive, compressed or not.
pub(super) fn is_archive(root: BorrowedFd<'_>, path: &Path) -> Result<bool, Fault> {
    let mut head = Vec::new();
    let file = open(root, path)?;
    let read = |source| Fault::from(mica_engine::Error::Io { operation: "read", path: path.to_owned(), source });
    file.take(BLOCK as u64).read_to_end(&mut head).map_err(read)?;
    // What bzip2 and xz hold cannot be told without a decoder, and copying an archive that should have been extracted
    // would go unnoticed.
    let unknown = head.starts_with(b"BZh") || head.starts_with(b"\xfd7zXZ\0");
    if unknown {
        return Err(Fault::Unsupported(format!(
            "`ADD` of `{}`, which is bzip2 or xz (`ADD --unpack=false` copies it)",
            path.display()
        )));
    }
    match Compression::detect(&head) {
        Ok(Compression::None) | Err(_) => return Ok(is_header(&head)),
        Ok(_) => {}
    }
    let mut first = Vec::new();
    // A file that only looks compressed is copied as it is.
    let readable = Decoder::new(open(root, path)?).map(|decoder| decoder.take(BLOCK as u64).read_to_end(&mut first));
    Ok(matches!(readable, Ok(Ok(_))) && is_header(&first))
}

/// Extracts an archive into a directory. What stands there and is not in the archive stays.
pub(super) fn unpack(root: BorrowedFd<'_>, path: &Path, into: BorrowedFd<'_>) -> Result<(), Fault> {
    let decoder = Decoder::new(open(root, path)?).map_err(files("extract", path))?;
    let target = Target { root: into, merged: None, whiteouts: Whiteouts::OciFiles };
    apply(decoder, &target, &Limits::default()).map(drop).map_err(files("extract", path))
}

fn open(root: BorrowedFd<'_>, path: &Path) -> Result<BufReader<fs_err::File>, Fault> {
    let file = beneath::open(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty());
    Ok(BufReader::new(fs_err::File::from_parts(file.map_err(files("open", path))?.into(), path)))
}

/// Whether a block is a tar header: its checksum is right. An empty archive starts with zeros and is none.
fn is_header(block: &[u8]) -> bool {
    if block.len() < BLOCK {
        return false;
    }
    let text: String = block[148..156].iter().map(|byte| char::from(*byte)).collect();
    let Ok(expected) = u32::from_str_radix(text.trim_matches(['\0', ' ']), 8) else { return false };
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { u32::from(b' ') } else { u32::from(*byte) })
        .sum();
    sum == expected && block[0] != 0
}
