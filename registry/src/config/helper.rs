//! Programs that keep secrets, `docker-credential-NAME`: one process a question, JSON on its streams.
//!
//! The protocol is that of docker-credential-helpers: `get`, `store` and `erase` take a server (or a credential) on standard
//! input; what goes wrong is said on standard output with a code other than 0.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mica_engine::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::credential::Credential;
use crate::failure::shown;

/// The most bytes of an answer.
const ANSWER_MAX: u64 = 1 << 20;
/// What stands in place of a user when the secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// How programs say that they have nothing, which is no failure.
const NOTHING: &str = "credentials not found in native keychain";

/// A program that was found.
#[derive(Debug)]
pub(super) struct Helper {
    name: String,
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server: String,
    #[serde(default)]
    username: String,
    secret: String,
}

impl Helper {
    /// Finds `docker-credential-NAME` on a search path.
    pub(super) fn find(name: &str, search_path: &OsStr) -> Result<Helper> {
        let program = format!("docker-credential-{name}");
        let missing = |reason: &str| {
            Error::refused(Kind::NotFound, format!("cannot use the credential helper `{}`: {reason}", shown(&program)))
                .with_hint("install it, or take it out of `credsStore` or `credHelpers` and log in again")
        };
        if name.is_empty() || name.contains(['/', '\0']) {
            return Err(missing("that is not the name of one"));
        }
        let candidates = std::env::split_paths(search_path).map(|folder| folder.join(&program));
        let path = candidates.into_iter().find(|path| path.is_absolute() && is_executable(path));
        path.map(|path| Helper { name: program.clone(), path }).ok_or_else(|| missing("it is not in `PATH`"))
    }

    /// The credential for a server, if it keeps one.
    pub(super) async fn get(&self, server: &str) -> Result<Option<Credential>> {
        let (fine, output) = self.ask("get", server.as_bytes()).await?;
        if !fine {
            let words = String::from_utf8_lossy(&output);
            return if words.contains(NOTHING) { Ok(None) } else { Err(self.failed("get", &words, "")) };
        }
        // What the answer holds is secret, so nothing of it is repeated.
        let entry: Entry = serde_json::from_slice(&output)
            .map_err(|_| self.failed("get", "its answer is not a credential in JSON", ""))?;
        Ok(match (entry.username.as_str(), entry.secret) {
            (_, secret) if secret.is_empty() => None,
            (TOKEN_USER, secret) => Some(Credential::IdentityToken(secret)),
            (user, secret) => Some(Credential::Basic { user: user.to_owned(), secret }),
        })
    }

    /// Hands a credential over.
    pub(super) async fn store(&self, server: &str, credential: &Credential) -> Result<()> {
        let (username, secret) = match credential {
            Credential::Basic { user, secret } => (user.clone(), secret.clone()),
            Credential::IdentityToken(token) => (TOKEN_USER.to_owned(), token.clone()),
        };
        let entry = Entry { server: server.to_owned(), username, secret };
        let text = serde_json::to_vec(&entry).map_err(|_| self.failed("store", "the credential is not text", ""))?;
        let (fine, output) = self.ask("store", &text).await?;
        if fine { Ok(()) } else { Err(self.failed("store", &String::from_utf8_lossy(&output), &entry.secret)) }
    }

    /// Forgets a credential; false when there was none.
    pub(super) async fn erase(&self, server: &str) -> Result<bool> {
        if self.get(server).await?.is_none() {
            return Ok(false);
        }
        let (fine, output) = self.ask("erase", server.as_bytes()).await?;
        if fine { Ok(true) } else { Err(self.failed("erase", &String::from_utf8_lossy(&output), "")) }
    }

