//! `pull`, and what pulls by itself: words, platforms, digests, and images that are not what they should be.

use serde_json::{Value, json};

use crate::registry::{Server, tool};
use crate::shelf::{INDEX, MANIFEST, Shelf, noise, tar};
use crate::support::{Store, base_archive};

/// A registry with an image of a base and one layer above it, and the store that both came from.
fn published() -> Option<(Server, Store, String)> {
    let store = Store::with_base()?;
    let server = Server::start()?;
    made(&store, "made:1", "first");
    let name = server.take(&store, "made:1", "team/made:1");
    Some((server, store, name))
}

/// An image of the base and a file.
fn made(store: &Store, name: &str, text: &str) {
    store.mica(&["run", "--name", "maker", "base", "sh", "-c", &format!("echo {text} > /data/text")]).ok();
    store.mica(&["commit", "maker", name]).ok();
    store.mica(&["rm", "maker"]).ok();
}

fn id(store: &Store, name: &str) -> String {
    store.mica(&["inspect", "-f", "{{.Id}}", name]).ok()
}

fn short(digest: &Value) -> &str {
    &digest.as_str().expect("a digest")[7..19]
}

#[test]
fn privileged_a_pulled_image_is_the_one_that_was_pushed() {
    let Some((server, origin, name)) = published() else { return };
    let Some(store) = Store::privileged() else { return };
    let said = store.mica(&["pull", &name]).ok();
    let manifest = server.manifest("team/made:1");
    let digest = tool(std::process::Command::new("skopeo").args([
        "inspect",
        "--tls-verify=false",
        "--format",
        "{{.Digest}}",
        &format!("docker://{name}"),
    ]));
    let digest = String::from_utf8(digest).expect("a digest").trim().to_owned();
    let mut lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.remove(0), "1: Pulling from team/made");
    let end = lines.split_off(lines.len() - 3);
    assert_eq!(end, [format!("Digest: {digest}"), format!("Status: Downloaded newer image for {name}"), name.clone()]);
    for layer in manifest["layers"].as_array().expect("layers") {
        let layer = short(&layer["digest"]);
        let of_layer: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(&format!("{layer}: "))).collect();
        assert_eq!(of_layer, ["Pulling fs layer", "Download complete", "Pull complete"], "{said}");
    }
    assert_eq!(lines.len(), 6, "{said}");
    assert_eq!(id(&store, &name), id(&origin, "made:1"));
    assert_eq!(store.mica(&["run", "--rm", &name, "cat", "/data/text"]).ok(), "first");

    let again = store.mica(&["pull", &name]).ok();
    let expected =
        format!("1: Pulling from team/made\nDigest: {digest}\nStatus: Image is up to date for {name}\n{name}");
    assert_eq!(again, expected);
    assert_eq!(store.mica(&["pull", "-q", &name]).ok(), name);
    store.mica(&["system", "check"]).ok();
    let digests = ["images", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"];
    assert_eq!(store.mica(&digests).ok(), format!("{}/team/made 1 {digest}", server.host));
    store.mica(&["pull", &format!("{}/team/made:2", server.host)]).fails(1, "manifest unknown");
    store.mica(&["pull", &format!("{}/nothing", server.host)]).fails(1, "nothing:latest");
}

#[test]
fn privileged_a_tag_that_moved_is_newer_and_what_both_have_exists() {
    let Some((server, origin, name)) = published() else { return };
    let Some(store) = Store::privileged() else { return };
    store.mica(&["pull", "-q", &name]).ok();
    let first = id(&store, &name);
    made(&origin, "made:2", "second");
    server.take(&origin, "made:2", "team/made:1");
    let said = store.mica(&["pull", &name]).ok();
    let manifest = server.manifest("team/made:1");
    assert!(said.contains(&format!("{}: Already exists", short(&manifest["layers"][0]["digest"]))), "{said}");
    assert!(said.contains(&format!("{}: Pull complete", short(&manifest["layers"][1]["digest"]))), "{said}");
    assert!(said.contains("Status: Downloaded newer image for "), "{said}");
    assert_eq!(store.mica(&["run", "--rm", &name, "cat", "/data/text"]).ok(), "second");
    assert!(store.mica(&["images", "-a", "-q", "--no-trunc"]).ok().contains(&first), "the old one lost its name only");
    // The same image by another name.
    let other = server.take(&origin, "made:2", "team/made:other");
    let said = store.mica(&["pull", &other]).ok();
    assert!(said.contains(&format!("Status: Downloaded newer image for {other}")), "{said}");
    assert!(!said.contains("Pull complete"), "{said}");
    store.mica(&["system", "check"]).ok();
}

