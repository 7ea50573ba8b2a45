//! Limits of a running container. What a request does not state stays as it is.

use std::path::Path;

use super::{Groups, Place};
use crate::bundle::devices::block_number;
use crate::container::{BlockIo, DeviceRate, Resources};
use crate::{Error, Kind, Result};

/// Microseconds of a scheduling period.
const PERIOD: u64 = 100_000;

/// Files and what is written into them, by the version of the control groups.
#[derive(Debug, Default, PartialEq, Eq)]
struct Files {
    first: Vec<(&'static str, String)>,
    second: Vec<(&'static str, String)>,
}

impl Files {
    fn put(&mut self, first: &'static str, second: &'static str, in_first: impl ToString, in_second: impl ToString) {
        self.first.push((first, in_first.to_string()));
        self.second.push((second, in_second.to_string()));
    }
}

impl Groups {
    /// Sets what is stated. `whole` is what holds afterwards, stated or not.
    pub(crate) fn limit(&self, stated: &Resources, whole: &Resources) -> Result<()> {
        let all = [
            ("memory", memory(stated, whole)),
            ("cpu", cpu(stated, whole)),
            ("cpuset", cpuset(stated)),
            ("pids", pids(stated)),
            ("blkio", block_io(&stated.block_io, &block_number)?),
        ];
        for (controller, files) in all {
            if files.first.is_empty() && files.second.is_empty() {
                continue;
            }
            let place = self.place(controller).ok_or_else(|| {
                Error::refused(Kind::Unsupported, format!("the container has no control group for `{controller}`"))
            })?;
            let (path, files) = match place {
                Place::First(path) => (path, files.first),
                Place::Second(path) => (path, files.second),
            };
            write(path, &files)?;
        }
        Ok(())
    }
}

/// Writes the files, once more where the kernel refuses: a limit of memory must not be above that of memory and swap at
/// any time, so which of the two comes first depends on what they were.
fn write(directory: &Path, files: &[(&'static str, String)]) -> Result<()> {
    let put = |(file, text): &(&str, String)| {
        let path = directory.join(file);
        fs_err::write(&path, text).map_err(Error::io("write", path))
    };
    let refused: Vec<_> = files.iter().filter(|file| put(file).is_err()).collect();
    refused.into_iter().try_for_each(|file| match put(file) {
        // Two schedulers of block devices have their own names for weights, and a kernel has one of them.
        Err(_) if is_other_scheduler(file.0, directory) => Ok(()),
        // A kernel that does not count swap has no file for it, and nothing to limit.
        Err(_) if file.0.contains("sw") && !directory.join(file.0).exists() => Ok(()),
        result => result,
    })
}

/// True for the file of a scheduler that this kernel has not, when that of the other is there.
fn is_other_scheduler(file: &str, directory: &Path) -> bool {
    let other = match file.contains("bfq.weight") {
        true => file.replace("bfq.weight", "weight"),
        false => file.replace("weight", "bfq.weight"),
    };
    other != file && !directory.join(file).exists() && directory.join(other).exists()
}

fn memory(stated: &Resources, whole: &Resources) -> Files {
    let mut files = Files::default();
    if let Some(limit) = stated.memory.filter(|limit| *limit > 0) {
        files.put("memory.limit_in_bytes", "memory.max", limit, limit);
    }
    if let (true, Some(limit)) = (stated.memory.is_some() || stated.memory_swap.is_some(), whole.memory) {
        let both = whole.memory_swap.filter(|both| *both != 0).unwrap_or(limit.saturating_mul(2));
        let swap = if both < 0 { "max".to_owned() } else { both.saturating_sub(limit).max(0).to_string() };
        files.put("memory.memsw.limit_in_bytes", "memory.swap.max", both, swap);
    }
    if let Some(reservation) = stated.memory_reservation {
        files.put("memory.soft_limit_in_bytes", "memory.low", reservation, reservation);
    }
    if let Some(swappiness) = stated.memory_swappiness {
        files.first.push(("memory.swappiness", swappiness.to_string()));
    }
    files
}

/// Shares and rates of block devices, which have a line for each device.
fn block_io(stated: &BlockIo, number: &dyn Fn(&Path) -> Result<(i64, i64)>) -> Result<Files> {
    // The runtimes' translation of 10 to 1000 into 1 to 10000.
    let translated = |weight: u16| 1 + (u64::from(weight) - 10) * 9999 / 990;
    let mut files = Files::default();
    if let Some(weight) = stated.weight {
        files.put("blkio.weight", "io.weight", weight, translated(weight));
        files.put("blkio.bfq.weight", "io.bfq.weight", weight, weight);
    }
    for device in &stated.weights {
        let (major, minor) = number(&device.path)?;
        let line = |weight: u64| format!("{major}:{minor} {weight}");
        files.put("blkio.weight_device", "io.weight", line(device.weight.into()), line(translated(device.weight)));
        let own = line(device.weight.into());
        files.put("blkio.bfq.weight_device", "io.bfq.weight", &own, &own);
    }
    for (rates, file, key) in [
        (&stated.read_bps, "blkio.throttle.read_bps_device", "rbps"),
        (&stated.write_bps, "blkio.throttle.write_bps_device", "wbps"),
        (&stated.read_iops, "blkio.throttle.read_iops_device", "riops"),
        (&stated.write_iops, "blkio.throttle.write_iops_device", "wiops"),
    ] {
        for DeviceRate { path, rate } in rates {
            let (major, minor) = number(path)?;
            files.put(file, "io.max", format!("{major}:{minor} {rate}"), format!("{major}:{minor} {key}={rate}"));
        }
    }
    Ok(files)
}

fn cpu(stated: &Resources, whole: &Resources) -> Files {
    let mut files = Files::default();
    if let Some(period) = stated.cpu_period {
        files.first.push(("cpu.cfs_period_us", period.to_string()));
    }
    if let Some(quota) = stated.cpu_quota {
        files.first.push(("cpu.cfs_quota_us", quota.to_string()));
    }
    if stated.cpu_period.is_some() || stated.cpu_quota.is_some() {
        // One file has both, so what is not stated is written again.
        let quota = whole.cpu_quota.filter(|quota| *quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
        files.second.push(("cpu.max", format!("{quota} {}", whole.cpu_period.unwrap_or(PERIOD))));
    }
    if let Some(milli) = stated.milli_cpus {
        let quota = milli * PERIOD / 1000;
        files.first.push(("cpu.cfs_period_us", PERIOD.to_string()));
        files.put("cpu.cfs_quota_us", "cpu.max", quota, format!("{quota} {PERIOD}"));
    }
    // Version 2 has no groups of the real-time scheduler. A period shorter than the time in it is refused, so here too the order
    // depends on what they were.
    if let Some(period) = stated.cpu_rt_period.filter(|period| *period != 0) {
        files.first.push(("cpu.rt_period_us", period.to_string()));
    }
    if let Some(runtime) = stated.cpu_rt_runtime.filter(|runtime| *runtime != 0) {
        files.first.push(("cpu.rt_runtime_us", runtime.to_string()));
    }
    if let Some(shares) = stated.cpu_shares.filter(|shares| *shares > 0) {
        // The runtimes' translation of 2 to 262144 into 1 to 10000.
        let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
        files.put("cpu.shares", "cpu.weight", shares, weight);
    }
    files
}

fn cpuset(stated: &Resources) -> Files {
    let mut files = Files::default();
    if let Some(list) = &stated.cpuset_cpus {
        files.put("cpuset.cpus", "cpuset.cpus", list, list);
    }
    if let Some(list) = &stated.cpuset_mems {
        files.put("cpuset.mems", "cpuset.mems", list, list);
    }
    files
}

fn pids(stated: &Resources) -> Files {
    let mut files = Files::default();
    if let Some(limit) = stated.pids {
        let text = if limit <= 0 { "max".to_owned() } else { limit.to_string() };
        files.put("pids.max", "pids.max", &text, &text);
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_files_in_both_versions() {
        let stated = Resources { memory: Some(64 << 20), milli_cpus: Some(1500), pids: Some(0), ..Default::default() };
        let files = memory(&stated, &stated);
        assert_eq!(files.first[1], ("memory.memsw.limit_in_bytes", (128 << 20).to_string()));
        assert_eq!(files.second[1], ("memory.swap.max", (64 << 20).to_string()));
        assert_eq!(cpu(&stated, &stated).second, [("cpu.max", "150000 100000".to_owned())]);
        assert_eq!(pids(&stated).first, [("pids.max", "max".to_owned())]);
        assert_eq!(cpuset(&stated), Files::default());
        let (quota, period) = (Some(20_000), Some(50_000));
        for (stated, before, wanted) in [
            (Resources { cpu_quota: quota, ..Default::default() }, Resources::default(), "20000 100000"),
            (
                Resources { cpu_period: period, ..Default::default() },
                Resources { cpu_quota: quota, ..Default::default() },
                "20000 50000",
            ),
            (Resources { cpu_quota: Some(-1), ..Default::default() }, Resources::default(), "max 100000"),
        ] {
            let whole = Resources {
                cpu_quota: stated.cpu_quota.or(before.cpu_quota),
                cpu_period: stated.cpu_period.or(before.cpu_period),
                ..Default::default()
            };
            assert_eq!(cpu(&stated, &whole).second, [("cpu.max", wanted.to_owned())]);
        }
        let shares = Resources { cpu_shares: Some(1024), ..Default::default() };
        assert_eq!(cpu(&shares, &shares).second, [("cpu.weight", "39".to_owned())]);
    }

    #[test]
    fn devices_have_a_line_each() {
        let rate = |path: &str, rate| DeviceRate { path: path.into(), rate };
        let limits = BlockIo {
            weight: Some(1000),
            read_bps: vec![rate("/dev/a", 7), rate("/dev/b", 8)],
            write_iops: vec![rate("/dev/b", 9)],
            ..BlockIo::default()
        };
        let number = |path: &Path| Ok((8, if path == Path::new("/dev/a") { 1 } else { 2 }));
        let files = block_io(&limits, &number).unwrap();
        let owned = |files: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
            files.iter().map(|(file, text)| (*file, (*text).to_owned())).collect()
        };
        assert_eq!(
            files.first,
            owned(&[
                ("blkio.weight", "1000"),
                ("blkio.bfq.weight", "1000"),
                ("blkio.throttle.read_bps_device", "8:1 7"),
                ("blkio.throttle.read_bps_device", "8:2 8"),
                ("blkio.throttle.write_iops_device", "8:2 9"),
            ])
        );
        assert_eq!(
            files.second,
            owned(&[
                ("io.weight", "10000"),
                ("io.bfq.weight", "1000"),
                ("io.max", "8:1 rbps=7"),
                ("io.max", "8:2 rbps=8"),
                ("io.max", "8:2 wiops=9"),
            ])
        );
        let group = tempfile::tempdir().unwrap();
        fs_err::write(group.path().join("io.bfq.weight"), "").unwrap();
        assert!(is_other_scheduler("io.weight", group.path()) && !is_other_scheduler("io.bfq.weight", group.path()));
        assert!(!is_other_scheduler("io.max", group.path()));
    }

    #[test]
    fn only_swap_that_is_not_counted_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("group");
        for (file, fine) in [("memory.swap.max", true), ("memory.memsw.limit_in_bytes", true), ("memory.max", false)] {
            assert_eq!(write(&missing, &[(file, "1".to_owned())]).is_ok(), fine, "{file}");
        }
    }
}
