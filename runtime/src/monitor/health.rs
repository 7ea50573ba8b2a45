//! Health checks: when the next one is due, the child that makes it, and what its result means.
//!
//! A container without a check has none of this: no timer, no file.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mica_engine::container::{HEALTH, Health, HealthResult, HealthTimes};
use mica_engine::runtime::{ExecRequest, StartRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::io::Errno;

use crate::failure::Failure;
use crate::{probe, record};

/// How much longer than a check may take its child is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// The health of the process that runs.
#[derive(Debug)]
pub struct Watch {
    exec: ExecRequest,
    times: HealthTimes,
    record: PathBuf,
    health: Health,
    started: Instant,
    due: Instant,
    check: Option<Check>,
}

/// A check that is being made.
#[derive(Debug)]
struct Check {
    pid: Pid,
    report: OwnedFd,
    bytes: Vec<u8>,
    age: Duration,
    start: String,
    deadline: Instant,
}

impl Watch {
    /// The watch over a process that has just been started, if one was asked for. Its record is then a new one.
    pub fn begin(request: &StartRequest) -> Result<Option<Self>, Failure> {
        let Some(plan) = &request.health else { return Ok(None) };
        let exec = ExecRequest {
            id: request.id.clone(),
            run_dir: request.run_dir.clone(),
            spec: plan.process.clone(),
            terminal_size: None,
            stdin: false,
            detach: false,
            events: request.events.clone(),
        };
        let now = Instant::now();
        let health = Health::default();
        let record = request.state_dir.join(HEALTH);
        record::write(&record, &health)?;
        let due = now + health.pause(Duration::ZERO, &plan.times);
        Ok(Some(Self { exec, times: plan.times, record, health, started: now, due, check: None }))
    }

    /// What to poll for reading.
    pub fn report(&self) -> Option<BorrowedFd<'_>> {
        self.check.as_ref().map(|check| check.report.as_fd())
    }

    /// How long until [`Watch::turn`] has something to do.
    pub fn patience(&self) -> Duration {
        let next = self.check.as_ref().map_or(self.due, |check| check.deadline);
        next.saturating_duration_since(Instant::now())
    }

    /// Begins a check that is due, and gives up one whose child is stuck.
    pub fn turn(&mut self) {
        let now = Instant::now();
        match &self.check {
            None if now >= self.due => match probe::start(&self.exec, self.times.timeout) {
                Ok((pid, report)) => {
                    let deadline = now + self.times.timeout + GRACE;
                    let age = now - self.started;
                    self.check = Some(Check { pid, report, bytes: Vec::new(), age, start: record::now(), deadline });
                }
                Err(error) => {
                    let age = now - self.started;
                    self.conclude(failed(record::now(), error.to_string()), age);
                }
            },
            Some(check) if now >= check.deadline => {
                kill(check.pid, Signal::SIGKILL).ok();
                let (start, age) = (check.start.clone(), check.age);
                self.conclude(failed(start, "the health check hangs".into()), age);
            }
            _ => {}
        }
    }

    /// Reads what the child says; the end of it is the end of the check.
    pub fn listen(&mut self, buffer: &mut [u8]) {
        let Some(check) = &mut self.check else { return };
        match rustix::io::read(&check.report, &mut *buffer) {
            Ok(count) if count > 0 => check.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => {}
            _ => {
                let (start, age) = (check.start.clone(), check.age);
                let result = serde_json::from_slice(&check.bytes)
                    .unwrap_or_else(|_| failed(start, "the health check was ended from outside".into()));
                self.conclude(result, age);
            }
        }
    }

    fn conclude(&mut self, result: HealthResult, age: Duration) {
        self.check = None;
        let before = self.health.status;
        self.health.take(result, age, &self.times);
        if let (true, Some(teller)) = (self.health.status != before, &self.exec.events) {
            teller.tell(&format!("health_status: {}", self.health.status.word()), &[]);
        }
        self.due = Instant::now() + self.health.pause(self.started.elapsed(), &self.times);
        // A record that cannot be written, on a full disk, is the next one's business.
        record::write(&self.record, &self.health).ok();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(check) = &self.check {
            kill(check.pid, Signal::SIGKILL).ok();
        }
    }
}

fn failed(start: String, output: String) -> HealthResult {
    HealthResult { start, end: record::now(), exit_code: -1, output }
}
