//! `certs.d`: authorities and client certificates by host, in the folders that Docker and Podman read.
//!
//! `HOST[:PORT]/*.crt` are authorities besides the system's; `NAME.cert` and `NAME.key` are what this client shows.

use std::path::{Path, PathBuf};

use mica_engine::{Error, Kind, Result};

use crate::endpoint::Identity;

/// What there is for a host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Certificates {
    /// Files of authorities.
    pub(super) authorities: Vec<PathBuf>,
    /// The certificate to show.
    pub(super) identity: Option<Identity>,
}

/// Looks a host up: the first folder that has one for it counts.
pub(super) fn find(folders: &[PathBuf], host: &str) -> Result<Certificates> {
    // A host's name holds no slash and no dots alone, but it is a stranger's text and this is a path.
    if host.is_empty() || host.contains(['/', '\0']) || host.bytes().all(|b| b == b'.') {
        return Ok(Certificates::default());
    }
    for folder in folders.iter().map(|folder| folder.join(host)) {
        match fs_err::read_dir(&folder) {
            Ok(entries) => {
                let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
                files.sort();
                return read(&folder, &files);
            }
            // What nobody can read vouches for nobody: the certificate is then refused, and that error has its hint.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                tracing::warn!(folder = %folder.display(), "cannot read certificates: permission denied");
            }
            Err(_) => {}
        }
    }
    Ok(Certificates::default())
}

fn read(folder: &Path, files: &[PathBuf]) -> Result<Certificates> {
    let having = |extension: &'static str| {
        files.iter().filter(move |file| file.extension().is_some_and(|found| found == extension))
    };
    let partner = |file: &Path, extension: &str| {
        let other = file.with_extension(extension);
        if files.contains(&other) {
            return Ok(other);
        }
        let message = format!("`{}` has no `{}` beside it", file.display(), other.display());
        Err(Error::refused(Kind::InvalidInput, message)
            .with_hint("a client certificate is NAME.cert with NAME.key; an authority is NAME.crt"))
    };
    let mut found = Certificates { authorities: having("crt").cloned().collect(), identity: None };
    for key in having("key") {
        let certificate = partner(key, "cert")?;
        found.identity.get_or_insert_with(|| Identity { certificate, key: key.clone() });
    }
    for certificate in having("cert") {
        partner(certificate, "key")?;
    }
    tracing::debug!(folder = %folder.display(), authorities = found.authorities.len(), "certificates");
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_with_the_host_counts() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["one/r.example", "two/r.example", "two/r.example:5000", "one/half.example", "one/bare.example"] {
            fs_err::create_dir_all(at(name)).unwrap();
        }
        for name in [
            "one/r.example/ca.crt",
            "one/r.example/notes.txt",
            "two/r.example/other.crt",
            "two/r.example:5000/client.cert",
            "two/r.example:5000/client.key",
            "two/r.example:5000/a.crt",
            "two/r.example:5000/b.crt",
            "one/half.example/client.cert",
            "one/bare.example/client.key",
            "outside.crt",
        ] {
            fs_err::write(at(name), "").unwrap();
        }
        let folders = [at("absent"), at("one"), at("two")];
        let found = find(&folders, "r.example").unwrap();
        assert_eq!(found, Certificates { authorities: vec![at("one/r.example/ca.crt")], identity: None });
        let found = find(&folders, "r.example:5000").unwrap();
        assert_eq!(found.authorities, [at("two/r.example:5000/a.crt"), at("two/r.example:5000/b.crt")]);
        let identity = found.identity.unwrap();
        assert_eq!(identity.certificate, at("two/r.example:5000/client.cert"));
        assert_eq!(identity.key, at("two/r.example:5000/client.key"));
        for host in ["other.example", "", "..", ".", "../..", "r.example/.."] {
            assert_eq!(find(&folders, host).unwrap(), Certificates::default(), "{host}");
        }
        for (host, missing) in [("half.example", "client.key"), ("bare.example", "client.cert")] {
            let error = find(&folders, host).unwrap_err();
            assert!(error.to_string().contains(missing) && error.hint().is_some(), "{error}");
        }
    }
}
