//! What a rule wants of an image: the requirements of a policy, read strictly (containers-policy.json(5)).

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value;

use super::identity::Identity;
use super::strict::{Strict, none_given, present, shown};

/// One requirement. All of a rule have to hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Strict<Raw>")]
pub enum Requirement {
    /// `insecureAcceptAnything`: nothing.
    Accept,
    /// `reject`: what no image has.
    Reject,
    /// `sigstoreSigned` by a key.
    Sigstore(Sigstore),
    /// Something that Podman knows and Mica does not check. No image has it.
    Unsupported(Unsupported),
}

/// What is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsupported {
    /// Signatures of GPG.
    SignedBy,
    /// Certificates of Fulcio.
    Fulcio,
    /// Certificates of somebody's own.
    Pki,
    /// An entry of a transparency log beside the signature.
    Rekor,
}

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SignedBy => "`signedBy` (signatures of GPG)",
            Self::Fulcio => "`sigstoreSigned` with `fulcio`",
            Self::Pki => "`sigstoreSigned` with `pki`",
            Self::Rekor => "`sigstoreSigned` with `rekorPublicKey…`",
        })
    }
}

/// A signature that has to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sigstore {
    /// Keys of which one has to have signed.
    pub keys: Vec<KeySource>,
    /// Whose image it has to speak of.
    pub identity: Identity,
}

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In this file, which is absolute.
    Path(PathBuf),
    /// In the policy itself, as PEM.
    Data(Vec<u8>),
}

impl std::fmt::Display for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => write!(f, "key `{}`", path.display()),
            Self::Data(_) => f.write_str("the key in the policy"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "present")]
    key_type: Option<String>,
    #[serde(default, deserialize_with = "present")]
    key_path: Option<String>,
    #[serde(default, deserialize_with = "present")]
    key_paths: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    key_data: Option<String>,
    #[serde(default, deserialize_with = "present")]
    key_datas: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    fulcio: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pki: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    rekor_public_key_path: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    rekor_public_key_paths: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    rekor_public_key_data: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    rekor_public_key_datas: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    signed_identity: Option<Identity>,
}

impl TryFrom<Strict<Raw>> for Requirement {
    type Error = String;

    fn try_from(Strict(raw): Strict<Raw>) -> Result<Self, String> {
        let all = raw.given();
        let given: Vec<&str> = all.iter().filter(|(_, is_given)| *is_given).map(|(key, _)| *key).collect();
        let kind = raw.kind.as_str();
        let only = |allowed: &[&str]| {
            let rest: Vec<_> = all.iter().filter(|(key, _)| !allowed.contains(key)).copied().collect();
            none_given(kind, &rest)
        };
        let one_of = |keys: &[&str]| match given.iter().filter(|key| keys.contains(key)).count() {
            1 => Ok(()),
            _ => Err(format!("`{kind}` must have exactly one of `{}`", keys.join("`, `"))),
        };
        match kind {
            "insecureAcceptAnything" => only(&[]).map(|()| Self::Accept),
            "reject" => only(&[]).map(|()| Self::Reject),
            "signedBy" => {
                only(&["keyType", "keyPath", "keyPaths", "keyData", "signedIdentity"])?;
                one_of(&["keyPath", "keyPaths", "keyData"])?;
                match raw.key_type.as_deref() {
                    Some("GPGKeys" | "signedByGPGKeys" | "X509Certificates" | "signedByX509CAs") => {
                        Ok(Self::Unsupported(Unsupported::SignedBy))
                    }
                    Some(other) => Err(format!("`keyType` is `{}`, which is none", shown(other))),
                    None => Err("`signedBy` has no `keyType`".to_owned()),
                }
            }
            "sigstoreSigned" => {
                let rekor = ["rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas"];
                let keys = ["keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki"];
                only(&[&rekor[..], &keys, &["signedIdentity"]].concat())?;
                one_of(&keys)?;
                // With a log's key the log would have to have the signature, too.
                let unchecked = ["fulcio", "pki"].into_iter().chain(rekor).find(|key| given.contains(key));
                match unchecked {
                    Some("fulcio") => Ok(Self::Unsupported(Unsupported::Fulcio)),
                    Some("pki") => Ok(Self::Unsupported(Unsupported::Pki)),
                    Some(_) => Ok(Self::Unsupported(Unsupported::Rekor)),
                    None => raw.sigstore().map(Self::Sigstore),
                }
            }
            other => Err(format!("`{}` is no type of requirement", shown(other))),
        }
    }
}

