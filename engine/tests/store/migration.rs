//! Images and containers go from driver to driver and are the same there, whatever is in them; what is cut off goes on.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Command;
use std::sync::{Arc, Mutex};

use mica_engine::container::{ContainerRecord, ContainerSpec};
use mica_engine::ops::check::CheckOptions;
use mica_engine::ops::create::CreateRequest;
use mica_engine::ops::migrate::{Destination, MigrateProgress, MigrateRequest, Migrated, Object, Outcome};
use mica_engine::ops::prune::PruneRequest;
use mica_engine::storage::Volatility;
use mica_engine::{Engine, Kind, Result};
use mica_layer::Tree;

use crate::ground::{ANY, DRIVERS, Ground, Image, Node, docker_archive, is_root, layer, on_btrfs, open, sample, wait};

/// Deletions, opaque directories and hard links that reach over layers.
fn base() -> Image {
    Image::new(
        "base",
        vec![
            layer(&[
                // Without an entry, the root's time is the driver's business.
                Node::Dir("./"),
                Node::Dir("etc"),
                Node::File("etc/kept", "kept"),
                Node::File("etc/gone", "gone"),
                Node::Dir("hidden"),
                Node::File("hidden/old", "old"),
                Node::File("one", "linked"),
                Node::Dir("quiet"),
                Node::File("quiet/x", "x"),
                Node::File("quiet/y", "y"),
            ]),
            layer(&[
                Node::File("etc/.wh.gone", ""),
                Node::File("hidden/.wh..wh..opq", ""),
                Node::File("hidden/new", "n"),
            ]),
            layer(&[Node::HardLink("two", "one"), Node::Dir("etc"), Node::File("etc/gone", "back")]),
        ],
    )
}

