//! Pushes that are killed: the next one goes on where the registry has got to.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mica_layer::Digest;
use serde_json::Value;

use crate::pushing::gated;
use crate::registry::{Nginx, Server, tool};
use crate::shelf::{noise, tar};
use crate::support::{Store, until};

/// Bytes of the layer, packed or not.
const SIZE: u64 = 60_000_000;
/// What is sent at a time.
const CHUNK: u64 = 16 << 20;

fn notes(store: &Store) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(store.path("root/uploads")) else { return Vec::new() };
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// Makes a note one of an upload that is packed otherwise.
fn pack_otherwise(note: &Path) {
    let mut read: Value = serde_json::from_slice(&fs_err::read(note).expect("a note")).expect("JSON");
    read["form"] = "zstd:3".into();
    let text = |key: &str| read[key].as_str().expect("a text").to_owned();
    let name = Digest::sha256_of(format!("{}\0{}\0zstd:3", text("repository"), text("layer")).as_bytes());
    fs_err::write(note.with_file_name(name.hex()), read.to_string()).expect("written");
    fs_err::remove_file(note).expect("removed");
}

/// What happens between the push that is killed and the next one.
#[derive(Clone, Copy, PartialEq)]
enum Meanwhile {
    Nothing,
    /// The registry forgets the upload.
    Forgotten,
    /// The store does.
    Pruned,
    /// What is there is not what is sent, which only the digest tells.
    Foreign,
}

#[test]
fn privileged_a_killed_push_sends_hardly_anything_again() {
    let Some(store) = Store::privileged() else { return };
    fs_err::write(store.path("large.tar"), tar("large", &noise(SIZE as usize))).expect("written");
    store.mica(&["import", "large.tar", "large"]).ok();
    for (compression, meanwhile) in [
        ("gzip", Meanwhile::Nothing),
        // The blob as it is, read from where the registry has got to.
        ("none", Meanwhile::Nothing),
        ("gzip", Meanwhile::Forgotten),
        ("gzip", Meanwhile::Pruned),
        ("gzip", Meanwhile::Foreign),
    ] {
        let Some(server) = Server::start() else { return };
        let Some(nginx) = Nginx::before(&server, "") else { return };
        let (at, killed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (arrived, dead) = (Arc::clone(&at), Arc::clone(&killed));
        let host = gated(&nginx.host, SIZE / 2, move || {
            let is_dead = dead.load(Ordering::SeqCst);
            arrived.store(true, Ordering::SeqCst);
            until("the end of the push", || dead.load(Ordering::SeqCst));
            is_dead
        });
        let name = format!("{host}/team/large:1");
        store.mica(&["tag", "large", &name]).ok();
        let mut push =
            store.command(&["push", "-q", "--compression", compression, &name]).spawn().expect("the program starts");
        until("half of the layer", || at.load(Ordering::SeqCst));
        push.kill().expect("killed");
        push.wait().expect("ended");
        killed.store(true, Ordering::SeqCst);
        until("the killed push's requests", || nginx.taken() > SIZE / 2 - CHUNK);

        // It is no garbage to anybody, and for nobody else to read.
        store.mica(&["system", "check"]).ok();
        let [note] = notes(&store).try_into().expect("one note");
        assert_eq!(fs_err::metadata(&note).expect("a note").permissions().mode() & 0o777, 0o600);
        match meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::Forgotten => server.forget_uploads("team/large"),
            Meanwhile::Pruned => {
                store.mica(&["system", "prune", "-f"]).ok();
                assert_eq!(notes(&store), Vec::<PathBuf>::new());
            }
            Meanwhile::Foreign => pack_otherwise(&note),
        }
        let compression = if meanwhile == Meanwhile::Foreign { "zstd" } else { compression };
        store.mica(&["push", "-q", "--compression", compression, &name]).ok();
        assert_eq!(notes(&store), Vec::<PathBuf>::new());

        let manifest = tool(
            Command::new("skopeo")
                .args(["inspect", "--raw", "--tls-verify=false"])
                .arg(format!("docker://{}/team/large:1", server.host)),
        );
        let folder = store.path(&format!("copied-{host}"));
        let (from, to) = (format!("docker://{}/team/large:1", server.host), format!("dir:{}", folder.display()));
        tool(Command::new("skopeo").args(["copy", "-q", "--insecure-policy", "--src-tls-verify=false", &from, &to]));
        assert_eq!(fs_err::read(folder.join("manifest.json")).expect("copied"), manifest);
        let read: Value = serde_json::from_slice(&manifest).expect("a manifest");
        let size = read["layers"][0]["size"].as_u64().expect("a size");
        let digest = read["layers"][0]["digest"].as_str().expect("a digest");
        let copied = fs_err::read(folder.join(digest.trim_start_matches("sha256:"))).expect("copied");
        assert_eq!((copied.len() as u64, Digest::sha256_of(&copied).to_string()), (size, digest.to_owned()));
        fs_err::remove_dir_all(folder).expect("removed");

        let taken = nginx.taken();
        if meanwhile == Meanwhile::Nothing {
            assert!(taken <= size + size / 20 + CHUNK, "{taken} bytes were sent for {size}");
        } else {
            assert!(taken >= size + SIZE / 2 - CHUNK, "{taken} bytes were sent for {size}");
        }
        store.mica(&["system", "check"]).ok();
    }
}
