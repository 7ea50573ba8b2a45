//! What of the host a bundle depends on.

use std::path::Path;

use crate::{Error, Result};

/// Where control groups are mounted, on the host and in containers.
pub const CGROUPS: &str = "/sys/fs/cgroup";
/// Where the kernel tells of AppArmor.
pub const APPARMOR: &str = "/sys/kernel/security/apparmor";
/// Where the program that loads profiles may be.
const PARSERS: [&str; 2] = ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"];

/// Facts of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Mask of the capabilities this program can give away.
    pub capabilities: u64,
    /// True when the kernel has one control group hierarchy for everything.
    pub cgroup_v2: bool,
    /// With version 1, where its hierarchies are mounted, one directory each. None where containers get no groups.
    pub cgroup_v1: Vec<String>,
    /// True when this program can make control groups.
    pub groups: bool,
    /// True in a user namespace that does not have every user of the machine.
    pub confined: bool,
    /// True when containers get a profile of AppArmor unless they ask for none.
    pub apparmor: bool,
    /// True when the kernel can make a whole tree read-only (`mount_setattr`, Linux 5.12).
    pub recursive_read_only: bool,
}

impl Host {
    /// Asks the kernel. `confined` is whether this program lives in a user namespace.
    pub fn read(confined: bool) -> Result<Host> {
        let sets = rustix::thread::capabilities(None)
            .map_err(|errno| Error::io("read the capabilities of", "/proc/self")(errno.into()))?;
        let cgroup_v2 = Path::new(CGROUPS).join("cgroup.controllers").exists();
        let cgroup_v1 = if cgroup_v2 { Vec::new() } else { hierarchies() };
        let groups = !confined || are_delegated(&cgroup_v1);
        Ok(Host {
            capabilities: sets.effective.bits() as u64,
            cgroup_v2,
            cgroup_v1: if groups { cgroup_v1 } else { Vec::new() },
            groups,
            confined,
            apparmor: !confined && confines_by_default(),
            recursive_read_only: kernel_at_least(
                rustix::system::uname().release().to_str().unwrap_or_default(),
                (5, 12),
            ),
        })
    }
}

/// True when somebody gave this user namespace the groups below what it sees as their root: all of `hierarchies`, or with none
/// of these version 2.
pub(super) fn are_delegated(hierarchies: &[String]) -> bool {
    let writable = |path: &str| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    if hierarchies.is_empty() { writable(CGROUPS) } else { hierarchies.iter().all(|path| writable(path)) }
}

/// True when the kernel can confine processes by AppArmor profiles.
pub fn has_apparmor() -> bool {
    let enabled = fs_err::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text.trim() == "Y")
}

/// True when the default profile is in use, which needs somebody to load it, as with Docker. A user namespace loads none.
pub fn confines_by_default() -> bool {
    has_apparmor() && Path::new(APPARMOR).exists() && apparmor_parser().is_some()
}

/// The program that loads profiles.
pub(crate) fn apparmor_parser() -> Option<&'static str> {
    PARSERS.into_iter().find(|path| Path::new(path).exists())
}

pub(super) fn hierarchies() -> Vec<String> {
    let entries = fs_err::read_dir(CGROUPS).into_iter().flatten().flatten();
    // Links such as `cpu` to `cpu,cpuacct` lead to what is listed anyway.
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.filter_map(|entry| entry.path().into_os_string().into_string().ok()).collect()
}

fn kernel_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_compare_by_number() {
        for (release, wanted) in
            [("6.18.44-1", true), ("5.12.0", true), ("5.9", false), ("4.19.0-amd64", false), ("", false)]
        {
            assert_eq!(kernel_at_least(release, (5, 12)), wanted, "{release}");
        }
    }
}
