//! Which ids a container's user namespace gets: chosen at `create`, kept in its record, free again with the record.
//!
//! `auto` takes them from what `/etc/subuid` and `/etc/subgid` give the user `containers`, as Podman does. Ranges of two
//! containers never meet: who chooses holds a lock until the record is there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use mica_storage_api::userns::{self, IdRange, Namespaces};

use crate::bundle::user::read_file;
use crate::container::{
    AutoIds, ContainerRecord, ContainerSpec, IdMap, IdMappings, IpcMode, NetworkMode, PidMode, UsernsMode,
};
use crate::ops::networking::Connected;
use crate::storage::Chain;
use crate::store::containers;
use crate::store::locks::{Lock, LockName};
use crate::{Engine, Error, Kind, Result};

/// Whose subordinate ids are given to containers.
const OWNER: &str = "containers";

/// The fewest and the most ids of a container that says nothing about it, as Podman has it.
const FEWEST: u32 = 1024;
const MOST: u32 = 65_536;

/// The user whom images give the last number of sixteen bits, and who is not worth 64 thousand ids.
const NOBODY: u32 = 65_534;

/// What a container gets.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) ids: Option<IdMappings>,
    // Held until the record says it.
    _lock: Option<Lock>,
}

impl Engine {
    /// Chooses the ids of a container that is being made. Blocks.
    pub(crate) fn choose_ids(&self, spec: &ContainerSpec, user: &str, chain: &Chain) -> Result<Chosen> {
        check(spec, self.options().rootless)?;
        match &spec.userns {
            UsernsMode::Host | UsernsMode::KeepId | UsernsMode::NoMap => Ok(Chosen::default()),
            UsernsMode::Private => {
                let read = |path| fs_err::read_to_string(path).map_err(Error::io("read", path));
                let ids = named(spec, &read)?;
                Ok(Chosen { ids: Some(complete(ids)?), _lock: None })
            }
            UsernsMode::Auto(auto) => {
                let size = match auto.size {
                    Some(size) => size,
                    None => needed(self.view(chain)?.as_fd(), user)?,
                };
                let lock = self.store().lock_exclusive(&LockName::Ids)?;
                let records = self.store().read(containers::all)?;
                let used: Vec<&IdMappings> = records.iter().filter_map(|record| record.ids.as_ref()).collect();
                let ranges = |path| {
                    let text = fs_err::read_to_string(path).unwrap_or_default();
                    let found = subordinate(&text, OWNER);
                    if found.is_empty() { Err(no_range(OWNER, path)) } else { Ok(found) }
                };
                let uids = auto_ids(
                    &ranges("/etc/subuid")?,
                    &used.iter().flat_map(|ids| &ids.uids).copied().collect::<Vec<_>>(),
                    size,
                    &auto.uids,
                );
                let gids = auto_ids(
                    &ranges("/etc/subgid")?,
                    &used.iter().flat_map(|ids| &ids.gids).copied().collect::<Vec<_>>(),
                    size,
                    &auto.gids,
                );
                let (Some(uids), Some(gids)) = (uids, gids) else {
                    return Err(Error::refused(
                        Kind::NoSpace,
                        format!("not enough unused IDs in the user namespace: {size} in a row are not free for user `{OWNER}`"),
                    )
                    .with_hint("remove containers, or give the user longer ranges in /etc/subuid and /etc/subgid"));
                };
                Ok(Chosen { ids: Some(complete(IdMappings { uids, gids })?), _lock: Some(lock) })
            }
        }
    }

    /// The user namespace of a container that is about to start, where it has one of its own, and its network in it.
    pub(crate) async fn join_namespaces(&self, record: &ContainerRecord) -> Result<(Option<OwnedFd>, Connected)> {
        let Some(ids) = record.ids.clone() else { return Ok((None, self.join_networks(record, None).await?)) };
        let joins = record.spec.network == NetworkMode::Networks;
        let Namespaces { user, network } = self.blocking(move |_| make(&ids, joins)).await?;
        Ok((Some(user), self.join_networks(record, network).await?))
    }
}

