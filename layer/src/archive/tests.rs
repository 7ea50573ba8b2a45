//! Tests of the archive reader and writer: what is written is read back, and what lies about itself is refused.

use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::error::Error;

fn write(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    let mut writer = Writer::new(&mut tar);
    for (entry, content) in entries {
        writer.append(entry, &mut &content[..]).unwrap();
    }
    writer.finish().unwrap();
    tar
}

fn read(tar: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
    let mut archive = Archive::new(tar);
    let mut entries = Vec::new();
    while let Some(entry) = archive.next()? {
        let entry = entry.clone();
        let mut content = Vec::new();
        archive.read_content(&mut content, 1 << 20)?;
        entries.push((entry, content));
    }
    Ok(entries)
}

/// A header by the `tar` crate, so that the reader is not only tested against this crate's own writer.
fn foreign(path: &str, size: u64, change: impl FnOnce(&mut tar::Header)) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    change(&mut header);
    header.set_cksum();
    header
}

fn archive(parts: &[(&tar::Header, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (header, content) in parts {
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

fn pax(records: &[(&str, &[u8])]) -> (tar::Header, Vec<u8>) {
    let mut block = Vec::new();
    for (key, value) in records {
        super::pax::append(&mut block, key.as_bytes(), value);
    }
    (foreign("pax", block.len() as u64, |h| h.set_entry_type(tar::EntryType::XHeader)), block)
}

#[test]
fn everything_an_entry_holds_is_read_back() {
    let base = Entry { path: b"f".to_vec(), mode: 0o644, ..Entry::default() };
    let long = [b"d/".repeat(300), b"name".to_vec()].concat();
    let split = [b"p".repeat(120), b"/".to_vec(), b"n".repeat(90)].concat();
    let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
    let entries = [
        Entry { path: b"dir".to_vec(), kind: Kind::Directory, mode: 0o1777, uid: 7, gid: 8, ..base.clone() },
        Entry { path: long.clone(), ..base.clone() },
        Entry { path: split, ..base.clone() },
        Entry {
            path: [b"p".repeat(155), b"/".to_vec(), b"d".repeat(99)].concat(),
            kind: Kind::Directory,
            ..base.clone()
        },
        Entry { path: b"not utf-8 \xff\xfe\n\x1b".to_vec(), ..base.clone() },
        Entry { kind: Kind::Symlink, link: [b"t".repeat(101), b"\xff".to_vec()].concat(), ..base.clone() },
        Entry { kind: Kind::HardLink, link: long, ..base.clone() },
        Entry { uid: u32::MAX - 1, gid: 1 << 21, mode: 0o6755, ..base.clone() },
        Entry { mtime: time(1 << 40, 0), ..base.clone() },
        Entry { mtime: time(1_700_000_000, 123_456_789), ..base.clone() },
        Entry { mtime: time(0, 1), ..base.clone() },
        Entry { mtime: time(-1, 0), ..base.clone() },
        Entry { mtime: time(-4, 750_000_000), ..base.clone() },
        Entry { mtime: time(-1, 999_999_999), ..base.clone() },
        Entry { kind: Kind::CharDevice, major: 10, minor: 1 << 20, ..base.clone() },
        Entry { kind: Kind::BlockDevice, major: 0o7777777, minor: u32::MAX, ..base.clone() },
        Entry { kind: Kind::Fifo, ..base.clone() },
        Entry {
            xattrs: vec![
                (b"security.capability".to_vec(), b"\x01\0\0\x02=\n\0".to_vec()),
                (b"user.e".to_vec(), Vec::new()),
            ],
            ..base
        },
    ];
    let tar = write(&entries.iter().map(|e| (e.clone(), &b""[..])).collect::<Vec<_>>());
    let back = read(&tar).unwrap();
    for (entry, (back, _)) in entries.iter().zip(&back) {
        assert_eq!(entry, back);
    }
    assert_eq!(back.len(), entries.len());
}

#[test]
fn content_and_its_padding_are_read_back() {
    let file = |size: u64| Entry { path: b"f".to_vec(), size, ..Entry::default() };
    for size in [0, 1, 511, 512, 513, 100_000] {
        let content = vec![b'x'; size];
        let back = read(&write(&[(file(size as u64), &content), (file(3), b"abc")])).unwrap();
        assert_eq!((&back[0].1, &back[1].1[..]), (&content, &b"abc"[..]), "{size}");
    }
}

#[test]
fn content_that_is_not_read_is_skipped() {
    let file = |path: &str, size| Entry { path: path.into(), size, ..Entry::default() };
    let tar = write(&[(file("a", 1000), &[1; 1000]), (file("b", 1), b"b")]);
    // A source that gives few bytes at a time, so that headers and content cross its buffers.
    let mut archive = Archive::new(std::io::BufReader::with_capacity(100, &tar[..]));
    let mut names = Vec::new();
    while let Some(entry) = archive.next().unwrap() {
        names.push(entry.path.clone());
    }
    assert_eq!(names, [b"a", b"b"]);
}

#[test]
fn the_tar_crate_reads_what_is_written() {
    let entry = Entry {
        path: [b"long/".repeat(60), b"name".to_vec()].concat(),
        mode: 0o640,
        uid: 3_000_000,
        size: 3,
        mtime: Time { seconds: 5, nanoseconds: 500_000_000 },
        ..Entry::default()
    };
    let tar = write(&[(entry.clone(), b"abc")]);
    let mut archive = tar::Archive::new(&tar[..]);
    let mut entries = archive.entries().unwrap();
    let mut back = entries.next().unwrap().unwrap();
    assert_eq!(*back.path_bytes(), entry.path);
    assert_eq!((back.header().mode().unwrap(), back.header().mtime().unwrap()), (0o640, 5));
    let mut content = String::new();
    back.read_to_string(&mut content).unwrap();
    assert_eq!(content, "abc");
    assert!(entries.next().is_none());
}

#[test]
fn gnu_long_names_and_wide_numbers_are_read() {
    let name = "x/".repeat(200) + "end";
    let long = foreign("././@LongLink", name.len() as u64 + 1, |h| h.set_entry_type(tar::EntryType::GNULongName));
    let file = foreign("cut", 3, |h| {
        h.set_uid(4_000_000_000);
        // The `tar` crate writes no negative time: base-256 -2 by hand.
        h.as_old_mut().mtime = [0xff; 12];
        h.as_old_mut().mtime[11] = 0xfe;
    });
    let tar = archive(&[(&long, format!("{name}\0").as_bytes()), (&file, b"abc")]);
    let (entry, content) = read(&tar).unwrap().remove(0);
    assert_eq!(entry.path, name.as_bytes());
    assert_eq!((entry.uid, entry.mtime.seconds, &content[..]), (4_000_000_000, -2, &b"abc"[..]));
}

#[test]
fn every_sparse_encoding_is_read() {
    let map = vec![Segment { offset: 10, length: 3 }, Segment { offset: 20, length: 2 }];
    let mut in_content = b"2\n10\n3\n20\n2\n".to_vec();
    in_content.resize(512, 0);
    in_content.extend_from_slice(b"abcde");
    let old = foreign("f", 5, |h| {
        h.set_entry_type(tar::EntryType::GNUSparse);
        let gnu = h.as_gnu_mut().unwrap();
        gnu.set_real_size(100);
        for (slot, (offset, length)) in
            gnu.sparse.iter_mut().zip([("00000000012", "00000000003"), ("00000000024", "00000000002")])
        {
            slot.offset[..11].copy_from_slice(offset.as_bytes());
            slot.numbytes[..11].copy_from_slice(length.as_bytes());
        }
    });
    let plain = foreign("f", 5, |_| {});
    let wide = foreign("f", in_content.len() as u64, |_| {});
    let v00 = pax(&[
        ("GNU.sparse.size", b"100"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"10"),
        ("GNU.sparse.numbytes", b"3"),
        ("GNU.sparse.offset", b"20"),
        ("GNU.sparse.numbytes", b"2"),
    ]);
    let v01 = pax(&[("GNU.sparse.size", b"100"), ("GNU.sparse.map", b"10,3,20,2"), ("GNU.sparse.name", b"real")]);
    let v10 = pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"100")]);
    for (case, tar) in [
        ("old", archive(&[(&old, b"abcde")])),
        ("0.0", archive(&[(&v00.0, &v00.1), (&plain, b"abcde")])),
        ("0.1", archive(&[(&v01.0, &v01.1), (&plain, b"abcde")])),
        ("1.0", archive(&[(&v10.0, &v10.1), (&wide, &in_content)])),
    ] {
        let (entry, content) = read(&tar).unwrap_or_else(|e| panic!("{case}: {e}")).remove(0);
        assert_eq!((entry.size, entry.sparse, &content[..]), (100, Some(map.clone()), &b"abcde"[..]), "{case}");
        assert_eq!(entry.path, if case == "0.1" { &b"real"[..] } else { b"f" });
    }
}

#[test]
fn archives_that_lie_are_refused() {
    let good = foreign("f", 3, |_| {});
    let negative = |h: &mut tar::Header| h.as_old_mut().size = [0xff; 12];
    let huge = |h: &mut tar::Header| {
        h.as_old_mut().size = [0; 12];
        h.as_old_mut().size[0] = 0x80;
        h.as_old_mut().size[4] = 0x80;
    };
    let kind = |kind: u8| foreign("f", 0, |h| h.set_entry_type(tar::EntryType::new(kind)));
    let big_pax = foreign("p", 8 << 30, |h| h.set_entry_type(tar::EntryType::XHeader));
    let big_name = foreign("p", 64 << 20, |h| h.set_entry_type(tar::EntryType::GNULongName));
    let with = |records: &[(&str, &[u8])]| {
        let (header, block) = pax(records);
        archive(&[(&header, &block), (&good, b"abc")])
    };
    let raw_pax = |block: &[u8]| {
        let header = foreign("p", block.len() as u64, |h| h.set_entry_type(tar::EntryType::XHeader));
        archive(&[(&header, block), (&good, b"abc")])
    };
    let mut bad_sum = archive(&[(&good, b"abc"), (&good, b"abc")]);
    bad_sum[1024] ^= 1;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("text", b"not a tar archive at all".to_vec()),
        ("elf", [&b"\x7fELF"[..], &[1; 2000]].concat()),
        ("zip", [&b"PK\x03\x04"[..], &[0; 2000]].concat()),
        ("wrong checksum later", bad_sum),
        ("cut in content", archive(&[(&foreign("f", 3000, |_| {}), &[0; 100])])[..700].to_vec()),
        ("cut in header", archive(&[(&good, b"abc")])[..1100].to_vec()),
        ("negative size", archive(&[(&foreign("f", 0, negative), b"")])),
        ("size of 2^63", archive(&[(&foreign("f", 0, huge), b"")])),
        ("uid 2^32", archive(&[(&foreign("f", 0, |h| h.set_uid(1 << 32)), b"")])),
        ("uid -1", archive(&[(&foreign("f", 0, |h| h.set_uid(u64::from(u32::MAX))), b"")])),
        ("gid 2^40", archive(&[(&foreign("f", 0, |h| h.set_gid(1 << 40)), b"")])),
        ("pax uid 2^32", with(&[("uid", b"4294967296")])),
        ("pax uid -1", with(&[("uid", b"-1")])),
        ("pax size negative", with(&[("size", b"-1")])),
        ("pax size 2^63", with(&[("size", b"9223372036854775808")])),
        ("pax size 2^64", with(&[("size", b"18446744073709551616")])),
        ("pax time not a number", with(&[("mtime", b"NaN")])),
        ("pax time exponent", with(&[("mtime", b"1e9")])),
        ("pax path with zero", with(&[("path", b"a\0b")])),
        ("pax path too long", with(&[("path", &[b'a'; 5000])])),
        ("pax xattr without name", with(&[("SCHILY.xattr.", b"x")])),
        ("pax length too long", raw_pax(b"99 path=a\n")),
        ("pax length zero", raw_pax(b"0 path=a\n")),
        ("pax without equals", raw_pax(b"7 path\n\n")),
        ("pax without newline", raw_pax(b"9 path=ab")),
        ("pax of 8 GiB", archive(&[(&big_pax, b""), (&good, b"abc")])),
        ("name of 64 MiB", archive(&[(&big_name, b""), (&good, b"abc")])),
        ("pax at the end", archive(&[(&pax(&[("path", b"x")]).0, &pax(&[("path", b"x")]).1)])),
        ("unknown type", archive(&[(&kind(b'Z'), b"")])),
        ("multi-volume", archive(&[(&kind(b'M'), b"")])),
        ("sparse overlap", with(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"0,2,1,1")])),
        ("sparse outside", with(&[("GNU.sparse.size", b"2"), ("GNU.sparse.map", b"0,3")])),
        ("sparse overflow", with(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"18446744073709551615,3")])),
        ("sparse of 2^63", with(&[("GNU.sparse.size", b"9223372036854775808"), ("GNU.sparse.map", b"0,3")])),
        ("sparse claims less", with(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"0,2")])),
        ("sparse map in content, 2^40 long", with(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")])),
    ];
    for (case, tar) in cases {
        let result = read(&tar);
        assert!(result.is_err(), "{case}: {result:?}");
    }
}

