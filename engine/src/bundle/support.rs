//! Which limits this kernel can set. What it cannot is taken out of a request with a warning in Docker's words, or refused
//! where Docker refuses it: nothing is left out in silence.

use std::path::Path;

use super::host::{self, CGROUPS};
use crate::container::Resources;
use crate::{Error, Kind, Result};

/// What of the control groups' files there is.
pub struct Facts<'a> {
    /// True when there is one hierarchy for everything.
    pub v2: bool,
    /// With version 2, the controllers of the root.
    pub controllers: Vec<String>,
    /// With version 1, whether a hierarchy has a file, as in `memory/memory.swappiness`.
    pub has_file: &'a dyn Fn(&str) -> bool,
    /// Processors that are online.
    pub processors: u64,
}

impl std::fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts").field("v2", &self.v2).field("controllers", &self.controllers).finish_non_exhaustive()
    }
}

impl Facts<'_> {
    /// Asks the kernel. `confined` is whether this program lives in a user namespace; without groups of its own it can set
    /// nothing there.
    pub fn read(confined: bool) -> Facts<'static> {
        let text = fs_err::read_to_string(Path::new(CGROUPS).join("cgroup.controllers")).ok();
        let hierarchies = || if text.is_some() { Vec::new() } else { host::hierarchies() };
        if confined && !host::are_delegated(&hierarchies()) {
            return Facts { controllers: Vec::new(), has_file: &|_| false, ..Self::with(text) };
        }
        Self::with(text)
    }

    fn with(text: Option<String>) -> Facts<'static> {
        Facts {
            v2: text.is_some(),
            controllers: text.unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            has_file: &|file| Path::new(CGROUPS).join(file).exists(),
            processors: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
        }
    }

    /// `file` is what version 1 needs, `controller` what version 2 needs; `None` is what version 2 does not have at all.
    fn can(&self, file: &str, controller: Option<&str>) -> bool {
        match controller {
            _ if !self.v2 => (self.has_file)(file),
            Some(name) => self.controllers.iter().any(|known| known == name),
            None => false,
        }
    }
}

/// Takes out of a request what cannot be set, and says so.
pub fn fit(limits: &mut Resources, facts: &Facts<'_>) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    memory(limits, facts, &mut warnings);
    processors(limits, facts, &mut warnings)?;
    if limits.pids.is_some_and(|limit| limit > 0) && !facts.can("pids/cgroup.procs", Some("pids")) {
        limits.pids = None;
        warnings.push(missing("PIDs limit capabilities", "PIDs limit discarded"));
    }
    block_io(limits, facts, &mut warnings);
    Ok(warnings)
}

fn memory(limits: &mut Resources, facts: &Facts<'_>, warnings: &mut Vec<String>) {
    let limited = limits.memory.is_some_and(|limit| limit > 0);
    if limited && !facts.can("memory/memory.limit_in_bytes", Some("memory")) {
        limits.memory = None;
        limits.memory_swap = None;
        warnings.push(missing("memory limit capabilities", "Limitation discarded"));
    }
    if limits.memory.is_some() && limited && !facts.can("memory/memory.memsw.limit_in_bytes", Some("memory")) {
        // Without a limit of memory and swap together, -1 is what sets none.
        limits.memory_swap = Some(-1);
        warnings.push(missing("swap limit capabilities", "Memory limited without swap"));
    }
    if limits.memory_swappiness.is_some() && !facts.can("memory/memory.swappiness", None) {
        limits.memory_swappiness = None;
        warnings.push(missing("memory swappiness capabilities", "Memory swappiness discarded"));
    }
    if limits.memory_reservation.is_some_and(|bytes| bytes > 0)
        && !facts.can("memory/memory.soft_limit_in_bytes", Some("memory"))
    {
        limits.memory_reservation = None;
        warnings.push(missing("memory soft limit capabilities", "Limitation discarded"));
    }
    if limits.oom_kill_disable && !facts.can("memory/memory.oom_control", None) {
        limits.oom_kill_disable = false;
        warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".into());
    }
    if limits.oom_kill_disable && limits.memory.is_none() {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running \
             out of resources."
                .into(),
        );
    }
}

fn processors(limits: &mut Resources, facts: &Facts<'_>, warnings: &mut Vec<String>) -> Result<()> {
    let refused = |message: String| Err(Error::refused(Kind::InvalidInput, message));
    let cfs = facts.can("cpu/cpu.cfs_quota_us", Some("cpu"));
    if limits.milli_cpus.is_some() && !cfs {
        return refused("NanoCPUs can not be set, as your kernel does not support CPU cfs period/quota or the cgroup is not mounted".into());
    }
    if limits.milli_cpus.is_some_and(|cpus| cpus > facts.processors * 1000) {
        let count = facts.processors;
        return refused(format!("range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"));
    }
    let realtime = limits.cpu_rt_period.is_some() || limits.cpu_rt_runtime.is_some();
    if realtime && !facts.can("cpu/cpu.rt_runtime_us", None) {
        return refused("your kernel does not support CPU real-time scheduler".into());
    }
    if (limits.cpu_period.is_some() || limits.cpu_quota.is_some()) && !cfs {
        limits.cpu_period = None;
        limits.cpu_quota = None;
        warnings.push(missing("CPU CFS period/quota", "Period and quota discarded"));
    }
    if limits.cpu_shares.is_some() && !facts.can("cpu/cpu.shares", Some("cpu")) {
        limits.cpu_shares = None;
        warnings.push(missing("CPU shares", "Shares discarded"));
    }
    if (limits.cpuset_cpus.is_some() || limits.cpuset_mems.is_some())
        && !facts.can("cpuset/cpuset.cpus", Some("cpuset"))
    {
        limits.cpuset_cpus = None;
        limits.cpuset_mems = None;
        warnings.push(missing("cpuset", "Cpuset discarded"));
    }
    Ok(())
}

