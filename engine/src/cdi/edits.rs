//! What devices bring along, laid over an OCI configuration in the way of the reference implementation.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use oci_spec::runtime::{
    HookBuilder, Hooks, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroupBuilder, LinuxDeviceType, MountBuilder, Spec,
};

use super::document::{ContainerEdits, DeviceNode, Hook, Mount};
use crate::bundle::merge::{clean, environment};
use crate::bundle::seccomp::unbuildable;
use crate::{Error, Kind, Result};

/// When a hook can run; the names are those of the OCI configuration.
const MOMENTS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A node, and what the control group allows of it.
#[derive(Debug)]
struct Node {
    device: LinuxDevice,
    access: String,
}

/// What was found in files, checked and with what it takes from the host.
#[derive(Debug, Default)]
pub struct Edits {
    env: Vec<String>,
    nodes: Vec<Node>,
    mounts: Vec<oci_spec::runtime::Mount>,
    hooks: BTreeMap<String, Vec<oci_spec::runtime::Hook>>,
    groups: Vec<u32>,
}

impl Edits {
    /// Adds what a file says.
    pub fn add(&mut self, edits: &ContainerEdits, file: &Path) -> Result<()> {
        let wrong = |why: String| Error::refused(Kind::InvalidInput, format!("`{}`: {why}", file.display()));
        let unsupported = |what: &str| {
            Error::refused(Kind::Unsupported, format!("`{}` asks for `{what}`, which mica does not do", file.display()))
        };
        if edits.intel_rdt.is_some() {
            return Err(unsupported("intelRdt"));
        }
        if !edits.net_devices.is_empty() {
            return Err(unsupported("netDevices"));
        }
        for entry in &edits.env {
            if entry.split_once('=').is_none_or(|(name, _)| name.is_empty()) || entry.contains('\0') {
                return Err(wrong(format!("`{}` is not of the form NAME=value", entry.escape_debug())));
            }
        }
        self.env.extend(edits.env.iter().cloned());
        for node in &edits.device_nodes {
            self.nodes.push(found_node(node).map_err(wrong)?);
        }
        for mount in &edits.mounts {
            self.mounts.push(oci_mount(mount).map_err(wrong)?);
        }
        for hook in &edits.hooks {
            let hooks = self.hooks.entry(hook.hook_name.clone()).or_default();
            hooks.push(oci_hook(hook).map_err(wrong)?);
        }
        // Group 0 is what a file without a group says.
        self.groups.extend(edits.additional_gids.iter().filter(|group| **group != 0));
        Ok(())
    }

    /// Lays all of it over a configuration. What is named again replaces what was there.
    pub fn apply(self, built: &mut Spec) -> Result<()> {
        let mut owner = (0, 0);
        if let Some(process) = built.process_mut() {
            let env = process.env().clone().unwrap_or_default();
            process.set_env(Some(environment(&env, &self.env, &[])));
            let user = process.user_mut();
            owner = (user.uid(), user.gid());
            let mut groups = user.additional_gids().clone().unwrap_or_default();
            groups.extend(self.groups);
            groups.sort_unstable();
            groups.dedup();
            user.set_additional_gids(Some(groups));
        }
        let mut mounts = built.mounts().clone().unwrap_or_default();
        if let Some(linux) = built.linux_mut() {
            let mut devices = linux.devices().clone().unwrap_or_default();
            let mut resources = linux.resources().clone();
            for Node { mut device, access } in self.nodes {
                if device.uid().is_none() && owner.0 > 0 {
                    device.set_uid(Some(owner.0));
                }
                if device.gid().is_none() && owner.1 > 0 {
                    device.set_gid(Some(owner.1));
                }
                if let Some(resources) = &mut resources
                    && matches!(device.typ(), LinuxDeviceType::B | LinuxDeviceType::C)
                {
                    let rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(device.typ()).access(access);
                    let rule = rule.major(device.major()).minor(device.minor()).build().map_err(unbuildable)?;
                    resources.devices_mut().get_or_insert_default().push(rule);
                }
                devices.retain(|known| known.path() != device.path());
                devices.push(device);
            }
            linux.set_devices(Some(devices).filter(|devices| !devices.is_empty()));
            linux.set_resources(resources);
        }
        for mount in self.mounts {
            mounts.retain(|known| known.destination() != mount.destination());
            // A mount that comes after one below it would hide that.
            let below = |known: &oci_spec::runtime::Mount| known.destination().starts_with(mount.destination());
            let place = mounts.iter().position(below).unwrap_or(mounts.len());
            mounts.insert(place, mount);
        }
        built.set_mounts(Some(mounts));
        if !self.hooks.is_empty() {
            let broken = |error: serde_json::Error| Error::refused(Kind::Internal, error.to_string());
            let hooks = serde_json::to_value(&self.hooks).map_err(broken)?;
            built.set_hooks(Some(serde_json::from_value::<Hooks>(hooks).map_err(broken)?));
        }
        Ok(())
    }
}

