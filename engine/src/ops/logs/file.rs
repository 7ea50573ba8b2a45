//! The files of a json-file log: `LOG.2`, `LOG.1`, `LOG`, oldest first, and what is appended to the last one.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::LogLine;
use super::part::{CHUNK, Part};
use crate::build::Stream;
use crate::{Error, Result};

/// No line that a monitor writes is longer; what is longer is damage, and skipped.
const LINE_MAX: usize = 1 << 20;

/// A log being read.
#[derive(Debug)]
pub(super) struct LogFiles {
    path: PathBuf,
    // Oldest first. Opened at once, so that a rotation meanwhile renames them and loses nothing.
    open: VecDeque<Part>,
    rest: Vec<u8>,
}

impl LogFiles {
    /// Opens a log at its first line, or at the first of its last `tail` lines.
    pub(super) fn open(path: PathBuf, tail: Option<u64>) -> Result<LogFiles> {
        let mut newest_first = newer_than(&path, None)?;
        if let Some(mut wanted) = tail {
            let mut kept = 0;
            for file in &mut newest_first {
                let found = file.seek_back(wanted).map_err(Error::io("read", &path))?;
                kept += 1;
                wanted -= found;
                if wanted == 0 {
                    break;
                }
            }
            newest_first.truncate(kept);
        }
        newest_first.reverse();
        Ok(LogFiles { path, open: newest_first.into(), rest: Vec::new() })
    }

    /// Some lines; none when the end is reached, which may grow.
    pub(super) fn read(&mut self) -> Result<Vec<LogLine>> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let Some(file) = self.open.front_mut() else {
                let files = newer_than(&self.path, None)?;
                if files.is_empty() {
                    return Ok(Vec::new());
                }
                self.open.extend(files.into_iter().rev());
                continue;
            };
            let count = file.read(&mut chunk).map_err(Error::io("read", &self.path))?;
            if count > 0 {
                self.rest.extend_from_slice(&chunk[..count]);
                let lines = self.complete_lines();
                if lines.is_empty() {
                    continue;
                }
                return Ok(lines);
            }
            let ours = file.inode;
            if self.open.len() == 1 {
                let newer = newer_than(&self.path, Some(ours))?;
                if newer.is_empty() {
                    return Ok(Vec::new());
                }
                // It may have got its last lines after it was read and before it got its other name.
                self.open.extend(newer.into_iter().rev());
                continue;
            }
            // A file that is not the newest gets no more; an incomplete line at its end is damage.
            self.rest.clear();
            self.open.pop_front();
        }
    }

    fn complete_lines(&mut self) -> Vec<LogLine> {
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            if self.rest.len() > LINE_MAX {
                self.rest.clear();
            }
            return Vec::new();
        };
        let rest = self.rest.split_off(end + 1);
        let lines = self.rest.split(|byte| *byte == b'\n').filter_map(parse).collect();
        self.rest = rest;
        lines
    }
}

/// One line of the file; `None` for what is not a log entry.
fn parse(line: &[u8]) -> Option<LogLine> {
    #[derive(Deserialize)]
    struct Entry {
        log: String,
        stream: String,
        time: String,
        #[serde(default)]
        attrs: BTreeMap<String, String>,
    }
    let entry: Entry = serde_json::from_slice(line).ok()?;
    let stream = if entry.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
    Some(LogLine { stream, time: entry.time, bytes: entry.log.into_bytes(), attributes: entry.attrs })
}

/// The files that are newer than the one with this inode, or all, newest first. A writer that turns files over meanwhile
/// moves them to higher numbers only, so that none is missed; one that was seen already is passed over.
fn newer_than(path: &Path, ours: Option<u64>) -> Result<Vec<Part>> {
    let mut newest_first: Vec<Part> = Vec::new();
    for number in 0.. {
        let Some(part) = numbered(path, number)? else {
            // Between two files there is none with the name of the newest, and none with one of the numbers.
            if number == 0 || numbered(path, number + 1)?.is_some() {
                continue;
            }
            break;
        };
        if Some(part.inode) == ours {
            break;
        }
        if newest_first.last().is_none_or(|last| last.inode != part.inode) {
            newest_first.push(part);
        }
    }
    Ok(newest_first)
}

/// The newest file, or one that was turned over: as it was written, or compressed.
fn numbered(path: &Path, number: u32) -> Result<Option<Part>> {
    let name = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let plain = if number == 0 { path.to_owned() } else { name(&format!(".{number}")) };
    if let Some(file) = open(&plain)? {
        return Part::plain(file).map(Some).map_err(Error::io("look at", plain));
    }
    if number == 0 {
        return Ok(None);
    }
    let packed = name(&format!(".{number}.gz"));
    open(&packed)?.map(Part::packed).transpose().map_err(Error::io("look at", packed))
}

