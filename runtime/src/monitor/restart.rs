//! Whether and when the container is started again. What the process did, the policy and the time it ran decide; a mark of
//! somebody's wish to stop it, or a signal to the monitor, overrules them.

use std::path::Path;
use std::time::Duration;

use mica_engine::container::RestartPolicy;
use mica_engine::runtime::{RESTART, STOPPED};

use crate::record;

/// Docker's pauses: the first, and the longest that doubling it leads to.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
/// A process that ran for so long was not one that could not start.
const LONG_RUN: Duration = Duration::from_secs(10);

/// The restarts of one container since somebody started it.
#[derive(Debug)]
pub struct Restarts<'a> {
    policy: RestartPolicy,
    state_dir: &'a Path,
    count: u32,
    pause: Option<Duration>,
}

impl<'a> Restarts<'a> {
    /// None yet.
    pub fn new(policy: RestartPolicy, state_dir: &'a Path) -> Self {
        Self { policy, state_dir, count: 0, pause: None }
    }

    /// How many there were.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// True when somebody has stopped the container.
    pub fn is_stopped(&self) -> bool {
        self.state_dir.join(STOPPED).exists()
    }

    /// How long to wait before the next start, or `None` when there is none. Counts it.
    pub fn after(&mut self, code: i32, ran: Duration) -> Option<Duration> {
        if self.is_stopped() {
            return None;
        }
        if let Ok(policy) = record::read(&self.state_dir.join(RESTART)) {
            self.policy = policy;
        }
        if !self.policy.restarts(code, self.count) {
            return None;
        }
        let pause = match self.pause {
            Some(pause) if ran < LONG_RUN => (pause * 2).min(LONGEST),
            _ => FIRST,
        };
        self.pause = Some(pause);
        self.count += 1;
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_minute_and_a_long_run_resets_them() {
        let directory = tempfile::tempdir().unwrap();
        let mut restarts = Restarts::new(RestartPolicy::Always, directory.path());
        let second = Duration::from_secs(1);
        let pauses: Vec<u128> = (0..12).map(|_| restarts.after(1, second).unwrap().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(restarts.after(0, LONG_RUN), Some(FIRST));
        assert_eq!(restarts.count(), 13);
    }

    #[test]
    fn a_mark_and_a_later_policy_overrule_the_request() {
        let directory = tempfile::tempdir().unwrap();
        let mut restarts = Restarts::new(RestartPolicy::No, directory.path());
        assert_eq!(restarts.after(1, LONG_RUN), None);
        record::write(&directory.path().join(RESTART), &RestartPolicy::OnFailure { retries: 1 }).unwrap();
        assert_eq!(restarts.after(1, LONG_RUN), Some(FIRST));
        assert_eq!(restarts.after(1, LONG_RUN), None, "one retry");
        record::write(&directory.path().join(RESTART), &RestartPolicy::Always).unwrap();
        fs_err::write(directory.path().join(STOPPED), "").unwrap();
        assert_eq!(restarts.after(1, LONG_RUN), None);
    }
}
