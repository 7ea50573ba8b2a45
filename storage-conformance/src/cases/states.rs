//! Removal in every state an object can be in, and several at once.

use std::sync::Barrier;

use mica_storage_api::{Caps, ErrorKind, ObjectKind, StageArgs, StageKind};

use crate::cases::{Case, reap};
use crate::ground::{Ground, filling, key, must_refuse};
use crate::sample;
use crate::tree::Tree;
use crate::verdict::{Context, Outcome, Stop, ensure};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "remove: a stage under its writer",
        demands: "A stage that is removed while somebody writes it can no longer be committed, and leaves nothing.",
        run: stage_under_its_writer,
    },
    Case {
        name: "remove: a promoted object, by its old name and its new",
        demands: "After a promotion the rw object's name is gone and free: removing it succeeds and does not touch the layer.",
        run: promoted,
    },
    Case {
        name: "remove: twice, by several threads at once",
        demands: "Of any number of removals of one object each succeeds, in turn or at once, and the name can be used at once.",
        run: at_once,
    },
    Case {
        name: "remove: a layer or container while a trash is reaped",
        demands: "Making, mounting and removing go on while the trash is reaped.",
        run: during_reap,
    },
    Case {
        name: "stage: a missing parent is refused",
        demands: "A stage or a mount on a layer that does not exist is NOT_FOUND, names it, and leaves nothing.",
        run: missing_parent,
    },
    Case {
        name: "stage: many at once, ended in any order",
        demands: "Stages that are open at once do not see each other, whatever order they are committed and aborted in.",
        run: many_stages,
    },
    Case {
        name: "stage: names of 128 characters of every kind",
        demands: "Every name of `[A-Za-z0-9_.-]{1,128}` without a leading dot works, for every kind of object.",
        run: long_names,
    },
];

fn stage_under_its_writer(ground: &Ground<'_>) -> Outcome {
    for kind in [StageKind::Layer, StageKind::Rw] {
        let stage = ground.stage(kind, "s", &[])?;
        filling(&stage)?.target.file("f", "x")?;
        ground.remove(ObjectKind::Stage, "s")?;
        ground.must_list(&[])?;
        must_refuse(stage.commit(key("k")?), ErrorKind::NotFound, "committing a stage that was removed")?;
        ground.must_list(&[])?;
    }
    Ok(())
}

fn promoted(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::PROMOTE)?;
    ground.layer("base", &[], |fill| sample::plain(fill.target))?;
    ground.container("w", &["base"])?;
    ground.mount("w", &["base"])?.writer().file("f", "x")?;
    // Removed while somebody promotes it.
    let stage = ground.stage(StageKind::Promote, "w", &["base"])?;
    ground.remove(ObjectKind::Rw, "w")?;
    must_refuse(stage.commit(key("never")?), ErrorKind::NotFound, "promoting an rw object that was removed")?;
    ground.must_list(&[(ObjectKind::Layer, "base")])?;
    must_refuse(
        ground.driver.stage_begin(&StageArgs::new(StageKind::Promote, key("w")?, &[key("base")?])),
        ErrorKind::NotFound,
        "beginning to promote an rw object that does not exist",
    )?;

    ground.container("w", &["base"])?;
    ground.mount("w", &["base"])?.writer().file("f", "y")?;
    ground.promote("w", &["base"], "w")?;
    ground.remove(ObjectKind::Rw, "w")?;
    ground.must_list(&[(ObjectKind::Layer, "base"), (ObjectKind::Layer, "w")])?;
    ensure!(ground.view(&["w", "base"])?.writer().read("f")? == b"y", "removing the old name harmed the layer");
    ground.container("w", &["w", "base"])?;
    ground.remove(ObjectKind::Layer, "w")?;
    ground.must_list(&[(ObjectKind::Layer, "base"), (ObjectKind::Rw, "w")])
}

fn at_once(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| fill.target.file("f", "x"))?;
    for round in 0..5 {
        ground.layer("l", &["base"], |fill| fill.target.file("g", round.to_string()))?;
        ground.container("c", &["base"])?;
        ground.mount("c", &["base"])?.writer().file("f", "changed")?;
        let barrier = Barrier::new(6);
        let results: Vec<Outcome> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|number| {
                    let barrier = &barrier;
                    let (kind, name) = if number % 2 == 0 { (ObjectKind::Layer, "l") } else { (ObjectKind::Rw, "c") };
                    scope.spawn(move || {
                        barrier.wait();
                        ground.remove(kind, name)?;
                        ground.remove(kind, name)
                    })
                })
                .collect();
            threads.into_iter().map(joined).collect()
        });
        results.into_iter().collect::<Outcome>()?;
        ground.must_list(&[(ObjectKind::Layer, "base")])?;
    }
    Ok(())
}

fn joined(thread: std::thread::ScopedJoinHandle<'_, Outcome>) -> Outcome {
    thread.join().unwrap_or_else(|_| Err(Stop::Fail("a thread panicked".to_owned())))
}

