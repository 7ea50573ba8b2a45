//! Every kind of damage is found and named after the image it hits, and repaired without losing one; then the store is clean.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_engine::Engine;
use mica_engine::ops::check::{CheckOptions, CheckReport};
use mica_engine::storage::{Source, Volatility};
use mica_layer::Digest;

use crate::ground::{DRIVERS, Ground, docker_archive, is_root, on_btrfs, read, sample, wait, write};

/// What is done to an unpacked layer, and a part of what is said about it.
type Case = (&'static str, fn(&Path), &'static str);

const CASES: [Case; 9] = [
    ("content", |file| flip(file), "has other content"),
    ("mode", |file| fs_err::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap(), "has mode 0600"),
    ("owner", |file| fs_err::os::unix::fs::lchown(file, Some(7), None).unwrap(), "belongs to 7:0"),
    ("time", |file| touch(file, 5), "was modified at 5.000000000"),
    (
        "attribute",
        |file| rustix::fs::setxattr(file, "user.more", b"x", rustix::fs::XattrFlags::empty()).unwrap(),
        "`user.more` too many",
    ),
    ("lost file", |file| fs_err::remove_file(file).unwrap(), "is missing"),
    ("lost directory", |file| fs_err::remove_dir_all(file.parent().unwrap()).unwrap(), "is missing"),
    ("file too many", |file| fs_err::write(file.with_file_name("more"), "").unwrap(), "does not belong there"),
    ("lost object", |file| lose(file.parent().unwrap().parent().unwrap()), "is missing"),
];

#[test]
fn privileged_damaged_layers_are_found_named_and_rebuilt() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        damage_layers(&Ground::new(driver));
    }
}

#[test]
fn privileged_damaged_layers_on_btrfs() {
    on_btrfs("check::privileged_damaged_layers_on_btrfs", "btrfs", damage_layers);
}

fn damage_layers(ground: &Ground) {
    let engine = ground.engine();
    ground.load(&engine, &docker_archive(&[sample("base:1"), sample("again:2")])).unwrap();
    clean(&engine);
    for (what, damage, expected) in CASES {
        let file = layer_with(ground, "etc/kept");
        damage(&file);
        // As another process would see it: a driver may keep views that were made before.
        let engine = ground.engine();
        let what = format!("{what} on {}", wait(engine.driver_name()).unwrap());
        let found = check(&engine, CheckOptions::default());
        assert!(!found.is_clean(), "{what}");
        let told = |report: &CheckReport| {
            report.damages.iter().any(|damage| {
                damage.message.contains(expected)
                    && damage.images == ["again:2", "base:1"]
                    && damage.message.ends_with("hits `again:2`, `base:1`")
            })
        };
        assert!(told(&found), "{what}: {found:#?}");
        let repaired = check(&engine, CheckOptions { repair: true, ..CheckOptions::default() });
        assert!(told(&repaired) && repaired.is_clean(), "{what}: {repaired:#?}");
        clean(&engine);
        let stack = wait(engine.find_image("base:1")).unwrap().config.rootfs.diff_ids;
        let view = wait(engine.view_mount(&wait(engine.ensure_chain(&stack)).unwrap())).unwrap();
        assert_eq!(read(&view, "etc/kept").unwrap(), "kept", "{what}");
    }
}

#[test]
fn privileged_a_damaged_blob_comes_back_from_its_layer_or_from_a_load() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        let ground = Ground::new(driver);
        let engine = ground.engine();
        let archive = docker_archive(&[sample("base:1")]);
        ground.load(&engine, &archive).unwrap();
        let stack = wait(engine.find_image("base:1")).unwrap().config.rootfs.diff_ids;

        // Written by another program: only another load brings these bytes back, and the image runs until then.
        let blob = ground.root().join("content/blobs/sha256").join(stack[1].0.hex());
        flip(&blob);
        let found = check(&engine, CheckOptions { repair: true, ..CheckOptions::default() });
        assert!(!found.is_clean());
        let damage = found
            .damages
            .iter()
            .find(|damage| damage.message.contains("other digest") || damage.message.contains("damaged"))
            .unwrap();
        assert_eq!(damage.images, ["base:1"], "{driver}: {found:#?}");
        assert!(damage.remedy.as_ref().unwrap().contains("mica load"), "{driver}: {damage:?}");
        let view = wait(engine.view_mount(&wait(engine.ensure_chain(&stack)).unwrap())).unwrap();
        assert_eq!(read(&view, "etc/new").unwrap(), "new", "{driver}");
        drop(view);
        ground.load(&engine, &archive).unwrap();
        clean(&engine);

        // Written here: the layer gives the same bytes again. Of a whole tree it is known what lies below when an image has
        // it, and nothing has this one.
        if driver == "vfs" {
            continue;
        }
        let chain = wait(engine.ensure_chain(&stack)).unwrap();
        wait(engine.rw_create(&chain, "step")).unwrap();
        write(&wait(engine.rw_mount(&chain, "step", Volatility::Volatile)).unwrap(), "etc/made", "made");
        let sealed = wait(engine.rw_seal(&chain, "step", Source::Consume)).unwrap();
        clean(&engine);
        let blob = ground.root().join("content/blobs/sha256").join(sealed.diff_id.0.hex());
        for damage in [flip, |path: &Path| fs_err::remove_file(path).unwrap()] {
            damage(&blob);
            assert!(!check(&engine, CheckOptions::default()).is_clean(), "{driver}");
            let found = check(&engine, CheckOptions { repair: true, ..CheckOptions::default() });
            assert!(found.is_clean(), "{driver}: {found:#?}");
            assert_eq!(Digest::sha256_of(&fs_err::read(&blob).unwrap()), sealed.diff_id.0);
            clean(&engine);
        }
    }
}

