//! Signatures for tests: keys and signatures of openssl's, payloads and manifests as cosign writes them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mica_engine::Reference;
use mica_engine::manifest::{Descriptor, Document, OCI_CONFIG, OCI_MANIFEST};
use mica_engine::registry::Registry as _;
use mica_layer::Digest;
use mica_registry::HttpRegistry;
use serde_json::{Value, json};

/// Keys by the names `p256`, `p384`, `ed`, `rsa` and `other`, which is a second of the first kind.
pub struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    pub fn new() -> Self {
        let keys = Self { folder: tempfile::tempdir().expect("a folder") };
        for (name, kind) in [
            ("p256", "EC -pkeyopt ec_paramgen_curve:P-256"),
            ("p384", "EC -pkeyopt ec_paramgen_curve:P-384"),
            ("ed", "ED25519"),
            ("rsa", "RSA -pkeyopt rsa_keygen_bits:2048"),
            ("other", "EC -pkeyopt ec_paramgen_curve:P-256"),
        ] {
            keys.openssl(&format!("genpkey -algorithm {kind} -out {name}.key"));
            keys.openssl(&format!("pkey -in {name}.key -pubout -out {name}.pub"));
        }
        keys
    }

    /// The file of a public key.
    pub fn public(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.pub"))
    }

    /// A payload with its signature in base64.
    pub fn sign(&self, key: &str, payload: &str) -> (String, String) {
        fs_err::write(self.folder.path().join("payload"), payload).expect("written");
        match key {
            "ed" => self.openssl("pkeyutl -sign -rawin -inkey ed.key -in payload -out signature"),
            _ => self.openssl(&format!("dgst -sha256 -sign {key}.key -out signature payload")),
        };
        (payload.to_owned(), self.openssl("base64 -A -in signature"))
    }

    fn openssl(&self, line: &str) -> String {
        let mut command = Command::new("openssl");
        command.current_dir(self.folder.path()).args(line.split(' ')).stdin(Stdio::null());
        let output = command.output().expect("openssl starts");
        assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

/// What is signed for an image.
pub fn payload(name: &str, digest: &Digest) -> String {
    json!({
        "critical": {
            "identity": { "docker-reference": name },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
}

/// Puts a manifest of signatures under a reference.
pub fn attach(name: &str, signatures: &[(String, String)]) -> Document {
    let layers: Vec<Value> = signatures
        .iter()
        .map(|(payload, signature)| {
            let mut layer =
                Descriptor::of("application/vnd.dev.cosign.simplesigning.v1+json", put(name, payload.as_bytes()));
            layer.annotations.insert("dev.cosignproject.cosign/signature".to_owned(), signature.clone());
            json!(layer)
        })
        .collect();
    let config = Descriptor::of(OCI_CONFIG, put(name, b"{}"));
    document(
        name,
        OCI_MANIFEST,
        &json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers }),
    )
}

/// The tag under which signatures of a digest are.
pub fn tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// Puts a manifest or index under a reference.
pub fn document(name: &str, media_type: &str, value: &Value) -> Document {
    let document = Document::new(media_type, value.to_string().into_bytes());
    let name = Reference::parse(name).expect("a name");
    block_on(HttpRegistry::default().push_manifest(&name, &document)).expect("it is stored");
    document
}

/// What a name stands for.
pub fn found(name: &str) -> Document {
    block_on(HttpRegistry::default().manifest(&Reference::parse(name).expect("a name"))).expect("it is there")
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn put<'a>(name: &str, bytes: &'a [u8]) -> &'a [u8] {
    block_on(async {
        let mut upload = HttpRegistry::default().begin_upload(&Reference::parse(name)?).await?;
        upload.write(bytes).await?;
        upload.finish(&Digest::sha256_of(bytes)).await
    })
    .expect("it is uploaded");
    bytes
}

/// A policy file that wants a signature by a key for what begins with `scope`, and rejects all else.
pub fn policy(path: &Path, scope: &str, key: &Path, identity: &str) {
    let text = json!({
        "default": [{ "type": "reject" }],
        "transports": { "docker": { scope: [
            { "type": "sigstoreSigned", "keyPath": key, "signedIdentity": { "type": identity } },
        ] } },
    });
    fs_err::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs_err::write(path, text.to_string()).expect("written");
}
