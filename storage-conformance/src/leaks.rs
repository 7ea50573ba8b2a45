//! What a case must not leave in the process or on the machine: descriptors, mounts, files in the driver's root.

use std::collections::BTreeMap;
use std::path::Path;

use crate::tree::Tree;
use crate::verdict::{Context, Outcome, ensure};

/// What was there before a case.
#[derive(Debug)]
pub(crate) struct Before {
    descriptors: BTreeMap<String, String>,
    mounts: Vec<String>,
}

impl Before {
    /// Looks at the process and its mount table.
    pub(crate) fn now() -> Outcome<Self> {
        Ok(Self { descriptors: descriptors()?, mounts: mounts()? })
    }

    /// A failure unless all that was opened is closed and nothing is mounted below the driver's root.
    pub(crate) fn must_be_restored(&self, root: &Path) -> Outcome {
        let mut left = descriptors()?;
        left.retain(|number, target| self.descriptors.get(number) != Some(target));
        ensure!(left.is_empty(), "descriptors were left open: {left:?}");
        let root = root.to_string_lossy();
        let mut mounts = mounts()?;
        mounts.retain(|line| line.contains(&*root) && !self.mounts.contains(line));
        ensure!(mounts.is_empty(), "mounts were left: {mounts:?}");
        Ok(())
    }
}

/// Everything that is open, except what the program around the suite may open at any time for processes of its own.
fn descriptors() -> Outcome<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for entry in fs_err::read_dir("/proc/self/fd").doing(|| "list the open descriptors".to_owned())? {
        let entry = entry.doing(|| "list the open descriptors".to_owned())?;
        // The descriptor of this very listing is gone when it is looked at.
        let Ok(target) = fs_err::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        let foreign = ["pipe:", "socket:", "anon_inode:[pidfd]", "/dev/", "/proc/"];
        if !foreign.iter().any(|start| target.starts_with(start)) {
            found.insert(entry.file_name().to_string_lossy().into_owned(), target);
        }
    }
    Ok(found)
}

fn mounts() -> Outcome<Vec<String>> {
    let table = fs_err::read_to_string("/proc/self/mountinfo").doing(|| "read the mount table".to_owned())?;
    Ok(table.lines().map(str::to_owned).collect())
}

/// The bytes below a driver's root. Times of directories are the file system's, and locks are the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootImage(Tree);

impl RootImage {
    /// Reads them.
    pub(crate) fn read(root: &Path) -> Outcome<Self> {
        let dir = rustix::fs::open(
            root,
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .doing(|| "open the driver root".to_owned())?;
        let mut tree = Tree::read(std::os::fd::AsFd::as_fd(&dir))?.without_directory_times();
        tree.nodes.retain(|path, _| path.to_str().is_none_or(|path| path != "locks" && !path.starts_with("locks/")));
        Ok(Self(tree))
    }

    /// A failure unless the root holds what it held, and beside that at most empty directories at its top: fixed ones,
    /// which a driver may make when it first needs them.
    pub(crate) fn must_have_nothing_new(&self, before: &Self) -> Outcome {
        let mut now = self.0.clone();
        now.nodes.retain(|path, node| {
            let fixed = before.0.nodes.contains_key(path);
            let at_the_top = !path.as_encoded_bytes().contains(&b'/') && node.is_directory();
            fixed || !at_the_top
        });
        now.must_equal(&before.0, "the driver root after everything was removed and reaped, against what `open` made")
    }
}
