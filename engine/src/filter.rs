//! What listings and prunes share of `--filter`: label tests, points in time and shell patterns.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{Error, Kind, Result};

/// Refuses filters that a verb does not know, naming those it knows.
pub(crate) fn known(filters: &[(String, String)], names: &[&str]) -> Result<()> {
    match filters.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => Err(Error::refused(Kind::InvalidInput, format!("invalid filter `{}`", name.escape_debug()))
            .with_hint(format!("the filters are {}", names.join(", ")))),
    }
}

/// Docker's spellings of a boolean.
pub(crate) fn boolean(name: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::refused(Kind::InvalidInput, format!("invalid value `{value}` of filter `{name}`"))
            .with_hint("it is `true` or `false`")),
    }
}

/// `label=key` asks for a key, `label=key=value` for a value too.
pub(crate) fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        None => labels.contains_key(wanted),
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
    }
}

/// A point in time as `until=` has it: RFC 3339, a date, seconds since the epoch, or a duration back from now (`10m`).
pub(crate) fn point_in_time(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Some(time) = text.parse::<i64>().ok().and_then(|seconds| Timestamp::from_second(seconds).ok()) {
        return Ok(time);
    }
    if let Some(time) = jiff_civil(text) {
        return Ok(time);
    }
    duration(text).and_then(|back| now.checked_sub(back).ok()).ok_or_else(|| {
        Error::refused(Kind::InvalidInput, format!("`{text}` is not a time"))
            .with_hint("write a time as 2006-01-02T15:04:05Z, a date as 2006-01-02, or how long ago as 1h30m")
    })
}

/// A date or a time without a zone, which is this machine's.
fn jiff_civil(text: &str) -> Option<Timestamp> {
    let zone = jiff::tz::TimeZone::system();
    let civil = text.parse::<jiff::civil::DateTime>().ok()?;
    zone.to_timestamp(civil).ok()
}

/// A duration as Go writes it: `1h30m`, `1.5h`, `300ms`.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = tail;
    }
    (!text.is_empty()).then(|| SignedDuration::try_from_secs_f64(total).ok()).flatten()
}

/// Matches a shell pattern (`*`, `?`, `[a-z]`, `\x`) in which no wildcard crosses a `/`.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    matches(pattern.as_bytes(), text.as_bytes())
}

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let Some((&first, rest)) = pattern.split_first() else { return text.is_empty() };
    match first {
        b'*' => {
            let reach = text.iter().position(|&byte| byte == b'/').unwrap_or(text.len());
            (0..=reach).any(|taken| matches(rest, &text[taken..]))
        }
        b'?' => matches!(text.split_first(), Some((&byte, tail)) if byte != b'/' && matches(rest, tail)),
        b'[' => match (class(rest), text.split_first()) {
            (Some((set, rest)), Some((&byte, tail))) => byte != b'/' && set.contains(byte) && matches(rest, tail),
            _ => false,
        },
        b'\\' => match (rest.split_first(), text.split_first()) {
            (Some((&literal, rest)), Some((&byte, tail))) => literal == byte && matches(rest, tail),
            _ => false,
        },
        literal => matches!(text.split_first(), Some((&byte, tail)) if byte == literal && matches(rest, tail)),
    }
}

/// A bracket expression.
struct Class<'a> {
    negated: bool,
    body: &'a [u8],
}

fn class(pattern: &[u8]) -> Option<(Class<'_>, &[u8])> {
    let (negated, body) = match pattern.split_first()? {
        (b'^' | b'!', rest) => (true, rest),
        _ => (false, pattern),
    };
    let end = body.iter().skip(1).position(|&byte| byte == b']')? + 1;
    Some((Class { negated, body: &body[..end] }, &body[end + 1..]))
}

impl Class<'_> {
    fn contains(&self, byte: u8) -> bool {
        let mut body = self.body;
        let mut found = false;
        while let Some((&low, rest)) = body.split_first() {
            let (high, rest) = match rest {
                [b'-', high, rest @ ..] => (*high, rest),
                _ => (low, rest),
            };
            found |= (low..=high).contains(&byte);
            body = rest;
        }
        found != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("b?sybox", "busybox", true),
            ("?", "/", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("[a", "a", false),
            ("", "", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn times_are_points_or_distances() {
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z"),
            ("1767225600", "2026-01-01T00:00:00Z"),
            ("1h30m", "2026-01-02T10:30:00Z"),
            ("1.5h", "2026-01-02T10:30:00Z"),
            ("2d", "2025-12-31T12:00:00Z"),
        ] {
            assert_eq!(point_in_time(text, now).unwrap(), expected.parse::<Timestamp>().unwrap(), "{text}");
        }
        for text in ["", "yesterday", "1x", "h"] {
            assert_eq!(point_in_time(text, now).unwrap_err().kind(), Kind::InvalidInput, "{text}");
        }
    }

    #[test]
    fn labels_are_asked_for_by_key_or_value() {
        let labels = BTreeMap::from([("a".to_owned(), "b=c".to_owned())]);
        for (wanted, expected) in [("a", true), ("a=b=c", true), ("a=b", false), ("b", false)] {
            assert_eq!(has_label(&labels, wanted), expected, "{wanted}");
        }
    }
}