/// What a container may do to that.
const DEEDS: &str = r#"
rm etc/gone; echo new > etc/new; chown 3:4 etc; chmod 2750 etc
rm -r hidden; mkdir hidden; echo mine > hidden/mine
ln two three; echo more >> one
mknod null c 1 3; mkfifo pipe; mkdir -m 000 closed; ln -s nowhere dangling; chown -h 9:9 dangling
echo x > setuid; chown 7:8 setuid; chmod 6755 setuid
mkdir -p sub/sub; echo deep > sub/sub/deep; rm -r sub; echo file > sub
truncate -s 64M sparse; printf end | dd of=sparse bs=1 seek=67108861 conv=notrunc status=none
echo long > "$(printf 'n%.0s' $(seq 255))"; printf x > "$(printf 'new\nline')"
touch -d '2001-02-03 04:05:06.123456789' etc/kept
rm quiet/x; touch -d @1700000000 quiet
"#;

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl MigrateProgress for Told {
    fn done(&self, object: &Object, outcome: Outcome) {
        let line = match outcome {
            Outcome::Moved(from) => format!("{object}: moved from {}", from.join(", ")),
            Outcome::Planned(from, _) => format!("{object}: would come from {}", from.join(", ")),
            Outcome::There => format!("{object}: there"),
            Outcome::Stays(error) => format!("{object}: stays: {error}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

fn migrate(engine: &Engine, to: &str, change: impl FnOnce(&mut MigrateRequest)) -> (Result<Migrated>, Vec<String>) {
    let mut request = MigrateRequest { to: to.to_owned(), ..MigrateRequest::default() };
    change(&mut request);
    let told = Arc::new(Told::default());
    let migrated = wait(engine.migrate(request, told.clone()));
    let lines = told.0.lock().unwrap().clone();
    (migrated, lines)
}

fn create(engine: &Engine, name: &str) -> ContainerRecord {
    let spec = ContainerSpec { image: "base".into(), name: Some(name.into()), ..ContainerSpec::default() };
    wait(engine.create(CreateRequest { spec, ..CreateRequest::default() })).unwrap();
    wait(engine.container(name)).unwrap().record
}

/// A container's tree, after something was done in it.
fn tree(engine: &Engine, record: &ContainerRecord, deeds: &str) -> Tree {
    let chain = wait(engine.ensure_chain_on(&record.driver, &record.diff_ids)).unwrap();
    let mount = wait(engine.rw_mount(&chain, &record.id, Volatility::Durable)).unwrap();
    let here = format!("/proc/self/fd/{}", mount.as_raw_fd());
    let status = Command::new("sh").args(["-eu", "-c", deeds]).current_dir(here).status().unwrap();
    assert!(status.success());
    if !deeds.is_empty() {
        let flags = rustix::fs::XattrFlags::empty();
        let path = format!("/proc/self/fd/{}/etc", mount.as_raw_fd());
        rustix::fs::setxattr(&path, "user.note", b"value", flags).unwrap();
        rustix::fs::setxattr(&path, "trusted.note", b"value", flags).unwrap();
    }
    Tree::read(mount.as_fd()).unwrap()
}

fn assert_clean(engine: &Engine, what: &str) {
    let report = wait(engine.check(CheckOptions::default())).unwrap();
    assert!(report.damages.is_empty(), "{what}: {report:#?}");
}

/// Moves an image and containers around through these drivers, and ends where it began.
fn tour(ground: &Ground, drivers: &[&str]) {
    let first = drivers[0];
    ground.load(&open(ground.directory.path(), first), &docker_archive(&[base(), sample("other")])).unwrap();
    let engine = open(ground.directory.path(), ANY);
    let image = wait(engine.find_image("base")).unwrap();
    let (busy, idle, below) = (create(&engine, "busy"), create(&engine, "idle"), create(&engine, "below"));
    assert_eq!(busy.driver, first);
    let (busy_tree, idle_tree) = (tree(&engine, &busy, DEEDS), tree(&engine, &idle, ""));
    let below_tree = tree(&engine, &below, "echo more > etc/more");
    for (from, to) in drivers.iter().zip(drivers.iter().skip(1).chain([&first])) {
        let what = format!("{from} to {to}");
        // As another process would.
        let engine = open(ground.directory.path(), ANY);
        let (done, told) = migrate(&engine, to, |_| ());
        let done = done.unwrap();
        assert_eq!((done.stayed, done.new_containers), (0, Destination::Switched), "{what}: {told:?}");
        assert_eq!(told.len(), 5, "{what}: {told:?}");
        let engine = open(ground.directory.path(), ANY);
        assert_eq!(wait(engine.driver_name()).unwrap(), *to, "{what}");
        for (before, before_tree) in [(&busy, &busy_tree), (&idle, &idle_tree), (&below, &below_tree)] {
            let now = wait(engine.container(&before.name)).unwrap().record;
            assert_eq!(now, ContainerRecord { driver: (*to).to_owned(), ..before.clone() }, "{what}");
            assert_eq!(tree(&engine, &now, "").diff(before_tree), "", "{what}");
        }
        assert_eq!(wait(engine.find_image("base")).unwrap(), image, "{what}");
        assert_clean(&engine, &what);
        wait(engine.prune(PruneRequest::default())).unwrap();
        for place in ["layers", "rw", "stage", "trash"] {
            let path = ground.root().join("drivers").join(from).join(place);
            let left = fs_err::read_dir(&path).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{what}: {}", path.display());
        }
        let (again, told) = migrate(&engine, to, |_| ());
        assert_eq!(again.unwrap().stayed, 0);
        assert!(told.iter().all(|line| line.ends_with(": there")), "{what}: {told:?}");
    }
    let made = wait(engine.ensure_chain_on(first, &busy.diff_ids)).unwrap();
    assert!(wait(engine.rw_changes(&made, &idle.id)).unwrap().is_empty(), "nothing was done in it");
}

#[test]
fn privileged_a_store_goes_round_the_drivers_and_stays_the_same() {
    if is_root() {
        tour(&Ground::new(DRIVERS[0]), &DRIVERS);
    }
}

#[test]
fn privileged_a_store_on_btrfs_goes_both_ways_round_the_drivers() {
    on_btrfs("migration::privileged_a_store_on_btrfs_goes_both_ways_round_the_drivers", ANY, |ground| {
        // Every pair once: overlay, vfs, btrfs, overlay, btrfs, vfs, overlay.
        tour(ground, &["overlay", "vfs", "btrfs", "overlay", "btrfs", "vfs"]);
    });
}

#[test]
fn privileged_what_is_named_moves_and_new_containers_follow_their_image() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("overlay");
    ground.load(&ground.engine(), &docker_archive(&[base(), sample("other")])).unwrap();
    let engine = open(ground.directory.path(), ANY);
    let stays = create(&engine, "stays");
    let before = tree(&engine, &stays, DEEDS);
    let (done, told) = migrate(&engine, "vfs", |request| request.names = vec!["base".into()]);
    assert_eq!(done.unwrap().new_containers, Destination::Unchanged("overlay".into()));
    assert_eq!(told, ["image base:latest: moved from overlay"]);
    assert_clean(&engine, "named");
    // One container keeps its layers where they are; the next one goes where the image is.
    assert_eq!(wait(engine.container("stays")).unwrap().record.driver, "overlay");
    assert_eq!(tree(&engine, &stays, "").diff(&before), "");
    let moved = migrate(&engine, "vfs", |request| request.names = vec!["stays".into(), "base".into()]).1;
    assert_eq!(moved, ["container stays: moved from overlay", "image base:latest: moved from overlay"]);
    let engine = open(ground.directory.path(), ANY);
    assert_eq!(create(&engine, "new").driver, "vfs");
    assert_eq!(wait(engine.driver_name()).unwrap(), "overlay", "the other image is still there");
    let none = migrate(&engine, "vfs", |request| request.names = vec!["none".into()]).0.unwrap_err();
    assert_eq!((none.kind(), none.to_string().as_str()), (Kind::NotFound, "no such image or container: `none`"));
    let (done, told) = migrate(&open(ground.directory.path(), "overlay"), "vfs", |request| request.dry_run = true);
    assert_eq!(done.unwrap().new_containers, Destination::Told("overlay".into()));
    assert_eq!(told.iter().filter(|line| line.ends_with("would come from overlay")).count(), 1, "{told:?}");
}