/// A node with what its file leaves to the host.
fn found_node(node: &DeviceNode) -> Result<Node, String> {
    if !clean(&node.path).starts_with("/dev/") {
        return Err(format!("the device node `{}` is not below `/dev`", node.path.escape_debug()));
    }
    let access = node.permissions.clone().filter(|access| !access.is_empty()).unwrap_or_else(|| "rwm".to_owned());
    if !access.chars().all(|c| "rwm".contains(c)) {
        return Err(format!(
            "the permissions `{}` of `{}` are not some of r, w and m",
            access.escape_debug(),
            node.path
        ));
    }
    let (mut kind, mut numbers) = (node.kind.clone(), (node.major, node.minor));
    if kind.is_none() || (node.major == 0 && kind.as_deref() != Some("p")) {
        let source = Path::new(node.host_path.as_deref().unwrap_or(&node.path));
        let metadata = fs_err::metadata(source).map_err(|error| error.to_string())?;
        let file_type = metadata.file_type();
        let real = match () {
            () if file_type.is_block_device() => "b",
            () if file_type.is_char_device() => "c",
            () if file_type.is_fifo() => "p",
            () => return Err(format!("`{}` is not a device node", source.display())),
        };
        if kind.as_deref().is_some_and(|kind| kind != real && !(kind == "u" && real == "c")) {
            return Err(format!("`{}` is of another type than the file says", source.display()));
        }
        kind = Some(real.to_owned());
        if node.major == 0 && real != "p" {
            let device = metadata.rdev();
            numbers = (rustix::fs::major(device).into(), rustix::fs::minor(device).into());
        }
    }
    let kind = match kind.as_deref() {
        Some("b") => LinuxDeviceType::B,
        Some("c") => LinuxDeviceType::C,
        Some("u") => LinuxDeviceType::U,
        Some("p") => LinuxDeviceType::P,
        other => return Err(format!("`{}` is no type of a device", other.unwrap_or_default().escape_debug())),
    };
    let mut device = LinuxDeviceBuilder::default()
        .path(&node.path)
        .typ(kind)
        .major(numbers.0)
        .minor(numbers.1)
        .file_mode(node.file_mode.unwrap_or(0o666))
        .build()
        .map_err(|error| error.to_string())?;
    device.set_uid(node.uid).set_gid(node.gid);
    Ok(Node { device, access })
}

/// A mount; one without a type is a bind, which is said in both ways that runtimes look for.
fn oci_mount(mount: &Mount) -> Result<oci_spec::runtime::Mount, String> {
    if mount.host_path.is_empty() || !mount.container_path.starts_with('/') || clean(&mount.container_path) == "/" {
        return Err(format!(
            "the mount of `{}` on `{}` has no source or no place",
            mount.host_path.escape_debug(),
            mount.container_path.escape_debug()
        ));
    }
    let mut options = mount.options.clone();
    let binds = options.iter().any(|option| option == "bind" || option == "rbind");
    let kind = match mount.kind.as_deref() {
        None | Some("" | "none" | "bind") => {
            if !binds {
                options.push("rbind".to_owned());
            }
            "bind"
        }
        Some(_) if binds => "bind",
        Some(kind) => kind,
    };
    MountBuilder::default()
        .destination(clean(&mount.container_path))
        .source(&mount.host_path)
        .typ(kind)
        .options(options)
        .build()
        .map_err(|error| error.to_string())
}

