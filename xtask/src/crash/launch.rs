//! The process that a traced command begins as: it asks to be traced, installs the filter that makes the kernel stop it
//! at calls which change something, and becomes the command. Children inherit the filter, and the tracer with it.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::unistd::Pid;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::call::{CALLS, Shape};

/// The hidden task's name.
pub const TASK: &str = "crash-launch";
/// Its first argument when the command may use every processor.
pub const SPREAD: &str = "spread";
/// Its first argument when the command gets one processor, so that its threads take turns the same way each time.
pub const PINNED: &str = "pinned";

/// Becomes the command in `args`; returns only when it cannot.
pub fn run(args: &[String]) -> Result<()> {
    let [processors, program, rest @ ..] = args else { bail!("this task is for `cargo xtask crash` alone") };
    if processors == PINNED {
        pin()?;
    }
    let filter = filter()?;
    ptrace::traceme().context("cannot ask to be traced")?;
    // The tracer sets its options while this waits.
    raise(Signal::SIGSTOP)?;
    seccompiler::apply_filter(&filter).context("cannot install the filter of system calls")?;
    Err(Command::new(program).args(rest).exec()).with_context(|| format!("cannot start `{program}`"))
}

fn pin() -> Result<()> {
    let own = Pid::from_raw(0);
    let allowed = sched_getaffinity(own)?;
    // Workers of the harness spread over the processors by their process ids.
    let usable: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
    let chosen = usable[std::process::id() as usize % usable.len().max(1)];
    let mut one = CpuSet::new();
    one.set(chosen)?;
    sched_setaffinity(own, &one).context("cannot choose a processor")
}

fn filter() -> Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in CALLS {
        let of_call = match call.shape {
            // Opening for reading changes nothing.
            Shape::Open { flags: Some(flags), .. } => [libc::O_CREAT, libc::O_TRUNC]
                .into_iter()
                .map(|bit| {
                    let wanted = SeccompCmpOp::MaskedEq(bit as u64);
                    let condition = SeccompCondition::new(flags, SeccompCmpArgLen::Dword, wanted, bit as u64)?;
                    SeccompRule::new(vec![condition])
                })
                .collect::<Result<Vec<_>, _>>()?,
            _ => Vec::new(),
        };
        rules.insert(call.number, of_call);
    }
    let architecture = std::env::consts::ARCH.try_into().context("the crash harness runs on x86_64")?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Trace(0), architecture)?;
    Ok(filter.try_into()?)
}
