//! Kept figures against the disk: what `system df` says is what an own walk finds.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use mica_engine::Engine;
use mica_engine::ops::create::CreateRequest;
use mica_engine::ops::prune::{PruneImages, PruneRequest};
use mica_engine::ops::ps::PsRequest;
use mica_engine::ops::remove::RemoveOptions;
use mica_engine::ops::rmi::RemoveImage;
use mica_engine::storage::{Source, Volatility};

use crate::ground::{DRIVERS, Ground, Image, Node, docker_archive, is_root, layer, sample, wait, write};

#[test]
fn privileged_figures_of_images_are_what_the_disk_holds() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        let ground = Ground::new(driver);
        let engine = ground.engine();
        let same = |when: &str| {
            let said = wait(engine.disk_usage()).unwrap().images.size;
            assert_eq!(said, on_disk(&ground.root(), driver), "{driver}, {when}");
            said
        };
        same("empty");
        let large = "large".repeat(100_000);
        let other = Image::new(
            "other",
            vec![layer(&[Node::Dir("etc"), Node::File("etc/kept", "kept")]), layer(&[Node::File("large", &large)])],
        );
        ground.load(&engine, &docker_archive(&[sample("base"), other])).unwrap();
        let loaded = same("loaded");
        assert!(loaded > 2 * 500_000, "{driver}: {loaded}");

        let found = wait(engine.find_image("base")).unwrap();
        let chain = wait(engine.ensure_chain(&found.config.rootfs.diff_ids)).unwrap();
        for (id, source) in [("kept", Source::Keep), ("consumed", Source::Consume)] {
            wait(engine.rw_create(&chain, id)).unwrap();
            let mount = wait(engine.rw_mount(&chain, id, Volatility::Volatile)).unwrap();
            write(&mount, id, &large);
            drop(mount);
            let sealed = wait(engine.rw_seal(&chain, id, source)).unwrap();
            assert!(same(id) > loaded + 500_000, "{driver}");
            drop(sealed);
        }
        drop(chain);

        let all = PruneRequest {
            containers: true,
            images: PruneImages::Unused,
            build_cache: true,
            ..PruneRequest::default()
        };
        wait(engine.prune(all)).unwrap();
        assert_eq!(same("pruned"), 0, "{driver}");
    }
}

#[test]
fn privileged_a_containers_figure_is_kept_until_somebody_can_write() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        let ground = Ground::new(driver);
        let engine = ground.engine();
        ground.load(&engine, &docker_archive(&[sample("base")])).unwrap();
        let mut create = CreateRequest::default();
        create.spec.image = "base".into();
        let id = wait(engine.create(create)).unwrap().id;
        let fresh = written(&engine);
        let kept = ground.root().join("containers").join(&id).join("size.json");
        let first = fs_err::read_to_string(&kept).unwrap();
        assert_eq!(written(&engine), fresh);
        assert_eq!(fs_err::read_to_string(&kept).unwrap(), first, "{driver}: the figure was taken again");

        let source = ground.directory.path().join("file");
        fs_err::write(&source, "x".repeat(300_000)).unwrap();
        wait(engine.copy_to(source, &id, Path::new("/copied"), Default::default())).unwrap();
        let after = written(&engine);
        assert!((fresh + 300_000..fresh + 400_000).contains(&after), "{driver}: {fresh}, then {after}");
        assert_eq!(wait(engine.disk_usage()).unwrap().containers.size, after);
        assert_eq!(after, rw_on_disk(&ground.root(), driver, &id), "{driver}");

        // What somebody left who died while looking, or what another boot or driver wrote, is no figure.
        for text in [r#"{"begun":"x"}"#.to_owned(), String::new(), first.replace(driver, "elsewhere")] {
            fs_err::write(&kept, text).unwrap();
            assert_eq!(written(&engine), after, "{driver}");
        }
        wait(engine.remove(&id, RemoveOptions::default())).unwrap();
        assert_eq!(wait(engine.disk_usage()).unwrap().containers.size, 0);
        assert!(!ground.root().join("containers").join(&id).exists(), "{driver}");
    }
}

#[test]
fn privileged_what_images_share_is_told_apart() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    let base = layer(&[Node::File("base", "0123456789")]);
    let own = layer(&[Node::File("own", "01234")]);
    let images = [Image::new("one", vec![base.clone(), own]), Image::new("two", vec![base])];
    ground.load(&engine, &docker_archive(&images)).unwrap();
    let details = wait(engine.disk_details()).unwrap();
    let mut found: Vec<_> = details
        .images
        .iter()
        .map(|image| (image.summary.references[0].familiar(), image.summary.size, image.shared, image.unique))
        .collect();
    found.sort();
    assert_eq!(found, [("one:latest".into(), 15, 10, 5), ("two:latest".into(), 10, 10, 0)]);
}

#[test]
fn privileged_what_could_be_reclaimed_is_what_removing_brings_back() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        let ground = Ground::new(driver);
        let engine = ground.engine();
        let base = layer(&[Node::File("base", "0123456789")]);
        let own = |name: &str| layer(&[Node::File(name, &name.repeat(10_000))]);
        let images = [
            Image::new("one", vec![base.clone(), own("first"), own("second")]),
            Image::new("two", vec![base, own("third")]),
        ];
        ground.load(&engine, &docker_archive(&images)).unwrap();
        let usage = || wait(engine.disk_usage()).unwrap().images;
        let create = |image: &str| {
            let mut create = CreateRequest::default();
            create.spec.image = image.into();
            wait(engine.create(create)).unwrap();
        };
        let nothing_used = usage().reclaimable;
        create("two");
        let used = usage();
        assert_eq!((used.total, used.active), (2, 1), "{driver}");
        assert!(0 < used.reclaimable && used.reclaimable < nothing_used, "{driver}: {used:?} of {nothing_used}");
        let config = serde_json::to_vec(&images[0].config).unwrap().len() as u64;
        wait(engine.remove_image("one", RemoveImage::default())).unwrap();
        let left = usage();
        assert_eq!(left.size + used.reclaimable + config, used.size, "{driver}");
        assert_eq!(left.reclaimable, 0, "{driver}");
    }
}

fn written(engine: &Engine) -> u64 {
    let request = PsRequest { all: true, sizes: true, ..PsRequest::default() };
    wait(engine.ps(request)).unwrap()[0].size.unwrap().writable
}

/// Blobs by their length, layers by their blocks.
fn on_disk(root: &Path, driver: &str) -> u64 {
    let names = |path: &Path| fs_err::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
    let blobs: u64 = names(&root.join("content/blobs/sha256")).map(|path| fs_err::metadata(path).unwrap().len()).sum();
    blobs + names(&root.join("drivers").join(driver).join("layers")).map(|path| blocks(&path)).sum::<u64>()
}

fn rw_on_disk(root: &Path, driver: &str, id: &str) -> u64 {
    let rw = root.join("drivers").join(driver).join("rw").join(id);
    blocks(&if driver == "overlay" { rw.join("fs") } else { rw })
}

/// A file of several names counts once.
fn blocks(path: &Path) -> u64 {
    fn add(path: &Path, seen: &mut BTreeSet<u64>) -> u64 {
        let meta = fs_err::symlink_metadata(path).unwrap();
        let own = if seen.insert(meta.ino()) { meta.blocks() * 512 } else { 0 };
        if !meta.is_dir() {
            return own;
        }
        own + fs_err::read_dir(path).unwrap().map(|entry| add(&entry.unwrap().path(), seen)).sum::<u64>()
    }
    add(path, &mut BTreeSet::new())
}
