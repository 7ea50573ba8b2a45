//! Archives and layouts: every format as other tools read it, bytes that stay, and what lies or attacks.

use std::os::unix::fs::symlink;
use std::process::Command;

use mica_layer::{Compression, Digest};
use serde_json::{Value, json};

use crate::handmade::{INDEX, LAYER, Layout, MANIFEST, compress, files, tar, tool};
use crate::support::Store;

/// What is in a store beside its records: blobs and what is on its way.
fn content(store: &Store) -> Vec<String> {
    let folder = store.path("root/content");
    if folder.exists() { files(&folder).into_keys().collect() } else { Vec::new() }
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("valid UTF-8")
}

#[test]
fn privileged_every_format_is_read_by_other_tools_and_by_us() {
    let Some(store) = Store::with_base() else { return };
    let id = store.mica(&["images", "-q", "--no-trunc"]).ok();
    store.mica(&["tag", "base", "other:1"]).ok();
    for (format, compress, transport, names) in [
        ("docker-archive", false, "docker-archive", true),
        ("oci-archive", false, "oci-archive", true),
        ("oci-archive", true, "oci-archive", true),
        ("oci-dir", true, "oci", true),
        ("docker-dir", false, "dir", false),
        ("docker-dir", true, "dir", false),
    ] {
        let out = store.path(&format!("{format}-{compress}"));
        let images: &[&str] = if names { &["base", "other:1"] } else { &["base"] };
        let flags: &[&str] = if compress { &["--compress"] } else { &[] };
        store.mica(&[&["save", "--format", format, "-o", text(&out)], flags, images].concat()).ok();
        for name in images {
            let place = format!("{transport}:{}", out.display());
            let place = match (transport, names) {
                ("docker-archive", true) => {
                    format!("{place}:{}", if name.contains(':') { "other:1" } else { "base:latest" })
                }
                (_, true) => {
                    format!("{place}:docker.io/library/{}", if name.contains(':') { "other:1" } else { "base:latest" })
                }
                _ => place,
            };
            if let Some(config) = tool("skopeo", &["inspect", "--config", "--raw", &place]) {
                assert_eq!(Digest::sha256_of(&config.bytes).to_string(), id, "{place}: {}", config.stderr);
            }
            let copied = store.path("copied");
            let target = format!("dir:{}", copied.display());
            if let Some(copy) = tool("skopeo", &["--insecure-policy", "copy", "-q", &place, &target]) {
                copy.ok();
                fs_err::remove_dir_all(copied).expect("removed");
            }
        }
        let fresh = Store::privileged().expect("root");
        let said = fresh.mica(&["load", "-i", text(&out)]).ok();
        match names {
            true => assert_eq!(said, "Loaded image: base:latest\nLoaded image: other:1", "{format}"),
            false => assert_eq!(said, format!("Loaded image ID: {id}")),
        }
        assert_eq!(fresh.mica(&["images", "-q", "--no-trunc"]).ok(), id, "{format}");
    }
    // Podman takes an OCI layout of one image only.
    let single = store.path("single");
    store.mica(&["save", "--format", "oci-archive", "-o", "single.tar", "other:1"]).ok();
    store.mica(&["save", "--format", "oci-dir", "-o", text(&single), "other:1"]).ok();
    let (root, run) = (store.path("podman"), store.path("podman-run"));
    for from in ["docker-archive-false", "single.tar", "docker-dir-true"] {
        let from = store.path(from);
        let args =
            ["--storage-driver", "vfs", "--root", text(&root), "--runroot", text(&run), "load", "-i", text(&from)];
        if let Some(loaded) = tool("podman", &args) {
            assert!(loaded.ok().contains("Loaded image"), "{}", from.display());
        }
    }
    let bundle = store.path("bundle");
    let image = format!("{}:docker.io/library/other:1", single.display());
    if let Some(unpacked) = tool("umoci", &["unpack", "--image", &image, text(&bundle)]) {
        unpacked.ok();
        assert_eq!(fs_err::read(bundle.join("rootfs/not-executable")).expect("a file"), b"data");
    }
}