/// Directories that every machine has, that everybody may pass through, and that no container needs: what of them is mounted
/// in one is a mount that was made on the host. In the monitor's own mount namespace one of them shows something else.
const PLACES: [&str; 7] = ["/mnt", "/srv", "/media", "/opt", "/home", "/var/tmp", "/tmp"];

impl Engine {
    /// Where a container's monitor attaches its root and other mounts: in its run directory, or where root of a user namespace
    /// can pass to it as well. The directories of the run root have modes for one user, so nobody else is let in there.
    pub(crate) fn place_of(&self, record: &ContainerRecord) -> PathBuf {
        let run = self.store().directories(&record.id).run;
        if record.ids.is_none() {
            return run;
        }
        let own =
            [self.store().root(), self.store().run_root()].map(|path| fs_err::canonicalize(path).unwrap_or_default());
        let runtime = record.spec.runtime.as_deref().map(Path::new);
        let free = |place: &&str| {
            let holds = |path: &Path| path.starts_with(*place);
            let is_there = fs_err::symlink_metadata(*place).is_ok_and(|found| found.is_dir());
            is_there && !own.iter().any(|path| holds(path)) && !runtime.is_some_and(holds)
        };
        PLACES.iter().copied().find(free).map_or(run, PathBuf::from)
    }
}

/// A user namespace with the ids.
pub(crate) fn make(ids: &IdMappings, network: bool) -> Result<Namespaces> {
    let ranges = |maps: &[IdMap]| -> Vec<IdRange> {
        maps.iter().map(|map| IdRange { inside: map.inside, outside: map.outside, count: map.count }).collect()
    };
    userns::make(&ranges(&ids.uids), &ranges(&ids.gids), network)
        .map_err(|source| Error::io("make", "a user namespace")(source))
}

/// Refuses what cannot be, in Podman's words.
fn check(spec: &ContainerSpec, rootless: bool) -> Result<()> {
    let refused = |kind, message: &str| Err(Error::refused(kind, message));
    match (&spec.userns, rootless) {
        (UsernsMode::Host, _) => Ok(()),
        (_, true) => Err(Error::refused(
            Kind::Unsupported,
            "a user namespace of its own needs an image with mapped ids, and the kernel maps the ids of mounts for root of \
             the machine alone; without it the whole image would have to be copied",
        )
        .with_hint("without root every container is in a user namespace already, in which root is you: use `--userns host`")),
        _ if joins(spec) => Err(Error::refused(
            Kind::InvalidInput,
            "a container with a user namespace of its own cannot join a namespace of another container, which does not belong \
             to it",
        )
        .with_hint("leave out `--userns`, or `container:` in `--network`, `--ipc` and `--pid`")),
        (UsernsMode::KeepId, _) => refused(Kind::InvalidInput, "keep-id is only supported in rootless mode"),
        (UsernsMode::NoMap, _) => refused(Kind::InvalidInput, "nomap is only supported in rootless mode"),
        (UsernsMode::Private, _) if spec.named_ids.is_empty() => {
            refused(Kind::InvalidInput, "must provide at least one UID or GID mapping to configure a user namespace")
        }
        (UsernsMode::Auto(AutoIds { size: Some(0), .. }), _) => {
            refused(Kind::InvalidInput, "a user namespace of no ids has no root")
        }
        _ => Ok(()),
    }
}

/// Whether the container would share something with another one.
fn joins(spec: &ContainerSpec) -> bool {
    matches!(spec.network, NetworkMode::Container(_))
        || matches!(spec.namespaces.ipc, IpcMode::Container(_))
        || matches!(spec.namespaces.pid, PidMode::Container(_))
}

