//! Sizes, ages and times in Docker's words.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A size in powers of 1000 with three significant digits: `72.8MB`, `1.09GB`, `0B`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes}B");
    }
    // Three digits are printed, so the 53 bits of a double are enough.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ => 2,
    };
    let digits = format!("{value:.decimals$}");
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{}", UNITS[unit])
}

/// A span of time: `Less than a second`, `3 minutes`, `About an hour`, `2 weeks`.
pub fn duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Docker rounds hours to the nearest and cuts everything longer.
    let hours = (seconds + 1800) / 3600;
    match seconds {
        ..=0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// The age of an RFC 3339 time, without `ago`.
pub fn age(created: &str, now: Timestamp) -> Option<String> {
    let created: Timestamp = created.parse().ok()?;
    Some(duration(now.as_second() - created.as_second()))
}

/// The age of an RFC 3339 time with `ago`, or `N/A` when there is none.
pub fn ago(created: Option<&str>, now: Timestamp) -> String {
    created.and_then(|created| age(created, now)).map_or_else(|| "N/A".to_owned(), |age| format!("{age} ago"))
}

/// A time of listings: `2026-01-31 12:00:00 +0000 UTC`.
pub fn local_time(created: &str) -> String {
    match created.parse::<Timestamp>() {
        Ok(timestamp) => timestamp.to_zoned_datetime(zone()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
        Err(_) => created.to_owned(),
    }
}

/// A time as RFC 3339 has it, in whole seconds and this machine's zone: `2026-01-31T12:00:00Z`.
pub fn whole_seconds(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(timestamp) => {
            let text = timestamp.to_zoned_datetime(zone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
            text.strip_suffix("+00:00").map_or(text.clone(), |utc| format!("{utc}Z"))
        }
        Err(_) => time.to_owned(),
    }
}

/// This machine's time zone, found once. Where `TZ` does not name one, it is what `/etc/localtime` holds (localtime(5));
/// `TimeZone::system` would look for the name of that by walking all of `/usr/share/zoneinfo`, which costs more than a listing.
fn zone() -> TimeZone {
    static ZONE: std::sync::OnceLock<TimeZone> = std::sync::OnceLock::new();
    ZONE.get_or_init(|| {
        if std::env::var_os("TZ").is_some() {
            return TimeZone::system();
        }
        let data = fs_err::read("/etc/localtime").unwrap_or_default();
        TimeZone::tzif("Local", &data).unwrap_or(TimeZone::UTC)
    })
    .clone()
}

/// Cuts a text to at most `limit` characters, the last of which is then `…`.
pub fn ellipsis(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(limit.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_no_idle_zeros() {
        let cases = [
            (0, "0B"),
            (1, "1B"),
            (999, "999B"),
            (1000, "1kB"),
            (1024, "1.02kB"),
            (7_800_000, "7.8MB"),
            (72_800_123, "72.8MB"),
            (187_600_000, "188MB"),
            (999_600_000, "1GB"),
            (1_090_000_000, "1.09GB"),
            (13_000_000_000, "13GB"),
            (100_000_000_000, "100GB"),
            (9_996, "10kB"),
            (u64::MAX, "18.4EB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn durations_are_dockers() {
        let hour = 3600;
        let day = 24 * hour;
        let cases = [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (59 * 60, "59 minutes"),
            (hour, "About an hour"),
            (hour + 1799, "About an hour"),
            (hour + 1800, "2 hours"),
            (47 * hour, "47 hours"),
            (2 * day, "2 days"),
            (13 * day, "13 days"),
            (14 * day, "2 weeks"),
            (59 * day, "8 weeks"),
            (60 * day, "2 months"),
            (700 * day, "23 months"),
            (730 * day, "2 years"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn times_without_a_date_are_said_to_have_none() {
        let now = Timestamp::from_second(1_000_000).expect("in range");
        assert_eq!(ago(None, now), "N/A");
        assert_eq!(ago(Some("nonsense"), now), "N/A");
        assert_eq!(ago(Some("1970-01-12T13:46:30Z"), now), "10 seconds ago");
    }

    #[test]
    fn long_texts_end_in_an_ellipsis() {
        assert_eq!(ellipsis("short", 5), "short");
        assert_eq!(ellipsis("longer", 5), "long…");
        assert_eq!(ellipsis("äöüß€", 4), "äöü…");
    }
}
