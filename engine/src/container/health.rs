//! Health checks: what an image and a request say about them, and what came of the last ones.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Kind, Result};

/// Docker's values where nobody states others.
const INTERVAL: u64 = 30_000_000_000;
const TIMEOUT: u64 = 30_000_000_000;
const START_INTERVAL: u64 = 5_000_000_000;
const RETRIES: u32 = 3;

/// The record of checks in a container's directory.
pub const HEALTH: &str = "health.json";
/// How many results are kept.
pub const RESULTS: usize = 5;
/// How many bytes of a check's output are kept.
pub const OUTPUT_LIMIT: usize = 4096;

/// The `Healthcheck` object of an image's config; times in nanoseconds, 0 for Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthCheck {
    /// `["NONE"]`, or `CMD` and an argument vector, or `CMD-SHELL` and a line for the shell. Nothing takes the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// From the end of one check to the next.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// How long a check may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// How long after the start failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// The interval during the start period, until the first success.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// How many failures in a row make a container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u64,
}

/// When a check is made, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthTimes {
    /// From the end of one check to the next.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// How long after the start failures do not count.
    pub start_period: Duration,
    /// The interval during the start period, until the first success.
    pub start_interval: Duration,
    /// How many failures in a row make a container unhealthy.
    pub retries: u32,
}

impl HealthCheck {
    /// What an image's config has.
    pub fn of(value: &Value) -> Result<Self> {
        Self::deserialize(value).map_err(|error| {
            Error::refused(Kind::InvalidInput, format!("the image's health check is invalid: {error}"))
        })
    }

    /// A request's check over an image's: what is not stated comes from the image. A request with a check of its own takes
    /// only the times.
    #[must_use]
    pub fn over(self, image: Self) -> Self {
        let or = |own: u64, other: u64| if own == 0 { other } else { own };
        Self {
            test: self.test.or(image.test),
            interval: or(self.interval, image.interval),
            timeout: or(self.timeout, image.timeout),
            start_period: or(self.start_period, image.start_period),
            start_interval: or(self.start_interval, image.start_interval),
            retries: or(self.retries, image.retries),
        }
    }

    /// The argument vector of a check; `None` when there is none.
    pub fn command(&self, shell: Option<&[String]>) -> Option<Vec<String>> {
        let (form, rest) = self.test.as_deref()?.split_first()?;
        match form.as_str() {
            "CMD" if !rest.is_empty() => Some(rest.to_vec()),
            "CMD-SHELL" if !rest.is_empty() => {
                let shell = shell.map_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()], <[String]>::to_vec);
                Some(shell.into_iter().chain([rest.join(" ")]).collect())
            }
            _ => None,
        }
    }

    /// The times, with Docker's values where none is stated.
    pub fn times(&self) -> HealthTimes {
        let or = |own: u64, default: u64| Duration::from_nanos(if own == 0 { default } else { own });
        HealthTimes {
            interval: or(self.interval, INTERVAL),
            timeout: or(self.timeout, TIMEOUT),
            start_period: Duration::from_nanos(self.start_period),
            start_interval: or(self.start_interval, START_INTERVAL),
            retries: u32::try_from(self.retries).ok().filter(|retries| *retries > 0).unwrap_or(RETRIES),
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What checks have said, with Docker's keys. It is `HEALTH` in the container's directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// Failures since the last success that count.
    pub failing_streak: u32,
    /// The last results, oldest first.
    pub log: Vec<HealthResult>,
}

/// A verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// There is none yet.
    #[default]
    Starting,
    /// The last check that counts was good.
    Healthy,
    /// Too many were not.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthResult {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// 0 is healthy; -1 is a check that could not be made or took too long.
    pub exit_code: i32,
    /// What it said, or why there is nothing, cut at [`OUTPUT_LIMIT`] bytes.
    pub output: String,
}

