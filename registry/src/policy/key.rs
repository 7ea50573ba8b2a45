//! Public keys and what they sign: SPKI in PEM, as cosign and openssl write them; verified by `ring` under `rustls-webpki`.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::{Error, RawPublicKeyEntity, ring};

/// How signatures are made: what cosign makes with each kind of key, and RSA-PSS. The kind of the key decides which may apply.
static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 6] = [
    ring::ECDSA_P256_SHA256,
    ring::ECDSA_P384_SHA256,
    ring::ECDSA_P384_SHA384,
    ring::ED25519,
    ring::RSA_PKCS1_2048_8192_SHA256,
    ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
];

/// A public key.
#[derive(Debug)]
pub(super) struct Key(SubjectPublicKeyInfoDer<'static>);

impl Key {
    /// Reads a PEM file's one public key; the error is a reason.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Key, &'static str> {
        let mut found = SubjectPublicKeyInfoDer::pem_slice_iter(pem);
        let key = match (found.next(), found.next()) {
            (Some(Ok(spki)), None) => Key(spki),
            (None, _) => return Err("it has no `-----BEGIN PUBLIC KEY-----`"),
            (Some(Ok(_)), Some(Ok(_))) => return Err("it has several public keys"),
            (Some(Err(_)), _) | (_, Some(Err(_))) => return Err("it is not PEM"),
        };
        if key.is_usable() { Ok(key) } else { Err("it is no key of ECDSA (P-256, P-384), Ed25519 or RSA") }
    }

    /// True when this key made the signature.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(entity) = RawPublicKeyEntity::try_from(&self.0) else { return false };
        ALGORITHMS.iter().any(|algorithm| entity.verify_signature(*algorithm, message, signature).is_ok())
    }

    /// True when one of the algorithms is for keys of this kind.
    fn is_usable(&self) -> bool {
        let Ok(entity) = RawPublicKeyEntity::try_from(&self.0) else { return false };
        ALGORITHMS.iter().any(|algorithm| {
            let tried = entity.verify_signature(*algorithm, b"", b"");
            !matches!(tried, Err(Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn openssl(folder: &Path, line: &str) {
        let output = Command::new("openssl").current_dir(folder).args(line.split(' ')).output().unwrap();
        assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn signatures_of_openssl_are_verified() {
        if Command::new("openssl").arg("version").output().is_err() {
            assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "there is no `openssl`");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let read = |name: &str| fs_err::read(folder.join(name)).unwrap();
        fs_err::write(folder.join("text"), "what is signed").unwrap();
        for (name, kind) in [
            ("p256", "EC -pkeyopt ec_paramgen_curve:P-256"),
            ("p384", "EC -pkeyopt ec_paramgen_curve:P-384"),
            ("p521", "EC -pkeyopt ec_paramgen_curve:P-521"),
            ("ed", "ED25519"),
            ("rsa", "RSA -pkeyopt rsa_keygen_bits:2048"),
            ("small", "RSA -pkeyopt rsa_keygen_bits:1024"),
        ] {
            openssl(folder, &format!("genpkey -algorithm {kind} -out {name}.key"));
            openssl(folder, &format!("pkey -in {name}.key -pubout -out {name}.pub"));
        }
        let pss = "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest";
        for (name, sign, is_good) in [
            ("p256", "dgst -sha256 -sign".to_owned(), true),
            ("p256", "dgst -sha1 -sign".to_owned(), false),
            ("p384", "dgst -sha256 -sign".to_owned(), true),
            ("p384", "dgst -sha384 -sign".to_owned(), true),
            ("ed", "pkeyutl -sign -rawin -inkey".to_owned(), true),
            ("rsa", "dgst -sha256 -sign".to_owned(), true),
            ("rsa", format!("dgst -sha256 {pss} -sign"), true),
            ("rsa", "dgst -sha1 -sign".to_owned(), false),
            ("small", "dgst -sha256 -sign".to_owned(), false),
        ] {
            let input = if name == "ed" { "-in text" } else { "text" };
            openssl(folder, &format!("{sign} {name}.key -out signature {input}"));
            let (key, signature) = (Key::from_pem(&read(&format!("{name}.pub"))).unwrap(), read("signature"));
            assert_eq!(key.signed(b"what is signed", &signature), is_good, "{sign} {name}");
            assert!(!key.signed(b"what is signec", &signature), "{sign} {name}");
            assert!(!key.signed(b"what is signed", &signature[1..]) && !key.signed(b"what is signed", b""));
            for other in ["p256", "p384", "ed", "rsa"].iter().filter(|other| **other != name) {
                let other = Key::from_pem(&read(&format!("{other}.pub"))).unwrap();
                assert!(!other.signed(b"what is signed", &signature), "{sign} {name}");
            }
        }
        let twice = [read("p256.pub"), read("ed.pub")].concat();
        let cut = read("p256.pub")[..60].to_vec();
        let broken = "-----BEGIN PUBLIC KEY-----\neHh4\n-----END PUBLIC KEY-----\n".into();
        for (pem, words) in [
            (read("p521.pub"), "no key of ECDSA (P-256, P-384)"),
            (read("p256.key"), "no `-----BEGIN PUBLIC KEY-----`"),
            (Vec::new(), "no `-----BEGIN PUBLIC KEY-----`"),
            (twice, "several"),
            (cut, "it is not PEM"),
            (broken, "no key of"),
        ] {
            let error = Key::from_pem(&pem).map(drop).unwrap_err();
            assert!(error.contains(words), "{error}: {}", String::from_utf8_lossy(&pem));
        }
    }
}