#[test]
fn privileged_a_digest_pins_what_is_pulled() {
    let Some((server, origin, name)) = published() else { return };
    let Some(store) = Store::privileged() else { return };
    let digest = store.mica(&["pull", &name]).ok();
    let digest = digest.lines().find_map(|line| line.strip_prefix("Digest: ")).expect("a digest").to_owned();
    made(&origin, "made:2", "second");
    server.take(&origin, "made:2", "team/made:1");
    store.mica(&["rmi", &name]).ok();
    let pinned = format!("{}/team/made@{digest}", server.host);
    let said = store.mica(&["pull", &pinned]).ok();
    assert!(said.starts_with(&format!("{digest}: Pulling from team/made\n")), "{said}");
    assert!(
        said.ends_with(&format!("Digest: {digest}\nStatus: Downloaded newer image for {pinned}\n{pinned}")),
        "{said}"
    );
    assert_eq!(store.mica(&["run", "--rm", &pinned, "cat", "/data/text"]).ok(), "first");
    assert!(store.mica(&["pull", &pinned]).ok().contains("Status: Image is up to date for "));
    let absent = format!("{}/team/made@sha256:{}", server.host, "0".repeat(64));
    store.mica(&["pull", &absent]).fails(1, "manifest unknown");
}

#[test]
fn privileged_all_tags_are_pulled_by_one_command() {
    let Some((server, origin, name)) = published() else { return };
    let Some(store) = Store::privileged() else { return };
    made(&origin, "made:2", "second");
    server.take(&origin, "made:2", "team/made:2");
    let repository = format!("{}/team/made", server.host);
    let said = store.mica(&["pull", "-a", &repository]).ok();
    for tag in ["1", "2"] {
        assert!(said.contains(&format!("{tag}: Pulling from team/made")), "{said}");
        assert!(said.contains(&format!("Status: Downloaded newer image for {repository}:{tag}")), "{said}");
    }
    let mut tags: Vec<String> =
        store.mica(&["images", "--format", "{{.Tag}}", &repository]).ok().lines().map(str::to_owned).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["1", "2"]);
    store.mica(&["pull", "-a", &name]).fails(1, "tag can't be used with --all-tags/-a");
}

#[test]
fn privileged_run_create_and_build_pull_what_is_missing() {
    let Some((server, _origin, name)) = published() else { return };
    let Some(store) = Store::privileged() else { return };
    store.mica(&["run", "--pull", "never", &name]).fails(125, "No such image");
    let ran = store.mica(&["run", "--rm", &name, "cat", "/data/text"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "first\n"), "{ran:#?}");
    assert!(
        ran.stderr.starts_with(&format!("Unable to find image '{name}' locally\n1: Pulling from team/made\n")),
        "{ran:#?}"
    );
    assert!(ran.stderr.contains("Status: Downloaded newer image for "), "{ran:#?}");
    let ran = store.mica(&["run", "--rm", &name, "true"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    let ran = store.mica(&["run", "--rm", "--pull", "always", &name, "true"]);
    assert!(ran.code == 0 && ran.stderr.contains("Image is up to date"), "{ran:#?}");
    store.mica(&["rmi", &name]).ok();
    let created = store.mica(&["create", "-q", "--name", "cc", &name]);
    assert!(created.code == 0 && created.stderr.is_empty() && created.stdout.trim().len() == 64, "{created:#?}");
    store.mica(&["rm", "cc"]).ok();
    store.mica(&["rmi", &name]).ok();
    fs_err::create_dir(store.path("context")).expect("a folder");
    fs_err::write(store.path("context/Dockerfile"), format!("FROM {name}\nRUN echo more >> /data/text\n"))
        .expect("written");
    store.mica(&["build", "-q", "-t", "built", "context"]).ok();
    assert_eq!(store.mica(&["run", "--rm", "built", "cat", "/data/text"]).ok(), "first\nmore");
    let missing = format!("{}/team/none", server.host);
    store.mica(&["run", "--rm", &missing]).fails(125, "Unable to find image");
}

/// An index of two images, one for this machine, and its digest.
fn index(shelf: &Shelf, tag: &str) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    base_archive(&folder.path().join("base.tar"));
    let base = shelf.layer(&fs_err::read(folder.path().join("base.tar")).expect("read"));
    let entries: Vec<Value> = ["arm64", "amd64"]
        .map(|architecture| {
            let image =
                shelf.image(architecture, &[base.clone(), shelf.layer(&tar("data/arch", architecture.as_bytes()))]);
            let mut entry = shelf.document("many", architecture, MANIFEST, &image);
            entry["platform"] = json!({ "architecture": architecture, "os": "linux" });
            entry
        })
        .to_vec();
    shelf.document("many", tag, INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries }))
}

