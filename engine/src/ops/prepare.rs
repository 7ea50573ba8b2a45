//! From a mounted root to a bundle on disk: the part of starting a container that reads the root and writes its files.

use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use mica_layer::beneath::{self, NewDir};

use crate::bundle::host::{Host, find_init};
use crate::bundle::spec::{BundleInput, configuration};
use crate::bundle::{devices, files, merge, user};
use crate::container::{ContainerRecord, ContainerSpec, MountSource, NetworkMode};
use crate::store::container_state::BUNDLE;
use crate::store::containers::Directories;
use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// Writes a container's files and its `config.json`. `root` is its mounted root.
    pub(crate) fn write_bundle(
        &self,
        record: &ContainerRecord,
        root: BorrowedFd<'_>,
        directories: &Directories,
    ) -> Result<()> {
        let spec = &record.spec;
        let hostname = hostname(record);
        write_files(&directories.state, &hostname, spec)?;
        let identity = user::lookup(root, &record.config.user, &spec.group_add)?;
        let cwd = working_directory(root, &record.config.working_dir)?;
        bind_sources(spec)?;
        let init = if spec.init { Some(find_init()?) } else { None };
        let volumes: Vec<_> =
            record.volumes.iter().map(|volume| (volume.clone(), self.store().volume_data(&volume.name))).collect();
        let built = configuration(&BundleInput {
            id: &record.id,
            root: &directories.run.join("rootfs"),
            spec,
            args: record.args(),
            env: &record.config.env,
            cwd: &cwd,
            identity: &identity,
            hostname: &hostname,
            files: &directories.state,
            volumes: &volumes,
            devices: &devices::find(spec)?,
            init: init.as_deref(),
            host: Host::read()?,
        })?;
        write_configuration(&directories.state, &built)
    }
}

/// Writes `config.json` into a bundle.
pub(crate) fn write_configuration(bundle: &Path, built: &oci_spec::runtime::Spec) -> Result<()> {
    let path = bundle.join(BUNDLE);
    let text = serde_json::to_vec(built).map_err(|error| Error::refused(Kind::Internal, error.to_string()))?;
    fs_err::write(&path, text).map_err(Error::io("write", path))
}

/// The container's host name: that of the host on the host's network, as Docker has it.
pub(crate) fn hostname(record: &ContainerRecord) -> String {
    match (&record.spec.hostname, record.spec.network) {
        (None, NetworkMode::Host) => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        _ => record.hostname().to_owned(),
    }
}

/// Writes `hosts`, `hostname` and `resolv.conf`.
pub(crate) fn write_files(directory: &Path, hostname: &str, spec: &ContainerSpec) -> Result<()> {
    let host_file = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
    let hosts = if spec.network == NetworkMode::Host { host_file("/etc/hosts") } else { String::new() };
    write_readable(&directory.join("hosts"), &files::hosts(hostname, spec, &hosts))?;
    write_readable(&directory.join("hostname"), &format!("{hostname}\n"))?;
    write_readable(&directory.join("resolv.conf"), &files::resolv_conf(spec, &host_file("/etc/resolv.conf")))
}

/// The working directory, made where it is missing. Below `/proc` none is accepted: a descriptor of the host's that leaked
/// into the runtime could be reached there (CVE-2024-21626).
pub(crate) fn working_directory(root: BorrowedFd<'_>, wanted: &str) -> Result<String> {
    let cwd = merge::clean(wanted);
    check_working_directory(&cwd)?;
    let kernels = ["/sys", "/dev"].iter().any(|top| cwd == *top || cwd.starts_with(&format!("{top}/")));
    if cwd != "/" && !kernels {
        beneath::mkdir_all(root, Path::new(&cwd[1..]), NewDir::default()).map_err(|source| Error::Layer {
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

/// Makes missing sources of `-v`, and refuses missing sources of `--mount`.
fn bind_sources(spec: &ContainerSpec) -> Result<()> {
    for mount in &spec.mounts {
        let MountSource::Bind { path, create } = &mount.source else { continue };
        if path.symlink_metadata().is_ok() {
            continue;
        }
        if !create {
            return Err(Error::refused(
                Kind::InvalidInput,
                format!("bind source path does not exist: `{}`", path.display()),
            ));
        }
        fs_err::create_dir_all(path).map_err(Error::io("create directory", path))?;
    }
    Ok(())
}

/// Whatever the caller's umask is, every user of the container may read these.
fn write_readable(path: &PathBuf, text: &str) -> Result<()> {
    fs_err::write(path, text).map_err(Error::io("write", path))?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o644)).map_err(Error::io("set the mode of", path))
}
