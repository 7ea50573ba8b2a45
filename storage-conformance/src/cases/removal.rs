//! Removing, listing, reaping, measuring.

use std::time::Duration;

use mica_storage_api::{CheckLevel, ErrorKind, ObjectKind, StageKind};

use crate::cases::Case;
use crate::ground::{Ground, filling, key, must_refuse};
use crate::leaks::RootImage;
use crate::sample;
use crate::verdict::{Context, Outcome, Stop, ensure};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "remove: list is exact, missing is fine",
        demands: "`list` shows exactly the objects there are, by kind; removing one leaves the others; removing a missing one succeeds.",
        run: remove_and_list,
    },
    Case {
        name: "remove: a name can be used again at once",
        demands: "A new object under the name of a removed one shows nothing of it.",
        run: names_come_back,
    },
    Case {
        name: "remove: while mounted",
        demands: "An rw object can be removed while it is mounted, and its name is free at once.",
        run: remove_while_mounted,
    },
    Case {
        name: "remove: missing objects are reported as such",
        demands: "`mount` and `check` of a missing object are NOT_FOUND; `check` of a sound one succeeds at every level.",
        run: missing_objects,
    },
    Case {
        name: "reap: reclaims everything",
        demands: "After everything is removed and reaped the root holds what it held before.",
        run: reap_reclaims_everything,
    },
    Case {
        name: "reap: by several threads and processes at once",
        demands: "Several may reap one trash at once: no call fails, and the trash is empty when all are done.",
        run: reap_together,
    },
    Case {
        name: "usage: grows with what is written",
        demands: "`usage` covers at least the bytes that were written, and is NOT_FOUND for a missing object.",
        run: usage_grows,
    },
];

fn remove_and_list(ground: &Ground<'_>) -> Outcome {
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

fn names_come_back(ground: &Ground<'_>) -> Outcome {
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

fn remove_while_mounted(ground: &Ground<'_>) -> Outcome {
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

fn missing_objects(ground: &Ground<'_>) -> Outcome {
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

fn reap_reclaims_everything(ground: &Ground<'_>) -> Outcome {
    reap(ground)?;
    let before = RootImage::read(&ground.root)?;
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
    RootImage::read(&ground.root)?.must_have_nothing_new(&before)
}

fn reap_together(ground: &Ground<'_>) -> Outcome {
    for round in 0..4 {
        ground.layer("a", &[], |fill| {
            for branch in 0..8 {
                let mut path = format!("branch-{branch}");
                fill.target.dir(&path)?;
                for level in 0..20 {
                    path.push_str("/d");
                    fill.target.dir(&path)?;
                    fill.target.file(&format!("{path}/{level}"), "x")?;
                }
            }
            Ok(())
        })?;
        for name in ["c1", "c2", "c3"] {
            ground.container(name, &["a"])?;
            ground.mount(name, &["a"])?.writer().file("f", "x")?;
            ground.remove(ObjectKind::Rw, name)?;
        }
        ground.remove(ObjectKind::Layer, "a")?;
        let mut workers = Vec::new();
        for _ in 0..if round == 0 { 2 } else { 0 } {
            workers.push(ground.workers.start_to("reap", &ground.root, "")?);
        }
        for worker in &mut workers {
            worker.go()?;
        }
        let results: Vec<Outcome> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| reap(ground))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(Stop::Fail("a thread panicked".to_owned()))))
                .collect()
        });
        results.into_iter().collect::<Outcome>()?;
        for worker in &mut workers {
            let answer = worker.answer()?;
            ensure!(answer == "reaped", "a process that reaps beside others says `{answer}`");
        }
    }
    Ok(())
}

fn usage_grows(ground: &Ground<'_>) -> Outcome {
    ground.layer("a", &[], |fill| fill.target.file("f", vec![1; 100_000]))?;
    let layer = match ground.driver.usage(ObjectKind::Layer, key("a")?) {
        Err(error) if error.kind() == ErrorKind::Fallback => {
            return Err(Stop::Skip("the driver leaves usage to the engine".to_owned()));
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
pub(crate) const STAGE_CASES: &[Case] = &[Case {
    name: "stage: a killed process leaves a stage that can be cleared",
    demands: "The stage of a process that was killed is listed, can be removed, and its name can be used again.",
    run: killed_stage,
}];

pub(crate) fn reap(ground: &Ground<'_>) -> Outcome {
    for _ in 0..10_000 {
        if !ground.driver.reap(Duration::from_millis(200)).doing(|| "reap".to_owned())? {
            return Ok(());
        }
    }
    ensure!(false, "reap makes no progress");
    Ok(())
}

fn killed_stage(ground: &Ground<'_>) -> Outcome {
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
