//! How mounts below a container's binds travel, set from inside the container before its program runs.
//!
//! libcontainer 0.7 reads the words of a mount and passes none on: every bind would stay a slave of the host's mount, and
//! what the host mounts below its source later would show up in containers that asked for nothing of the kind.

use oci_spec::runtime::Spec;
use rustix::mount::{MountPropagationFlags, mount_change};

use crate::failure::{Failure, OrFail};

/// Gives each mount of the bundle what its options say.
pub fn set(spec: &Spec) -> Result<(), Failure> {
    for mount in spec.mounts().iter().flatten() {
        let words = mount.options().iter().flatten();
        for flags in words.filter_map(|word| flags(word)) {
            let target = mount.destination();
            mount_change(target, flags).or_fail(|| format!("cannot set the propagation of `{}`", target.display()))?;
        }
    }
    Ok(())
}

fn flags(word: &str) -> Option<MountPropagationFlags> {
    let (recursive, kind) = word.strip_prefix('r').map_or((false, word), |kind| (true, kind));
    let kind = match kind {
        "private" => MountPropagationFlags::PRIVATE,
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    };
    Some(if recursive { kind | MountPropagationFlags::REC } else { kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_kernels() {
        let all = MountPropagationFlags::REC;
        for (word, wanted) in [
            ("rprivate", Some(MountPropagationFlags::PRIVATE | all)),
            ("slave", Some(MountPropagationFlags::DOWNSTREAM)),
            ("rshared", Some(MountPropagationFlags::SHARED | all)),
            ("rbind", None),
            ("ro", None),
            ("rro", None),
        ] {
            assert_eq!(flags(word), wanted, "{word}");
        }
    }
}
