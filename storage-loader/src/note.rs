//! The ELF note of a plugin file: what it says about itself without being run.
//!
//! Read by hand, because it is thirty fixed fields of elf(5) and a crate that parses all of ELF is more code to trust than
//! this. The file may be anything: every number in it is checked before it is used, and only the file header, the program
//! headers and the note segments are read. Deliberately absent: sections, which `strip` may remove.

use std::os::fd::BorrowedFd;

use mica_storage_api::abi::{NOTE_OWNER, NOTE_TYPE};

use crate::error::Refusal;

/// What a plugin's file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// The driver's name.
    pub name: String,
    /// The driver's own version.
    pub version: String,
    /// The ABI it was built for: major, minor.
    pub abi: (u32, u32),
}

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const ET_DYN: u16 = 3;
/// Linkers write a dozen program headers, and a note is some hundred bytes.
const MOST_HEADERS: usize = 256;
const MOST_NOTES: usize = 64 * 1024;
/// Where the fields lie in files of this machine's word size: elf(5), `Elf32_*` and `Elf64_*`.
const AT: Fields = if cfg!(target_pointer_width = "64") {
    Fields { header: 64, phoff: 32, phentsize: 54, phnum: 56, entry: 56, offset: 8, filesz: 32, align: 48 }
} else {
    Fields { header: 52, phoff: 28, phentsize: 42, phnum: 44, entry: 32, offset: 4, filesz: 16, align: 28 }
};

struct Fields {
    header: usize,
    phoff: usize,
    phentsize: usize,
    phnum: usize,
    entry: usize,
    offset: usize,
    filesz: usize,
    align: usize,
}

/// Reads the note of a library; `None` when it has none.
///
/// A file that is cut off is refused here: the kernel would map what is missing, and the first touch of it would end this
/// process with SIGBUS inside of `dlopen`.
pub(crate) fn read(file: BorrowedFd<'_>, size: u64) -> Result<Option<Note>, Refusal> {
    let header = Bytes(exactly(file, 0, AT.header)?);
    let ident = &header.0[..8];
    if !ident.starts_with(b"\x7fELF") {
        return Err(no_library("it is no ELF file"));
    }
    let (class, order) = (if AT.header == 64 { 2 } else { 1 }, if cfg!(target_endian = "little") { 1 } else { 2 });
    if (ident[4], ident[5]) != (class, order) {
        return Err(no_library("it was built for another kind of machine"));
    }
    if header.half(16) != Some(ET_DYN) {
        return Err(no_library("it is an ELF file of another kind"));
    }
    let (Some(table), Some(entry), Some(count)) =
        (header.word(AT.phoff), header.half(AT.phentsize), header.half(AT.phnum))
    else {
        return Err(cut_off());
    };
    if usize::from(entry) != AT.entry || usize::from(count) > MOST_HEADERS {
        return Err(no_library("its program headers are damaged"));
    }
    let table = exactly(file, table, usize::from(count) * AT.entry)?;
    let mut found = None;
    for entry in table.chunks_exact(AT.entry) {
        let entry = Bytes(entry.to_vec());
        let (Some(kind), Some(offset), Some(length), Some(align)) =
            (entry.int(0), entry.word(AT.offset), entry.word(AT.filesz), entry.word(AT.align))
        else {
            return Err(cut_off());
        };
        if matches!(kind, PT_LOAD | PT_NOTE) && offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(cut_off());
        }
        if kind == PT_NOTE && found.is_none() {
            let length = usize::try_from(length).ok().filter(|length| *length <= MOST_NOTES);
            let length = length.ok_or(no_library("its notes are damaged"))?;
            // Notes are padded to four bytes, in segments that say so to eight (as those of `.note.gnu.property`).
            found = ours(&Bytes(exactly(file, offset, length)?), if align == 8 { 8 } else { 4 });
        }
    }
    Ok(found)
}

/// Our note in a segment of notes. What follows a damaged one cannot be found, and a library without ours is no worse for it.
fn ours(notes: &Bytes, align: usize) -> Option<Note> {
    let mut at = 0;
    loop {
        let (owner, content) = (notes.int(at)? as usize, notes.int(at + 4)? as usize);
        let kind = notes.int(at + 8)?;
        let begin = at.checked_add(12)?.checked_add(owner)?.checked_next_multiple_of(align)?;
        let end = begin.checked_add(content)?;
        let owner = notes.0.get(at + 12..(at + 12).checked_add(owner)?)?;
        if owner == NOTE_OWNER.to_bytes_with_nul() && kind == NOTE_TYPE {
            let content = Bytes(notes.0.get(begin..end)?.to_vec());
            let abi = (content.int(0)?, content.int(4)?);
            return Some(Note { abi, name: text(content.0.get(8..48)?), version: text(content.0.get(48..88)?) });
        }
        at = end.checked_next_multiple_of(align)?;
    }
}

/// The text before the first NUL, printable.
fn text(field: &[u8]) -> String {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

/// Bytes of the file, with numbers in this machine's order.
struct Bytes(Vec<u8>);

impl Bytes {
    fn array<const SIZE: usize>(&self, at: usize) -> Option<[u8; SIZE]> {
        self.0.get(at..at.checked_add(SIZE)?)?.try_into().ok()
    }

    fn half(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_ne_bytes)
    }

    fn int(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_ne_bytes)
    }

    /// An address, offset or size.
    fn word(&self, at: usize) -> Option<u64> {
        self.array(at).map(|bytes| usize::from_ne_bytes(bytes) as u64)
    }
}

fn exactly(file: BorrowedFd<'_>, offset: u64, length: usize) -> Result<Vec<u8>, Refusal> {
    // Beyond this the kernel refuses the offset, and no file is that long.
    if i64::try_from(offset).is_err() {
        return Err(cut_off());
    }
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match rustix::io::pread(file, &mut bytes[filled..], offset.saturating_add(filled as u64)) {
            Ok(0) => return Err(cut_off()),
            Ok(read) => filled += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(no_library("it cannot be read")),
        }
    }
    Ok(bytes)
}

fn cut_off() -> Refusal {
    no_library("it is cut off")
}

fn no_library(how: &'static str) -> Refusal {
    Refusal::NotALibrary { how }
}

#[cfg(test)]
mod tests;
