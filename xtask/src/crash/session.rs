//! One run of the harness on one ground: the prepared store, what is known of each case, and the points that are tried.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use super::call::Call;
use super::cases::{self, Case, words};
use super::ground::{Ground, Site};
use super::point::Point;
use super::tracer::{self, Fault, Trace};
use super::verdict::{self, Known, State};
use crate::output;
use crate::servers::Registry;

/// A prepared ground.
#[derive(Debug)]
pub struct Session {
    ground: Ground,
    files: PathBuf,
    template: Site,
    /// What cases pull from.
    _registry: Registry,
    pinned: bool,
    /// How this run is repeated, without the point.
    task: String,
    known: BTreeMap<&'static str, (Known, Vec<Call>)>,
}

/// What a run found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub points: usize,
    pub checked: usize,
    pub losses: usize,
    pub leaks: usize,
    pub faults: usize,
}

impl Tally {
    /// Counts and prints a failure.
    pub fn count(&mut self, what: &str, error: &anyhow::Error) {
        let text = format!("{error:#}");
        match () {
            () if text.contains("LOSS") => self.losses += 1,
            () if text.contains("LEAK") => self.leaks += 1,
            () => self.faults += 1,
        }
        output::line(format!("{what}\n  {text}"));
    }

    /// An error unless everything was right.
    pub fn verdict(&self) -> Result<()> {
        output::line(self);
        ensure!(self.checked == self.points, "{} of {} points failed", self.points - self.checked, self.points);
        Ok(())
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { points, checked, losses, leaks, faults } = self;
        write!(
            f,
            "points tried: {points}, stores checked: {checked}, losses: {losses}, leaks: {leaks}, other faults: {faults}"
        )
    }
}

impl Session {
    /// Prepares the store and runs every case once undisturbed.
    pub fn new(ground: Ground, pinned: bool, task: String, wanted: &[&'static Case]) -> Result<Self> {
        let files = ground.path("files");
        fs_err::create_dir_all(&files)?;
        let template = ground.site("template");
        let registry = cases::prepare(&files, &ground.site("scratch"), &template)?;
        let empty_site = ground.copy(&template, "empty")?;
        verdict::removed(&empty_site)?;
        let empty = verdict::contents(&empty_site)?;
        empty_site.discard()?;
        let mut session = Self { ground, files, template, _registry: registry, pinned, task, known: BTreeMap::new() };
        for case in wanted {
            let known = session.learn(case, empty.clone()).with_context(|| format!("case `{}`", case.name))?;
            session.known.insert(case.name, known);
        }
        Ok(session)
    }

    fn learn(&self, case: &'static Case, empty: std::collections::BTreeSet<String>) -> Result<(Known, Vec<Call>)> {
        let site = self.site(case, "reference")?;
        let before = if case.fresh { State::default() } else { State::of(&site)? };
        let archives = if case.fresh { BTreeMap::new() } else { verdict::archives(&site, &before)? };
        let trace = self.trace(case, &site, None)?;
        ensure!(trace.status == 0, "it fails undisturbed: {}{}", trace.stdout, trace.stderr);
        let after = State::of(&site)?;
        verdict::sound(&site)?;
        let known = Known { before, after, archives, empty };
        let made = verdict::containers_on_disk(&site);
        verdict::clean(&site, &made, &known.empty).context("undisturbed")?;
        site.discard()?;
        Ok((known, trace.calls))
    }

    /// The calls of a case.
    pub fn calls(&self, case: &Case) -> &[Call] {
        self.known.get(case.name).map(|(_, calls)| calls.as_slice()).unwrap_or_default()
    }

    /// The directory in which the calls of the undisturbed runs took place.
    pub fn reference_root(&self) -> PathBuf {
        self.ground.site("reference").root()
    }

    /// The prepared store.
    pub fn template(&self) -> &Site {
        &self.template
    }

    /// The harness's files.
    pub fn files(&self) -> &std::path::Path {
        &self.files
    }

    /// A place in memory for more files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.ground.path(name)
    }

    /// What is known of a case.
    pub fn known(&self, case: &Case) -> Result<&Known> {
        self.known.get(case.name).map(|(known, _)| known).context("the case was not learnt")
    }

    fn site(&self, case: &Case, name: &str) -> Result<Site> {
        let site = if case.fresh {
            let site = self.ground.site(name);
            site.discard()?;
            fs_err::create_dir_all(&site.directory)?;
            site
        } else {
            self.ground.copy(&self.template, name)?
        };
        for command in case.before {
            site.read(command)?;
        }
        if case.damaged {
            cases::damage(&site)?;
        }
        Ok(site)
    }

    fn trace(&self, case: &Case, site: &Site, at: Option<(usize, Fault)>) -> Result<Trace> {
        let scratch =
            self.ground.path(&format!("streams-{}", site.directory.file_name().unwrap_or_default().display()));
        fs_err::create_dir_all(&scratch)?;
        let mut command = site.command(&words(case.command, &self.files));
        command.stdin(std::process::Stdio::null());
        tracer::run(&command, self.pinned, &scratch, &site.root(), at)
    }

    /// Tries all points, several at once, and prints what failed.
    pub fn run(&self, points: &[Point], jobs: usize) -> Tally {
        let next = AtomicUsize::new(0);
        let tally = Mutex::new(Tally::default());
        std::thread::scope(|scope| {
            for worker in 0..jobs {
                let (next, tally) = (&next, &tally);
                scope.spawn(move || {
                    while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let name = format!("point-{worker}");
                        let result = self.one(point, &name);
                        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                        tally.points += 1;
                        match result {
                            Ok(()) => tally.checked += 1,
                            Err(error) => self.report(point, &name, &error, &mut tally),
                        }
                    }
                });
            }
        });
        tally.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn one(&self, point: &Point, name: &str) -> Result<()> {
        let (known, _) = self.known.get(point.case.name).context("the case was not learnt")?;
        let site = self.site(point.case, name)?;
        let trace = self.trace(point.case, &site, Some((point.call, point.fault)))?;
        // What a repair could not do is told in its report, damage by damage.
        if let (Fault::Error { .. }, false) = (point.fault, point.case.damaged) {
            super::refusal::told(&trace, &site)?;
        }
        verdict::check(point.case, &site, &self.files, known)?;
        site.discard()
    }

    fn report(&self, point: &Point, name: &str, error: &anyhow::Error, tally: &mut Tally) {
        let call = self.calls(point.case).get(point.call).map_or_else(String::new, ToString::to_string);
        tally.count(&format!("FAILED {point} at {call}\n  again: {} --at {point}", self.task), error);
        // The next point takes the place; a container that still runs would stay there.
        let _ = verdict::removed(&self.ground.site(name));
        let _ = self.ground.site(name).discard();
    }

    /// Runs the named point alone and says what it was.
    pub fn single(&self, point: &Point) -> Result<()> {
        let call = self.calls(point.case).get(point.call);
        output::line(format!("{point}: {}", call.map_or_else(|| "past the end".to_owned(), ToString::to_string)));
        if let Err(error) = self.one(point, "point-0") {
            let kept = std::env::temp_dir().join(format!("mica-crash-kept-{}", std::process::id()));
            crate::sh::read(crate::sh::command(&["cp", "-a"]).arg(self.ground.site("point-0").directory).arg(&kept))?;
            output::line(format!("the store is kept in {}", kept.display()));
            bail!("{error:#}");
        }
        output::line("nothing is wrong");
        Ok(())
    }
}
