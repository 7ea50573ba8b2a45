//! Many processes on one store: each is an engine of its own here, and in the second test a real process.

use std::process::Command;

use mica_engine::ops::prune::{PruneImages, PruneRequest};
use mica_engine::ops::rmi::RemoveImage;

use crate::ground::{Ground, docker_archive, is_root, open, sample, wait};

#[test]
fn privileged_everybody_loads_the_same_image_and_it_is_unpacked_once() {
    if !is_root() {
        return;
    }
    for driver in crate::ground::DRIVERS {
        let ground = Ground::new(driver);
        let archive = docker_archive(&[sample("same:1")]);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| ground.load(&ground.engine(), &archive).unwrap());
            }
        });
        let engine = ground.engine();
        assert_eq!(wait(engine.images(&[])).unwrap().len(), 1);
        wait(engine.remove_image("same:1", RemoveImage::default())).unwrap();
        let (bytes, _) = ground.weight();
        assert_eq!(bytes, 0, "{driver}");
    }
}

#[test]
fn privileged_loading_and_removing_at_once_never_breaks_the_store() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    let archive = docker_archive(&[sample("churn:1")]);
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let (ground, archive) = (&ground, &archive);
            scope.spawn(move || {
                let engine = ground.engine();
                for _ in 0..10 {
                    if worker % 2 == 0 {
                        ground.load(&engine, archive).unwrap();
                    } else {
                        // It may have no name just now.
                        let _ = wait(engine.remove_image("churn:1", RemoveImage::default()));
                        wait(engine.prune(PruneRequest { images: PruneImages::Dangling, ..PruneRequest::default() }))
                            .unwrap();
                    }
                }
            });
        }
    });
    let engine = ground.engine();
    ground.load(&engine, &archive).unwrap();
    let report = wait(engine.check(Default::default())).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let found = wait(engine.find_image("churn:1")).unwrap();
    let chain = wait(engine.ensure_chain(&found.config.rootfs.diff_ids)).unwrap();
    let view = wait(engine.view_mount(&chain)).unwrap();
    assert_eq!(crate::ground::read(&view, "etc/new").unwrap(), "new");
}

/// The name of the environment variable that makes this test binary a worker.
const WORKER: &str = "MICA_TEST_LOADS";

/// Not a test of its own: what the process tests start.
#[test]
fn worker() {
    let Some(directory) = std::env::var_os(WORKER) else { return };
    let directory = std::path::PathBuf::from(directory);
    let engine = open(&directory, "overlay");
    let archive = mica_engine::ops::load::ArchiveSource::File(directory.join("archive"));
    wait(engine.load(archive, std::sync::Arc::new(mica_engine::ops::load::Silent))).unwrap();
}

/// A process that loads `<directory>/archive` into the store there.
pub fn loading(directory: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "concurrency::worker", "--quiet"]).env(WORKER, directory);
    command.stdout(std::process::Stdio::null());
    command
}

#[test]
fn privileged_real_processes_share_the_store() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    fs_err::write(ground.directory.path().join("archive"), docker_archive(&[sample("many:1")])).unwrap();
    let children: Vec<_> = (0..16).map(|_| loading(ground.directory.path()).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(wait(ground.engine().images(&[])).unwrap().len(), 1);
}