/// The ids that flags name. What is said of users alone holds for groups too, and the other way round.
fn named(spec: &ContainerSpec, read: &dyn Fn(&'static str) -> Result<String>) -> Result<IdMappings> {
    let flags = &spec.named_ids;
    let both = |own: &Option<String>, other: &Option<String>| own.clone().or_else(|| other.clone());
    let of_name = |name: Option<String>, path: &'static str| -> Result<Vec<IdMap>> {
        let Some(name) = name else { return Ok(Vec::new()) };
        let found = subordinate(&read(path)?, &name);
        if found.is_empty() {
            return Err(no_range(&name, path));
        }
        let mut inside = 0;
        let map = |(outside, count): (u32, u32)| {
            let map = IdMap { inside, outside, count };
            inside += count;
            map
        };
        Ok(found.into_iter().map(map).collect())
    };
    let mut uids = flags.uids.clone();
    let mut gids = flags.gids.clone();
    uids.extend(of_name(both(&flags.subuid_name, &flags.subgid_name), "/etc/subuid")?);
    gids.extend(of_name(both(&flags.subgid_name, &flags.subuid_name), "/etc/subgid")?);
    if uids.is_empty() {
        uids.clone_from(&gids);
    }
    if gids.is_empty() {
        gids.clone_from(&uids);
    }
    Ok(IdMappings { uids, gids })
}

/// Refuses mappings that the kernel or a root file system refuses, with the reason that the kernel does not give.
fn complete(mut ids: IdMappings) -> Result<IdMappings> {
    for (maps, what) in [(&mut ids.uids, "user"), (&mut ids.gids, "group")] {
        maps.sort_unstable();
        let wrong = |message: String| Err(Error::refused(Kind::InvalidInput, message));
        let meet = |(a, b): (u32, u32), (c, d): (u32, u32)| a < c + d && c < a + b;
        for (at, one) in maps.iter().enumerate() {
            for other in &maps[at + 1..] {
                if meet((one.inside, one.count), (other.inside, other.count))
                    || meet((one.outside, one.count), (other.outside, other.count))
                {
                    return wrong(format!("the mappings {one} and {other} of {what} ids overlap"));
                }
            }
        }
        if crate::container::outside(maps, 0).is_none() {
            return wrong(format!("the mapping of {what} ids leaves out 0, to whom a root file system belongs"));
        }
    }
    Ok(ids)
}

/// How many ids an image needs: one more than the highest in its `/etc/passwd` and `/etc/group`, and than that of its user. Both files
/// come from strangers (CVE-2024-9676): they are opened below the root, and long ones or special ones are refused.
fn needed(root: BorrowedFd<'_>, user: &str) -> Result<u32> {
    let highest = |path: &str| -> Result<u32> {
        let text = read_file(root, path)?;
        let ids = text.split(|byte| *byte == b'\n').filter_map(|line| {
            let line = std::str::from_utf8(line).ok()?;
            let mut fields = line.split(':');
            let name = fields.next()?;
            let id: u32 = fields.nth(1)?.parse().ok()?;
            (!matches!(name, "nobody" | "nogroup") && id != NOBODY).then_some(id)
        });
        Ok(ids.max().unwrap_or_default())
    };
    let of_user = user.split(':').filter_map(|part| part.parse().ok()).max().unwrap_or_default();
    let highest = highest("etc/passwd")?.max(highest("etc/group")?).max(of_user);
    Ok(highest.saturating_add(1).clamp(FEWEST, MOST))
}

/// A user's ranges in the text of `/etc/subuid`: where each begins, and how long it is.
fn subordinate(text: &str, owner: &str) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let (name, begin, count) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (name == owner && count > 0 && u32::checked_add(begin, count).is_some()).then_some((begin, count))
    };
    text.lines().filter_map(range).collect()
}

