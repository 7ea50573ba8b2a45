//! Layers on layers: what shows through, what is replaced, what is hidden.

use mica_storage_api::Caps;

use crate::ground::Ground;
use crate::sample;
use crate::tree::Tree;
use crate::verdict::{Context, Outcome, Stop, ensure};
use crate::whiteout::{delete, ensure_dir, make_opaque};

pub(crate) fn parents_show_through(ground: &Ground<'_>) -> Outcome {
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

pub(crate) fn replace_and_delete(ground: &Ground<'_>) -> Outcome {
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

pub(crate) fn layers_without_parents(ground: &Ground<'_>) -> Outcome {
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

pub(crate) fn deep_chain(ground: &Ground<'_>) -> Outcome {
    let deepest = match ground.info().max_parents {
        0 => 300,
        limit => limit.min(300),
    };
    let depth = if ground.info().caps.contains(Caps::LINEAR_SNAPSHOT) { 130 } else { deepest };
    let names: Vec<String> =
        (0..depth).map(|number| format!("layer-{number:03}-{}", "0123456789abcdef".repeat(4))).collect();
    let mut chain: Vec<&str> = Vec::new();
    for (number, name) in names.iter().enumerate() {
        ground.layer(name, &chain, |fill| {
            fill.target.file(&format!("f{number}"), number.to_string())?;
            fill.target.file("top", number.to_string())
        })?;
        chain.insert(0, name);
    }
    let view = ground.view(&chain)?;
    let tree = Tree::read(view.fd())?;
    ensure!(tree.nodes.len() == names.len() + 2, "{} entries show and should be {}", tree.nodes.len(), names.len() + 2);
    ensure!(view.writer().read("top")? == (names.len() - 1).to_string().as_bytes(), "the top layer does not win");
    ground.container("c", &chain)?;
    let mounted = ground.mount("c", &chain)?;
    mounted.writer().file("f0", "changed")?;
    mounted.writer().remove("f1")?;
    ensure!(view.writer().read("f0")? == b"0", "a container on {depth} layers changed the image");
    Ok(())
}

pub(crate) fn everything_through_a_chain(ground: &Ground<'_>) -> Outcome {
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