#[test]
fn privileged_what_came_with_documents_goes_with_them_byte_for_byte() {
    let Some(store) = Store::privileged() else { return };
    let layout = Layout::at(store.path("layout"));
    let index = layout.two_platforms();
    let docker = {
        let plain = tar("d", b"docker's");
        let layer =
            layout.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", &compress(Compression::Gzip, &plain));
        let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [Digest::sha256_of(&plain).as_str()] } });
        let config = layout.blob("application/vnd.docker.container.image.v1+json", config.to_string().as_bytes());
        let media_type = "application/vnd.docker.distribution.manifest.v2+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer] });
        layout.blob(media_type, serde_json::to_string_pretty(&manifest).expect("JSON").as_bytes())
    };
    layout.index(&[
        (&index, Some("registry.example/multi:1")),
        (&index, Some("registry.example/multi:2")),
        (&docker, Some("docker.io/library/d:1")),
    ]);
    let said = store.mica(&["load", "-i", text(&layout.path)]).ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["Loaded image: registry.example/multi:1", "Loaded image: registry.example/multi:2"]);
    assert!(lines[2].starts_with("Loaded image ID: sha256:") && lines[2].ends_with(" (linux/arm64)"), "{said}");
    assert_eq!(lines[3..], ["Loaded image: d:1"]);
    let label = |store: &Store, name: &str| store.mica(&["inspect", "-f", "{{.Config.Labels.for}}", name]).ok();
    assert_eq!(label(&store, "registry.example/multi:2"), "amd64");

    let before = files(&layout.path);
    for (format, out) in [("oci-dir", "again"), ("oci-archive", "again.tar")] {
        let out = store.path(out);
        store.mica(&["save", "--format", format, "-o", text(&out), "registry.example/multi:1", "d:1"]).ok();
        let other = Store::privileged().expect("root");
        other.mica(&["load", "-i", text(&out)]).ok();
        assert_eq!(label(&other, "registry.example/multi:1"), "amd64");
        // And once more, out of the other store.
        let third = other.path("third");
        other.mica(&["save", "--format", "oci-dir", "-o", text(&third), "registry.example/multi:1", "d:1"]).ok();
        let saved = files(&third);
        let blobs = || saved.iter().filter(|(name, _)| name.starts_with("blobs/"));
        assert!(blobs().all(|(name, bytes)| before.get(name) == Some(bytes)), "{format}: a blob is new or altered");
        // All but the attestation: its manifest, its config and its statement.
        assert_eq!(blobs().count(), before.keys().filter(|name| name.starts_with("blobs/")).count() - 3, "{format}");
        let entries: Value = serde_json::from_slice(&saved["index.json"]).expect("JSON");
        for (at, expected) in [(0, &index), (1, &docker)] {
            for key in ["digest", "size", "mediaType"] {
                assert_eq!(entries["manifests"][at][key], expected[key], "{format}");
            }
        }
        if format == "oci-dir" {
            // Another tool finds its platform behind the index.
            for (architecture, content) in [("arm64", "arm64"), ("amd64", "amd64")] {
                let place = format!("oci:{}:registry.example/multi:1", out.display());
                let args = ["--override-arch", architecture, "inspect", "--config", &place];
                if let Some(found) = tool("skopeo", &args) {
                    assert!(found.ok().contains(&format!("\"{content}\"")));
                }
            }
        }
    }
    let arm = store.path("arm");
    store
        .mica(&[
            "save",
            "--format",
            "oci-dir",
            "--platform",
            "linux/arm64",
            "-o",
            text(&arm),
            "registry.example/multi:1",
        ])
        .ok();
    let entries: Value = serde_json::from_slice(&fs_err::read(arm.join("index.json")).expect("a file")).expect("JSON");
    assert_eq!(entries["manifests"][0]["mediaType"], MANIFEST);
    let fresh = Store::privileged().expect("root");
    fresh.mica(&["load", "-i", text(&arm)]).ok();
    assert_eq!(label(&fresh, "registry.example/multi:1"), "arm64");
    store
        .mica(&["save", "--platform", "linux/s390x", "-o", "none.tar", "registry.example/multi:1"])
        .fails(1, "linux/s390x");
    assert!(!store.path("none.tar").exists());
    // The last name takes the images of all platforms with it.
    store.mica(&["rmi", "registry.example/multi:1", "registry.example/multi:2", "d:1"]).ok();
    assert_eq!(store.mica(&["images", "-qa"]).ok(), "");
    assert!(store.mica(&["system", "check"]).ok().ends_with("the store is clean"));
}

