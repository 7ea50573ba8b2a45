//! The disk against the rows: what has lost what it needs, and what nobody has a row for.
//!
//! What somebody makes just now has no row yet either; the lock on its name tells. Left-overs harm nothing, and `repair`
//! takes them away as `prune` does.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use mica_layer::Digest;
use mica_storage_api::{CheckLevel, Flow, ObjectKind};
use mica_storage_loader::Driver;
use rustix::fs::{FlockOperation, flock};

use super::Check;
use crate::download::is_awaited;
use crate::storage::reap::Patience;
use crate::store::container_state::{Observed, monitored, observe};
use crate::store::images::{self, collect};
use crate::store::locks::LockName;
use crate::store::{containers, layers, names_in};
use crate::{Error, Result};

impl Check<'_> {
    /// Every container has what it needs.
    pub(super) fn containers(&mut self) -> Result<()> {
        let store = self.engine.store();
        let records = store.read(containers::all)?;
        self.report.containers = records.len() as u64;
        for record in records {
            let (id, name) = (record.short_id(), &record.name);
            let directories = store.directories(&record.id);
            if !directories.state.is_dir() {
                self.damage(format!("container `{name}` ({id}) has lost its directory"), Vec::new());
                if self.options.repair {
                    store.create_directories(&record.id)?;
                    self.mended();
                    self.remedy("its log and its last exit code are lost".to_owned());
                }
                continue;
            }
            if observe(&directories)? == Observed::Orphaned {
                self.garbage(format!("the monitor of container `{name}` ({id}) died, or is just starting it"));
                if self.options.repair {
                    self.engine.state_of(&record)?;
                }
            }
            let Ok(driver) = self.engine.driver(&record.driver) else { continue };
            let level = if self.options.quick { CheckLevel::Present } else { CheckLevel::Deep };
            if let Err(error) = driver.check(ObjectKind::Rw, crate::storage::key(&record.id)?, level)
                && store.find_container(&record.id).is_ok_and(|now| now.driver == record.driver)
            {
                self.damage(format!("container `{name}` ({id}) has lost its writable layer: {error}"), Vec::new());
                self.remedy(format!("what it wrote is gone: `mica rm {name}`"));
            }
            for volume in record.volumes.iter().filter(|volume| !store.volume_data(&volume.name).is_dir()) {
                self.damage(format!("volume `{}` of container `{name}` ({id}) is gone", volume.name), Vec::new());
            }
        }
        Ok(())
    }

    /// What nobody has a row for.
    pub(super) fn left_overs(&mut self) -> Result<()> {
        for driver in self.engine.drivers_on_disk()? {
            match self.engine.driver(&driver) {
                Ok(driver) => self.objects_without_rows(&driver)?,
                Err(error) => {
                    let used = self.engine.store().read(layers::drivers_in_use)?.contains(&driver);
                    if used {
                        self.damage(
                            format!("driver `{driver}` holds snapshots and cannot be opened: {error}"),
                            Vec::new(),
                        );
                    }
                }
            }
        }
        self.blobs_without_rows()?;
        self.directories_without_rows()?;
        self.mounts()?;
        self.locks()?;
        if self.options.repair {
            self.engine.collect_garbage(Patience::Wait)?;
        }
        Ok(())
    }

    fn objects_without_rows(&mut self, driver: &Driver) -> Result<()> {
        let mut found = Vec::new();
        let list = driver.list(&mut |kind, key| {
            found.push((kind, key.as_str().to_owned()));
            Flow::Continue
        });
        list.map_err(|source| Error::Storage { operation: "list snapshots", source })?;
        let store = self.engine.store();
        for (kind, name) in found {
            let (word, lock) = match kind {
                ObjectKind::Layer => ("snapshot", LockName::Object(driver.name().to_owned(), name.clone())),
                ObjectKind::Rw => ("writable layer", LockName::Stage(driver.name().to_owned(), name.clone())),
                ObjectKind::Stage => ("stage", LockName::Stage(driver.name().to_owned(), name.clone())),
            };
            if self.engine.has_row(driver.name(), kind, &name)? {
                continue;
            }
            let Some(_lock) = store.try_lock(&lock)? else { continue };
            let made_now =
                kind == ObjectKind::Rw && store.directories(&name).state.exists() && store.try_claim(&name)?.is_none();
            if !made_now && !self.engine.has_row(driver.name(), kind, &name)? {
                self.garbage(format!("{word} `{name}` of driver `{}` belongs to nothing", driver.name()));
            }
        }
        Ok(())
    }

    fn blobs_without_rows(&mut self) -> Result<()> {
        let store = self.engine.store();
        let content = store.root().join("content");
        for algorithm in ["sha256", "sha512"] {
            for name in names_in(&content.join("blobs").join(algorithm))? {
                let Ok(digest) = format!("{algorithm}:{name}").parse::<Digest>() else {
                    self.garbage(format!("`content/blobs/{algorithm}/{}` is no blob", name.escape_debug()));
                    if self.options.repair {
                        let _ = fs_err::remove_file(content.join("blobs").join(algorithm).join(&name));
                    }
                    continue;
                };
                if store.read(|db| images::has_blob(db, &digest))? {
                    continue;
                }
                let Some(_lock) = store.try_lock(&LockName::Document(digest.clone()))? else { continue };
                if !store.read(|db| images::has_blob(db, &digest))? {
                    self.garbage(format!("blob `{digest}` belongs to nothing"));
                }
            }
        }
        for name in names_in(&content.join("ingest"))? {
            let path = content.join("ingest").join(&name);
            let Ok(file) = fs_err::File::open(&path) else { continue };
            if file.metadata().is_ok_and(|found| is_awaited(&path, &found)) {
                continue;
            }
            if flock(file.as_fd(), FlockOperation::NonBlockingLockShared).is_ok() {
                self.garbage(format!("`content/ingest/{name}` was left by a command that died"));
            }
        }
        Ok(())
    }

    fn directories_without_rows(&mut self) -> Result<()> {
        let store = self.engine.store();
        let known = || -> Result<BTreeSet<String>> {
            Ok(store.read(|db| collect(db, "SELECT id FROM containers", [], |row| row.get(0)))?.into_iter().collect())
        };
        for id in names_in(&store.root().join("containers"))? {
            if known()?.contains(&id) {
                continue;
            }
            let Some(_claim) = store.try_claim(&id)? else { continue };
            if !known()?.contains(&id) {
                self.garbage(format!("directory of container `{id}` belongs to no container"));
            }
        }
        for id in names_in(&store.run_root().join("containers"))? {
            let directories = store.directories(&id);
            let alone = !known()?.contains(&id) && !directories.state.exists();
            if alone && !monitored(&directories.run)? && crate::ops::run_step::try_hold(&directories.run)?.is_some() {
                self.garbage(format!("run-time state of container `{id}` belongs to no container"));
            }
        }
        let volumes: BTreeSet<String> =
            store.read(|db| collect(db, "SELECT name FROM volumes", [], |row| row.get(0)))?.into_iter().collect();
        for name in &volumes {
            if !store.volume_data(name).is_dir() {
                self.damage(format!("volume `{name}` has lost its directory"), Vec::new());
            }
        }
        for name in names_in(&store.root().join("volumes"))?.into_iter().filter(|name| !volumes.contains(name)) {
            // Never taken away without being asked: it may hold what a person wrote.
            self.report.notes.push(format!("volume directory `{name}` has no row; a container may be on its way"));
        }
        Ok(())
    }

    /// Mounts are made detached and live in monitors' own namespaces, so there are none below the store.
    fn mounts(&mut self) -> Result<()> {
        let root = fs_err::canonicalize(self.engine.store().root())
            .map_err(Error::io("resolve", self.engine.store().root()))?;
        let text = fs_err::read_to_string("/proc/self/mountinfo").map_err(Error::io("read", "/proc/self/mountinfo"))?;
        for point in text.lines().filter_map(|line| line.split(' ').nth(4)) {
            let inside = Path::new(point).strip_prefix(&root).is_ok_and(|rest| rest.components().count() > 1);
            if inside {
                self.report.notes.push(format!("something is mounted at `{point}`, and not by this program"));
            }
        }
        Ok(())
    }

    /// Who holds which lock, from `/proc/locks` (proc_locks(5)); files of locks that nobody holds.
    fn locks(&mut self) -> Result<()> {
        let mut owners: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for line in fs_err::read_to_string("/proc/locks").unwrap_or_default().lines() {
            let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "->").collect();
            let [_, "FLOCK", _, _, pid, file, ..] = words.as_slice() else { continue };
            if let (Ok(pid), Some(Ok(inode))) = (pid.parse(), file.rsplit(':').next().map(str::parse)) {
                owners.entry(inode).or_default().push(pid);
            }
        }
        let directory = self.engine.store().root().join("locks");
        let me = std::process::id();
        for name in names_in(&directory)? {
            let Ok(found) = fs_err::metadata(directory.join(&name)) else { continue };
            let owners: Vec<u32> =
                owners.get(&found.ino()).into_iter().flatten().copied().filter(|pid| *pid != me).collect();
            for pid in owners {
                let command = fs_err::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                self.report.notes.push(format!("lock `{name}` is held by process {pid} ({})", command.trim_end()));
            }
        }
        Ok(())
    }
}
