//! Writable trees: what is written in one is seen there alone, and becomes a layer that every driver shows alike.

use std::os::fd::AsFd;

use mica_engine::storage::{Change, ChangeKind, Source, Volatility};
use mica_layer::Tree;
use rustix::fs::{AtFlags, unlinkat};

use crate::ground::{DRIVERS, Ground, docker_archive, is_root, read, sample, wait, write};

#[test]
fn privileged_a_sealed_tree_is_the_tree_that_was_written() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        for source in [Source::Keep, Source::Consume] {
            let ground = Ground::new(driver);
            let engine = ground.engine();
            ground.load(&engine, &docker_archive(&[sample("base")])).unwrap();
            let found = wait(engine.find_image("base")).unwrap();
            let chain = wait(engine.ensure_chain(&found.config.rootfs.diff_ids)).unwrap();
            wait(engine.rw_create(&chain, "one")).unwrap();
            wait(engine.rw_create(&chain, "two")).unwrap();

            let mount = wait(engine.rw_mount(&chain, "one", Volatility::Volatile)).unwrap();
            write(&mount, "etc/new", "changed");
            write(&mount, "added", "added");
            unlinkat(mount.as_fd(), "deep/er/file", AtFlags::empty()).unwrap();
            let written = Tree::read(mount.as_fd()).unwrap();
            drop(mount);

            let other = wait(engine.rw_mount(&chain, "two", Volatility::Durable)).unwrap();
            assert_eq!(read(&other, "etc/new").unwrap(), "new", "{driver}");
            assert_eq!(read(&other, "deep/er/file").unwrap(), "implicit parents", "{driver}");
            drop(other);
            assert_eq!(wait(engine.rw_changes(&chain, "two")).unwrap(), [], "{driver}");
            let changes = wait(engine.rw_changes(&chain, "one")).unwrap();
            for (path, kind) in
                [("etc/new", ChangeKind::Modified), ("added", ChangeKind::Added), ("deep/er/file", ChangeKind::Deleted)]
            {
                assert!(changes.contains(&Change { path: path.into(), kind }), "{driver}: {path} in {changes:?}");
            }

            let sealed = wait(engine.rw_seal(&chain, "one", source)).unwrap();
            assert_eq!(sealed.size, 12, "{driver}");
            let view = wait(engine.view_mount(&sealed.chain)).unwrap();
            assert_eq!(Tree::read(view.as_fd()).unwrap().diff(&written), "", "{driver} {source:?}");
            let left = wait(engine.rw_mount(&chain, "one", Volatility::Durable)).is_ok();
            assert_eq!(left, source == Source::Keep, "{driver}");
            let again = wait(engine.ensure_chain(sealed.chain.stack())).unwrap();
            assert_eq!(again.keys(), sealed.chain.keys());
        }
    }
}

#[test]
fn privileged_scratch_has_no_layers_and_takes_writes() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        let ground = Ground::new(driver);
        let engine = ground.engine();
        let chain = wait(engine.ensure_chain(&[])).unwrap();
        assert_eq!(chain.chain_id(), None);
        wait(engine.rw_create(&chain, "first")).unwrap();
        let mount = wait(engine.rw_mount(&chain, "first", Volatility::Volatile)).unwrap();
        write(&mount, "hello", "world");
        drop(mount);
        let sealed = wait(engine.rw_seal(&chain, "first", Source::Consume)).unwrap();
        let view = wait(engine.view_mount(&sealed.chain)).unwrap();
        assert_eq!(read(&view, "hello").unwrap(), "world", "{driver}");
        assert_eq!(sealed.chain.stack(), std::slice::from_ref(&sealed.diff_id), "{driver}");
    }
}

#[test]
fn privileged_an_image_is_unpacked_for_another_driver_on_first_use() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    ground.load(&ground.engine(), &docker_archive(&[sample("base")])).unwrap();
    let engine = crate::ground::open(ground.directory.path(), "vfs");
    let found = wait(engine.find_image("base")).unwrap();
    let chain = wait(engine.ensure_chain(&found.config.rootfs.diff_ids)).unwrap();
    assert_eq!(chain.driver(), "vfs");
    assert_eq!(read(&wait(engine.view_mount(&chain)).unwrap(), "etc/new").unwrap(), "new");
}

#[test]
fn privileged_a_tree_that_a_dead_command_left_is_replaced() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        let ground = Ground::new(driver);
        let engine = ground.engine();
        let chain = wait(engine.ensure_chain(&[])).unwrap();
        wait(engine.rw_create(&chain, "id")).unwrap();
        write(&wait(engine.rw_mount(&chain, "id", Volatility::Durable)).unwrap(), "old", "old");
        wait(engine.rw_create(&chain, "id")).unwrap();
        let mount = wait(engine.rw_mount(&chain, "id", Volatility::Durable)).unwrap();
        assert!(read(&mount, "old").is_err(), "{driver}");
        drop(mount);
        wait(engine.rw_remove(driver, "id")).unwrap();
        wait(engine.rw_remove(driver, "id")).unwrap();
    }
}
