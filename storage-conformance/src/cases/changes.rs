//! What `changes` yields, held against the two trees it is about.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use mica_storage_api::{Caps, ChangeKind, ErrorKind, Flow, KeyBuf};
use rustix::fs::FileType;

use crate::cases::Case;
use crate::ground::{Ground, key};
use crate::sample;
use crate::tree::Tree;
use crate::verdict::{Context, Outcome, Stop, ensure};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "changes: none in a container that was only read",
        demands: "A container that was mounted and read has no changes.",
        run: none_after_reading,
    },
    Case {
        name: "changes: exactly what was done, and stop when told",
        demands: "Each verb of a file system is yielded as one change of the right kind, beside at most the directories above it; after the callback says stop, nothing more is yielded and the call succeeds.",
        run: one_verb_each,
    },
    Case {
        name: "changes: renamed directories, owners, attributes",
        demands: "A directory that was renamed or swapped is told with all that it holds, a change of owner or attributes of a file as a change of the file.",
        run: moved_and_marked,
    },
];

/// One yielded change.
pub(crate) type Yielded = (ChangeKind, PathBuf);

/// The changes of an rw object; a skip where the driver leaves them to the engine.
pub(crate) fn list(ground: &Ground<'_>, rw: &str, parents: &[&str]) -> Outcome<Vec<Yielded>> {
    let mut found = Vec::new();
    each(ground, rw, parents, &mut |kind, path| {
        found.push((kind, path.to_owned()));
        Flow::Continue
    })?;
    Ok(found)
}

fn each(ground: &Ground<'_>, rw: &str, parents: &[&str], then: &mut dyn FnMut(ChangeKind, &Path) -> Flow) -> Outcome {
    let parents: Vec<KeyBuf> = parents.iter().map(|name| Ok(key(name)?.to_owned())).collect::<Outcome<_>>()?;
    let parents: Vec<_> = parents.iter().map(KeyBuf::as_key).collect();
    let mut wrong = None;
    let result = ground.driver.changes(key(rw)?, &parents, &mut |change| {
        // The entry must be there to be read where the change says, as the engine is about to do.
        if let Some(dir) = change.dir {
            let flags = if change.name.is_empty() {
                rustix::fs::AtFlags::EMPTY_PATH
            } else {
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW
            };
            if let Err(errno) = rustix::fs::statat(dir, change.name, flags) {
                wrong = Some(format!("{:?} cannot be found in the directory that came with it: {errno}", change.path));
            }
        } else if change.kind != ChangeKind::Deleted {
            wrong = Some(format!("{:?} is {:?} and comes without a directory", change.path, change.kind));
        }
        then(change.kind, change.path)
    });
    match result {
        Err(error) if error.kind() == ErrorKind::Fallback && !ground.info().caps.contains(Caps::CHANGES) => {
            return Err(Stop::Skip("the driver leaves changes to the engine".to_owned()));
        }
        other => other.doing(|| format!("list the changes of `{rw}`"))?,
    }
    wrong.map_or(Ok(()), |wrong| Err(Stop::Fail(wrong)))
}

/// A failure unless the changes turn the tree `before` into `after`, or the driver leaves them to the engine.
pub(crate) fn must_match(ground: &Ground<'_>, rw: &str, parents: &[&str], before: &Tree, after: &Tree) -> Outcome {
    let changes = match list(ground, rw, parents) {
        Err(Stop::Skip(_)) => return Ok(()),
        other => other?,
    };
    for pair in changes.windows(2) {
        ensure!(
            pair[0].1 < pair[1].1,
            "{:?} comes after {:?}: each path comes once, in the order of paths",
            pair[1].1,
            pair[0].1
        );
    }
    let mut shown = before.clone();
    for (kind, path) in &changes {
        apply(&mut shown, *kind, path.as_os_str(), before, after)?;
    }
    shown.must_equal(after, "the parents with the changes applied, against the container")
}

