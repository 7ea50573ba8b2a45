//! Who a process runs as: `user[:group]` against the root's own `/etc/passwd` and `/etc/group`.
//!
//! Both files come from strangers. A number is always that number, whatever the files call it (CVE-2024-40635), and one
//! out of range is refused instead of wrapping round to root; the text of a file is never passed on but a home directory.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use mica_layer::beneath;
use rustix::fs::{FileType, Mode, OFlags};

use crate::{Error, Kind, Result};

/// No honest file is larger (CVE-2026-47262).
const FILE_MAX: u64 = 1 << 20;

/// User IDs the kernel accepts; the highest means "no change".
const ID_MAX: u32 = i32::MAX as u32;

/// Who a process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
    /// Supplementary groups, the primary one first (CVE-2022-36109).
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// Finds a user in a root file system, with the groups in `add` besides its own.
pub fn lookup(root: impl AsFd, user: &str, add: &[String]) -> Result<Identity> {
    let passwd = read_file(root.as_fd(), "etc/passwd")?;
    let group = read_file(root.as_fd(), "etc/group")?;
    resolve(user, add, &passwd, &group)
}

/// Finds a user in the text of the two files.
pub fn resolve(user: &str, add: &[String], passwd: &[u8], group: &[u8]) -> Result<Identity> {
    let (user_part, group_part) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let passwd = lines(passwd).filter_map(PasswdEntry::parse);
    let entry = match number(user_part)? {
        _ if user_part.is_empty() => {
            Some(passwd.into_iter().find(|entry| entry.uid == 0).unwrap_or(PasswdEntry::root()))
        }
        Some(uid) => passwd.into_iter().find(|entry| entry.uid == uid).or(Some(PasswdEntry::nameless(uid))),
        None => passwd.into_iter().find(|entry| entry.name == user_part),
    };
    let Some(entry) = entry else {
        return Err(missing("user", user_part, "passwd"));
    };
    let groups: Vec<GroupEntry> = lines(group).filter_map(GroupEntry::parse).collect();
    let mut identity = Identity { uid: entry.uid, gid: entry.gid, groups: Vec::new(), home: entry.home.to_owned() };
    match group_part.filter(|group| !group.is_empty()) {
        Some(name) => {
            identity.gid = find_group(name, &groups)?;
            identity.groups.push(identity.gid);
        }
        None => {
            identity.groups.push(identity.gid);
            let member =
                |group: &&GroupEntry| !entry.name.is_empty() && group.members.split(',').any(|m| m == entry.name);
            identity.groups.extend(groups.iter().filter(member).map(|group| group.gid));
        }
    }
    for name in add {
        identity.groups.push(find_group(name, &groups)?);
    }
    let mut seen = std::collections::HashSet::new();
    identity.groups.retain(|gid| seen.insert(*gid));
    Ok(identity)
}

/// Reads a small regular file below `root`; a missing one is empty.
pub fn read_file(root: impl AsFd, path: &str) -> Result<Vec<u8>> {
    let shown = Path::new("/").join(path);
    // O_PATH first: opening a FIFO or a device for reading may wait for ever or have effects.
    let found = match beneath::open(root, Path::new(path), OFlags::PATH, Mode::empty()) {
        Ok(found) => found,
        Err(error) if error.kind() == mica_layer::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(Error::Layer {
                operation: "look into the root file system of",
                layer: shown.display().to_string(),
                source,
            });
        }
    };
    let stat = rustix::fs::fstat(&found).map_err(|errno| Error::io("look at", &shown)(errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::refused(
            Kind::InvalidInput,
            format!("`{}` of the image is not a regular file", shown.display()),
        ));
    }
    if stat.st_size as u64 > FILE_MAX {
        return Err(Error::refused(
            Kind::InvalidInput,
            format!("`{}` of the image is larger than 1 MiB", shown.display()),
        ));
    }
    let open = rustix::fs::open(
        format!("/proc/self/fd/{}", found.as_raw_fd()),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| Error::io("open", &shown)(errno.into()))?;
    let mut bytes = Vec::with_capacity(stat.st_size as usize);
    let mut file = std::fs::File::from(open);
    std::io::Read::read_to_end(&mut std::io::Read::take(&mut file, FILE_MAX), &mut bytes)
        .map_err(Error::io("read", &shown))?;
    Ok(bytes)
}

#[derive(Debug, Clone, Copy)]
struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdEntry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or_default();
        let home = if home.starts_with('/') { home } else { "/" };
        Some(Self { name, uid: digits(uid)?, gid: digits(gid)?, home })
    }

    fn root() -> Self {
        Self { name: "root", uid: 0, gid: 0, home: "/root" }
    }

    fn nameless(uid: u32) -> Self {
        if uid == 0 { Self::root() } else { Self { name: "", uid, gid: 0, home: "/" } }
    }
}

