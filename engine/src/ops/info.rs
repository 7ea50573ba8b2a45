//! `info`: the store, its driver and this machine in figures.

use std::path::{Path, PathBuf};

use crate::container::ContainerState;
use crate::ops::ps::PsRequest;
use crate::store::images::all;
use crate::store::layers;
use crate::{Durability, Engine, Result};

/// What `info` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    /// The store's identity.
    pub store_id: String,
    /// Where it is.
    pub root: PathBuf,
    /// Where hot state is.
    pub run_root: PathBuf,
    /// Containers in all, running, paused, stopped.
    pub containers: (u64, u64, u64, u64),
    /// Images.
    pub images: u64,
    /// The storage driver in use.
    pub driver: String,
    /// What the driver says about itself, name and value.
    pub driver_status: Vec<(String, String)>,
    /// Drivers that hold snapshots in this store.
    pub drivers_in_store: Vec<String>,
    /// The runtime's name.
    pub runtime: String,
    /// Kernel release.
    pub kernel: String,
    /// Operating system's pretty name.
    pub operating_system: String,
    /// Machine architecture as `uname` has it.
    pub architecture: String,
    /// Online processors.
    pub cpus: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Host name.
    pub hostname: String,
    /// `1`, `2` or `hybrid`.
    pub cgroup_version: String,
    /// True in a user namespace.
    pub rootless: bool,
    /// Things a person should know.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Describes the store, its driver and this machine. A store whose driver cannot be opened is described all the same.
    pub async fn info(&self) -> Result<Info> {
        let mut info = self.blocking(|engine| engine.described()).await?;
        for container in self.ps(PsRequest { all: true, ..PsRequest::default() }).await? {
            let (total, running, paused, stopped) = &mut info.containers;
            *total += 1;
            *match container.state {
                ContainerState::Running { .. } | ContainerState::Restarting { .. } => running,
                ContainerState::Paused { .. } => paused,
                _ => stopped,
            } += 1;
        }
        Ok(info)
    }

    fn described(&self) -> Result<Info> {
        let options = self.options();
        let uname = rustix::system::uname();
        let mut info = Info {
            store_id: self.store().id().to_owned(),
            root: options.root.clone(),
            run_root: options.run_root.clone(),
            images: self.store().read(all)?.len() as u64,
            drivers_in_store: self.store().read(layers::drivers_in_use)?,
            runtime: options.runtime.name().to_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            operating_system: operating_system(),
            architecture: uname.machine().to_string_lossy().into_owned(),
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            memory: memory(),
            hostname: uname.nodename().to_string_lossy().into_owned(),
            cgroup_version: cgroup_version().to_owned(),
            rootless: options.rootless,
            ..Info::default()
        };
        match self.selected_driver() {
            Ok(driver) => {
                let about = driver.info();
                info.driver = driver.name().to_owned();
                info.driver_status = vec![
                    ("Backing Filesystem".to_owned(), about.backing_fs.clone()),
                    ("Version".to_owned(), driver.plugin().version().to_owned()),
                    (
                        "Library".to_owned(),
                        driver.plugin().path().map_or_else(String::new, |path| path.display().to_string()),
                    ),
                    ("Capabilities".to_owned(), format!("{:?}", about.caps)),
                ];
                if !about.detail.is_empty() {
                    info.driver_status.push(("Detail".to_owned(), about.detail.clone()));
                }
            }
            Err(error) => info.warnings.push(format!("no storage driver: {error}")),
        }
        if options.durability == Durability::None {
            info.warnings.push("durability is off: a power cut may lose images that were acknowledged".to_owned());
        }
        Ok(info)
    }
}

fn operating_system() -> String {
    let release = fs_err::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// Bytes of memory, from `MemTotal` in kibibytes (proc_meminfo(5)).
fn memory() -> u64 {
    let text = fs_err::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// By what is mounted where systemd and others mount it (kernel documentation, `cgroup-v2.rst`, "Mounting").
fn cgroup_version() -> &'static str {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        "2"
    } else if root.join("unified/cgroup.controllers").exists() {
        "hybrid"
    } else {
        "1"
    }
}
