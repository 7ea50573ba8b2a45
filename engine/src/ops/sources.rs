//! From what is mounted in a container to where it is on this machine.
//!
//! A plain bind or volume is a path, which the runtime opens. Everything else is a detached mount that is made here, and
//! that the monitor attaches in its own namespace: the file system of an image, a path below a volume's top (which the
//! kernel resolves inside the volume, since containers write there), a volume whose driver has options, and binds whose
//! mounts travel, because a copy made elsewhere would have left the host's peers. So nothing of it is mounted on the host.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use mica_layer::beneath;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::apart::{apart, inside};
use super::local_volume;
use crate::container::{ContainerRecord, MountPoint, PointSource, Propagation, Recursion, Treatment};
use crate::runtime::RunState;
use crate::store::container_state::{monitored, read};
use crate::store::{containers, volumes};
use crate::{Engine, Error, Kind, Result};

/// Where mounts that came as descriptors are, below the place where a container is attached.
pub(crate) const MOUNTS: &str = "mounts";

/// What is mounted in a container that is about to start.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Mount points with their sources, parents first.
    pub(crate) points: Vec<(MountPoint, PathBuf)>,
    /// Detached mounts by their names below [`MOUNTS`].
    pub(crate) handed: Vec<(String, OwnedFd)>,
}

impl Engine {
    /// The sources of a container's mounts, for a container whose user is `owner` on the host. Makes missing sources of `-v` and refuses missing ones of `--mount`. Blocks.
    pub(crate) fn sources(&self, record: &ContainerRecord, place: &Path, owner: (u32, u32)) -> Result<Sources> {
        let mut sources = Sources::default();
        for (index, point) in record.mount_points().into_iter().enumerate() {
            bind_source(&point)?;
            let tree = match self.detached(&point, &record.driver)? {
                // Root of a user namespace need not be let through the directories that lead to a source.
                None if record.ids.is_some() => Some(copy_tree(&self.path_of(&point), point.recursion)?),
                found => found,
            };
            let treated = point.treatment != Treatment::default();
            let tree = match tree {
                found if !treated => found,
                found => {
                    let copy = found.map_or_else(|| copy_tree(&self.path_of(&point), point.recursion), Ok)?;
                    Some(self.treat(record, (index, &point), copy, owner)?)
                }
            };
            let path = match tree {
                None => self.path_of(&point),
                Some(tree) => {
                    let name = match &point.source {
                        PointSource::Volume(name) if point.subpath.is_none() && !treated => name.clone(),
                        _ => index.to_string(),
                    };
                    let path = place.join(MOUNTS).join(&name);
                    // One volume may be mounted twice.
                    if !sources.handed.iter().any(|(known, _)| *known == name) {
                        sources.handed.push((name, tree));
                    }
                    path
                }
            };
            sources.points.push((point, path));
        }
        Ok(sources)
    }

    /// A detached copy of what is mounted, whatever it is. Blocks.
    pub(crate) fn tree_of(&self, point: &MountPoint, driver: &str) -> Result<OwnedFd> {
        match self.detached(point, driver)? {
            Some(tree) => Ok(tree),
            None => copy_tree(&self.path_of(point), point.recursion),
        }
    }

    fn path_of(&self, point: &MountPoint) -> PathBuf {
        match &point.source {
            PointSource::Bind(path, _) => path.clone(),
            PointSource::Volume(name) => self.store().volume_data(name),
            PointSource::Image { .. } => PathBuf::new(),
        }
    }

    fn detached(&self, point: &MountPoint, driver: &str) -> Result<Option<OwnedFd>> {
        let top = match &point.source {
            PointSource::Bind(path, _) => return travelling(path, point),
            PointSource::Volume(name) => {
                let record = self.store().read(|db| volumes::find(db, name))?;
                match (record.options.is_empty(), &point.subpath) {
                    (true, None) => return Ok(None),
                    (true, Some(_)) => {
                        let data = self.store().volume_data(name);
                        return below(open_directory(&data)?.as_fd(), point).map(Some);
                    }
                    (false, _) => self.volume_tree(&record)?,
                }
            }
            PointSource::Image { reference, id } => {
                let config = self.store().image_config(id).map_err(|error| match error.kind() {
                    Kind::NotFound => Error::refused(Kind::NotFound, format!("no such image: `{reference}`"))
                        .with_hint("the container mounts an image that was removed since"),
                    _ => error,
                })?;
                let chain = self.chain_on(&self.driver(driver)?, &config.rootfs.diff_ids)?;
                self.view(&chain)?
            }
        };
        match &point.subpath {
            None => Ok(Some(top)),
            // What is in a detached mount can be copied only where it is attached.
            Some(_) => apart(|| below(attach(&top, self.store().run_root())?.as_fd(), point)).map(Some),
        }
    }

