//! `push`: what others read of it, what comes back, and what is not sent again.

use std::io::Read as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use mica_layer::{Compression, Digest};
use serde_json::{Value, json};

use crate::registry::{Server, tool};
use crate::support::{Store, until};

/// The bytes of a manifest or index, as skopeo gets them.
fn raw(name: &str) -> Vec<u8> {
    tool(Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]))
}

fn manifest(name: &str) -> Value {
    serde_json::from_slice(&raw(name)).expect("a manifest")
}

fn copy(args: &[&str]) {
    tool(
        Command::new("skopeo")
            .args(["copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"])
            .args(args),
    );
}

/// An image of the base and a layer of its own.
fn build(store: &Store, name: &str) -> String {
    fs_err::create_dir_all(store.path("context")).expect("a folder");
    fs_err::write(
        store.path("context/Dockerfile"),
        "FROM base\nCOPY text /data/text\nRUN cat /data/text > /data/copy\n",
    )
    .expect("written");
    fs_err::write(store.path("context/text"), "some text\n".repeat(100_000)).expect("written");
    store.mica(&["build", "-q", "-t", name, "context"]).ok()
}

fn image_id(store: &Store, name: &str) -> String {
    store.mica(&["image", "inspect", "-f", "{{.Id}}", name]).ok()
}

/// The words of each layer, in the order of their first lines, and the last line.
fn lines(said: &str) -> (Vec<&str>, &str) {
    let lines: Vec<&str> = said.lines().collect();
    let (last, layers) = lines.split_last().expect("lines");
    let is_last = |line: &&&str| ![": Preparing", ": Waiting"].iter().any(|word| line.ends_with(word));
    let words = layers.iter().filter(is_last).filter_map(|line| Some(line.split_once(": ")?.1));
    (words.collect(), last)
}

#[test]
fn privileged_what_was_built_is_pushed_once_and_comes_back() {
    let (Some(store), Some(server)) = (Store::with_base(), Server::start()) else { return };
    let name = format!("{}/team/app:v1", server.host);
    let id = build(&store, &name);
    let said = store.mica(&["push", &name]).ok();
    assert!(said.starts_with(&format!("The push refers to repository [{}/team/app]\n", server.host)), "{said}");
    let bytes = raw(&name);
    let pushed = manifest(&name);
    let last = format!("v1: digest: {} size: {}", Digest::sha256_of(&bytes), bytes.len());
    assert_eq!(lines(&said), (vec!["Pushed"; 3], &*last), "{said}");
    assert_eq!(said.matches(": Preparing").count(), 3, "{said}");
    assert_eq!(pushed["config"]["digest"], id);
    for layer in pushed["layers"].as_array().expect("layers") {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    }

    // Nothing is sent, and nothing compressed, a second time; the whole name of the same repository is shown.
    let said = store.mica(&["push", &name]).ok();
    assert_eq!(lines(&said), (vec!["Layer already exists"; 3], &*last), "{said}");
    let latest = format!("{}/team/app", server.host);
    store.mica(&["tag", &name, &latest]).ok();
    assert_eq!(store.mica(&["push", "-q", &latest]).ok(), format!("{latest}:latest"));
    let other = format!("{}/other:v1", server.host);
    store.mica(&["tag", &name, &other]).ok();
    let said = store.mica(&["push", &other]).ok();
    assert_eq!(lines(&said), (vec!["Mounted from team/app"; 3], &*last), "{said}");
    assert_eq!(raw(&other), bytes);

    // The registry's name for it is one of its names here, and everywhere.
    let digest = Digest::sha256_of(&bytes);
    let digests = store.mica(&["image", "inspect", "-f", "{{json .RepoDigests}}", &name]).ok();
    assert_eq!(digests, format!("[\"{}/other@{digest}\",\"{}/team/app@{digest}\"]", server.host, server.host));
    assert_eq!(image_id(&store, &format!("{}/team/app@{digest}", server.host)), id);
    store.mica(&["system", "check"]).ok();
    let Some(elsewhere) = Store::privileged() else { return };
    elsewhere.mica(&["pull", "-q", &name]).ok();
    assert_eq!(image_id(&elsewhere, &name), id);
    let read = elsewhere.mica(&["run", "--rm", &name, "cat", "/data/copy"]).ok();
    assert_eq!(read, "some text\n".repeat(100_000).trim_end());

    // Others unpack it: skopeo verifies every diff ID, umoci applies the layers.
    let layout = format!("oci:{}:v1", store.path("layout").display());
    copy(&[&format!("docker://{name}"), &layout]);
    let bundle = store.path("bundle");
    let image = format!("{}:v1", store.path("layout").display());
    tool(Command::new("umoci").args(["unpack", "--rootless", "--image", &image]).arg(&bundle));
    assert_eq!(fs_err::read(bundle.join("rootfs/data/copy")).expect("read"), "some text\n".repeat(100_000).as_bytes());
}