fn oci_hook(hook: &Hook) -> Result<oci_spec::runtime::Hook, String> {
    if !MOMENTS.contains(&hook.hook_name.as_str()) {
        return Err(format!("`{}` is no hook, which are {}", hook.hook_name.escape_debug(), MOMENTS.join(", ")));
    }
    // The OCI configuration asks for both.
    if !hook.path.is_absolute() || hook.timeout.is_some_and(|seconds| seconds <= 0) {
        return Err(format!("the hook `{}` needs an absolute path, and a timeout above 0", hook.path.display()));
    }
    let mut built = HookBuilder::default().path(&hook.path).build().map_err(|error| error.to_string())?;
    built.set_args(Some(hook.args.clone()).filter(|args| !args.is_empty()));
    built.set_env(Some(hook.env.clone()).filter(|env| !env.is_empty()));
    built.set_timeout(hook.timeout);
    Ok(built)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(text: &str) -> Result<Edits> {
        let mut edits = Edits::default();
        edits.add(&serde_json::from_str(text).unwrap(), Path::new("/etc/cdi/x.json"))?;
        Ok(edits)
    }

    #[test]
    fn everything_lands_in_the_configuration() {
        let text = r#"{"env": ["A=2", "B=3"],
            "deviceNodes": [{"path": "/dev/theirs", "hostPath": "/dev/null", "permissions": "r", "uid": 5},
                {"path": "/dev/own", "type": "b", "major": 7, "minor": 9, "fileMode": 384}],
            "mounts": [{"hostPath": "/lib", "containerPath": "/a/lib/", "options": ["ro", "nosuid"]},
                {"hostPath": "none", "containerPath": "/a", "type": "tmpfs", "options": ["size=1m"]}],
            "hooks": [{"hookName": "createContainer", "path": "/bin/x", "args": ["x", "y"], "timeout": 3}],
            "additionalGids": [0, 44]}"#;
        let mut spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.0.2",
            "process": { "cwd": "/", "env": ["A=1"], "user": { "uid": 3, "gid": 4, "additionalGids": [4, 50] } },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }, { "destination": "/a/lib", "source": "/x" }],
            "linux": { "resources": {}, "devices": [{ "path": "/dev/own", "type": "c", "major": 1, "minor": 3 }] },
        }))
        .unwrap();
        edits(text).unwrap().apply(&mut spec).unwrap();
        let spec = serde_json::to_value(spec).unwrap();
        assert_eq!(spec["process"]["env"], serde_json::json!(["A=2", "B=3"]));
        assert_eq!(spec["process"]["user"]["additionalGids"], serde_json::json!([4, 44, 50]));
        let targets: Vec<&str> =
            spec["mounts"].as_array().unwrap().iter().map(|mount| mount["destination"].as_str().unwrap()).collect();
        assert_eq!(targets, ["/proc", "/a", "/a/lib"]);
        assert_eq!(spec["mounts"][1]["type"], "tmpfs");
        assert_eq!(spec["mounts"][2]["options"], serde_json::json!(["ro", "nosuid", "rbind"]));
        assert_eq!(
            spec["linux"]["devices"],
            serde_json::json!([
                { "path": "/dev/theirs", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 5, "gid": 4 },
                { "path": "/dev/own", "type": "b", "major": 7, "minor": 9, "fileMode": 0o600, "uid": 3, "gid": 4 },
            ])
        );
        assert_eq!(
            spec["linux"]["resources"]["devices"],
            serde_json::json!([
                { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "r" },
                { "allow": true, "type": "b", "major": 7, "minor": 9, "access": "rwm" },
            ])
        );
        assert_eq!(
            spec["hooks"]["createContainer"],
            serde_json::json!([{ "path": "/bin/x", "args": ["x", "y"], "timeout": 3 }])
        );
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (text, words) in [
            (r#"{"intelRdt": {}}"#, "intelRdt"),
            (r#"{"netDevices": [{"name": "x"}]}"#, "netDevices"),
            (r#"{"env": ["A"]}"#, "NAME=value"),
            (r#"{"hooks": [{"hookName": "never", "path": "/x"}]}"#, "`never` is no hook"),
            (r#"{"hooks": [{"hookName": "poststop", "path": "x"}]}"#, "absolute path"),
            (r#"{"deviceNodes": [{"path": "/dev/x", "hostPath": "/etc/passwd"}]}"#, "not a device node"),
            (r#"{"deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/null", "type": "b"}]}"#, "another type"),
            (r#"{"deviceNodes": [{"path": "/dev/../x", "hostPath": "/dev/null"}]}"#, "not below `/dev`"),
            (r#"{"deviceNodes": [{"path": "/dev/null", "permissions": "x"}]}"#, "r, w and m"),
            (r#"{"mounts": [{"hostPath": "/x", "containerPath": "rel"}]}"#, "no place"),
        ] {
            let error = edits(text).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("/etc/cdi/x.json"), "{error}");
        }
    }
}
