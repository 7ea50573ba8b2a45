//! Commands that are killed: what they leave has no name, the same command works again, and `prune` gives the bytes back.

use std::time::Duration;

use mica_engine::ops::prune::{PruneImages, PruneRequest};
use mica_engine::ops::rmi::RemoveImage;
use mica_engine::storage::{Source, Volatility};

use crate::concurrency::loading;
use crate::ground::{Ground, Image, Node, docker_archive, is_root, layer, sample, wait, write};

/// An image whose load takes long enough to be killed in the middle.
fn large() -> Image {
    let content = "x".repeat(20_000);
    let names: Vec<String> = (0..400).map(|number| format!("file-{number}")).collect();
    let layers = (0..4)
        .map(|number| {
            let top = format!("layer-{number}");
            let mut nodes = vec![Node::Dir("shared"), Node::File("shared/x", &top)];
            nodes.extend(names.iter().map(|name| Node::File(name, &content)));
            layer(&nodes)
        })
        .collect();
    Image::new("large:1", layers)
}

#[test]
fn privileged_a_killed_load_leaves_nothing_that_stays() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    wait(engine.driver_name()).unwrap();
    let before = ground.weight();
    fs_err::write(ground.directory.path().join("archive"), docker_archive(&[large()])).unwrap();
    for delay in [5, 15, 30, 60, 90, 120, 180, 240] {
        let mut child = loading(ground.directory.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        // Either whole or absent.
        for image in wait(engine.images(&[])).unwrap() {
            assert_eq!(wait(engine.inspect_image(image.id.hex())).unwrap().id, image.id);
        }
    }
    let loaded = loading(ground.directory.path()).spawn().unwrap().wait().unwrap();
    assert!(loaded.success(), "the same command works again");
    let report = wait(engine.check(Default::default())).unwrap();
    assert!(report.is_clean(), "{report:?}");
    wait(engine.remove_image("large:1", RemoveImage { force: true })).unwrap();
    wait(engine.prune(PruneRequest { images: PruneImages::Unused, ..PruneRequest::default() })).unwrap();
    assert_eq!(ground.weight(), before);
}

#[test]
fn privileged_directories_without_rows_are_garbage_and_are_replaced() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    let image = sample("half:1");
    wait(engine.driver_name()).unwrap();
    let before = ground.weight();
    // What a load leaves that dies after it has published its layers and before it has recorded them.
    let key = mica_layer::Digest::sha256_of(&image.layers[0]).hex().to_owned();
    let wrong = ground.root().join("drivers/overlay/layers").join(&key);
    fs_err::create_dir(&wrong).unwrap();
    fs_err::write(wrong.join("half"), "written").unwrap();
    fs_err::write(ground.root().join("content/ingest/0123"), "partial").unwrap();

    ground.load(&engine, &docker_archive(&[image])).unwrap();
    let found = wait(engine.find_image("half:1")).unwrap();
    let chain = wait(engine.ensure_chain(&found.config.rootfs.diff_ids)).unwrap();
    let view = wait(engine.view_mount(&chain)).unwrap();
    assert!(crate::ground::read(&view, "half").is_err(), "the left-over was trusted");
    drop((view, chain));
    wait(engine.remove_image("half:1", RemoveImage::default())).unwrap();

    fs_err::create_dir(&wrong).unwrap();
    wait(engine.prune(PruneRequest::default())).unwrap();
    assert_eq!(ground.weight(), before);
}

