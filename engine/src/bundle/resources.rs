//! Limits: those of the control group and those of the process.

use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxDeviceCgroup, LinuxMemory, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType,
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
    if let Some(memory) = memory(limits)? {
        built = built.memory(memory);
    }
    let mut cpu = LinuxCpuBuilder::default();
    let mut any = false;
    if let Some(milli) = limits.milli_cpus {
        for (given, what) in [(limits.cpu_period.is_some(), "CPU Period"), (limits.cpu_quota.is_some(), "CPU Quota")] {
            if given {
                return refused(format!("conflicting options: Nano CPUs and {what} cannot both be set"));
            }
        }
        cpu = cpu.period(CPU_PERIOD).quota((milli * CPU_PERIOD / 1000) as i64);
        any = true;
    }
    if let Some(period) = limits.cpu_period.filter(|period| *period != 0) {
        if !(1000..=1_000_000).contains(&period) {
            return refused(
                "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".into(),
            );
        }
        cpu = cpu.period(period);
        any = true;
    }
    if let Some(quota) = limits.cpu_quota.filter(|quota| *quota != 0) {
        if (0..1000).contains(&quota) {
            return refused("CPU cfs quota can not be less than 1ms (i.e. 1000)".into());
        }
        cpu = cpu.quota(quota);
        any = true;
    }
    if let (Some(period), Some(runtime)) = (limits.cpu_rt_period, limits.cpu_rt_runtime)
        && i64::try_from(period).is_ok_and(|period| period > 0 && runtime > period)
    {
        return refused("cpu real-time runtime cannot be higher than cpu real-time period".into());
    }
    if let Some(period) = limits.cpu_rt_period.filter(|period| *period != 0) {
        cpu = cpu.realtime_period(period);
        any = true;
    }
    if let Some(runtime) = limits.cpu_rt_runtime.filter(|runtime| *runtime != 0) {
        cpu = cpu.realtime_runtime(runtime);
        any = true;
    }
    if let Some(shares) = limits.cpu_shares.filter(|shares| *shares > 0) {
        cpu = cpu.shares(shares);
        any = true;
    }
    for (list, memory) in [(&limits.cpuset_cpus, false), (&limits.cpuset_mems, true)] {
        let Some(list) = list else { continue };
        if !list.chars().all(|c| c.is_ascii_digit() || c == ',' || c == '-') {
            return refused(format!("invalid list of processors or nodes: `{}`", list.escape_debug()));
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

/// The limits of memory; `None` when nothing is limited.
fn memory(limits: &Resources) -> Result<Option<LinuxMemory>> {
    let limit = limits.memory.filter(|limit| *limit > 0);
    let reservation = limits.memory_reservation.filter(|bytes| *bytes > 0);
    let swappiness = limits.memory_swappiness;
    if swappiness.is_some_and(|swappiness| swappiness > 100) {
        return refused("invalid value of `--memory-swappiness`: the range is 0-100".into());
    }
    let mut memory = LinuxMemoryBuilder::default();
    if let Some(limit) = limit {
        if limit < MEMORY_MIN {
            return refused("minimum memory limit allowed is 6MB".into());
        }
        if reservation.is_some_and(|reservation| reservation > limit) {
            return refused("minimum memory limit can not be less than memory reservation limit".into());
        }
        let swap = match limits.memory_swap {
            None | Some(0) => limit.saturating_mul(2),
            Some(swap) if swap > 0 && swap < limit => {
                return refused("minimum memoryswap limit should be larger than memory limit".into());
            }
            Some(swap) => swap,
        };
        memory = memory.limit(limit).swap(swap);
    } else if limits.memory_swap.is_some_and(|swap| swap > 0) {
        return Err(Error::refused(Kind::InvalidInput, "a limit of memory and swap needs a limit of memory too")
            .with_hint("add `--memory`"));
    }
    if let Some(reservation) = reservation {
        if reservation < MEMORY_MIN {
            return refused("minimum memory reservation allowed is 6MB".into());
        }
        memory = memory.reservation(reservation);
    }
    if let Some(swappiness) = swappiness {
        memory = memory.swappiness(u64::from(swappiness));
    }
    if limits.oom_kill_disable {
        memory = memory.disable_oom_killer(true);
    }
    let any = limit.is_some() || reservation.is_some() || swappiness.is_some() || limits.oom_kill_disable;
    if any { memory.build().map(Some).map_err(unbuildable) } else { Ok(None) }
}

fn refused<T>(message: String) -> Result<T> {
    Err(Error::refused(Kind::InvalidInput, message))
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
            Resources { milli_cpus: Some(1), cpu_period: Some(1000), ..Default::default() },
            Resources { milli_cpus: Some(1), cpu_quota: Some(1000), ..Default::default() },
            Resources { cpu_period: Some(999), ..Default::default() },
            Resources { cpu_period: Some(1_000_001), ..Default::default() },
            Resources { cpu_quota: Some(999), ..Default::default() },
            Resources { cpu_rt_period: Some(1), cpu_rt_runtime: Some(2), ..Default::default() },
            Resources { memory_swappiness: Some(101), ..Default::default() },
            Resources { memory_reservation: Some(1024), ..Default::default() },
            Resources { memory: Some(8 << 20), memory_reservation: Some(9 << 20), ..Default::default() },
        ] {
            assert_eq!(resources(&bad, vec![]).unwrap_err().kind(), Kind::InvalidInput, "{bad:?}");
        }
    }

    #[test]
    fn each_limit_stands_by_itself() {
        let shown = |limits: Resources| serde_json::to_value(resources(&limits, vec![]).unwrap()).unwrap();
        for (limits, part, key, value) in [
            (Resources { memory_reservation: Some(7 << 20), ..Default::default() }, "memory", "reservation", 7 << 20),
            (Resources { memory_swappiness: Some(0), ..Default::default() }, "memory", "swappiness", 0),
            (Resources { cpu_period: Some(2000), ..Default::default() }, "cpu", "period", 2000),
            (Resources { cpu_quota: Some(-1), ..Default::default() }, "cpu", "quota", -1),
            (Resources { cpu_rt_period: Some(9), ..Default::default() }, "cpu", "realtimePeriod", 9),
            (Resources { cpu_rt_runtime: Some(5), ..Default::default() }, "cpu", "realtimeRuntime", 5),
        ] {
            assert_eq!(shown(limits)[part], serde_json::json!({ key: value }), "{key}");
        }
        let built = shown(Resources { oom_kill_disable: true, ..Default::default() });
        assert_eq!(built["memory"]["disableOOMKiller"], true);
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
