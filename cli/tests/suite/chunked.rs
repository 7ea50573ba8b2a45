//! Layers of zstd:chunked: what layers that are here have too is not fetched, and what only claims to be the same is.

use std::io::Write as _;
use std::process::Command;

use mica_layer::{Compression, Digest, Encoder};
use serde_json::{Value, json};

use crate::registry::{Nginx, Server, tool};
use crate::shelf::{MANIFEST, Shelf, noise};
use crate::support::Store;

const POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";

/// An archive of files.
fn tree(files: &[(String, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, *content).expect("written");
    }
    archive.into_inner().expect("an archive")
}

#[test]
fn privileged_an_update_fetches_the_files_that_changed() {
    let Some(origin) = Store::privileged() else { return };
    let Some(server) = Server::start() else { return };
    let Some(nginx) = Nginx::before(&server, "") else { return };
    let Some(store) = Store::privileged() else { return };
    let content = noise(61 * 100_000);
    let contents: Vec<&[u8]> = content.chunks(100_000).collect();
    let files: Vec<(String, &[u8])> = (0..60).map(|file| (format!("lib/file-{file:02}"), contents[file])).collect();
    let mut changed = files.clone();
    changed[30].1 = contents[60];
    for (version, files) in [("1", files), ("2", changed)] {
        let (tar, saved) = (origin.path("tree.tar"), origin.path("saved.tar"));
        fs_err::write(&tar, tree(&files)).expect("written");
        let name = format!("app:{version}");
        origin.mica(&["import", tar.to_str().expect("valid UTF-8"), &name]).ok();
        let saved = saved.to_str().expect("valid UTF-8");
        origin.mica(&["save", "-o", saved, &name]).ok();
        let (from, to) = (format!("docker-archive:{saved}"), format!("docker://{}/{name}", server.host));
        let copy = ["copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "--dest-compress-format"];
        tool(Command::new("skopeo").args(copy).args(["zstd:chunked", &from, &to]));
    }
    let size = server.manifest("app:2")["layers"][0]["size"].as_u64().expect("a size");
    store.mica(&["pull", "-q", &format!("{}/app:1", nginx.host)]).ok();
    let first = nginx.served();
    assert!(first >= size, "{first} of {size}");
    store.mica(&["pull", "-q", &format!("{}/app:2", nginx.host)]).ok();
    let second = nginx.served() - first;
    // A file of sixty, its neighbours' headers, the table and the config.
    assert!(second < size / 20, "{second} of {size}");
    store.mica(&["system", "check"]).ok();
    let ids = |store: &Store, name: &str| store.mica(&["inspect", "-f", "{{.RootFS.Layers}}", name]).ok();
    assert_eq!(ids(&store, &format!("{}/app:2", nginx.host)), ids(&origin, "app:2"));
}

/// A blob of frames, one for each piece, with a table that calls the contents by these names.
fn chunked(pieces: &[&[u8]], names: &[&str]) -> (Vec<u8>, String) {
    let frame = |bytes: &[u8]| {
        let mut encoder = Encoder::new(Compression::Zstd, None, Vec::new()).expect("an encoder");
        encoder.write_all(bytes).expect("written");
        encoder.finish().expect("a frame")
    };
    let mut blob = Vec::new();
    let mut entries = Vec::new();
    for (piece, name) in pieces.iter().zip(names) {
        let offset = blob.len();
        blob.extend(frame(piece));
        entries.push(json!({ "type": "reg", "name": name, "digest": name, "offset": offset, "endOffset": blob.len() }));
    }
    let plain = json!({ "version": 1, "entries": entries }).to_string();
    let table = frame(plain.as_bytes());
    blob.extend(0x184d_2a50_u32.to_le_bytes());
    blob.extend(u32::try_from(table.len()).expect("short").to_le_bytes());
    let position = format!("{}:{}:{}:1", blob.len(), table.len(), plain.len());
    blob.extend(table);
    (blob, position)
}

#[test]
fn privileged_a_table_that_lies_costs_a_download_and_nothing_else() {
    let Some(shelf) = Shelf::start() else { return };
    let Some(store) = Store::privileged() else { return };
    let content = noise(400_000);
    let publish = |tag: &str, second: &[u8], names: &[&str]| -> Value {
        let tar = tree(&[("a".to_owned(), &content[..200_000]), ("b".to_owned(), second)]);
        // Where in the archive the second file's header begins: the first has a header and is padded to whole blocks.
        let middle = 512 + 200_000_usize.next_multiple_of(512);
        let (blob, position) = chunked(&[&tar[..middle], &tar[middle..]], names);
        let mut layer = shelf.blob("application/vnd.oci.image.layer.v1.tar+zstd", &blob);
        layer["annotations"] = json!({ POSITION: position });
        let image = shelf.image("amd64", &[(layer, Digest::sha256_of(&tar).to_string())]);
        shelf.document("app", tag, MANIFEST, &image);
        image
    };
    publish("1", &content[200_000..300_000], &["first", "second"]);
    // Other bytes of the same length under the same name.
    publish("2", &content[300_000..], &["first", "second"]);
    for tag in ["1", "2"] {
        store.mica(&["pull", "-q", &shelf.name(&format!("app:{tag}"))]).ok();
        store.mica(&["system", "check"]).ok();
    }
    store.mica(&["create", "--name", "two", &shelf.name("app:2")]).ok();
    store.mica(&["cp", "two:/b", "b"]).ok();
    assert!(fs_err::read(store.path("b")).expect("copied") == content[300_000..]);
}
