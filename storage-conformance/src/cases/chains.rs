//! Layers on layers: what shows through, what is replaced, what is hidden.

use mica_storage_api::{Caps, ErrorKind, KeyBuf, MountArgs, MountFlags};

use crate::Depth;
use crate::cases::Case;
use crate::ground::{Ground, key, must_refuse};
use crate::sample;
use crate::tree::Tree;
use crate::verdict::{Context, Outcome, Stop, ensure};
use crate::whiteout::{delete, ensure_dir, make_opaque};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain: parents show through",
        demands: "A view shows the files of all layers of its chain, and a shorter chain none of the layers above it.",
        run: parents_show_through,
    },
    Case {
        name: "chain: replace, delete, opaque, and back again",
        demands: "A layer can replace, delete and hide what is below it, and a later layer can bring a name back without what it once held.",
        run: replace_and_delete,
    },
    Case {
        name: "chain: layers staged without parents, in any order",
        demands: "With INDEPENDENT_LAYERS a layer that was staged alone works on any parents: its whiteouts and opaque directories hide, its other directories merge.",
        run: layers_without_parents,
    },
    Case {
        name: "chain: the root is that of the topmost layer that has one",
        demands: "With INDEPENDENT_LAYERS, a layer that was staged alone and whose root was left as `stage_begin` made it shows the root of the layer below: mode, owner, time, attributes.",
        run: silent_roots,
    },
    Case {
        name: "chain: every kind of entry passes through",
        demands: "A child and a container show a layer's devices, fifos, links, sparse files, attributes and strange names unchanged.",
        run: everything_through_a_chain,
    },
    Case {
        name: "chain: as deep as the driver promises",
        demands: "Chains of 130, 300 and 490 layers, or as many as `max_parents` says, can be staged, viewed and written, show content of every layer and hide what one of them deletes; one layer more than `max_parents` is INVALID.",
        run: deep_chain,
    },
];

fn parents_show_through(ground: &Ground<'_>) -> Outcome {
    ground.layer("a", &[], |fill| sample::plain(fill.target))?;
    ground.layer("b", &["a"], |fill| {
        ensure_dir(fill.target, "usr")?;
        fill.target.file("usr/b", "from b")
    })?;
    ground.layer("c", &["b", "a"], |fill| fill.target.file("top", "from c"))?;
    let view = ground.view(&["c", "b", "a"])?;
    let shown = view.writer();
    ensure!(shown.read("top")? == b"from c", "the top layer's file is wrong");
    ensure!(shown.read("usr/b")? == b"from b", "the middle layer's file is wrong");
    ensure!(shown.read("etc/passwd")?.starts_with(b"root:"), "the bottom layer's file is wrong");
    // Each shorter chain is what it was.
    ensure!(!ground.view(&["a"])?.writer().exists("usr"), "a layer changed when another was put on it");
    ensure!(!ground.view(&["b", "a"])?.writer().exists("top"), "a layer changed when another was put on it");
    Ok(())
}

