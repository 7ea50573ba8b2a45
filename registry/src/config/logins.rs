//! [`Logins`]: every file with credentials in its order, as [`Credentials`]; and logging in and out, which changes Docker's.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use mica_engine::{Error, Kind, Reference, Result};

use super::Sources;
use super::credentials::{CredentialFile, Source, key_of};
use super::helper::Helper;
use super::text::{read, refused};
use super::write::{Entry, change};
use crate::credential::{Credential, Credentials};

/// The files with credentials and the programs they name.
#[derive(Debug, Clone)]
pub struct Logins {
    sources: Sources,
}

/// Where a login was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In a file, where whoever can read the file can read it.
    InFile(PathBuf),
    /// By a program.
    ByHelper(String),
}

/// What a logout came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// True when there was something to forget.
    pub any: bool,
    /// Files of other tools that still know the registry.
    pub still_in: Vec<PathBuf>,
}

/// The registry that somebody means who logs in: `https://HOST/v1/` is `HOST`, nothing is Docker Hub.
pub fn registry_of(server: Option<&str>) -> Result<String> {
    let Some(server) = server.filter(|server| !server.is_empty()) else { return Ok("docker.io".to_owned()) };
    let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    let host = bare.split('/').next().unwrap_or_default();
    // A reference takes a first part for a host by its dot or port, and what is logged in to is always one.
    let named = Reference::parse_name(&format!("{host}/mica"));
    let fits = named.as_ref().is_ok_and(|named| named.domain() == host || host == "index.docker.io");
    if !fits {
        let shown: String = server.chars().take(200).flat_map(char::escape_debug).collect();
        return Err(Error::refused(Kind::InvalidInput, format!("`{shown}` is not the name of a registry"))
            .with_hint("it is HOST or HOST:PORT; a host without a dot needs its port"));
    }
    Ok(named?.domain().to_owned())
}

impl Logins {
    /// Those of these files.
    pub fn new(sources: Sources) -> Logins {
        Logins { sources }
    }

    /// Stores a credential that has proved right. `user` is whose it is.
    pub async fn store(&self, registry: &str, user: &str, credential: &Credential) -> Result<Kept> {
        let path = self.docker_config()?;
        let key = key_of(registry);
        let file = file(path)?.unwrap_or_default();
        let Some(name) = file.program(registry) else {
            change(path, Some((&key, Entry::Credential(credential, user))), &[])?;
            return Ok(Kept::InFile(path.to_owned()));
        };
        self.helper(name)?.store(&key, credential).await?;
        // A secret that lay in the file before is one too many.
        change(path, Some((&key, Entry::Elsewhere)), &[])?;
        Ok(Kept::ByHelper(format!("docker-credential-{name}")))
    }

    /// Forgets a registry's credential, wherever Docker's file says that it is.
    pub async fn erase(&self, registry: &str) -> Result<Removed> {
        let mut removed = Removed::default();
        if let Ok(path) = self.docker_config()
            && let Some(file) = file(path)?
        {
            let keys = file.keys(registry);
            if let Some(name) = file.program(registry) {
                removed.any = self.helper(name)?.erase(&key_of(registry)).await?;
            }
            removed.any |= !keys.is_empty();
            if !keys.is_empty() {
                change(path, None, &keys)?;
            }
        }
        for path in &self.sources.auth_files {
            let knows = file(path)?.is_some_and(|file| !file.sources(registry, "").is_empty());
            if knows && self.sources.docker_config.as_ref() != Some(path) {
                removed.still_in.push(path.clone());
            }
        }
        Ok(removed)
    }

    fn docker_config(&self) -> Result<&Path> {
        self.sources.docker_config.as_deref().ok_or_else(|| {
            Error::refused(Kind::NotFound, "there is no place for credentials")
                .with_hint("set `HOME` or `DOCKER_CONFIG`")
        })
    }

    fn helper(&self, name: &str) -> Result<Helper> {
        Helper::find(name, &self.sources.search_path)
    }
}

