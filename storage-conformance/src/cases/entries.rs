//! What an entry carries beside its data, and how it may be called: changed in a container while the data stay.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};

use mica_storage_api::{Caps, ObjectKind};
use rustix::fs::{FileType, Mode, OFlags, XattrFlags, fgetxattr, fremovexattr, fsetxattr, mkdirat, openat};

use crate::cases::{Case, changes};
use crate::ground::{Ground, key};
use crate::tree::{Node, Tree};
use crate::verdict::{Context, Outcome, Stop, ensure};
use crate::writer::Writer;
use crate::{ids, sample};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "entry: attributes change and the data stay",
        demands: "chmod, chown, utimes and attributes set, replaced and removed on files, directories, links, pipes and devices of a layer change that and nothing else, in the container alone.",
        run: attributes_without_data,
    },
    Case {
        name: "entry: a sparse file stays sparse when it is changed",
        demands: "A byte written into a large sparse file of a layer costs about a block, not the file.",
        run: sparse_stays_sparse,
    },
    Case {
        name: "entry: names of 255 bytes and of any bytes",
        demands: "Names of 255 bytes, with newlines, quotes, colons, commas, backslashes, leading dots and no UTF-8 pass through layers, containers, changes and removal.",
        run: strange_names,
    },
    Case {
        name: "entry: paths longer than PATH_MAX",
        demands: "A tree deeper than PATH_MAX is staged, viewed, changed at its bottom, measured, promoted and reaped.",
        run: deep_paths,
    },
];

/// What is done to a path, and what that must change of it.
type Touch = (&'static str, fn(Writer<'_>, &str) -> Outcome, fn(&mut Node));

fn attributes_without_data(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| {
        sample::plain(fill.target)?;
        sample::special(fill.target)
    })?;
    ground.container("c", &["base"])?;
    let image = ground.read_view(&["base"])?;
    let mounted = ground.mount("c", &["base"])?;
    let mut expected = Tree::read(mounted.fd())?;
    expected.must_equal(&image, "a fresh container")?;
    let mode: Touch = ("mode", |to, path| to.mode(path, 0o1751), |node| node.mode = node.mode & 0o170_000 | 0o1751);
    let time: Touch = ("time", |to, path| to.mtime(path, 77, 78), |node| node.mtime = (77, 78));
    let owner: Touch = (
        "owner",
        |to, path| to.owner(path, 21, 22),
        |node| {
            node.owner = (ids::uid(21), ids::gid(22));
            // The kernel takes these from an executable that changes hands, and from nothing else.
            if FileType::from_raw_mode(node.mode) == FileType::RegularFile {
                node.mode &= !0o4000 & !(if node.mode & 0o10 != 0 { 0o2000 } else { 0 });
                node.xattrs.remove(OsStr::new("security.capability"));
            }
        },
    );
    let set: Touch = (
        "a new attribute",
        |to, path| to.xattr(path, "user.new", b"new"),
        |node| drop(node.xattrs.insert("user.new".into(), b"new".to_vec())),
    );
    let replace: Touch = (
        "a replaced attribute",
        |to, path| to.xattr(path, "user.mica", b""),
        |node| drop(node.xattrs.insert("user.mica".into(), Vec::new())),
    );
    let unset: Touch = (
        "a removed attribute",
        |to, path| remove_xattr(to, path, "user.large"),
        |node| drop(node.xattrs.remove(OsStr::new("user.large"))),
    );
    let uncap: Touch = (
        "a removed capability",
        |to, path| remove_xattr(to, path, "security.capability"),
        |node| drop(node.xattrs.remove(OsStr::new("security.capability"))),
    );
    let cap: Touch = (
        "a new capability",
        |to, path| to.xattr(path, "security.capability", &sample::CAPABILITY),
        |node| drop(node.xattrs.insert("security.capability".into(), sample::CAPABILITY.to_vec())),
    );
    let trusted: Touch = (
        "a trusted attribute",
        |to, path| to.xattr(path, "trusted.mica", b"t"),
        |node| drop(node.xattrs.insert("trusted.mica".into(), b"t".to_vec())),
    );
    let mut touches: Vec<(&str, Touch)> = vec![
        ("etc/deep/er/file", mode),
        ("etc/empty", time),
        ("etc/secret", owner),
        ("etc/passwd", set),
        ("etc/passwd", replace),
        ("special/capable", unset),
        ("special/capable", uncap),
        ("etc/secret", cap),
        ("etc/deep", mode),
        ("etc/deep/er", owner),
        ("etc/deep", set),
        ("etc", time),
        ("etc/link", owner),
        ("dangling", time),
        ("special/null", mode),
        ("special/block", owner),
        ("special/setuid", owner),
        ("special/setgid", owner),
        ("tmp", time),
    ];
    if ids::initial_namespace() {
        touches.push(("etc/deep/er/file", trusted));
    }
    for (path, (what, act, change)) in touches {
        act(mounted.writer(), path)?;
        let Some(node) = expected.nodes.get_mut(OsStr::new(path)) else {
            return Err(Stop::Fail(format!("`{path}` was not there")));
        };
        change(node);
        Tree::read(mounted.fd())?.must_equal(&expected, &format!("the container after {what} of `{path}`"))?;
    }
    drop(mounted);
    ground.read_view(&["base"])?.must_equal(&image, "the image after its container changed attributes")?;
    Tree::read(ground.mount("c", &["base"])?.fd())?.must_equal(&expected, "the container when it is mounted again")?;
    changes::must_match(ground, "c", &["base"], &image, &expected)
}