#[test]
fn privileged_lost_rows_are_found_and_come_back() {
    if !is_root() {
        return;
    }
    let cases = [
        ("DELETE FROM layers", "has lost its row"),
        ("DELETE FROM blobs WHERE digest IN (SELECT id FROM images)", "has lost its row"),
        ("DELETE FROM blobs WHERE digest IN (SELECT blob FROM layers)", "has lost its row"),
        ("DELETE FROM objects", "has lost its row"),
        ("DELETE FROM snapshots WHERE parent IS NULL AND NOT linear", "has lost the row of the chain below"),
        ("UPDATE objects SET broken = 1", "is marked as damaged"),
    ];
    let ground = Ground::new("overlay");
    let engine = ground.engine();
    ground.load(&engine, &docker_archive(&[sample("base:1")])).unwrap();
    for (sql, expected) in cases {
        {
            let database = rusqlite::Connection::open(ground.root().join("db/meta.sqlite")).unwrap();
            database.pragma_update(None, "foreign_keys", false).unwrap();
            assert!(database.execute(sql, []).unwrap() > 0, "{sql}");
        }
        for quick in [true, false] {
            let found = check(&engine, CheckOptions { quick, repair: false });
            let told =
                found.damages.iter().any(|damage| damage.message.contains(expected) && damage.images == ["base:1"]);
            assert!(told && !found.is_clean(), "{sql}: {found:#?}");
        }
        let repaired = check(&engine, CheckOptions { repair: true, ..CheckOptions::default() });
        assert!(repaired.is_clean(), "{sql}: {repaired:#?}");
        clean(&engine);
        let stack = wait(engine.find_image("base:1")).unwrap().config.rootfs.diff_ids;
        let view = wait(engine.view_mount(&wait(engine.ensure_chain(&stack)).unwrap())).unwrap();
        assert_eq!(read(&view, "link").unwrap(), "kept", "{sql}");
    }
}

#[test]
fn privileged_garbage_is_told_harms_nothing_and_goes() {
    if !is_root() {
        return;
    }
    for driver in DRIVERS {
        let ground = Ground::new(driver);
        let engine = ground.engine();
        ground.load(&engine, &docker_archive(&[sample("base:1")])).unwrap();
        let before = ground.settled_weight();
        let hex = "ab".repeat(32);
        let root = ground.root();
        let made = [
            root.join("content/blobs/sha256").join(&hex),
            root.join("content/ingest/0123"),
            root.join("drivers").join(driver).join("layers").join(&hex),
            root.join("drivers").join(driver).join("rw").join(&hex),
            root.join("drivers").join(driver).join("stage/0123"),
            root.join("containers").join(&hex),
            ground.directory.path().join("run/containers").join("cd".repeat(32)),
        ];
        for path in &made {
            if path.components().any(|part| part.as_os_str() == "content") {
                fs_err::write(path, "left over").unwrap();
            } else {
                fs_err::create_dir_all(path).unwrap();
            }
        }
        for quick in [true, false] {
            let found = check(&engine, CheckOptions { quick, repair: false });
            assert!(found.is_clean(), "{driver}: left-overs are no damage");
            assert_eq!(found.damages.len(), made.len(), "{driver}: {found:#?}");
        }
        let repaired = check(&engine, CheckOptions { repair: true, ..CheckOptions::default() });
        assert!(repaired.damages.iter().all(|damage| damage.garbage && damage.repaired));
        clean(&engine);
        assert_eq!(ground.settled_weight(), before, "{driver}");
        assert!(made.iter().all(|path| !path.exists()), "{driver}");
    }
}

fn check(engine: &Engine, options: CheckOptions) -> CheckReport {
    wait(engine.check(options)).unwrap()
}

/// A check that finds nothing at all.
fn clean(engine: &Engine) {
    let report = check(engine, CheckOptions::default());
    assert_eq!(report.damages, [], "{report:#?}");
}

/// A file of an unpacked layer, found in the driver's own directory: the lowest object that has it.
fn layer_with(ground: &Ground, path: &str) -> PathBuf {
    let drivers: Vec<_> =
        fs_err::read_dir(ground.root().join("drivers")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut found: Vec<PathBuf> = drivers
        .iter()
        .flat_map(|driver| fs_err::read_dir(driver.join("layers")).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|layer| layer.join(path).exists())
        .collect();
    // Where several have it, the one without what the layers above bring.
    found.sort_by_key(|layer| (layer.join("etc/new").exists(), layer.join("link").exists()));
    let layer = found.remove(0);
    if drivers[0].ends_with("btrfs") {
        let status = Command::new("btrfs").args(["property", "set", "-f"]).arg(&layer).args(["ro", "false"]).status();
        assert!(status.unwrap().success());
    }
    layer.join(path)
}

/// Takes a whole object away; a subvolume is no directory that can be removed.
fn lose(object: &Path) {
    if fs_err::remove_dir_all(object).is_err() {
        let status = Command::new("btrfs").args(["subvolume", "delete"]).arg(object).output().unwrap();
        assert!(status.status.success(), "{status:?}");
    }
}

fn flip(path: &Path) {
    let before = fs_err::metadata(path).unwrap();
    let mut bytes = fs_err::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(path, bytes).unwrap();
    touch(path, before.mtime());
}

fn touch(path: &Path, tv_sec: i64) {
    let time = rustix::fs::Timespec { tv_sec, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}
