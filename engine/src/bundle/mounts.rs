//! The mounts of a container, in the order in which they are made.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use super::merge::clean;
use super::seccomp::unbuildable;
use crate::container::{ContainerSpec, MountSource, Propagation, VolumeMount};
use crate::{Error, Kind, Result};

/// Docker's size of `/dev/shm`.
const SHM_SIZE: u64 = 64 << 20;

/// Where the small init appears. Below `/dev`, which is a memory file system, so it leaves no trace in the root.
pub const INIT_TARGET: &str = "/dev/init";

/// Files of `/proc` that may be replaced one by one; anything else there could fool the runtime (CVE-2019-16884).
const PROC_FILES: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

/// What the mounts are made of.
#[derive(Debug)]
pub struct MountInput<'a> {
    /// The request.
    pub spec: &'a ContainerSpec,
    /// Directory with `hosts`, `hostname` and `resolv.conf`.
    pub files: &'a Path,
    /// Volumes with their directories on the host.
    pub volumes: &'a [(VolumeMount, PathBuf)],
    /// A static init, when the container wants one.
    pub init: Option<&'a Path>,
    /// True when the kernel can make a whole tree read-only (`mount_setattr`, Linux 5.12).
    pub recursive_read_only: bool,
}

/// All mounts: the kernel's file systems, the container's own files, then what was asked for, parents before children.
pub fn mounts(input: &MountInput<'_>) -> Result<Vec<Mount>> {
    let spec = input.spec;
    let mut asked = Vec::new();
    for mount in &spec.mounts {
        if let MountSource::Bind { path, .. } = &mount.source {
            asked.push((
                clean(&mount.target),
                bind(path, &mount.target, mount.read_only, mount.propagation, input.recursive_read_only)?,
            ));
        }
    }
    for (volume, directory) in input.volumes {
        asked.push((
            volume.target.clone(),
            bind(directory, &volume.target, volume.read_only, None, input.recursive_read_only)?,
        ));
    }
    for tmpfs in &spec.tmpfs {
        let mut options: Vec<&str> = vec!["noexec", "nosuid", "nodev"];
        for option in &tmpfs.options {
            // The default that an option contradicts goes.
            options.retain(|known| known.trim_start_matches("no") != option);
            options.push(option);
        }
        asked.push((clean(&tmpfs.target), mount("tmpfs", "tmpfs", &tmpfs.target, &options)?));
    }
    for (target, _) in &asked {
        check(target)?;
    }
    // A child mounted first would vanish under its parent; mounts of the same depth keep the order of the request.
    asked.sort_by_key(|(target, _)| target.matches('/').count());
    if let Some(pair) = duplicate(&asked) {
        return Err(Error::refused(Kind::InvalidInput, format!("duplicate mount point: `{pair}`")));
    }
    let replaced = |target: &str| asked.iter().any(|(own, _)| own == target);
    let mut all = Vec::new();
    for base in base(spec)? {
        if !replaced(&base.destination().to_string_lossy()) {
            all.push(base);
        }
    }
    for (file, target) in [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")]
    {
        if !replaced(target) {
            all.push(bind(&input.files.join(file), target, false, None, false)?);
        }
    }
    if let Some(init) = input.init {
        all.push(bind(init, INIT_TARGET, true, None, false)?);
    }
    all.extend(asked.into_iter().map(|(_, mount)| mount));
    Ok(all)
}

/// The kernel's file systems, as Docker mounts them.
fn base(spec: &ContainerSpec) -> Result<Vec<Mount>> {
    let shm = format!("size={}", spec.shm_size.unwrap_or(SHM_SIZE));
    let access = if spec.privileged { "rw" } else { "ro" };
    Ok(vec![
        mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"])?,
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )?,
        mount("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", access])?,
        mount("cgroup", "cgroup", "/sys/fs/cgroup", &[access, "nosuid", "noexec", "nodev"])?,
        mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"])?,
        mount("tmpfs", "shm", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm])?,
    ])
}

fn bind(
    source: &Path,
    target: &str,
    read_only: bool,
    propagation: Option<Propagation>,
    recursive: bool,
) -> Result<Mount> {
    let mut options = vec!["rbind", propagation.unwrap_or(Propagation::Rprivate).word()];
    if read_only {
        options.push("ro");
        // Plain `ro` leaves what is mounted below the source writable.
        if recursive {
            options.push("rro");
        }
    }
    let source = source.to_str().ok_or_else(|| {
        Error::refused(
            Kind::InvalidInput,
            format!("the path `{}` is not UTF-8, which an OCI configuration needs", source.display()),
        )
    })?;
    mount("bind", source, target, &options)
}

