//! Opening, staging, committing, aborting.

use mica_storage_api::{Caps, ErrorKind, ObjectKind, StageArgs, StageKind, Whiteout};

use crate::cases::Case;
use crate::ground::{Ground, filling, key, must_refuse};
use crate::ids;
use crate::sample;
use crate::tree::Tree;
use crate::verdict::{Context, Outcome, Stop, ensure};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "open: the information is sane",
        demands: "`open` names the file system, claims detached mounts and only known capabilities, and takes chains of at least 127 layers.",
        run: info_is_sane,
    },
    Case {
        name: "open: a fresh root lists nothing",
        demands: "`list` yields nothing on a root that was just made.",
        run: fresh_root_is_empty,
    },
    Case {
        name: "open: a second opening sees the same objects",
        demands: "Opening the same root again yields the same information and the same objects: the driver keeps nothing in memory.",
        run: second_opening_sees_the_first,
    },
    Case {
        name: "open: an unknown option is refused",
        demands: "`open` refuses an option it does not know as INVALID and never ignores it.",
        run: unknown_option_is_refused,
    },
    Case {
        name: "stage: a layer comes back as it was written",
        demands: "What is written into a stage is shown by a view of the layer it becomes: types, bytes, modes, owners, times, attributes.",
        run: layer_round_trip,
    },
    Case {
        name: "stage: the root directory has the asked-for attributes, and children inherit them",
        demands: "A stage without parents has the root mode and owner it was asked for; a stage with parents begins with those of the top parent.",
        run: root_attributes,
    },
    Case {
        name: "stage: an abort leaves nothing",
        demands: "After an abort nothing is listed and the stage's name is free.",
        run: abort_leaves_nothing,
    },
    Case {
        name: "stage: a drop leaves nothing",
        demands: "A stage that is dropped by its owner is an aborted stage.",
        run: drop_leaves_nothing,
    },
    Case {
        name: "stage: a name in use is refused and unharmed",
        demands: "A second stage of the same name is EXISTS, and the first one can still be committed.",
        run: busy_stage_name,
    },
    Case {
        name: "stage: a second commit of a key is refused and harmless",
        demands: "Committing to a key that is taken is EXISTS, changes nothing, and discards the stage.",
        run: second_commit_of_a_key,
    },
    Case {
        name: "stage: target and merged view show what the style promises",
        demands: "The target shows the parents' files exactly when the whiteout style is DIRECT; `merged`, where there is one, shows them and is read-only.",
        run: target_and_merged,
    },
];

fn info_is_sane(ground: &Ground<'_>) -> Outcome {
    let info = ground.info();
    ensure!(!info.backing_fs.is_empty(), "`backing_fs` is empty");
    ensure!(info.backing_fs.len() < 64, "`backing_fs` is {} bytes long", info.backing_fs.len());
    ensure!(info.caps.contains(Caps::DETACHED_MOUNT), "the engine needs detached mounts");
    ensure!(Caps::from_bits(info.caps.bits()).is_some(), "unknown capability bits {:#x}", info.caps.bits());
    if info.caps.contains(Caps::INDEPENDENT_LAYERS) {
        ensure!(info.whiteout != Whiteout::Direct, "a layer stored without its parents cannot delete in place");
    }
    ensure!(
        info.max_parents == 0 || info.max_parents >= 127,
        "chains of 127 layers exist; {} are too few",
        info.max_parents
    );
    Ok(())
}

fn fresh_root_is_empty(ground: &Ground<'_>) -> Outcome {
    ground.must_list(&[])
}

fn second_opening_sees_the_first(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| fill.target.file("f", "x"))?;
    let again = ground.open_again()?;
    ensure!(
        again.info() == ground.info(),
        "the second opening says {:?} and the first said {:?}",
        again.info(),
        ground.info()
    );
    let mut names = Vec::new();
    again
        .list(&mut |kind, name| {
            names.push((kind, name.to_string()));
            mica_storage_api::Flow::Continue
        })
        .doing(|| "call the driver".to_owned())?;
    ensure!(names == [(ObjectKind::Layer, "base".to_owned())], "the second opening lists {names:?}");
    Ok(())
}

fn unknown_option_is_refused(ground: &Ground<'_>) -> Outcome {
    for option in ["no-such-option-anywhere=1", "nonsense"] {
        must_refuse(
            ground.try_open_again(&[option]),
            ErrorKind::Invalid,
            &format!("opening with the option `{option}`"),
        )?;
    }
    Ok(())
}

fn layer_round_trip(ground: &Ground<'_>) -> Outcome {
    let stage = ground.stage(StageKind::Layer, "s1", &[])?;
    let fill = filling(&stage)?;
    sample::plain(fill.target)?;
    let written = Tree::read(fill.target.root)?;
    ensure!(written.nodes.len() > 10, "the target does not show what was written into it");
    ground.must_list(&[(ObjectKind::Stage, "s1")])?;
    let committed = stage.commit(key("base")?);
    committed.doing(|| "commit".to_owned())?;
    ground.must_list(&[(ObjectKind::Layer, "base")])?;
    ground.read_view(&["base"])?.must_equal(&written, "the view of the layer")
}