#[test]
fn privileged_an_index_gives_each_platform_its_image() {
    let (Some(store), Some(shelf)) = (Store::privileged(), Shelf::start()) else { return };
    let digest = index(&shelf, "1")["digest"].as_str().expect("a digest").to_owned();
    let name = shelf.name("many:1");
    let architecture = |store: &Store| store.mica(&["image", "inspect", "-f", "{{.Architecture}}", &name]).ok();
    let said = store.mica(&["pull", &name]).ok();
    assert!(said.contains(&format!("Digest: {digest}\n")), "the index's digest is what the name stands for: {said}");
    assert_eq!(architecture(&store), "amd64");
    assert_eq!(store.mica(&["run", "--rm", &name, "cat", "/data/arch"]).ok(), "amd64");
    assert_eq!(store.mica(&["images", "-q"]).ok().lines().count(), 1);

    let Some(other) = Store::privileged() else { return };
    let said = other.mica(&["pull", "--platform", "linux/arm64", &name]).ok();
    assert!(said.contains("Status: Downloaded newer image"), "{said}");
    assert_eq!(architecture(&other), "arm64");
    other.mica(&["pull", "--platform", "linux/s390x", &name]).fails(1, "no matching manifest for linux/s390x");
    other.mica(&["system", "check"]).ok();

    let Some(all) = Store::privileged() else { return };
    let said = all.mica(&["pull", "--all-platforms", &name]).ok();
    // The base is pulled once, each image's own layer as well.
    assert_eq!(said.matches("Pull complete").count(), 3, "{said}");
    assert_eq!(architecture(&all), "amd64");
    all.mica(&["system", "check"]).ok();
    all.mica(&["rmi", &name]).ok();
    assert_eq!(all.mica(&["images", "-aq"]).ok(), "", "the other platform's image goes with the name");
}

/// Pulls something wrong and compares the store before and after.
fn refused(store: &Store, title: &str, name: &str, words: &str) {
    let look = |store: &Store| {
        let usage = store.mica(&["system", "df"]).ok();
        let images = store.mica(&["images", "-aq", "--no-trunc"]).ok();
        (usage, images)
    };
    let before = look(store);
    let done = store.mica(&["pull", name]);
    assert!(done.code == 1 && done.stderr.contains(words), "{title}: {words:?} expected: {done:#?}");
    assert!(!done.stderr.contains("panicked"), "{title}: {done:#?}");
    assert_eq!(look(store), before, "{title}");
    store.mica(&["system", "check"]).ok();
    let left: Vec<_> = fs_err::read_dir(store.path("root/content/ingest")).expect("a folder").flatten().collect();
    assert!(left.is_empty(), "{title}: left: {left:?}");
}

#[test]
fn privileged_wrong_bytes_leave_nothing_behind() {
    let Some((server, _origin, name)) = published() else { return };
    let Some(store) = Store::with_base() else { return };
    let layer = server.manifest("team/made:1")["layers"][1]["digest"].as_str().expect("a digest").to_owned();
    let file = server.blob(&layer);
    let right = fs_err::read(&file).expect("a blob");
    let flipped = |at: usize| {
        let mut bytes = right.clone();
        bytes[at] ^= 0xff;
        bytes
    };
    for (title, bytes, words) in [
        ("in the gzip header", flipped(0), ""),
        ("in the middle", flipped(right.len() / 2), ""),
        // Nothing but the digest tells these.
        ("in the gzip header's time", flipped(5), "instead of"),
        ("shorter", right[..right.len() - 1].to_vec(), "127.0.0.1"),
        ("longer", [&right[..], b"x"].concat(), "127.0.0.1"),
        ("empty", Vec::new(), "127.0.0.1"),
    ] {
        fs_err::write(&file, bytes).expect("written");
        refused(&store, title, &name, words);
    }
    fs_err::write(&file, right).expect("written");
    store.mica(&["pull", "-q", &name]).ok();
    assert_eq!(store.mica(&["run", "--rm", &name, "cat", "/data/text"]).ok(), "first");
}

