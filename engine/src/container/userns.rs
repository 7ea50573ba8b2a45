//! The user namespace of a container: what a person can ask for, in Podman's words, and what comes of it, the mapping of ids.

use serde::{Deserialize, Serialize};

use crate::{Error, Kind, Result};

/// Who the kernel says owns what belongs to nobody of a namespace.
const NOBODY: u32 = 65_534;

/// The user namespace that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsernsMode {
    /// The host's: root in the container is root on the host, held by capabilities and seccomp.
    #[default]
    Host,
    /// One with ids that no other container has.
    Auto(AutoIds),
    /// One with the ids that are named beside it.
    Private,
    /// One in which the user who calls keeps the ID, which is for users without privileges.
    KeepId,
    /// One without the user who calls, which is for users without privileges.
    NoMap,
}

/// What `auto` is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoIds {
    /// How many ids; as many as the image needs when `None`.
    pub size: Option<u32>,
    /// User IDs that must be in it, in any case.
    pub uids: Vec<IdMap>,
    /// Group IDs that must be in it, in any case.
    pub gids: Vec<IdMap>,
}

/// Flags beside `--userns` that name ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamedIds {
    /// `--uidmap`
    pub uids: Vec<IdMap>,
    /// `--gidmap`
    pub gids: Vec<IdMap>,
    /// `--subuidname`
    pub subuid_name: Option<String>,
    /// `--subgidname`
    pub subgid_name: Option<String>,
}

impl NamedIds {
    /// True when none of the flags was given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A stretch of ids of a container, and where it begins on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IdMap {
    /// The first id in the container.
    pub inside: u32,
    /// The id on the host that it stands for.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl std::fmt::Display for IdMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.inside, self.outside, self.count)
    }
}

/// The mapping of a container that has a user namespace of its own. It keeps it for its life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMappings {
    /// Users.
    pub uids: Vec<IdMap>,
    /// Groups.
    pub gids: Vec<IdMap>,
}

impl IdMappings {
    /// Who root of the container is on the host.
    pub fn root(&self) -> (u32, u32) {
        // A mapping without root is refused when it is made.
        (outside(&self.uids, 0).unwrap_or_default(), outside(&self.gids, 0).unwrap_or_default())
    }

    /// Who an owner in the container is on the host; root of the container for those whom it does not have.
    pub fn to_outside(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        let root = self.root();
        (outside(&self.uids, uid).unwrap_or(root.0), outside(&self.gids, gid).unwrap_or(root.1))
    }

    /// Who an owner on the host is in the container; nobody for those whom it does not have.
    pub fn to_inside(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        let inside = |maps: &[IdMap], id: u32| {
            let turned: Vec<IdMap> =
                maps.iter().map(|map| IdMap { inside: map.outside, outside: map.inside, ..*map }).collect();
            outside(&turned, id).unwrap_or(NOBODY)
        };
        (inside(&self.uids, uid), inside(&self.gids, gid))
    }

    /// True when the group is one of the container's.
    pub fn has_group(&self, gid: u32) -> bool {
        outside(&self.gids, gid).is_some()
    }
}

/// What an id of the container is on the host.
pub fn outside(maps: &[IdMap], id: u32) -> Option<u32> {
    let map = maps.iter().find(|map| id.checked_sub(map.inside).is_some_and(|at| at < map.count))?;
    Some(map.outside + (id - map.inside))
}

/// `--userns`.
pub fn parse_userns(text: &str) -> Result<UsernsMode> {
    let (mode, options) = match text.split_once(':') {
        Some((mode, options)) => (mode, Some(options)),
        None => (text, None),
    };
    let plain = |found: UsernsMode| if options.is_none() { Ok(found) } else { Err(invalid(text)) };
    match mode {
        "" | "host" => plain(UsernsMode::Host),
        "private" => plain(UsernsMode::Private),
        "nomap" => plain(UsernsMode::NoMap),
        "auto" => options
            .unwrap_or_default()
            .split(',')
            .filter(|option| !option.is_empty())
            .try_fold(AutoIds::default(), |mut auto, option| {
                match option.split_once('=') {
                    Some(("size", size)) => auto.size = Some(size.parse().map_err(|_| invalid(text))?),
                    Some(("uidmapping", map)) => auto.uids.push(parse_id_map(map)?),
                    Some(("gidmapping", map)) => auto.gids.push(parse_id_map(map)?),
                    _ => return Err(invalid(text)),
                }
                Ok(auto)
            })
            .map(UsernsMode::Auto),
        // Its options change who the user is, and nothing of why it is refused.
        "keep-id" => Ok(UsernsMode::KeepId),
        "container" | "ns" => Err(Error::refused(
            Kind::Unsupported,
            format!(
                "`--userns {mode}:` is not supported: a container here has a user namespace of its own or the host's"
            ),
        )
        .with_hint("give both containers one mapping with `--uidmap` and `--gidmap`")),
        _ => Err(invalid(text)),
    }
}

