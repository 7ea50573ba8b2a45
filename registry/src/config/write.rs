//! Changes of Docker's `config.json`: under a lock, by a whole new file in the old one's place, with everything else in it kept.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use mica_engine::{Error, Result};
use serde_json::{Map, Value, json};

use super::credentials::object;
use super::text::{read, refused};
use crate::credential::Credential;

/// What stands under a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    /// The credential itself, and the user of a token.
    Credential(&'a Credential, &'a str),
    /// A note that a program keeps it.
    Elsewhere,
}

/// Puts entries under keys and takes others away; a file that would not change is not written.
pub(super) fn change(path: &Path, put: Option<(&str, Entry<'_>)>, remove: &[String]) -> Result<()> {
    let path = target(path)?;
    let folder = path.parent().ok_or_else(|| refused(&path, "it is no file"))?;
    if put.is_some() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io("create", folder))?;
    }
    // Two logins at once must not lose each other's. The lock is the folder's own, so nothing is left behind.
    let lock = fs_err::File::open(folder).map_err(Error::io("open", folder))?;
    lock.file().lock().map_err(Error::io("lock", folder))?;
    let before = read(&path)?.unwrap_or_default();
    let mut root = object(&before).map_err(|reason| refused(&path, reason))?;
    let whole = root.clone();
    let mut auths = match root.remove("auths") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(auths)) => auths,
        Some(_) => return Err(refused(&path, "`auths` is not an object")),
    };
    auths.retain(|key, _| !remove.contains(key));
    if let Some((key, entry)) = put {
        auths.insert(key.to_owned(), value(entry));
    }
    if !auths.is_empty() || whole.contains_key("auths") {
        root.insert("auths".to_owned(), auths.into());
    }
    if root == whole { Ok(()) } else { replace(&path, &root) }
}

/// The file itself, where links lead to it: whoever keeps it elsewhere wants it to stay there.
fn target(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        match fs_err::read_link(&path) {
            Ok(to) => path = path.parent().unwrap_or(Path::new("/")).join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(refused(&path, "its symbolic links lead nowhere"))
}

fn value(entry: Entry<'_>) -> Value {
    match entry {
        Entry::Elsewhere => json!({}),
        Entry::Credential(Credential::Basic { user, secret }, _) => {
            json!({ "auth": BASE64.encode(format!("{user}:{secret}")) })
        }
        Entry::Credential(Credential::IdentityToken(token), user) => {
            json!({ "auth": BASE64.encode(format!("{user}:")), "identitytoken": token })
        }
    }
}

fn replace(path: &Path, root: &Map<String, Value>) -> Result<()> {
    let mut text = Vec::new();
    // Docker indents it with tabs, and people read it.
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut text, serde_json::ser::PrettyFormatter::with_indent(b"\t"));
    serde::Serialize::serialize(root, &mut serializer).map_err(|_| refused(path, "it cannot be written as JSON"))?;
    text.push(b'\n');

    let before = fs_err::metadata(path).ok();
    let name = format!(".config.json.{:016x}", fastrand::u64(..));
    let beside = path.with_file_name(name);
    let written = (|| {
        let mut file = fs_err::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.file().set_permissions(std::fs::Permissions::from_mode(0o600))?;
        if let Some(before) = before {
            // Root, who writes for somebody else, leaves the file to that person.
            let now = file.metadata()?;
            if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
                std::os::unix::fs::fchown(file.file(), Some(before.uid()), Some(before.gid()))?;
            }
        }
        file.write_all(&text)?;
        file.sync_all()?;
        fs_err::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = fs_err::remove_file(&beside);
    }
    written.map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str) -> Credential {
        Credential::Basic { user: user.into(), secret: "s".into() }
    }

    fn parsed(path: &Path) -> Value {
        serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn everything_else_in_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/config.json");
        change(&path, None, &["a".to_owned()]).unwrap_err();
        assert!(!path.parent().unwrap().exists(), "what removes makes no folder");
        change(&path, Some(("a", Entry::Credential(&basic("u"), "u"))), &[]).unwrap();
        assert_eq!(parsed(&path), json!({"auths": {"a": {"auth": "dTpz"}}}));
        assert_eq!(fs_err::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs_err::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777, 0o700);

        let text = json!({"auths": {"b": {"email": "x"}}, "psFormat": "table", "proxies": {"default": {"n": 1.5}}});
        fs_err::write(&path, text.to_string()).unwrap();
        let real = folder.path().join("real.json");
        fs_err::rename(&path, &real).unwrap();
        fs_err::os::unix::fs::symlink("../real.json", &path).unwrap();
        fs_err::set_permissions(&real, std::fs::Permissions::from_mode(0o644)).unwrap();
        let token = Credential::IdentityToken("t".into());
        change(&path, Some(("c", Entry::Credential(&token, "u"))), &[]).unwrap();
        change(&path, Some(("d", Entry::Elsewhere)), &[]).unwrap();
        let mut expected = text.clone();
        expected["auths"]["c"] = json!({"auth": "dTo=", "identitytoken": "t"});
        expected["auths"]["d"] = json!({});
        assert_eq!(parsed(&real), expected);
        assert!(fs_err::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs_err::metadata(&real).unwrap().mode() & 0o7777, 0o600);
        change(&path, None, &["c".to_owned(), "d".to_owned()]).unwrap();
        assert_eq!(parsed(&real), text);
        let inode = fs_err::metadata(&real).unwrap().ino();
        change(&path, None, &["c".to_owned()]).unwrap();
        assert_eq!(fs_err::metadata(&real).unwrap().ino(), inode, "nothing to change");
        let names = fs_err::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 2, "nothing is left behind");
    }

    #[test]
    fn a_file_that_is_not_understood_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for text in ["{", "[]", "{\"auths\": []}"] {
            fs_err::write(&path, text).unwrap();
            let error = change(&path, Some(("a", Entry::Elsewhere)), &[]).unwrap_err();
            assert!(error.to_string().contains("config.json"), "{error}");
            assert_eq!(fs_err::read_to_string(&path).unwrap(), text);
        }
        let link = folder.path().join("loop");
        fs_err::os::unix::fs::symlink("loop", &link).unwrap();
        assert!(change(&link, Some(("a", Entry::Elsewhere)), &[]).is_err());
    }

    #[test]
    fn logins_at_the_same_time_do_not_lose_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::thread::scope(|scope| {
            for number in 0..16 {
                let path = &path;
                scope.spawn(move || {
                    change(path, Some((&format!("h{number}"), Entry::Credential(&basic("u"), "u"))), &[]).unwrap();
                });
            }
        });
        assert_eq!(parsed(&path)["auths"].as_object().unwrap().len(), 16);
    }
}