impl Health {
    /// Takes a result in. `age` is how long before the check the container was started.
    pub fn take(&mut self, result: HealthResult, age: Duration, times: &HealthTimes) {
        if result.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if self.status != HealthStatus::Starting || age >= times.start_period {
            self.failing_streak += 1;
            if self.failing_streak >= times.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push(result);
        let excess = self.log.len().saturating_sub(RESULTS);
        self.log.drain(..excess);
    }

    /// How long to wait before the next check.
    pub fn pause(&self, age: Duration, times: &HealthTimes) -> Duration {
        let starts = self.status == HealthStatus::Starting && age < times.start_period;
        if starts { times.start_interval } else { times.interval }
    }
}

/// A duration as Go writes it: `1h30m`, `1.5s`, `100ms`, `0`. Not negative.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let wrong = || Error::refused(Kind::InvalidInput, format!("invalid duration `{}`", text.escape_debug()));
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|digits| *digits > 0);
        let (number, tail) = rest.split_at(digits.ok_or_else(wrong)?);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        total += number.parse::<f64>().map_err(|_| wrong())? * seconds;
        rest = tail;
    }
    let duration = Duration::try_from_secs_f64(total).ok().filter(|_| !text.is_empty());
    duration.filter(|duration| i64::try_from(duration.as_nanos()).is_ok()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_check_is_a_command() {
        for (test, wanted) in [
            (None, None),
            (Some("NONE"), None),
            (Some("CMD"), None),
            (Some("CMD curl -f x"), Some("curl -f x")),
            (Some("CMD-SHELL true || false"), Some("/bin/sh -c true || false")),
        ] {
            let check = HealthCheck { test: test.map(words), ..HealthCheck::default() };
            assert_eq!(check.command(None).map(|command| command.join(" ")).as_deref(), wanted, "{test:?}");
        }
        let check = HealthCheck { test: Some(words("CMD-SHELL x")), ..HealthCheck::default() };
        assert_eq!(check.command(Some(&words("/bin/ash -ec"))), Some(words("/bin/ash -ec x")));
    }

    #[test]
    fn a_request_lies_over_the_image() {
        let image = HealthCheck::of(&serde_json::json!(
            {"Test": ["CMD", "a"], "Interval": 5, "Retries": 7, "SomethingNew": 1}
        ));
        let image = image.unwrap();
        let own = HealthCheck { test: Some(words("CMD b")), interval: 9, ..HealthCheck::default() };
        let merged = own.over(image.clone());
        assert_eq!((merged.test, merged.interval, merged.retries), (Some(words("CMD b")), 9, 7));
        assert_eq!(HealthCheck::default().over(image.clone()), image);
        let times = image.times();
        assert_eq!(
            (times.interval, times.timeout, times.retries),
            (Duration::from_nanos(5), Duration::from_secs(30), 7)
        );
        assert!(HealthCheck::of(&serde_json::json!({"Test": 3})).is_err());
    }

    #[test]
    fn verdicts_follow_docker() {
        let check = HealthCheck { retries: 2, start_period: 10_000_000_000, ..HealthCheck::default() };
        let times = check.times();
        let mut health = Health::default();
        let (early, late) = (Duration::from_secs(1), Duration::from_secs(20));
        let result =
            |exit_code| HealthResult { start: String::new(), end: String::new(), exit_code, output: String::new() };
        for (code, age, status, streak) in [
            (1, early, HealthStatus::Starting, 0),
            (1, late, HealthStatus::Starting, 1),
            (0, late, HealthStatus::Healthy, 0),
            (-1, early, HealthStatus::Healthy, 1),
            (3, late, HealthStatus::Unhealthy, 2),
            (3, late, HealthStatus::Unhealthy, 3),
            (0, late, HealthStatus::Healthy, 0),
        ] {
            health.take(result(code), age, &times);
            assert_eq!((health.status, health.failing_streak), (status, streak), "{code} {age:?}");
        }
        assert_eq!(health.log.len(), RESULTS);
        assert_eq!(Health::default().pause(early, &times), Duration::from_secs(5));
        assert_eq!(Health::default().pause(late, &times), Duration::from_secs(30));
        assert_eq!(health.pause(early, &times), Duration::from_secs(30));
    }

    #[test]
    fn durations_are_gos() {
        for (text, millis) in
            [("0", 0), ("1h30m", 5_400_000), ("1.5s", 1500), ("100ms", 100), ("2000us", 2), ("1m1s", 61_000)]
        {
            assert_eq!(parse_duration(text).unwrap().as_millis(), millis, "{text}");
        }
        for text in ["", "1", "s", "1x", "-1s", "1s ", "1.2.3s", "99999999999999h"] {
            assert_eq!(parse_duration(text).unwrap_err().kind(), Kind::InvalidInput, "{text}");
        }
    }
}
