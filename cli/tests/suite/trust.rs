//! `policy.json`: what is admitted, and that nothing of what is not gets here. Skopeo, which reads the same
//! files, is the judge where it can be.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use mica_engine::manifest::{Document, OCI_INDEX};
use mica_engine::{Kind as Failure, Reference};
use mica_layer::Digest;
use mica_registry::HttpRegistry;
use mica_registry::policy::Trust;
use serde_json::{Value, json};

use crate::servers::{Kind, Person, Server, free_port, store};
use crate::signing::{Keys, attach, block_on, document, found, payload, policy, tag};
use crate::support::Store;

/// Every file below a folder, apart from the database's.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs_err::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            match entry.file_type().expect("a type").is_dir() {
                true => todo.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn privileged_signed_images_are_pulled_and_others_leave_nothing() {
    let Some(given) = store() else { return };
    let (keys, server) = (Keys::new(), Server::registry(&Kind::default()));
    let local = IpAddr::from([127, 0, 0, 1]);
    let port = free_port(local);
    // A server in front writes down what is asked for.
    let front = Server::nginx(
        &format!("127.0.0.1:{port}"),
        &format!(
            "log_format seen '$request';\nserver {{ listen 127.0.0.1:{port}; access_log @FOLDER@/seen seen; \
             location / {{ proxy_pass http://{}; }} }}",
            server.address
        ),
    );
    let host = &front.address;
    for repository in ["p256", "p384", "ed", "rsa", "wrong-key", "wrong-digest", "wrong-name", "wrong-tag", "absent"] {
        server.give(&given, &format!("{repository}:v1"));
    }
    let digest = found(&format!("{host}/p256:v1")).digest;
    let put = |repository: &str, key: &str, text: &str| {
        attach(&format!("{}/{repository}:{}", server.address, tag(&digest)), &[keys.sign(key, text)]);
    };
    let named = |repository: &str| payload(&format!("{host}/{repository}:v1"), &digest);

    let Some(elsewhere) = Store::privileged() else { return };
    let person = Person::new(&elsewhere);
    let file = person.home(".config/containers/policy.json");
    // An empty store, made by a command that asks no registry.
    assert_eq!(person.mica(&["images", "-q"]).ok(), "");
    let refused = |name: &str, words: &str| {
        person.mica(&["pull", name]).fails(1, words);
        let run = person.mica(&["run", "--rm", name, "true"]);
        assert!(run.code == 125 && run.stderr.contains(words), "{run:#?}");
        person.mica(&["image", "copy", &format!("docker://{name}"), "oci:copied"]).fails(1, words);
        assert!(!elsewhere.path("copied").exists(), "{name}");
    };
    let before = files(&elsewhere.path("root"));
    put("wrong-key", "other", &named("wrong-key"));
    put("wrong-digest", "p256", &payload(&format!("{host}/wrong-digest:v1"), &Digest::sha256_of(b"other")));
    put("wrong-name", "p256", &named("p256"));
    put("wrong-tag", "p256", &payload(&format!("{host}/wrong-tag"), &digest));
    policy(&file, host, &keys.public("p256"), "matchRepoDigestOrExact");
    let by = format!("by key `{}`", keys.public("p256").display());
    let place = format!("is refused by `{}` (scope `{host}`): ", file.display());
    for (repository, words) in [
        ("absent", format!("`{host}/absent:v1` {place}no signature {by} was found\n")),
        ("wrong-key", format!("`{host}/wrong-key:v1` {place}no signature {by} was found, only others\n")),
        ("wrong-digest", format!("{place}the signature {by} is for `{}`", Digest::sha256_of(b"other"))),
        (
            "wrong-name",
            format!(
                "{place}the signature {by} is for `{host}/p256:v1`, which `matchRepoDigestOrExact` does not admit\n"
            ),
        ),
        (
            "wrong-tag",
            "hint: cosign signs names without tags: `\"signedIdentity\": {\"type\": \"matchRepository\"}`".to_owned(),
        ),
    ] {
        refused(&format!("{host}/{repository}:v1"), &words);
    }
    refused("stranger.invalid/x", "cannot reach registry");
    fs_err::write(&file, r#"{"default":[{"type":"reject"}]}"#).expect("written");
    refused(&format!("{host}/p256:v1"), "(`default`): its rule is `reject`");
    fs_err::write(&file, r#"{"default":[{"type":"reject"}],"tranports":{}}"#).expect("written");
    refused(&format!("{host}/p256:v1"), &format!("cannot use `{}`: line 1: unknown field `tranports`", file.display()));

    // What was refused left no trace: not here, and no layer was asked for.
    assert_eq!(files(&elsewhere.path("root")), before);
    let layers: Value = serde_json::from_slice(&found(&format!("{host}/p256:v1")).bytes).expect("a manifest");
    for layer in layers["layers"].as_array().expect("layers") {
        let digest = layer["digest"].as_str().expect("a digest");
        assert!(!front.file("seen").contains(digest), "{}", front.file("seen"));
    }
    assert_eq!(person.mica(&["images", "-q"]).ok(), "");
    person.mica(&["system", "check"]).ok();

    for key in ["p256", "p384", "ed", "rsa"] {
        let name = format!("{host}/{key}:v1");
        put(key, key, &named(key));
        policy(&file, &format!("{host}/{key}"), &keys.public(key), "matchExact");
        person.mica(&["pull", "-q", &name]).ok();
        assert_eq!(person.mica(&["run", "--rm", "--pull", "always", "-q", &name, "echo", "signed"]).ok(), "signed");
    }
    // Mica's own configuration names another file, which has to be there.
    let config = person.writes("mica.toml", &format!("[registries]\npolicy = \"{}\"\n", person.home("own").display()));
    let own = person.with("MICA_CONFIG", &config.display().to_string());
    own.mica(&["pull", &format!("{host}/absent:v1")]).fails(1, "there is no such file, and `registries.policy`");
    fs_err::write(person.home("own"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).expect("written");
    own.mica(&["pull", &format!("{host}/absent:v1")]).ok();
    // Where all tags are pulled, that of a signature is none of an image.
    let all = own.mica(&["pull", "-a", &format!("{host}/p256")]);
    assert!(all.stderr.contains(&format!("tag `{}` is passed over", tag(&digest))), "{all:#?}");
    assert!(all.ok().contains(&format!("Image is up to date for {host}/p256:v1")));
}

/// What this policy makes of a name, by our client.
fn verdict(file: &Path, name: &str, chain: &[Document]) -> Result<(), (Failure, String)> {
    let trust = Trust::new(Some(file.to_owned()), Vec::new());
    let name = Reference::parse(name).expect("a name");
    block_on(trust.admit(&HttpRegistry::default(), &name, chain)).map_err(|error| (error.kind(), error.to_string()))
}

#[test]
fn privileged_rules_mean_what_they_mean_to_podman() {
    let Some(given) = store() else { return };
    let (keys, server) = (Keys::new(), Server::registry(&Kind::default()));
    let host = &server.address;
    for name in ["team/app:v1", "team/app:v2", "team/bare:v1", "team/unsigned:v1"] {
        server.give(&given, name);
    }
    let image = found(&format!("{host}/team/app:v1"));
    let digest = &image.digest;
    let sign = |repository: &str, signed: &[(&str, &str)]| {
        let signed: Vec<_> = signed.iter().map(|(key, name)| keys.sign(key, &payload(name, digest))).collect();
        attach(&format!("{host}/{repository}:{}", tag(digest)), &signed);
    };
    sign("team/app", &[("other", &format!("{host}/team/app:v1")), ("p256", &format!("{host}/team/app:v1"))]);
    sign("team/bare", &[("p256", &format!("{host}/team/bare"))]);

    let person = Person::new(&given);
    let by = |key: &str, identity: Value| json!({ "type": "sigstoreSigned", "keyPath": keys.public(key), "signedIdentity": identity });
    let accept = json!({ "type": "insecureAcceptAnything" });
    let reject = json!({ "type": "reject" });
    let exact = || by("p256", json!({ "type": "matchExact" }));
    let repository = || by("p256", json!({ "type": "matchRepository" }));
    let of = |name: &str| by("p256", json!({ "type": "exactReference", "dockerReference": name }));
    let vendor = |name: &str| by("p256", json!({ "type": "exactRepository", "dockerRepository": name }));
    let remap =
        |from: &str, to: &str| by("p256", json!({ "type": "remapIdentity", "prefix": from, "signedPrefix": to }));
    let default = json!({ "type": "sigstoreSigned", "keyPath": keys.public("p256") });
    let app = format!("{host}/team/app");
    let pinned = format!("{app}@{digest}");
    let tagged = |tag: &str| format!("{app}:{tag}");
    let bare = format!("{host}/team/bare:v1");
    let unsigned = format!("{host}/team/unsigned:v1");
    for (scope, requirements, name, admitted) in [
        (host.clone(), vec![accept.clone()], tagged("v1"), true),
        (host.clone(), vec![reject.clone()], tagged("v1"), false),
        (host.clone(), vec![accept.clone(), reject], tagged("v1"), false),
        (String::new(), vec![accept.clone()], tagged("v1"), true),
        ("*.0.0.1".to_owned(), vec![accept.clone()], tagged("v1"), true),
        ("*.0.1".to_owned(), vec![accept.clone()], tagged("v1"), true),
        ("*.1".to_owned(), vec![accept.clone()], tagged("v1"), true),
        ("*.7.0.0.1".to_owned(), vec![accept.clone()], tagged("v1"), false),
        ("127.0.0.1".to_owned(), vec![accept.clone()], tagged("v1"), false),
        (format!("{host}/te"), vec![accept.clone()], tagged("v1"), false),
        (format!("{host}/team"), vec![accept.clone()], tagged("v1"), true),
        (tagged("v1"), vec![accept.clone()], tagged("v1"), true),
        (tagged("v1"), vec![accept.clone()], tagged("v2"), false),
        (tagged("v1"), vec![accept.clone()], pinned.clone(), false),
        (pinned.clone(), vec![accept.clone()], pinned.clone(), true),
        (host.clone(), vec![default.clone()], tagged("v1"), true),
        (host.clone(), vec![default.clone()], tagged("v2"), false),
        (host.clone(), vec![default.clone()], pinned.clone(), true),
        (host.clone(), vec![default.clone()], bare.clone(), false),
        (host.clone(), vec![default.clone()], unsigned.clone(), false),
        (host.clone(), vec![default, accept], tagged("v1"), true),
        (host.clone(), vec![exact()], tagged("v1"), true),
        (host.clone(), vec![exact()], pinned.clone(), false),
        (host.clone(), vec![repository()], tagged("v2"), true),
        (host.clone(), vec![repository()], bare.clone(), true),
        (host.clone(), vec![repository(), by("other", json!({ "type": "matchExact" }))], tagged("v1"), true),
        (host.clone(), vec![repository(), by("other", json!({ "type": "matchExact" }))], tagged("v2"), false),
        (host.clone(), vec![by("rsa", json!({ "type": "matchRepository" }))], tagged("v1"), false),
        (host.clone(), vec![of(&tagged("v1"))], tagged("v2"), true),
        (host.clone(), vec![of(&tagged("v2"))], tagged("v2"), false),
        (host.clone(), vec![vendor(&app)], tagged("v2"), true),
        (host.clone(), vec![vendor(&format!("{host}/team/other"))], tagged("v2"), false),
        (host.clone(), vec![remap(host, host)], tagged("v1"), true),
        (host.clone(), vec![remap(&format!("{host}/team"), host)], tagged("v1"), false),
        (host.clone(), vec![remap(&format!("{host}/te"), &format!("{host}/x"))], tagged("v1"), true),
        (host.clone(), vec![by("absent", json!({ "type": "matchExact" }))], tagged("v1"), false),
    ] {
        let text = json!({ "default": [{ "type": "reject" }], "transports": { "docker": { scope: requirements } } });
        let file = person.writes("policy.json", &text.to_string());
        let ours = verdict(&file, &name, std::slice::from_ref(&image));
        assert_eq!(ours.is_ok(), admitted, "{name} by {text}: {ours:?}");
        // Debian's skopeo finds the signatures and says that it was built without what verifies them.
        if !text.to_string().contains("sigstoreSigned") {
            let line = ["--policy", &file.display().to_string(), "copy", "-q", "--src-tls-verify=false"];
            let theirs = person.other("skopeo", &[&line[..], &[&format!("docker://{name}"), "dir:copied"]].concat());
            assert_eq!(theirs.code == 0, admitted, "{name} by {text}: {theirs:?}");
        }
        assert!(ours.is_ok() || ours.as_ref().is_err_and(|(kind, _)| *kind == Failure::Denied), "{ours:?}");
    }
}

#[test]
fn privileged_any_document_of_the_chain_may_be_signed_and_anything_more_is_bounded() {
    let Some(given) = store() else { return };
    let (keys, server) = (Keys::new(), Server::registry(&Kind::default()));
    let host = &server.address;
    server.give(&given, "app:v1");
    let manifest = found(&format!("{host}/app:v1"));
    let mut entry = json!(manifest.descriptor());
    entry["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let index = |note: &str| {
        let value = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry], "annotations": { "note": note } });
        document(&format!("{host}/app:{note}"), OCI_INDEX, &value)
    };
    let person = Person::new(&given);
    let file = person.home("policy.json");
    policy(&file, host, &keys.public("p256"), "matchRepository");
    let name = format!("{host}/app");
    let good = |digest: &Digest| keys.sign("p256", &payload(&name, digest));
    let bad = |digest: &Digest| keys.sign("other", &payload(&name, digest));
    let attach_to = |digest: &Digest, signed: &[(String, String)]| attach(&format!("{name}:{}", tag(digest)), signed);

    let signed = index("signed");
    let chain = [signed.clone(), manifest.clone()];
    let refused = verdict(&file, &name, &chain).expect_err("nothing is signed");
    assert!(refused.1.contains("no signature by"), "{refused:?}");
    attach_to(&signed.digest, &[good(&signed.digest)]);
    verdict(&file, &name, &chain).expect("the index is signed");
    verdict(&file, &name, std::slice::from_ref(&manifest)).expect_err("the manifest is not");
    // A signature counts wherever it is found, for what it says.
    let moved = index("moved");
    attach_to(&moved.digest, &[good(&signed.digest)]);
    let refused = verdict(&file, &name, &[moved, manifest.clone()]).expect_err("another index is signed");
    assert!(refused.1.contains(&format!("is for `{}`, which is another image", signed.digest)), "{refused:?}");

    // A registry of before version 1.1 has what refers to a digest under a tag.
    let referring = index("referring");
    let artifact = "application/vnd.dev.cosign.artifact.sig.v1+json";
    let list = |of: &Digest, artifact: &str, signed: &[(String, String)]| {
        let mut entry = json!(attach(&format!("{name}:aside"), signed).descriptor());
        entry["artifactType"] = artifact.into();
        let value = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
        document(&format!("{name}:sha256-{}", of.hex()), OCI_INDEX, &value);
    };
    list(&referring.digest, "application/x-other", &[good(&referring.digest)]);
    verdict(&file, &name, &[referring.clone(), manifest.clone()]).expect_err("that is no signature");
    list(&referring.digest, artifact, &[bad(&referring.digest), good(&referring.digest)]);
    verdict(&file, &name, &[referring, manifest.clone()]).expect("what refers to it is a signature");

    // One good one among others is enough, and so many are looked at and no more.
    let among = |number: usize| {
        let mut list = vec![bad(&manifest.digest); number];
        list.push(good(&manifest.digest));
        attach_to(&manifest.digest, &list);
        verdict(&file, &name, std::slice::from_ref(&manifest))
    };
    among(63).expect("the last of 64 is good");
    let refused = among(64).expect_err("the 65th is not looked at");
    assert!(refused.1.contains("no more than 64 signatures are looked at"), "{refused:?}");
    let large = keys.sign("p256", &format!("{}{}", payload(&name, &manifest.digest), " ".repeat(1 << 20)));
    attach_to(&manifest.digest, &[large]);
    verdict(&file, &name, std::slice::from_ref(&manifest)).expect_err("a payload of more than 1 MiB is not read");
    let (text, signature) = good(&manifest.digest);
    for (text, signature, words) in [
        (text.clone(), "no base64".to_owned(), "only others"),
        (text.replace("sha256:", "sha256:0"), signature, "only others"),
        keys_of(
            &keys,
            &text.replace("cosign container image signature", "x"),
            "of a kind that is not known: its type is `x`",
        ),
        keys_of(&keys, "{}", "of a kind that is not known: line 1: missing field `critical`"),
    ] {
        attach_to(&manifest.digest, &[(text, signature)]);
        let refused = verdict(&file, &name, std::slice::from_ref(&manifest)).expect_err(words);
        assert!(refused.1.contains(words) && refused.0 == Failure::Denied, "{refused:?}");
    }
    // A manifest without payloads is none with signatures.
    attach_to(&manifest.digest, &[]);
    verdict(&file, &name, &[manifest]).expect_err("it has no signatures");
}