fn remove_xattr(to: Writer<'_>, path: &str, name: &str) -> Outcome {
    fremovexattr(to.open(path, OFlags::RDONLY)?, name).doing(|| format!("remove `{name}` of `{path}`"))
}

fn sparse_stays_sparse(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| fill.target.sparse("f", 64 << 20, b"end"))?;
    ground.container("c", &["base"])?;
    let mounted = ground.mount("c", &["base"])?;
    let file = mounted.writer().open("f", OFlags::RDWR)?;
    rustix::io::pwrite(&file, b"middle", 32 << 20).doing(|| "write into a sparse file".to_owned())?;
    rustix::fs::fsync(&file).doing(|| "sync a file".to_owned())?;
    let stat = rustix::fs::fstat(&file).doing(|| "stat a file".to_owned())?;
    ensure!(stat.st_size == 64 << 20, "a file of 64 MiB has {} bytes after a write into its middle", stat.st_size);
    ensure!(
        stat.st_blocks * 512 < 1 << 20,
        "six bytes written into a sparse file of 64 MiB make it take {} bytes",
        stat.st_blocks * 512
    );
    let mut end = [0; 3];
    rustix::io::pread(&file, &mut end, (64 << 20) - 3).doing(|| "read a sparse file".to_owned())?;
    ensure!(&end == b"end", "the end of a sparse file is lost when its middle is written");
    Ok(())
}

