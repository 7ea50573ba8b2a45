//! Limits: those of the control group and those of the process.

use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxDeviceCgroup, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
    PosixRlimit, PosixRlimitBuilder, PosixRlimitType,
};

use super::seccomp::unbuildable;
use crate::container::{Resources, Ulimit};
use crate::{Error, Kind, Result};

/// Microseconds of a scheduling period.
const CPU_PERIOD: u64 = 100_000;
/// The smallest memory limit that lets anything start, as Docker has it.
const MEMORY_MIN: i64 = 6 << 20;

/// The control group's settings.
pub fn resources(limits: &Resources, devices: Vec<LinuxDeviceCgroup>) -> Result<LinuxResources> {
    let mut built = LinuxResourcesBuilder::default().devices(devices);
    if let Some(limit) = limits.memory.filter(|limit| *limit > 0) {
        if limit < MEMORY_MIN {
            return Err(Error::refused(Kind::InvalidInput, "minimum memory limit allowed is 6MB"));
        }
        let swap = match limits.memory_swap {
            None | Some(0) => limit.saturating_mul(2),
            Some(swap) if swap > 0 && swap < limit => {
                return Err(Error::refused(
                    Kind::InvalidInput,
                    "the limit of memory and swap must not be smaller than the limit of memory",
                ));
            }
            Some(swap) => swap,
        };
        let mut memory = LinuxMemoryBuilder::default().limit(limit).swap(swap);
        if let Some(reservation) = limits.memory_reservation {
            memory = memory.reservation(reservation);
        }
        built = built.memory(memory.build().map_err(unbuildable)?);
    } else if limits.memory_swap.is_some_and(|swap| swap > 0) {
        return Err(Error::refused(Kind::InvalidInput, "a limit of memory and swap needs a limit of memory too")
            .with_hint("add `--memory`"));
    }
    let mut cpu = LinuxCpuBuilder::default();
    let mut any = false;
    if let Some(milli) = limits.milli_cpus {
        cpu = cpu.period(CPU_PERIOD).quota((milli * CPU_PERIOD / 1000) as i64);
        any = true;
    }
    if let Some(shares) = limits.cpu_shares.filter(|shares| *shares > 0) {
        cpu = cpu.shares(shares);
        any = true;
    }
    for (list, memory) in [(&limits.cpuset_cpus, false), (&limits.cpuset_mems, true)] {
        let Some(list) = list else { continue };
        if !list.chars().all(|c| c.is_ascii_digit() || c == ',' || c == '-') {
            return Err(Error::refused(
                Kind::InvalidInput,
                format!("invalid list of processors or nodes: `{}`", list.escape_debug()),
            ));
        }
        cpu = if memory { cpu.mems(list) } else { cpu.cpus(list) };
        any = true;
    }
    if any {
        built = built.cpu(cpu.build().map_err(unbuildable)?);
    }
    if let Some(limit) = limits.pids {
        let limit = if limit <= 0 { -1 } else { limit };
        built = built.pids(LinuxPidsBuilder::default().limit(limit).build().map_err(unbuildable)?);
    }
    built.build().map_err(unbuildable)
}

/// The process's limits. Without any, those of the caller stay as they are: raising them takes `CAP_SYS_RESOURCE`.
pub fn rlimits(ulimits: &[Ulimit]) -> Result<Option<Vec<PosixRlimit>>> {
    if ulimits.is_empty() {
        return Ok(None);
    }
    let one = |ulimit: &Ulimit| {
        let kind: PosixRlimitType =
            serde_json::from_value(format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase()).into())
                .map_err(|_| Error::refused(Kind::InvalidInput, format!("invalid ulimit type: `{}`", ulimit.name)))?;
        PosixRlimitBuilder::default().typ(kind).soft(ulimit.soft).hard(ulimit.hard).build().map_err(unbuildable)
    };
    ulimits.iter().map(one).collect::<Result<Vec<_>>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::parse_ulimit;

    #[test]
    fn limits_follow_docker() {
        let limits = Resources { memory: Some(64 << 20), milli_cpus: Some(1500), pids: Some(0), ..Default::default() };
        let built = resources(&limits, vec![]).unwrap();
        let memory = built.memory().as_ref().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(128 << 20)));
        assert_eq!(built.cpu().as_ref().unwrap().quota(), Some(150_000));
        assert_eq!(built.pids().as_ref().unwrap().limit(), -1);
        assert!(resources(&Resources::default(), vec![]).unwrap().memory().is_none());
        for bad in [
            Resources { memory: Some(1024), ..Default::default() },
            Resources { memory_swap: Some(1 << 30), ..Default::default() },
            Resources { memory: Some(1 << 30), memory_swap: Some(1 << 20), ..Default::default() },
            Resources { cpuset_cpus: Some("0\n1".into()), ..Default::default() },
        ] {
            assert_eq!(resources(&bad, vec![]).unwrap_err().kind(), Kind::InvalidInput, "{bad:?}");
        }
    }

    #[test]
    fn ulimits_become_rlimits() {
        assert_eq!(rlimits(&[]).unwrap(), None);
        let limits =
            rlimits(&[parse_ulimit("nofile=64:128").unwrap(), parse_ulimit("rttime=-1").unwrap()]).unwrap().unwrap();
        assert_eq!((limits[0].typ(), limits[0].soft(), limits[0].hard()), (PosixRlimitType::RlimitNofile, 64, 128));
        assert_eq!(limits[1].hard(), u64::MAX);
    }
}
