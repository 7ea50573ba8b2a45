//! Seccomp profiles from a file: Docker's form, with conditions on capabilities and architectures, or the OCI form.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompBuilder};
use serde::Deserialize;

use super::seccomp::{architectures, rule, unbuildable};
use crate::{Error, Kind, Result};

/// The profile in `text` for a container that holds `capabilities`.
pub fn profile(text: &str, capabilities: &HashSet<Capability>) -> Result<LinuxSeccomp> {
    let wrong = |error: serde_json::Error| {
        Error::refused(Kind::InvalidInput, format!("the seccomp profile cannot be read: {error}"))
    };
    let file: ProfileFile = serde_json::from_str(text).map_err(wrong)?;
    if file.architectures.is_some() {
        // The OCI form names its architectures; Docker's maps them.
        return serde_json::from_str(text).map_err(wrong);
    }
    let mut calls = Vec::new();
    for entry in &file.syscalls {
        let excluded = !entry.excludes.is_empty() && entry.excludes.any(capabilities);
        if !entry.includes.all(capabilities) || excluded {
            continue;
        }
        let names: Vec<&str> = entry.names.iter().chain(&entry.name).map(String::as_str).collect();
        let args = entry.args.clone().unwrap_or_default();
        calls.push(rule(&names, entry.action, entry.errno_ret, args)?);
    }
    let mut built = LinuxSeccompBuilder::default()
        .default_action(file.default_action)
        .architectures(architectures())
        .syscalls(calls);
    if let Some(errno) = file.default_errno_ret {
        built = built.default_errno_ret(errno);
    }
    built.build().map_err(unbuildable)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileFile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    architectures: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    syscalls: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    names: Vec<String>,
    name: Option<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: Option<String>,
}

impl Condition {
    fn is_empty(&self) -> bool {
        self.caps.is_empty() && self.arches.is_empty() && self.min_kernel.is_none()
    }

    /// Every part holds. A kernel old enough to fail `minKernel` (4.8) lacks what Mica itself needs.
    fn all(&self, capabilities: &HashSet<Capability>) -> bool {
        (self.arches.is_empty() || self.arches.iter().any(|arch| arch == go_arch()))
            && self.caps.iter().all(|cap| held(cap, capabilities))
    }

    fn any(&self, capabilities: &HashSet<Capability>) -> bool {
        self.arches.iter().any(|arch| arch == go_arch()) || self.caps.iter().any(|cap| held(cap, capabilities))
    }
}

fn held(name: &str, capabilities: &HashSet<Capability>) -> bool {
    capabilities.iter().any(|capability| capability.to_string() == name.trim_start_matches("CAP_"))
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "archMap": [], "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}}]}"#;

    fn names(profile: &LinuxSeccomp) -> Vec<String> {
        profile.syscalls().iter().flatten().flat_map(|call| call.names().clone()).collect()
    }

    #[test]
    fn conditions_of_dockers_form_are_applied() {
        assert_eq!(names(&profile(DOCKER, &HashSet::new()).unwrap()), ["read", "clone3"]);
        assert_eq!(names(&profile(DOCKER, &HashSet::from([Capability::SysAdmin])).unwrap()), ["read", "mount"]);
    }

    #[test]
    fn the_oci_form_is_taken_as_it_is() {
        let text = r#"{"defaultAction": "SCMP_ACT_KILL", "architectures": ["SCMP_ARCH_X86"], "syscalls": []}"#;
        let found = profile(text, &HashSet::new()).unwrap();
        assert_eq!(found.default_action(), LinuxSeccompAction::ScmpActKill);
        assert_eq!(found.architectures().as_ref().unwrap().len(), 1);
        assert_eq!(profile("[]", &HashSet::new()).unwrap_err().kind(), Kind::InvalidInput);
    }
}
