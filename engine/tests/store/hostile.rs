//! Archives that lie or attack: each is refused with one clear error, and nothing of it gets a name.

use mica_engine::Kind;
use mica_layer::Digest;
use serde_json::{Value, json};

use crate::ground::{Ground, Members, docker_members, is_root, oci_members, pack, sample};

/// A way to spoil an archive.
type Spoil = Box<dyn Fn(&mut Members)>;

fn edit_json(members: &mut Members, name: &str, change: impl Fn(&mut Value)) {
    let (_, bytes) = members.iter_mut().find(|(member, _)| member == name).unwrap();
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    change(&mut value);
    *bytes = value.to_string().into_bytes();
}

fn json_edit(name: &'static str, change: impl Fn(&mut Value) + Copy + 'static) -> Spoil {
    Box::new(move |members| edit_json(members, name, change))
}

/// Changes an OCI archive's config and everything that names it, so that only the rule in question is broken.
fn config_edit(change: impl Fn(&mut Value) + Copy + 'static) -> Spoil {
    Box::new(move |members| {
        let mut image = sample("evil");
        change(&mut image.config);
        *members = oci_members(&image);
    })
}

/// The same for the manifest.
fn manifest_edit(change: impl Fn(&mut Value) + Copy + 'static) -> Spoil {
    Box::new(move |members| {
        let (name, mut manifest) = manifest_of(members);
        change(&mut manifest);
        let bytes = manifest.to_string().into_bytes();
        let digest = Digest::sha256_of(&bytes);
        members.retain(|(member, _)| *member != name);
        members.push((format!("blobs/sha256/{}", digest.hex()), bytes.clone()));
        edit_json(members, "index.json", |index| {
            index["manifests"][0]["digest"] = digest.as_str().into();
            index["manifests"][0]["size"] = bytes.len().into();
        });
    })
}

fn manifest_of(members: &Members) -> (String, Value) {
    let index: Value =
        serde_json::from_slice(&members.iter().find(|(name, _)| name == "index.json").unwrap().1).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let name = format!("blobs/sha256/{}", &digest[7..]);
    let bytes = &members.iter().find(|(member, _)| *member == name).unwrap().1;
    (name.clone(), serde_json::from_slice(bytes).unwrap())
}

