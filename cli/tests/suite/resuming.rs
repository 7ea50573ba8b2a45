//! Pulls that are cut off, and pulls of the same image at the same time: nothing comes twice.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::registry::{Nginx, Server};
use crate::shelf::{noise, tar};
use crate::support::{Store, finish, until};

/// Bytes of the large layer.
const SIZE: usize = 48_000_000;

/// A slow registry with an image of one large layer.
fn slow(rate: &str) -> Option<(Server, Nginx, String)> {
    let store = Store::privileged()?;
    let server = Server::start()?;
    fs_err::write(store.path("large.tar"), tar("large", &noise(SIZE))).expect("written");
    store.mica(&["import", "large.tar", "large"]).ok();
    server.take(&store, "large", "large:1");
    let nginx = Nginx::before(&server, &format!("limit_rate {rate};"))?;
    let name = format!("{}/large:1", nginx.host);
    Some((server, nginx, name))
}

/// The partial file of a store's only download.
fn partial(store: &Store) -> Option<PathBuf> {
    let entries = fs_err::read_dir(store.path("root/content/ingest")).ok()?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "partial"))
}

/// How many of its bytes have come: connections leave holes between what each of them fetches.
fn come(path: &PathBuf) -> u64 {
    fs_err::metadata(path).map_or(0, |found| found.blocks() * 512)
}

#[test]
fn privileged_a_killed_pull_fetches_hardly_anything_again() {
    let Some((_server, nginx, name)) = slow("6m") else { return };
    let Some(store) = Store::privileged() else { return };
    let mut pull = store.command(&["pull", "-q", &name]).spawn().expect("the program starts");
    until("half of the layer", || partial(&store).is_some_and(|path| come(&path) >= SIZE as u64 / 2));
    pull.kill().expect("killed");
    pull.wait().expect("ended");
    let path = partial(&store).expect("what came stays");
    let there = come(&path);
    // It is no garbage to anybody.
    store.mica(&["system", "check"]).ok();
    assert!(path.exists());
    until("the end of the killed pull's requests", || nginx.served() >= SIZE as u64 / 4);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let before = nginx.served();
    store.mica(&["pull", "-q", &name]).ok();
    let fetched = nginx.served() - before;
    let missing = (SIZE as u64).saturating_sub(there);
    assert!(fetched <= missing + SIZE as u64 / 20, "{fetched} bytes came, and {missing} were missing");
    assert!(partial(&store).is_none());
    store.mica(&["system", "check"]).ok();
    let id = store.mica(&["create", &name, "none"]).ok();
    let copied = store.mica(&["cp", &format!("{id}:/large"), "-"]);
    assert!(
        copied.bytes.windows(4096).next().is_some() && copied.bytes[512..512 + 4096] == noise(4096)[..],
        "other bytes"
    );
}

#[test]
fn privileged_two_pulls_of_one_image_share_the_work() {
    let Some((_server, nginx, name)) = slow("12m") else { return };
    let Some(store) = Store::privileged() else { return };
    let at_once: Vec<_> = (0..3)
        .map(|_| {
            let command = store.command(&["pull", &name]);
            std::thread::spawn(move || finish(command, b""))
        })
        .collect();
    let said: Vec<String> = at_once.into_iter().map(|pull| pull.join().expect("a pull").ok()).collect();
    assert!(said.iter().all(|said| said.ends_with(&name)), "{said:#?}");
    let served = nginx.served();
    assert!(served as f64 <= SIZE as f64 * 1.05, "{served} bytes were served for {SIZE}");
    assert_eq!(store.mica(&["images", "-q"]).ok().lines().count(), 1);
    store.mica(&["system", "check"]).ok();
}

#[test]
fn privileged_one_of_two_pulls_is_killed_and_the_other_goes_on() {
    let Some((_server, nginx, name)) = slow("6m") else { return };
    let Some(store) = Store::privileged() else { return };
    let mut first = store.command(&["pull", "-q", &name]).spawn().expect("the program starts");
    until("the first pull", || partial(&store).is_some_and(|path| come(&path) > 1 << 20));
    let command = store.command(&["pull", "-q", &name]);
    let second = std::thread::spawn(move || finish(command, b""));
    until("half of the layer", || partial(&store).is_some_and(|path| come(&path) >= SIZE as u64 / 2));
    first.kill().expect("killed");
    first.wait().expect("ended");
    second.join().expect("a pull").ok();
    let served = nginx.served();
    assert!(served as f64 <= SIZE as f64 * 1.10, "{served} bytes were served for {SIZE}");
    store.mica(&["system", "check"]).ok();
}

#[test]
fn privileged_a_server_without_ranges_sends_the_whole_a_few_times_only() {
    let Some((_server, nginx, name)) = slow("40m; proxy_set_header Range \"\"") else { return };
    let Some(store) = Store::privileged() else { return };
    store.mica(&["pull", "-q", &name]).ok();
    let served = nginx.served();
    assert!(served <= 4 * SIZE as u64, "{served} bytes were served for {SIZE}");
    store.mica(&["system", "check"]).ok();
}
