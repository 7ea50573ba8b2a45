//! From a mounted root to a bundle on disk: the part of starting a container that reads the root and writes its files.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mica_layer::beneath::{self, NewDir};
use mica_storage_api::sys::as_owner;
use rustix::fs::{FileType, Mode, OFlags};

use super::apparmor;
use super::join::Joined;
use super::places;
use super::sources::{MOUNTS, Sources, copy_tree};
use crate::bundle::files::Surroundings;
use crate::bundle::host::Host;
use crate::bundle::spec::{BundleInput, configuration};
use crate::bundle::{devices, files, merge, user};
use crate::container::{ContainerRecord, ContainerSpec, IdMappings, MountPoint, NetworkMode, Recursion, UtsMode};
use crate::ops::networking::Connected;
use crate::store::container_state::BUNDLE;
use crate::store::containers::Directories;
use crate::{Engine, Error, Kind, Result, cdi};

/// The files of its own that every container gets.
const FILES: [&str; 3] = ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"];

/// The small init in a container's directory, put there by the monitor: the directory may hold programs, which the run
/// root often may not (`noexec`).
pub(crate) const INIT: &str = "init";

impl Engine {
    /// Writes a container's files and its `config.json`. `root` is its mounted root. Returns the detached mounts that it
    /// names.
    pub(crate) fn write_bundle(
        &self,
        record: &ContainerRecord,
        root: BorrowedFd<'_>,
        directories: &Directories,
        joined: &Joined,
        connected: &Connected,
    ) -> Result<Vec<(String, OwnedFd)>> {
        let spec = &record.spec;
        let mut hostname = hostname(record);
        match &connected.host_files {
            None => write_files(&directories.state, &hostname, spec, &connected.surroundings)?,
            // Whoever shares another's network shares its name too.
            Some(files) => {
                let path = files.join("hostname");
                let text = fs_err::read_to_string(&path).map_err(Error::io("read", path))?;
                text.trim_end().clone_into(&mut hostname);
            }
        }
        let identity = user::lookup(root, &record.config.user, &spec.group_add)?;
        let cwd = as_root_of(record.ids.as_ref(), |new| {
            for file in FILES {
                places::end_link(root, Path::new(file), new)?;
            }
            working_directory(root, &record.config.working_dir, new)
        })?;
        let place = self.place_of(record);
        let user = (identity.uid, identity.gid);
        let owner = record.ids.as_ref().map_or(user, |ids| ids.to_outside(user));
        let mut sources = self.sources(record, &place, owner)?;
        check_kinds(root, &sources)?;
        let mut init = spec.init.then(|| directories.state.join(INIT));
        let mut files = connected.host_files.clone().unwrap_or_else(|| directories.state.clone());
        if let Some(ids) = &record.ids {
            hand_files(&mut sources, &files, ids)?;
            files = place.join(MOUNTS);
            init = init.map(|_| files.join(INIT));
        }
        let shm = place.join("shm");
        let mut built = configuration(&BundleInput {
            id: &record.id,
            root: &place.join("rootfs"),
            spec,
            args: record.args(),
            env: &record.config.env,
            cwd: &cwd,
            identity: &identity,
            hostname: &hostname,
            files: &files,
            points: &sources.points,
            devices: &devices::find(spec)?,
            donors: joined.donors.clone(),
            shm: Some(&shm),
            init: init.as_deref(),
            host: Host::read(self.options().rootless)?,
            ids: record.ids.as_ref(),
        })?;
        apparmor::ensure(built.process().as_ref().and_then(|process| process.apparmor_profile().as_deref()))?;
        cdi::inject(&mut built, &spec.device_requests, &self.options().cdi_folders)?;
        write_configuration(&directories.state, &built)?;
        Ok(sources.handed)
    }
}

/// Does work in a container's root as its root, to whom new directories belong: root of the machine may make no files there
/// when the ids are mapped.
pub(super) fn as_root_of<T>(ids: Option<&IdMappings>, work: impl FnOnce(NewDir) -> Result<T>) -> Result<T> {
    let Some((uid, gid)) = ids.map(IdMappings::root) else { return work(NewDir::default()) };
    let new = NewDir { uid, gid, ..NewDir::default() };
    as_owner(uid, gid, || work(new)).map_err(|errno| Error::io("become root of", "a container")(errno.into()))?
}

/// Hands the container's own files over as mounts: root of a user namespace cannot pass through the store to them. They are
/// its own there too, as far as they are not another container's.
fn hand_files(sources: &mut Sources, files: &Path, ids: &IdMappings) -> Result<()> {
    let (uid, gid) = ids.root();
    for name in ["resolv.conf", "hostname", "hosts"] {
        let path = files.join(name);
        std::os::unix::fs::chown(&path, Some(uid), Some(gid)).map_err(Error::io("give away", &path))?;
        sources.handed.push((name.to_owned(), copy_tree(&path, Recursion::Disabled)?));
    }
    Ok(())
}

