//! Namespaces that outlived their holder, which somebody killed: containers still run in them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The file in the run root with the inode number of the user namespace (namespaces(7)).
pub const ID: &str = "namespaces.id";

/// A process in the user namespace of a run root, which is this user's.
pub fn find(run_root: &Path) -> Option<i32> {
    let wanted: u64 = fs_err::read_to_string(run_root.join(ID)).ok()?.trim().parse().ok()?;
    let uid = rustix::process::getuid().as_raw().to_string();
    let entries = fs_err::read_dir("/proc").ok()?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let inside = |pid: &i32| {
        let namespace = fs_err::metadata(format!("/proc/{pid}/ns/user")).is_ok_and(|found| found.ino() == wanted);
        // Numbers are used again, after a boot above all; a namespace in which 0 is this user is as good as ours.
        namespace && fs_err::read_to_string(format!("/proc/{pid}/uid_map")).is_ok_and(|map| is_ours(&map, &uid))
    };
    pids.into_iter().find(inside)
}

fn is_ours(map: &str, uid: &str) -> bool {
    map.split_whitespace().take(3).eq(["0", uid, "1"]) && map.lines().count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_ours_by_its_map() {
        for (map, ours) in [
            ("         0       1001          1\n         1     100000      65536\n", true),
            ("         0       1001          1\n", false),
            ("         0          0 4294967295\n", false),
            ("         0       1002          1\n         1     100000      65536\n", false),
            ("", false),
        ] {
            assert_eq!(is_ours(map, "1001"), ours, "{map}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(folder.path()), None);
        fs_err::write(folder.path().join(ID), "1\n").unwrap();
        assert_eq!(find(folder.path()), None);
    }
}
