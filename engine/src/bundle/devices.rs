//! Devices of the host in a container, and which ones its control group lets it use.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use super::seccomp::unbuildable;
use crate::container::{ContainerSpec, DeviceSpec};
use crate::{Error, Kind, Result};

/// A device node of the host and what may be done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDevice {
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the container.
    pub target: String,
    /// True for a block device.
    pub block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Some of `r`, `w` and `m`.
    pub access: String,
}

/// Looks up the devices a request names; all there are for a privileged container.
pub fn find(spec: &ContainerSpec) -> Result<Vec<HostDevice>> {
    let mut found = Vec::new();
    if spec.privileged {
        collect(Path::new("/dev"), &mut found)?;
    }
    for device in &spec.devices {
        let named = match inspect(device)? {
            Some(host) => vec![host],
            None if device.source.is_dir() => below(device)?,
            None => Vec::new(),
        };
        if named.is_empty() {
            return Err(Error::refused(
                Kind::InvalidInput,
                format!("`{}` is not a device node", device.source.display()),
            ));
        }
        found.retain(|known: &HostDevice| named.iter().all(|host| host.target != known.target));
        found.extend(named);
    }
    Ok(found)
}

/// The number of a block device of the host.
pub fn block_number(path: &Path) -> Result<(i64, i64)> {
    let device = DeviceSpec { source: path.to_owned(), target: String::new(), access: String::new() };
    match inspect(&device)? {
        Some(host) if host.block => Ok((i64::from(host.major), i64::from(host.minor))),
        _ => Err(Error::refused(Kind::InvalidInput, format!("`{}` is not a block device", path.display()))),
    }
}

/// True for a device that becomes a node below the container's own `/dev`. Elsewhere a node would be written into the
/// root file system, and some runtimes refuse it, so others are bind mounts.
pub fn is_node(device: &HostDevice) -> bool {
    super::merge::clean(&device.target).starts_with("/dev/")
}

/// The nodes to make.
pub fn nodes(devices: &[HostDevice]) -> Result<Vec<LinuxDevice>> {
    devices
        .iter()
        .filter(|device| is_node(device))
        .map(|device| {
            LinuxDeviceBuilder::default()
                .path(&device.target)
                .typ(kind(device))
                .major(i64::from(device.major))
                .minor(i64::from(device.minor))
                .file_mode(device.mode)
                .uid(device.uid)
                .gid(device.gid)
                .build()
                .map_err(unbuildable)
        })
        .collect()
}

/// The rules of the control group: nothing, then any `mknod`, then the harmless nodes, then what was asked for.
pub fn rules(devices: &[HostDevice], spec: &ContainerSpec) -> Result<Vec<LinuxDeviceCgroup>> {
    if spec.privileged {
        return Ok(vec![rule(true, LinuxDeviceType::A, None, None, "rwm")?]);
    }
    let mut rules = vec![
        rule(false, LinuxDeviceType::A, None, None, "rwm")?,
        rule(true, LinuxDeviceType::C, None, None, "m")?,
        rule(true, LinuxDeviceType::B, None, None, "m")?,
    ];
    // null, zero, full, random, urandom, tty, ptmx, and terminals.
    for (major, minor) in
        [(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(2)), (136, None)]
    {
        rules.push(rule(true, LinuxDeviceType::C, Some(major), minor, "rwm")?);
    }
    for device in devices {
        rules.push(rule(
            true,
            kind(device),
            Some(i64::from(device.major)),
            Some(i64::from(device.minor)),
            &device.access,
        )?);
    }
    for text in &spec.device_rules {
        rules.push(asked_rule(text)?);
    }
    Ok(rules)
}

/// A rule of `--device-cgroup-rule`; `*` is any number.
fn asked_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let wrong = || Error::refused(Kind::InvalidInput, format!("invalid device cgroup rule format: `{text}`"));
    let mut fields = text.split([' ', ':']);
    let mut field = || fields.next().ok_or_else(wrong);
    let (kind, major, minor, access) = (field()?, field()?, field()?, field()?);
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        _ => LinuxDeviceType::C,
    };
    rule(true, kind, major.parse().ok(), minor.parse().ok(), access)
}

/// The devices below a directory, which keep their place in it.
fn below(device: &DeviceSpec) -> Result<Vec<HostDevice>> {
    let mut found = Vec::new();
    collect(&device.source, &mut found)?;
    for host in &mut found {
        if let Ok(rest) = host.source.strip_prefix(&device.source) {
            host.target = Path::new(&device.target).join(rest).to_string_lossy().into_owned();
        }
        host.access.clone_from(&device.access);
    }
    Ok(found)
}

