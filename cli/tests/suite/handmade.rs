//! Layouts of the image specification made byte by byte, sound ones and others.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_layer::{Compression, Digest, Encoder};
use serde_json::{Value, json};

use crate::support::{Done, finish};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layout in a folder.
#[derive(Debug)]
pub struct Layout {
    pub path: PathBuf,
}

impl Layout {
    /// A new one without images.
    pub fn at(path: PathBuf) -> Layout {
        fs_err::create_dir_all(path.join("blobs/sha256")).expect("a folder");
        fs_err::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
        Layout { path }
    }

    /// How `image copy` calls it.
    pub fn place(&self) -> String {
        format!("oci:{}", self.path.display())
    }

    /// The file of a blob.
    pub fn file(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().expect("a digest");
        self.path.join("blobs/sha256").join(digest.strip_prefix("sha256:").expect("sha256"))
    }

    /// Adds a blob; what comes back describes it truly.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let descriptor =
            json!({ "mediaType": media_type, "digest": Digest::sha256_of(bytes).as_str(), "size": bytes.len() });
        fs_err::write(self.file(&descriptor), bytes).expect("written");
        descriptor
    }

    /// Adds the manifest of an image over layers, each with its uncompressed bytes.
    pub fn image(&self, architecture: &str, layers: &[(Value, &[u8])]) -> Value {
        let diff_ids: Vec<String> = layers.iter().map(|(_, plain)| Digest::sha256_of(plain).to_string()).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "config": { "Cmd": ["x"], "Labels": { "for": architecture } },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.blob(CONFIG, config.to_string().as_bytes());
        let layers: Vec<&Value> = layers.iter().map(|(layer, _)| layer).collect();
        // Spaces and an order that no serialiser of ours would choose.
        let text = format!(
            "{{\n  \"schemaVersion\": 2,\n  \"mediaType\": \"{MANIFEST}\",\n  \"layers\": {},\n  \"config\": {config}\n}}",
            json!(layers)
        );
        self.blob(MANIFEST, text.as_bytes())
    }

    /// Adds an image of one file, its layer compressed by gzip.
    pub fn simple(&self, architecture: &str, content: &[u8]) -> Value {
        let plain = tar("file", content);
        let layer = self.blob(&format!("{LAYER}+gzip"), &compress(Compression::Gzip, &plain));
        self.image(architecture, &[(layer, &plain)])
    }

    /// Adds an index over two platforms, with the attestation of one that builders put beside it.
    pub fn two_platforms(&self) -> Value {
        let mut entries = Vec::new();
        for architecture in ["arm64", "amd64"] {
            let mut entry = self.simple(architecture, architecture.as_bytes());
            entry["platform"] = json!({ "architecture": architecture, "os": "linux" });
            entries.push(entry);
        }
        let statement = self.blob("application/vnd.in-toto+json", br#"{"predicateType":"x"}"#);
        let config =
            self.blob(CONFIG, br#"{"architecture":"unknown","os":"unknown","rootfs":{"type":"layers","diff_ids":[]}}"#);
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [statement] });
        let mut attestation = self.blob(MANIFEST, manifest.to_string().as_bytes());
        attestation["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
        entries.push(attestation);
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        self.blob(INDEX, serde_json::to_string_pretty(&index).expect("JSON").as_bytes())
    }

    /// Writes `index.json` over named entries.
    pub fn index(&self, entries: &[(&Value, Option<&str>)]) {
        let entries: Vec<Value> = entries
            .iter()
            .map(|(entry, name)| {
                let mut entry = (*entry).clone();
                if let Some(name) = name {
                    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
                }
                entry
            })
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        fs_err::write(self.path.join("index.json"), index.to_string()).expect("written");
    }
}

/// An archive of one file.
pub fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, name, content).expect("written");
    builder.into_inner().expect("an archive")
}

/// One member or frame.
pub fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(compression, None, Vec::new()).expect("an encoder");
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("an end")
}

/// All files below a folder with their bytes, by name.
pub fn files(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(here) = todo.pop() {
        for entry in fs_err::read_dir(here).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below").display().to_string();
                found.insert(name, fs_err::read(path).expect("a file"));
            }
        }
    }
    found
}

/// Runs another tool. `None` where it is not installed, which is an error where nothing may be skipped.
#[expect(clippy::print_stderr, reason = "a test that leaves something out must say so")]
pub fn tool(program: &str, args: &[&str]) -> Option<Done> {
    if Command::new(program).arg("--version").output().is_err() {
        assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "`{program}` is not installed");
        eprintln!("skipped: `{program}` is not installed");
        return None;
    }
    let mut command = Command::new(program);
    command.args(args);
    Some(finish(command, b""))
}
