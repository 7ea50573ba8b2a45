//! `diff`: what a container changed in its file system.

use std::path::Path;

use mica_layer::{Change, ChangeKind};

use crate::{Engine, Result};

/// Mount points that the runtime makes in a root that lacks them. They are ours and not the container's doing.
const MOUNT_POINTS: [&str; 6] = ["dev", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc", "sys"];

impl Engine {
    /// The changes of a container against its image, in the order of paths. Paths are relative to the root.
    pub async fn diff(&self, container: &str) -> Result<Vec<Change>> {
        let (record, _) = self.look_up(container).await?;
        let chain = self.ensure_chain_on(&record.driver, &record.diff_ids).await?;
        let mut changes = self.rw_changes(&chain, &record.id).await?;
        changes.retain(|change| !change.path.as_os_str().is_empty());
        Ok(without_mount_points(changes))
    }
}

/// Leaves out what the runtime made, and the directories whose only change that is.
fn without_mount_points(mut changes: Vec<Change>) -> Vec<Change> {
    let made: Vec<Change> = changes.extract_if(.., |change| is_mount_point(change)).collect();
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
    change.kind == ChangeKind::Added && MOUNT_POINTS.iter().any(|path| change.path == Path::new(path))
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
        assert_eq!(without_mount_points(runtime.to_vec()), []);
        let mut own = runtime.to_vec();
        own.extend([
            change("etc/passwd", ChangeKind::Modified),
            change("root", ChangeKind::Modified),
            change("root/x", ChangeKind::Added),
        ]);
        let paths: Vec<_> =
            without_mount_points(own).into_iter().map(|change| change.path.display().to_string()).collect();
        assert_eq!(paths, ["etc", "etc/passwd", "root", "root/x"]);
        let replaced = [change("etc/hosts", ChangeKind::Modified), change("etc/hostname", ChangeKind::Deleted)];
        assert_eq!(without_mount_points(replaced.to_vec()), replaced);
    }
}