#[test]
fn privileged_a_list_that_is_made_here_is_saved_as_an_index() {
    let Some(store) = Store::with_base() else { return };
    let archive = store.path("base.tar");
    store.mica(&["import", "--platform", "linux/s390x", text(&archive), "foreign"]).ok();
    store.mica(&["manifest", "create", "multi:1", "base", "foreign"]).ok();
    for (format, compress, out) in [("oci-dir", false, "multi"), ("oci-archive", true, "multi.tar")] {
        let flags: &[&str] = if compress { &["--compress"] } else { &[] };
        store.mica(&[&["save", "--format", format, "-o", out], flags, &["multi:1"]].concat()).ok();
        let fresh = Store::privileged().expect("root");
        let said = fresh.mica(&["load", "-i", text(&store.path(out))]).ok();
        assert!(said.starts_with("Loaded image: multi:1\n") && said.ends_with(" (linux/s390x)"), "{said}");
        let id = |store: &Store, name: &str| store.mica(&["inspect", "-f", "{{.Id}}", name]).ok();
        assert_eq!(id(&fresh, "multi:1"), id(&store, "base"));
        assert!(said.contains(&id(&store, "foreign")), "{said}");
        let transport = if compress { "oci-archive" } else { "oci" };
        let place = format!("{transport}:{}", store.path(out).display());
        if let Some(found) = tool("skopeo", &["--override-arch", "s390x", "inspect", "--config", &place]) {
            assert!(found.ok().contains("s390x"));
        }
    }
    store.mica(&["save", "--format", "oci-dir", "--platform", "linux/s390x", "-o", "one", "multi:1"]).ok();
    let entries: Value =
        serde_json::from_slice(&fs_err::read(store.path("one/index.json")).expect("it")).expect("JSON");
    assert_eq!(entries["manifests"][0]["mediaType"], MANIFEST);
}

#[test]
fn privileged_a_save_that_fails_leaves_what_was_there() {
    let Some(store) = Store::with_base() else { return };
    for (format, out) in
        [("docker-archive", "file"), ("oci-archive", "file"), ("oci-dir", "dir"), ("docker-dir", "dir")]
    {
        let here = || fs_err::read_dir(store.path(".")).expect("a folder").count();
        let before = here();
        store.mica(&["save", "--format", format, "-o", out, "nothere"]).fails(1, "No such image: nothere");
        store.mica(&["save", "--format", format, "-o", "no/folder", "base"]).fails(1, "no");
        assert_eq!(here(), before, "{format}");
    }
    store.mica(&["save", "--compress", "-o", "x", "base"]).fails(1, "--format");
    store.mica(&["save", "--format", "docker-dir", "-o", "x", "base", "base"]).fails(1, "one image");
    store.mica(&["save", "--format", "oci-dir", "base"]).fails(1, "--output");
    assert!(!store.path("x").exists());
    fs_err::create_dir(store.path("full")).expect("a folder");
    fs_err::write(store.path("full/mine"), "mine").expect("written");
    store.mica(&["save", "--format", "oci-dir", "-o", "full", "base"]).fails(1, "`full` is not empty");
    assert_eq!(files(&store.path("full")).len(), 1);
    // A layer that is damaged in the store.
    store.mica(&["save", "-o", "file", "base"]).ok();
    let good = fs_err::read(store.path("file")).expect("a file");
    let blobs = files(&store.path("root/content/blobs"));
    let (name, bytes) = blobs.iter().max_by_key(|(_, bytes)| bytes.len()).expect("a layer");
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    fs_err::write(store.path("root/content/blobs").join(name), damaged).expect("written");
    fs_err::create_dir(store.path("empty")).expect("a folder");
    for (format, out) in
        [("docker-archive", "file"), ("oci-archive", "new"), ("oci-dir", "new"), ("docker-dir", "empty")]
    {
        store.mica(&["save", "--format", format, "-o", out, "base"]).fails(1, "is damaged");
    }
    assert_eq!(fs_err::read(store.path("file")).expect("a file"), good);
    assert!(!store.path("new").exists() && files(&store.path("empty")).is_empty());
}

/// Spoils a layout that holds the manifest under the name `evil:1`.
type Spoil = fn(&Layout, &Value);

