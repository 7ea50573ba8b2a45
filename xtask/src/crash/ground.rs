//! Where stores are crashed: a small file system of its own on a loop device over memory, and copies of one prepared
//! store on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Result, bail, ensure};

use crate::sh;

/// A file system in memory, gone with the value.
#[derive(Debug)]
pub struct Memory {
    directory: PathBuf,
}

impl Memory {
    /// Mounts one. The caller is in a mount namespace of its own.
    pub fn new(name: &str) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("mica-{name}-{}", std::process::id()));
        fs_err::create_dir_all(&directory)?;
        sh::run(sh::command(&["mount", "-t", "tmpfs", "-o", "size=6G", name]).arg(&directory))?;
        Ok(Self { directory })
    }

    /// A place in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = sh::output(sh::command(&["umount", "--lazy"]).arg(&self.directory));
        let _ = fs_err::remove_dir(&self.directory);
    }
}

/// A mounted file system for stores, gone with the value.
#[derive(Debug)]
pub struct Ground {
    memory: Memory,
    driver: String,
    binary: PathBuf,
}

/// The driver that is tried on a file system when none is named.
pub fn usual_driver(fs: &str) -> &'static str {
    if fs == "btrfs" { "btrfs" } else { "overlay" }
}

/// The options that make a file system of a kind write its metadata back as often as it may.
pub fn mount_options(fs: &str) -> &'static str {
    match fs {
        "xfs" => "loop,noatime",
        _ => "loop,noatime,commit=1",
    }
}

/// Makes a file system in a file.
pub fn make_filesystem(image: &Path, fs: &str, size: &str) -> Result<()> {
    sh::read(sh::command(&["truncate", "-s", size]).arg(image))?;
    let mut make = match fs {
        "ext4" => sh::command(&["mkfs.ext4", "-q", "-F", "-m", "0"]),
        "xfs" => sh::command(&["mkfs.xfs", "-q", "-f"]),
        "btrfs" => sh::command(&["mkfs.btrfs", "-q", "-f", "-m", "single"]),
        other => bail!("no file system `{other}`: ext4 | xfs | btrfs"),
    };
    sh::read(make.arg(image)).map(drop)
}

impl Ground {
    /// Mounts memory, a file system in it, and nothing else. The caller is in a mount namespace of its own.
    pub fn new(fs: &str, driver: &str, binary: PathBuf) -> Result<Self> {
        let ground = Self { memory: Memory::new("crash")?, driver: driver.to_owned(), binary };
        let image = ground.path("fs.img");
        make_filesystem(&image, fs, "3G")?;
        fs_err::create_dir_all(ground.stores())?;
        sh::read(sh::command(&["mount", "-o", mount_options(fs)]).arg(&image).arg(ground.stores()))?;
        Ok(ground)
    }

    /// For files of the harness, in memory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.memory.path(name)
    }

    fn stores(&self) -> PathBuf {
        self.path("fs")
    }

    /// A place for one store.
    pub fn site(&self, name: &str) -> Site {
        Site::new(self.stores().join(name), &self.driver, &self.binary)
    }

    /// Copies a store that no command uses.
    pub fn copy(&self, from: &Site, name: &str) -> Result<Site> {
        let to = self.site(name);
        to.discard()?;
        if self.driver == "btrfs" {
            copy_btrfs(from, &to)?;
        } else {
            sh::read(sh::command(&["cp", "-a", "--reflink=auto"]).arg(&from.directory).arg(&to.directory))?;
        }
        Ok(to)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = sh::output(sh::command(&["umount"]).arg(self.stores()));
    }
}

/// A store and its run root.
#[derive(Debug, Clone)]
pub struct Site {
    pub directory: PathBuf,
    run_root: PathBuf,
    driver: String,
    binary: PathBuf,
    config: Option<PathBuf>,
}

impl Site {
    /// A place for a store, with its run root beside it.
    pub fn new(directory: PathBuf, driver: &str, binary: &Path) -> Self {
        let run_root = directory.join("run");
        Self { directory, run_root, driver: driver.to_owned(), binary: binary.to_owned(), config: None }
    }

