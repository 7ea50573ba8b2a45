//! Removing, listing, reaping, measuring.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use mica_storage_api::{CheckLevel, ErrorKind, ObjectKind, StageKind};

use crate::ground::{Ground, filling, key, must_refuse};
use crate::sample;
use crate::verdict::{Context, Outcome, ensure};

pub(crate) fn remove_and_list(ground: &Ground<'_>) -> Outcome {
    ground.layer("a", &[], |fill| sample::plain(fill.target))?;
    ground.layer("b", &["a"], |fill| fill.target.file("b", "b"))?;
    ground.container("c", &["b", "a"])?;
    let stage = ground.stage(StageKind::Layer, "s", &["a"])?;
    let all = [(ObjectKind::Layer, "a"), (ObjectKind::Layer, "b"), (ObjectKind::Rw, "c"), (ObjectKind::Stage, "s")];
    ground.must_list(&all)?;
    // One name, several kinds: they are different objects.
    ground.container("a", &["a"])?;
    ground.remove(ObjectKind::Rw, "a")?;
    ground.must_list(&all)?;
    ground.remove(ObjectKind::Rw, "c")?;
    ground.must_list(&[all[0], all[1], all[3]])?;
    ground.remove(ObjectKind::Layer, "b")?;
    ensure!(ground.view(&["a"])?.writer().exists("etc/passwd"), "removing a layer harmed its parent");
    stage.abort();
    ground.must_list(&[all[0]])?;
    for kind in [ObjectKind::Layer, ObjectKind::Rw, ObjectKind::Stage] {
        ground.remove(kind, "never-was")?;
    }
    ground.remove(ObjectKind::Layer, "a")?;
    ground.remove(ObjectKind::Layer, "a")?;
    ground.must_list(&[])
}

pub(crate) fn names_come_back(ground: &Ground<'_>) -> Outcome {
    for round in ["first", "second"] {
        ground.layer("a", &[], |fill| fill.target.file("f", round))?;
        ground.container("c", &["a"])?;
        let mounted = ground.mount("c", &["a"])?;
        ensure!(mounted.writer().read("f")? == round.as_bytes(), "a new object of an old name shows old content");
        mounted.writer().file("g", round)?;
        drop(mounted);
        ground.remove(ObjectKind::Rw, "c")?;
        ground.remove(ObjectKind::Layer, "a")?;
    }
    Ok(())
}

pub(crate) fn remove_while_mounted(ground: &Ground<'_>) -> Outcome {
    ground.layer("a", &[], |fill| sample::plain(fill.target))?;
    ground.container("c", &["a"])?;
    let mounted = ground.mount("c", &["a"])?;
    mounted.writer().file("open", "x")?;
    ground.remove(ObjectKind::Rw, "c")?;
    ground.must_list(&[(ObjectKind::Layer, "a")])?;
    // The mount may show its files or errors from now on, but the name is free.
    ground.container("c", &["a"])?;
    ensure!(!ground.mount("c", &["a"])?.writer().exists("open"), "a new container shows a file of the removed one");
    drop(mounted);
    Ok(())
}

pub(crate) fn missing_objects(ground: &Ground<'_>) -> Outcome {
    ground.layer("a", &[], |fill| fill.target.file("f", "x"))?;
    let parents = [key("a")?];
    let none = key("none")?;
    let mount = ground.driver.mount(&mica_storage_api::MountArgs::rw(none, &parents));
    must_refuse(mount, ErrorKind::NotFound, "mounting a missing rw object")?;
    let view = ground.driver.mount(&mica_storage_api::MountArgs::view(&[none]));
    must_refuse(view, ErrorKind::NotFound, "viewing a missing layer")?;
    for kind in [ObjectKind::Layer, ObjectKind::Rw] {
        must_refuse(
            ground.driver.check(kind, none, CheckLevel::Present),
            ErrorKind::NotFound,
            "checking a missing object",
        )?;
    }
    for level in [CheckLevel::Present, CheckLevel::Deep] {
        ground.driver.check(ObjectKind::Layer, key("a")?, level).doing(|| "check a layer that is well".to_owned())?;
    }
    Ok(())
}