fn inspect(device: &DeviceSpec) -> Result<Option<HostDevice>> {
    let metadata = fs_err::metadata(&device.source).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::refused(Kind::NotFound, format!("no such device on the host: `{}`", device.source.display()))
        }
        _ => Error::io("look at", &device.source)(error),
    })?;
    let file_type = metadata.file_type();
    if !file_type.is_block_device() && !file_type.is_char_device() {
        return Ok(None);
    }
    Ok(Some(HostDevice {
        source: device.source.clone(),
        target: device.target.clone(),
        block: file_type.is_block_device(),
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        mode: metadata.mode() & 0o777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: device.access.clone(),
    }))
}

/// Everything below a directory, except what a container gets of its own.
fn collect(directory: &Path, found: &mut Vec<HostDevice>) -> Result<()> {
    const OWN: [&str; 14] = [
        "pts",
        "shm",
        "fd",
        "mqueue",
        ".lxc",
        ".lxd-mounts",
        ".udev",
        "console",
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
    ];
    let entries = fs_err::read_dir(directory).map_err(Error::io("list", directory))?;
    for entry in entries {
        let entry = entry.map_err(Error::io("list", directory))?;
        let name = entry.file_name();
        if name.to_str().is_none_or(|name| OWN.contains(&name) || name == "ptmx") {
            continue;
        }
        let path: PathBuf = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&path, found)?,
            Ok(kind) if kind.is_block_device() || kind.is_char_device() => {
                let device =
                    DeviceSpec { target: path.to_string_lossy().into_owned(), source: path, access: "rwm".into() };
                // A device may be unplugged while we look.
                if let Ok(Some(device)) = inspect(&device) {
                    found.push(device);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn kind(device: &HostDevice) -> LinuxDeviceType {
    if device.block { LinuxDeviceType::B } else { LinuxDeviceType::C }
}

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> Result<LinuxDeviceCgroup> {
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(allow).typ(kind).access(access);
    if let Some(major) = major {
        rule = rule.major(major);
    }
    if let Some(minor) = minor {
        rule = rule.minor(minor);
    }
    rule.build().map_err(unbuildable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_looked_up_on_the_host() {
        let device = |source: &str| DeviceSpec { source: source.into(), target: "/dev/x".into(), access: "rw".into() };
        let spec = |source| ContainerSpec { devices: vec![device(source)], ..Default::default() };
        let found = find(&spec("/dev/null")).unwrap();
        assert_eq!((found[0].major, found[0].minor, found[0].block, found[0].target.as_str()), (1, 3, false, "/dev/x"));
        assert_eq!(find(&spec("/etc/passwd")).unwrap_err().kind(), Kind::InvalidInput);
        assert_eq!(find(&spec("/dev/nonesuch")).unwrap_err().kind(), Kind::NotFound);
        assert_eq!(block_number(Path::new("/dev/null")).unwrap_err().kind(), Kind::InvalidInput);
        let rules = rules(&found, &spec("/dev/null")).unwrap();
        assert!(!rules[0].allow());
        assert_eq!(rules.last().unwrap().access().as_deref(), Some("rw"));
    }

    #[test]
    fn a_directory_stands_for_the_devices_below_it() {
        let spec = ContainerSpec {
            devices: vec![DeviceSpec { source: "/dev".into(), target: "/dev/theirs".into(), access: "r".into() }],
            ..Default::default()
        };
        let found = find(&spec).unwrap();
        assert!(!found.is_empty());
        for device in &found {
            let rest = device.source.strip_prefix("/dev").unwrap();
            assert_eq!(Path::new(&device.target), Path::new("/dev/theirs").join(rest));
            assert_eq!(device.access, "r");
        }
        let elsewhere = HostDevice { target: "/etc/../x".into(), ..found[0].clone() };
        assert!(is_node(&found[0]) && !is_node(&elsewhere));
        assert_eq!(nodes(&[elsewhere]).unwrap(), []);
    }

    #[test]
    fn rules_that_were_asked_for_come_last() {
        let spec = ContainerSpec {
            device_rules: vec!["c 42:* rw".into(), "b 8:1 m".into(), "a *:* r".into()],
            ..Default::default()
        };
        let all = rules(&[], &spec).unwrap();
        let shown = |rule: &LinuxDeviceCgroup| (rule.typ(), rule.major(), rule.minor(), rule.access().clone());
        let wanted = [
            (Some(LinuxDeviceType::C), Some(42), None, Some("rw".to_owned())),
            (Some(LinuxDeviceType::B), Some(8), Some(1), Some("m".to_owned())),
            (Some(LinuxDeviceType::A), None, None, Some("r".to_owned())),
        ];
        assert_eq!(all[all.len() - 3..].iter().map(shown).collect::<Vec<_>>(), wanted);
    }
}