#[derive(Debug)]
struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> GroupEntry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self { name, gid: digits(gid)?, members: fields.next().unwrap_or_default() })
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()).map(str::trim)
}

fn digits(text: &str) -> Option<u32> {
    let ascii = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if ascii { text.parse().ok().filter(|id| *id <= ID_MAX) } else { None }
}

/// `None` for what is a name; an error for what is a number that cannot be an ID.
fn number(text: &str) -> Result<Option<u32>> {
    let numeric = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match digits(text) {
        None if numeric => Err(Error::refused(
            Kind::InvalidInput,
            format!("`{}`: user and group IDs must be in the range 0-{ID_MAX}", text.escape_debug()),
        )),
        found => Ok(found),
    }
}

fn find_group(name: &str, groups: &[GroupEntry<'_>]) -> Result<u32> {
    match number(name)? {
        Some(gid) => Ok(gid),
        None => groups
            .iter()
            .find(|group| group.name == name)
            .map(|group| group.gid)
            .ok_or_else(|| missing("group", name, "group")),
    }
}

fn missing(what: &str, name: &str, file: &str) -> Error {
    let name: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    Error::refused(Kind::InvalidInput, format!("unable to find {what} `{name}`: no matching entries in {file} file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/evil:\napp:x:1000:1001:App:/home/app:/bin/sh\nhuge:x:4294967296:0::/:\nrel:x:7:7::home:\n";
    const GROUP: &[u8] = b"root:x:0:\nwheel:x:10:root,app\nusers:x:100:app\nstaff:x:50:\n";

    fn found(user: &str, add: &[&str]) -> (u32, u32, Vec<u32>, String) {
        let add: Vec<String> = add.iter().map(|group| (*group).to_owned()).collect();
        let identity = resolve(user, &add, PASSWD, GROUP).unwrap();
        (identity.uid, identity.gid, identity.groups, identity.home)
    }

    #[test]
    fn users_resolve_as_docker_does() {
        assert_eq!(found("", &[]), (0, 0, vec![0, 10], "/root".into()));
        assert_eq!(found("root", &[]), (0, 0, vec![0, 10], "/root".into()));
        assert_eq!(found("app", &[]), (1000, 1001, vec![1001, 10, 100], "/home/app".into()));
        // A user whose name is a number does not lend its ID to that number.
        assert_eq!(found("1000", &[]), (1000, 1001, vec![1001, 10, 100], "/home/app".into()));
        assert_eq!(found("app:staff", &["100", "wheel"]), (1000, 50, vec![50, 100, 10], "/home/app".into()));
        assert_eq!(found("4242", &[]), (4242, 0, vec![0], "/".into()));
        assert_eq!(found("4242:7", &[]), (4242, 7, vec![7], "/".into()));
        assert_eq!(found("rel", &[]), (7, 7, vec![7], "/".into()));
    }

    #[test]
    fn what_is_no_user_is_refused() {
        for user in [
            "4294967296",
            "4294967295",
            "2147483648",
            "-1",
            "0x0",
            "+0",
            "\u{ff10}",
            "huge",
            "nobody",
            "app:nogroup",
            "root:4294967296",
            " 0",
        ] {
            let error = resolve(user, &[], PASSWD, GROUP).expect_err(user);
            assert_eq!(error.kind(), Kind::InvalidInput, "{user}");
        }
    }

    #[test]
    fn hostile_files_are_refused_and_missing_ones_are_empty() {
        let dir = tempfile::tempdir().unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert_eq!(
            lookup(&root, "", &[]).unwrap(),
            Identity { groups: vec![0], home: "/root".into(), ..Identity::default() }
        );
        fs_err::create_dir(dir.path().join("etc")).unwrap();
        rustix::fs::mknodat(&root, "etc/passwd", FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(lookup(&root, "", &[]).unwrap_err().kind(), Kind::InvalidInput);
        fs_err::remove_file(dir.path().join("etc/passwd")).unwrap();
        let file =
            std::fs::OpenOptions::new().create_new(true).write(true).open(dir.path().join("etc/passwd")).unwrap();
        file.set_len(512 << 20).unwrap();
        assert!(lookup(&root, "", &[]).unwrap_err().to_string().contains("larger"));
        fs_err::remove_file(dir.path().join("etc/passwd")).unwrap();
        // The link leads to the root's own file, which does not exist, and not to the host's.
        rustix::fs::symlinkat("/etc/group", &root, "etc/passwd").unwrap();
        assert_eq!(lookup(&root, "0", &[]).unwrap().uid, 0);
    }
}
