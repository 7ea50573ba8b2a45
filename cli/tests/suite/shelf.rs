//! A registry that is nothing but files behind nginx: it sends whatever a test puts there, also what no registry would take.

use std::path::Path;

use mica_layer::Digest;
use serde_json::{Value, json};

use crate::registry::Nginx;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The files and their server.
#[derive(Debug)]
pub struct Shelf {
    pub nginx: Nginx,
}

impl Shelf {
    /// An empty one.
    pub fn start() -> Option<Shelf> {
        let nginx = Nginx::with(|folder| {
            let folder = folder.display();
            format!(
                "types {{ {MANIFEST} manifest; {INDEX} index; }}\n\
                 location = /v2/ {{ return 200; }}\n\
                 location ~ ^/v2/.+/blobs/(.+)$ {{ alias {folder}/blobs/$1; }}\n\
                 location ~ ^/v2/(.+)/manifests/(.+)$ {{ root {folder}; try_files /$1/$2.manifest /$1/$2.index =404; }}"
            )
        })?;
        Some(Shelf { nginx })
    }

    /// A name on it.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.nginx.host)
    }

    /// Puts a blob there; what comes back describes it truly.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256_of(bytes);
        write(&self.nginx.path("blobs").join(digest.as_str()), bytes);
        json!({ "mediaType": media_type, "digest": digest.as_str(), "size": bytes.len() })
    }

    /// Puts other bytes in a blob's place.
    pub fn replace(&self, blob: &Value, bytes: &[u8]) {
        write(&self.nginx.path("blobs").join(blob["digest"].as_str().expect("a digest")), bytes);
    }

    /// Puts a document there under a tag and its digest, to be sent as the media type says.
    pub fn document(&self, repository: &str, tag: &str, media_type: &str, document: &Value) -> Value {
        let bytes = document.to_string();
        let digest = Digest::sha256_of(bytes.as_bytes());
        let extension = if media_type == INDEX { "index" } else { "manifest" };
        for name in [tag, digest.as_str()] {
            let file = format!("{repository}/{name}.{extension}");
            write(&self.nginx.path(&file), bytes.as_bytes());
        }
        json!({ "mediaType": media_type, "digest": digest.as_str(), "size": bytes.len() })
    }

    /// The manifest of an image for a processor over layers and their diff IDs.
    pub fn image(&self, architecture: &str, layers: &[(Value, String)]) -> Value {
        let diff_ids: Vec<&String> = layers.iter().map(|(_, diff_id)| diff_id).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "config": { "Cmd": ["sh"], "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.blob(CONFIG, config.to_string().as_bytes());
        let layers: Vec<&Value> = layers.iter().map(|(layer, _)| layer).collect();
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers })
    }

    /// A layer that is not compressed, with its diff ID.
    pub fn layer(&self, tar: &[u8]) -> (Value, String) {
        (self.blob(LAYER, tar), Digest::sha256_of(tar).to_string())
    }
}

/// An archive with one file.
pub fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content).expect("written");
    archive.into_inner().expect("an archive")
}

/// Bytes that do not compress.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length.div_ceil(8)).flatten().take(length).collect()
}

fn write(path: &Path, bytes: &[u8]) {
    fs_err::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs_err::write(path, bytes).expect("written");
}
