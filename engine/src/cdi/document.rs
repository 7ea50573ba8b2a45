//! One file of the Container Device Interface, as `SPEC.md` of cncf-tags/container-device-interface (1.1.0) describes it.
//!
//! A name that the specification does not know is refused, as the reference implementation does: it would be something that
//! a container needs and does not get.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A file that was understood.
#[derive(Debug)]
pub struct Document {
    /// Where it is.
    pub path: PathBuf,
    /// `vendor/class`.
    pub kind: String,
    /// The devices.
    pub devices: Vec<Device>,
    /// What comes with every one of them.
    pub edits: ContainerEdits,
}

/// One device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its name within the kind.
    pub name: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    /// What comes with it.
    #[serde(default, rename = "containerEdits")]
    pub edits: ContainerEdits,
}

/// What a container gets.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct ContainerEdits {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Devices.
    pub device_nodes: Vec<DeviceNode>,
    /// Interfaces that move into the container.
    pub net_devices: Vec<serde_json::Value>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Programs of the host or the container that run as it starts and ends.
    pub hooks: Vec<Hook>,
    /// Supplementary groups; older files spell the name with a capital D.
    #[serde(alias = "additionalGIDs")]
    pub additional_gids: Vec<u32>,
    /// Shares of the processor's caches.
    pub intel_rdt: Option<serde_json::Value>,
}

/// A device node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct DeviceNode {
    /// Path in the container.
    pub path: String,
    /// Path on the host; the same when `None`.
    pub host_path: Option<String>,
    /// `b`, `c`, `u` or `p`; the host's when `None`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Major number; with the minor one the host's when 0.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Permission bits.
    pub file_mode: Option<u32>,
    /// Some of `r`, `w` and `m`; all when `None`.
    pub permissions: Option<String>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// A mount.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Mount {
    /// Its source.
    pub host_path: String,
    /// Where it is in the container.
    pub container_path: String,
    /// Its options.
    pub options: Vec<String>,
    /// Its type; a bind when `None`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// A hook of the OCI configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Hook {
    /// When it runs.
    pub hook_name: String,
    /// The program.
    pub path: PathBuf,
    /// Its arguments, the name of the program among them.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<String>,
    /// After how many seconds it is killed.
    pub timeout: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    cdi_version: String,
    kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: ContainerEdits,
}

/// True for `vendor/class=device`.
pub fn is_qualified(name: &str) -> bool {
    name.split_once('=').is_some_and(|(kind, device)| is_kind(kind) && is_device(device))
}

/// Reads a file's text; what is wrong is said without the file's name.
pub fn parse(path: &Path, text: &str) -> Result<Document, String> {
    const VERSIONS: [&str; 10] =
        ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];
    let raw: Raw = if path.extension().is_some_and(|ending| ending == "json") { json(text) } else { yaml(text) }?;
    if !VERSIONS.contains(&raw.cdi_version.as_str()) {
        return Err(format!("`{}` is no version of CDI that is known here", raw.cdi_version.escape_debug()));
    }
    if !is_kind(&raw.kind) {
        return Err(format!("`{}` is no kind of the form `vendor/class`", raw.kind.escape_debug()));
    }
    if raw.devices.is_empty() {
        return Err("it has no devices".into());
    }
    for (index, device) in raw.devices.iter().enumerate() {
        if !is_device(&device.name) {
            return Err(format!("`{}` is no name of a device", device.name.escape_debug()));
        }
        if raw.devices.iter().take(index).any(|other| other.name == device.name) {
            return Err(format!("it has two devices `{}`", device.name));
        }
    }
    Ok(Document { path: path.to_owned(), kind: raw.kind, devices: raw.devices, edits: raw.container_edits })
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    yaml_serde::from_str(text).map_err(|error| error.to_string())
}

fn is_kind(kind: &str) -> bool {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.ends_with(|c: char| c.is_ascii_alphanumeric())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    };
    kind.split_once('/').is_some_and(|(vendor, class)| word(vendor) && word(class))
}

fn is_device(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_the_specifications_form() {
        for name in ["vendor.com/class=dev", "v/c=0", "v.example/my-gpu.x=gpu:0-1", "nvidia.com/gpu=all"] {
            assert!(is_qualified(name), "{name}");
        }
        for name in ["/dev/x", "v/c", "v/c=", "1v/c=x", "v/c-=x", "v/c=-x", "v/c=x y", "v=c/x", "/dev/a=b"] {
            assert!(!is_qualified(name), "{name}");
        }
    }

    #[test]
    fn json_and_yaml_say_the_same() {
        let text = r#"{"cdiVersion": "0.6.0", "kind": "v.com/c", "devices": [{"name": "a", "containerEdits":
            {"deviceNodes": [{"path": "/dev/x", "fileMode": 432, "permissions": "rw"}], "additionalGids": [7]}}]}"#;
        let yaml = "cdiVersion: 0.6.0\nkind: v.com/c\ndevices:\n- name: a\n  containerEdits:\n    deviceNodes:\n    - \
                    path: /dev/x\n      fileMode: 0o660\n      permissions: rw\n    additionalGids: [7]\n";
        for (name, text) in [("a.json", text), ("a.yaml", yaml)] {
            let document = parse(Path::new(name), text).unwrap();
            let edits = &document.devices[0].edits;
            assert_eq!((document.kind.as_str(), edits.additional_gids.as_slice()), ("v.com/c", &[7][..]));
            assert_eq!((edits.device_nodes[0].file_mode, edits.device_nodes[0].major), (Some(0o660), 0));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let document = |version: &str, kind: &str, devices: &str| {
            let text = format!("{{cdiVersion: {version}, kind: {kind}, devices: {devices}}}");
            parse(Path::new("x.yaml"), &text).unwrap_err()
        };
        for (error, words) in [
            (document("9.0.0", "v/c", "[{name: a}]"), "no version of CDI"),
            (document("1.0.0", "vc", "[{name: a}]"), "no kind"),
            (document("1.0.0", "v/c", "[]"), "no devices"),
            (document("1.0.0", "v/c", "[{name: a}, {name: a}]"), "two devices `a`"),
            (document("1.0.0", "v/c", "[{name: a, colour: red}]"), "colour"),
            (document("1.0.0", "v/c", "[{name: ../a}]"), "no name of a device"),
        ] {
            assert!(error.contains(words), "{error}");
        }
    }
}
