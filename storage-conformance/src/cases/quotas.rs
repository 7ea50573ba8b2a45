//! Limits of what a container may write, where the driver claims them, and their refusal where it does not.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use mica_storage_api::{Caps, ErrorKind, Key, ObjectKind, StageArgs, StageKind};
use mica_storage_loader::{Error, Stage};
use rustix::fs::{Mode, OFlags, fsync, openat, syncfs};
use rustix::io::{Errno, pwrite};

use crate::cases::{Case, reap};
use crate::ground::{Ground, Mounted, key, must_refuse};
use crate::verdict::{Context, Outcome, ensure};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "stage: a quota is kept or refused",
        demands: "With QUOTA_BYTES a write beyond the quota fails with ENOSPC or EDQUOT; without, asking for one is UNSUPPORTED and makes nothing.",
        run: bytes,
    },
    Case {
        name: "quota: inodes are kept or refused",
        demands: "With QUOTA_INODES making more files than granted fails with ENOSPC or EDQUOT; without, asking for it is UNSUPPORTED and makes nothing.",
        run: inodes,
    },
    Case {
        name: "quota: what is deleted can be written again",
        demands: "A container at its limit that deletes a file can write as much again.",
        run: deleted,
    },
    Case {
        name: "quota: a name that is used again starts anew",
        demands: "After a container with a quota is removed and reaped, one of the same name without is not limited, and one with a quota has all of it.",
        run: again,
    },
    Case {
        name: "quota: a layer made of a limited container is not limited",
        demands: "The layer that a promotion makes counts in no quota, and a container on it starts at nothing.",
        run: promoted,
    },
];

const MIB: usize = 1 << 20;
/// Granted to limited containers.
const GRANTED: usize = 8 * MIB;
/// Attempted where it must fail.
const TOO_MUCH: usize = 2 * GRANTED;
/// Granted to limited containers.
const FILES: usize = 64;

#[derive(Clone, Copy)]
enum Quota {
    Bytes,
    Inodes,
}

fn bytes(ground: &Ground<'_>) -> Outcome {
    base(ground)?;
    if !ground.info().caps.contains(Caps::QUOTA_BYTES) {
        return refused(ground, Quota::Bytes);
    }
    limited(ground, "c", &["base"], Quota::Bytes)?;
    let mounted = ground.mount("c", &["base"])?;
    write(&mounted, "within", GRANTED / 2)?.within("half of what was granted")?;
    write(&mounted, "beyond", TOO_MUCH)?.beyond()?;
    // The one beside it has no limit, and what the limited one has is whole.
    ground.container("free", &["base"])?;
    write(&ground.mount("free", &["base"])?, "large", TOO_MUCH)?.within("a container without a quota")?;
    ensure!(mounted.writer().read("within")? == vec![7; GRANTED / 2], "what was written before the limit is damaged");
    Ok(())
}

fn inodes(ground: &Ground<'_>) -> Outcome {
    base(ground)?;
    if !ground.info().caps.contains(Caps::QUOTA_INODES) {
        return refused(ground, Quota::Inodes);
    }
    limited(ground, "c", &["base"], Quota::Inodes)?;
    ground.container("free", &["base"])?;
    let mounted = ground.mount("c", &["base"])?;
    let free = ground.mount("free", &["base"])?;
    let make = |mounted: &Mounted, number: usize| create(mounted, &format!("f{number}")).map(drop);
    // The tree's own directories count as well.
    for number in 0..FILES / 2 {
        make(&mounted, number).doing(|| format!("make file {number} of {FILES} granted"))?;
    }
    let ended = (FILES / 2..2 * FILES).find_map(|number| make(&mounted, number).err());
    Written { ended }.beyond()?;
    for number in 0..2 * FILES {
        make(&free, number).doing(|| format!("make file {number} in a container without a quota"))?;
    }
    Ok(())
}

fn deleted(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::QUOTA_BYTES)?;
    base(ground)?;
    limited(ground, "c", &["base"], Quota::Bytes)?;
    let mounted = ground.mount("c", &["base"])?;
    for round in 0..3 {
        write(&mounted, "beyond", TOO_MUCH)?.beyond()?;
        mounted.writer().remove("beyond")?;
        freed(ground, || write(&mounted, "half", GRANTED / 2), &format!("half of the quota in round {round}"))?;
        mounted.writer().remove("half")?;
    }
    Ok(())
}

fn again(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::QUOTA_BYTES)?;
    base(ground)?;
    limited(ground, "c", &["base"], Quota::Bytes)?;
    write(&ground.mount("c", &["base"])?, "beyond", TOO_MUCH)?.beyond()?;
    ground.remove(ObjectKind::Rw, "c")?;
    ground.container("c", &["base"])?;
    write(&ground.mount("c", &["base"])?, "large", TOO_MUCH)?.within("a container of a limited one's old name")?;
    ground.remove(ObjectKind::Rw, "c")?;
    reap(ground)?;
    limited(ground, "c", &["base"], Quota::Bytes)?;
    write(&ground.mount("c", &["base"])?, "half", GRANTED / 2)?.within("half of a fresh quota")
}

