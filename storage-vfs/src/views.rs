//! Read-only trees of chains, for whoever only looks: an image that a build copies from, a comparison of trees.
//!
//! ```text
//! <root>/views/<unique>/    further names of the layers' files, in directories of its own
//! ```
//! A view costs directories and no bytes. Nobody tells a driver when a mount is gone, so a view lasts as long as the driver
//! that made it: it holds an flock on the view's directory, which is only ever tried and never waited for. A view whose lock
//! is free has lost its driver, and `reap` takes it away. One driver makes one view of a chain and mounts it again and again.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use mica_storage_api::layout::{Layout, unique};
use mica_storage_api::{Key, KeyBuf, Result, ResultExt, tree};
use rustix::fs::{AtFlags, FlockOperation, Mode, flock, fstat, mkdirat, statat};
use rustix::io::Errno;

use crate::chain::Chain;
use crate::fill::{Files, Progress, fill};

/// The views of one opened driver.
#[derive(Debug)]
pub(crate) struct Views {
    dir: OwnedFd,
    made: Mutex<HashMap<Vec<KeyBuf>, Slot>>,
}

/// Locked while a view is made, so that others wait for it instead of making it too.
type Slot = Arc<Mutex<Option<View>>>;

#[derive(Debug)]
struct View {
    tree: Arc<OwnedFd>,
    /// Which directories the layers were. The names of removed ones may have been given away.
    layers: Vec<Identity>,
}

type Identity = (u64, i64, u64);

impl Views {
    pub(crate) fn new(dir: OwnedFd) -> Self {
        Self { dir, made: Mutex::default() }
    }

    /// The tree of a chain of at least one layer.
    pub(crate) fn tree(&self, chain: Chain<'_>, progress: &mut Progress) -> Result<Arc<OwnedFd>> {
        let keys: Vec<KeyBuf> = chain.keys.iter().map(|key| Key::to_owned(*key)).collect();
        let slot = self.made.lock().unwrap_or_else(PoisonError::into_inner).entry(keys).or_default().clone();
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let layers = identities(chain)?;
        if let Some(view) = slot.as_ref().filter(|view| view.layers == layers) {
            return Ok(Arc::clone(&view.tree));
        }
        let tree = self.fresh()?;
        // A view that fails loses its lock with its descriptor.
        fill(chain, tree.as_fd(), Files::Linked, progress)?;
        let tree = Arc::new(tree);
        *slot = Some(View { tree: Arc::clone(&tree), layers });
        Ok(tree)
    }

    /// Moves views into the trash whose driver is gone, and those of layers that are gone: whoever looks at a view holds
    /// its layers in place.
    pub(crate) fn sweep(&self, layout: &Layout) -> Result<()> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).retain(|keys, slot| {
            let Ok(slot) = slot.try_lock() else { return true };
            let keys: Vec<Key<'_>> = keys.iter().map(KeyBuf::as_key).collect();
            let now = identities(Chain { layers: layout.dir(mica_storage_api::ObjectKind::Layer), keys: &keys });
            slot.as_ref().is_some_and(|view| now.is_ok_and(|now| now == view.layers))
        });
        let show = || "look for views that nobody has";
        let dir = tree::open(self.dir.as_fd(), c".").during(show)?;
        for (name, _) in tree::names(dir.as_fd()).during(show)? {
            let lost = match tree::open(self.dir.as_fd(), &name) {
                Ok(view) => flock(&view, FlockOperation::NonBlockingLockExclusive).is_ok(),
                Err(_) => false,
            };
            if lost {
                layout.discard_from(self.dir.as_fd(), Key::from_bytes(name.to_bytes())?)?;
            }
        }
        Ok(())
    }

    /// An empty directory that is locked.
    fn fresh(&self) -> Result<OwnedFd> {
        loop {
            let name = unique(Key::new("view")?);
            mkdirat(&self.dir, &name, Mode::RWXU).during(|| "make a view")?;
            match self.locked(&name) {
                Ok(tree) => return Ok(tree),
                // A sweep saw it before it was locked.
                Err(Errno::NOENT | Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(errno).during(|| "lock a view"),
            }
        }
    }

    fn locked(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        let tree = mica_storage_api::layout::open_dir(self.dir.as_fd(), name)?;
        flock(&tree, FlockOperation::NonBlockingLockShared)?;
        let there = statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if there.st_ino == fstat(&tree)?.st_ino { Ok(tree) } else { Err(Errno::NOENT) }
    }
}

fn identities(chain: Chain<'_>) -> Result<Vec<Identity>> {
    let identity = |key: &Key<'_>| {
        let stat =
            statat(chain.layers, key.as_str(), AtFlags::SYMLINK_NOFOLLOW).during(|| format!("open `layers/{key}`"))?;
        Ok((stat.st_ino, stat.st_ctime, stat.st_ctime_nsec))
    };
    chain.keys.iter().map(identity).collect()
}