    /// The same store's place elsewhere.
    pub fn moved_to(&self, directory: &Path) -> Self {
        Self::new(directory.to_owned(), &self.driver, &self.binary)
    }

    /// The same store with its run root elsewhere: on a machine, it does not survive the boot.
    pub fn running_in(self, run_root: PathBuf) -> Self {
        Self { run_root, ..self }
    }

    /// The same store under a config file.
    pub fn configured(self, config: PathBuf) -> Self {
        Self { config: Some(config), ..self }
    }

    /// `--root`.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// `--run-root`.
    pub fn run_root(&self) -> PathBuf {
        self.run_root.clone()
    }

    /// A command on this store.
    pub fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(self.root()).arg("--run-root").arg(self.run_root());
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.arg("--storage-driver").arg(&self.driver).args(args.iter().map(AsRef::as_ref));
        command
    }

    /// Runs a command whatever comes of it.
    pub fn output<S: AsRef<str>>(&self, args: &[S]) -> Result<Output> {
        sh::output(&mut self.command(args))
    }

    /// Runs a command that must succeed, for its standard output.
    pub fn read<S: AsRef<str>>(&self, args: &[S]) -> Result<Vec<u8>> {
        let output = self.output(args)?;
        let words: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        ensure!(
            output.status.success(),
            "`mica {}` ended with {}: {}{}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output.stdout)
    }

    /// The same as lines.
    pub fn lines<S: AsRef<str>>(&self, args: &[S]) -> Result<Vec<String>> {
        Ok(String::from_utf8_lossy(&self.read(args)?).lines().map(str::to_owned).collect())
    }

    /// Removes the store without asking it.
    pub fn discard(&self) -> Result<()> {
        if !self.directory.exists() {
            return Ok(());
        }
        if self.driver == "btrfs" {
            for subvolume in subvolumes(&self.directory)? {
                sh::read(
                    sh::command(&["btrfs", "-q", "property", "set", "-ts"]).arg(&subvolume).args(["ro", "false"]),
                )?;
                sh::read(sh::command(&["btrfs", "-q", "subvolume", "delete"]).arg(&subvolume))?;
            }
        }
        Ok(fs_err::remove_dir_all(&self.directory)?)
    }
}

/// Subvolumes below a directory: inode 256 is the root of one.
fn subvolumes(directory: &Path) -> Result<Vec<PathBuf>> {
    let found = sh::read(sh::command(&["find"]).arg(directory).args(["-depth", "-inum", "256", "-type", "d"]))?;
    Ok(found.lines().map(PathBuf::from).collect())
}

/// `cp` would make directories of subvolumes, so those are left out and snapshots take their places.
fn copy_btrfs(from: &Site, to: &Site) -> Result<()> {
    let subvolumes = subvolumes(&from.directory)?;
    let mut pack = sh::command(&["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C"]);
    pack.arg(&from.directory);
    for subvolume in &subvolumes {
        let inside = subvolume.strip_prefix(&from.directory)?;
        pack.arg(format!("--exclude=./{}", inside.display()));
    }
    let archive = sh::output(pack.args(["-cf", "-", "."]))?;
    ensure!(archive.status.success(), "cannot pack: {}", String::from_utf8_lossy(&archive.stderr));
    fs_err::create_dir_all(&to.directory)?;
    let packed = to.directory.join("copy.tar");
    fs_err::write(&packed, archive.stdout)?;
    sh::read(
        sh::command(&["tar", "--xattrs", "--xattrs-include=*", "-xpf"]).arg(&packed).arg("-C").arg(&to.directory),
    )?;
    fs_err::remove_file(&packed)?;
    for subvolume in &subvolumes {
        let place = to.directory.join(subvolume.strip_prefix(&from.directory)?);
        let read_only = sh::read(sh::command(&["btrfs", "property", "get", "-ts"]).arg(subvolume).arg("ro"))?;
        let mut snapshot = sh::command(&["btrfs", "-q", "subvolume", "snapshot"]);
        if read_only == "ro=true" {
            snapshot.arg("-r");
        }
        sh::read(snapshot.arg(subvolume).arg(place))?;
    }
    Ok(())
}
