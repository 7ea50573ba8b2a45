//! A tree with one of everything a layer carries, and its expected image.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::FileType;

use crate::verdict::Outcome;
use crate::writer::Writer;

/// `cap_net_bind_service=ep` as `security.capability` revision 2 stores it.
pub(crate) const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Plain things: files, directories, links, modes, owners, times, `user.` attributes.
pub(crate) fn plain(to: Writer<'_>) -> Outcome {
    to.dir("etc")?;
    to.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")?;
    to.file("etc/empty", "")?;
    to.dir("etc/deep")?;
    to.dir("etc/deep/er")?;
    to.file("etc/deep/er/file", vec![7; 100_000])?;
    to.symlink("etc/link", "deep/er/file")?;
    to.symlink("dangling", "/nowhere/at/all")?;
    to.dir("tmp")?;
    to.mode("tmp", 0o1777)?;
    to.file("etc/secret", "s")?;
    to.mode("etc/secret", 0o600)?;
    to.owner("etc/secret", 1000, 1001)?;
    to.owner("etc/link", 12, 34)?;
    to.xattr("etc/passwd", "user.mica", b"value\0with nul")?;
    to.xattr("etc/deep", "user.dir", b"d")?;
    // Directories last and deepest first, since writing into one changes its time.
    let times = [
        ("etc/passwd", 1),
        ("etc/link", 2),
        ("etc/deep/er/file", 3),
        ("etc/deep/er", 4),
        ("etc/deep", 5),
        ("etc", 6),
        ("tmp", 7),
    ];
    for (path, number) in times {
        to.mtime(path, 1_000_000_000 + number, 123_456_780 + number)?;
    }
    to.mtime("dangling", -1, 999_999_999)?;
    to.mtime(".", 1_234_567_890, 987_654_321)
}

/// Things only root can make, or only some file systems keep. No socket: no archive can hold one, so a layer has none, and a
/// driver may leave out what it finds in a stage.
pub(crate) fn special(to: Writer<'_>) -> Outcome {
    to.dir("special")?;
    to.file("special/setuid", "#!")?;
    to.owner("special/setuid", 5, 6)?;
    to.mode("special/setuid", 0o6755)?;
    to.dir("special/setgid")?;
    to.mode("special/setgid", 0o2775)?;
    to.node("special/fifo", FileType::Fifo, (0, 0))?;
    to.node("special/null", FileType::CharacterDevice, (1, 3))?;
    to.node("special/block", FileType::BlockDevice, (7, 200))?;
    to.file("special/one", "linked")?;
    to.hardlink("special/two", "special/one")?;
    to.dir("special/dir")?;
    to.hardlink("special/dir/three", "special/one")?;
    to.hardlink("special/fifo-too", "special/fifo")?;
    to.sparse("special/sparse", 16 << 20, b"end")?;
    to.file(&format!("special/{}", "n".repeat(255)), "long")?;
    to.file_at(OsStr::from_bytes(b"special/\xff\xfe not \xc3\x28 utf-8\n"), b"bytes")?;
    to.file("special/capable", "#!")?;
    to.xattr("special/capable", "security.capability", &CAPABILITY)?;
    to.xattr("special/capable", "user.large", &[b'x'; 2000])?;
    for path in ["special/setgid", "special/dir", "special", "."] {
        to.mtime(path, 1_111_111_111, 5)?;
    }
    Ok(())
}