impl Raw {
    fn given(&self) -> [(&'static str, bool); 12] {
        [
            ("keyType", self.key_type.is_some()),
            ("keyPath", self.key_path.is_some()),
            ("keyPaths", self.key_paths.is_some()),
            ("keyData", self.key_data.is_some()),
            ("keyDatas", self.key_datas.is_some()),
            ("fulcio", self.fulcio.is_some()),
            ("pki", self.pki.is_some()),
            ("rekorPublicKeyPath", self.rekor_public_key_path.is_some()),
            ("rekorPublicKeyPaths", self.rekor_public_key_paths.is_some()),
            ("rekorPublicKeyData", self.rekor_public_key_data.is_some()),
            ("rekorPublicKeyDatas", self.rekor_public_key_datas.is_some()),
            ("signedIdentity", self.signed_identity.is_some()),
        ]
    }

    fn sigstore(self) -> Result<Sigstore, String> {
        let path = |text: String| {
            let path = PathBuf::from(&text);
            // Where somebody happens to be must not say which key counts.
            if path.is_absolute() {
                Ok(KeySource::Path(path))
            } else {
                Err(format!("key `{}` is not absolute", shown(&text)))
            }
        };
        let data = |text: String| {
            BASE64.decode(text).map(KeySource::Data).map_err(|_| "the key in the policy is not base64".to_owned())
        };
        let paths = self.key_path.into_iter().chain(self.key_paths.into_iter().flatten()).map(path);
        let datas = self.key_data.into_iter().chain(self.key_datas.into_iter().flatten()).map(data);
        let keys = paths.chain(datas).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err("`sigstoreSigned` has an empty list of keys".to_owned());
        }
        Ok(Sigstore { keys, identity: self.signed_identity.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Requirement, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn every_requirement_of_the_format() {
        let signed = |keys, identity| Ok(Requirement::Sigstore(Sigstore { keys, identity }));
        let at = |path: &str| KeySource::Path(path.into());
        for (text, expected) in [
            (r#"{"type":"insecureAcceptAnything"}"#, Ok(Requirement::Accept)),
            (r#"{"type":"reject"}"#, Ok(Requirement::Reject)),
            (r#"{"type":"sigstoreSigned","keyPath":"/k"}"#, signed(vec![at("/k")], Identity::RepoDigestOrExact)),
            (
                r#"{"type":"sigstoreSigned","keyPaths":["/k","/l"],"signedIdentity":{"type":"matchRepository"}}"#,
                signed(vec![at("/k"), at("/l")], Identity::Repository),
            ),
            (
                r#"{"type":"sigstoreSigned","keyDatas":["eA==","eQ=="]}"#,
                signed(vec![KeySource::Data(b"x".to_vec()), KeySource::Data(b"y".to_vec())], Identity::default()),
            ),
            (
                r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}"#,
                Ok(Requirement::Unsupported(Unsupported::SignedBy)),
            ),
            (
                r#"{"type":"sigstoreSigned","fulcio":{"caPath":"/c"},"rekorPublicKeyPath":"/r"}"#,
                Ok(Requirement::Unsupported(Unsupported::Fulcio)),
            ),
            (r#"{"type":"sigstoreSigned","pki":{"caRootsPath":"/c"}}"#, Ok(Requirement::Unsupported(Unsupported::Pki))),
            (
                r#"{"type":"sigstoreSigned","keyPath":"/k","rekorPublicKeyDatas":["eA=="]}"#,
                Ok(Requirement::Unsupported(Unsupported::Rekor)),
            ),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, words) in [
            (r#"{}"#, "missing field `type`"),
            (r#"["reject"]"#, "invalid type: sequence, expected an object"),
            (r#"{"type":"accept"}"#, "`accept` is no type of requirement"),
            (r#"{"type":"reject","keyPath":"/k"}"#, "`reject` has no use for `keyPath`"),
            (r#"{"type":"insecureAcceptAnything","because":"x"}"#, "unknown field `because`"),
            (r#"{"type":"reject","type":"insecureAcceptAnything"}"#, "duplicate field `type`"),
            (r#"{"type":"sigstoreSigned"}"#, "exactly one of `keyPath`"),
            (r#"{"type":"sigstoreSigned","keyPath":"/k","keyData":"eA=="}"#, "exactly one of"),
            (r#"{"type":"sigstoreSigned","keyPath":"/k","fulcio":{}}"#, "exactly one of"),
            (r#"{"type":"sigstoreSigned","keyPath":null}"#, "invalid type: null"),
            (r#"{"type":"sigstoreSigned","keyPath":"k.pub"}"#, "`k.pub` is not absolute"),
            (r#"{"type":"sigstoreSigned","keyPaths":[]}"#, "an empty list of keys"),
            (r#"{"type":"sigstoreSigned","keyData":"-----BEGIN"}"#, "is not base64"),
            (r#"{"type":"sigstoreSigned","keyPath":"/k","keyType":"GPGKeys"}"#, "has no use for `keyType`"),
            (r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":null}"#, "invalid type: null"),
            (r#"{"type":"signedBy","keyPath":"/k"}"#, "`signedBy` has no `keyType`"),
            (r#"{"type":"signedBy","keyType":"PGP","keyPath":"/k"}"#, "`PGP`, which is none"),
            (r#"{"type":"signedBy","keyType":"GPGKeys"}"#, "exactly one of"),
            (r#"{"type":"re\u001b[0mject"}"#, r"`re\u{1b}[0mject` is no type"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
