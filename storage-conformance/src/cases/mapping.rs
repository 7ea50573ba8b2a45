//! Mapped ids: a container's user namespace sees owners of its own, and the disk keeps those that the container means.

use std::os::fd::OwnedFd;

use mica_storage_api::Caps;
use mica_storage_api::sys::as_owner;
use mica_storage_api::userns::{self, IdRange};

use crate::cases::Case;
use crate::ground::{Ground, Mounted};
use crate::sample;
use crate::tree::Tree;
use crate::verdict::{Context, Outcome, ensure};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "ids: a view shows mapped owners",
        demands: "With IDMAP_LOWER a view with a mapping differs from the one without in nothing but owners, and can be written as little.",
        run: mapped_views,
    },
    Case {
        name: "ids: writes are kept as they are meant inside",
        demands: "With IDMAP_UPPER what is done through a mapping leaves on the disk what the same without a mapping leaves.",
        run: mapped_writes,
    },
    Case {
        name: "ids: files copied up keep their owners",
        demands: "With IDMAP_UPPER a file of a layer that is changed through a mapping keeps its owner on the disk.",
        run: copied_up,
    },
    Case {
        name: "ids: mappings do not meet",
        demands: "Mounts of one chain with different mappings show different owners at one time, and a mount without one shows its own.",
        run: two_mappings,
    },
];

/// Where the ids of the mappings begin outside.
const FIRST: u32 = 200_000;
const SECOND: u32 = 300_000;

fn mapping(begin: u32) -> Outcome<OwnedFd> {
    let all = [IdRange { inside: 0, outside: begin, count: 65_536 }];
    Ok(userns::make(&all, &all, false).doing(|| "make a user namespace".to_owned())?.user)
}

fn mount(ground: &Ground<'_>, rw: Option<&str>, parents: &[&str], begin: u32) -> Outcome<Mounted> {
    let ids = mapping(begin)?;
    ground.mount_mapped(rw, parents, &ids)
}

/// What a tree looks like whose owners are those of another, `begin` further.
fn shifted(tree: &Tree, begin: u32) -> Tree {
    let mut tree = tree.clone();
    for node in tree.nodes.values_mut() {
        node.owner = (node.owner.0 + begin, node.owner.1 + begin);
    }
    tree
}

fn mapped_views(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::IDMAP_LOWER)?;
    ground.layer("base", &[], |fill| sample::plain(fill.target))?;
    ground.layer("top", &["base"], |fill| {
        fill.target.file("t", "t")?;
        fill.target.owner("t", 3, 4)
    })?;
    for chain in [&["base"][..], &["top", "base"], &[]] {
        let plain = ground.read_view(chain)?;
        let mapped = mount(ground, None, chain, FIRST)?;
        Tree::read(mapped.fd())?.must_equal(&shifted(&plain, FIRST), "a view with a mapping")?;
        let written = as_owner(FIRST, FIRST, || mapped.writer().file("new", "x"));
        ensure!(written.is_ok_and(|written| written.is_err()), "a view with a mapping can be written");
    }
    Ok(())
}

fn mapped_writes(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::IDMAP_LOWER | Caps::IDMAP_UPPER)?;
    ground.layer("base", &[], |fill| sample::plain(fill.target))?;
    for name in ["plain", "mapped"] {
        ground.container(name, &["base"])?;
    }
    write_as(&ground.mount("plain", &["base"])?, 0)?;
    let mounted = mount(ground, Some("mapped"), &["base"], FIRST)?;
    write_as(&mounted, FIRST)?;
    let wanted = Tree::read(ground.mount("plain", &["base"])?.fd())?;
    let inside = Tree::read(mounted.fd())?;
    drop(mounted);
    let kept = Tree::read(ground.mount("mapped", &["base"])?.fd())?.without_times();
    kept.must_equal(&wanted.clone().without_times(), "what was written through a mapping")?;
    inside.without_times().must_equal(&shifted(&wanted, FIRST).without_times(), "the tree inside")?;
    // A layer that is made of it belongs to every mapping.
    if ground.info().caps.contains(Caps::PROMOTE) {
        ground.promote("mapped", &["base"], "made")?;
        let layer = ground.read_view(&["made", "base"])?.without_times();
        layer.must_equal(&wanted.without_times(), "the layer made of it")?;
    }
    Ok(())
}

/// What root and user 7 of a container do.
fn write_as(mounted: &Mounted, begin: u32) -> Outcome {
    let to = mounted.writer();
    let as_inside = |id: u32, work: &dyn Fn() -> Outcome| {
        as_owner(begin + id, begin + id, work).doing(|| format!("act as user {id}"))?
    };
    as_inside(0, &|| {
        to.dir("roots")?;
        to.file("roots/file", "r")?;
        to.mode("roots", 0o777)?;
        to.remove("etc/deep/er/file")?;
        to.remove_dir("etc/deep/er")?;
        to.dir("etc/deep/er")?;
        to.hardlink("roots/linked", "roots/file")?;
        to.symlink("roots/symlink", "file")
    })?;
    as_inside(7, &|| {
        to.dir("roots/sevens")?;
        to.file("roots/sevens/file", "7")
    })?;
    as_inside(0, &|| {
        to.file("given", "g")?;
        to.owner("given", begin + 33, begin + 34)?;
        to.mode("given", 0o4755)?;
        to.rename("roots/file", "moved").doing(|| "rename a file".to_owned())
    })
}

fn copied_up(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::IDMAP_LOWER | Caps::IDMAP_UPPER)?;
    ground.layer("base", &[], |fill| sample::plain(fill.target))?;
    ground.container("c", &["base"])?;
    let before = ground.read_view(&["base"])?;
    let mounted = mount(ground, Some("c"), &["base"], FIRST)?;
    let written = as_owner(FIRST, FIRST, || {
        mounted.writer().mode("etc/secret", 0o640)?;
        mounted.writer().file("etc/passwd", "changed")
    });
    written.doing(|| "act as root of the mapping".to_owned())??;
    drop(mounted);
    let after = Tree::read(ground.mount("c", &["base"])?.fd())?;
    for (path, node) in &after.nodes {
        let owner = before.nodes.get(path).map(|node| node.owner);
        ensure!(owner == Some(node.owner), "{path:?} belongs to {:?} and belonged to {owner:?}", node.owner);
    }
    ensure!(ground.mount("c", &["base"])?.writer().read("etc/passwd")? == b"changed", "the write is lost");
    Tree::read(ground.view(&["base"])?.fd())?.must_equal(&before, "the image")
}

fn two_mappings(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::IDMAP_LOWER | Caps::IDMAP_UPPER)?;
    ground.layer("base", &[], |fill| sample::plain(fill.target))?;
    for name in ["one", "two", "three"] {
        ground.container(name, &["base"])?;
    }
    let plain = ground.read_view(&["base"])?;
    let one = mount(ground, Some("one"), &["base"], FIRST)?;
    let two = mount(ground, Some("two"), &["base"], SECOND)?;
    let three = ground.mount("three", &["base"])?;
    Tree::read(one.fd())?.must_equal(&shifted(&plain, FIRST), "the first mapping")?;
    Tree::read(two.fd())?.must_equal(&shifted(&plain, SECOND), "the second mapping")?;
    Tree::read(three.fd())?.must_equal(&plain, "no mapping")
}
