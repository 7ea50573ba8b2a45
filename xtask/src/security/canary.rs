//! A tree on the host that no image and no container may change or read.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::Result;

/// What nobody may read. Whoever finds it in the output of a command has found a hole.
const SECRET: &str = "canary-4f1d7e-secret";

/// The tree and what it looked like.
#[derive(Debug)]
pub struct Canary {
    path: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    /// Makes the tree: files, a directory, a `passwd` that makes everybody root.
    pub fn new(path: PathBuf) -> Result<Self> {
        fs_err::create_dir_all(path.join("sub"))?;
        fs_err::write(path.join("secret"), SECRET)?;
        fs_err::write(path.join("passwd"), format!("evil:x:0:0:{SECRET}:/{SECRET}:/bin/sh\n"))?;
        fs_err::write(path.join("sub/file"), SECRET)?;
        fs_err::set_permissions(path.join("secret"), std::fs::Permissions::from_mode(0o600))?;
        let before = look(&path)?;
        Ok(Self { path, before })
    }

    /// Its path, for links that lead there.
    pub fn path(&self) -> &str {
        self.path.to_str().unwrap_or_default()
    }

    /// What is wrong with it now, or with what a command has said.
    pub fn check(&self, said: &Output) -> Result<(), String> {
        let all = [said.stdout.as_slice(), said.stderr.as_slice()].concat();
        if String::from_utf8_lossy(&all).contains(SECRET) {
            return Err("the canary was read".into());
        }
        self.unchanged()
    }

    /// What has changed in it.
    pub fn unchanged(&self) -> Result<(), String> {
        let now = look(&self.path).map_err(|error| error.to_string())?;
        let changed: Vec<String> = now
            .iter()
            .filter(|(path, state)| self.before.get(*path) != Some(*state))
            .map(|(path, _)| path.display().to_string())
            .chain(
                self.before.keys().filter(|path| !now.contains_key(*path)).map(|path| format!("no {}", path.display())),
            )
            .collect();
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        match (changed.is_empty(), mounts.contains(self.path())) {
            (true, false) => Ok(()),
            (false, _) => Err(format!("the canary changed: {}", changed.join(" "))),
            (_, true) => Err("something is mounted on the canary".into()),
        }
    }
}

fn look(path: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs_err::symlink_metadata(&path)?;
        let (mut content, mode) = (Vec::new(), metadata.mode());
        if metadata.is_dir() {
            waiting.extend(fs_err::read_dir(&path)?.flatten().map(|entry| entry.path()));
        } else if metadata.is_file() {
            content = fs_err::read(&path)?;
        }
        let state = format!("{mode:o} {}:{} {} {content:?}", metadata.uid(), metadata.gid(), metadata.mtime_nsec());
        found.insert(path, state);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    type Attack = fn(&Path) -> std::io::Result<()>;

    fn said(text: &str) -> Output {
        Output { status: ExitStatus::from_raw(0), stdout: text.into(), stderr: Vec::new() }
    }

    #[test]
    fn every_trace_is_seen() {
        let folder = std::env::temp_dir().join(format!("mica-canary-{}", std::process::id()));
        let attacks: [(&str, Attack); 5] = [
            ("written", |path| fs_err::write(path.join("secret"), "x")),
            ("made", |path| fs_err::create_dir(path.join("new"))),
            ("removed", |path| fs_err::remove_file(path.join("sub/file"))),
            ("mode", |path| fs_err::set_permissions(path.join("sub"), std::fs::Permissions::from_mode(0o700))),
            ("node", |path| std::os::unix::fs::symlink("x", path.join("null"))),
        ];
        for (name, attack) in attacks {
            let canary = Canary::new(folder.join(name)).unwrap();
            assert!(canary.check(&said("nothing")).is_ok());
            attack(&folder.join(name)).unwrap();
            assert!(canary.unchanged().is_err(), "{name}");
        }
        let canary = Canary::new(folder.join("read")).unwrap();
        let stolen = fs_err::read_to_string(folder.join("read/sub/file")).unwrap();
        assert!(canary.check(&said(&stolen)).is_err());
        fs_err::remove_dir_all(folder).unwrap();
    }
}