fn replace_and_delete(ground: &Ground<'_>) -> Outcome {
    ground.layer("a", &[], |fill| {
        let to = fill.target;
        for dir in ["d", "d/sub", "gone-dir", "gone-dir/sub", "dir-to-file", "emptied"] {
            to.dir(dir)?;
        }
        for file in [
            "d/keep",
            "d/gone",
            "d/sub/f",
            "gone-dir/sub/f",
            "dir-to-file/f",
            "emptied/one",
            "emptied/two",
            "file-to-dir",
            "changed",
            "gone",
        ] {
            to.file(file, "a")?;
        }
        to.symlink("link-to-file", "changed")
    })?;
    ground.layer("b", &["a"], |fill| {
        let (to, style) = (fill.target, fill.style);
        let direct = style == mica_storage_api::Whiteout::Direct;
        delete(to, style, "gone")?;
        delete(to, style, "gone-dir")?;
        ensure_dir(to, "d")?;
        delete(to, style, "d/gone")?;
        // Where the target shows the parents, replacing an entry by another type begins with removing it.
        for path in ["dir-to-file", "file-to-dir", "link-to-file"] {
            if direct {
                delete(to, style, path)?;
            }
        }
        to.file("changed", "b")?;
        to.file("dir-to-file", "b")?;
        to.dir("file-to-dir")?;
        to.file("file-to-dir/f", "b")?;
        to.file("link-to-file", "b")?;
        ensure_dir(to, "emptied")?;
        make_opaque(to, style, "emptied")?;
        to.file("emptied/three", "b")
    })?;
    let tree = ground.read_view(&["b", "a"])?;
    let mut shown: Vec<_> =
        tree.nodes.iter().map(|(path, node)| format!("{}={}", path.display(), node.content.escape_ascii())).collect();
    shown.retain(|line| line != "=");
    let expected = [
        "changed=b",
        "d=",
        "d/keep=a",
        "d/sub=",
        "d/sub/f=a",
        "dir-to-file=b",
        "emptied=",
        "emptied/three=b",
        "file-to-dir=",
        "file-to-dir/f=b",
        "link-to-file=b",
    ];
    ensure!(shown == expected, "the view shows {shown:?} and should show {expected:?}");
    ensure!(ground.view(&["a"])?.writer().exists("gone-dir/sub/f"), "deleting in a layer reached its parent");

    // What was hidden can come back above, without what it once held.
    ground.layer("c", &["b", "a"], |fill| {
        fill.target.dir("gone-dir")?;
        make_opaque(fill.target, fill.style, "gone-dir")?;
        fill.target.file("gone", "c")
    })?;
    let view = ground.view(&["c", "b", "a"])?;
    ensure!(view.writer().read("gone")? == b"c", "a deleted file does not come back");
    ensure!(!view.writer().exists("gone-dir/sub"), "a directory that was deleted and made again shows its old content");
    Ok(())
}

fn layers_without_parents(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::INDEPENDENT_LAYERS)?;
    // The upper layer comes first, and knows of no parent.
    ground.layer("upper", &[], |fill| {
        delete(fill.target, fill.style, "gone")?;
        fill.target.dir("opaque")?;
        make_opaque(fill.target, fill.style, "opaque")?;
        fill.target.file("opaque/new", "u")
    })?;
    ground.layer("lower", &[], |fill| {
        fill.target.file("gone", "l")?;
        fill.target.file("stays", "l")?;
        fill.target.dir("opaque")?;
        fill.target.file("opaque/old", "l")
    })?;
    let view = ground.view(&["upper", "lower"])?;
    for (path, there) in [("gone", false), ("stays", true), ("opaque/new", true), ("opaque/old", false)] {
        ensure!(view.writer().exists(path) == there, "`{path}` is visible: {}", !there);
    }
    // And the same layer alone: a whiteout of nothing is not an entry.
    ensure!(!ground.view(&["upper"])?.writer().exists("gone"), "a whiteout shows in the view of its own layer");
    Ok(())
}