fn promoted(ground: &Ground<'_>) -> Outcome {
    ground.needs(Caps::QUOTA_BYTES | Caps::PROMOTE)?;
    base(ground)?;
    limited(ground, "c", &["base"], Quota::Bytes)?;
    write(&ground.mount("c", &["base"])?, "most", GRANTED / 4 * 3)?.within("three quarters")?;
    ground.promote("c", &["base"], "l")?;
    limited(ground, "d", &["l", "base"], Quota::Bytes)?;
    let mounted = ground.mount("d", &["l", "base"])?;
    write(&mounted, "own", GRANTED / 4 * 3)?.within("three quarters beside what the layer holds")?;
    write(&mounted, "beyond", TOO_MUCH)?.beyond()?;
    ground.container("free", &["l", "base"])?;
    write(&ground.mount("free", &["l", "base"])?, "large", TOO_MUCH)?.within("a container on a promoted layer")
}

fn base(ground: &Ground<'_>) -> Outcome {
    ground.layer("base", &[], |fill| fill.target.file("f", vec![1; MIB]))
}

fn begin(ground: &Ground<'_>, parents: &[&str], quota: Quota) -> Outcome<Result<Stage, Error>> {
    let parents: Vec<Key<'_>> = parents.iter().map(|name| key(name)).collect::<Outcome<_>>()?;
    let mut args = StageArgs::new(StageKind::Rw, key("s")?, &parents);
    match quota {
        Quota::Bytes => args.quota_bytes = GRANTED as u64,
        Quota::Inodes => args.quota_inodes = FILES as u64,
    }
    Ok(ground.driver.stage_begin(&args))
}

/// A failure unless the driver refuses this quota properly.
fn refused(ground: &Ground<'_>, quota: Quota) -> Outcome {
    // Without parents as well: so the engine asks for the reason before it makes anything.
    for parents in [&["base"][..], &[]] {
        must_refuse(begin(ground, parents, quota)?, ErrorKind::Unsupported, "a quota the driver does not claim")?;
        ground.must_list(&[(ObjectKind::Layer, "base")])?;
    }
    Ok(())
}

fn limited(ground: &Ground<'_>, name: &str, parents: &[&str], quota: Quota) -> Outcome {
    let stage = begin(ground, parents, quota)?.doing(|| format!("begin `{name}` on {parents:?} with a quota"))?;
    stage.commit(key(name)?).doing(|| format!("commit `{name}` with a quota"))?;
    Ok(())
}

fn create(mounted: &Mounted, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(mounted.fd(), name, flags, Mode::from_raw_mode(0o644))
}

/// How writing ended.
struct Written {
    ended: Option<Errno>,
}

impl Written {
    fn within(&self, what: &str) -> Outcome {
        ensure!(self.ended.is_none(), "{what} could not be written: {:?}", self.ended);
        Ok(())
    }

    fn beyond(&self) -> Outcome {
        let known = [Errno::NOSPC, Errno::DQUOT];
        ensure!(
            self.ended.is_some_and(|errno| known.contains(&errno)),
            "twice as much as granted ended with {:?}",
            self.ended
        );
        Ok(())
    }
}

/// Writes at the beginning of a file, block by block, each down to the disk.
fn write(mounted: &Mounted, name: &str, bytes: usize) -> Outcome<Written> {
    let file = match create(mounted, name) {
        Ok(file) => file,
        Err(errno) => return Ok(Written { ended: Some(errno) }),
    };
    let block = vec![7; MIB];
    let mut at = 0;
    while at < bytes {
        let part = &block[..MIB.min(bytes - at)];
        match pwrite(&file, part, at as u64).and_then(|written| fsync(&file).map(|()| written)) {
            Ok(written) => at += written,
            Err(errno) => return Ok(Written { ended: Some(errno) }),
        }
    }
    Ok(Written { ended: None })
}

/// Some file systems free in the background what was deleted. Tries until that is done; nothing but giving up is timed.
fn freed(ground: &Ground<'_>, mut attempt: impl FnMut() -> Outcome<Written>, what: &str) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let written = attempt()?;
        if written.ended.is_none() || Instant::now() > deadline {
            return written.within(what);
        }
        let root = fs_err::File::open(&ground.root).doing(|| "open the driver root".to_owned())?;
        syncfs(&root).doing(|| "flush the file system".to_owned())?;
        std::thread::sleep(Duration::from_millis(50));
    }
}
