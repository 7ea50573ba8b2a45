//! Points in time as people give them: RFC 3339, a date, seconds since 1970, or a span back from now.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Parses a point in time.
pub fn parse(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp);
    }
    let local = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(|date| date.at(0, 0, 0, 0)));
    // `17` alone is seconds since 1970, and jiff would read some digit strings as dates.
    if text.contains('-')
        && let Ok(local) = local
    {
        return Ok(local.to_zoned_datetime(TimeZone::system())?.timestamp());
    }
    if let Some(timestamp) = unix(text) {
        return Ok(timestamp);
    }
    if let Some(span) = span(text)
        && let Ok(timestamp) = now.checked_sub(span)
    {
        return Ok(timestamp);
    }
    anyhow::bail!("`{text}` is no time: give an RFC 3339 time, seconds since 1970, or a span such as `10m`")
}

/// Seconds since 1970, also with a fraction.
fn unix(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

/// A span as Go writes it: `1h30m`, `1.5s`, `100ms`.
fn span(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|&length| length > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..letters] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    (!text.is_empty()).then(|| SignedDuration::try_from_secs_f64(total).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().expect("valid");
        let cases = [
            ("2025-06-07T08:09:10Z", "2025-06-07T08:09:10Z"),
            ("2025-06-07T08:09:10.5+02:00", "2025-06-07T06:09:10.5Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("1750000000", "2025-06-15T15:06:40Z"),
            ("1750000000.25", "2025-06-15T15:06:40.25Z"),
            ("10m", "2026-01-02T02:54:05Z"),
            ("1h30m", "2026-01-02T01:34:05Z"),
            ("1.5s", "2026-01-02T03:04:03.5Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, now).expect(text).to_string(), expected, "{text}");
        }
        for text in ["", "x", "10", "5 m", "10y", "-"] {
            let parsed = parse(text, now);
            assert_eq!(parsed.is_ok(), text == "10", "{text}: {parsed:?}");
        }
        assert!(parse("2025-06-07", now).is_ok() && parse("2025-06-07T08:09:10", now).is_ok());
    }
}
