//! Writable trees and views: who sees what, what can be written, what outlives what.

use mica_storage_api::{Caps, ErrorKind, MountArgs, MountFlags, ObjectKind, StageArgs, StageKind};
use rustix::fs::FileType;

use crate::cases::{Case, changes};
use crate::ground::{Ground, filling, key, must_refuse};
use crate::sample;
use crate::tree::Tree;
use crate::verdict::{Context, Outcome, ensure};
use crate::whiteout::{delete, make_opaque};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "rw: containers and image are isolated",
        demands: "What one container writes is seen by no other and not by the image.",
        run: isolation,
    },
    Case {
        name: "rw: writes outlive the mount",
        demands: "What was written is there when the object is mounted again, by this opening of the driver or another.",
        run: rw_persists,
    },
    Case {
        name: "rw: views and read-only mounts refuse writes",
        demands: "Nothing can be created, changed or removed through a view or a read-only mount.",
        run: view_is_read_only,
    },
    Case {
        name: "rw: no parents at all",
        demands: "A view of no layers is an empty read-only directory; a container on none starts empty and keeps its files.",
        run: no_parents,
    },
    Case {
        name: "rw: volatile mounts, again and again",
        demands: "With VOLATILE an object can be mounted volatile, volatile again, and then ordinarily, while the machine runs.",
        run: volatile,
    },
    Case {
        name: "rw: a directory made again hides the old content",
        demands: "A directory that was removed and made again in a container is empty, whatever lower layers hold.",
        run: changes_after_opaque,
    },
    Case {
        name: "promote: the layer is what was visible",
        demands: "With PROMOTE an rw object becomes a layer that shows what its mount showed, and is gone; an abort leaves it as it was.",
        run: promote,
    },
    Case {
        name: "promote: a taken key is refused and both stay",
        demands: "Promoting to a key that is taken is EXISTS; the layer and the rw object stay.",
        run: promote_to_a_taken_key,
    },
    Case {
        name: "promote: the target shows the tree",
        demands: "The target of a promotion shows what the rw object has changed.",
        run: stage_may_touch_a_promotion,
    },
    Case {
        name: "changes: equal to a comparison of trees",
        demands: "The changes of an rw object, applied to its parents' tree, yield its own tree, and call new what is new.",
        run: changes_of_a_container,
    },
];

fn isolation(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| sample::plain(fill.target))?;
    let image = ground.read_view(&["base"])?;
    ground.container("c1", &["base"])?;
    ground.container("c2", &["base"])?;
    let (one, two) = (ground.mount("c1", &["base"])?, ground.mount("c2", &["base"])?);
    Tree::read(one.fd())?.must_equal(&image, "a fresh container")?;
    one.writer().file("etc/passwd", "one")?;
    one.writer().file("one", "1")?;
    one.writer().remove("etc/empty")?;
    one.writer().mode("etc/secret", 0o644)?;
    Tree::read(two.fd())?.must_equal(&image, "the other container after writes in the first")?;
    ground.read_view(&["base"])?.must_equal(&image, "the image after writes in a container")?;
    two.writer().file("two", "2")?;
    ensure!(!one.writer().exists("two"), "a file of one container shows in the other");
    ensure!(one.writer().read("etc/passwd")? == b"one", "a container lost its own write");
    Ok(())
}

fn rw_persists(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| sample::plain(fill.target))?;
    ground.container("c", &["base"])?;
    let first = ground.mount("c", &["base"])?;
    first.writer().file("etc/passwd", "changed")?;
    first.writer().remove("etc/empty")?;
    first.writer().dir("new")?;
    first.writer().node("new/fifo", FileType::Fifo, (0, 0))?;
    let left = Tree::read(first.fd())?;
    drop(first);
    let again = ground.mount("c", &["base"])?;
    Tree::read(again.fd())?.must_equal(&left, "the container when mounted again")?;
    drop(again);
    // Another opening of the driver, as after a restart of the machine.
    let other = ground.open_again()?;
    let mount =
        other.mount(&MountArgs::rw(key("c")?, &[key("base")?])).doing(|| "mount by another opening".to_owned())?;
    Tree::read(std::os::fd::AsFd::as_fd(&mount))?.must_equal(&left, "the container when mounted by another opening")
}

