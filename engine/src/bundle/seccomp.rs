//! The system call filter of a container: Mica's default profile, and profiles a person brings.

use std::collections::HashSet;

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

use super::seccomp_calls::{ALWAYS, NAMESPACE_FLAGS, ON_ARCHITECTURE, PERSONALITIES, WITH_CAPABILITY};
use crate::{Error, Kind, Result};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The default profile for a container that holds `capabilities`.
pub fn default_profile(capabilities: &HashSet<Capability>) -> Result<LinuxSeccomp> {
    let holds =
        |name: &str| capabilities.iter().any(|capability| capability.to_string() == name.trim_start_matches("CAP_"));
    let mut names: Vec<&str> = ALWAYS.split_ascii_whitespace().collect();
    for (_, calls) in WITH_CAPABILITY.iter().filter(|(capability, _)| holds(capability)) {
        names.extend(calls.split_ascii_whitespace());
    }
    for (_, calls) in ON_ARCHITECTURE.iter().filter(|(arch, _)| *arch == std::env::consts::ARCH) {
        names.extend(calls.split_ascii_whitespace());
    }
    names.sort_unstable();
    names.dedup();
    let mut calls = vec![rule(&names, LinuxSeccompAction::ScmpActAllow, None, vec![])?];
    for persona in PERSONALITIES {
        calls.push(allow_if("personality", compare(0, LinuxSeccompOperator::ScmpCmpEq, persona, None)?)?);
    }
    // AF_ALG (38) and AF_VSOCK (40) reach kernel code and hosts that a container has no business with: CVE-2026-31431.
    calls.push(allow_if("socket", compare(0, LinuxSeccompOperator::ScmpCmpLt, 38, None)?)?);
    calls.push(allow_if("socket", compare(0, LinuxSeccompOperator::ScmpCmpEq, 39, None)?)?);
    calls.push(allow_if("socket", compare(0, LinuxSeccompOperator::ScmpCmpGt, 40, None)?)?);
    if !holds("CAP_SYS_ADMIN") {
        let flags = if std::env::consts::ARCH == "s390x" { 1 } else { 0 };
        calls
            .push(allow_if("clone", compare(flags, LinuxSeccompOperator::ScmpCmpMaskedEq, NAMESPACE_FLAGS, Some(0))?)?);
        // Its flags are behind a pointer, which a filter cannot follow; with ENOSYS the C library falls back to clone.
        calls.push(rule(&["clone3"], LinuxSeccompAction::ScmpActErrno, Some(ENOSYS), vec![])?);
    }
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(EPERM)
        .architectures(architectures())
        .syscalls(calls)
        .build()
        .map_err(unbuildable)
}

pub(super) fn rule(
    names: &[&str],
    action: LinuxSeccompAction,
    errno: Option<u32>,
    args: Vec<LinuxSeccompArg>,
) -> Result<LinuxSyscall> {
    let mut call = LinuxSyscallBuilder::default()
        .names(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        .action(action);
    if let Some(errno) = errno {
        call = call.errno_ret(errno);
    }
    if !args.is_empty() {
        call = call.args(args);
    }
    call.build().map_err(unbuildable)
}

/// The architectures whose system call tables a process of this machine can reach.
pub(super) fn architectures() -> Vec<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "aarch64" => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        "s390x" => vec![Arch::ScmpArchS390x, Arch::ScmpArchS390],
        _ => vec![Arch::ScmpArchNative],
    }
}

pub(crate) fn unbuildable(error: oci_spec::OciSpecError) -> Error {
    Error::Adapter {
        kind: Kind::Internal,
        context: "cannot build the OCI configuration".into(),
        source: Box::new(error),
    }
}

fn allow_if(name: &str, condition: LinuxSeccompArg) -> Result<LinuxSyscall> {
    rule(&[name], LinuxSeccompAction::ScmpActAllow, None, vec![condition])
}

fn compare(index: usize, op: LinuxSeccompOperator, value: u64, value_two: Option<u64>) -> Result<LinuxSeccompArg> {
    let mut arg = LinuxSeccompArgBuilder::default().index(index).op(op).value(value);
    if let Some(value) = value_two {
        arg = arg.value_two(value);
    }
    arg.build().map_err(unbuildable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(profile: &LinuxSeccomp, name: &str) -> bool {
        profile.syscalls().as_ref().unwrap().iter().any(|call| {
            call.action() == LinuxSeccompAction::ScmpActAllow
                && call.args().is_none()
                && call.names().iter().any(|n| n == name)
        })
    }

    #[test]
    fn what_is_allowed_follows_capabilities() {
        let plain = default_profile(&HashSet::new()).unwrap();
        for name in ["read", "openat2", "socketpair", "ptrace", "socketcall", "fchmodat2", "set_robust_list"] {
            assert!(allowed(&plain, name), "{name}");
        }
        for name in [
            "mount",
            "unshare",
            "setns",
            "keyctl",
            "add_key",
            "request_key",
            "bpf",
            "io_uring_setup",
            "userfaultfd",
            "kexec_load",
            "pivot_root",
            "clone",
            "clone3",
            "socket",
            "personality",
            "mbind",
            "chroot",
            "reboot",
            "open_by_handle_at",
            "fsopen",
            "swapon",
            "settimeofday",
            "syslog",
            "acct",
            "quotactl",
            "perf_event_open",
            "mount_setattr",
            "sethostname",
        ] {
            assert!(!allowed(&plain, name), "{name}");
        }
        let admin = default_profile(&HashSet::from([Capability::SysAdmin])).unwrap();
        for name in ["mount", "unshare", "setns", "clone", "clone3", "bpf"] {
            assert!(allowed(&admin, name), "{name}");
        }
        let clone3 = |profile: &LinuxSeccomp| {
            let calls = profile.syscalls().as_ref().unwrap();
            calls.iter().find(|call| call.names() == &["clone3"]).and_then(LinuxSyscall::errno_ret)
        };
        assert_eq!((clone3(&plain), clone3(&admin)), (Some(ENOSYS), None));
        assert_eq!(plain.default_errno_ret(), Some(EPERM));
    }

    #[test]
    fn tables_are_sorted_and_free_of_repetition() {
        let names: Vec<&str> = ALWAYS.split_ascii_whitespace().collect();
        assert!(names.is_sorted_by(|a, b| a < b));
        assert!((355..=375).contains(&names.len()), "{}", names.len());
    }
}