    /// One question: whether it went well, and what was said.
    async fn ask(&self, verb: &str, input: &[u8]) -> Result<(bool, Vec<u8>)> {
        let broken = |error: std::io::Error| self.failed(verb, &error.to_string(), "");
        // The umask of this whole program is 0, and what a helper writes is nobody else's to read.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 077 && exec \"$0\" \"$1\""]).arg(&self.path).arg(verb);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(broken)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // One that does not read its input says itself what it makes of that.
                let _ = stdin.write_all(input).await;
            }
        };
        let mut output = Vec::new();
        let read = async {
            match stdout {
                Some(stdout) => stdout.take(ANSWER_MAX).read_to_end(&mut output).await.map(drop),
                None => Ok(()),
            }
        };
        let ((), read) = tokio::join!(feed, read);
        read.map_err(broken)?;
        let status = child.wait().await.map_err(broken)?;
        tracing::debug!(helper = self.name, verb, code = status.code(), "credential helper");
        Ok((status.success(), output))
    }

    fn failed(&self, verb: &str, words: &str, secret: &str) -> Error {
        let escaped = serde_json::to_string(secret).unwrap_or_default();
        let mut words = words.to_owned();
        for secret in [secret, escaped.trim_matches('"')].into_iter().filter(|secret| !secret.is_empty()) {
            words = words.replace(secret, "***");
        }
        let words = shown(words.trim());
        let reason = if words.is_empty() { "it does not say why" } else { &words };
        Error::refused(Kind::Unavailable, format!("the credential helper `{}` failed to {verb}: {reason}", self.name))
            .with_hint("mend it, or take it out of `credsStore` or `credHelpers` and log in again")
    }
}

fn is_executable(path: &Path) -> bool {
    fs_err::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use fs_err::os::unix::fs::OpenOptionsExt as _;
    use std::io::Write as _;

    use super::*;

    fn helper(folder: &Path, name: &str, script: &str) -> Result<Helper> {
        let path = folder.join(format!("docker-credential-{name}"));
        let mut file = fs_err::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path).unwrap();
        write!(file, "#!/bin/sh\n{script}\n").unwrap();
        drop(file);
        Helper::find(name, folder.as_os_str())
    }

    #[tokio::test]
    async fn answers_are_credentials_or_nothing_or_failures_without_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let basic = Credential::Basic { user: "u".into(), secret: "hunter2".into() };
        let entry = |user: &str| format!(r#"echo '{{"ServerURL":"s","Username":"{user}","Secret":"hunter2"}}'"#);
        for (name, script, expected) in [
            ("basic", entry("u"), Ok(Some(basic.clone()))),
            ("token", entry("<token>"), Ok(Some(Credential::IdentityToken("hunter2".into())))),
            ("nothing", format!("echo {NOTHING}; exit 1"), Ok(None)),
            ("empty", r#"echo '{"Username":"","Secret":""}'"#.to_owned(), Ok(None)),
            ("locked", "echo the keyring is locked; exit 1".to_owned(), Err("failed to get: the keyring is locked")),
            ("silent", "exit 3".to_owned(), Err("failed to get: it does not say why")),
            ("garbage", "echo hunter2".to_owned(), Err("failed to get: its answer is not a credential in JSON")),
            ("shape", r#"echo '{"Username":"u","Secret":["hunter2"]}'"#.to_owned(), Err("is not a credential in JSON")),
        ] {
            let found = helper(folder.path(), name, &script).unwrap().get("s").await;
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{name}"),
                (Err(error), Err(words)) => {
                    let text = error.to_string();
                    assert!(text.contains(words) && text.contains(name) && !text.contains("hunter2"), "{text}");
                    assert!(error.hint().is_some());
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
        let echoing = helper(folder.path(), "echoing", "cat; exit 1").unwrap();
        let error = echoing.store("s", &basic).await.unwrap_err().to_string();
        assert!(error.contains("***") && !error.contains("hunter2"), "{error}");
        // What it reads, with which umask, and by which words.
        let store = folder.path().join("kept");
        let script = format!("umask > {0}.umask; echo \"$1\" > {0}; cat >> {0}", store.display());
        helper(folder.path(), "keeping", &script).unwrap().store("s", &basic).await.unwrap();
        let kept = fs_err::read_to_string(&store).unwrap();
        assert_eq!(kept, "store\n{\"ServerURL\":\"s\",\"Username\":\"u\",\"Secret\":\"hunter2\"}");
        assert_eq!(fs_err::read_to_string(store.with_extension("umask")).unwrap().trim(), "0077");
    }

    #[test]
    fn helpers_are_on_the_search_path_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("docker-credential-plain"), "").unwrap();
        let path = OsString::from(format!("/does/not/exist:{}:relative", folder.path().display()));
        for name in ["plain", "absent", "", "../../bin/sh", "a/b"] {
            let error = Helper::find(name, &path).unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound, "{name}");
            assert!(error.to_string().contains("docker-credential-") && error.hint().is_some(), "{error}");
        }
    }
}