fn mount(kind: &str, source: &str, target: &str, options: &[&str]) -> Result<Mount> {
    MountBuilder::default()
        .destination(clean(target))
        .typ(kind)
        .source(source)
        .options(options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
        .build()
        .map_err(unbuildable)
}

fn check(target: &str) -> Result<()> {
    let below_proc = target == "/proc" || target.starts_with("/proc/");
    if below_proc && !PROC_FILES.contains(&target) {
        return Err(Error::refused(
            Kind::InvalidInput,
            format!("`{target}` cannot be mounted because it is inside `/proc`"),
        ));
    }
    Ok(())
}

fn duplicate(asked: &[(String, Mount)]) -> Option<&str> {
    let mut seen = std::collections::HashSet::new();
    asked.iter().map(|(target, _)| target.as_str()).find(|target| !seen.insert(*target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{parse_tmpfs, parse_volume};

    fn listed(spec: &ContainerSpec, init: Option<&Path>) -> Result<Vec<String>> {
        let input = MountInput { spec, files: Path::new("/s"), volumes: &[], init, recursive_read_only: true };
        let line = |m: &Mount| {
            let options = m.options().as_ref().unwrap().join(",");
            format!("{} {} {options}", m.source().as_ref().unwrap().display(), m.destination().display())
        };
        Ok(mounts(&input)?.iter().map(line).collect())
    }

    #[test]
    fn the_default_is_dockers() {
        let spec = ContainerSpec::default();
        let lines = listed(&spec, None).unwrap();
        assert_eq!(lines[0], "proc /proc nosuid,noexec,nodev");
        assert_eq!(lines[3], "sysfs /sys nosuid,noexec,nodev,ro");
        assert_eq!(lines[4], "cgroup /sys/fs/cgroup ro,nosuid,noexec,nodev");
        assert_eq!(lines[6], "shm /dev/shm nosuid,noexec,nodev,mode=1777,size=67108864");
        assert_eq!(
            lines[7..],
            [
                "/s/resolv.conf /etc/resolv.conf rbind,rprivate",
                "/s/hostname /etc/hostname rbind,rprivate",
                "/s/hosts /etc/hosts rbind,rprivate"
            ]
        );
    }

    #[test]
    fn what_was_asked_for_comes_last_and_parents_first() {
        let spec = ContainerSpec {
            mounts: vec![
                parse_volume("/h/deep:/a/b/c:ro").unwrap(),
                parse_volume("/h/hosts:/etc/hosts").unwrap(),
                parse_volume("/h/top:/a:rslave").unwrap(),
            ],
            tmpfs: vec![parse_tmpfs("/run:exec,size=1m").unwrap(), parse_tmpfs("/dev/shm").unwrap()],
            ..Default::default()
        };
        let lines = listed(&spec, Some(Path::new("/usr/bin/tini-static"))).unwrap();
        assert_eq!(
            lines[6..],
            [
                "/s/resolv.conf /etc/resolv.conf rbind,rprivate",
                "/s/hostname /etc/hostname rbind,rprivate",
                "/usr/bin/tini-static /dev/init rbind,rprivate,ro",
                "/h/top /a rbind,rslave",
                "tmpfs /run nosuid,nodev,exec,size=1m",
                "/h/hosts /etc/hosts rbind,rprivate",
                "tmpfs /dev/shm noexec,nosuid,nodev",
                "/h/deep /a/b/c rbind,rprivate,ro,rro",
            ]
        );
    }

    #[test]
    fn proc_and_duplicates_are_refused() {
        for volume in ["/x:/proc", "/x:/a/../proc/sys", "/x:/proc/self/attr", "/x:/proc/"] {
            let spec = ContainerSpec { mounts: vec![parse_volume(volume).unwrap()], ..Default::default() };
            assert_eq!(listed(&spec, None).unwrap_err().kind(), Kind::InvalidInput, "{volume}");
        }
        let spec = ContainerSpec {
            mounts: vec![parse_volume("/x:/a").unwrap(), parse_volume("/y:/a/").unwrap()],
            ..Default::default()
        };
        assert_eq!(listed(&spec, None).unwrap_err().kind(), Kind::InvalidInput);
        let spec = ContainerSpec { mounts: vec![parse_volume("/x:/proc/cpuinfo").unwrap()], ..Default::default() };
        assert!(listed(&spec, None).is_ok());
    }
}