/// Writes `config.json` into a bundle.
pub(crate) fn write_configuration(bundle: &Path, built: &oci_spec::runtime::Spec) -> Result<()> {
    let path = bundle.join(BUNDLE);
    let text = serde_json::to_vec(built).map_err(|error| Error::refused(Kind::Internal, error.to_string()))?;
    fs_err::write(&path, text).map_err(Error::io("write", path))
}

/// The container's host name: that of the host on the host's network, as Docker has it.
pub(crate) fn hostname(record: &ContainerRecord) -> String {
    let shared = record.spec.network == NetworkMode::Host || record.spec.namespaces.uts == UtsMode::Host;
    match &record.spec.hostname {
        None if shared => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        _ => record.hostname().to_owned(),
    }
}

/// Writes `hosts`, `hostname` and `resolv.conf`.
pub(crate) fn write_files(directory: &Path, hostname: &str, spec: &ContainerSpec, around: &Surroundings) -> Result<()> {
    let host_file = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
    let hosts = if spec.network == NetworkMode::Host { host_file("/etc/hosts") } else { String::new() };
    let names = match &spec.domainname {
        Some(domain) => format!("{hostname}.{domain} {hostname}"),
        None => hostname.to_owned(),
    };
    write_readable(&directory.join("hosts"), &files::hosts(&names, spec, &hosts, around))?;
    write_readable(&directory.join("hostname"), &format!("{hostname}\n"))?;
    let resolv_conf = files::resolv_conf(spec, &host_file("/etc/resolv.conf"), around);
    write_readable(&directory.join("resolv.conf"), &resolv_conf)
}

/// The working directory, made where it is missing. Below `/proc` none is accepted: a descriptor of the host's that leaked
/// into the runtime could be reached there (CVE-2024-21626).
pub(crate) fn working_directory(root: BorrowedFd<'_>, wanted: &str, new: NewDir) -> Result<String> {
    let cwd = merge::clean(wanted);
    check_working_directory(&cwd)?;
    let kernels = ["/sys", "/dev"].iter().any(|top| cwd == *top || cwd.starts_with(&format!("{top}/")));
    if cwd != "/" && !kernels {
        beneath::mkdir_all(root, Path::new(&cwd[1..]), new).map_err(|source| Error::Layer {
            operation: "make the working directory in",
            layer: cwd.clone(),
            source,
        })?;
    }
    Ok(cwd)
}

/// Refuses working directories that are never meant well.
pub(crate) fn check_working_directory(cwd: &str) -> Result<()> {
    if cwd == "/proc" || cwd.starts_with("/proc/") || cwd.contains('\0') {
        return Err(Error::refused(
            Kind::InvalidInput,
            format!("the working directory `{}` is not allowed", cwd.escape_debug()),
        ));
    }
    Ok(())
}

/// Refuses a directory over a file and the other way round, as far as the root shows them.
fn check_kinds(root: BorrowedFd<'_>, sources: &Sources) -> Result<()> {
    for (point, path) in &sources.points {
        let covered =
            |other: &MountPoint| point.target != other.target && Path::new(&point.target).starts_with(&other.target);
        if sources.points.iter().any(|(other, _)| covered(other)) {
            continue;
        }
        let handed = sources.handed.iter().find(|(name, _)| path.ends_with(Path::new(MOUNTS).join(name)));
        let source = match handed {
            Some((_, tree)) => rustix::fs::fstat(tree),
            None => rustix::fs::stat(path),
        };
        let target = Path::new(point.target.trim_start_matches('/'));
        let found = beneath::open(root, target, OFlags::PATH, Mode::empty());
        let (Ok(source), Ok(Ok(found))) = (source, found.map(rustix::fs::fstat)) else { continue };
        let directory = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if directory(source) != directory(found) {
            return Err(Error::refused(
                Kind::InvalidInput,
                format!(
                    "error mounting \"{}\" to rootfs at \"{}\": not a directory: Are you trying to mount a directory onto \
                     a file (or vice-versa)? Check if the specified host path exists and is the expected type",
                    path.display(),
                    point.target
                ),
            ));
        }
    }
    Ok(())
}

/// Whatever the caller's umask is, every user of the container may read these.
fn write_readable(path: &PathBuf, text: &str) -> Result<()> {
    fs_err::write(path, text).map_err(Error::io("write", path))?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o644)).map_err(Error::io("set the mode of", path))
}