#[test]
fn privileged_layers_that_were_never_flushed_are_forgotten_at_the_next_boot() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    ground.load(&engine, &docker_archive(&[sample("base")])).unwrap();
    let found = wait(engine.find_image("base")).unwrap();
    let chain = wait(engine.ensure_chain(&found.config.rootfs.diff_ids)).unwrap();
    wait(engine.rw_create(&chain, "step")).unwrap();
    write(&wait(engine.rw_mount(&chain, "step", Volatility::Volatile)).unwrap(), "made", "made");
    let sealed = wait(engine.rw_seal(&chain, "step", Source::Consume)).unwrap();
    let stack = sealed.chain.stack().to_vec();
    drop((sealed, chain, engine));
    // Another boot: the hot state is gone, and rows of the last one name a boot that is not this one.
    let database = rusqlite::Connection::open(ground.root().join("db/meta.sqlite")).unwrap();
    database.execute("UPDATE layers SET boot = 'earlier' WHERE boot IS NOT NULL", []).unwrap();
    database.execute("UPDATE objects SET boot = 'earlier' WHERE boot IS NOT NULL", []).unwrap();
    drop(database);
    fs_err::remove_dir_all(ground.directory.path().join("run")).unwrap();

    let engine = ground.engine();
    assert!(wait(engine.ensure_chain(&stack)).is_err(), "what may be torn is not used");
    wait(engine.ensure_chain(&found.config.rootfs.diff_ids)).unwrap();
    let report = wait(engine.check(Default::default())).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn privileged_what_was_unpacked_and_not_flushed_is_unpacked_again_at_the_next_boot() {
    if !is_root() {
        return;
    }
    for driver in ["overlay", "vfs"] {
        let ground = Ground::new(driver);
        let engine = ground.engine();
        ground.load(&engine, &docker_archive(&[sample("base")])).unwrap();
        drop(engine);
        let database = rusqlite::Connection::open(ground.root().join("db/meta.sqlite")).unwrap();
        assert!(database.execute("UPDATE objects SET boot = 'earlier'", []).unwrap() > 0);
        drop(database);
        // The names came back and the bytes did not.
        let mut torn = 0;
        for entry in fs_err::read_dir(ground.root().join("drivers").join(driver).join("layers")).unwrap() {
            let layer = entry.unwrap().path();
            for file in [layer.join("etc/new"), layer.join("tree/etc/new")] {
                if file.exists() {
                    fs_err::write(file, "").unwrap();
                    torn += 1;
                }
            }
        }
        assert_eq!(torn, 1, "{driver}");
        fs_err::remove_dir_all(ground.directory.path().join("run")).unwrap();

        let engine = ground.engine();
        let report = wait(engine.check(Default::default())).unwrap();
        assert!(
            report.damages.is_empty() && report.notes.iter().any(|note| note.contains("unpacked again")),
            "{report:?}"
        );
        let found = wait(engine.find_image("base")).unwrap();
        let chain = wait(engine.ensure_chain(&found.config.rootfs.diff_ids)).unwrap();
        assert_eq!(
            crate::ground::read(&wait(engine.view_mount(&chain)).unwrap(), "etc/new").unwrap(),
            "new",
            "{driver}"
        );
        let report = wait(engine.check(Default::default())).unwrap();
        assert!(report.damages.is_empty() && report.notes.is_empty(), "{driver}: {report:?}");
    }
}

#[test]
fn privileged_a_lost_directory_is_rebuilt_from_its_blob() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    ground.load(&engine, &docker_archive(&[sample("base")])).unwrap();
    drop(engine);
    let layers = ground.root().join("drivers/overlay/layers");
    for entry in fs_err::read_dir(&layers).unwrap() {
        fs_err::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    fs_err::remove_dir_all(ground.directory.path().join("run")).unwrap();
    let engine = ground.engine();
    let found = wait(engine.find_image("base")).unwrap();
    let chain = wait(engine.ensure_chain(&found.config.rootfs.diff_ids)).unwrap();
    assert_eq!(crate::ground::read(&wait(engine.view_mount(&chain)).unwrap(), "etc/new").unwrap(), "new");
}

#[test]
fn privileged_what_died_before_it_was_linked_is_taken_away_and_a_kept_volume_is_not() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    wait(engine.driver_name()).unwrap();
    // A process that died while it created the store.
    let begun = ground.root().join("store.json.0123");
    fs_err::write(&begun, "{}").unwrap();
    // `rm` without `--volumes`, killed between its transaction and the directories; and `rm --volumes`, the same.
    let database = rusqlite::Connection::open(ground.root().join("db/meta.sqlite")).unwrap();
    let (kept, gone, container) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
    database.execute("INSERT INTO volumes (name, created, record) VALUES (?1, '', '{}')", [&kept]).unwrap();
    drop(database);
    for volume in [&kept, &gone] {
        fs_err::create_dir_all(ground.root().join("volumes").join(volume).join("_data")).unwrap();
    }
    let state = ground.root().join("containers").join(&container);
    for volume in [&kept, &gone] {
        let names = state.join("volumes");
        fs_err::create_dir_all(&names).unwrap();
        fs_err::write(names.join(volume), "").unwrap();
    }
    wait(engine.prune(PruneRequest::default())).unwrap();
    assert!(!begun.exists() && !state.exists());
    assert!(!ground.root().join("volumes").join(gone).exists());
    assert!(ground.root().join("volumes").join(kept).exists(), "a volume that has a row was removed");
}
