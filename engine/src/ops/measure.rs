//! What containers and volumes occupy: kept figures, and walks where a figure is missing or has grown old.
//!
//! A container that does not run has an exact figure, which the first listing after its end takes and whoever lets
//! somebody write forgets. What runs, and a volume, can change at any time: its figure is taken again when it is older than
//! twenty times what taking it cost, the oldest first, and for no longer than a listing may take.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use mica_storage_api::{ErrorKind, ObjectKind};

use crate::parallel::{map, threads};
use crate::storage::{Usage, usage};
use crate::store::container_state::Shelf;
use crate::store::figures::{BUDGET, Figure, Kept};
use crate::store::{Store, boot_id, fresh_id};
use crate::{Engine, Error, Kind, Result};

/// A container as far as what it wrote depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub(crate) id: &'a str,
    /// The driver of its writable tree.
    pub(crate) driver: &'a str,
    pub(crate) running: bool,
}

impl Engine {
    /// What containers have written, in their order. Blocks.
    pub(crate) fn written(&self, containers: &[Writer<'_>]) -> Result<Vec<Usage>> {
        let boot = boot_id()?;
        let shelf = Shelf::open(self.store())?;
        let known = |writer: &Writer<'_>| match Store::container_figure_on(&shelf, writer.id) {
            Some(Kept::Figure(figure)) if figure.is_of(writer.driver, &boot) => {
                (figure.is_exact() || writer.running).then_some(figure)
            }
            _ => None,
        };
        let kept: Vec<Option<Figure>> = map(containers, known);
        let is_due = |index: usize, figure: &Figure| containers[index].running && figure.is_due();
        fresh(&kept, is_due, |index| self.measure_container(containers[index], &boot))
    }

    /// What volumes hold, in their order. Blocks.
    pub(crate) fn held(&self, volumes: &[String]) -> Result<Vec<Usage>> {
        let boot = boot_id()?;
        let subjects: Vec<String> = volumes
            .iter()
            .map(|name| fs_err::metadata(self.store().volume_data(name)).map_or(0, |found| found.ino()).to_string())
            .collect();
        let kept: Vec<Option<Figure>> = (volumes.iter().zip(&subjects))
            .map(|(name, subject)| self.store().volume_figure(name).filter(|figure| figure.is_of(subject, &boot)))
            .collect();
        fresh(
            &kept,
            |_, figure| figure.is_due(),
            |index| {
                let directory = self.store().root().join("volumes").join(&volumes[index]);
                let figure = Figure::take(&subjects[index], &boot, false, || Ok::<_, Error>(walk(&directory)))?;
                self.store().keep_volume_figure(&volumes[index], &figure);
                Ok(figure.usage())
            },
        )
    }

    fn measure_container(&self, container: Writer<'_>, boot: &str) -> Result<Usage> {
        let Writer { id, driver: name, running } = container;
        let store = self.store();
        let mark = if running { None } else { self.begin_exact(id)? };
        let driver = self.driver(name)?;
        let figure = Figure::take(name, boot, mark.is_some(), || usage(&driver, ObjectKind::Rw, id));
        let figure = match figure {
            Ok(figure) => figure,
            // Removed meanwhile.
            Err(Error::Storage { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(Usage::default()),
            Err(error) => return Err(error),
        };
        let unwritten = || mark.is_none() || store.container_figure(id) == mark;
        if (running || mark.is_some())
            && let Some(_claim) = store.try_claim(id)?
            && unwritten()
        {
            store.keep_container_figure(id, &Kept::Figure(figure.clone()));
        }
        Ok(figure.usage())
    }

    /// Leaves a mark that goes with the first chance to write; `None` when somebody has that chance now. The claim is not
    /// held during the walk, because whoever starts or removes the container waits for it.
    fn begin_exact(&self, id: &str) -> Result<Option<Kept>> {
        let Some(_claim) = self.store().try_claim(id)? else { return Ok(None) };
        let record = match self.store().find_container(id) {
            Ok(record) => record,
            Err(error) if error.kind() == Kind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if self.state_of_claimed(&record)?.is_running() {
            return Ok(None);
        }
        let mark = Kept::Begun(fresh_id());
        self.store().keep_container_figure(id, &mark);
        Ok(Some(mark))
    }
}

/// Takes what is missing and, as far as the time allows, what is due; all else stays as it is.
fn fresh(
    kept: &[Option<Figure>],
    is_due: impl Fn(usize, &Figure) -> bool,
    take: impl Fn(usize) -> Result<Usage> + Sync,
) -> Result<Vec<Usage>> {
    let missing_or_due = |&index: &usize| kept[index].as_ref().is_none_or(|figure| is_due(index, figure));
    let mut todo: Vec<usize> = (0..kept.len()).filter(missing_or_due).collect();
    // What is missing comes first, then the oldest.
    todo.sort_by_key(|&index| kept[index].as_ref().map(Figure::taken));
    let deadline = Instant::now() + BUDGET;
    let next = AtomicUsize::new(0);
    let taken = Mutex::new(Vec::new());
    let work = || {
        while let Some(&index) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
            if kept[index].is_some() && Instant::now() > deadline {
                break;
            }
            let usage = take(index);
            taken.lock().unwrap_or_else(PoisonError::into_inner).push((index, usage));
        }
    };
    let workers = threads().min(todo.len());
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
    let mut usages: Vec<Usage> =
        kept.iter().map(|figure| figure.as_ref().map(Figure::usage).unwrap_or_default()).collect();
    for (index, usage) in taken.into_inner().unwrap_or_else(PoisonError::into_inner) {
        usages[index] = usage?;
    }
    Ok(usages)
}

/// Bytes on disk and inodes below a directory. What vanishes or cannot be read meanwhile counts nothing.
fn walk(path: &Path) -> Usage {
    let Ok(meta) = fs_err::symlink_metadata(path) else { return Usage::default() };
    let mut usage = Usage { bytes: meta.blocks() * 512, inodes: 1 };
    if meta.is_dir() {
        for child in fs_err::read_dir(path).into_iter().flatten().flatten() {
            let below = walk(&child.path());
            usage.bytes += below.bytes;
            usage.inodes += below.inodes;
        }
    }
    usage
}
