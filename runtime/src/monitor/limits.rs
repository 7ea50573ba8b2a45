//! Limits that libcontainer 0.7 leaves out of control groups of version 1: it always enables the out-of-memory killer, and
//! passes weights of single devices over.

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use crate::cgroup::Cgroups;
use crate::failure::{Failure, OrFail};

/// A value for the first file of these names that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    names: &'static [&'static str],
    value: String,
}

/// What is left to be set. Nothing with version 2, where libcontainer does all that the kernel can.
pub fn left_out(resources: Option<&LinuxResources>, v2: bool) -> Vec<Setting> {
    let Some(resources) = resources.filter(|_| !v2) else { return Vec::new() };
    let mut settings = Vec::new();
    if resources.memory().is_some_and(|memory| memory.disable_oom_killer() == Some(true)) {
        settings.push(Setting { names: &["memory.oom_control"], value: "1".into() });
    }
    let block_io = resources.block_io().as_ref();
    for device in block_io.and_then(|limits| limits.weight_device().as_ref()).into_iter().flatten() {
        if let Some(weight) = device.weight() {
            settings.push(Setting {
                names: &["blkio.weight_device", "blkio.bfq.weight_device"],
                value: format!("{}:{} {weight}", device.major(), device.minor()),
            });
        }
    }
    settings
}

/// True when there is one hierarchy for everything.
pub fn is_version_2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Sets what was left out for the container of this process.
pub fn apply(settings: &[Setting], pid: i32) -> Result<(), Failure> {
    if settings.is_empty() {
        return Ok(());
    }
    let groups = Cgroups::of(pid);
    settings.iter().try_for_each(|setting| {
        groups.set(setting.names, &setting.value).or_fail(|| format!("cannot set `{}`", setting.names.join("` or `")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_1_has_something_left_out() {
        let resources: LinuxResources = serde_json::from_value(serde_json::json!({
            "memory": { "disableOOMKiller": true },
            "blockIO": { "weightDevice": [{ "major": 8, "minor": 16, "weight": 100 }] },
        }))
        .unwrap();
        let shown = |v2| {
            let settings = left_out(Some(&resources), v2);
            settings.iter().map(|setting| format!("{} {}", setting.names[0], setting.value)).collect::<Vec<_>>()
        };
        assert_eq!(shown(false), ["memory.oom_control 1", "blkio.weight_device 8:16 100"]);
        assert!(shown(true).is_empty());
        assert!(left_out(Some(&LinuxResources::default()), false).is_empty() && left_out(None, false).is_empty());
    }
}
