//! Flags of Docker's that this version does not have, so that their refusal can say more than "unexpected".

/// What to say about a flag of Docker's that is refused, if it is one.
pub fn explain(flag: &str) -> Option<String> {
    let name = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
    let reason = match name {
        "link" => "put both containers into a network of their own (`mica network create`), where they have names",
        "link-local-ip" => "give the container an address of its network with `--ip`",
        "ipam-opt" => "addresses are given by mica itself, which takes no options for it",
        "config-from" | "config-only" | "ingress" => "networks are of this machine alone",
        "route" => "the default route and those to the container's own networks are the ones there are",
        "driver-opt" | "gw-priority" => {
            "give it when the container is made, as in `--network name=NETWORK,gw-priority=1`"
        }
        "secret" | "ssh" | "cache-from" | "cache-to" | "output" | "build-context" | "metadata-file" | "push"
        | "attest" | "provenance" | "sbom" | "squash" | "allow" | "check" | "call" | "no-cache-filter" | "builder" => {
            "the builder does not have it yet"
        }
        "checkpoint" | "checkpoint-dir" => "there are no checkpoints yet",
        "disable-content-trust" => "images are not signed",
        _ => return None,
    };
    Some(format!("`--{name}` is a flag of Docker's that this version of mica does not have: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn known_flags_have_a_reason_and_others_do_not() {
        for flag in ["--secret", "--link", "--checkpoint"] {
            assert!(explain(flag).is_some(), "{flag}");
        }
        for flag in ["--nonsense", "-Z", ""] {
            assert_eq!(explain(flag), None);
        }
    }
}
