//! What a container uses, as its control groups count it.

use std::path::Path;

use super::{Groups, Place};

/// What a container uses or has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Nanoseconds of processor time.
    pub cpu: u64,
    /// Nanoseconds of processor time of the whole machine, idle time too.
    pub system: u64,
    /// Processors of the machine.
    pub processors: u32,
    /// Bytes of memory, without the page cache that the kernel can drop at once.
    pub memory: u64,
    /// Bytes of memory it may use; the machine's memory when nobody has limited it.
    pub memory_limit: u64,
    /// Bytes received by network interfaces of its own.
    pub received: u64,
    /// Bytes sent by them.
    pub sent: u64,
    /// Bytes read from block devices.
    pub read: u64,
    /// Bytes written to them.
    pub written: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl Groups {
    /// Measures, except for networks, which are no business of control groups.
    pub(crate) fn measure(&self) -> Figures {
        let host = fs_err::read_to_string("/proc/meminfo").unwrap_or_default();
        let host = keyed(&host.replace(':', " "), "MemTotal").unwrap_or(0) * 1024;
        let (system, processors) = machine(&fs_err::read_to_string("/proc/stat").unwrap_or_default());
        let (memory, memory_limit) = self.place("memory").map_or((0, 0), memory);
        let (read, written) = self.place("blkio").map_or((0, 0), blocks);
        Figures {
            cpu: self.place("cpuacct").map_or(0, cpu),
            system,
            processors,
            memory,
            memory_limit: if memory_limit == 0 { host } else { memory_limit.min(host) },
            received: 0,
            sent: 0,
            read,
            written,
            pids: self.place("pids").and_then(|place| number(place.path(), "pids.current")).unwrap_or(0),
        }
    }
}

/// Bytes that a process's network interfaces other than loopback have received and sent (`/proc/<pid>/net/dev`).
pub(crate) fn network(text: &str) -> (u64, u64) {
    let lines = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    let counts = lines.map(|(_, counts)| {
        let counts: Vec<u64> = counts.split_whitespace().map(|count| count.parse().unwrap_or(0)).collect();
        (counts.first().copied().unwrap_or(0), counts.get(8).copied().unwrap_or(0))
    });
    counts.fold((0, 0), |(received, sent), (more, out)| (received + more, sent + out))
}

fn read(directory: &Path, file: &str) -> String {
    fs_err::read_to_string(directory.join(file)).unwrap_or_default()
}

fn number(directory: &Path, file: &str) -> Option<u64> {
    read(directory, file).trim().parse().ok()
}

/// The number behind a key in lines of keys and numbers.
fn keyed(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| if words.next() == Some(key) { words.next()?.parse().ok() } else { None })
}

/// All time of all processors in nanoseconds, and how many there are (proc_stat(5)). The unit is 1/100 s on every
/// architecture.
fn machine(stat: &str) -> (u64, u32) {
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let total: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    let processors = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
    (total * 10_000_000, processors as u32)
}

fn cpu(place: Place<'_>) -> u64 {
    match place {
        Place::First(path) => number(path, "cpuacct.usage").unwrap_or(0),
        Place::Second(path) => keyed(&read(path, "cpu.stat"), "usage_usec").unwrap_or(0) * 1000,
    }
}

fn memory(place: Place<'_>) -> (u64, u64) {
    let stat = read(place.path(), "memory.stat");
    let (usage, inactive, limit) = match place {
        Place::First(path) => {
            (number(path, "memory.usage_in_bytes"), "total_inactive_file", number(path, "memory.limit_in_bytes"))
        }
        Place::Second(path) => (number(path, "memory.current"), "inactive_file", number(path, "memory.max")),
    };
    let usage = usage.unwrap_or(0);
    (usage.saturating_sub(keyed(&stat, inactive).unwrap_or(0)), limit.unwrap_or(0))
}

fn blocks(place: Place<'_>) -> (u64, u64) {
    match place {
        Place::First(path) => {
            let text = read(path, "blkio.throttle.io_service_bytes");
            let sum = |word: &str| {
                let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
                let counts = lines.filter(|words| words.get(1) == Some(&word));
                counts.filter_map(|words| words.get(2)?.parse::<u64>().ok()).sum()
            };
            (sum("Read"), sum("Write"))
        }
        Place::Second(path) => {
            let text = read(path, "io.stat");
            let sum = |key: &str| {
                text.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok()).sum()
            };
            (sum("rbytes="), sum("wbytes="))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_files_of_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| fs_err::write(dir.path().join(file), text).unwrap();
        put("cpuacct.usage", "77\n");
        put("cpu.stat", "usage_usec 5\nuser_usec 1\n");
        put("memory.usage_in_bytes", "1000\n");
        put("memory.limit_in_bytes", "9223372036854771712\n");
        put("memory.current", "500\n");
        put("memory.max", "max\n");
        put("memory.stat", "inactive_file 100\ntotal_inactive_file 300\n");
        put("blkio.throttle.io_service_bytes", "8:0 Read 5\n8:0 Write 6\n8:16 Read 7\nTotal 18\n");
        put("io.stat", "8:0 rbytes=11 wbytes=12 rios=1\n8:16 rbytes=1 wbytes=1\n");
        let (first, second) = (Place::First(dir.path()), Place::Second(dir.path()));
        assert_eq!((cpu(first), cpu(second)), (77, 5000));
        assert_eq!((memory(first), memory(second)), ((700, 9_223_372_036_854_771_712), (400, 0)));
        assert_eq!((blocks(first), blocks(second)), ((12, 6), (12, 13)));
    }

    #[test]
    fn machines_and_interfaces_are_summed() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1\ncpu1 0 0\nintr 5\n";
        assert_eq!(machine(stat), (360_000_000, 2));
        let interfaces = "Inter-| Receive\n face |bytes\n    lo: 9 0 0 0 0 0 0 0 9 0\n  eth0: 5 1 0 0 0 0 0 0 7 1\n eth1:1 0 0 0 0 0 0 0 1 0\n";
        assert_eq!(network(interfaces), (6, 8));
    }
}