fn root_attributes(ground: &Ground<'_>) -> Outcome {
    let mut args = StageArgs::new(StageKind::Layer, key("s1")?, &[]);
    let owner = (ids::uid(11), ids::gid(12));
    (args.root_mode, args.root_uid, args.root_gid) = (0o751, owner.0, owner.1);
    let stage = ground.driver.stage_begin(&args).doing(|| "call the driver".to_owned())?;
    stage.commit(key("base")?).doing(|| "call the driver".to_owned())?;
    // A chain whose upper layers say nothing about the root keeps what the layer below says.
    ground.layer("child", &["base"], |fill| fill.target.file("f", "x"))?;
    ground.container("c1", &["child", "base"])?;
    let trees = [
        ("the layer", ground.read_view(&["base"])?),
        ("its child", ground.read_view(&["child", "base"])?),
        ("a container", Tree::read(ground.mount("c1", &["child", "base"])?.fd())?),
    ];
    for (what, tree) in trees {
        let Some(root) = tree.nodes.get(std::ffi::OsStr::new("")) else { return Err(Stop::Fail("no root".to_owned())) };
        ensure!(
            root.mode & 0o7777 == 0o751,
            "the root of {what} has mode {:o} and should have 751",
            root.mode & 0o7777
        );
        ensure!(root.owner == owner, "the root of {what} belongs to {:?} and should to {owner:?}", root.owner);
    }
    Ok(())
}

fn abort_leaves_nothing(ground: &Ground<'_>) -> Outcome {
    let stage = ground.stage(StageKind::Layer, "s1", &[])?;
    sample::plain(filling(&stage)?.target)?;
    stage.abort();
    ground.must_list(&[])?;
    // The name is free again at once.
    ground.stage(StageKind::Layer, "s1", &[])?.abort();
    ground.stage(StageKind::Rw, "s1", &[])?.abort();
    ground.must_list(&[])
}

fn drop_leaves_nothing(ground: &Ground<'_>) -> Outcome {
    for kind in [StageKind::Layer, StageKind::Rw] {
        let stage = ground.stage(kind, "s1", &[])?;
        filling(&stage)?.target.file("f", "x")?;
        drop(stage);
        ground.must_list(&[])?;
    }
    Ok(())
}

fn busy_stage_name(ground: &Ground<'_>) -> Outcome {
    let stage = ground.stage(StageKind::Layer, "s1", &[])?;
    filling(&stage)?.target.file("mine", "x")?;
    must_refuse(
        ground.driver.stage_begin(&StageArgs::new(StageKind::Layer, key("s1")?, &[])),
        ErrorKind::Exists,
        "a second stage of the same name",
    )?;
    ensure!(filling(&stage)?.target.exists("mine"), "the refused stage harmed the first one");
    stage.commit(key("base")?).doing(|| "commit after a refused stage".to_owned())?;
    ground.must_list(&[(ObjectKind::Layer, "base")])
}

fn second_commit_of_a_key(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| fill.target.file("f", "first"))?;
    let before = ground.read_view(&["base"])?;
    let stage = ground.stage(StageKind::Layer, "s2", &[])?;
    filling(&stage)?.target.file("f", "second")?;
    must_refuse(stage.commit(key("base")?), ErrorKind::Exists, "committing a key again")?;
    ground.must_list(&[(ObjectKind::Layer, "base")])?;
    ground.read_view(&["base"])?.must_equal(&before, "the layer after a refused commit")?;

    ground.container("c1", &["base"])?;
    ground.mount("c1", &["base"])?.writer().file("mine", "x")?;
    let stage = ground.stage(StageKind::Rw, "s3", &["base"])?;
    must_refuse(stage.commit(key("c1")?), ErrorKind::Exists, "committing a container's key again")?;
    ensure!(ground.mount("c1", &["base"])?.writer().exists("mine"), "a refused commit harmed the container");
    ground.must_list(&[(ObjectKind::Layer, "base"), (ObjectKind::Rw, "c1")])
}

fn target_and_merged(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| fill.target.file("below", "b"))?;
    let stage = ground.stage(StageKind::Layer, "s1", &["base"])?;
    let fill = filling(&stage)?;
    let shows_parents = fill.target.exists("below");
    ensure!(
        shows_parents == (fill.style == Whiteout::Direct),
        "style {:?} but the target shows the parents: {shows_parents}",
        fill.style
    );
    if let Some(merged) = stage.merged() {
        let merged = crate::writer::Writer { root: merged };
        ensure!(merged.read("below")? == b"b", "`merged` does not show the parents");
        ensure!(merged.file("new", "x").is_err(), "`merged` can be written");
        Tree::read(merged.root)?;
    }
    Ok(())
}