fn edit(layout: &Layout, manifest: &Value, change: impl Fn(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs_err::read(layout.file(manifest)).expect("a file")).expect("JSON");
    change(&mut value);
    let edited = layout.blob(MANIFEST, value.to_string().as_bytes());
    layout.index(&[(&edited, Some("evil:1"))]);
}

fn layer_of(layout: &Layout, manifest: &Value) -> Value {
    let value: Value = serde_json::from_slice(&fs_err::read(layout.file(manifest)).expect("a file")).expect("JSON");
    value["layers"][0].clone()
}

fn cut(path: &std::path::Path) {
    let bytes = fs_err::read(path).expect("a file");
    fs_err::write(path, &bytes[..bytes.len() - 1]).expect("written");
}

fn flip(path: &std::path::Path) {
    let mut bytes = fs_err::read(path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(path, bytes).expect("written");
}

/// What is wrong, the words of the refusal, and whether the bytes are seen by a copy too, which looks into no layer.
const EVIL: [(&str, &str, bool, Spoil); 14] = [
    ("a cut layer", "its descriptor says", true, |layout, manifest| cut(&layout.file(&layer_of(layout, manifest)))),
    ("an altered layer", "`sha256:", true, |layout, manifest| flip(&layout.file(&layer_of(layout, manifest)))),
    ("an altered manifest", "has the digest", true, |layout, manifest| flip(&layout.file(manifest))),
    ("a cut manifest", "its descriptor says", true, |layout, manifest| cut(&layout.file(manifest))),
    ("a missing layer", "has no `blobs/sha256/", true, |layout, manifest| {
        fs_err::remove_file(layout.file(&layer_of(layout, manifest))).expect("removed");
    }),
    ("a missing manifest", "has no `blobs/sha256/", true, |layout, manifest| {
        fs_err::remove_file(layout.file(manifest)).expect("removed");
    }),
    ("a manifest as an index", "", true, |layout, manifest| {
        let mut entry = manifest.clone();
        entry["mediaType"] = INDEX.into();
        layout.index(&[(&entry, Some("evil:1"))]);
    }),
    ("a manifest and an index at once", "is a manifest and an index at once", true, |layout, manifest| {
        edit(layout, manifest, |value| value["manifests"] = json!([]));
    }),
    ("a config of another type", "is not an image's", false, |layout, manifest| {
        edit(layout, manifest, |value| value["config"]["mediaType"] = "application/x-evil".into());
    }),
    ("a digest that climbs", "digest", true, |layout, manifest| {
        edit(layout, manifest, |value| value["layers"][0]["digest"] = "sha256:../../../../../../etc/passwd".into());
    }),
    ("a layer that is a link out of the layout", "leads out of", true, |layout, manifest| {
        let file = layout.file(&layer_of(layout, manifest));
        let outside = layout.path.with_extension("outside");
        fs_err::rename(&file, &outside).expect("moved");
        symlink(outside, file).expect("a link");
    }),
    ("blobs that are a link out of the layout", "leads out of", true, |layout, _| {
        let outside = layout.path.with_extension("blobs");
        fs_err::rename(layout.path.join("blobs"), &outside).expect("moved");
        symlink("../layout.blobs", layout.path.join("blobs")).expect("a link");
    }),
    ("a layer that is a pipe", "is not a file", true, |layout, manifest| {
        let file = layout.file(&layer_of(layout, manifest));
        fs_err::remove_file(&file).expect("removed");
        let made = rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0);
        made.expect("a pipe");
    }),
    ("an index.json that is none", "`index.json` cannot be read", true, |layout, _| {
        fs_err::write(layout.path.join("index.json"), "{").expect("written");
    }),
];