fn silent_roots(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::INDEPENDENT_LAYERS)?;
    // As the engine unpacks an archive without an entry for its root: the time is put back, and nothing else is touched.
    let silent = |name: &str| {
        ground.layer(name, &[], |fill| {
            let made = rustix::fs::fstat(fill.target.root).doing(|| "stat the target".to_owned())?;
            fill.target.file(name, "x")?;
            fill.target.mtime(".", made.st_mtime, made.st_mtime_nsec as i64)
        })
    };
    let speaking = |name: &str, mode: u32, number: i64| {
        ground.layer(name, &[], |fill| {
            fill.target.file(name, "x")?;
            fill.target.mode(".", mode)?;
            fill.target.owner(".", 7, 8)?;
            fill.target.xattr(".", "user.root", name.as_bytes())?;
            fill.target.mtime(".", number, 500)
        })
    };
    silent("s0")?;
    speaking("a", 0o711, 1_000_000_001)?;
    silent("s1")?;
    silent("s2")?;
    speaking("b", 0o1770, 1_000_000_002)?;
    let root = |tree: &Tree| tree.nodes.get(std::ffi::OsStr::new("")).cloned();
    let alone = |name: &str| Ok(root(&ground.read_view(&[name])?));
    let (of_a, of_b, of_s) = (alone("a")?, alone("b")?, alone("s0")?);
    let chains: [(&[&str], _); 7] = [
        (&["a", "s0"], &of_a),
        (&["s1", "a", "s0"], &of_a),
        (&["s2", "s1", "a"], &of_a),
        (&["b", "s1", "a"], &of_b),
        (&["s2", "b", "a"], &of_b),
        (&["s1", "s2", "s0"], &of_s),
        (&["s1", "b", "s2", "a", "s0"], &of_b),
    ];
    for (number, (chain, expected)) in chains.into_iter().enumerate() {
        let view = ground.read_view(chain)?;
        ensure!(view.nodes.len() == chain.len() + 1, "the view of {chain:?} shows {:?}", view.nodes.keys());
        let name = format!("c{number}");
        ground.container(&name, chain)?;
        let container = Tree::read(ground.mount(&name, chain)?.fd())?;
        for (what, tree) in [("the view", &view), ("a container", &container)] {
            let shown = root(tree);
            ensure!(
                shown == *expected,
                "the root of {what} of {chain:?} is {} and should be {}",
                shown.map_or_else(String::new, |node| node.to_string()),
                expected.as_ref().map_or_else(String::new, |node| node.to_string())
            );
        }
        // A layer that is staged on such a chain begins with what the chain shows.
        let top = format!("t{number}");
        ground.layer(&top, chain, |fill| {
            let made = rustix::fs::fstat(fill.target.root).doing(|| "stat the target".to_owned())?;
            fill.target.file("top", "x")?;
            fill.target.mtime(".", made.st_mtime, made.st_mtime_nsec as i64)
        })?;
        let longer: Vec<&str> = std::iter::once(top.as_str()).chain(chain.iter().copied()).collect();
        ensure!(root(&ground.read_view(&longer)?) == *expected, "a layer staged on {chain:?} has another root");
    }
    Ok(())
}