fn flip_in(suffix: &'static str) -> Spoil {
    Box::new(move |members| {
        let (_, bytes) = members.iter_mut().find(|(name, _)| name.ends_with(suffix)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    })
}

#[test]
fn privileged_tampered_archives_are_refused() {
    if !is_root() {
        return;
    }
    let corrupt = Kind::Corrupt;
    let invalid = Kind::InvalidInput;
    let docker: Vec<(&str, Kind, Spoil)> = vec![
        ("an altered layer", corrupt, flip_in("layer.tar")),
        (
            "an altered config",
            corrupt,
            Box::new(|members| {
                let (_, bytes) =
                    members.iter_mut().find(|(name, _)| name.ends_with(".json") && name.len() > 64).unwrap();
                let text = String::from_utf8(bytes.clone()).unwrap().replace("amd64", "arm64");
                *bytes = text.into_bytes();
            }),
        ),
        ("too few layers", corrupt, json_edit("manifest.json", |m| drop(m[0]["Layers"].as_array_mut().unwrap().pop()))),
        (
            "too many layers",
            corrupt,
            json_edit("manifest.json", |m| {
                let first = m[0]["Layers"][0].clone();
                m[0]["Layers"].as_array_mut().unwrap().push(first);
            }),
        ),
        (
            "layers in another order",
            corrupt,
            json_edit("manifest.json", |m| m[0]["Layers"].as_array_mut().unwrap().swap(0, 1)),
        ),
        ("a layer outside", invalid, json_edit("manifest.json", |m| m[0]["Layers"][0] = "../../etc/passwd".into())),
        ("an absolute layer", invalid, json_edit("manifest.json", |m| m[0]["Layers"][0] = "/etc/passwd".into())),
        ("a missing layer", invalid, json_edit("manifest.json", |m| m[0]["Layers"][0] = "nowhere".into())),
        ("a config outside", invalid, json_edit("manifest.json", |m| m[0]["Config"] = "../config.json".into())),
        ("an evil name", invalid, json_edit("manifest.json", |m| m[0]["RepoTags"] = json!(["../x"]))),
        ("a name with an escape", invalid, json_edit("manifest.json", |m| m[0]["RepoTags"] = json!(["a\u{1b}[31m:1"]))),
        ("an option as a name", invalid, json_edit("manifest.json", |m| m[0]["RepoTags"] = json!(["--all"]))),
        ("no manifest at all", invalid, Box::new(|members| members.retain(|(name, _)| name != "manifest.json"))),
        ("a manifest of nothing", invalid, json_edit("manifest.json", |m| *m = json!([]))),
        ("a manifest that is a number", invalid, json_edit("manifest.json", |m| *m = json!(1))),
        (
            "a huge manifest",
            invalid,
            Box::new(|members| {
                let (_, bytes) = members.iter_mut().find(|(name, _)| name == "manifest.json").unwrap();
                bytes.extend(std::iter::repeat_n(b' ', 5 << 20));
            }),
        ),
        (
            "deep nesting",
            invalid,
            Box::new(|members| {
                let (_, bytes) = members.iter_mut().find(|(name, _)| name == "manifest.json").unwrap();
                *bytes = "[".repeat(200_000).into_bytes();
            }),
        ),
    ];
    let oci: Vec<(&str, Kind, Spoil)> = vec![
        ("a wrong type of root file system", invalid, config_edit(|config| config["rootfs"]["type"] = "evil".into())),
        (
            "a missing diff ID",
            corrupt,
            config_edit(|config| drop(config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop())),
        ),
        (
            "an extra diff ID",
            corrupt,
            config_edit(|config| {
                let first = config["rootfs"]["diff_ids"][0].clone();
                config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(first);
            }),
        ),
        (
            "a wrong diff ID",
            corrupt,
            config_edit(|config| {
                config["rootfs"]["diff_ids"][0] = Digest::sha256_of(b"other").as_str().into();
            }),
        ),
        (
            "a diff ID that is a path",
            invalid,
            config_edit(|config| config["rootfs"]["diff_ids"][0] = "sha256:../../x".into()),
        ),
        ("a layer's size too small", corrupt, manifest_edit(|m| m["layers"][0]["size"] = 1.into())),
        ("a layer's size too large", corrupt, manifest_edit(|m| m["layers"][0]["size"] = 1_000_000_000.into())),
        ("a negative size", invalid, manifest_edit(|m| m["layers"][0]["size"] = (-1).into())),
        (
            "a digest that is a path",
            invalid,
            manifest_edit(|m| m["layers"][0]["digest"] = "sha256:../../../etc/passwd".into()),
        ),
        (
            "an md5 digest",
            invalid,
            manifest_edit(|m| m["layers"][0]["digest"] = "md5:d41d8cd98f00b204e9800998ecf8427e".into()),
        ),
        (
            "an evil layer type",
            Kind::Unsupported,
            manifest_edit(|m| m["layers"][0]["mediaType"] = "application/x-evil".into()),
        ),
        (
            "an evil config type",
            Kind::Unsupported,
            manifest_edit(|m| m["config"]["mediaType"] = "application/x-evil".into()),
        ),
        (
            "a contradicting type",
            corrupt,
            manifest_edit(|m| m["mediaType"] = "application/vnd.oci.image.index.v1+json".into()),
        ),
        ("manifest and index at once", corrupt, manifest_edit(|m| m["manifests"] = json!([]))),
        ("another schema", invalid, manifest_edit(|m| m["schemaVersion"] = 1.into())),
        (
            "a foreign layer that is not there",
            invalid,
            manifest_edit(|m| {
                m["layers"][0]["digest"] = Digest::sha256_of(b"elsewhere").as_str().into();
                m["layers"][0]["urls"] = json!(["http://127.0.0.1:1/", "file:///etc/passwd"]);
            }),
        ),
        (
            "an altered manifest",
            corrupt,
            Box::new(|members| {
                let name = manifest_of(members).0;
                let (_, bytes) = members.iter_mut().find(|(member, _)| *member == name).unwrap();
                let text =
                    String::from_utf8(bytes.clone()).unwrap().replacen("\"schemaVersion\":2", "\"schemaVersion\":3", 1);
                *bytes = text.into_bytes();
            }),
        ),
    ];
    let docker = docker.into_iter().map(|case| (docker_members(&[sample("evil")]), case));
    let oci = oci.into_iter().map(|case| (oci_members(&sample("evil")), case));
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    for (mut members, (what, kind, spoil)) in docker.chain(oci) {
        spoil(&mut members);
        let error = ground.load(&engine, &pack(&members)).expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error:?}");
        assert!(!error.to_string().contains(['\u{1b}', '\n']), "{what}: {error}");
        assert_eq!(crate::ground::wait(engine.images(&[])).unwrap(), [], "{what} left an image");
    }
    let left = ground.weight().1;
    assert!(!left.iter().any(|name| name.starts_with("content/ingest/")), "{left:?}");
    assert!(!left.iter().any(|name| name.starts_with("drivers/overlay/stage/")), "{left:?}");
}

#[test]
fn privileged_members_that_are_not_files_are_refused() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    let secret = ground.directory.path().join("secret");
    fs_err::write(&secret, "secret").unwrap();
    let links = [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Fifo,
        tar::EntryType::Char,
        tar::EntryType::Directory,
    ];
    for kind in links {
        let mut members = docker_members(&[sample("evil")]);
        let layer = members.iter().position(|(name, _)| name.ends_with("layer.tar")).unwrap();
        let (name, _) = members.remove(layer);
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let target = secret.to_str().unwrap().as_bytes();
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
        let mut archive = builder.into_inner().unwrap();
        archive.truncate(512);
        archive.extend(pack(&members));
        let error = ground.load(&engine, &archive).expect_err("a layer that is no file");
        assert_eq!(error.kind(), Kind::InvalidInput, "{kind:?}: {error}");
    }
}

#[test]
fn privileged_what_is_no_archive_is_refused() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    let good = pack(&docker_members(&[sample("cut")]));
    let cut = good[..good.len() * 6 / 10].to_vec();
    let mut long_name = good.clone();
    // A long name that claims to have a gigabyte.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 30);
    header.set_cksum();
    long_name.splice(0..0, header.as_bytes().iter().copied());
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("text", b"hello world\n".repeat(100)),
        ("an ELF file", fs_err::read("/proc/self/exe").unwrap()[..4096].to_vec()),
        ("a cut archive", cut),
        ("a cut gzip stream", vec![0x1f, 0x8b, 8, 0, 0, 0]),
        ("a long name", long_name),
    ] {
        let error = ground.load(&engine, &bytes).expect_err(what);
        assert!(matches!(error.kind(), Kind::InvalidInput | Kind::Corrupt | Kind::Internal), "{what}: {error:?}");
    }
}