#[test]
fn privileged_all_platforms_are_admitted_or_none() {
    let Some(given) = store() else { return };
    let (keys, server) = (Keys::new(), Server::registry(&Kind::default()));
    let name = format!("{}/app", server.address);
    server.give(&given, "app:v1");
    let first = found(&format!("{name}:v1"));
    let mut second: Value = serde_json::from_slice(&first.bytes).expect("a manifest");
    second["annotations"] = json!({ "note": "another one" });
    let second = document(&format!("{name}:v2"), &first.media_type, &second);
    let entry = |document: &Document, architecture: &str| {
        let mut entry = json!(document.descriptor());
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        entry
    };
    let entries = [entry(&first, "amd64"), entry(&second, "arm64")];
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    document(&format!("{name}:both"), OCI_INDEX, &index);
    let sign = |document: &Document| {
        let signed = keys.sign("p256", &payload(&name, &document.digest));
        attach(&format!("{name}:{}", tag(&document.digest)), &[signed]);
    };

    let Some(elsewhere) = Store::privileged() else { return };
    let person = Person::new(&elsewhere);
    let file = person.home(".config/containers/policy.json");
    policy(&file, &server.address, &keys.public("p256"), "matchRepository");
    person.mica(&["images", "-q"]).ok();
    let before = files(&elsewhere.path("root"));
    let all = ["pull", "-q", "--all-platforms", &format!("{name}:both")];
    sign(&first);
    person.mica(&all).fails(1, "no signature by key");
    assert_eq!(files(&elsewhere.path("root")), before);
    sign(&second);
    person.mica(&all).ok();
}

