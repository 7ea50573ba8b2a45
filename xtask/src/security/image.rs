//! Images made byte by byte, as archives that `load` takes: their config and their files say whatever a stranger may say.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::mica::Sandbox;

/// A root file system under construction, with busybox in it.
pub struct Image {
    layer: tar::Builder<Vec<u8>>,
    config: Value,
}

impl Image {
    /// `/bin/busybox` with the applets that tests use, `passwd` and `group`.
    pub fn new() -> Result<Self> {
        let mut image = Self::empty();
        for folder in ["bin/", "tmp/"] {
            image.entry(folder, tar::EntryType::Directory, 0o755, b"")?;
        }
        let busybox = fs_err::read(super::busybox()?)?;
        image.entry("bin/busybox", tar::EntryType::Regular, 0o755, &busybox)?;
        for applet in [
            "sh", "cat", "ls", "id", "env", "sleep", "true", "touch", "mkdir", "rm", "mv", "ln", "grep", "pwd", "head",
            "truncate",
        ] {
            image.link(&format!("bin/{applet}"), "busybox")?;
        }
        Ok(image)
    }

    fn empty() -> Self {
        Self { layer: tar::Builder::new(Vec::new()), config: json!({ "Cmd": ["sh"], "Env": ["PATH=/bin"] }) }
    }

    /// A file or directory.
    pub fn entry(&mut self, name: &str, kind: tar::EntryType, mode: u32, bytes: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        Ok(self.layer.append_data(&mut header, name, bytes)?)
    }

    /// An ordinary file.
    pub fn file(&mut self, name: &str, text: &str) -> Result<()> {
        self.entry(name, tar::EntryType::Regular, 0o755, text.as_bytes())
    }

    /// A symbolic link.
    pub fn link(&mut self, name: &str, target: &str) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        Ok(self.layer.append_link(&mut header, name, target)?)
    }

    /// A key of the image's config.
    pub fn says(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Loads it under a name. False when it is refused, which is a good end too.
    pub fn load(self, sandbox: &Sandbox, name: &str) -> Result<bool> {
        let archive = self.archive(sandbox, name)?;
        let done = sandbox.output(&["load", "-q", "-i", archive.to_str().context("the path is UTF-8")?])?;
        fs_err::remove_file(archive)?;
        Ok(done.status.success())
    }

    fn archive(self, sandbox: &Sandbox, name: &str) -> Result<PathBuf> {
        let layer = self.layer.into_inner()?;
        let diff_id = format!("sha256:{}", hex(&layer));
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
            "config": self.config, "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        })
        .to_string();
        let config_name = format!("{}.json", hex(config.as_bytes()));
        let manifest =
            json!([{ "Config": config_name, "RepoTags": [format!("{name}:latest")], "Layers": ["layer.tar"] }]);
        let path = sandbox.path(&format!("{name}.tar"));
        let mut outer = tar::Builder::new(fs_err::File::create(&path)?);
        for (name, bytes) in [
            (config_name.as_str(), config.as_bytes()),
            ("layer.tar", &layer),
            ("manifest.json", manifest.to_string().as_bytes()),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            outer.append_data(&mut header, name, bytes)?;
        }
        outer.into_inner()?.flush()?;
        Ok(path)
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
