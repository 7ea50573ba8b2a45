//! The one definition of a correct storage driver: named cases, run against any driver through the C table the engine uses.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use mica_storage_conformance::{Subject, WorkerCommand, run};
//! let plugin = mica_storage_loader::Plugin::load("target/debug/libmica_storage_overlay.so".as_ref())?;
//! let worker = WorkerCommand { args: vec!["worker".into(), "--exact".into(), "--nocapture".into()], environment: Vec::new() };
//! let report = run(&Subject::new(&plugin, &worker), "/var/tmp/scratch".as_ref(), &mut |_| {})?;
//! assert!(report.passed(), "{report}");
//! # Ok(()) }
//! ```
//! Each case has a name, a sentence that says what it demands, and a failure that names the path and the difference. It gets a driver root of its own below the scratch directory and a verdict of its own,
//! and after it everything is removed and reaped by the driver's own verbs: no object, file, mount or descriptor may be left. A driver that does not claim a
//! capability skips the cases about it. Where a case needs a whiteout, it writes the style the stage declares. Where it needs another process, the
//! running program is started again and must reach [`serve_worker`]. Root is needed: layers hold devices and other people's files.
//!
//! Deliberately absent: the name of any driver, timings, the engine, tar.

mod cases;
mod ground;
pub mod harness;
mod ids;
mod leaks;
mod model;
mod performer;
mod report;
mod sample;
pub mod scratch;
mod script;
mod tree;
mod verdict;
mod whiteout;
mod work;
mod worker;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use mica_storage_loader::{OpenArgs, Plugin};

use crate::cases::Case;
use crate::ground::Ground;
use crate::leaks::{Before, RootImage};
use crate::verdict::{Context, Outcome, Stop};
use crate::worker::Workers;

pub use report::{CaseReport, Report, Verdict};
pub use worker::{WorkerCommand, serve_worker};

/// The driver under test.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its table.
    pub plugin: &'a Plugin,
    /// Its options.
    pub options: &'a [String],
    /// How to start a second process of this program.
    pub worker: &'a WorkerCommand,
    /// Whether the driver is opened as for a user without root. The process is then in a user namespace of its own.
    pub rootless: bool,
    /// How much is tried.
    pub depth: Depth,
}

/// How much a run tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// Some seconds.
    #[default]
    Quick,
    /// Deeper chains, and many more random sequences and kills: about a minute.
    Thorough,
}

impl<'a> Subject<'a> {
    /// A driver without options, to be tried quickly as root.
    pub fn new(plugin: &'a Plugin, worker: &'a WorkerCommand) -> Self {
        Self { plugin, options: &[], worker, rootless: false, depth: Depth::Quick }
    }
}

/// Why no case could run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The scratch directory cannot be used.
    #[error("cannot use the scratch directory")]
    Scratch {
        /// What failed.
        source: std::io::Error,
    },
    /// The driver declined to work there at all.
    #[error("the driver does not open below `{}`", root.display())]
    Open {
        /// The scratch directory.
        root: PathBuf,
        /// What it said.
        source: mica_storage_loader::Error,
    },
}

/// The names of all cases, in the order in which they run.
pub fn case_names() -> impl Iterator<Item = &'static str> {
    cases::all().map(|case| case.name)
}

/// Runs every case below the directory `scratch`, telling `each` how it ended, and leaves the directory as it was.
/// Clears the umask of the process.
pub fn run(subject: &Subject<'_>, scratch: &Path, each: &mut dyn FnMut(&CaseReport)) -> Result<Report, Error> {
    // Workers and mounts see the same path whatever the working directory is.
    let scratch = fs_err::canonicalize(scratch).map_err(|source| Error::Scratch { source })?;
    // Modes are part of what the cases compare, and the engine does the same. Not restored, since another run may go on beside this one.
    rustix::process::umask(rustix::fs::Mode::empty());
    let mut report = Report::default();
    for (number, case) in cases::all().enumerate() {
        let root = scratch.join(format!("case-{number:02}"));
        let begin = Instant::now();
        let verdict = run_case(subject, case, &root)?;
        let case = CaseReport { name: case.name, demands: case.demands, took: begin.elapsed(), verdict };
        each(&case);
        report.cases.push(case);
    }
    Ok(report)
}

fn run_case(subject: &Subject<'_>, case: &Case, root: &Path) -> Result<Verdict, Error> {
    // Descriptors are counted, so one run at a time: the tests of one program share a process.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = Before::now();
    let mut args = OpenArgs::new(root);
    (args.options, args.rootless) = (subject.options, subject.rootless);
    let driver = subject.plugin.open(&args).map_err(|source| Error::Open { root: root.to_owned(), source })?;
    let workers = Workers { command: subject.worker, rootless: subject.rootless };
    let ground = Ground {
        driver: &driver,
        plugin: subject.plugin,
        options: subject.options,
        rootless: subject.rootless,
        depth: subject.depth,
        root: root.to_owned(),
        workers: &workers,
    };
    let opened = RootImage::read(root);
    let outcome = (case.run)(&ground);
    let cleared = clear(&ground, opened);
    drop(ground);
    drop(driver);
    let restored = before.and_then(|before| before.must_be_restored(root));
    let removed = remove_root(root);
    Ok(match outcome.and(cleared).and(restored).and(removed) {
        Ok(()) => Verdict::Pass,
        Err(Stop::Fail(reason)) => Verdict::Fail(reason),
        Err(Stop::Skip(reason)) => Verdict::Skip(reason),
    })
}

/// Removes all objects by the driver's own verbs, which every case thereby tests once more.
fn clear(ground: &Ground<'_>, opened: Outcome<RootImage>) -> Outcome {
    for (kind, name) in ground.list()? {
        ground.remove(kind, &name)?;
    }
    ground.must_list(&[])?;
    cases::reap(ground)?;
    RootImage::read(&ground.root)?.must_have_nothing_new(&opened?)
}

fn remove_root(root: &Path) -> Outcome {
    fs_err::remove_dir_all(root).doing(|| "remove the emptied driver root".to_owned())
}
