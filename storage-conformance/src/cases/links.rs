//! Renames and hard links in a container, of what it made itself and of what its layers hold.

use rustix::io::Errno;

use crate::cases::{Case, changes};
use crate::ground::Ground;
use crate::tree::Tree;
use crate::verdict::{Context, Outcome, Stop, ensure};
use crate::whiteout::ensure_dir;
use crate::writer::Writer;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "rename: files, over files and into other directories",
        demands: "A file of a layer can be renamed within and between directories and over another file; its bytes, owner, mode, time and attributes go with it.",
        run: rename_files,
    },
    Case {
        name: "rename: directories",
        demands: "A directory the container made can be renamed; one of its layers too, or the rename is EXDEV and changes nothing.",
        run: rename_directories,
    },
    Case {
        name: "link: names of one file within and across layers",
        demands: "Names of one file in a layer are one file in the view; a link a container makes to a file of a layer is the same file under both names; deleting one name leaves the other.",
        run: hard_links,
    },
];

fn base(to: Writer<'_>) -> Outcome {
    for dir in ["d", "d/sub", "e"] {
        to.dir(dir)?;
    }
    for file in ["d/f", "d/sub/g", "e/h", "top"] {
        to.file(file, file)?;
        to.owner(file, 3, 4)?;
        to.mode(file, 0o640)?;
        to.xattr(file, "user.of", file.as_bytes())?;
        to.mtime(file, 1_000_000_000, 42)?;
    }
    to.symlink("d/link", "f")
}

/// A container "c" on two layers.
fn chain(ground: &Ground<'_>) -> Outcome<[&'static str; 2]> {
    ground.layer("base", &[], |fill| base(fill.target))?;
    ground.layer("top", &["base"], |fill| {
        ensure_dir(fill.target, "e")?;
        fill.target.file("e/upper", "e/upper")
    })?;
    ground.container("c", &["top", "base"])?;
    Ok(["top", "base"])
}

fn rename_files(ground: &Ground<'_>) -> Outcome {
    let parents = chain(ground)?;
    let mounted = ground.mount("c", &parents)?;
    let before = Tree::read(mounted.fd())?;
    let mut expected = before.clone().without_directory_times();
    let renames = [
        ("top", "renamed"),
        ("d/f", "e/f"),
        ("e/h", "e/upper"),
        ("d/link", "link"),
        ("e/f", "d/f"),
        ("d/sub/g", "top"),
    ];
    for (from, to) in renames {
        mounted.writer().rename(from, to).doing(|| format!("rename `{from}` to `{to}`"))?;
        let Some(node) = expected.nodes.remove(std::ffi::OsStr::new(from)) else {
            return Err(Stop::Fail(format!("`{from}` was not there")));
        };
        expected.nodes.insert(to.into(), node);
        let shown = Tree::read(mounted.fd())?.without_directory_times();
        shown.must_equal(&expected, &format!("the container after `{from}` was renamed to `{to}`"))?;
    }
    let after = Tree::read(mounted.fd())?;
    drop(mounted);
    Tree::read(ground.mount("c", &parents)?.fd())?.must_equal(&after, "the container when it is mounted again")?;
    changes::must_match(ground, "c", &parents, &before, &after)
}

fn rename_directories(ground: &Ground<'_>) -> Outcome {
    let parents = chain(ground)?;
    let mounted = ground.mount("c", &parents)?;
    let before = Tree::read(mounted.fd())?;
    let to = mounted.writer();
    to.dir("own")?;
    to.file("own/f", "x")?;
    to.rename("own", "d/own").doing(|| "rename a directory the container made".to_owned())?;
    ensure!(to.read("d/own/f")? == b"x" && !to.exists("own"), "a renamed directory is not where it went");
    // Over an empty one of its own, as rename(2) allows.
    to.dir("empty")?;
    to.rename("d/own", "empty").doing(|| "rename a directory over an empty one".to_owned())?;
    ensure!(to.read("empty/f")? == b"x", "a directory renamed over an empty one lost its file");

    for dir in ["d", "e", "d/sub"] {
        if !to.exists(dir) {
            continue;
        }
        let old = Tree::read(mounted.fd())?;
        match to.rename(dir, "moved") {
            Ok(()) => {
                ensure!(!to.exists(dir), "`{dir}` was renamed and is still there");
                to.rename("moved", dir).doing(|| format!("rename `{dir}` back"))?;
                let shown = Tree::read(mounted.fd())?.without_directory_times();
                shown.must_equal(&old.without_directory_times(), &format!("`{dir}` renamed and renamed back"))?;
            }
            Err(Errno::XDEV) => {
                Tree::read(mounted.fd())?
                    .must_equal(&old, &format!("the container after a refused rename of `{dir}`"))?;
            }
            Err(errno) => return Err(Stop::Fail(format!("renaming `{dir}` of a layer fails with {errno}"))),
        }
    }
    let after = Tree::read(mounted.fd())?;
    drop(mounted);
    Tree::read(ground.mount("c", &parents)?.fd())?.must_equal(&after, "the container when it is mounted again")?;
    changes::must_match(ground, "c", &parents, &before, &after)
}

fn hard_links(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| {
        base(fill.target)?;
        fill.target.hardlink("e/second", "d/f")?;
        fill.target.hardlink("third", "d/f")
    })?;
    let parents = ["base"];
    ground.container("c", &parents)?;
    let mounted = ground.mount("c", &parents)?;
    let before = Tree::read(mounted.fd())?;
    let same = |tree: &Tree, path: &str| {
        tree.nodes.get(std::ffi::OsStr::new(path)).and_then(|node| node.same_as.clone()).unwrap_or_default()
    };
    for name in ["d/f", "e/second", "third"] {
        ensure!(same(&before, name) == "d/f", "`{name}` should be the same file as `d/f`");
    }
    let to = mounted.writer();
    to.remove("third")?;
    let shown = Tree::read(mounted.fd())?;
    ensure!(
        to.read("d/f")? == b"d/f" && same(&shown, "e/second") == "d/f",
        "deleting one of three names harmed the others"
    );
    // A new name for a file of the layer: one file, whichever name is written through.
    to.hardlink("linked", "top")?;
    let shown = Tree::read(mounted.fd())?;
    ensure!(
        same(&shown, "linked") == "linked" && same(&shown, "top") == "linked",
        "a link to a file of a layer is another file"
    );
    to.file("top", "written through one name")?;
    ensure!(
        to.read("linked")? == b"written through one name",
        "a file written through one name is old under the other"
    );
    to.remove("top")?;
    ensure!(to.read("linked")? == b"written through one name", "deleting one name took the other away");
    let after = Tree::read(mounted.fd())?;
    drop(mounted);
    Tree::read(ground.mount("c", &parents)?.fd())?.must_equal(&after, "the container when it is mounted again")?;
    changes::must_match(ground, "c", &parents, &before, &after)
}