#[test]
fn privileged_layouts_that_lie_or_attack_are_refused_and_leave_nothing() {
    let Some(store) = Store::privileged() else { return };
    store.mica(&["info"]).ok();
    let before = content(&store);
    for (what, words, copied_too, spoil) in EVIL {
        let place = tempfile::tempdir().expect("a folder");
        let layout = Layout::at(place.path().join("layout"));
        let manifest = layout.simple("amd64", b"content");
        layout.index(&[(&manifest, Some("evil:1"))]);
        spoil(&layout, &manifest);
        let refused = store.mica(&["load", "-i", text(&layout.path)]);
        assert!(refused.code == 1 && refused.stderr.contains(words), "{what}: {refused:#?}");
        assert!(!refused.stderr.contains("hint: `mica import`"), "{what}: {}", refused.stderr);
        assert_eq!(store.mica(&["images", "-qa"]).ok(), "", "{what}");
        assert_eq!(content(&store), before, "{what}");
        for target in ["oci", "oci-archive", "docker-archive", "dir"] {
            let out = place.path().join("out");
            let done = store.mica(&["image", "copy", &layout.place(), &format!("{target}:{}", out.display())]);
            if copied_too || target == "docker-archive" {
                assert!(done.code == 1 && done.stderr.contains(words), "{what} to {target}: {done:#?}");
                assert!(!out.exists(), "{what} to {target} leaves something");
            } else {
                done.ok();
                let _ = fs_err::remove_file(&out).or_else(|_| fs_err::remove_dir_all(&out));
            }
        }
        // No hidden remains either.
        let left = fs_err::read_dir(place.path()).expect("a folder").flatten();
        let left: Vec<_> = left.filter(|entry| !entry.file_name().to_string_lossy().starts_with("layout")).collect();
        assert!(left.is_empty(), "{what}: {left:?}");
    }
    assert!(store.mica(&["system", "check"]).ok().ends_with("the store is clean"));
}

#[test]
fn privileged_of_an_index_with_one_bad_image_nothing_stays() {
    let Some(store) = Store::privileged() else { return };
    store.mica(&["info"]).ok();
    let before = content(&store);
    let layout = Layout::at(store.path("layout"));
    let mut good = layout.simple("arm64", b"good");
    let mut bad = layout.simple("amd64", b"bad");
    flip(&layout.file(&layer_of(&layout, &bad)));
    good["platform"] = json!({ "architecture": "arm64", "os": "linux" });
    bad["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [good, bad] });
    let index = layout.blob(INDEX, index.to_string().as_bytes());
    layout.index(&[(&index, Some("x:1"))]);
    store.mica(&["load", "-i", text(&layout.path)]).fails(1, "cannot unpack layer `sha256:");
    assert_eq!(store.mica(&["images", "-qa"]).ok(), "");
    assert_eq!(content(&store), before);
    assert!(store.mica(&["system", "check"]).ok().ends_with("the store is clean"));
}

#[test]
fn privileged_a_bomb_ends_with_its_name_and_the_setting() {
    let Some(store) = Store::privileged() else { return };
    store.mica(&["info"]).ok();
    let before = content(&store);
    let config = store.path("low.toml");
    fs_err::write(&config, "[images]\nlayer_size = \"4m\"\nlayer_expansion = 100\nlayer_entries = 1\n")
        .expect("written");
    let low = |args: &[&str]| store.mica(&[&["--config", text(&config)], args].concat());
    let zeros = tar("zeros", &vec![0; 40_000_000]);
    let two = {
        let mut builder = tar::Builder::new(Vec::new());
        for name in ["a", "b"] {
            let mut header = tar::Header::new_ustar();
            header.set_size(0);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, std::io::empty()).expect("written");
        }
        builder.into_inner().expect("an archive")
    };
    for (what, compression, plain, setting) in [
        ("gzip", Compression::Gzip, &zeros, "images.layer_size"),
        ("zstd", Compression::Zstd, &zeros, "images.layer_size"),
        ("many files", Compression::None, &two, "images.layer_entries"),
    ] {
        let layout = Layout::at(store.path(what));
        let layer =
            layout.blob(&format!("{LAYER}+{}", compression.name()).replace("+none", ""), &compress(compression, plain));
        let manifest = layout.image("amd64", &[(layer, plain)]);
        layout.index(&[(&manifest, Some("bomb:1"))]);
        let refused = low(&["load", "-i", text(&layout.path)]);
        let diff_id = Digest::sha256_of(plain);
        assert!(
            refused.code == 1 && refused.stderr.contains(diff_id.as_str()) && refused.stderr.contains(setting),
            "{what}: {refused:#?}"
        );
        assert_eq!(store.mica(&["images", "-qa"]).ok(), "", "{what}");
        assert_eq!(content(&store), before, "{what}");
        if setting == "images.layer_size" {
            let place = format!("docker-archive:{}", store.path("out.tar").display());
            low(&["image", "copy", &layout.place(), &place]).fails(1, setting);
            assert!(!store.path("out.tar").exists());
        }
        // The usual bounds are far above this.
        store.mica(&["load", "-i", text(&layout.path)]).ok();
        store.mica(&["rmi", "bomb:1"]).ok();
    }
    // An archive that is compressed as a whole.
    store.mica(&["load", "-i", text(&store.path("gzip"))]).ok();
    store.mica(&["save", "-o", "whole.tar", "bomb:1"]).ok();
    let packed = compress(Compression::Zstd, &fs_err::read(store.path("whole.tar")).expect("a file"));
    fs_err::write(store.path("whole.tar.zst"), packed).expect("written");
    store.mica(&["rmi", "bomb:1"]).ok();
    low(&["load", "-i", "whole.tar.zst"]).fails(1, "`whole.tar.zst` has more than");
    assert_eq!(content(&store), before);
    store.mica(&["load", "-i", "whole.tar.zst"]).ok();
}

