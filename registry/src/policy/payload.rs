//! What a signature signs: the payload in "simple signing" form (containers-signature(5), as cosign writes it), read strictly.
//!
//! Everything under `critical` has to be understood, or the signature does not count; `optional` is for people.

use mica_layer::Digest;
use serde::Deserialize;
use serde_json::Value;

use super::strict::{Strict, read, shown};

/// What the type of such a payload is.
const TYPE: &str = "cosign container image signature";

/// What a signature claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The digest of the manifest or index that it is for.
    pub digest: Digest,
    /// The name that it was signed under; not parsed.
    pub reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    critical: Strict<Critical>,
    #[serde(default, rename = "optional")]
    _optional: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Strict<Identity>,
    image: Strict<Image>,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

impl Payload {
    /// Reads a payload; the error is a reason.
    pub fn parse(bytes: &[u8]) -> Result<Payload, String> {
        let Strict(raw): Strict<Raw> = read(bytes)?;
        let Strict(Critical { identity, image, kind }) = raw.critical;
        if kind != TYPE {
            return Err(format!("its type is `{}`", shown(&kind)));
        }
        Ok(Payload { digest: image.0.digest, reference: identity.0.reference })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_critical_has_to_be_understood() {
        let digest = Digest::sha256_of(b"manifest");
        let text = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"r.example/a"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{TYPE}"}},"optional":{{"creator":"x","note":[1]}}}}"#
        );
        let expected = Payload { digest: digest.clone(), reference: "r.example/a".to_owned() };
        assert_eq!(Payload::parse(text.as_bytes()), Ok(expected.clone()));
        assert_eq!(Payload::parse(text.replace(r#"{"creator":"x","note":[1]}"#, "null").as_bytes()), Ok(expected));
        for (from, to, words) in [
            (TYPE, "atomic container signature", "its type is `atomic container signature`"),
            (r#""type":"#, r#""not-before":1,"type":"#, "unknown field `not-before`"),
            (
                r#""identity":{"#,
                r#""identity":{"docker-reference":"r.example/b","#,
                "duplicate field `docker-reference`",
            ),
            (r#""identity":{"docker-reference":"r.example/a"}"#, r#""identity":["r.example/a"]"#, "expected an object"),
            (r#""identity":{"docker-reference":"r.example/a"},"#, "", "missing field `identity`"),
            (r#","type":"cosign container image signature""#, "", "missing field `type`"),
            (digest.hex(), "abc", "line 1: "),
            (r#""optional""#, r#""critical":{},"optional""#, "duplicate field `critical`"),
            (r#""optional""#, r#""also""#, "unknown field `also`"),
            ("{\"critical\"", "x{\"critical\"", "line 1: "),
            ("[1]", "[1e999]", "number out of range"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            let error = Payload::parse(changed.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{changed}: {error}");
        }
        assert!(Payload::parse(b"\xff").is_err() && Payload::parse(b"").is_err());
    }
}
