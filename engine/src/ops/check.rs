//! `system check`: rows against the disk, both ways, every blob against its digest, every unpacked layer against its blob.
//!
//! A blob with its digest is the truth about its layer, so nothing is recorded when a layer is unpacked: its archive is
//! streamed again and compared with what the driver shows ([`mica_layer::Verifier`]). A chain is looked at where its images
//! and containers see it, as a view, beside the view of the chain below; so every driver is checked by one rule.
//!
//! Other commands go on meanwhile. What one of them removes has lost its row first, and is no damage.

mod compare;
mod known;
mod left_overs;
mod repair;
mod rows;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mica_layer::Digest;
use serde::Serialize;

use crate::{Engine, Result};
use known::Known;

/// How closely to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Compare rows, names and sizes of blobs; read no content and open no layer.
    pub quick: bool,
    /// Rebuild what can be rebuilt and remove garbage.
    pub repair: bool,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// What is wrong with what, in a sentence.
    pub message: String,
    /// Images that are hit, by a name or their short ID.
    pub images: Vec<String>,
    /// True when `repair` mended it.
    pub repaired: bool,
    /// True for left-overs that harm nothing.
    pub garbage: bool,
    /// What a person can do about it.
    pub remedy: Option<String>,
}

/// What `check` found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Blobs looked at.
    pub blobs: u64,
    /// Layers looked at.
    pub layers: u64,
    /// Chains of unpacked layers looked at, over all drivers.
    pub chains: u64,
    /// Containers looked at.
    pub containers: u64,
    /// Everything that is wrong.
    pub damages: Vec<Damage>,
    /// What is worth knowing and not wrong: who holds which lock.
    pub notes: Vec<String>,
}

impl CheckReport {
    /// True when nothing is left that is wrong; garbage is not wrong.
    pub fn is_clean(&self) -> bool {
        self.damages.iter().all(|damage| damage.repaired || damage.garbage)
    }
}

/// What a check reports while it goes on; called from several threads at once.
pub trait CheckProgress: Send + Sync {
    /// So many of so many blobs and chains have been looked at.
    fn step(&self, done: u64, total: u64);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl CheckProgress for Unwatched {
    fn step(&self, _done: u64, _total: u64) {}
}

impl Engine {
    /// Checks the store.
    pub async fn check(&self, options: CheckOptions) -> Result<CheckReport> {
        self.check_watched(options, Arc::new(Unwatched)).await
    }

    /// [`Engine::check`] for whoever wants to know how far it is.
    pub async fn check_watched(&self, options: CheckOptions, progress: Arc<dyn CheckProgress>) -> Result<CheckReport> {
        self.blocking(move |engine| {
            let mut check = Check {
                engine,
                options,
                progress: &*progress,
                known: engine.store().read(Known::read)?,
                bad_blobs: BTreeMap::new(),
                report: CheckReport::default(),
            };
            check.rows()?;
            check.bytes()?;
            check.containers()?;
            check.left_overs()?;
            Ok(check.report)
        })
        .await
    }
}

struct Check<'a> {
    engine: &'a Engine,
    options: CheckOptions,
    progress: &'a dyn CheckProgress,
    known: Known,
    /// Blobs that are missing or damaged, and how.
    bad_blobs: BTreeMap<Digest, String>,
    report: CheckReport,
}

impl Check<'_> {
    fn damage(&mut self, message: String, images: Vec<String>) {
        self.report.damages.push(Damage { message, images, repaired: false, garbage: false, remedy: None });
    }

    fn garbage(&mut self, message: String) {
        let repaired = self.options.repair;
        self.report.damages.push(Damage { message, images: Vec::new(), repaired, garbage: true, remedy: None });
    }

    /// Blobs and unpacked layers: all of them, then those that were repaired once more.
    fn bytes(&mut self) -> Result<()> {
        let tasks = self.tasks()?;
        let mut findings = self.look_at(&tasks)?;
        for (digest, fault) in findings.blobs.drain(..) {
            self.bad_blobs.insert(digest, fault);
        }
        self.blob_damages()?;
        self.chain_damages(findings.chains)
    }

    /// Looks at many things on all processors, in no order.
    fn look_at(&self, tasks: &[compare::Task]) -> Result<compare::Findings> {
        let next = AtomicUsize::new(0);
        let done = AtomicU64::new(0);
        let all = Mutex::new(Ok(compare::Findings::default()));
        let worker = || {
            while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let found = self.engine.look_at(&self.known, task, self.options.quick);
                self.progress.step(done.fetch_add(1, Ordering::Relaxed) + 1, tasks.len() as u64);
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                match (found, &mut *all) {
                    (Ok(found), Ok(all)) => all.extend(found),
                    (Err(error), all) => {
                        next.store(tasks.len(), Ordering::Relaxed);
                        *all = Err(error);
                    }
                    (Ok(_), Err(_)) => {}
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tasks.len());
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(worker);
            }
            worker();
        });
        all.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
