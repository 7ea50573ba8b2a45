//! Random work in a container and in a stage, held against a plain directory to which the same was done, against what the
//! driver calls changes, and against a walk of what it occupies.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd};

use fastrand::Rng;
use mica_storage_api::{Caps, ErrorKind, ObjectKind, StageKind, Usage};
use rustix::fs::{AtFlags, statat, syncfs};
use rustix::io::Errno;

use crate::Depth;
use crate::cases::{Case, changes};
use crate::ground::{Ground, filling, key};
use crate::model::Model;
use crate::tree::Tree;
use crate::verdict::{Context, Outcome, Stop, ensure};
use crate::work::{Links, Work};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "random: a container does what a directory does",
        demands: "After hundreds of random file operations over several layers, a container shows what a plain directory shows after the same; `changes` is the difference of the trees, and a promotion shows the same.",
        run: as_a_directory,
    },
    Case {
        name: "random: usage is exact",
        demands: "`usage` of a layer without parents is the blocks and inodes of everything in it, a file of several names once; of a container it is that and what the driver keeps beside it, which does not grow with the tree.",
        run: exact_usage,
    },
];

const STEPS: usize = 300;

fn seeds(ground: &Ground<'_>, quick: u64, thorough: u64) -> std::ops::RangeInclusive<u64> {
    1..=if ground.depth == Depth::Thorough { thorough } else { quick }
}

fn of_seed(seed: u64) -> impl Fn(Stop) -> Stop {
    move |stop| match stop {
        Stop::Fail(reason) => Stop::Fail(format!("seed {seed}: {reason}")),
        skip @ Stop::Skip(_) => skip,
    }
}

fn as_a_directory(ground: &Ground<'_>) -> Outcome {
    seeds(ground, 5, 40).try_for_each(|seed| one_container(ground, seed).map_err(of_seed(seed)))
}

fn one_container(ground: &Ground<'_>, seed: u64) -> Outcome {
    let model = Model::new(ground)?;
    let mut work = Work::new(Rng::with_seed(seed));
    let names: Vec<String> = (0..4).map(|number| format!("l{seed}-{number}")).collect();
    ground.layer(&names[0], &[], |fill| work.both(fill.target, model.writer(), STEPS / 3, Links::No))?;
    let mut chain = vec![names[0].as_str()];
    let mut number = 0;
    // Names of one file in a layer part when one is written, which a driver may do and a directory does not.
    for name in &names[1..] {
        if !ground.info().caps.contains(Caps::PROMOTE) {
            break;
        }
        ground.container("step", &chain)?;
        work.both(ground.mount("step", &chain)?.writer(), model.writer(), STEPS / 6, Links::No)?;
        ground.promote("step", &chain, name)?;
        chain.insert(0, name);
        number += 1;
        let shown = ground.read_view(&chain)?.without_times();
        shown.must_equal(&model.tree()?.without_times(), &format!("the view of {number} promoted layers"))?;
    }
    let container = format!("c{seed}");
    ground.container(&container, &chain)?;
    let mounted = ground.mount(&container, &chain)?;
    let before = Tree::read(mounted.fd())?;
    work.both(mounted.writer(), model.writer(), STEPS, Links::Yes)?;
    let after = Tree::read(mounted.fd())?;
    drop(mounted);
    let expected = model.tree()?.without_times();
    after.clone().without_times().must_equal(&expected, "the container, against a directory")?;
    Tree::read(ground.mount(&container, &chain)?.fd())?.must_equal(&after, "the container when it is mounted again")?;
    changes::must_match(ground, &container, &chain, &before, &after)?;
    if ground.info().caps.contains(Caps::PROMOTE) {
        let top = format!("top{seed}");
        ground.promote(&container, &chain, &top)?;
        chain.insert(0, &top);
        let shown = ground.read_view(&chain)?.without_times();
        shown.must_equal(&expected, "the promoted container, against a directory")?;
    }
    Ok(())
}

fn exact_usage(ground: &Ground<'_>) -> Outcome {
    // Each syncs the file system, which others may be busy with.
    seeds(ground, 1, 8).try_for_each(|seed| one_usage(ground, seed).map_err(of_seed(seed)))
}

fn one_usage(ground: &Ground<'_>, seed: u64) -> Outcome {
    let name = format!("u{seed}");
    let model = Model::new(ground)?;
    let mut work = Work::new(Rng::with_seed(seed));
    let stage = ground.stage(StageKind::Layer, &name, &[])?;
    let target = filling(&stage)?.target;
    work.both(target, model.writer(), STEPS, Links::Yes)?;
    let walked = walk(target.root)?;
    stage.commit(key(&name)?).doing(|| "commit a layer".to_owned())?;
    let usage = usage(ground, ObjectKind::Layer, &name)?;
    ensure!(usage == walked, "usage of the layer is {usage:?}, and a walk finds {walked:?}");

    let other = Model::new_beside(ground, "model2")?;
    let mut work = Work::new(Rng::with_seed(seed + 1000));
    ground.container(&name, &[])?;
    let mounted = ground.mount(&name, &[])?;
    let beside = beside(ground, &name, walk(mounted.fd())?)?;
    work.both(mounted.writer(), other.writer(), STEPS, Links::Yes)?;
    let walked = walk(mounted.fd())?;
    let now = self::beside(ground, &name, walked)?;
    ensure!(
        now == beside,
        "usage of the container is {now:?} more than a walk finds, and was {beside:?} more when it was empty"
    );
    Ok(())
}

/// What a driver keeps of its own beside a container's tree: bytes and inodes.
fn beside(ground: &Ground<'_>, name: &str, walked: Usage) -> Outcome<(u64, u64)> {
    let usage = usage(ground, ObjectKind::Rw, name)?;
    match (usage.bytes.checked_sub(walked.bytes), usage.inodes.checked_sub(walked.inodes)) {
        (Some(bytes), Some(inodes)) => Ok((bytes, inodes)),
        _ => Err(Stop::Fail(format!("usage of the container is {usage:?}, and a walk finds {walked:?}"))),
    }
}

fn usage(ground: &Ground<'_>, kind: ObjectKind, name: &str) -> Outcome<Usage> {
    match ground.driver.usage(kind, key(name)?) {
        Err(error) if error.kind() == ErrorKind::Fallback => {
            Err(Stop::Skip("the driver leaves usage to the engine".to_owned()))
        }
        other => other.doing(|| format!("measure the {kind:?} `{name}`")),
    }
}

/// Blocks and inodes, once all that is written late has been.
fn walk(root: BorrowedFd<'_>) -> Outcome<Usage> {
    // A detached mount is known by a descriptor that cannot be synced itself.
    let dir = rustix::fs::openat(
        root,
        ".",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .doing(|| "open the root".to_owned())?;
    match syncfs(&dir) {
        Ok(()) | Err(Errno::OPNOTSUPP) => {}
        Err(errno) => return Err(errno).doing(|| "sync the file system".to_owned()),
    }
    let mut seen = BTreeSet::new();
    let mut usage = Usage::default();
    for path in Tree::read(dir.as_fd())?.nodes.keys() {
        let flags = if path.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
        let stat = statat(&dir, path.as_os_str(), flags).doing(|| format!("stat {path:?}"))?;
        if seen.insert((stat.st_dev, stat.st_ino)) {
            usage.bytes += stat.st_blocks as u64 * 512;
            usage.inodes += 1;
        }
    }
    Ok(usage)
}