fn view_is_read_only(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| sample::plain(fill.target))?;
    ground.layer("top", &["base"], |fill| fill.target.file("t", "t"))?;
    for chain in [&["base"][..], &["top", "base"]] {
        refuse_writes(&ground.view(chain)?, "a view")?;
    }
    ground.container("c", &["base"])?;
    let mounted = ground.mount_with(Some("c"), &["base"], MountFlags::READONLY)?;
    refuse_writes(&mounted, "a container mounted read-only")?;
    drop(mounted);
    ground.mount("c", &["base"])?.writer().file("new", "x")
}

fn refuse_writes(mounted: &crate::ground::Mounted, what: &str) -> Outcome {
    let writer = mounted.writer();
    ensure!(writer.file("new", "x").is_err(), "a file can be made in {what}");
    ensure!(writer.file("etc/passwd", "x").is_err(), "a file can be overwritten in {what}");
    ensure!(writer.mode("etc/passwd", 0o600).is_err(), "a mode can be changed in {what}");
    ensure!(writer.remove("etc/empty").is_err(), "a file can be removed in {what}");
    ensure!(writer.read("etc/passwd")?.starts_with(b"root:"), "a refused write changed {what}");
    Ok(())
}

fn no_parents(ground: &Ground<'_>) -> Outcome {
    let view = ground.view(&[])?;
    ensure!(Tree::read(view.fd())?.nodes.len() == 1, "the view of nothing is not empty");
    ensure!(view.writer().file("f", "x").is_err(), "the view of nothing can be written");
    ground.container("c", &[])?;
    ground.mount("c", &[])?.writer().file("f", "scratch")?;
    let mounted = ground.mount("c", &[])?;
    ensure!(mounted.writer().read("f")? == b"scratch", "a container from scratch lost its file");
    ensure!(Tree::read(mounted.fd())?.nodes.len() == 2, "a container from scratch shows more than its file");
    Ok(())
}

fn volatile(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::VOLATILE)?;
    ground.layer("base", &[], |fill| sample::plain(fill.target))?;
    ground.container("c", &["base"])?;
    let volatile = || ground.mount_with(Some("c"), &["base"], MountFlags::VOLATILE);
    volatile()?.writer().file("f", "1")?;
    // The engine has compared boot ids before it asks for this a second time.
    let again = volatile()?;
    ensure!(again.writer().read("f")? == b"1", "a volatile container lost its file on a machine that did not crash");
    drop(again);
    ensure!(ground.mount("c", &["base"])?.writer().read("f")? == b"1", "an ordinary mount after a volatile one fails");
    Ok(())
}

fn promote(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::PROMOTE)?;
    ground.layer("base", &[], |fill| sample::plain(fill.target))?;
    ground.container("step", &["base"])?;
    let mounted = ground.mount("step", &["base"])?;
    change_a_lot(&mounted)?;
    let seen = Tree::read(mounted.fd())?;
    drop(mounted);
    ground.stage(StageKind::Promote, "step", &["base"])?.abort();
    Tree::read(ground.mount("step", &["base"])?.fd())?.must_equal(&seen, "the rw object after an aborted promotion")?;

    ground.promote("step", &["base"], "built")?;
    ground.must_list(&[(ObjectKind::Layer, "base"), (ObjectKind::Layer, "built")])?;
    ground.read_view(&["built", "base"])?.must_equal(&seen, "the promoted layer")?;

    // It is a layer like any other: a parent of stages, containers and further promotions.
    ground.layer("top", &["built", "base"], |fill| delete(fill.target, fill.style, "new-dir"))?;
    ensure!(
        !ground.view(&["top", "built", "base"])?.writer().exists("new-dir"),
        "a layer on a promoted one cannot delete"
    );
    ground.container("step", &["built", "base"])?;
    ground.mount("step", &["built", "base"])?.writer().file("etc/passwd", "second step")?;
    ground.promote("step", &["built", "base"], "built-2")?;
    ensure!(
        ground.view(&["built-2", "built", "base"])?.writer().read("etc/passwd")? == b"second step",
        "the second promotion is wrong"
    );
    ensure!(
        ground.view(&["built", "base"])?.writer().read("etc/passwd")? == b"changed",
        "the second promotion changed the first"
    );
    Ok(())
}