#[test]
fn privileged_images_that_contradict_themselves_are_refused() {
    let (Some(store), Some(shelf)) = (Store::privileged(), Shelf::start()) else { return };
    let name = shelf.name("odd:1");
    let put = |media_type: &str, document: &Value| shelf.document("odd", "1", media_type, document);
    let good = shelf.layer(&tar("good", b"good"));

    // The config announces other content than the layer has.
    let wrong = (good.0.clone(), format!("sha256:{}", "1".repeat(64)));
    put(MANIFEST, &shelf.image("amd64", &[wrong]));
    refused(&store, "diff ID", &name, "uncompressed layer");

    // More layers are listed than the image has.
    let mut image = shelf.image("amd64", std::slice::from_ref(&good));
    image["layers"] = json!([good.0, good.0]);
    put(MANIFEST, &image);
    refused(&store, "layers", &name, "lists 2 layers for an image of 1");

    // The config is another one than the manifest says.
    let image = shelf.image("amd64", std::slice::from_ref(&good));
    put(MANIFEST, &image);
    let config = image["config"].clone();
    let length = usize::try_from(config["size"].as_u64().expect("a size")).expect("small");
    shelf.replace(&config, &vec![b' '; length]);
    refused(&store, "config", &name, "instead of");

    // A manifest that is an index too is read differently by two readers.
    let image = shelf.image("amd64", std::slice::from_ref(&good));
    let mut both = image.clone();
    both["manifests"] = json!([]);
    put(MANIFEST, &both);
    refused(&store, "both", &name, "");
    put(INDEX, &image);
    fs_err::remove_file(shelf.nginx.path("odd/1.manifest")).expect("removed");
    refused(&store, "a manifest sent as an index", &name, "");

    // An index whose entries are not what it says.
    let entry = shelf.document("odd", "image", MANIFEST, &image);
    for (title, field, value) in [
        ("size of an entry", "size", json!(1)),
        ("type of an entry", "mediaType", json!("application/vnd.docker.distribution.manifest.v2+json")),
        ("digest of an entry", "digest", json!(format!("sha256:{}", "2".repeat(64)))),
    ] {
        let mut entry = entry.clone();
        entry["platform"] = json!({ "architecture": "amd64", "os": "linux" });
        entry[field] = value;
        put(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] }));
        refused(&store, title, &name, "");
    }
    // An artifact is no image.
    let artifact = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x.chart",
        "config": shelf.blob("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [shelf.blob("application/x.chart.content", b"chart")],
    });
    fs_err::remove_file(shelf.nginx.path("odd/1.index")).expect("removed");
    put(MANIFEST, &artifact);
    refused(&store, "artifact", &name, "");
}

#[test]
fn privileged_what_an_earlier_pull_left_wrong_is_fetched_again() {
    let (Some(store), Some(shelf)) = (Store::privileged(), Shelf::start()) else { return };
    let layer = shelf.layer(&tar("file", &noise(3_000_000)));
    shelf.document("odd", "1", MANIFEST, &shelf.image("amd64", std::slice::from_ref(&layer)));
    // A partial file with its note, as a pull leaves it that was cut off, but of other bytes.
    let digest = layer.0["digest"].as_str().expect("a digest").replace(':', "-");
    store.mica(&["images"]).ok();
    let ingest = store.path("root/content/ingest");
    let size = layer.0["size"].as_u64().expect("a size");
    fs_err::write(ingest.join(format!("{digest}.partial")), vec![0; 2_000_000]).expect("written");
    let note = format!("{size}\n0-2000000\n");
    let note = format!("{note}{}\n", mica_layer::Digest::sha256_of(note.as_bytes()));
    fs_err::write(ingest.join(format!("{digest}.note")), note).expect("written");
    store.mica(&["pull", "-q", &shelf.name("odd:1")]).ok();
    assert_eq!(fs_err::read_dir(&ingest).expect("a folder").count(), 0);
    store.mica(&["system", "check"]).ok();
}
