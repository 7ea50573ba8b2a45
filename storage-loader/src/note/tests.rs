//! Notes of files that are right, cut off and mangled.

use std::io::{Seek as _, Write as _};
use std::os::fd::AsFd as _;

use super::*;

/// An ELF file of a header, one note segment with a foreign note before ours, and some bytes that are loaded.
fn library(name: &str, version: &str) -> Vec<u8> {
    let mut notes = Vec::new();
    note(&mut notes, b"GNU\0", 3, b"build id");
    let mut content = Vec::new();
    content.extend(1u32.to_ne_bytes());
    content.extend(7u32.to_ne_bytes());
    for text in [name, version] {
        let mut field = text.as_bytes().to_vec();
        field.resize(40, 0);
        content.extend(field);
    }
    note(&mut notes, b"Mica\0", 1, &content);

    let mut file = vec![0; AT.header];
    file[..4].copy_from_slice(b"\x7fELF");
    file[4] = if AT.header == 64 { 2 } else { 1 };
    file[5] = if cfg!(target_endian = "little") { 1 } else { 2 };
    file[16..18].copy_from_slice(&ET_DYN.to_ne_bytes());
    put(&mut file, AT.phoff, AT.header);
    file[AT.phentsize..AT.phentsize + 2].copy_from_slice(&(AT.entry as u16).to_ne_bytes());
    file[AT.phnum..AT.phnum + 2].copy_from_slice(&2u16.to_ne_bytes());
    let begin = AT.header + 2 * AT.entry;
    for (kind, offset, length) in [(PT_NOTE, begin, notes.len()), (PT_LOAD, begin, notes.len() + 100)] {
        let mut entry = vec![0; AT.entry];
        entry[..4].copy_from_slice(&kind.to_ne_bytes());
        put(&mut entry, AT.offset, offset);
        put(&mut entry, AT.filesz, length);
        put(&mut entry, AT.align, 4);
        file.extend(entry);
    }
    file.extend(notes);
    file.extend([0x90; 100]);
    file
}

fn note(out: &mut Vec<u8>, owner: &[u8], kind: u32, content: &[u8]) {
    for number in [owner.len() as u32, content.len() as u32, kind] {
        out.extend(number.to_ne_bytes());
    }
    for bytes in [owner, content] {
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

fn put(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + size_of::<usize>()].copy_from_slice(&value.to_ne_bytes());
}

fn read(bytes: &[u8]) -> Result<Option<Note>, String> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    super::read(file.as_fd(), bytes.len() as u64).map_err(|refusal| refusal.to_string())
}

#[test]
fn a_library_says_what_it_is() {
    let found = read(&library("vfs", "1.2.3")).unwrap().unwrap();
    assert_eq!(found, Note { name: "vfs".into(), version: "1.2.3".into(), abi: (1, 7) });
    let unprintable = read(&library("v\x1b[31mfs", &"9".repeat(40))).unwrap().unwrap();
    assert_eq!(unprintable.name, "v?[31mfs");
    assert_eq!(unprintable.version, "9".repeat(40), "a text without a NUL ends with its field");
}

#[test]
fn a_library_without_a_note_is_a_library() {
    // The running test program is one: a position independent executable of this machine.
    let own = fs_err::File::open("/proc/self/exe").unwrap();
    let size = own.metadata().unwrap().len();
    assert_eq!(super::read(own.as_fd(), size).unwrap(), None);
}

#[test]
fn whatever_is_cut_off_is_refused() {
    let whole = library("vfs", "1");
    for length in 0..whole.len() {
        let refused = read(&whole[..length]).unwrap_err();
        assert!(refused.contains("it is cut off"), "{length} bytes: {refused}");
    }
}

#[test]
fn other_files_are_refused_by_what_they_are() {
    let changed = |at: usize, byte: u8| {
        let mut file = library("vfs", "1");
        file[at] = byte;
        file
    };
    for (file, expected) in [
        (vec![b'x'; 200], "no ELF file"),
        (changed(4, 9), "another kind of machine"),
        (changed(5, 9), "another kind of machine"),
        (changed(16, 2), "of another kind"),
        (changed(AT.phentsize, 1), "program headers are damaged"),
    ] {
        let refused = read(&file).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn no_byte_of_a_file_makes_it_panic() {
    let whole = library("vfs", "1");
    for at in 0..whole.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut file = whole.clone();
            file[at] = byte;
            let _ = read(&file);
            // Neighbours too, so that sizes become huge.
            file[at..(at + 8).min(whole.len())].fill(byte);
            let _ = read(&file);
        }
    }
}