fn apply(shown: &mut Tree, kind: ChangeKind, path: &OsStr, before: &Tree, after: &Tree) -> Outcome {
    let mut below = path.to_owned();
    below.push("/");
    let is_below = |other: &OsString| {
        path.is_empty() && !other.is_empty() || other.as_encoded_bytes().starts_with(below.as_encoded_bytes())
    };
    let (was, is) = (before.nodes.get(path), after.nodes.get(path));
    if kind == ChangeKind::Deleted {
        ensure!(was.is_some(), "{path:?} is called deleted and was not there");
        ensure!(is.is_none(), "{path:?} is called deleted and is there");
        shown.nodes.retain(|other, _| other != path && !is_below(other));
        return Ok(());
    }
    let Some(node) = is else { return Err(Stop::Fail(format!("{path:?} is called {kind:?} and does not exist"))) };
    ensure!(
        (kind == ChangeKind::Added) != was.is_some(),
        "{path:?} is called {kind:?}; below, it exists: {}",
        was.is_some()
    );
    // A file in the place of a directory takes away what the directory held.
    if kind == ChangeKind::Opaque || FileType::from_raw_mode(node.mode) != FileType::Directory {
        shown.nodes.retain(|other, _| !is_below(other));
    }
    shown.nodes.insert(path.to_owned(), node.clone());
    Ok(())
}

fn none_after_reading(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| sample::plain(fill.target))?;
    ground.layer("top", &["base"], |fill| {
        crate::whiteout::ensure_dir(fill.target, "etc")?;
        crate::whiteout::delete(fill.target, fill.style, "etc/empty")
    })?;
    ground.container("c", &["top", "base"])?;
    ensure!(list(ground, "c", &["top", "base"])?.is_empty(), "a container that was never mounted has changes");
    Tree::read(ground.mount("c", &["top", "base"])?.fd())?;
    let changes = list(ground, "c", &["top", "base"])?;
    ensure!(changes.is_empty(), "a container that was only read has changes: {changes:?}");
    Ok(())
}

fn one_verb_each(ground: &Ground<'_>) -> Outcome {
    use ChangeKind::{Added, Deleted, Modified, Opaque};
    ground.layer("base", &[], |fill| {
        let to = fill.target;
        for dir in ["d", "d/e", "gone", "gone/sub", "again", "over", "over/sub", "dir-to-file"] {
            to.dir(dir)?;
        }
        let files = ["d/e/kept", "d/written", "d/e/chmod", "gone/sub/f", "again/old", "dir-to-file/f", "file-to-dir"];
        for file in files.into_iter().chain(["over/f", "over/sub/f"]) {
            to.file(file, file)?;
        }
        to.symlink("d/link", "written")
    })?;
    ground.container("c", &["base"])?;
    let mounted = ground.mount("c", &["base"])?;
    let before = Tree::read(mounted.fd())?;
    let to = mounted.writer();
    to.file("d/written", "new content")?;
    to.mode("d/e/chmod", 0o600)?;
    to.file("d/new", "x")?;
    to.remove("d/link")?;
    to.remove("gone/sub/f")?;
    to.remove_dir("gone/sub")?;
    to.remove_dir("gone")?;
    to.remove("again/old")?;
    to.remove_dir("again")?;
    to.dir("again")?;
    for file in ["over/sub/f", "over/f"] {
        to.remove(file)?;
    }
    for dir in ["over/sub", "over"] {
        to.remove_dir(dir)?;
    }
    for dir in ["over", "over/sub"] {
        to.dir(dir)?;
    }
    for file in ["over/f", "over/sub/f", "over/new"] {
        to.file(file, "x")?;
    }
    to.remove("dir-to-file/f")?;
    to.remove_dir("dir-to-file")?;
    to.file("dir-to-file", "x")?;
    to.remove("file-to-dir")?;
    to.dir("file-to-dir")?;
    to.file("file-to-dir/f", "x")?;
    let after = Tree::read(mounted.fd())?;
    drop(mounted);
    must_match(ground, "c", &["base"], &before, &after)?;
    let changes = list(ground, "c", &["base"])?;
    let expected = [
        (Opaque, "again"),
        (Modified, "d/e/chmod"),
        (Deleted, "d/link"),
        (Added, "d/new"),
        (Modified, "d/written"),
        (Modified, "dir-to-file"),
        (Modified, "file-to-dir"),
        (Added, "file-to-dir/f"),
        (Deleted, "gone"),
        (Opaque, "over"),
        (Modified, "over/f"),
        (Added, "over/new"),
        (Modified, "over/sub/f"),
    ];
    for (kind, path) in expected {
        let found: Vec<_> = changes.iter().filter(|(_, found)| found == Path::new(path)).collect();
        // Whether a directory was emptied or made again can only be told by a driver that marks it.
        let told = found.first().is_some_and(|(found, _)| *found == kind || (kind == Opaque && *found == Modified));
        ensure!(told, "`{path}` should be {kind:?} and is yielded as {found:?}");
    }
    for (kind, path) in &changes {
        let named = expected.iter().any(|(_, expected)| path == Path::new(expected));
        let above = expected.iter().any(|(_, expected)| Path::new(expected).starts_with(path));
        // Below a directory that is not marked the deletions are named one by one.
        let listed = *kind == Deleted && path.starts_with("again");
        ensure!(
            named || listed || (above && *kind == Modified),
            "`{}` is yielded as {kind:?} and did not change",
            path.display()
        );
    }
    let mut calls = 0;
    each(ground, "c", &["base"], &mut |_, _| {
        calls += 1;
        if calls == 2 { Flow::Stop } else { Flow::Continue }
    })?;
    ensure!(calls == 2, "the callback said stop at the second change and was called {calls} times");
    Ok(())
}

