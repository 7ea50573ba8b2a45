//! A private Mica store for a task, and the commands it is driven with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{sh, workspace};

/// How long the bytes of a removed image may take to come back on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A store below a directory of its own, removed with everything in it when dropped.
#[derive(Debug)]
pub struct Sandbox {
    directory: PathBuf,
    binary: PathBuf,
    driver: String,
    mounted: bool,
    keep: bool,
}

impl Sandbox {
    /// Makes a sandbox for a driver. For btrfs the store gets a loop-mounted file system of its own, so the caller must
    /// be in a private mount namespace.
    pub fn new(name: &str, driver: &str) -> Result<Self> {
        Self::below(&std::env::temp_dir(), name, driver)
    }

    /// The same below a directory of the caller's choice.
    pub fn below(parent: &Path, name: &str, driver: &str) -> Result<Self> {
        let directory = parent.join(format!("mica-{name}-{driver}-{}", std::process::id()));
        fs_err::create_dir_all(directory.join("root"))?;
        let mut sandbox = Self {
            directory,
            binary: workspace::mica_binary()?,
            driver: driver.to_owned(),
            mounted: false,
            keep: false,
        };
        if driver == "btrfs" {
            let image = sandbox.directory.join("btrfs.img");
            sh::run(sh::command(&["truncate", "-s", "12G"]).arg(&image))?;
            sh::run(sh::command(&["mkfs.btrfs", "-q"]).arg(&image))?;
            sh::run(sh::command(&["mount", "-o", "loop,noatime"]).arg(&image).arg(sandbox.root()))?;
            sandbox.mounted = true;
        }
        Ok(sandbox)
    }

    /// Leaves the store where it is when the sandbox is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// The sandbox's directory, for the task's own files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// `--root`.
    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// `--run-root`.
    pub fn run_root(&self) -> PathBuf {
        self.path("run")
    }

    /// A `mica` command on this store.
    pub fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(self.root()).arg("--run-root").arg(self.run_root());
        command.arg("--storage-driver").arg(&self.driver);
        // No bridges in the network of the machine that the task runs on; the one that is about networks says otherwise.
        command.env("MICA_NETWORK", "none");
        command.args(args.iter().map(AsRef::as_ref));
        command
    }

    /// Runs with the caller's streams.
    pub fn run<S: AsRef<str>>(&self, args: &[S]) -> Result<()> {
        sh::run(&mut self.command(args))
    }

    /// Runs and returns standard output; fails unless it exits with 0.
    pub fn read<S: AsRef<str>>(&self, args: &[S]) -> Result<String> {
        sh::read(&mut self.command(args))
    }

    /// Runs and returns everything, whatever the exit status.
    pub fn output<S: AsRef<str>>(&self, args: &[S]) -> Result<Output> {
        sh::output(&mut self.command(args))
    }

    /// Runs a command that must be refused with this exit status, and returns what it said on standard error.
    pub fn refused<S: AsRef<str> + std::fmt::Debug>(&self, status: i32, args: &[S]) -> Result<String> {
        let output = self.output(args)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(status),
            "{args:?} ended with {} instead of {status}: {said}",
            output.status
        );
        Ok(said)
    }

    /// Imports a root file system tar as an image.
    pub fn import(&self, tar: &Path, name: &str) -> Result<()> {
        let tar = tar.to_str().context("the fixture's path is not UTF-8")?;
        self.read(&["import", tar, name]).map(drop)
    }

    /// Waits until the bytes of what was removed are free: the trash is empty and the reaper has gone.
    pub fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.is_reaping()? {
            ensure!(Instant::now() < deadline, "the trash of `{}` is not emptied", self.root().display());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn is_reaping(&self) -> Result<bool> {
        let mut folders = vec![self.root().join("content/ingest")];
        for driver in fs_err::read_dir(self.root().join("drivers")).into_iter().flatten() {
            folders.push(driver?.path().join("trash"));
        }
        // What a pull that was cut off left of a blob waits for the next one, not for the reaper.
        let is_awaited = |name: &std::path::Path| name.extension().is_some_and(|end| end == "partial" || end == "note");
        let holds_something = |folder: &PathBuf| {
            let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
            entries.into_iter().any(|entry| !is_awaited(&entry.path()))
        };
        if folders.iter().any(holds_something) {
            return Ok(true);
        }
        let mark = self.directory.to_string_lossy().into_owned();
        for process in fs_err::read_dir("/proc")? {
            let line = fs_err::read(process?.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            if line.contains(&mark) && line.contains("__reap") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Bytes on disk of everything the store keeps for images and containers, once what was removed has gone. The database
    /// file is left out: SQLite keeps freed pages for later use, so its size is not a sign of what is stored.
    pub fn bytes(&self) -> Result<u64> {
        self.settle()?;
        let mut total = 0;
        for part in ["content", "drivers", "containers", "volumes"] {
            let path = self.root().join(part);
            if path.exists() {
                let said = sh::read(sh::command(&["du", "-s", "-B1"]).arg(&path))?;
                total += said.split_whitespace().next().context("du said nothing")?.parse::<u64>()?;
            }
        }
        Ok(total)
    }

    /// What this store has left behind outside itself: processes, mounts, cgroups.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let mark = self.directory.to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs_err::read_dir("/proc")? {
            let path = entry?.path();
            let arguments = fs_err::read(path.join("cmdline")).unwrap_or_default();
            let is_monitor = fs_err::read_to_string(path.join("comm")).unwrap_or_default().starts_with("mica");
            if is_monitor && String::from_utf8_lossy(&arguments).contains(&mark) {
                found.push(format!("process {}", path.display()));
            }
        }
        let mounts = fs_err::read_to_string("/proc/self/mountinfo")?;
        let own = format!(" {} ", self.root().display());
        found.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&mark) && !line.contains(&own))
                .map(|line| format!("mount {line}")),
        );
        let run = self.run_root().join("containers");
        if run.exists() {
            for entry in fs_err::read_dir(run)? {
                found.push(format!("run directory {}", entry?.path().display()));
            }
        }
        Ok(found)
    }

    fn remove(&self) -> Result<()> {
        let containers = self.read(&["ps", "-aq"]).unwrap_or_default();
        for container in containers.split_whitespace() {
            let _gone_already = self.output(&["rm", "-f", container]);
        }
        self.settle()?;
        if self.mounted {
            sh::run(sh::command(&["umount"]).arg(self.root()))?;
        }
        fs_err::remove_dir_all(&self.directory)?;
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.keep {
            crate::output::line(format!("kept: {}", self.directory.display()));
        } else if let Err(error) = self.remove() {
            crate::output::error(&error.context("cannot remove the sandbox"));
        }
    }
}
