//! Capabilities: Docker's default set, and what `--cap-add`, `--cap-drop` and `--privileged` make of it.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};

use super::seccomp::unbuildable;
use crate::container::ContainerSpec;
use crate::{Error, Kind, Result};

/// What a container holds when nothing is asked for: mask `0xa80425fb`.
pub const DEFAULT: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// Every capability in the order of its number in the kernel.
pub const ALL: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The capabilities a request comes to. `available` is the mask of what this machine can give: `ALL` and `--privileged`
/// mean everything that is there.
pub fn resolve(spec: &ContainerSpec, available: u64) -> Result<HashSet<Capability>> {
    let all = || (0..ALL.len()).filter(|number| available & (1 << number) != 0).map(|number| ALL[number]);
    if spec.privileged {
        return Ok(all().collect());
    }
    let adds = parse(&spec.cap_add)?;
    let drops = parse(&spec.cap_drop)?;
    let mut held: HashSet<Capability> = match (&adds, &drops) {
        (Named { all: true, .. }, _) => all().collect(),
        (_, Named { all: true, .. }) => HashSet::new(),
        _ => DEFAULT.into_iter().collect(),
    };
    if !drops.all {
        for capability in &drops.names {
            held.remove(capability);
        }
    }
    held.extend(adds.names);
    Ok(held)
}

/// The sets of a process. Inheritable and ambient stay empty (CVE-2022-24769); a process that is not root starts with
/// nothing it could use, as after any change of user.
pub fn sets(held: &HashSet<Capability>, uid: u32) -> Result<LinuxCapabilities> {
    let usable = if uid == 0 { held.clone() } else { HashSet::new() };
    LinuxCapabilitiesBuilder::default()
        .bounding(held.clone())
        .effective(usable.clone())
        .permitted(usable)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
        .map_err(unbuildable)
}

struct Named {
    all: bool,
    names: Vec<Capability>,
}

fn parse(words: &[String]) -> Result<Named> {
    let mut named = Named { all: false, names: Vec::new() };
    for word in words {
        let upper = word.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match ALL.iter().find(|capability| capability.to_string() == short) {
            Some(capability) => named.names.push(*capability),
            None if short == "ALL" => named.all = true,
            None => {
                return Err(Error::refused(
                    Kind::InvalidInput,
                    format!("unknown capability: `{}`", word.escape_debug()),
                ));
            }
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(held: &HashSet<Capability>) -> u64 {
        (0..ALL.len()).filter(|number| held.contains(&ALL[*number])).map(|number| 1u64 << number).sum()
    }

    #[test]
    fn requests_come_to_masks() {
        let everything = (1u64 << 41) - 1;
        let resource = 1u64 << 24;
        for (add, drop, privileged, available, wanted) in [
            (vec![], vec![], false, everything, 0xa804_25fb),
            (vec!["NET_ADMIN"], vec![], false, everything, 0xa804_25fb | 1 << 12),
            (vec!["cap_net_admin"], vec!["ALL"], false, everything, 1 << 12),
            (vec![], vec!["all"], false, everything, 0),
            (vec![], vec!["CAP_CHOWN", "KILL"], false, everything, 0xa804_25fb & !(1 | 1 << 5)),
            (vec!["ALL"], vec!["MKNOD"], false, everything, everything & !(1 << 27)),
            (vec!["ALL"], vec![], false, everything & !resource, everything & !resource),
            (vec![], vec![], true, everything & !resource, everything & !resource),
        ] {
            let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            let spec = ContainerSpec { cap_add: words(&add), cap_drop: words(&drop), privileged, ..Default::default() };
            assert_eq!(mask(&resolve(&spec, available).unwrap()), wanted, "{add:?} {drop:?}");
        }
        let spec = ContainerSpec { cap_add: vec!["NOPE".into()], ..Default::default() };
        assert_eq!(resolve(&spec, everything).unwrap_err().kind(), Kind::InvalidInput);
    }

    #[test]
    fn only_root_starts_with_usable_sets() {
        let held: HashSet<Capability> = DEFAULT.into_iter().collect();
        let root = sets(&held, 0).unwrap();
        let user = sets(&held, 1000).unwrap();
        assert_eq!(root.effective().as_ref().unwrap().len(), 14);
        assert_eq!(user.effective().as_ref().unwrap().len(), 0);
        assert_eq!(user.bounding().as_ref().unwrap().len(), 14);
        assert!(root.inheritable().as_ref().unwrap().is_empty() && root.ambient().as_ref().unwrap().is_empty());
    }
}