fn moved_and_marked(ground: &Ground<'_>) -> Outcome {
    const DIRS: [&str; 12] =
        ["a", "a/b", "a/b/c", "a/b/c/d", "left", "left/in", "right", "right/in", "old", "old/x", "still", "still/deep"];
    const FILES: [&str; 10] = [
        "a/b/c/d/f",
        "a/b/f",
        "left/in/f",
        "left/f",
        "right/in/f",
        "right/g",
        "old/x/f",
        "still/deep/f",
        "still/owned",
        "still/marked",
    ];
    ground.layer("base", &[], |fill| {
        let to = fill.target;
        DIRS.iter().try_for_each(|dir| to.dir(dir))?;
        FILES.iter().try_for_each(|file| to.file(file, file))
    })?;
    ground.container("c", &["base"])?;
    let mounted = ground.mount("c", &["base"])?;
    let before = Tree::read(mounted.fd())?;
    let to = mounted.writer();
    // A driver may have to refuse to rename what lies in a layer (EXDEV), as programs know how to deal with.
    let may = |renamed: rustix::io::Result<()>| match renamed {
        Ok(()) | Err(rustix::io::Errno::XDEV) => Ok(()),
        Err(errno) => Err(errno).doing(|| "rename a directory".to_owned()),
    };
    to.dir("new")?;
    to.dir("new/home")?;
    may(to.rename("a/b/c", "new/home/c"))?;
    may(to.rename("a/b", "new/b"))?;
    to.remove("old/x/f")?;
    to.remove_dir("old/x")?;
    may(to.rename("left/in", "old/x"))?;
    let swap = rustix::fs::RenameFlags::EXCHANGE;
    may(rustix::fs::renameat_with(mounted.fd(), "left", mounted.fd(), "right", swap))?;
    to.owner("still/owned", 7, 8)?;
    to.xattr("still/marked", "user.mark", b"x")?;
    let after = Tree::read(mounted.fd())?;
    drop(mounted);
    must_match(ground, "c", &["base"], &before, &after)?;
    let told = list(ground, "c", &["base"])?;
    ensure!(
        !told.iter().any(|(_, path)| path == Path::new("still/deep/f")),
        "`still/deep/f` is told and did not change: {told:?}"
    );
    Ok(())
}
