//! What belongs to root, noted before a process enters a user namespace.
//!
//! In a user namespace without root, stat(2) shows root's files as those of the overflow user, and everybody else's too. Whether
//! a driver may be loaded depends on the difference, so a process that is about to enter one looks first, and writes down what
//! it has seen for those that are started inside.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::fs::Stat;

use crate::search::{SearchPath, name_of};

/// Files and directories that belong to root, each by its device and inode number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    roots: BTreeSet<(u64, u64)>,
}

impl Owners {
    /// Looks at everything that could be loaded from a search path, and at the directories above it. `named` is a driver's own
    /// path, where a user gave one.
    pub fn witness(path: &SearchPath, named: Option<&Path>) -> Self {
        let mut seen = Self::default();
        for directory in path.dirs() {
            let Ok(directory) = fs_err::canonicalize(directory) else { continue };
            let entries = fs_err::read_dir(&directory).into_iter().flatten().flatten();
            let files: Vec<_> = entries.map(|entry| entry.path()).filter(|file| name_of(file).is_some()).collect();
            if !files.is_empty() {
                directory.ancestors().for_each(|directory| seen.look(directory));
                files.iter().for_each(|file| seen.look(file));
            }
        }
        if let Some(named) = named.and_then(|named| fs_err::canonicalize(named).ok()) {
            named.ancestors().for_each(|path| seen.look(path));
        }
        seen
    }

    /// What was written down in a file, which nobody but this user can write to.
    pub fn read(file: &Path) -> Self {
        let text = fs_err::read_to_string(file).unwrap_or_default();
        let pair = |line: &str| {
            let (device, inode) = line.split_once(' ')?;
            Some((device.parse().ok()?, inode.parse().ok()?))
        };
        Self { roots: text.lines().filter_map(pair).collect() }
    }

    /// Adds to what is written down in a file. What others have seen stays.
    pub fn add_to(&self, file: &Path) -> std::io::Result<()> {
        let before = Self::read(file);
        if self.roots.is_subset(&before.roots) {
            return Ok(());
        }
        let lines = before.roots.union(&self.roots).map(|(device, inode)| format!("{device} {inode}\n"));
        let partial = file.with_extension(std::process::id().to_string());
        fs_err::write(&partial, lines.collect::<String>())?;
        fs_err::rename(&partial, file)
    }

    /// True for what was root's.
    pub(crate) fn knows(&self, stat: &Stat) -> bool {
        self.roots.contains(&(stat.st_dev, stat.st_ino))
    }

    fn look(&mut self, path: &Path) {
        if let Ok(stat) = rustix::fs::lstat(path)
            && stat.st_uid == 0
        {
            self.roots.insert((stat.st_dev, stat.st_ino));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_added_to_what_others_saw() {
        let folder = tempfile::tempdir().unwrap();
        let (file, driver) = (folder.path().join("owners"), folder.path().join("libmica_storage_x.so"));
        fs_err::write(&driver, "").unwrap();
        fs_err::write(&file, "1 2\nnoise\n").unwrap();
        let seen = Owners::witness(&SearchPath::new([folder.path().to_owned()]), None);
        let root = rustix::fs::lstat("/").unwrap();
        assert_eq!(seen.knows(&root), root.st_uid == 0);
        let stat = rustix::fs::lstat(&driver).unwrap();
        assert_eq!(seen.knows(&stat), rustix::process::geteuid().is_root());
        seen.add_to(&file).unwrap();
        let read = Owners::read(&file);
        assert!(read.roots.contains(&(1, 2)) && seen.roots.is_subset(&read.roots));
        let named = Owners::witness(&SearchPath::default(), Some(&driver));
        assert_eq!(named, seen);
        assert_eq!(Owners::witness(&SearchPath::default(), None), Owners::default());
    }
}