/// `CONTAINER:HOST[:SIZE]` of `--uidmap` and `--gidmap`.
pub fn parse_id_map(text: &str) -> Result<IdMap> {
    let wrong = || {
        Error::refused(Kind::InvalidInput, format!("invalid mapping of ids: `{text}`"))
            .with_hint("write it as CONTAINER:HOST[:SIZE]")
    };
    let numbers: Vec<u32> = text.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let (inside, outside, count) = match numbers[..] {
        [inside, outside] => (inside, outside, 1),
        [inside, outside, count] if count > 0 => (inside, outside, count),
        _ => return Err(wrong()),
    };
    // The last number is no id: it means that nothing changes.
    if inside.checked_add(count).is_none() || outside.checked_add(count).is_none() {
        return Err(wrong());
    }
    Ok(IdMap { inside, outside, count })
}

fn invalid(text: &str) -> Error {
    Error::refused(Kind::InvalidInput, format!("invalid user namespace mode: `{text}`"))
        .with_hint("it is host, auto[:size=,uidmapping=,gidmapping=] or private")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_podmans() {
        let map = IdMap { inside: 0, outside: 1000, count: 1 };
        let auto = |size, uids: &[IdMap]| UsernsMode::Auto(AutoIds { size, uids: uids.to_vec(), gids: Vec::new() });
        for (text, wanted) in [
            ("", UsernsMode::Host),
            ("host", UsernsMode::Host),
            ("private", UsernsMode::Private),
            ("auto", auto(None, &[])),
            ("auto:size=2000", auto(Some(2000), &[])),
            ("auto:uidmapping=0:1000:1,size=10", auto(Some(10), &[map])),
            ("keep-id:uid=7,gid=8", UsernsMode::KeepId),
            ("nomap", UsernsMode::NoMap),
        ] {
            assert_eq!(parse_userns(text).unwrap(), wanted, "{text}");
        }
        for (text, kind) in [
            ("host:x", Kind::InvalidInput),
            ("auto:size=-1", Kind::InvalidInput),
            ("auto:colour=red", Kind::InvalidInput),
            ("remap", Kind::InvalidInput),
            ("container:web", Kind::Unsupported),
            ("ns:/proc/1/ns/user", Kind::Unsupported),
        ] {
            assert_eq!(parse_userns(text).unwrap_err().kind(), kind, "{text}");
        }
    }

    #[test]
    fn mappings_are_stretches() {
        assert_eq!(parse_id_map("5:1005").unwrap(), IdMap { inside: 5, outside: 1005, count: 1 });
        assert_eq!(parse_id_map("0:100000:65536").unwrap().to_string(), "0:100000:65536");
        for wrong in ["", "1", "0:1:0", "0:1:2:3", "a:1:2", "@5:1:1", "4294967295:0:1", "0:4294967290:10"] {
            assert_eq!(parse_id_map(wrong).unwrap_err().kind(), Kind::InvalidInput, "{wrong}");
        }
        let maps = [parse_id_map("0:1000:10").unwrap(), parse_id_map("10:5000:2").unwrap()];
        for (id, wanted) in [(0, Some(1000)), (9, Some(1009)), (10, Some(5000)), (11, Some(5001)), (12, None)] {
            assert_eq!(outside(&maps, id), wanted, "{id}");
        }
        let ids = IdMappings { uids: maps.to_vec(), gids: vec![parse_id_map("0:7:3").unwrap()] };
        for (inside, outside) in [((0, 0), (1000, 7)), ((11, 2), (5001, 9))] {
            assert_eq!(ids.to_outside(inside), outside);
            assert_eq!(ids.to_inside(outside), inside);
        }
        assert_eq!((ids.to_outside((500, 3)), ids.to_inside((0, 0))), ((1000, 7), (65_534, 65_534)));
    }

    #[test]
    fn what_was_stored_before_is_read() {
        assert_eq!(serde_json::from_str::<UsernsMode>("\"host\"").unwrap(), UsernsMode::Host);
        let auto = UsernsMode::Auto(AutoIds { size: Some(5), ..AutoIds::default() });
        let text = serde_json::to_string(&auto).unwrap();
        assert_eq!(serde_json::from_str::<UsernsMode>(&text).unwrap(), auto);
    }
}