#[test]
fn privileged_what_was_pulled_goes_back_to_the_byte() {
    let (Some(store), Some(server)) = (Store::with_base(), Server::start()) else { return };
    let (Some(elsewhere), Some(second)) = (Store::privileged(), Server::start()) else { return };
    build(&store, "app");
    let archive = store.path("app.tar");
    store.mica(&["save", "-o", archive.to_str().expect("valid UTF-8"), "app"]).ok();
    let source = format!("docker-archive:{}", archive.display());
    for (format, compression) in [("v2s2", "gzip"), ("oci", "gzip"), ("oci", "zstd")] {
        let path = format!("{format}-{compression}:1");
        let name = format!("{}/{path}", server.host);
        let form = ["--format", format, "--dest-compress", "--dest-compress-format", compression];
        copy(&[&form[..], &[&source, &format!("docker://{name}")]].concat());
        elsewhere.mica(&["pull", "-q", &name]).ok();
        let target = format!("{}/{path}", second.host);
        elsewhere.mica(&["tag", &name, &target]).ok();
        let said = elsewhere.mica(&["push", &target]).ok();
        assert_eq!(raw(&target), raw(&name), "{path}");
        let (words, _) = lines(&said);
        assert!(words.len() == 3, "{said}");
        if format == "v2s2" {
            assert_eq!(words, ["Pushed"; 3], "{said}");
        }
        elsewhere.mica(&["rmi", &name, &target]).ok();
    }
    elsewhere.mica(&["system", "check"]).ok();
}

#[test]
fn privileged_layers_are_compressed_as_asked() {
    let (Some(store), Some(server)) = (Store::with_base(), Server::start()) else { return };
    let name = format!("{}/app:1", server.host);
    let id = build(&store, &name);
    let first = |name: &str| manifest(name)["layers"][0]["digest"].as_str().expect("a digest").to_owned();
    for (compression, suffix, kind) in [
        ("none", "", Compression::None),
        ("zstd", "+zstd", Compression::Zstd),
        ("zstd:7", "+zstd", Compression::Zstd),
        ("gzip:1", "+gzip", Compression::Gzip),
    ] {
        let said = store.mica(&["push", "--compression", compression, &name]).ok();
        assert_eq!(lines(&said).0, ["Pushed"; 3], "{said}");
        let pushed = manifest(&name);
        for layer in pushed["layers"].as_array().expect("layers") {
            let expected = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
            assert_eq!(layer["mediaType"], *expected, "{compression}");
        }
        let folder = store.path(&compression.replace(':', "-"));
        copy(&[&format!("docker://{name}"), &format!("dir:{}", folder.display())]);
        let blob = fs_err::read(folder.join(first(&name).trim_start_matches("sha256:"))).expect("a blob");
        assert_eq!(Compression::detect(&blob).expect("known"), kind, "{compression}");
        let Some(elsewhere) = Store::privileged() else { return };
        elsewhere.mica(&["pull", "-q", &name]).ok();
        assert_eq!(image_id(&elsewhere, &name), id);

        // What is compressed stays as it is, unless it must not.
        let plain = compression == "none";
        let before = first(&name);
        elsewhere.mica(&["push", "-q", "--compression", "gzip:9", &name]).ok();
        assert_eq!(first(&name) == before, !plain, "{compression}");
        elsewhere.mica(&["push", "-q", "--force-compression", "--compression", "none", &name]).ok();
        let diff_id = store.mica(&["image", "inspect", "-f", "{{index .RootFS.Layers 0}}", &name]).ok();
        assert_eq!(first(&name), diff_id, "{compression}");
    }
    store.mica(&["push", "--compression", "xz", &name]).fails(125, "a compression is gzip");
}

#[test]
fn privileged_all_tags_go_with_one_command() {
    let (Some(store), Some(server)) = (Store::with_base(), Server::start()) else { return };
    let repository = format!("{}/app", server.host);
    build(&store, &format!("{repository}:1"));
    store.mica(&["tag", "base", &format!("{repository}:2")]).ok();
    store.mica(&["tag", "base", &format!("{}/app2:3", server.host)]).ok();
    let said = store.mica(&["push", "-a", &repository]).ok();
    assert_eq!(said.matches("The push refers to repository").count(), 1, "{said}");
    for (tag, of) in [("1", &*format!("{repository}:1")), ("2", "base")] {
        let digest = Digest::sha256_of(&raw(&format!("{repository}:{tag}")));
        assert!(said.contains(&format!("\n{tag}: digest: {digest} size: ")), "{said}");
        assert_eq!(manifest(&format!("{repository}:{tag}"))["config"]["digest"], image_id(&store, of));
    }
    store.mica(&["push", "-a", &format!("{repository}:1")]).fails(1, "tag can't be used with --all-tags/-a");
    store.mica(&["push", "-a", "nothing"]).fails(1, "An image does not exist locally with the tag: nothing");
}