/// The first stretch of a size in the ranges that nobody uses, with the ids that must be there in any case laid over it.
fn auto_ids(ranges: &[(u32, u32)], used: &[IdMap], size: u32, forced: &[IdMap]) -> Option<Vec<IdMap>> {
    // Those are on the host too, and must not be given twice.
    let taken = |begin: u32| {
        let meets = |map: &&IdMap| begin < map.outside + map.count && map.outside < begin + size;
        used.iter().chain(forced).find(meets).map(|map| map.outside + map.count)
    };
    let begin = ranges.iter().find_map(|&(first, count)| {
        let mut begin = first;
        while begin.checked_add(size).is_some_and(|end| end <= first + count) {
            match taken(begin) {
                None => return Some(begin),
                Some(next) => begin = next,
            }
        }
        None
    })?;
    let mut maps = forced.to_vec();
    let mut at = 0;
    let mut holes: Vec<&IdMap> = forced.iter().collect();
    holes.sort_unstable();
    for hole in holes {
        if hole.inside >= size {
            break;
        }
        if hole.inside > at {
            maps.push(IdMap { inside: at, outside: begin + at, count: hole.inside - at });
        }
        at = at.max(hole.inside + hole.count);
    }
    if at < size {
        maps.push(IdMap { inside: at, outside: begin + at, count: size - at });
    }
    Some(maps)
}

