//! Where the power is cut: images of small file systems in memory, one prepared store, and what is known of each case.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::log::{self, Event, Survivors};
use super::recorder::Recorder;
use crate::crash::cases::{self, Case, Effect, words};
use crate::crash::ground::{Memory, Site, make_filesystem, mount_options};
use crate::crash::request::Request;
use crate::crash::verdict::{self, Known, State};
use crate::servers::Registry;
use crate::sh;

/// The least that `mkfs.xfs` takes, and some.
const SIZE: &str = "512M";
/// How long the kernel goes on writing by itself after a command has ended: longer than it waits with `commit=1`.
const AFTERWARDS: Duration = Duration::from_millis(1500);

/// Memory with the prepared images.
#[derive(Debug)]
pub struct Lab {
    memory: Memory,
    fs: String,
    driver: String,
    binary: PathBuf,
    files: PathBuf,
    /// What cases pull from.
    registry: Option<Registry>,
    /// The images that the prepared store acknowledged, as `save` writes them.
    archives: BTreeMap<String, Vec<u8>>,
    /// What an emptied store consists of.
    empty: BTreeSet<String>,
}

/// A case's run, as its device saw it.
#[derive(Debug)]
pub struct Recording {
    pub case: &'static Case,
    pub events: Vec<Event>,
    /// The command was started after so many events.
    pub begun: usize,
    /// It had exited after so many.
    pub acknowledged: usize,
    known: Known,
}

impl Recording {
    /// How many events there are to cut between.
    pub fn len(&self) -> usize {
        self.events.len() - self.begun
    }
}

/// Whether commands flush what they acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushes {
    On,
    /// By the config. Then a cut must lose what was acknowledged, or cutting shows nothing.
    Off,
}

/// When the power is cut, and what the disk keeps.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub position: usize,
    pub survivors: Survivors,
}

impl Moment {
    /// That in which the command has just exited, on the disk that kept least.
    pub fn acknowledged(recording: &Recording) -> Self {
        Self { position: recording.acknowledged, survivors: Survivors::None }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} events, of what was not flushed: {:?}", self.position, self.survivors)
    }
}

impl Lab {
    /// Prepares a store. The caller is in a mount namespace of its own.
    pub fn new(request: &Request) -> Result<Self> {
        let memory = Memory::new("power")?;
        let files = memory.path("files");
        fs_err::create_dir_all(&files)?;
        let mut lab = Self {
            memory,
            fs: request.fs.clone(),
            driver: request.driver().to_owned(),
            binary: request.binary()?,
            files,
            registry: None,
            archives: BTreeMap::new(),
            empty: BTreeSet::new(),
        };
        make_filesystem(&lab.image(true), &lab.fs, SIZE)?;
        copy(&lab.image(true), &lab.image(false))?;
        {
            let disk = lab.mount(&lab.image(false), "prepared")?;
            let scratch = Site::new(disk.mount.join("scratch"), &lab.driver, &lab.binary);
            lab.registry = Some(cases::prepare(&lab.files, &scratch, &disk.site)?);
            lab.archives = verdict::archives(&disk.site, &State::of(&disk.site)?)?;
        }
        let emptied = lab.memory.path("emptied.img");
        copy(&lab.image(false), &emptied)?;
        {
            let disk = lab.mount(&emptied, "emptied")?;
            // The first container of a boot makes directories that stay.
            disk.site.read(&["run", "--rm", "base:1", "/bin/true"])?;
            verdict::removed(&disk.site)?;
            lab.empty = verdict::contents(&disk.site)?;
        }
        fs_err::remove_file(emptied)?;
        Ok(lab)
    }

    /// The image that cases begin with: a file system, and on it the prepared store unless they make their own.
    fn image(&self, fresh: bool) -> PathBuf {
        self.memory.path(if fresh { "fresh.img" } else { "prepared.img" })
    }

    fn mount(&self, device: &Path, name: &str) -> Result<Disk> {
        let mount = self.memory.path(name);
        let run_root = self.memory.path(&format!("{name}-run"));
        if run_root.exists() {
            fs_err::remove_dir_all(&run_root)?;
        }
        for directory in [&mount, &run_root] {
            fs_err::create_dir_all(directory)?;
        }
        // Copies of a file system have the same identity, which xfs takes for a mistake.
        let copies = if self.fs == "xfs" { ",nouuid" } else { "" };
        let options = format!("{}{copies}", mount_options(&self.fs));
        sh::read(sh::command(&["mount", "-t", &self.fs, "-o", &options]).arg(device).arg(&mount))?;
        let site = Site::new(mount.join("store"), &self.driver, &self.binary).running_in(run_root);
        fs_err::create_dir_all(&site.directory)?;
        Ok(Disk { mount, site })
    }

