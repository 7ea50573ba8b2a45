//! How long a server is waited for, and when it is asked again.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;

/// Bounds of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often in a row something is tried without getting any further.
    pub attempts: u32,
    /// The first pause; each further one is twice as long, and a random part is taken off.
    pub pause: Duration,
    /// The longest pause, and the longest `Retry-After` that is kept.
    pub longest_pause: Duration,
    /// For a connection to come about.
    pub connect: Duration,
    /// For the next bytes of an answer.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
        }
    }
}

impl Patience {
    /// How long to pause before the try after `failed` failed ones; `asked` is what the server wants. `None`: the server
    /// wants more than anybody waits for.
    pub(crate) fn pause(&self, failed: u32, asked: Option<Duration>) -> Option<Duration> {
        if let Some(asked) = asked {
            return (asked <= self.longest_pause).then_some(asked);
        }
        let whole = self.pause.saturating_mul(1 << failed.saturating_sub(1).min(10)).min(self.longest_pause);
        Some(whole.mul_f64(0.5 + fastrand::f64() / 2.0))
    }
}

/// True for answers that may be others a moment later.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// What `Retry-After` asks for: seconds, or a date (RFC 9110 section 10.2.3).
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_waited_for_within_reason() {
        let patience = Patience::default();
        for (failed, least, most) in [(1, 250, 500), (2, 500, 1000), (4, 2000, 4000), (30, 30_000, 60_000)] {
            let pause = patience.pause(failed, None).unwrap().as_millis();
            assert!((least..=most).contains(&pause), "{failed}: {pause}");
        }
        let asked = |seconds| patience.pause(1, Some(Duration::from_secs(seconds)));
        assert_eq!((asked(7), asked(1_000_000)), (Some(Duration::from_secs(7)), None));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "1994-11-06T08:49:37Z".parse().unwrap();
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value}");
        }
    }
}