    /// What the options of a volume's driver say, mounted; that of a running container where one uses the volume, so that
    /// both see the same memory file system.
    pub(crate) fn volume_tree(&self, record: &volumes::VolumeRecord) -> Result<OwnedFd> {
        for id in self.store().read(|db| containers::users_of_volume(db, &record.name))? {
            let run = self.store().directories(&id).run;
            if !monitored(&run)? {
                continue;
            }
            let Some(state) = read::<RunState>(&run.join("state.json"))? else { continue };
            let namespace = format!("/proc/{}/ns/mnt", state.monitor_pid);
            let Ok(namespace) = rustix::fs::open(namespace, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
                continue;
            };
            let place = self.place_of(&self.store().find_container(&id)?);
            let path = place.join(MOUNTS).join(&record.name);
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
            if let Ok(tree) = inside(namespace, || open_tree(CWD, &path, flags)) {
                return Ok(tree);
            }
        }
        local_volume::mount(record, &self.store().volume_data(&record.name))
    }
}

/// A detached copy of a mount, with what is mounted below it where that is wanted.
pub(crate) fn copy_tree(path: &Path, recursion: Recursion) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursion != Recursion::Disabled {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags).map_err(|errno| Error::io("copy the mount of", path)(errno.into()))
}

/// Attaches a detached mount in this thread's namespace and opens it.
pub(crate) fn attach(tree: &OwnedFd, place: &Path) -> Result<OwnedFd> {
    move_mount(tree, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| Error::io("mount at", place)(errno.into()))?;
    open_directory(place)
}

/// A copy of what is at a path below a directory, from where no link leads out.
fn below(top: BorrowedFd<'_>, point: &MountPoint) -> Result<OwnedFd> {
    let subpath = point.subpath.as_deref().unwrap_or_default();
    let found = beneath::open(top, Path::new(subpath), OFlags::PATH, Mode::empty()).map_err(|error| {
        if error.kind() == mica_layer::ErrorKind::NotFound {
            return Error::refused(
                Kind::NotFound,
                format!("cannot access path `{subpath}`: no such file or directory"),
            )
            .with_hint("a subpath must exist before a container mounts it");
        }
        Error::Layer { operation: "look into", layer: subpath.to_owned(), source: error }
    })?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(found, "", flags).map_err(|errno| Error::io("copy the mount of", subpath)(errno.into()))
}

/// A bind whose mounts travel keeps its peers only in a copy that is made on the host.
fn travelling(path: &Path, point: &MountPoint) -> Result<Option<OwnedFd>> {
    let wanted = match point.propagation {
        Some(Propagation::Shared | Propagation::Rshared) => "shared:",
        Some(Propagation::Slave | Propagation::Rslave) => "master:",
        _ => return Ok(None),
    };
    let (mount, tags) = holder(path)?;
    let shared = tags.iter().any(|tag| tag.starts_with("shared:"));
    if !shared && !tags.iter().any(|tag| tag.starts_with(wanted)) {
        let kind = if wanted == "shared:" { "a shared" } else { "a shared or slave" };
        return Err(Error::refused(
            Kind::InvalidInput,
            format!("path {} is mounted on {mount} but it is not {kind} mount", path.display()),
        )
        .with_hint(format!("`mount --make-rshared {mount}` on the host makes it one")));
    }
    copy_tree(path, point.recursion).map(Some)
}

/// The mount that a path is on, with its propagation.
fn holder(path: &Path) -> Result<(String, Vec<String>)> {
    const TABLE: &str = "/proc/self/mountinfo";
    let real = fs_err::canonicalize(path).map_err(Error::io("find", path))?;
    let table = fs_err::read_to_string(TABLE).map_err(Error::io("read", TABLE))?;
    let mut found = ("/".to_owned(), Vec::new());
    for line in table.lines() {
        let mut words = line.split(' ').skip(4);
        let Some(point) = words.next() else { continue };
        // A later line covers an earlier one at the same place.
        if real.starts_with(point) && point.len() >= found.0.len() {
            found = (point.to_owned(), words.skip(1).take_while(|word| *word != "-").map(str::to_owned).collect());
        }
    }
    Ok(found)
}

pub(super) fn open_directory(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::io("open", path)(errno.into()))
}

/// Makes the missing source of `-v`, and refuses that of `--mount`.
fn bind_source(point: &MountPoint) -> Result<()> {
    let PointSource::Bind(path, create) = &point.source else { return Ok(()) };
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    if !create {
        return Err(missing(path));
    }
    fs_err::create_dir_all(path).map_err(Error::io("create directory", path))
}

/// That the source of a bind is not there.
pub(crate) fn missing(path: &Path) -> Error {
    Error::refused(
        Kind::InvalidInput,
        format!("invalid mount config for type `bind`: bind source path does not exist: {}", path.display()),
    )
}