fn deep_chain(ground: &Ground<'_>) -> Outcome {
    let info = ground.info();
    let independent = info.caps.contains(Caps::INDEPENDENT_LAYERS);
    // Whoever copies a tree for each layer, or mounts all parents of each, is spared the square of it.
    let deepest = if independent || ground.depth == Depth::Thorough { 490 } else { 130 };
    let promised = if info.max_parents == 0 { usize::MAX } else { info.max_parents as usize };
    let deepest = deepest.min(promised);
    // The layer that deletes a file of the bottom; none on a chain of one.
    let deletes = 60.min(deepest - 1);
    let names: Vec<String> =
        (0..deepest).map(|number| format!("layer-{number:03}-{}", "0123456789abcdef".repeat(4))).collect();
    let mut chain: Vec<&str> = Vec::new();
    for (number, name) in names.iter().enumerate() {
        ground.layer(name, if independent { &[] } else { &chain }, |fill| {
            fill.target.file(&format!("f{number}"), number.to_string())?;
            fill.target.file("top", number.to_string())?;
            match number {
                0 if deletes > 0 => fill.target.file("deleted", "bottom"),
                _ if number == deletes && deletes > 0 => delete(fill.target, fill.style, "deleted"),
                _ => Ok(()),
            }
        })?;
        chain.insert(0, name);
    }
    for depth in [130, 300, 490].into_iter().chain([deepest]).filter(|&depth| depth <= deepest) {
        let chain = &chain[deepest - depth..];
        let view = ground.view(chain)?;
        let shown = Tree::read(view.fd())?.nodes.len();
        for number in [0, 1, depth / 2, depth - 1] {
            let path = format!("f{number}");
            let content = number.to_string();
            ensure!(
                view.writer().read(&path)? == content.as_bytes(),
                "of {depth} layers, `{path}` shows other content"
            );
        }
        // The root and the file that every layer has.
        ensure!(shown == depth + 2, "of {depth} layers {shown} entries show and should be {}", depth + 2);
        let top = (depth - 1).to_string();
        ensure!(view.writer().read("top")? == top.as_bytes(), "of {depth} layers the topmost does not win");
        let name = format!("c-{depth}-{}", ground.list()?.len());
        ground.container(&name, chain)?;
        let mounted = ground.mount_with(Some(&name), chain, MountFlags::VOLATILE)?;
        mounted.writer().file("f0", "changed")?;
        mounted.writer().remove("f1")?;
        mounted.writer().file(&format!("f{}", depth / 2), "changed")?;
        ensure!(!mounted.writer().exists("f1"), "a file of the second of {depth} layers cannot be removed");
        ensure!(!mounted.writer().exists("deleted"), "of {depth} layers, what layer {deletes} deletes shows");
        mounted.writer().file("deleted", "again")?;
        ensure!(view.writer().read("f0")? == b"0", "a container on {depth} layers changed the image");
    }
    // Below the layer that deletes it, the file is there.
    if deletes > 0 {
        let below = ground.view(&chain[deepest - deletes..])?;
        ensure!(below.writer().read("deleted")? == b"bottom", "deleting in layer {deletes} reached a layer below");
    }
    // One layer more than was promised is refused, and not mounted without it.
    if promised < 1000 && independent {
        let mut further = Vec::new();
        for number in deepest..=promised {
            let name = format!("further-{number}");
            ground.layer(&name, &[], |fill| fill.target.file(&name, ""))?;
            further.push(name);
        }
        let too_long: Vec<&str> = further.iter().map(String::as_str).chain(chain.iter().copied()).collect();
        let keys: Vec<KeyBuf> = too_long.iter().map(|name| Ok(key(name)?.to_owned())).collect::<Outcome<_>>()?;
        let keys: Vec<_> = keys.iter().map(KeyBuf::as_key).collect();
        must_refuse(
            ground.driver.mount(&MountArgs::view(&keys)),
            ErrorKind::Invalid,
            &format!("a view of {} layers, where `open` promised {promised},", keys.len()),
        )?;
    }
    Ok(())
}

fn everything_through_a_chain(ground: &Ground<'_>) -> Outcome {
    let mut written = None;
    ground.layer("a", &[], |fill| {
        sample::plain(fill.target)?;
        sample::special(fill.target)?;
        written = Some(Tree::read(fill.target.root)?);
        Ok(())
    })?;
    let Some(written) = written else { return Err(Stop::Fail("nothing was written".to_owned())) };
    ground.read_view(&["a"])?.must_equal(&written, "the view of the layer")?;
    let view = ground.view(&["a"])?;
    let stat = rustix::fs::statat(view.fd(), "special/sparse", rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .doing(|| "stat a file".to_owned())?;
    ensure!(
        stat.st_blocks * 512 < 1 << 20,
        "a file of 16 MiB with three bytes in it takes {} bytes",
        stat.st_blocks * 512
    );

    // A child and a container inherit all of it.
    ground.layer("b", &["a"], |_| Ok(()))?;
    ground.read_view(&["b", "a"])?.must_equal(&written, "the view of an empty layer on it")?;
    ground.container("c", &["b", "a"])?;
    let mounted = ground.mount("c", &["b", "a"])?;
    Tree::read(mounted.fd())?.must_equal(&written, "a container on it")?;
    let stat = rustix::fs::statat(mounted.fd(), "special/sparse", rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .doing(|| "stat a file".to_owned())?;
    ensure!(
        stat.st_blocks * 512 < 1 << 20,
        "in a container, a file of 16 MiB with three bytes in it takes {} bytes",
        stat.st_blocks * 512
    );
    Ok(())
}
