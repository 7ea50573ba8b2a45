//! What decides which images are admitted: policy files, and the payloads of signatures.

use mica_engine::Reference;
use mica_registry::policy::{Identity, Payload, Place, PolicyFile, Requirement};
use serde_json::Value;

/// Nobody is admitted whom the file does not name: a rule wants something, is the default or stands under a scope that the
/// image is in, and admits anything only where the file says so.
pub(crate) fn file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let file = match PolicyFile::parse(text) {
        Ok(file) => file,
        Err(message) => {
            assert!(!message.is_empty() && !message.contains(|letter: char| letter.is_control()), "{message:?}");
            return;
        }
    };
    let value: Value = serde_json::from_str(text).expect("what is understood is JSON");
    let says = value.to_string();
    for name in [
        "alpine",
        "R.example:443/team/app:1",
        "a.b.example:5000/x@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ] {
        let image = Reference::parse(name).expect("a name");
        let rule = file.rule(&image);
        assert!(!rule.requirements.is_empty(), "{text}");
        assert!(!rule.requirements.contains(&Requirement::Accept) || says.contains("insecureAcceptAnything"), "{text}");
        if let Place::Scope(scope) = &rule.place {
            let name = image.to_string().to_ascii_lowercase().replace(":443/", "/");
            assert!(name.contains(scope.trim_start_matches('*')), "{scope}");
        }
        for requirement in rule.requirements {
            let Requirement::Sigstore(sigstore) = requirement else { continue };
            assert!(!sigstore.keys.is_empty(), "{text}");
            // Only a name that the file itself gives admits an image of another repository.
            let given = matches!(
                sigstore.identity,
                Identity::ExactReference(_) | Identity::ExactRepository(_) | Identity::Remap { .. }
            );
            assert!(given || !sigstore.identity.fits(&image, "stranger.example/app:1"), "{text}");
        }
    }
}

/// What is read of a payload is what every other reader of JSON finds in it.
pub(crate) fn payload(bytes: &[u8]) {
    let Ok(payload) = Payload::parse(bytes) else { return };
    let value: Value = serde_json::from_slice(bytes).expect("what is understood is JSON");
    let critical = &value["critical"];
    assert_eq!(critical["image"]["docker-manifest-digest"], payload.digest.as_str());
    assert_eq!(critical["identity"]["docker-reference"], payload.reference.as_str());
    assert_eq!(critical["type"], "cosign container image signature");
    assert_eq!(critical.as_object().map(serde_json::Map::len), Some(3), "nothing critical is passed over");
    let image = Reference::parse("r.example/team/app:1").expect("a name");
    if Identity::Exact.fits(&image, &payload.reference) {
        assert_eq!(Reference::parse(&payload.reference).expect("a name").path(), image.path());
    }
}