fn open(path: &Path) -> Result<Option<File>> {
    match fs_err::File::open(path) {
        Ok(file) => Ok(Some(file.into_parts().0)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: usize) -> String {
        let stream = if number.is_multiple_of(2) { "stdout" } else { "stderr" };
        format!(
            "{{\"log\":\"line {number}\\n\",\"stream\":\"{stream}\",\"time\":\"2026-01-01T00:00:00.{number:09}Z\"}}\n"
        )
    }

    fn log(dir: &Path, numbers: std::ops::Range<usize>, suffix: &str) {
        let text: String = numbers.map(entry).collect();
        fs_err::write(dir.join(format!("x-json.log{suffix}")), text).unwrap();
    }

    fn drain(files: &mut LogFiles) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let lines = files.read().unwrap();
            if lines.is_empty() {
                return all;
            }
            all.extend(
                lines.into_iter().map(|line| String::from_utf8(line.bytes).unwrap().trim_end().replace("line ", "")),
            );
        }
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    }

    #[test]
    fn rotated_files_come_first_and_tails_cross_them() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), 0..10, ".2");
        log(dir.path(), 10..2000, ".1");
        log(dir.path(), 2000..2005, "");
        let path = dir.path().join("x-json.log");
        assert_eq!(drain(&mut LogFiles::open(path.clone(), None).unwrap()), numbers(0..2005));
        for tail in [0, 1, 4, 5, 6, 1000, 1995, 1996, 2005, 5000] {
            let found = drain(&mut LogFiles::open(path.clone(), Some(tail)).unwrap());
            assert_eq!(found, numbers(2005usize.saturating_sub(tail as usize)..2005), "{tail}");
        }
    }

    #[test]
    fn a_follower_sees_appended_lines_and_rotations() {
        use std::io::Write as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        let mut files = LogFiles::open(path.clone(), None).unwrap();
        assert!(drain(&mut files).is_empty());
        log(dir.path(), 0..3, "");
        assert_eq!(drain(&mut files), numbers(0..3));
        let mut append = fs_err::OpenOptions::new().append(true).open(&path).unwrap();
        let (head, tail) = (&entry(3)[..20], &entry(3)[20..]);
        append.write_all(head.as_bytes()).unwrap();
        assert!(drain(&mut files).is_empty());
        append.write_all(tail.as_bytes()).unwrap();
        append.write_all(entry(4).as_bytes()).unwrap();
        fs_err::rename(&path, dir.path().join("x-json.log.1")).unwrap();
        log(dir.path(), 5..7, "");
        assert_eq!(drain(&mut files), numbers(3..7));
        // Two files later, the one between them has a number only.
        log(dir.path(), 7..9, ".2");
        fs_err::rename(&path, dir.path().join("x-json.log.3")).unwrap();
        log(dir.path(), 9..11, ".1");
        log(dir.path(), 11..12, "");
        assert_eq!(drain(&mut files), numbers(7..12));
    }

    #[test]
    fn compressed_files_are_read_like_others() {
        use std::io::Write as _;
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        let pack = |suffix: &str| {
            let plain = dir.path().join(format!("x-json.log{suffix}"));
            let inode = fs_err::metadata(&plain).unwrap().ino();
            let to = fs_err::File::create(dir.path().join(format!("x-json.log{suffix}.gz"))).unwrap();
            let mut encoder =
                flate2::GzBuilder::new().comment(inode.to_string()).write(to, flate2::Compression::default());
            encoder.write_all(&fs_err::read(&plain).unwrap()).unwrap();
            encoder.finish().unwrap();
            fs_err::remove_file(plain).unwrap();
        };
        log(dir.path(), 0..10, ".3");
        log(dir.path(), 10..2000, ".2");
        log(dir.path(), 2000..2003, ".1");
        log(dir.path(), 2003..2005, "");
        pack(".3");
        pack(".2");
        for tail in [0, 1, 4, 5, 6, 1000, 1994, 1995, 1996, 2005, 5000] {
            let found = drain(&mut LogFiles::open(path.clone(), Some(tail)).unwrap());
            assert_eq!(found, numbers(2005usize.saturating_sub(tail as usize)..2005), "{tail}");
        }
        // A follower has read the newest file, which is turned over and compressed behind its back.
        let mut files = LogFiles::open(path.clone(), None).unwrap();
        assert_eq!(drain(&mut files), numbers(0..2005));
        fs_err::rename(dir.path().join("x-json.log.3.gz"), dir.path().join("x-json.log.4.gz")).unwrap();
        fs_err::rename(dir.path().join("x-json.log.2.gz"), dir.path().join("x-json.log.3.gz")).unwrap();
        fs_err::rename(dir.path().join("x-json.log.1"), dir.path().join("x-json.log.2")).unwrap();
        fs_err::rename(&path, dir.path().join("x-json.log.1")).unwrap();
        pack(".1");
        log(dir.path(), 2005..2007, "");
        assert_eq!(drain(&mut files), numbers(2005..2007));
        // What is cut off is read as far as it goes.
        let packed = dir.path().join("x-json.log.3.gz");
        let bytes = fs_err::read(&packed).unwrap();
        fs_err::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
        let found = drain(&mut LogFiles::open(path, None).unwrap());
        assert!(found.starts_with(&numbers(0..20)) && found.ends_with(&numbers(2000..2007)), "{}", found.len());
    }

    #[test]
    fn damage_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        fs_err::write(&path, format!("garbage\n{}\0\0\0\n{}{{\"log\":\"half", entry(0), entry(1))).unwrap();
        assert_eq!(drain(&mut LogFiles::open(path, None).unwrap()), numbers(0..2));
    }
}
