//! Archives of images as `save` would write them, made of nothing but file names and bytes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A layer: its files by path, in directories of their own.
pub type Layer = Vec<(String, Vec<u8>)>;

/// An archive under construction. Layers that several images name are stored once.
pub struct Archive {
    out: tar::Builder<BufWriter<File>>,
    manifest: Vec<Value>,
}

/// A layer that the archive holds.
#[derive(Debug, Clone)]
pub struct Stored {
    diff_id: String,
    member: String,
}

impl Archive {
    /// Begins an archive.
    pub fn create(path: &Path) -> Result<Self> {
        let file = fs_err::File::create(path)?.into_parts().0;
        Ok(Self { out: tar::Builder::new(BufWriter::new(file)), manifest: Vec::new() })
    }

    /// Adds a layer.
    pub fn layer(&mut self, files: &Layer) -> Result<Stored> {
        let mut layer = tar::Builder::new(Vec::new());
        let mut last = "";
        for (path, bytes) in files {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            if folder != last {
                append(&mut layer, &format!("{folder}/"), tar::EntryType::Directory, &[])?;
                last = folder;
            }
            append(&mut layer, path, tar::EntryType::Regular, bytes)?;
        }
        let bytes = layer.into_inner()?;
        let hex = hex(&bytes);
        let member = format!("{hex}/layer.tar");
        append(&mut self.out, &member, tar::EntryType::Regular, &bytes)?;
        Ok(Stored { diff_id: format!("sha256:{hex}"), member })
    }

    /// Adds an image over layers that have been added, bottom first.
    pub fn image(&mut self, name: &str, layers: &[&Stored]) -> Result<()> {
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-02T03:04:05Z",
            "config": { "Cmd": ["true"], "Labels": { "name": name } },
            "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>() },
        });
        let bytes = serde_json::to_vec(&config)?;
        let member = format!("{}.json", hex(&bytes));
        append(&mut self.out, &member, tar::EntryType::Regular, &bytes)?;
        let members: Vec<_> = layers.iter().map(|layer| &layer.member).collect();
        self.manifest.push(json!({ "Config": member, "RepoTags": [name], "Layers": members }));
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<()> {
        let manifest = serde_json::to_vec(&self.manifest)?;
        append(&mut self.out, "manifest.json", tar::EntryType::Regular, &manifest)?;
        Ok(self.out.into_inner()?.flush()?)
    }
}

fn append(out: &mut tar::Builder<impl Write>, path: &str, kind: tar::EntryType, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(if kind == tar::EntryType::Directory { 0o755 } else { 0o644 });
    header.set_size(bytes.len() as u64);
    header.set_mtime(1_700_000_000);
    Ok(out.append_data(&mut header, path, bytes)?)
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