fn no_range(owner: &str, path: &str) -> Error {
    Error::refused(
        Kind::InvalidInput,
        format!("cannot find mappings for user \"{owner}\": no ranges found for user \"{owner}\" in {path}"),
    )
    .with_hint(format!("add a line such as `{owner}:2147483647:2147483648` to /etc/subuid and to /etc/subgid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(inside: u32, outside: u32, count: u32) -> IdMap {
        IdMap { inside, outside, count }
    }

    #[test]
    fn free_stretches_are_found_and_never_meet() {
        let ranges = [(1000, 100), (5000, 300)];
        assert_eq!(auto_ids(&ranges, &[], 100, &[]), Some(vec![map(0, 1000, 100)]));
        assert_eq!(auto_ids(&ranges, &[], 101, &[]), Some(vec![map(0, 5000, 101)]));
        assert_eq!(auto_ids(&ranges, &[], 301, &[]), None);
        let mut used = Vec::new();
        while let Some(maps) = auto_ids(&ranges, &used, 90, &[]) {
            for one in &maps {
                assert!(
                    used.iter()
                        .all(|other: &IdMap| one.outside >= other.outside + 90 || other.outside >= one.outside + 90)
                );
            }
            used.extend(maps);
        }
        assert_eq!(used.len(), 4);
        // What a removed container had is there again.
        let gone = used.remove(1);
        assert_eq!(auto_ids(&ranges, &used, 90, &[]), Some(vec![gone]));
        // No line of /etc/subuid is trusted with its numbers.
        assert_eq!(auto_ids(&[(u32::MAX - 10, 10)], &[], u32::MAX, &[]), None);
    }

    #[test]
    fn ids_that_must_be_there_take_their_places() {
        let found = auto_ids(&[(1000, 500)], &[], 100, &[map(50, 77, 2), map(200, 1010, 1)]).unwrap();
        assert_eq!(found, [map(50, 77, 2), map(200, 1010, 1), map(0, 1011, 50), map(52, 1063, 48)]);
        assert!(complete(IdMappings { uids: found.clone(), gids: found }).is_ok());
    }

    #[test]
    fn subordinate_ids_are_of_one_user() {
        let text = "root:1:2\ncontainers:100000:65536\n# containers:5:5\ncontainers:x:1\ncontainers:300000:10\ncontainers:9:0\n";
        assert_eq!(subordinate(text, OWNER), [(100_000, 65_536), (300_000, 10)]);
        assert!(subordinate("", OWNER).is_empty());
    }

    #[test]
    fn flags_complete_each_other_and_contradictions_are_refused() {
        let read = |path: &'static str| {
            Ok(if path.ends_with("subuid") { "dev:1000:5\ndev:2000:5\n" } else { "dev:3000:10\n" }.to_owned())
        };
        let with = |change: &dyn Fn(&mut ContainerSpec)| {
            let mut spec = ContainerSpec { userns: UsernsMode::Private, ..ContainerSpec::default() };
            change(&mut spec);
            named(&spec, &read).and_then(complete)
        };
        let both = with(&|spec| spec.named_ids.uids = vec![map(0, 7, 3)]).unwrap();
        assert_eq!((both.uids, both.gids), (vec![map(0, 7, 3)], vec![map(0, 7, 3)]));
        let of_name = with(&|spec| spec.named_ids.subuid_name = Some("dev".into())).unwrap();
        assert_eq!(of_name.uids, [map(0, 1000, 5), map(5, 2000, 5)]);
        assert_eq!(of_name.gids, [map(0, 3000, 10)]);
        assert_eq!(of_name.root(), (1000, 3000));
        for wrong in [vec![map(1, 7, 3)], vec![map(0, 7, 3), map(2, 90, 1)], vec![map(0, 7, 3), map(3, 9, 1)]] {
            assert_eq!(with(&|spec| spec.named_ids.uids = wrong.clone()).unwrap_err().kind(), Kind::InvalidInput);
        }
        assert!(with(&|spec| spec.named_ids.subuid_name = Some("nobody-else".into())).is_err());
    }

    #[test]
    fn what_root_and_users_cannot_have_is_said() {
        let asked = |userns: UsernsMode| ContainerSpec { userns, ..ContainerSpec::default() };
        for (mode, rootless, words) in [
            (UsernsMode::KeepId, false, "keep-id is only supported in rootless mode"),
            (UsernsMode::NoMap, false, "nomap is only supported in rootless mode"),
            (UsernsMode::Private, false, "must provide at least one UID or GID mapping"),
            (UsernsMode::Auto(AutoIds::default()), true, "the whole image would have to be copied"),
            (UsernsMode::KeepId, true, "the whole image would have to be copied"),
        ] {
            let error = check(&asked(mode), rootless).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        assert!(check(&asked(UsernsMode::Host), true).is_ok());
    }

    #[test]
    fn images_say_how_many_ids_they_need() {
        let root = tempfile::tempdir().unwrap();
        let open = || {
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
            rustix::fs::open(root.path(), flags, rustix::fs::Mode::empty()).unwrap()
        };
        let passwd = root.path().join("etc/passwd");
        fs_err::create_dir(root.path().join("etc")).unwrap();
        assert_eq!(needed(open().as_fd(), "").unwrap(), FEWEST);
        fs_err::write(&passwd, "root:x:0:0::/:\nnobody:x:60000:60000::/:\nx:x:65534:0::/:\nlast:x:4999:1::/:\n")
            .unwrap();
        assert_eq!(needed(open().as_fd(), "").unwrap(), 5000);
        assert_eq!(needed(open().as_fd(), "6000:7000").unwrap(), 7001);
        fs_err::write(root.path().join("etc/group"), "far:x:4000000000:\n").unwrap();
        assert_eq!(needed(open().as_fd(), "").unwrap(), MOST);
        // A link that leads out of the root leads nowhere.
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(outside.path(), "x:x:9999:9999::/:\n").unwrap();
        fs_err::remove_file(root.path().join("etc/group")).unwrap();
        fs_err::remove_file(&passwd).unwrap();
        std::os::unix::fs::symlink(outside.path(), &passwd).unwrap();
        assert_eq!(needed(open().as_fd(), "").unwrap(), FEWEST);
        fs_err::remove_file(&passwd).unwrap();
        fs_err::File::create(&passwd).unwrap().set_len(512 << 20).unwrap();
        assert!(needed(open().as_fd(), "").is_err(), "a file of half a gigabyte");
        fs_err::remove_file(&passwd).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &passwd).unwrap();
        assert_eq!(needed(open().as_fd(), "").unwrap(), FEWEST);
    }
}
