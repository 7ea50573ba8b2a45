//! Rows of `stats`.

use mica_engine::cgroup::Figures;
use mica_engine::ops::stats::Sample;

use super::row::Detail;
use super::{Row, short_id};
use crate::output::human;
use crate::output::listing::Columns;

/// The columns of `stats`.
pub const STATS: Columns = Columns {
    headings: &[
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    quiet: "{{.ID}}",
};

/// What a container uses, and how much a processor did since an earlier look.
pub fn row(sample: &Sample, earlier: Option<Figures>, detail: Detail) -> Row {
    let now = sample.figures.unwrap_or_default();
    let whole = detail == Detail::Whole;
    let id = short_id(&sample.record.id, whole);
    let memory = percent(now.memory, now.memory_limit, 1);
    let cpu = earlier.map_or(0.0, |earlier| {
        let used = now.cpu.saturating_sub(earlier.cpu);
        percent(used, now.system.saturating_sub(earlier.system), now.processors)
    });
    super::row([
        ("Container", id.clone().into()),
        ("ID", id.into()),
        ("Name", sample.record.name.clone().into()),
        ("CPUPerc", format!("{cpu:.2}%").into()),
        ("MemUsage", format!("{} / {}", binary_size(now.memory), binary_size(now.memory_limit)).into()),
        ("MemPerc", format!("{memory:.2}%").into()),
        ("NetIO", format!("{} / {}", human::size(now.received), human::size(now.sent)).into()),
        ("BlockIO", format!("{} / {}", human::size(now.read), human::size(now.written)).into()),
        ("PIDs", now.pids.to_string().into()),
    ])
}

/// A part of a whole, of which there are so many.
#[expect(clippy::cast_precision_loss, reason = "two decimals are printed, so the 53 bits of a double are enough")]
fn percent(part: u64, whole: u64, times: u32) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * f64::from(times) * 100.0 }
}

/// A size in powers of 1024 with four significant digits: `1.5MiB`, `15.6GiB`, `0B`.
fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    #[expect(clippy::cast_precision_loss, reason = "four digits are printed")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 || value >= 1000.0 => 0,
        _ if value >= 100.0 => 1,
        _ if value >= 10.0 => 2,
        _ => 3,
    };
    let digits = format!("{value:.decimals$}");
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1536, "1.5KiB"),
            (1 << 30, "1GiB"),
            (16_777_216_000, "15.62GiB"),
            (123 << 20, "123MiB"),
        ] {
            assert_eq!(binary_size(bytes), text);
        }
    }

    #[test]
    fn processors_are_counted_one_by_one() {
        assert!((percent(500, 1000, 4) - 200.0).abs() < 1e-9);
        assert!(percent(1, 0, 4).abs() < 1e-9);
    }
}
