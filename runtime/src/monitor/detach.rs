//! Becoming a command that nobody waits for. Being a monitor has already cut it off from its caller.

use std::os::unix::process::CommandExt;
use std::process::Command;

use mica_engine::Kind;

use crate::failure::{Failure, OrFail};
use crate::hygiene::reset_signals;

/// A tenth of what others get. With the most niceness there is it would be a hundredth, and on a machine that is always busy
/// the bytes would stay for ever.
const NICE: i32 = 10;

/// Executes the command; returns only when that fails.
pub fn run(command: &[String]) -> Result<(), Failure> {
    let context = || "cannot run a command in the background".to_owned();
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::new(Kind::InvalidInput, "the request came without a command"));
    };
    // Not SCHED_IDLE: a process that is never scheduled while it holds a directory's lock in the kernel holds up everybody
    // who wants that directory. Either is only a wish, so a refusal is no failure.
    rustix::process::setpriority_process(None, NICE).ok();
    idle_for_disks();
    reset_signals().or_fail(context)?;
    rustix::process::set_child_subreaper(None).or_fail(context)?;
    Err(Failure::new(Kind::Internal, Command::new(program).args(arguments).exec().to_string()))
}

#[expect(unsafe_code, reason = "neither rustix nor nix has ioprio_set")]
fn idle_for_disks() {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: the call takes three integers and touches no memory; 0 is the calling process.
    unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE) };
}
