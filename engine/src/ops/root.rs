//! How verbs reach a container's root file system: by a detached mount while it is stopped, through its first process while
//! it runs.

use std::os::fd::{BorrowedFd, OwnedFd};

use mica_storage_api::MountFlags;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use super::apart::inside;
use crate::container::ContainerRecord;
use crate::runtime::RunState;
use crate::storage::{Chain, Volatility, mount, mount_mapped};
use crate::store::container_state::read;
use crate::store::containers::Claim;
use crate::{Engine, Error, Kind, Result};

/// A container's root, and what keeps it from changing hands.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) directory: OwnedFd,
    // A stopped container must not start while its root is mounted here: overlayfs must not have one upper directory in
    // two mounts.
    held: Option<(Claim, Chain)>,
}

impl Root {
    /// True when it is seen through a process of the container, with everything that is mounted there.
    pub(crate) fn is_running(&self) -> bool {
        self.held.is_none()
    }
}

/// Which mounts a root shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mounts {
    /// What the container sees, volumes included.
    All,
    /// The root file system alone, as `export` wants it.
    RootOnly,
}

impl Engine {
    /// A read-only detached mount of a chain. Blocks.
    pub(crate) fn view(&self, chain: &Chain) -> Result<OwnedFd> {
        mount(&chain.driver, &chain.keys, None, MountFlags::READONLY)
    }

    /// The same with the owners that a user namespace maps. Blocks.
    pub(crate) fn mapped_view(&self, chain: &Chain, ids: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
        mount_mapped(&chain.driver, &chain.keys, None, MountFlags::READONLY, ids)
    }

    /// A detached mount of a writable tree. Blocks.
    pub(crate) fn mount_rw(&self, chain: &Chain, id: &str, volatility: Volatility) -> Result<OwnedFd> {
        self.mount_rw_mapped(chain, id, volatility, None)
    }

    /// The same with the owners that a user namespace maps. Blocks.
    pub(crate) fn mount_rw_mapped(
        &self,
        chain: &Chain,
        id: &str,
        volatility: Volatility,
        ids: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd> {
        match (self.mounted_root(id)?, ids) {
            (Some(root), None) => return Ok(root),
            (Some(_), Some(_)) => {
                let message = format!("the root of container `{id}` is mounted on the host without its mapping of ids");
                return Err(Error::refused(Kind::Conflict, message)
                    .with_hint("`mica unmount` it first: overlayfs must not have one upper directory in two mounts"));
            }
            (None, _) => {}
        }
        let flags = if volatility == Volatility::Volatile { MountFlags::VOLATILE } else { MountFlags::empty() };
        mount_mapped(&chain.driver, &chain.keys, Some(id), flags, ids)
    }

    /// A container's root. Blocks.
    pub(crate) fn open_root(&self, record: &ContainerRecord, mounts: Mounts) -> Result<Root> {
        // Of two looks, one before and one after the claim: the container may start or stop in between.
        for _ in 0..8 {
            if let Some(pid) = self.state_of(record)?.pid() {
                let directory = match mounts {
                    Mounts::All => self.running_root(record, pid)?,
                    Mounts::RootOnly => clone_root(self.running_namespace(record, pid)?)?,
                };
                return Ok(Root { directory, held: None });
            }
            let (claim, record) = self.store().claim_container(&record.id)?;
            if self.state_of_claimed(&record)?.is_running() {
                continue;
            }
            let chain = self.chain_on(&self.driver(&record.driver)?, &record.diff_ids)?;
            self.store().forget_container_figure(&record.id);
            let directory = self.mount_rw(&chain, &record.id, Volatility::Durable)?;
            return Ok(Root { directory, held: Some((claim, chain)) });
        }
        Err(Error::refused(Kind::Unavailable, format!("container `{}` starts and stops all the time", record.id)))
    }

    /// The root that the first process of a running container sees.
    pub(crate) fn running_root(&self, record: &ContainerRecord, pid: i32) -> Result<OwnedFd> {
        let path = format!("/proc/{pid}/root");
        let root = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let root = root.map_err(|errno| Error::io("open", path)(errno.into()))?;
        self.check_pid(record, pid)?;
        Ok(root)
    }

    fn running_namespace(&self, record: &ContainerRecord, pid: i32) -> Result<OwnedFd> {
        let path = format!("/proc/{pid}/ns/mnt");
        let namespace = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let namespace = namespace.map_err(|errno| Error::io("open", path)(errno.into()))?;
        self.check_pid(record, pid)?;
        Ok(namespace)
    }

    /// After opening by number: the process is still the one that was meant, so the number was not given away meanwhile.
    fn check_pid(&self, record: &ContainerRecord, pid: i32) -> Result<()> {
        let state = read::<RunState>(&self.store().directories(&record.id).run.join("state.json"))?;
        match state {
            Some(state) if state.pid == pid && start_time(pid) == Some(state.pid_start) => Ok(()),
            _ => Err(super::kill::not_running(&record.id)),
        }
    }
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, parentheses too.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// True of a process that is gone, or a zombie.
pub(crate) fn has_ended(pid: i32) -> bool {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything, parentheses too.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

/// A detached copy of the root mount of another mount namespace, without what is mounted below it. A mount can only be
/// copied from inside its namespace.
fn clone_root(namespace: OwnedFd) -> Result<OwnedFd> {
    inside(namespace, || {
        rustix::mount::open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn who_runs_has_not_ended() {
        assert!(!super::has_ended(std::process::id() as i32));
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let pid = child.id() as i32;
        while !super::has_ended(pid) {
            std::thread::yield_now();
        }
        child.wait().expect("an end");
        assert!(super::has_ended(pid));
    }
}
