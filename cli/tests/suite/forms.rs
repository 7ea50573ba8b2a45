//! One image under several manifests: each name goes back as it came, and takes its own blobs along when it goes.

use std::collections::BTreeSet;
use std::process::Command;

use mica_layer::Digest;
use serde_json::Value;

use crate::registry::{Server, tool};
use crate::shelf::{noise, tar};
use crate::support::Store;

fn raw(name: &str) -> Vec<u8> {
    tool(Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", name]))
}

fn at(name: &str) -> Vec<u8> {
    raw(&format!("docker://{name}"))
}

/// The digests of a manifest, of its config and of its layers.
fn parts(manifest: &[u8]) -> BTreeSet<String> {
    let document: Value = serde_json::from_slice(manifest).expect("a manifest");
    let layers = document["layers"].as_array().expect("layers").iter();
    let named = layers.chain([&document["config"]]).map(|part| part["digest"].as_str().expect("a digest").to_owned());
    named.chain([Digest::sha256_of(manifest).to_string()]).collect()
}

/// The digests of all blobs in a store.
fn blobs(store: &Store) -> BTreeSet<String> {
    let names = fs_err::read_dir(store.path("root/content/blobs/sha256")).expect("a folder");
    names.map(|entry| format!("sha256:{}", entry.expect("an entry").file_name().display())).collect()
}

/// One image at two registries, its layer packed by gzip at one and by zstd at the other.
fn published() -> Option<(Store, [Server; 2], [String; 2], String)> {
    let (store, first, second) = (Store::privileged()?, Server::start()?, Server::start()?);
    fs_err::write(store.path("rootfs.tar"), tar("noise", &noise(300_000))).expect("written");
    let names = [format!("{}/app:1", first.host), format!("{}/app:1", second.host)];
    store.mica(&["import", "rootfs.tar", &names[0]]).ok();
    store.mica(&["tag", &names[0], &names[1]]).ok();
    store.mica(&["push", "-q", &names[0]]).ok();
    store.mica(&["push", "-q", "--compression", "zstd", &names[1]]).ok();
    let id = store.mica(&["image", "inspect", "-f", "{{.Id}}", &names[0]]).ok();
    assert_ne!(at(&names[0]), at(&names[1]));
    Some((store, [first, second], names, id))
}

#[test]
fn privileged_two_forms_of_one_image_go_back_as_each_came() {
    let Some((_store, _servers, names, id)) = published() else { return };
    for gone in [0, 1] {
        let (Some(store), Some(third), Some(fourth)) = (Store::privileged(), Server::start(), Server::start()) else {
            return;
        };
        for name in &names {
            store.mica(&["pull", "-q", name]).ok();
            assert!(store.mica(&["pull", name]).ok().contains("Image is up to date"));
        }
        assert_eq!(store.mica(&["images", "-q", "--no-trunc"]).ok(), id);
        assert_eq!(blobs(&store), &parts(&at(&names[0])) | &parts(&at(&names[1])));

        // Everything that names one shows that one.
        let format = "{{.Repository}}:{{.Tag}} {{.Digest}}";
        let listed = store.mica(&["images", "--digests", "--format", format]).ok();
        let digests = names.each_ref().map(|name| Digest::sha256_of(&at(name)));
        let repository_digests = store.mica(&["image", "inspect", "-f", "{{json .RepoDigests}}", &names[0]]).ok();
        for (name, digest) in names.iter().zip(&digests) {
            assert!(listed.lines().any(|line| line == format!("{name} {digest}")), "{listed}");
            let pinned = format!("{}@{digest}", name.trim_end_matches(":1"));
            assert!(repository_digests.contains(&pinned), "{repository_digests}");
            assert_eq!(store.mica(&["image", "inspect", "-f", "{{.Id}}", &pinned]).ok(), id);
        }
        store.mica(&["system", "check"]).ok();

        // Another tag of each goes elsewhere, and into archives, as it came.
        for (at_home, tag) in names.iter().zip(["a", "b"]) {
            let elsewhere = format!("{}/app:{tag}", third.host);
            store.mica(&["tag", at_home, &elsewhere]).ok();
            store.mica(&["push", "-q", &elsewhere]).ok();
            assert_eq!(at(&elsewhere), at(at_home));
            store.mica(&["save", "--format", "oci-archive", "-o", "saved.tar", at_home]).ok();
            assert_eq!(raw(&format!("oci-archive:{}", store.path("saved.tar").display())), at(at_home));
            let loaded = Store::privileged().expect("a store");
            loaded.mica(&["load", "-q", "-i", &store.path("saved.tar").display().to_string()]).ok();
            assert_eq!(blobs(&loaded), parts(&at(at_home)));
        }
        store.mica(&["push", "-q", "-a", &format!("{}/app", third.host)]).ok();
        assert_eq!(at(&format!("{}/app:a", third.host)), at(&names[0]));

        // The names of one go, and the other one is whole.
        let kept = 1 - gone;
        store.mica(&["rmi", &names[gone], &format!("{}/app:{}", third.host, ["a", "b"][gone])]).ok();
        assert_eq!(blobs(&store), parts(&at(&names[kept])));
        store.mica(&["system", "check"]).ok();
        store.mica(&["system", "prune", "-f"]).ok();
        assert_eq!(blobs(&store), parts(&at(&names[kept])));
        let last = format!("{}/app:1", fourth.host);
        store.mica(&["tag", &names[kept], &last]).ok();
        store.mica(&["push", "-q", &last]).ok();
        assert_eq!(at(&last), at(&names[kept]));
        store.mica(&["system", "prune", "-a", "-f"]).ok();
        assert_eq!(blobs(&store), BTreeSet::new());
    }
}

#[test]
fn privileged_what_was_packed_here_is_not_fetched_to_be_sent_again() {
    let (Some((store, _servers, names, _)), Some(third)) = (published(), Server::start()) else { return };
    let plain = blobs(&store);
    for (name, tag) in names.iter().zip(["gzip", "zstd"]) {
        store.mica(&["pull", "-q", name]).ok();
        let elsewhere = format!("{}/app:{tag}", third.host);
        store.mica(&["tag", name, &elsewhere]).ok();
        store.mica(&["push", "-q", &elsewhere]).ok();
        assert_eq!(at(&elsewhere), at(name));
    }
    let manifests: BTreeSet<String> = names.iter().map(|name| Digest::sha256_of(&at(name)).to_string()).collect();
    assert_eq!(blobs(&store), &plain | &manifests);
    store.mica(&["system", "check"]).ok();
}

#[test]
fn privileged_a_damaged_form_costs_its_name_alone() {
    let Some((_store, _servers, names, _)) = published() else { return };
    for bad in [0, 1] {
        let (Some(store), Some(third)) = (Store::privileged(), Server::start()) else { return };
        for name in &names {
            store.mica(&["pull", "-q", name]).ok();
        }
        let document: Value = serde_json::from_slice(&at(&names[bad])).expect("a manifest");
        let blob = document["layers"][0]["digest"].as_str().expect("a digest").trim_start_matches("sha256:");
        fs_err::write(store.path("root/content/blobs/sha256").join(blob), "something else").expect("written");
        let found = store.mica(&["system", "check"]);
        assert!(found.code == 1 && found.stdout.contains(blob) && found.stdout.contains(&names[bad]), "{found:?}");
        store.mica(&["system", "check", "--repair"]).ok();
        store.mica(&["system", "check"]).ok();
        let whole = format!("{}/app:1", third.host);
        store.mica(&["tag", &names[1 - bad], &whole]).ok();
        store.mica(&["push", "-q", &whole]).ok();
        assert_eq!(at(&whole), at(&names[1 - bad]));
        // Pulling brings it back.
        store.mica(&["pull", "-q", &names[bad]]).ok();
        let again = format!("{}/app:2", third.host);
        store.mica(&["tag", &names[bad], &again]).ok();
        store.mica(&["push", "-q", &again]).ok();
        assert_eq!(at(&again), at(&names[bad]));
        store.mica(&["system", "check"]).ok();
    }
}