fn strange_names(ground: &Ground<'_>) -> Outcome {
    let long = "n".repeat(255);
    let wide = "\u{20ac}".repeat(85);
    let names: Vec<OsString> = [
        long.as_bytes(),
        wide.as_bytes(),
        b"\xff\xfe\x80",
        b"new\nline",
        b" leading and trailing ",
        b"quote\"'`",
        b"colon:comma,equals=",
        b"back\\slash",
        b"..data",
        b".hidden",
        b"-rf",
        b"\x01\x7f\x1b[31m",
        b"...",
        b"wh.not-a-whiteout",
    ]
    .into_iter()
    .map(|name| std::os::unix::ffi::OsStringExt::from_vec(name.to_vec()))
    .collect();
    let make = |root: &OwnedFd| -> Outcome {
        for name in &names {
            mkdirat(root, name, Mode::from_raw_mode(0o755)).doing(|| format!("make the directory {name:?}"))?;
            let dir = openat(root, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .doing(|| format!("open {name:?}"))?;
            for name in &names {
                Writer { root: dir.as_fd() }.file_at(name, name.as_encoded_bytes())?;
            }
        }
        Ok(())
    };
    let mut written = None;
    ground.layer("base", &[], |fill| {
        make(&fill.target.open(".", OFlags::RDONLY | OFlags::DIRECTORY)?)?;
        written = Some(Tree::read(fill.target.root)?);
        Ok(())
    })?;
    let view = ground.read_view(&["base"])?;
    view.must_equal(&written.unwrap_or_default(), "the view of the layer")?;
    ground.container("c", &["base"])?;
    let mounted = ground.mount("c", &["base"])?;
    let root = mounted.writer().open(".", OFlags::RDONLY | OFlags::DIRECTORY)?;
    for (number, name) in names.iter().enumerate() {
        let dir = openat(&root, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .doing(|| format!("open {name:?}"))?;
        let to = Writer { root: dir.as_fd() };
        let next = &names[(number + 1) % names.len()];
        rustix::fs::unlinkat(&dir, name, rustix::fs::AtFlags::empty()).doing(|| format!("remove {name:?}"))?;
        to.file_at(next, b"changed")?;
    }
    drop(root);
    let after = Tree::read(mounted.fd())?;
    ensure!(after.nodes.len() == 1 + names.len() * names.len(), "{} entries are left", after.nodes.len());
    drop(mounted);
    changes::must_match(ground, "c", &["base"], &view, &after)
}

/// How deep, and the name at each level: 70 times 100 bytes are more than PATH_MAX, and more levels than a walk holds open.
const LEVELS: usize = 70;

fn deep_paths(ground: &Ground<'_>) -> Outcome {
    let name = "d".repeat(100);
    let open = |dir: std::os::fd::BorrowedFd<'_>| {
        openat(dir, &name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .doing(|| "open a level of a deep tree".to_owned())
    };
    let bottom = |root: std::os::fd::BorrowedFd<'_>| -> Outcome<OwnedFd> {
        let mut dir = open(root)?;
        for _ in 1..LEVELS {
            dir = open(dir.as_fd())?;
        }
        Ok(dir)
    };
    ground.layer("base", &[], |fill| {
        let mut dir = fill.target.open(".", OFlags::RDONLY | OFlags::DIRECTORY)?;
        for level in 0..LEVELS {
            mkdirat(&dir, &name, Mode::from_raw_mode(0o755)).doing(|| "make a level of a deep tree".to_owned())?;
            Writer { root: dir.as_fd() }.file("beside", level.to_string())?;
            dir = open(dir.as_fd())?;
        }
        Writer { root: dir.as_fd() }.file("bottom", "of the layer")
    })?;
    let view = ground.read_view(&["base"])?;
    ensure!(view.nodes.len() == 2 * LEVELS + 2, "the view shows {} entries of a deep tree", view.nodes.len());
    ground.container("c", &["base"])?;
    let mounted = ground.mount("c", &["base"])?;
    {
        let dir = bottom(mounted.fd())?;
        let to = Writer { root: dir.as_fd() };
        ensure!(to.read("bottom")? == b"of the layer", "the file at the bottom is wrong");
        to.file("bottom", "of the container")?;
        to.file("new", "x")?;
        fsetxattr(&dir, "user.deep", b"x", XattrFlags::empty())
            .doing(|| "set an attribute at the bottom".to_owned())?;
    }
    let after = Tree::read(mounted.fd())?;
    drop(mounted);
    if let Err(error) = ground.driver.usage(ObjectKind::Rw, key("c")?)
        && error.kind() != mica_storage_api::ErrorKind::Fallback
    {
        return Err(error).doing(|| "measure a deep container".to_owned());
    }
    let matched = changes::must_match(ground, "c", &["base"], &view, &after);
    if ground.info().caps.contains(Caps::PROMOTE) {
        ground.promote("c", &["base"], "top")?;
        let view = ground.view(&["top", "base"])?;
        Tree::read(view.fd())?.must_equal(&after, "the deep container as a layer")?;
        let mut value = [0; 4];
        let length = fgetxattr(bottom(view.fd())?, "user.deep", &mut value[..])
            .doing(|| "read the attribute at the bottom".to_owned())?;
        ensure!(&value[..length] == b"x", "the attribute at the bottom is wrong");
    }
    matched
}