fn keys_of<'a>(keys: &Keys, text: &str, words: &'a str) -> (String, String, &'a str) {
    let (text, signature) = keys.sign("p256", text);
    (text, signature, words)
}

#[test]
fn what_is_not_supported_is_refused_with_its_file_and_scope() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("policy.json");
    let key = "/nowhere/key.pub";
    for (requirement, words) in [
        (
            json!({ "type": "signedBy", "keyType": "GPGKeys", "keyPath": key }),
            "its rule is `signedBy` (signatures of GPG), which is not supported",
        ),
        (
            json!({ "type": "sigstoreSigned", "fulcio": { "caPath": key } }),
            "`sigstoreSigned` with `fulcio`, which is not supported",
        ),
        (
            json!({ "type": "sigstoreSigned", "pki": { "caRootsPath": key } }),
            "`sigstoreSigned` with `pki`, which is not supported",
        ),
        (
            json!({ "type": "sigstoreSigned", "keyPath": key, "rekorPublicKeyPath": key }),
            "`sigstoreSigned` with `rekorPublicKey…`, which is not supported",
        ),
        (json!({ "type": "sigstoreSigned", "keyPath": key }), "there is no key `/nowhere/key.pub`"),
        (
            json!({ "type": "sigstoreSigned", "keyData": "eA==" }),
            "cannot use the key in the policy: it has no `-----BEGIN",
        ),
    ] {
        let accept = json!({ "type": "insecureAcceptAnything" });
        let text = json!({ "default": [accept], "transports": { "docker": { "r.invalid": [accept, requirement] } } });
        fs_err::write(&file, text.to_string()).expect("written");
        let (kind, message) = verdict(&file, "r.invalid/x", &[]).expect_err(words);
        let place = format!("`r.invalid/x:latest` is refused by `{}` (scope `r.invalid`): ", file.display());
        assert!(kind == Failure::Denied && message.starts_with(&place) && message.contains(words), "{message}");
        verdict(&file, "other.invalid/x", &[]).expect("another rule is for this one");
    }
    fs_err::remove_file(&file).expect("removed");
    let name = Reference::parse("r.invalid/x").expect("a name");
    let trust = Trust::new(None, vec![file]);
    block_on(trust.admit(&HttpRegistry::default(), &name, &[])).expect("without a policy everything is admitted");
}