pub(crate) fn reap_reclaims_everything(ground: &Ground<'_>) -> Outcome {
    reap(ground)?;
    let before = shape(&ground.root)?;
    ground.layer("a", &[], |fill| {
        sample::plain(fill.target)?;
        sample::special(fill.target)?;
        for number in 0..200 {
            fill.target.file(&format!("etc/{number}"), "x")?;
        }
        fill.target.mode("etc", 0o500)
    })?;
    ground.container("c", &["a"])?;
    ground.mount("c", &["a"])?.writer().file("new", "x")?;
    ground.stage(StageKind::Layer, "s1", &["a"])?.abort();
    ground.stage(StageKind::Rw, "s2", &["a"])?.abort();
    for (kind, name) in [(ObjectKind::Rw, "c"), (ObjectKind::Layer, "a")] {
        ground.remove(kind, name)?;
    }
    reap(ground)?;
    let after = shape(&ground.root)?;
    ensure!(before == after, "the root held {before:?} and holds {after:?} after everything was removed and reaped");
    Ok(())
}

pub(crate) fn usage_grows(ground: &Ground<'_>) -> Outcome {
    ground.layer("a", &[], |fill| fill.target.file("f", vec![1; 100_000]))?;
    let layer = match ground.driver.usage(ObjectKind::Layer, key("a")?) {
        Err(error) if error.kind() == ErrorKind::Fallback => {
            return Err(crate::verdict::Stop::Skip("the driver leaves usage to the engine".to_owned()));
        }
        other => other.doing(|| "measure the layer".to_owned())?,
    };
    ensure!(layer.bytes >= 100_000, "a layer with a file of 100000 bytes takes {} bytes", layer.bytes);
    ensure!(layer.inodes >= 1, "a layer takes no inodes");
    ground.container("c", &["a"])?;
    let measure = || ground.driver.usage(ObjectKind::Rw, key("c")?).doing(|| "measure the container".to_owned());
    let before = measure()?;
    let mounted = ground.mount("c", &["a"])?;
    mounted.writer().file("big", vec![2; 3 << 20])?;
    // A file system that allocates late counts what reached it.
    let file = mounted.writer().open("big", rustix::fs::OFlags::RDWR)?;
    rustix::fs::fsync(&file).doing(|| "sync a file".to_owned())?;
    let after = measure()?;
    ensure!(
        after.bytes >= before.bytes + (3 << 20),
        "3 MiB more took the container from {} to {} bytes",
        before.bytes,
        after.bytes
    );
    must_refuse(ground.driver.usage(ObjectKind::Layer, key("none")?), ErrorKind::NotFound, "measuring a missing layer")
}

/// Reaps until nothing is left.
pub(crate) fn reap(ground: &Ground<'_>) -> Outcome {
    for _ in 0..10_000 {
        if !ground.driver.reap(Duration::from_millis(200)).doing(|| "reap".to_owned())? {
            return Ok(());
        }
    }
    ensure!(false, "reap makes no progress");
    Ok(())
}

/// The names two levels deep, except the host's locks.
fn shape(root: &Path) -> Outcome<BTreeMap<String, Vec<String>>> {
    let names = |dir: &Path| -> Outcome<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(dir).doing(|| "look into the driver root".to_owned())? {
            names.push(
                entry.doing(|| "look into the driver root".to_owned())?.file_name().to_string_lossy().into_owned(),
            );
        }
        names.sort();
        Ok(names)
    };
    let mut shape = BTreeMap::new();
    for name in names(root)? {
        if name != "locks" {
            let below = root.join(&name);
            shape.insert(name, if below.is_dir() { names(&below)? } else { Vec::new() });
        }
    }
    Ok(shape)
}

pub(crate) fn killed_stage(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| fill.target.file("f", "x"))?;
    let pid = ground.workers.start(&ground.root, "never")?.kill()?;
    let left = format!("stage-{pid}");
    ground.must_list(&[(ObjectKind::Layer, "base"), (ObjectKind::Stage, &left)])?;
    ground.remove(ObjectKind::Stage, &left)?;
    ground.must_list(&[(ObjectKind::Layer, "base")])?;
    reap(ground)?;
    // An abandoned name can be used again, and an object in use is not harmed by the removal of a stage.
    let stage = ground.stage(StageKind::Layer, &left, &[])?;
    ensure!(!filling(&stage)?.target.exists("who"), "a new stage shows what a killed one left");
    Ok(())
}
