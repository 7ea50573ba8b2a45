//! Subordinate IDs: what `/etc/subuid` and `/etc/subgid` give a user (subuid(5)), and the map that comes of it.

use std::path::Path;

use crate::error::{Error, Result};

/// Consecutive IDs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The lowest.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// Which of two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Users.
    User,
    /// Groups.
    Group,
}

impl Kind {
    /// The file that gives them.
    pub fn path(self) -> &'static Path {
        Path::new(match self {
            Self::User => "/etc/subuid",
            Self::Group => "/etc/subgid",
        })
    }

    /// The program that may map them.
    pub fn program(self) -> &'static str {
        match self {
            Self::User => "newuidmap",
            Self::Group => "newgidmap",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::User => "user ID",
            Self::Group => "group ID",
        }
    }
}

/// The arguments for the mapping program: `id`, the user's own or that of the user's group, becomes 0, and the ranges follow
/// from 1 on.
pub fn map(kind: Kind, (user, uid): (&str, u32), id: u32) -> Result<Vec<String>> {
    let text = fs_err::read_to_string(kind.path()).unwrap_or_default();
    let ranges = ranges(&text, user, uid);
    if ranges.is_empty() {
        return Err(Error::NoIds { user: user.to_owned(), kind: kind.noun(), path: kind.path().to_owned() });
    }
    let mut words = vec![0, id, 1];
    let mut inside: u32 = 1;
    for range in ranges {
        words.extend([inside, range.first, range.count]);
        inside = inside.saturating_add(range.count);
    }
    Ok(words.iter().map(u32::to_string).collect())
}

/// A user's ranges, by name or number. The file for groups names users too.
fn ranges(text: &str, user: &str, uid: u32) -> Vec<Range> {
    let number = uid.to_string();
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        ((owner == user || owner == number) && count > 0 && fields.next().is_none()).then_some(Range { first, count })
    };
    text.lines().filter_map(range).collect()
}

/// The name of the user whom this process belongs to, as the machine's files have it, or else the number.
pub fn user_name(uid: u32) -> String {
    let found = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    found.map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let text =
            "# ranges\nalice:100000:65536\nbob:165536:65536\n1001:300000:10\nalice:x:1\nalice:5:0\nalice:1:2:3\n";
        let range = |first, count| Range { first, count };
        for (user, uid, wanted) in [
            ("alice", 1001, vec![range(100_000, 65536), range(300_000, 10)]),
            ("alice", 9, vec![range(100_000, 65536)]),
            ("bob", 7, vec![range(165_536, 65536)]),
            ("carol", 8, vec![]),
        ] {
            assert_eq!(ranges(text, user, uid), wanted, "{user} {uid}");
        }
    }

    #[test]
    fn who_has_none_is_told_where_they_go() {
        let error = map(Kind::User, ("nobody-has-this-name", 4_000_000_000), 4_000_000_000).expect_err("no range");
        assert_eq!(error.to_string(), "user `nobody-has-this-name` has no subordinate user IDs in `/etc/subuid`");
        assert!(error.hint().is_some_and(|hint| hint.contains("nobody-has-this-name:100000:65536")));
    }
}
