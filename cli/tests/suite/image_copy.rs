//! `image copy` and `image inspect --remote`: between a real registry, layouts and archives, as skopeo sees the results.

use std::process::Stdio;

use mica_layer::{Compression, Digest};
use serde_json::{Value, json};

use crate::handmade::{INDEX, LAYER, Layout, MANIFEST, compress, files, tar, tool};
use crate::registry::Server;
use crate::support::Store;

/// How `image copy` calls a name on a registry.
fn place(server: &Server, name: &str) -> String {
    format!("docker://{}/{name}", server.host)
}

/// What skopeo gets for a name, byte for byte.
fn raw(server: &Server, name: &str) -> Option<Vec<u8>> {
    let done = tool("skopeo", &["inspect", "--tls-verify=false", "--raw", &place(server, name)])?;
    assert_eq!(done.code, 0, "{}", done.stderr);
    Some(done.bytes)
}

fn digest(descriptor: &Value) -> &str {
    descriptor["digest"].as_str().expect("a digest")
}

fn blobs(layout: &std::path::Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    files(&layout.join("blobs"))
}

#[test]
fn privileged_an_index_goes_round_through_every_place_that_can_hold_it() {
    let Some(store) = Store::privileged() else { return };
    let Some(server) = Server::start() else { return };
    let layout = Layout::at(store.path("layout"));
    let index = layout.two_platforms();
    layout.index(&[(&index, Some("v1"))]);
    let at = |name: &str| store.path(name).display().to_string();
    let steps = [
        (layout.place(), place(&server, "a/b:1")),
        (place(&server, "a/b:1"), place(&server, "c/d:1")),
        (place(&server, "c/d:1"), format!("oci-archive:{}:x", at("x.tar"))),
        (format!("oci-archive:{}", at("x.tar")), format!("dir:{}", at("dir"))),
        (format!("dir:{}", at("dir")), format!("oci:{}:example.com/y:2", at("end"))),
    ];
    for (source, target) in &steps {
        let said = store.mica(&["image", "copy", "--all", source, target]).ok();
        assert!(said.contains(&format!("Digest: {}", digest(&index))), "{source} to {target}: {said}");
    }
    assert_eq!(blobs(&store.path("end")), blobs(&layout.path), "every blob and document as it was");
    let entries: Value =
        serde_json::from_slice(&fs_err::read(store.path("end/index.json")).expect("it")).expect("JSON");
    assert_eq!(entries["manifests"][0]["digest"], index["digest"]);
    assert_eq!(entries["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "example.com/y:2");
    let original = fs_err::read(layout.file(&index)).expect("a file");
    for name in ["a/b:1", "c/d:1"] {
        if let Some(raw) = raw(&server, name) {
            assert!(raw == original, "{name}");
        }
    }
    // What is pulled by a tag or by its digest is saved as it was.
    let name = format!("{}/a/b", server.host);
    for (pulled, out) in [(format!("{name}:1"), "by-tag"), (format!("{name}@{}", digest(&index)), "by-digest")] {
        store.mica(&["pull", "-q", "--all-platforms", &pulled]).ok();
        store.mica(&["save", "--format", "oci-dir", "-o", out, &pulled]).ok();
        let entries: Value =
            serde_json::from_slice(&fs_err::read(store.path(out).join("index.json")).expect("it")).expect("JSON");
        assert_eq!(entries["manifests"][0]["digest"], index["digest"], "{pulled}");
        let (saved, all) = (blobs(&store.path(out)), blobs(&layout.path));
        assert!(saved.iter().all(|(name, bytes)| all.get(name) == Some(bytes)), "{pulled}");
        assert_eq!(saved.len(), all.len() - 3, "{pulled}: all but the attestation");
    }
    // What other tools make of all of it.
    for place in [format!("oci-archive:{}", at("x.tar")), format!("oci:{}", at("end")), format!("dir:{}", at("dir"))] {
        let target = format!("dir:{}", at("by-skopeo"));
        if let Some(done) = tool("skopeo", &["--insecure-policy", "copy", "-q", "--all", &place, &target]) {
            done.ok();
            let got = fs_err::read(store.path("by-skopeo/manifest.json")).expect("a file");
            assert!(got == original, "{place}");
            fs_err::remove_dir_all(store.path("by-skopeo")).expect("removed");
        }
    }
    // And what we make of theirs.
    let skopeo = [
        ("--all", place(&server, "a/b:1"), format!("oci:{}:v", at("theirs"))),
        ("--all", place(&server, "a/b:1"), format!("dir:{}", at("theirs-dir"))),
    ];
    for (all, source, target) in &skopeo {
        let args = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", all, source, target];
        let Some(done) = tool("skopeo", &args) else { return };
        done.ok();
        let name = format!("theirs/{}:1", target.split(':').next().unwrap_or_default());
        store.mica(&["image", "copy", "-q", "--all", target, &place(&server, &name)]).ok();
        assert!(raw(&server, &name).expect("skopeo") == original, "{target}");
    }
}

#[test]
fn privileged_one_image_is_chosen_and_what_is_there_stays() {
    let Some(store) = Store::privileged() else { return };
    let Some(server) = Server::start() else { return };
    let layout = Layout::at(store.path("layout"));
    let index = layout.two_platforms();
    layout.index(&[(&index, Some("v1"))]);
    let document: Value = serde_json::from_slice(&fs_err::read(layout.file(&index)).expect("a file")).expect("JSON");
    let (arm, amd) = (&document["manifests"][0], &document["manifests"][1]);
    let copy = |args: &[&str]| store.mica(&[&["image", "copy"], args].concat());
    assert_eq!(copy(&["-q", &layout.place(), &place(&server, "one:1")]).ok(), digest(amd));
    let wanted = ["-q", "--platform", "linux/arm64", &layout.place(), &place(&server, "one:arm")];
    assert_eq!(copy(&wanted).ok(), digest(arm));
    copy(&["--platform", "linux/s390x", &layout.place(), &place(&server, "one:z")])
        .fails(1, "no matching manifest for linux/s390x");
    let again = copy(&[&layout.place(), &place(&server, "one:2")]).ok();
    assert_eq!(again.matches("Already exists").count(), 2, "{again}");
    // Another repository of the same registry takes blobs over.
    let other = copy(&[&place(&server, "one:1"), &place(&server, "two:1")]).ok();
    assert_eq!(other.matches("Already exists").count(), 2, "{other}");
    // A pinned target takes what it is pinned to and nothing else.
    copy(&["-q", &layout.place(), &place(&server, &format!("pin@{}", digest(amd)))]).ok();
    copy(&["-q", &layout.place(), &place(&server, &format!("pin@{}", digest(arm)))]).fails(1, "is pinned to");
    copy(&["-q", &place(&server, &format!("one@{}", digest(amd))), "dir:pinned"]).ok();
    copy(&["-q", &place(&server, "nothing:1"), "oci:none"]).fails(1, "manifest unknown");
    assert!(!store.path("none").exists());
    // A layout gets more images, and one of the same name takes the other's place.
    copy(&["-q", &layout.place(), "oci:many:a"]).ok();
    copy(&["-q", "--platform", "linux/arm64", &layout.place(), "oci:many:b"]).ok();
    copy(&["-q", "--platform", "linux/arm64", &layout.place(), "oci:many:a"]).ok();
    let entries: Value =
        serde_json::from_slice(&fs_err::read(store.path("many/index.json")).expect("it")).expect("JSON");
    let names: Vec<_> = entries["manifests"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| {
            (entry["annotations"]["org.opencontainers.image.ref.name"].as_str().expect("a name"), digest(entry))
        })
        .collect();
    assert_eq!(names, [("b", digest(arm)), ("a", digest(arm))]);
    copy(&["-q", "oci:many:c", "dir:x"]).fails(1, "its names are: b, a");
    copy(&["-q", &layout.place(), "dir:pinned"]).fails(1, "is not empty");
    // No store was needed for any of this.
    assert!(!store.path("root").exists());
}

#[test]
fn privileged_dockers_archive_loses_compression_and_keeps_the_image() {
    let Some(store) = Store::with_base() else { return };
    let Some(server) = Server::start() else { return };
    let id = store.mica(&["images", "-q", "--no-trunc"]).ok();
    store.mica(&["save", "--format", "oci-dir", "--compress", "-o", "packed", "base"]).ok();
    let copy = |source: &str, target: &str| store.mica(&["image", "copy", "-q", source, target]);
    copy("oci:packed", "docker-archive:d.tar:example.com/app:1").ok();
    let said = store.mica(&["load", "-i", "d.tar"]).ok();
    assert_eq!(said, "Loaded image: example.com/app:1");
    assert_eq!(store.mica(&["images", "-q", "--no-trunc", "example.com/app"]).ok(), id);
    let config = |place: &str| tool("skopeo", &["inspect", "--tls-verify=false", "--config", "--raw", place]);
    if let Some(config) = config(&format!("docker-archive:{}", store.path("d.tar").display())) {
        assert_eq!(Digest::sha256_of(&config.bytes).to_string(), id);
    }
    let (root, run) = (store.path("podman"), store.path("podman-run"));
    let archive = store.path("d.tar");
    let args = [
        "--storage-driver",
        "vfs",
        "--root",
        root.to_str().expect("text"),
        "--runroot",
        run.to_str().expect("text"),
        "load",
        "-i",
        archive.to_str().expect("text"),
    ];
    if let Some(loaded) = tool("podman", &args) {
        assert!(loaded.ok().contains("example.com/app:1"));
    }
    // Out of Docker's archives, ours, skopeo's and those of several images.
    store.mica(&["tag", "base", "second:2"]).ok();
    store.mica(&["commit", "-m", "x", &store.mica(&["create", "base"]).ok(), "third:3"]).ok();
    store.mica(&["save", "-o", "several.tar", "base", "second:2", "third:3"]).ok();
    copy("docker-archive:several.tar", &place(&server, "x:1")).fails(1, "holds several images");
    copy("docker-archive:several.tar:fourth", &place(&server, "x:1")).fails(1, "no image of the name `fourth:latest`");
    for (source, name) in [("docker-archive:several.tar:second:2", "x:1"), ("docker-archive:d.tar", "x:2")] {
        copy(source, &place(&server, name)).ok();
        if let Some(manifest) = raw(&server, name) {
            let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
            assert_eq!(manifest["layers"][0]["mediaType"], format!("{LAYER}+gzip"));
        }
        if let Some(config) = config(&place(&server, name)) {
            assert_eq!(Digest::sha256_of(&config.bytes).to_string(), id, "{name}");
        }
        assert_eq!(store.mica(&["pull", "-q", &format!("{}/{name}", server.host)]).code, 0);
    }
    let target = format!("docker-archive:{}:s:1", store.path("skopeo.tar").display());
    let packed = format!("oci:{}", store.path("packed").display());
    if let Some(done) = tool("skopeo", &["--insecure-policy", "copy", "-q", &packed, &target]) {
        done.ok();
        copy("docker-archive:skopeo.tar", "oci:from-skopeo").ok();
        assert!(blobs(&store.path("from-skopeo")).contains_key(&format!("sha256/{}", &id[7..])));
    }
    let layout = Layout::at(store.path("layout"));
    let index = layout.two_platforms();
    layout.index(&[(&index, None)]);
    store.mica(&["image", "copy", "--all", &layout.place(), "docker-archive:i.tar"]).fails(1, "holds no index");
    copy("oci:packed", &format!("docker-archive:i.tar:x@{id}")).fails(1, "has a tag and no digest");
    assert!(!store.path("i.tar").exists());
}

#[test]
fn privileged_bytes_of_a_registry_are_verified_and_bad_ones_leave_nothing() {
    let Some(store) = Store::privileged() else { return };
    let Some(server) = Server::start() else { return };
    let layout = Layout::at(store.path("layout"));
    // More than one piece.
    let plain = tar(
        "file",
        &(0..5_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<_>>(),
    );
    let layer = layout.blob(LAYER, &plain);
    let manifest = layout.image("amd64", &[(layer.clone(), &plain)]);
    layout.index(&[(&manifest, None)]);
    let name = place(&server, "big:1");
    store.mica(&["image", "copy", "-q", &layout.place(), &name]).ok();
    store.mica(&["image", "copy", "-q", &name, "oci:whole"]).ok();
    assert_eq!(blobs(&store.path("whole")), blobs(&layout.path));
    // In the registry's folder, because it verifies what it is sent.
    let at = server.blob(digest(&layer));
    let mut bytes = fs_err::read(&at).expect("a blob");
    bytes[18_000_000] ^= 1;
    fs_err::write(&at, &bytes).expect("written");
    for target in ["oci:out", "oci-archive:out", "docker-archive:out", "dir:out"] {
        store.mica(&["image", "copy", &name, target]).fails(1, digest(&layer));
        assert!(!store.path("out").exists(), "{target}");
    }
    let refused = store.mica(&["image", "copy", &name, "oci:whole:more"]);
    assert_eq!(refused.code, 0, "a blob that is there is not asked for: {}", refused.stderr);
    store.mica(&["image", "copy", &name, &place(&server, "other:1")]).ok();
    // What a layout that is there has got of it stands in no index.
    fs_err::remove_file(store.path("whole/blobs/sha256").join(&digest(&layer)[7..])).expect("removed");
    let before = files(&store.path("whole"));
    store.mica(&["image", "copy", &name, "oci:whole:bad"]).fails(1, digest(&layer));
    assert_eq!(files(&store.path("whole")), before);
    fs_err::write(&at, &bytes[..1000]).expect("written");
    store.mica(&["image", "copy", &name, "oci:out"]).fails(1, digest(&layer));
    assert!(!store.path("out").exists());
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    assert!(!fs_err::read_dir(store.path(".")).expect("a folder").flatten().any(|entry| hidden(&entry.file_name())));
}

#[test]
fn privileged_a_copy_that_is_killed_leaves_nothing_that_looks_whole_and_is_taken_up() {
    let Some(store) = Store::privileged() else { return };
    let layout = Layout::at(store.path("layout"));
    let plain = tar("file", &vec![7; 64_000_000]);
    let small = tar("small", b"small");
    let (large, small_blob) = (layout.blob(LAYER, &plain), layout.blob(LAYER, &small));
    let manifest = layout.image("amd64", &[(small_blob, &small), (large, &plain)]);
    layout.index(&[(&manifest, None)]);
    let listed = || -> Vec<_> {
        let names = fs_err::read_dir(store.path(".")).expect("a folder").flatten().map(|entry| entry.file_name());
        names.filter(|name| name != "layout").collect()
    };
    for target in ["oci", "oci-archive", "docker-archive"] {
        let place = format!("{target}:out");
        let mut copying = store.command(&["image", "copy", &layout.place(), &place]);
        let mut copying = copying.stdout(Stdio::piped()).spawn().expect("it starts");
        // It says what it is about to copy.
        let mut said = [0; 1];
        std::io::Read::read_exact(copying.stdout.as_mut().expect("a pipe"), &mut said).expect("a word");
        copying.kill().expect("it lives");
        assert!(!copying.wait().expect("an end").success(), "{target} was too fast");
        if target == "oci" {
            assert!(!store.path("out/index.json").exists());
            store.mica(&["image", "copy", "oci:out", "dir:x"]).fails(1, "index.json");
        } else {
            assert_eq!(listed(), Vec::<std::ffi::OsString>::new(), "{target}");
        }
        store.mica(&["image", "copy", "-q", &layout.place(), &place]).ok();
        store.mica(&["image", "copy", "-q", &place, "oci:again"]).ok();
        if target == "docker-archive" {
            assert_eq!(blobs(&store.path("again")).len(), 4);
        } else {
            assert_eq!(blobs(&store.path("again")), blobs(&layout.path), "{target}");
        }
        fs_err::remove_dir_all(store.path("again")).expect("removed");
        let _ = fs_err::remove_file(store.path("out")).or_else(|_| fs_err::remove_dir_all(store.path("out")));
    }
}

#[test]
fn privileged_a_bomb_that_is_pulled_leaves_nothing() {
    let Some(store) = Store::privileged() else { return };
    let Some(server) = Server::start() else { return };
    let layout = Layout::at(store.path("layout"));
    let zeros = tar("zeros", &vec![0; 40_000_000]);
    let small = tar("small", b"small");
    let bomb = layout.blob(&format!("{LAYER}+zstd"), &compress(Compression::Zstd, &zeros));
    let good = layout.blob(LAYER, &small);
    let manifest = layout.image("amd64", &[(good, &small), (bomb, &zeros)]);
    layout.index(&[(&manifest, None)]);
    store.mica(&["image", "copy", "-q", &layout.place(), &place(&server, "bomb:1")]).ok();
    let config = store.path("low.toml");
    fs_err::write(&config, "[images]\nlayer_size = \"4m\"\n").expect("written");
    let name = format!("{}/bomb:1", server.host);
    store.mica(&["info"]).ok();
    let refused = store.mica(&["--config", config.to_str().expect("text"), "pull", &name]);
    let diff_id = Digest::sha256_of(&zeros);
    assert!(
        refused.code == 1 && refused.stderr.contains(diff_id.as_str()) && refused.stderr.contains("images.layer_size"),
        "{refused:#?}"
    );
    assert_eq!(store.mica(&["images", "-qa"]).ok(), "");
    assert_eq!(files(&store.path("root/content")).keys().collect::<Vec<_>>(), Vec::<&String>::new());
    store.mica(&["pull", "-q", &name]).ok();
}

#[test]
fn privileged_a_registry_is_asked_about_an_image_without_pulling_it() {
    let Some(store) = Store::privileged() else { return };
    let Some(server) = Server::start() else { return };
    let layout = Layout::at(store.path("layout"));
    let index = layout.two_platforms();
    layout.index(&[(&index, Some("v1"))]);
    store.mica(&["image", "copy", "-q", "--all", &layout.place(), &place(&server, "a/b:1")]).ok();
    let document: Value = serde_json::from_slice(&fs_err::read(layout.file(&index)).expect("a file")).expect("JSON");
    let name = format!("{}/a/b:1", server.host);
    let inspect = |args: &[&str]| store.mica(&[&["image", "inspect", "--remote"], args].concat());
    let raw = inspect(&["--raw", &name]);
    assert!(raw.bytes == fs_err::read(layout.file(&index)).expect("a file"), "{}", raw.stderr);
    for (platform, at) in [("linux/amd64", 1), ("linux/arm64", 0)] {
        let found: Value = serde_json::from_str(&inspect(&["--platform", platform, &name]).ok()).expect("JSON");
        let found = &found[0];
        let manifest: Value =
            serde_json::from_slice(&fs_err::read(layout.file(&document["manifests"][at])).expect("it")).expect("JSON");
        assert_eq!(found["Id"], manifest["config"]["digest"]);
        assert_eq!(found["RepoTags"], json!([name]));
        assert_eq!(found["RepoDigests"], json!([format!("{}/a/b@{}", server.host, digest(&index))]));
        assert_eq!(found["Architecture"], platform[6..]);
        assert_eq!(found["Config"]["Labels"]["for"], platform[6..]);
        assert_eq!(found["Manifest"]["Digest"], document["manifests"][at]["digest"]);
        assert_eq!(found["Manifest"]["MediaType"], MANIFEST);
        assert_eq!(found["Layers"][0]["Digest"], manifest["layers"][0]["digest"]);
        assert_eq!(found["Size"], manifest["layers"][0]["size"]);
        assert_eq!(found["Index"]["MediaType"], INDEX);
        assert_eq!(found["Index"]["Manifests"].as_array().map(Vec::len), Some(3));
        assert_eq!(found["Index"]["Manifests"][0]["Platform"], "linux/arm64");
    }
    assert_eq!(inspect(&["-f", "{{.Architecture}} {{len .Layers}}", &name]).ok(), "amd64 1");
    inspect(&[&format!("{}/a/b:none", server.host)]).fails(1, "manifest unknown");
    store.mica(&["image", "inspect", "--raw", &name]).fails(125, "--remote");
    assert!(!store.path("root").exists(), "no store was needed");
}
