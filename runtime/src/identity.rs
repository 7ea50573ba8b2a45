//! Who a process id means: an id together with its start time, and signals that cannot hit a stranger.

use std::io;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The start time of a process in clock ticks since boot (`/proc/<pid>/stat` field 22), or `None` when it is gone or only
/// waits to be reaped.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = fs_err::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    parse_start_time(&stat)
}

/// Sends a signal to the process that has this id and this start time. `NotFound` when there is none.
pub fn signal_process(pid: i32, start: u64, signal: i32) -> io::Result<()> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let number = Signal::from_named_raw(signal)
        .or_else(|| realtime(signal))
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let pid = Pid::from_raw(pid).ok_or_else(gone)?;
    let answer = |error: rustix::io::Errno| if error == rustix::io::Errno::SRCH { gone() } else { error.into() };
    // The descriptor is opened before the start time is read: from here on it means one process, whichever it is.
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(answer)?;
    if start_time(pid.as_raw_nonzero().get()) != Some(start) {
        return Err(gone());
    }
    pidfd_send_signal(&pidfd, number).map_err(answer)
}

fn parse_start_time(stat: &str) -> Option<u64> {
    // The second field is the command's name in parentheses and may hold spaces and parentheses of its own.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[expect(unsafe_code, reason = "rustix names only the standard signals, and SIGRTMIN+3 is what stops systemd")]
fn realtime(signal: i32) -> Option<Signal> {
    // SAFETY: the one requirement is that the number is not one libc keeps for itself; those lie below SIGRTMIN().
    (signal >= libc::SIGRTMIN() && signal <= libc::SIGRTMAX()).then(|| unsafe { Signal::from_raw_unchecked(signal) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let line =
            |name: &str, state: &str| format!("7 ({name}) {state} 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 12345 99 1");
        for (stat, want) in [
            (line("sh", "S"), Some(12345)),
            (line("a b) S 1 (c", "R"), Some(12345)),
            (line("sh", "Z"), None),
            ("".into(), None),
            ("7 (sh) S 1".into(), None),
        ] {
            assert_eq!(parse_start_time(&stat), want, "{stat}");
        }
    }

    #[test]
    fn a_reused_id_is_not_signalled() {
        let me = std::process::id() as i32;
        let start = start_time(me).unwrap();
        let error = signal_process(me, start + 1, libc::SIGKILL).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(signal_process(me, start, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