fn block_io(limits: &mut Resources, facts: &Facts<'_>, warnings: &mut Vec<String>) {
    let either = |old: &str, new: &str| facts.can(old, Some("io")) || facts.can(new, Some("io"));
    let io = &mut limits.block_io;
    if io.weight.is_some() && !either("blkio/blkio.weight", "blkio/blkio.bfq.weight") {
        io.weight = None;
        warnings.push(missing("Block I/O weight", "Weight discarded"));
    }
    if !io.weights.is_empty() && !either("blkio/blkio.weight_device", "blkio/blkio.bfq.weight_device") {
        io.weights.clear();
        warnings.push(missing("Block I/O weight_device", "Weight-device discarded"));
    }
    for (rates, file, what) in [
        (&mut io.read_bps, "blkio/blkio.throttle.read_bps_device", "BPS Block I/O read limit"),
        (&mut io.write_bps, "blkio/blkio.throttle.write_bps_device", "BPS Block I/O write limit"),
        (&mut io.read_iops, "blkio/blkio.throttle.read_iops_device", "IOPS Block read limit"),
        (&mut io.write_iops, "blkio/blkio.throttle.write_iops_device", "IOPS Block write limit"),
    ] {
        if !rates.is_empty() && !facts.can(file, Some("io")) {
            rates.clear();
            warnings.push(missing(what, &format!("{what} discarded")));
        }
    }
}

fn missing(what: &str, consequence: &str) -> String {
    format!("Your kernel does not support {what} or the cgroup is not mounted. {consequence}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{BlockIo, parse_bytes_rate, parse_device_weight};

    fn everything() -> Resources {
        Resources {
            memory: Some(64 << 20),
            memory_reservation: Some(32 << 20),
            memory_swappiness: Some(10),
            oom_kill_disable: true,
            cpu_shares: Some(2),
            cpu_period: Some(1000),
            cpuset_cpus: Some("0".into()),
            pids: Some(10),
            block_io: BlockIo {
                weight: Some(10),
                weights: vec![parse_device_weight("/dev/a:10").unwrap()],
                read_bps: vec![parse_bytes_rate("/dev/a:1").unwrap()],
                ..Default::default()
            },
            ..Default::default()
        }
    }

    fn facts<'a>(v2: bool, controllers: &str, has_file: &'a dyn Fn(&str) -> bool) -> Facts<'a> {
        Facts { v2, controllers: controllers.split_whitespace().map(str::to_owned).collect(), has_file, processors: 2 }
    }

    #[test]
    fn a_whole_version_1_keeps_everything() {
        let mut limits = everything();
        assert_eq!(fit(&mut limits, &facts(false, "", &|_| true)).unwrap(), Vec::<String>::new());
        assert_eq!(limits, everything());
    }

    #[test]
    fn version_2_has_no_swappiness_and_no_way_to_disable_the_killer() {
        let mut limits = everything();
        let all = facts(true, "cpuset cpu io memory pids", &|_| false);
        assert_eq!(
            fit(&mut limits, &all).unwrap(),
            [
                "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness \
                 discarded.",
                "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
            ]
        );
        assert_eq!(limits, Resources { memory_swappiness: None, oom_kill_disable: false, ..everything() });
        let mut realtime = Resources { cpu_rt_runtime: Some(1), ..Default::default() };
        assert!(fit(&mut realtime, &all).unwrap_err().to_string().contains("real-time"));
    }

    #[test]
    fn every_missing_controller_has_its_warning() {
        for (v2, expected) in [(true, 11), (false, 11)] {
            let mut limits = everything();
            let warnings = fit(&mut limits, &facts(v2, "", &|_| false)).unwrap();
            assert_eq!(warnings.len(), expected, "{warnings:#?}");
            assert_eq!(limits, Resources::default(), "nothing is left");
        }
    }

    #[test]
    fn hybrid_is_version_1_with_what_its_hierarchies_have() {
        // A kernel with BFQ's statistics but without its weights, and with control of swap.
        let files = |file: &str| !file.contains("weight");
        let mut limits = everything();
        let warnings = fit(&mut limits, &facts(false, "", &files)).unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:#?}");
        assert!(limits.block_io.weight.is_none() && limits.block_io.read_bps.len() == 1);
        let bfq = |file: &str| !file.ends_with("blkio.weight") && !file.ends_with("blkio.weight_device");
        assert!(fit(&mut everything(), &facts(false, "", &bfq)).unwrap().is_empty());
    }

    #[test]
    fn more_processors_than_there_are_is_refused() {
        let mut limits = Resources { milli_cpus: Some(2001), ..Default::default() };
        let error = fit(&mut limits, &facts(true, "cpu", &|_| true)).unwrap_err();
        assert!(error.to_string().contains("only 2 CPUs"), "{error}");
        limits.milli_cpus = Some(2000);
        assert!(fit(&mut limits, &facts(true, "cpu", &|_| true)).unwrap().is_empty());
        assert!(fit(&mut limits, &facts(true, "", &|_| true)).is_err());
        let mut alone = Resources { oom_kill_disable: true, ..Default::default() };
        assert_eq!(fit(&mut alone, &facts(false, "", &|_| true)).unwrap().len(), 1);
    }
}