#[test]
fn privileged_layers_made_for_lazy_pulls_load_as_ordinary_ones() {
    let Some(store) = Store::privileged() else { return };
    let skippable = |content: &[u8]| {
        [&[0x50, 0x2a, 0x4d, 0x18], &u32::try_from(content.len()).expect("small").to_le_bytes()[..], content].concat()
    };
    let frames = |compression, plain: &[u8]| {
        let (head, rest) = plain.split_at(512);
        [compress(compression, head), compress(compression, b""), compress(compression, rest)].concat()
    };
    let lists = [skippable(b"{\"version\":1}"), skippable(&[[0; 56].as_slice(), b"GNUlInUx"].concat())].concat();
    for (what, compression) in
        [("chunked", Compression::Zstd), ("leading", Compression::Zstd), ("stargz", Compression::Gzip)]
    {
        let plain = tar("file", format!("lazy {what}").as_bytes());
        let frames = frames(compression, &plain);
        let blob = match what {
            "chunked" => [frames, lists.clone()].concat(),
            "leading" => [skippable(b"before"), frames, lists.clone()].concat(),
            _ => [frames, compress(compression, b"")].concat(),
        };
        let layout = Layout::at(store.path(what));
        let mut layer = layout.blob(&format!("{LAYER}+{}", compression.name()), &blob);
        layer["annotations"] = json!({ "io.github.containers.zstd-chunked.manifest-position": "1:2:3:1" });
        let manifest = layout.image("amd64", &[(layer, &plain)]);
        layout.index(&[(&manifest, Some(&format!("{what}:1")))]);
        store.mica(&["load", "-i", text(&layout.path)]).ok();
        let container = store.mica(&["create", &format!("{what}:1")]).ok();
        let copied = store.mica(&["cp", &format!("{container}:/file"), "-"]);
        assert!(copied.code == 0 && copied.bytes.windows(4).any(|bytes| bytes == b"lazy"), "{what}: {}", copied.stderr);
        let out = store.path(&format!("{what}-saved"));
        store.mica(&["save", "--format", "oci-dir", "-o", text(&out), &format!("{what}:1")]).ok();
        assert_eq!(files(&out.join("blobs")), files(&layout.path.join("blobs")), "{what}");
    }
}

#[test]
fn privileged_a_saved_archive_keeps_links_and_goes_through_pipes() {
    let Some(store) = Store::with_base() else { return };
    fs_err::write(store.path("real"), "old").expect("written");
    symlink("real", store.path("link")).expect("a link");
    store.mica(&["save", "-o", "link", "base"]).ok();
    assert!(fs_err::symlink_metadata(store.path("link")).expect("a link").is_symlink());
    let plain = fs_err::read(store.path("real")).expect("a file");
    let piped = store.mica(&["save", "base"]);
    assert!(piped.bytes == plain, "a file and a pipe get the same bytes");
    let device = store.mica(&["save", "-o", "/dev/stdout", "base"]);
    assert!(device.bytes == plain, "{}", device.stderr);
    // Straight from one store into another.
    let other = Store::privileged().expect("root");
    let mut saving = store.command(&["save", "--format", "oci-archive", "base"]);
    let mut saving = saving.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut loading: Command = other.command(&["load", "-q"]);
    loading.stdin(saving.stdout.take().expect("a pipe"));
    let output = loading.output().expect("an end");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Loaded image: base:latest\n");
    assert!(saving.wait().expect("an end").success());
}