#[test]
fn privileged_what_cannot_be_pushed_is_told_and_leaves_no_name() {
    let (Some(store), Some(server)) = (Store::with_base(), Server::start()) else { return };
    let name = format!("{}/app:1", server.host);
    let id = build(&store, &name);
    let missing = format!("{}/app:2", server.host);
    store.mica(&["push", &missing]).fails(1, &format!("tag does not exist: {missing}"));
    store.mica(&["push", "nothing"]).fails(1, "An image does not exist locally with the tag: nothing");
    store.mica(&["push", &format!("{name}@{id}")]).fails(1, "cannot push a digest reference");
    store.mica(&["tag", &name, "127.0.0.1:1/app"]).ok();
    store.mica(&["push", "127.0.0.1:1/app"]).fails(1, "cannot reach registry `127.0.0.1:1`");
    // A byte of a layer that is another one.
    let layer = store.mica(&["image", "inspect", "-f", "{{index .RootFS.Layers 1}}", &name]).ok();
    let blob = store.path("root/content/blobs/sha256").join(layer.trim_start_matches("sha256:"));
    let mut bytes = fs_err::read(&blob).expect("a blob");
    bytes[1000] ^= 1;
    fs_err::write(&blob, bytes).expect("written");
    store.mica(&["push", &name]).fails(1, "is damaged");
    let mut found = Command::new("skopeo");
    found.args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
    assert!(!found.output().expect("skopeo runs").status.success());
}

/// An index of two images as an OCI layout, with the digest of the index.
fn layout(store: &Store) -> Digest {
    let folder = store.path("many");
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let rootfs = store.path("rootfs.tar");
        let mut archive = tar::Builder::new(fs_err::File::create(&rootfs).expect("a file"));
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        archive.append_data(&mut header, "arch", architecture.as_bytes()).expect("written");
        archive.finish().expect("an archive");
        let platform = format!("linux/{architecture}");
        store.mica(&["import", "--platform", &platform, rootfs.to_str().expect("valid UTF-8"), architecture]).ok();
        let saved = store.path("one.tar");
        store.mica(&["save", "-o", saved.to_str().expect("valid UTF-8"), architecture]).ok();
        let target = format!("oci:{}:{architecture}", folder.display());
        copy(&["--dest-compress", &format!("docker-archive:{}", saved.display()), &target]);
        store.mica(&["rmi", architecture]).ok();
    }
    let index: Value = serde_json::from_slice(&fs_err::read(folder.join("index.json")).expect("read")).expect("JSON");
    for (entry, architecture) in index["manifests"].as_array().expect("entries").iter().zip(["amd64", "arm64"]) {
        let mut entry = entry.clone();
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        entries.push(entry);
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries }).to_string();
    let digest = Digest::sha256_of(index.as_bytes());
    fs_err::write(folder.join("blobs/sha256").join(digest.hex()), &index).expect("written");
    let top = json!({ "schemaVersion": 2, "manifests": [
        { "mediaType": media_type, "digest": digest.as_str(), "size": index.len() }
    ] });
    fs_err::write(folder.join("index.json"), top.to_string()).expect("written");
    digest
}

#[test]
fn privileged_an_index_goes_whole_or_says_that_it_does_not() {
    let (Some(store), Some(server), Some(second)) = (Store::privileged(), Server::start(), Server::start()) else {
        return;
    };
    let digest = layout(&store);
    let name = format!("{}/many:1", server.host);
    copy(&["--all", &format!("oci:{}", store.path("many").display()), &format!("docker://{name}")]);
    assert_eq!(Digest::sha256_of(&raw(&name)), digest);
    let target = format!("{}/many:1", second.host);
    let partly = "Not all multiplatform-content is present";

    // One image is here: it goes alone.
    store.mica(&["pull", "-q", &name]).ok();
    store.mica(&["tag", &name, &target]).ok();
    let said = store.mica(&["push", &target]).ok();
    assert!(said.contains(partly), "{said}");
    assert_eq!(manifest(&target)["config"]["digest"], image_id(&store, &target));
    // Where the others are already, the index does.
    let said = store.mica(&["push", &name]).ok();
    assert!(!said.contains(partly) && said.contains(&format!("1: digest: {digest} size: ")), "{said}");

    store.mica(&["pull", "-q", "--all-platforms", &name]).ok();
    store.mica(&["tag", &name, &target]).ok();
    let said = store.mica(&["push", &target]).ok();
    assert!(!said.contains(partly) && said.contains(&format!("1: digest: {digest} size: ")), "{said}");
    assert_eq!(raw(&target), raw(&name));
    let everything = store.path("everything");
    copy(&["--all", &format!("docker://{target}"), &format!("dir:{}", everything.display())]);
    store.mica(&["push", "--force-compression", &target]).fails(1, "stands for several images");
    store.mica(&["push", "-q", "--platform", "linux/arm64", &target]).ok();
    let config = tool(
        Command::new("skopeo")
            .args(["inspect", "--config", "--tls-verify=false", "--override-arch=arm64"])
            .arg(format!("docker://{target}")),
    );
    let config: Value = serde_json::from_slice(&config).expect("a config");
    assert_eq!(config["architecture"], "arm64");
    store.mica(&["push", "--platform", "linux/s390x", &target]).fails(1, "linux/s390x");
    store.mica(&["system", "check"]).ok();
}

