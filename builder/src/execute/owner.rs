//! Names of `--chown` to numbers, by the image's own `/etc/passwd` and `/etc/group`.

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

use mica_layer::beneath;
use rustix::fs::{FileType, Mode, OFlags};

use crate::error::Fault;
use crate::plan::Owner;

/// A longer account file is no account file: an image must not make the builder read without end.
const MAX: u64 = 1 << 20;

/// The owner in numbers; `None` keeps the source's.
pub(super) fn resolve(owner: &Owner, root: BorrowedFd<'_>) -> Result<Option<(u32, u32)>, Fault> {
    match owner {
        Owner::Kept => Ok(None),
        Owner::Ids(user, group) => Ok(Some((*user, *group))),
        Owner::Named { user, group } => {
            let uid = number(user, root, "/etc/passwd", "user")?;
            // The reference: a user without a group gives the group the same number.
            let gid = match group {
                Some(group) => number(group, root, "/etc/group", "group")?,
                None => uid,
            };
            Ok(Some((uid, gid)))
        }
    }
}

fn number(name: &str, root: BorrowedFd<'_>, path: &'static str, what: &str) -> Result<u32, Fault> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = read(root, path)?;
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    found.ok_or_else(|| Fault::Invalid(format!("`--chown`: there is no {what} `{name}` in the image's `{path}`")))
}

/// Reads a small regular file inside the root. A FIFO does not block it, a device is not touched, a link leads nowhere
/// but into the image (CVE-2026-47262).
fn read(root: BorrowedFd<'_>, path: &'static str) -> Result<String, Fault> {
    let files = |source| Fault::Files { operation: "read", path: path.into(), source };
    let refused = |why: &str| Fault::Invalid(format!("the image's `{path}` {why}"));
    let probe = beneath::open(root, Path::new(path), OFlags::PATH, Mode::empty()).map_err(files)?;
    let stat = rustix::fs::fstat(&probe).map_err(|errno| refused(&format!("cannot be read: {errno}")))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refused("is not a regular file"));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = fs_err::File::from_parts(
        beneath::open(root, Path::new(path), flags, Mode::empty()).map_err(files)?.into(),
        path,
    );
    let mut bytes = Vec::new();
    file.take(MAX + 1).read_to_end(&mut bytes).map_err(|error| refused(&format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX {
        return Err(refused("is larger than 1 MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