fn promote_to_a_taken_key(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::PROMOTE)?;
    ground.layer("base", &[], |fill| fill.target.file("f", "base"))?;
    ground.layer("taken", &["base"], |fill| fill.target.file("f", "taken"))?;
    ground.container("step", &["base"])?;
    ground.mount("step", &["base"])?.writer().file("f", "step")?;
    let parents = [key("base")?];
    let stage = ground
        .driver
        .stage_begin(&StageArgs::new(StageKind::Promote, key("step")?, &parents))
        .doing(|| "begin".to_owned())?;
    must_refuse(stage.commit(key("taken")?), ErrorKind::Exists, "promoting to a key that is taken")?;
    ensure!(ground.view(&["taken", "base"])?.writer().read("f")? == b"taken", "a refused promotion harmed the layer");
    ensure!(
        ground.mount("step", &["base"])?.writer().read("f")? == b"step",
        "a refused promotion harmed the rw object"
    );
    Ok(())
}

fn stage_may_touch_a_promotion(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::PROMOTE)?;
    ground.layer("base", &[], |fill| fill.target.file("f", "base"))?;
    ground.container("step", &["base"])?;
    ground.mount("step", &["base"])?.writer().file("g", "step")?;
    let stage = ground.stage(StageKind::Promote, "step", &["base"])?;
    let fill = filling(&stage)?;
    ensure!(fill.target.read("g")? == b"step", "the target of a promotion does not show the rw object");
    stage.commit(key("built")?).doing(|| "commit".to_owned())?;
    ensure!(ground.view(&["built", "base"])?.writer().read("g")? == b"step", "the promoted layer is wrong");
    Ok(())
}

fn change_a_lot(mounted: &crate::ground::Mounted) -> Outcome {
    let to = mounted.writer();
    to.file("etc/passwd", "changed")?;
    to.remove("etc/empty")?;
    to.remove("etc/deep/er/file")?;
    to.remove_dir("etc/deep/er")?;
    to.dir("etc/deep/er")?;
    to.file("etc/deep/er/other", "new content of a directory made again")?;
    to.dir("new-dir")?;
    to.file("new-dir/file", "n")?;
    to.hardlink("new-dir/linked", "new-dir/file")?;
    to.mode("etc/secret", 0o4711)?;
    to.remove("dangling")?;
    to.dir("dangling")?;
    to.node("null", FileType::CharacterDevice, (1, 3))?;
    to.xattr("tmp", "user.changed", b"x")
}

fn changes_of_a_container(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| sample::plain(fill.target))?;
    ground.container("c", &["base"])?;
    let mounted = ground.mount("c", &["base"])?;
    let before = Tree::read(mounted.fd())?;
    change_a_lot(&mounted)?;
    let after = Tree::read(mounted.fd())?;
    drop(mounted);

    // For the skip, which belongs in the report once.
    changes::list(ground, "c", &["base"])?;
    changes::must_match(ground, "c", &["base"], &before, &after)
}

fn changes_after_opaque(ground: &Ground<'_>) -> Outcome {
    // Deleting in a container what an upper layer had already replaced must not bring back what lies deeper.
    ground.layer("a", &[], |fill| {
        fill.target.dir("d")?;
        fill.target.file("d/old", "a")
    })?;
    ground.layer("b", &["a"], |fill| {
        crate::whiteout::ensure_dir(fill.target, "d")?;
        make_opaque(fill.target, fill.style, "d")?;
        fill.target.file("d/new", "b")
    })?;
    ground.container("c", &["b", "a"])?;
    let mounted = ground.mount("c", &["b", "a"])?;
    ensure!(!mounted.writer().exists("d/old"), "an opaque directory shows what it hides");
    mounted.writer().remove("d/new")?;
    mounted.writer().remove_dir("d")?;
    mounted.writer().dir("d")?;
    ensure!(Tree::read(mounted.fd())?.nodes.len() == 2, "a directory that was removed and made again is not empty");
    Ok(())
}
