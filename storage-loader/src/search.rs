//! Where plugins lie: a name becomes the first file on a list of directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Refusal, Result};
use crate::examine::{self, Examined};
use crate::owners::Owners;
use crate::pins::Pins;
use crate::plugin::Plugin;

const PREFIX: &str = "libmica_storage_";
const SUFFIX: &str = ".so";

/// The directories that may hold plugins, in order; the first that has the file wins, also when the file is then refused:
/// falling through to a later one would let a mistake go unseen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPath {
    dirs: Vec<PathBuf>,
    pins: Pins,
    owners: Owners,
}

impl SearchPath {
    /// These directories and no others.
    pub fn new(dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut path = Self::default();
        for dir in dirs {
            path.push(dir);
        }
        path
    }

    /// The usual order: what the caller took from environment, configuration and the user's data directory; beside the
    /// executable (so that `target/release/mica` works in place); `../lib/mica/storage` from there; the system directories.
    pub fn standard(configured: impl IntoIterator<Item = PathBuf>, executable: Option<&Path>) -> Self {
        let mut path = Self::new(configured);
        if let Some(beside) = executable.and_then(Path::parent) {
            path.push(beside.to_owned());
            if let Some(prefix) = beside.parent() {
                path.push(prefix.join("lib/mica/storage"));
            }
        }
        path.push("/usr/local/lib/mica/storage".into());
        path.push("/usr/lib/mica/storage".into());
        path
    }

    /// The same, with drivers that must be certain files.
    #[must_use]
    pub fn pinned(self, pins: Pins) -> Self {
        Self { pins, ..self }
    }

    /// The same, for a process in a user namespace: with what is known to be root's.
    #[must_use]
    pub fn knowing(self, owners: Owners) -> Self {
        Self { owners, ..self }
    }

    /// The file of a driver, by its name or its path, which has a slash.
    pub fn find(&self, driver: &str) -> Result<PathBuf> {
        if driver.contains('/') { Ok(driver.into()) } else { discover(driver, self) }
    }

    /// Loads a driver by its name or its path.
    pub fn load(&self, driver: &str) -> Result<Plugin> {
        self.load_file(&self.find(driver)?)
    }

    /// Loads a driver from its file, wherever that is.
    pub fn load_file(&self, path: &Path) -> Result<Plugin> {
        Plugin::load_pinned(path, &self.pins, &self.owners)
    }

    /// What can be said about a file without loading it.
    pub fn examine(&self, path: &Path) -> Result<Examined> {
        examine::examine(path, &self.pins, &self.owners)
            .map_err(|source| Error::Refused { path: path.to_owned(), source })
    }

    /// The directories in order.
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    fn push(&mut self, dir: PathBuf) {
        if !self.dirs.contains(&dir) {
            self.dirs.push(dir);
        }
    }
}

/// A file that looks like a plugin.
#[derive(Debug)]
pub struct Candidate {
    /// Where it lies.
    pub path: PathBuf,
    /// The driver name in its file name.
    pub name: String,
    /// What it says about itself, or why it is not used.
    pub outcome: std::result::Result<Examined, Refusal>,
}

/// The file of a driver.
pub fn discover(name: &str, path: &SearchPath) -> Result<PathBuf> {
    if !is_name(name) {
        return Err(Error::Name { name: name.chars().take(64).collect() });
    }
    let file = format!("{PREFIX}{name}{SUFFIX}");
    let found = path.dirs.iter().map(|dir| dir.join(&file)).find(|path| path.symlink_metadata().is_ok());
    found.ok_or_else(|| Error::NotFound { name: name.to_owned(), searched: path.dirs.clone() })
}

/// Every file that could be a plugin, in search order. None is loaded.
pub fn candidates(path: &SearchPath) -> Vec<Candidate> {
    let mut first = BTreeMap::<String, PathBuf>::new();
    let mut found = Vec::new();
    for dir in &path.dirs {
        let Ok(entries) = fs_err::read_dir(dir) else { continue };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files {
            let Some(name) = name_of(&file).map(str::to_owned) else { continue };
            let outcome = match first.get(&name) {
                Some(by) => Err(Refusal::Shadowed { by: by.clone() }),
                None => examine::examine(&file, &path.pins, &path.owners),
            };
            first.entry(name.clone()).or_insert_with(|| file.clone());
            found.push(Candidate { path: file, name, outcome });
        }
    }
    found
}

/// The driver name in a plugin's file name.
pub(crate) fn name_of(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    is_name(name).then_some(name)
}

/// `[a-z0-9_-]{1,32}`: no separator, no dot, so a name stays inside its directory.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    (1..=32).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mica_storage_api::ErrorKind;

    #[test]
    fn names() {
        for good in ["vfs", "a", "my-driver_2", &"a".repeat(32)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "Vfs", "a.b", "../x", "a/b", "ü", &"a".repeat(33)] {
            assert!(!is_name(bad), "{bad}");
            assert_eq!(discover(bad, &SearchPath::default()).unwrap_err().kind(), ErrorKind::Invalid);
        }
        assert_eq!(name_of(Path::new("/x/libmica_storage_vfs.so")), Some("vfs"));
        for bad in ["/x/libmica_storage_.so", "/x/libmica_storage_vfs.so.1", "/x/libmica_storage_V.so", "/x/vfs.so"] {
            assert_eq!(name_of(Path::new(bad)), None, "{bad}");
        }
    }

    #[test]
    fn the_standard_order() {
        let path =
            SearchPath::standard(["/conf".into(), "/usr/lib/mica/storage".into()], Some(Path::new("/opt/m/bin/mica")));
        let expected =
            ["/conf", "/usr/lib/mica/storage", "/opt/m/bin", "/opt/m/lib/mica/storage", "/usr/local/lib/mica/storage"];
        assert_eq!(path.dirs(), expected.map(PathBuf::from));
    }

    #[test]
    fn the_first_directory_wins_and_absence_lists_all() {
        let root = tempfile::tempdir().unwrap();
        let dirs = ["a", "b", "c"].map(|name| root.path().join(name));
        for dir in &dirs[1..] {
            fs_err::create_dir(dir).unwrap();
            fs_err::write(dir.join("libmica_storage_x.so"), "").unwrap();
        }
        let path = SearchPath::new(dirs.clone());
        assert_eq!(discover("x", &path).unwrap(), dirs[1].join("libmica_storage_x.so"));
        let error = discover("y", &path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(dirs.iter().all(|dir| error.to_string().contains(dir.to_str().unwrap())), "{error}");
        let found = candidates(&path);
        assert_eq!(found.len(), 2);
        assert!(matches!(found[0].outcome, Err(Refusal::NotALibrary { .. })), "{:?}", found[0]);
        assert!(matches!(&found[1].outcome, Err(Refusal::Shadowed { by }) if *by == found[0].path), "{:?}", found[1]);
    }
}