    /// Runs a case undisturbed on a device that writes down what it is told.
    pub fn record(&self, case: &'static Case, flushes: Flushes) -> Result<Recording> {
        self.recorded(case, flushes).with_context(|| format!("case `{}`", case.name))
    }

    fn recorded(&self, case: &'static Case, flushes: Flushes) -> Result<Recording> {
        let image = self.memory.path(&format!("{}.img", case.name));
        copy(&self.image(case.fresh), &image)?;
        let recorder = Recorder::new(&image, &self.memory.path(&format!("{}.dev", case.name)))?;
        let mut disk = self.mount(&recorder.device, case.name)?;
        if flushes == Flushes::Off {
            let config = self.memory.path("unflushed.toml");
            fs_err::write(&config, "[storage]\ndurability = \"none\"\n")?;
            disk.site = disk.site.clone().configured(config);
        }
        let site = &disk.site;
        for command in case.before {
            site.read(command)?;
        }
        if case.damaged {
            cases::damage(site)?;
        }
        let before = if case.fresh { State::default() } else { State::of(site)? };
        let begun = recorder.position();
        site.read(&words(case.command, &self.files))?;
        let acknowledged = recorder.position();
        std::thread::sleep(AFTERWARDS);
        let events = recorder.take();
        let after = State::of(site)?;
        let mut archives = if case.fresh { BTreeMap::new() } else { self.archives.clone() };
        archives.extend(verdict::archives(site, &after)?);
        // What still runs would keep the file system busy.
        verdict::removed(site)?;
        drop(disk);
        drop(recorder);
        fs_err::remove_file(image)?;
        let known = Known { before, after, archives, empty: self.empty.clone() };
        Ok(Recording { case, events, begun, acknowledged, known })
    }

    /// From here on every command is in another boot of the machine.
    pub fn next_boot(&self) -> Result<()> {
        let identity = self.memory.path("boot_id");
        fs_err::write(&identity, "00000000-0000-4000-8000-000000000002\n")?;
        sh::read(sh::command(&["mount", "--bind"]).arg(identity).arg("/proc/sys/kernel/random/boot_id")).map(drop)
    }

    /// Cuts the power in one moment of a recording and looks at the store in the next boot.
    pub fn cut(&self, recording: &Recording, moment: Moment, rng: &mut Rng) -> Result<()> {
        // A name of its own: the loop device of an earlier image is let go some time after the last process has left its
        // file system, and another `mount` of the same file would get that device with all that it remembers.
        let name = format!("{}-cut-{}", recording.case.name, rng.u64(..));
        let image = self.memory.path(&format!("{name}.img"));
        let before = self.image(recording.case.fresh);
        log::image(&before, &image, &recording.events[..moment.position], moment.survivors, rng)?;
        let disk = self.mount(&image, &name)?;
        fs_err::remove_file(image)?;
        let result = self.opened(recording, moment, &disk.site);
        if result.is_err() {
            // A container that still runs would keep the file system busy.
            let _ = verdict::removed(&disk.site);
        }
        result
    }

    fn opened(&self, recording: &Recording, moment: Moment, site: &Site) -> Result<()> {
        let Recording { case, known, .. } = recording;
        if moment.position < recording.acknowledged {
            return verdict::check(case, site, &self.files, known);
        }
        verdict::shows(case, site)?;
        // Only one outcome is left.
        let known = Known { before: known.after.clone(), ..known.clone() };
        if let Effect::Living(name) = case.effect {
            let seen = State::of(site)?.containers;
            let lost = known.after.containers.contains_key(name) && !seen.contains_key(name);
            ensure!(!lost, "LOSS: container `{name}` is gone");
        }
        verdict::check(case, site, &self.files, &known)
    }
}

/// A mounted image and the place of the store on it; unmounted with the value.
struct Disk {
    mount: PathBuf,
    site: Site,
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What a command left to a process of its own, to remove things, may be busy there for a moment.
        for _ in 0..50 {
            match sh::output(sh::command(&["umount"]).arg(&self.mount)) {
                Ok(output) if !output.status.success() => std::thread::sleep(Duration::from_millis(100)),
                _ => return,
            }
        }
        let _ = sh::output(sh::command(&["umount", "--lazy"]).arg(&self.mount));
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    sh::read(sh::command(&["cp", "--sparse=always"]).arg(from).arg(to)).map(drop)
}
