//! What this process may give away: ids and device nodes. In a user namespace only mapped ids exist, and no devices.

use std::sync::OnceLock;

/// The first id of each mapped range and its length, as `/proc/self/uid_map` has them.
fn ranges(file: &'static str, known: &'static OnceLock<Vec<(u32, u32)>>) -> &'static [(u32, u32)] {
    known.get_or_init(|| {
        let table = fs_err::read_to_string(file).unwrap_or_default();
        let line = |line: &str| {
            let mut fields = line.split_whitespace();
            let first = fields.next()?.parse().ok()?;
            Some((first, fields.nth(1)?.parse().ok()?))
        };
        table.lines().filter_map(line).collect()
    })
}

fn mapped(id: u32, ranges: &[(u32, u32)]) -> u32 {
    let known = ranges.iter().any(|&(first, length)| id >= first && id - first < length);
    if known { id } else { 0 }
}

/// This user id where it exists, else root's.
pub(crate) fn uid(id: u32) -> u32 {
    static KNOWN: OnceLock<Vec<(u32, u32)>> = OnceLock::new();
    mapped(id, ranges("/proc/self/uid_map", &KNOWN))
}

/// This group id where it exists, else root's.
pub(crate) fn gid(id: u32) -> u32 {
    static KNOWN: OnceLock<Vec<(u32, u32)>> = OnceLock::new();
    mapped(id, ranges("/proc/self/gid_map", &KNOWN))
}

/// Whether this process lives in the first user namespace, where root may make devices and `trusted.` attributes.
pub(crate) fn initial_namespace() -> bool {
    static KNOWN: OnceLock<Vec<(u32, u32)>> = OnceLock::new();
    ranges("/proc/self/uid_map", &KNOWN) == [(0, u32::MAX)]
}