/// A way to a registry that `gate` stands at: called on each connection once that has brought so many bytes, it says
/// whether there is more to come.
pub fn gated(host: &str, after: u64, gate: impl Fn() -> bool + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let name = listener.local_addr().expect("a port").to_string();
    let (host, gate) = (host.to_owned(), Arc::new(gate));
    // It ends with the process of the test.
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&host) else { return };
            let (Ok(answers), Ok(asker)) = (server.try_clone(), client.try_clone()) else { return };
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &answers, &mut &asker);
                let _ = asker.shutdown(Shutdown::Both);
            });
            let gate = Arc::clone(&gate);
            std::thread::spawn(move || {
                let brought = std::io::copy(&mut (&client).take(after), &mut &server);
                // A connection that breaks before has not come to the gate: one that asked for TLS here, say.
                if brought.is_ok_and(|brought| brought == after) && gate() {
                    let _ = std::io::copy(&mut &client, &mut &server);
                }
                let _ = server.shutdown(Shutdown::Both);
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    name
}

/// An image of the base and a layer that cannot be compressed.
fn build_noise(store: &Store, name: &str) {
    build(store, "app");
    let mut state = 88_172_645_463_325_252_u64;
    let mut noise = Vec::new();
    while noise.len() < 40_000_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    fs_err::write(store.path("context/noise"), noise).expect("written");
    fs_err::write(store.path("context/Dockerfile"), "FROM app\nCOPY noise /\n").expect("written");
    store.mica(&["build", "-q", "-t", name, "context"]).ok();
}

#[test]
fn privileged_a_push_survives_connections_that_break() {
    let (Some(store), Some(server)) = (Store::with_base(), Server::start()) else { return };
    let left = Arc::new(AtomicU32::new(2));
    let breaks = Arc::clone(&left);
    let host = gated(&server.host, 20_000_000, move || {
        breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err()
    });
    let name = format!("{host}/app:1");
    build_noise(&store, &name);
    let said = store.mica(&["push", &name]).ok();
    assert_eq!(left.load(Ordering::SeqCst), 0, "nothing broke");
    assert_eq!(lines(&said).0, ["Pushed"; 4], "{said}");
    let folder = store.path("pushed");
    copy(&[&format!("docker://{}/app:1", server.host), &format!("dir:{}", folder.display())]);
    assert_eq!(fs_err::read_dir(folder).expect("a folder").count(), 4 + 3);
}

#[test]
fn privileged_what_is_removed_while_it_is_pushed_arrives_whole() {
    let (Some(store), Some(server)) = (Store::with_base(), Server::start()) else { return };
    let (at, open) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (arrived, opened) = (Arc::clone(&at), Arc::clone(&open));
    let host = gated(&server.host, 1_000_000, move || {
        arrived.store(true, Ordering::SeqCst);
        until("the gate", || opened.load(Ordering::SeqCst));
        true
    });
    let name = format!("{host}/app:1");
    build_noise(&store, &name);
    let blobs = || fs_err::read_dir(store.path("root/content/blobs/sha256")).expect("a folder").count();
    let mut command = store.command(&["push", &name]);
    let push = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    until("bytes at the gate", || at.load(Ordering::SeqCst));
    store.mica(&["rmi", &name, "app", "base"]).ok();
    store.mica(&["system", "prune", "-a", "-f"]).ok();
    assert_eq!(store.mica(&["images", "-aq"]).ok(), "");
    open.store(true, Ordering::SeqCst);
    let output = push.wait_with_output().expect("the program ends");
    assert!(output.status.success(), "{output:?}");
    let folder = store.path("pushed");
    copy(&[&format!("docker://{}/app:1", server.host), &format!("dir:{}", folder.display())]);
    assert_eq!(fs_err::read_dir(folder).expect("a folder").count(), 4 + 3);
    // What was held goes with the next removal.
    store.mica(&["system", "prune", "-a", "-f"]).ok();
    assert_eq!(blobs(), 0);
    store.mica(&["system", "check"]).ok();
}