fn during_reap(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| fill.target.file("f", "x"))?;
    let results: Vec<Outcome> = std::thread::scope(|scope| {
        let reaper = scope.spawn(|| {
            for _ in 0..20 {
                reap(ground)?;
            }
            Ok(())
        });
        let mut threads: Vec<_> = (0..3)
            .map(|number| {
                scope.spawn(move || {
                    let name = format!("n{number}");
                    for round in 0..6 {
                        ground.layer(&name, &["base"], |fill| {
                            fill.target.dir("d")?;
                            (0..10).try_for_each(|file| fill.target.file(&format!("d/{file}"), "x"))
                        })?;
                        let view = ground.view(&[&name, "base"])?;
                        ensure!(view.writer().exists("d/9"), "round {round}: a layer lacks a file");
                        drop(view);
                        ground.container(&name, &["base"])?;
                        ground.mount(&name, &["base"])?.writer().file("f", "y")?;
                        ground.remove(ObjectKind::Rw, &name)?;
                        ground.remove(ObjectKind::Layer, &name)?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads.push(reaper);
        threads.into_iter().map(joined).collect()
    });
    results.into_iter().collect::<Outcome>()?;
    ground.must_list(&[(ObjectKind::Layer, "base")])?;
    ensure!(ground.view(&["base"])?.writer().read("f")? == b"x", "the parent was harmed");
    Ok(())
}

fn missing_parent(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| fill.target.file("f", "x"))?;
    let missing = key("the-missing-one")?;
    let names = |error: mica_storage_loader::Error| {
        let text = crate::verdict::words(&error);
        ensure!(text.contains("the-missing-one"), "the error does not name the missing layer: {text}");
        Ok(error)
    };
    for kind in [StageKind::Layer, StageKind::Rw] {
        let result = ground.driver.stage_begin(&StageArgs::new(kind, key("s")?, &[missing]));
        let result = match result {
            Ok(_) => Ok(()),
            Err(error) => Err(names(error)?),
        };
        must_refuse(result, ErrorKind::NotFound, &format!("a {kind:?} stage on a missing layer"))?;
        ground.must_list(&[(ObjectKind::Layer, "base")])?;
        // The name is not taken by what failed.
        ground.stage(kind, "s", &[])?.abort();
    }
    let view = ground.driver.mount(&mica_storage_api::MountArgs::view(&[missing]));
    let view = match view {
        Ok(_) => Ok(()),
        Err(error) => Err(names(error)?),
    };
    must_refuse(view, ErrorKind::NotFound, "a view of a missing layer")
}

fn many_stages(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| sample::plain(fill.target))?;
    let mut stages = Vec::new();
    for number in 0..12 {
        let stage = ground.stage(StageKind::Layer, &format!("s{number}"), &["base"])?;
        filling(&stage)?.target.file(&format!("own-{number}"), number.to_string())?;
        stages.push((number, stage));
    }
    // Every third from behind, then the rest: an order that is neither the first nor its reverse.
    let (late, early): (Vec<_>, Vec<_>) = stages.into_iter().rev().partition(|(number, _)| number % 3 != 0);
    for (number, stage) in early.into_iter().chain(late) {
        if number % 4 == 1 {
            stage.abort();
        } else {
            stage.commit(key(&format!("l{number}"))?).doing(|| format!("commit stage {number}"))?;
        }
    }
    for number in (0..12).filter(|number| number % 4 != 1) {
        let name = format!("l{number}");
        let view = ground.view(&[&name, "base"])?;
        let own: Vec<_> = Tree::read(view.fd())?
            .nodes
            .into_keys()
            .filter(|path| path.to_str().is_some_and(|path| path.starts_with("own-")))
            .collect();
        ensure!(own == [format!("own-{number}").as_str()], "the layer `{name}` holds {own:?}");
    }
    ensure!(ground.list()?.len() == 10, "{:?} are left", ground.list()?);
    Ok(())
}

fn long_names(ground: &Ground<'_>) -> Outcome {
    let long = "0123456789_.-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".repeat(2)[..128].to_owned();
    let names = [long.as_str(), "a", "-", "_", "a..b", "a.", "UPPER", "upper", "-rf"];
    for name in names {
        let stage = ground.stage(StageKind::Layer, name, &[])?;
        filling(&stage)?.target.file("f", name)?;
        stage.commit(key(name)?).doing(|| format!("commit `{name}`"))?;
        let stage = ground.stage(StageKind::Rw, name, &[name])?;
        stage.commit(key(name)?).doing(|| format!("commit the rw object `{name}`"))?;
    }
    for name in names {
        ensure!(ground.mount(name, &[name])?.writer().read("f")? == name.as_bytes(), "`{name}` shows another object");
        ensure!(ground.view(&[name])?.writer().read("f")? == name.as_bytes(), "`{name}` shows another layer");
    }
    ensure!(ground.list()?.len() == 2 * names.len(), "{:?} are listed", ground.list()?);
    Ok(())
}
