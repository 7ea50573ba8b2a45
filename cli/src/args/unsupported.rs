//! Flags of Docker's that this version does not have, so that their refusal can say more than "unexpected".

/// What to say about a flag of Docker's that is refused, if it is one.
pub fn explain(flag: &str) -> Option<String> {
    let name = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
    let reason = match name {
        "network-alias" | "ip" | "ip6" | "link" | "link-local-ip" | "mac-address" | "expose" => {
            "it needs bridge networks"
        }
        _ if name.starts_with("health-") || name == "no-healthcheck" => "it needs health checks",
        "gpus"
        | "ipc"
        | "pid"
        | "uts"
        | "cgroupns"
        | "cgroup-parent"
        | "volumes-from"
        | "isolation"
        | "storage-opt"
        | "device-cgroup-rule"
        | "oom-kill-disable"
        | "memory-swappiness"
        | "cpu-period"
        | "cpu-quota"
        | "cpu-rt-period"
        | "cpu-rt-runtime"
        | "blkio-weight"
        | "blkio-weight-device"
        | "device-read-bps"
        | "device-read-iops"
        | "device-write-bps"
        | "device-write-iops"
        | "annotation"
        | "domainname"
        | "volume-driver"
        | "kernel-memory" => "containers do not have it yet",
        "secret" | "ssh" | "cache-from" | "cache-to" | "output" | "build-context" | "metadata-file" | "push"
        | "attest" | "provenance" | "sbom" | "squash" | "allow" | "check" | "call" | "no-cache-filter" | "builder" => {
            "the builder does not have it yet"
        }
        "checkpoint" | "checkpoint-dir" => "there are no checkpoints yet",
        "details" => "log lines carry no attributes",
        "disable-content-trust" => "images are not signed",
        "volumes" => "volumes are not pruned yet",
        _ => return None,
    };
    Some(format!("`--{name}` is a flag of Docker's that this version of mica does not have: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn known_flags_have_a_reason_and_others_do_not() {
        for flag in ["--gpus", "--health-cmd=x", "--secret", "--ip", "--volumes"] {
            assert!(explain(flag).is_some(), "{flag}");
        }
        for flag in ["--nonsense", "-Z", ""] {
            assert_eq!(explain(flag), None);
        }
    }
}