#[async_trait]
impl Credentials for Logins {
    async fn for_repository(&self, registry: &str, path: &str) -> Result<Option<Credential>> {
        for place in self.sources.docker_config.iter().chain(&self.sources.auth_files) {
            let Some(file) = file(place)? else { continue };
            for source in file.sources(registry, path) {
                let found = match source {
                    Source::Here(credential) => Some(credential),
                    // A helper that fails is an error and no reason to look elsewhere: what is elsewhere may be
                    // somebody else's (CVE-2021-41092 was of that kind).
                    Source::Program { name, server } => self.helper(&name)?.get(&server).await?,
                };
                if let Some(found) = found {
                    tracing::debug!(registry, path, file = %place.display(), "found a credential");
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }
}

fn file(path: &Path) -> Result<Option<CredentialFile>> {
    let Some(text) = read(path)? else { return Ok(None) };
    CredentialFile::parse(&text).map(Some).map_err(|reason| refused(path, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str) -> Credential {
        Credential::Basic { user: user.into(), secret: format!("secret of {user}") }
    }

    /// A program that keeps its entries as files in its folder.
    fn install(folder: &Path) {
        let script = "#!/bin/sh\nread -r line\ncd \"$(dirname \"$0\")\"\ncase $1 in\n\
            store) name=$(echo \"$line\" | sed 's/.*\"ServerURL\":\"\\([^\"]*\\)\".*/\\1/' | tr /: __); echo \"$line\" > \"kept-$name\";;\n\
            get) cat \"kept-$(echo \"$line\" | tr /: __)\" 2>/dev/null || { echo credentials not found in native keychain; exit 1; };;\n\
            erase) rm \"kept-$(echo \"$line\" | tr /: __)\";;\nesac\n";
        let path = folder.join("docker-credential-files");
        fs_err::write(&path, script).unwrap();
        fs_err::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[tokio::test]
    async fn files_are_asked_in_order_and_logins_written_to_dockers() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let logins = Logins::new(Sources {
            docker_config: Some(at("docker/config.json")),
            auth_files: vec![at("absent.json"), at("auth.json")],
            ..Sources::default()
        });
        assert_eq!(logins.for_repository("r.example", "a/b").await.unwrap(), None);
        assert_eq!(logins.erase("r.example").await.unwrap(), Removed::default());

        let auth = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "podman:secret of podman");
        fs_err::write(at("auth.json"), format!(r#"{{"auths": {{"r.example/a": {{"auth": "{auth}"}}}}}}"#)).unwrap();
        assert_eq!(logins.for_repository("r.example", "a/b").await.unwrap(), Some(basic("podman")));
        assert_eq!(logins.for_repository("r.example", "b").await.unwrap(), None);

        let kept = logins.store("r.example", "docker", &basic("docker")).await.unwrap();
        assert_eq!(kept, Kept::InFile(at("docker/config.json")));
        assert_eq!(logins.for_repository("r.example", "a/b").await.unwrap(), Some(basic("docker")));
        logins.store("docker.io", "hub", &basic("hub")).await.unwrap();
        assert!(fs_err::read_to_string(at("docker/config.json")).unwrap().contains("\"https://index.docker.io/v1/\""));
        assert_eq!(logins.for_repository("docker.io", "library/x").await.unwrap(), Some(basic("hub")));
        assert!(logins.erase("r.example").await.unwrap().any);
        assert_eq!(logins.for_repository("r.example", "a/b").await.unwrap(), Some(basic("podman")));

        fs_err::write(at("auth.json"), format!(r#"{{"auths": {{"r.example": {{"auth": "{auth}"}}}}}}"#)).unwrap();
        let removed = logins.erase("r.example").await.unwrap();
        assert_eq!(removed, Removed { any: false, still_in: vec![at("auth.json")] });
        fs_err::write(at("auth.json"), "{ hunter2").unwrap();
        let error = logins.for_repository("r.example", "a").await.unwrap_err().to_string();
        assert!(error.contains("auth.json") && error.contains("line 1") && !error.contains("hunter2"), "{error}");
        // A file that is not reached is not read.
        assert_eq!(logins.for_repository("docker.io", "library/x").await.unwrap(), Some(basic("hub")));
    }

    #[tokio::test]
    async fn a_program_keeps_logins_and_its_failure_is_one() {
        let folder = tempfile::tempdir().unwrap();
        install(folder.path());
        let config = folder.path().join("config.json");
        fs_err::write(&config, r#"{"credsStore": "files", "credHelpers": {"other.example": "absent"}}"#).unwrap();
        let mut sources = Sources {
            docker_config: Some(config.clone()),
            search_path: format!("{}:/usr/bin:/bin", folder.path().display()).into(),
            ..Sources::default()
        };
        let logins = Logins::new(sources.clone());
        assert_eq!(logins.for_repository("r.example:5000", "a").await.unwrap(), None);
        for registry in ["r.example:5000", "docker.io"] {
            let kept = logins.store(registry, "u", &basic("u")).await.unwrap();
            assert_eq!(kept, Kept::ByHelper("docker-credential-files".into()));
            assert!(!fs_err::read_to_string(&config).unwrap().contains("\"auth\""));
            assert_eq!(logins.for_repository(registry, "a").await.unwrap(), Some(basic("u")));
        }
        let token = Credential::IdentityToken("t".into());
        logins.store("r.example:5000", "u", &token).await.unwrap();
        assert_eq!(logins.for_repository("r.example:5000", "a").await.unwrap(), Some(token));
        assert!(logins.erase("r.example:5000").await.unwrap().any);
        assert!(!logins.erase("r.example:5000").await.unwrap().any);
        assert_eq!(logins.for_repository("r.example:5000", "a").await.unwrap(), None);

        // The other files must not be asked in place of a program that fails.
        let auth = folder.path().join("auth.json");
        fs_err::write(&auth, r#"{"auths": {"other.example": {"auth": "dTpz"}}}"#).unwrap();
        sources.auth_files.push(auth);
        let error = Logins::new(sources).for_repository("other.example", "a").await.unwrap_err();
        assert!(error.to_string().contains("docker-credential-absent"), "{error}");
    }

    #[test]
    fn servers_are_written_in_many_ways() {
        for (server, expected) in [
            (None, Some("docker.io")),
            (Some(""), Some("docker.io")),
            (Some("docker.io"), Some("docker.io")),
            (Some("index.docker.io"), Some("docker.io")),
            (Some("https://index.docker.io/v1/"), Some("docker.io")),
            (Some("localhost"), Some("localhost")),
            (Some("localhost:5000"), Some("localhost:5000")),
            (Some("https://r.example:5000/v2/"), Some("r.example:5000")),
            (Some("r.example/team"), Some("r.example")),
            (Some("[::1]:5000"), Some("[::1]:5000")),
            (Some("alpine"), None),
            (Some("user@r.example"), None),
            (Some("https://"), None),
            (Some("-x.example"), None),
        ] {
            assert_eq!(registry_of(server).ok().as_deref(), expected, "{server:?}");
        }
    }
}
