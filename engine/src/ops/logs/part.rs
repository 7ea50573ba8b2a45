//! One file of a json-file log, as it was written or compressed (`.gz`), with what tells it from the others.

use std::fs::File;
use std::io::{Read, Result, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;

use flate2::read::GzDecoder;

/// How much is read at a time.
pub(super) const CHUNK: usize = 64 << 10;

/// An open file.
#[derive(Debug)]
pub(super) struct Part {
    content: Content,
    /// The inode of what was written, which a compressed file has in its header: a file keeps it whatever becomes of its name.
    pub(super) inode: u64,
}

#[derive(Debug)]
enum Content {
    Plain(File),
    /// What is in front of the decoder's next byte comes first.
    Packed {
        decoder: Box<GzDecoder<File>>,
        front: Vec<u8>,
    },
}

impl Part {
    /// A file that may grow.
    pub(super) fn plain(file: File) -> Result<Self> {
        let inode = file.metadata()?.ino();
        Ok(Self { content: Content::Plain(file), inode })
    }

    /// A compressed file.
    pub(super) fn packed(file: File) -> Result<Self> {
        let own = file.metadata()?.ino();
        let decoder = Box::new(GzDecoder::new(file));
        let comment = decoder.header().and_then(|header| header.comment()).unwrap_or_default();
        let inode = std::str::from_utf8(comment).ok().and_then(|text| text.parse().ok()).unwrap_or(own);
        Ok(Self { content: Content::Packed { decoder, front: Vec::new() }, inode })
    }

    /// Goes before the last `wanted` lines and says how many there are.
    pub(super) fn seek_back(&mut self, wanted: u64) -> Result<u64> {
        match &mut self.content {
            Content::Plain(file) => seek_back(file, wanted),
            Content::Packed { decoder, front } => {
                let lines = count_lines(decoder);
                let mut file = decoder.get_ref().try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                **decoder = GzDecoder::new(file);
                *front = skip_lines(decoder, lines.saturating_sub(wanted));
                Ok(lines.min(wanted))
            }
        }
    }
}

impl Read for Part {
    /// A compressed file that is damaged ends where the damage begins.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match &mut self.content {
            Content::Plain(file) => file.read(buffer),
            Content::Packed { decoder, front } if front.is_empty() => Ok(read_whole(decoder, buffer)),
            Content::Packed { front, .. } => {
                let count = front.len().min(buffer.len());
                buffer[..count].copy_from_slice(&front[..count]);
                front.drain(..count);
                Ok(count)
            }
        }
    }
}

fn read_whole(decoder: &mut GzDecoder<File>, buffer: &mut [u8]) -> usize {
    decoder.read(buffer).unwrap_or_else(|error| {
        tracing::warn!(%error, "a compressed log is damaged");
        0
    })
}

fn count_lines(decoder: &mut GzDecoder<File>) -> u64 {
    let (mut chunk, mut found) = (vec![0; CHUNK], 0);
    loop {
        match read_whole(decoder, &mut chunk) {
            0 => return found,
            count => found += chunk[..count].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

/// Reads past this many lines, and returns what was read beyond them.
fn skip_lines(decoder: &mut GzDecoder<File>, mut lines: u64) -> Vec<u8> {
    let mut chunk = vec![0; CHUNK];
    while lines > 0 {
        let count = read_whole(decoder, &mut chunk);
        if count == 0 {
            break;
        }
        for (at, _) in chunk[..count].iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            lines -= 1;
            if lines == 0 {
                return chunk[at + 1..count].to_vec();
            }
        }
    }
    Vec::new()
}

/// Puts a file before its last `wanted` lines and says how many there are.
fn seek_back(file: &mut File, wanted: u64) -> Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    if wanted == 0 {
        return Ok(0);
    }
    let mut found = 0;
    let mut chunk = vec![0; CHUNK];
    let mut at_end = true;
    while end > 0 {
        let begin = end.saturating_sub(CHUNK as u64);
        let part = &mut chunk[..(end - begin) as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(part)?;
        for (at, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            // The end of the last line is not the beginning of another.
            if at_end && begin + at as u64 + 1 == file_length(file)? {
                at_end = false;
                continue;
            }
            at_end = false;
            found += 1;
            if found == wanted {
                file.seek(SeekFrom::Start(begin + at as u64 + 1))?;
                return Ok(found);
            }
        }
        end = begin;
    }
    file.seek(SeekFrom::Start(0))?;
    let first_line = u64::from(file_length(file)? > 0);
    Ok(found + first_line)
}

fn file_length(file: &File) -> Result<u64> {
    file.metadata().map(|metadata| metadata.len())
}