#[test]
fn an_archive_without_its_end_marker_is_read() {
    let tar = archive(&[(&foreign("f", 3, |_| {}), b"abc")]);
    for cut in [tar.len() - 512, tar.len() - 1024] {
        assert_eq!(read(&tar[..cut]).unwrap().len(), 1);
    }
    assert!(read(&[0; 1024]).unwrap().is_empty(), "an empty layer is two zero blocks");
}

#[test]
fn a_global_header_changes_nothing() {
    let (header, block) = pax(&[("path", b"elsewhere"), ("uid", b"7")]);
    let global = foreign("g", header.entry_size().unwrap(), |h| h.set_entry_type(tar::EntryType::XGlobalHeader));
    let back = read(&archive(&[(&global, &block), (&foreign("f", 0, |_| {}), b"")])).unwrap();
    assert_eq!((&back[0].0.path[..], back[0].0.uid), (&b"f"[..], 0));
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 2000, failure_persistence: None, ..Default::default() })]

    /// Damage of any kind is an entry or an error, but neither a panic nor more memory than the archive has bytes.
    #[test]
    fn damage_is_never_more_than_an_error(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let (header, block) = pax(&[
            ("path", b"long"), ("mtime", b"1.5"), ("SCHILY.xattr.user.x", b"y"), ("GNU.sparse.size", b"100"),
            ("GNU.sparse.map", b"10,3,20,2"),
        ]);
        let name = foreign("././@LongLink", 9, |h| h.set_entry_type(tar::EntryType::GNULongName));
        let sparse = foreign("f", 5, |h| {
            h.set_entry_type(tar::EntryType::GNUSparse);
            h.as_gnu_mut().unwrap().set_is_extended(true);
        });
        let mut tar = archive(&[(&header, &block), (&foreign("f", 5, |_| {}), b"abcde"), (&name, b"a/b/c/d\0\0"), (&sparse, &[b'7'; 600])]);
        for (at, byte) in damage {
            let at = at.index(tar.len());
            tar[at] = byte;
            // With the right checksum, so that the damage is looked at and not only found.
            let start = at / BLOCK * BLOCK;
            let mut fixed = tar::Header::from_byte_slice(&tar[start..start + BLOCK]).clone();
            if fixed.entry_size().is_ok() {
                fixed.set_cksum();
                tar[start..start + BLOCK].copy_from_slice(fixed.as_bytes());
            }
        }
        if let Ok(entries) = read(&tar) {
            prop_assert!(entries.iter().all(|(entry, content)| entry.path.len() <= NAME_MAX && content.len() <= tar.len()));
        }
    }
}
