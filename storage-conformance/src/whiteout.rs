//! Writes a deletion in the style a stage declares, as the engine would.

use std::os::fd::AsFd;

use mica_storage_api::Whiteout;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags, fsetxattr, mknodat, openat, statat, unlinkat};

use crate::tree::Tree;
use crate::verdict::{Context, Outcome};
use crate::writer::Writer;

/// Hides `path` of the layers below.
pub(crate) fn delete(target: Writer<'_>, style: Whiteout, path: &str) -> Outcome {
    match style {
        Whiteout::Direct => delete_tree(target, path),
        Whiteout::OverlayTrusted | Whiteout::OverlayUser => {
            mknodat(target.root, path, FileType::CharacterDevice, Mode::empty(), 0)
                .doing(|| format!("make the whiteout `{path}`"))
        }
        Whiteout::OciFiles => {
            let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
            target.file(&format!("{dir}/.wh.{name}"), [])
        }
    }
}

/// Hides all that the layers below have in the directory `path`, which the target has (again).
pub(crate) fn make_opaque(target: Writer<'_>, style: Whiteout, path: &str) -> Outcome {
    let attribute = match style {
        Whiteout::Direct => {
            let dir = target.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let below = Tree::read(dir.as_fd())?;
            let mut top = below
                .nodes
                .keys()
                .filter_map(|path| path.to_str())
                .filter(|path| !path.is_empty() && !path.contains('/'));
            return top.try_for_each(|name| delete_tree(target, &format!("{path}/{name}")));
        }
        Whiteout::OciFiles => return target.file(&format!("{path}/.wh..wh..opq"), []),
        Whiteout::OverlayTrusted => "trusted.overlay.opaque",
        Whiteout::OverlayUser => "user.overlay.opaque",
    };
    let dir = openat(target.root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .doing(|| format!("open `{path}`"))?;
    fsetxattr(&dir, attribute, b"y", XattrFlags::empty()).doing(|| format!("set `{attribute}` of `{path}`"))
}

/// A directory in the target, whether or not the target shows that of its parents.
pub(crate) fn ensure_dir(target: Writer<'_>, path: &str) -> Outcome {
    if target.exists(path) { Ok(()) } else { target.dir(path) }
}

fn delete_tree(target: Writer<'_>, path: &str) -> Outcome {
    let stat =
        statat(target.root, path, AtFlags::SYMLINK_NOFOLLOW).doing(|| format!("stat `{path}`, which a parent has"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return target.remove(path);
    }
    let dir = target.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    // Deepest first: in the reverse of the lexical order every entry comes before the directory that holds it.
    for (below, node) in Tree::read(dir.as_fd())?.nodes.iter().rev().filter(|(below, _)| !below.is_empty()) {
        let is_dir = FileType::from_raw_mode(node.mode) == FileType::Directory;
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(&dir, below, flags).doing(|| format!("remove {below:?} below `{path}`"))?;
    }
    target.remove_dir(path)
}
