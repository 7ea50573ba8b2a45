//! `diff`: what a container changed in its file system.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use mica_layer::{Change, ChangeKind, compare_trees};

use super::root::{Mounts, Root};
use crate::container::ContainerRecord;
use crate::storage::Chain;
use crate::{Engine, Error, Kind, Result};

/// One of two file systems.
#[derive(Debug)]
enum Side {
    Container(Box<ContainerRecord>),
    Image(Chain),
}

impl Side {
    fn name(&self) -> String {
        match self {
            Self::Container(record) => record.id.clone(),
            Self::Image(chain) => chain.keys.join(" "),
        }
    }
}

/// The same with its root open.
#[derive(Debug)]
enum Opened {
    Root(Root),
    View(OwnedFd),
}

impl Opened {
    fn directory(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(root) => root.directory.as_fd(),
            Self::View(view) => view.as_fd(),
        }
    }
}

/// Mount points that the runtime makes in a root that lacks them. They are ours and not the container's doing.
const MOUNT_POINTS: [&str; 6] = ["dev", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc", "sys"];

impl Engine {
    /// What has to change in `other`, a container or an image, for it to become `one`, in the order of paths.
    pub async fn diff_between(&self, one: &str, other: &str) -> Result<Vec<Change>> {
        let (one, other) = (self.side(one).await?, self.side(other).await?);
        self.blocking(move |engine| {
            if one.name() == other.name() {
                return Ok(Vec::new());
            }
            // Roots of stopped containers are claimed, for everybody in the same order.
            let swap = one.name() > other.name();
            let first = engine.open_side(if swap { &other } else { &one })?;
            let second = engine.open_side(if swap { &one } else { &other })?;
            let (new, old) =
                if swap { (second.directory(), first.directory()) } else { (first.directory(), second.directory()) };
            let mut changes = Vec::new();
            compare_trees(Some(old), new, &mut |change| changes.push(change)).map_err(|source| Error::Layer {
                operation: "compare",
                layer: "two file systems".into(),
                source,
            })?;
            changes.retain(|change| !change.path.as_os_str().is_empty());
            let images = matches!((&one, &other), (Side::Image(_), Side::Image(_)));
            // What the runtime made for one container is as old as that container, and there is none in an image.
            Ok(if images { changes } else { without_mount_points(changes, is_at_mount_point) })
        })
        .await
    }

    async fn side(&self, name: &str) -> Result<Side> {
        match self.look_up(name).await {
            Ok((record, _)) => Ok(Side::Container(Box::new(record))),
            Err(error) if error.kind() == Kind::NotFound => {
                let image = self.inspect_image(name).await?;
                Ok(Side::Image(self.ensure_chain(&image.config.rootfs.diff_ids).await?))
            }
            Err(error) => Err(error),
        }
    }

    fn open_side(&self, side: &Side) -> Result<Opened> {
        match side {
            Side::Container(record) => Ok(Opened::Root(self.open_root(record, Mounts::RootOnly)?)),
            Side::Image(chain) => Ok(Opened::View(self.view(chain)?)),
        }
    }

    /// The changes of a container against its image, in the order of paths. Paths are relative to the root.
    pub async fn diff(&self, container: &str) -> Result<Vec<Change>> {
        let (record, _) = self.look_up(container).await?;
        let chain = self.ensure_chain_on(&record.driver, &record.diff_ids).await?;
        let mut changes = self.rw_changes(&chain, &record.id).await?;
        changes.retain(|change| !change.path.as_os_str().is_empty());
        Ok(without_mount_points(changes, is_mount_point))
    }
}

/// Leaves out what the runtime made, and the directories whose only change that is.
fn without_mount_points(mut changes: Vec<Change>, is_made: fn(&Change) -> bool) -> Vec<Change> {
    let made: Vec<Change> = changes.extract_if(.., |change| is_made(change)).collect();
    let touched = |path: &Path| made.iter().any(|change| change.path.parent() == Some(path));
    let otherwise: Vec<bool> = changes
        .iter()
        .map(|change| changes.iter().any(|other| other.path != change.path && other.path.starts_with(&change.path)))
        .collect();
    let mut kept = otherwise.into_iter();
    changes.retain(|change| kept.next() == Some(true) || change.kind != ChangeKind::Modified || !touched(&change.path));
    changes
}

fn is_mount_point(change: &Change) -> bool {
    change.kind == ChangeKind::Added && is_at_mount_point(change)
}

fn is_at_mount_point(change: &Change) -> bool {
    MOUNT_POINTS.iter().any(|path| change.path == Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runtime_made_is_no_change_of_the_container() {
        let change = |path: &str, kind| Change { path: path.into(), kind };
        let runtime = [
            change("etc", ChangeKind::Modified),
            change("etc/hosts", ChangeKind::Added),
            change("proc", ChangeKind::Added),
        ];
        assert_eq!(without_mount_points(runtime.to_vec(), is_mount_point), []);
        let mut own = runtime.to_vec();
        own.extend([
            change("etc/passwd", ChangeKind::Modified),
            change("root", ChangeKind::Modified),
            change("root/x", ChangeKind::Added),
        ]);
        let paths: Vec<_> = without_mount_points(own, is_mount_point)
            .into_iter()
            .map(|change| change.path.display().to_string())
            .collect();
        assert_eq!(paths, ["etc", "etc/passwd", "root", "root/x"]);
        let replaced = [change("etc/hosts", ChangeKind::Modified), change("etc/hostname", ChangeKind::Deleted)];
        assert_eq!(without_mount_points(replaced.to_vec(), is_mount_point), replaced);
        assert_eq!(without_mount_points(replaced.to_vec(), is_at_mount_point), []);
    }
}
