//! What a person types for a place of images, `TRANSPORT:…` as skopeo has it, and the end that it becomes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use mica_layer::Digest;

use super::ends::{Source, Target};
use super::{Means, docker_archive, layout, registry, tar_target};
use crate::{Error, Kind, Reference, Result};

/// What messages list.
const TRANSPORTS: &str =
    "docker://NAME, oci:FOLDER[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], dir:FOLDER";

/// A place where an image is, or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A registry.
    Registry(Reference),
    /// A layout of the image specification in a folder, and one of its names.
    Oci(PathBuf, Option<String>),
    /// The same as an archive.
    OciArchive(PathBuf, Option<String>),
    /// Docker's archive, and one of its names.
    DockerArchive(PathBuf, Option<Reference>),
    /// One image in a folder.
    Dir(PathBuf),
}

impl Place {
    /// The source; `target` is where it is to go.
    pub(super) fn open(self, means: &Means, target: &Place) -> Result<Box<dyn Source>> {
        Ok(match self {
            Place::Registry(reference) => Box::new(registry::Repository::new(means, reference)),
            Place::Oci(path, tag) => Box::new(layout::Layout::open_folder(&path, tag)?),
            Place::OciArchive(path, tag) => Box::new(layout::Layout::open_archive(means, &path, tag)?),
            Place::DockerArchive(path, name) => {
                // What goes over a network is better compressed before.
                let packs = matches!(target, Place::Registry(_));
                Box::new(docker_archive::Images::open(means, &path, name.as_ref(), packs)?)
            }
            Place::Dir(path) => Box::new(layout::Layout::open_dir(&path)?),
        })
    }

    pub(super) fn create(self, means: &Means) -> Result<Box<dyn Target>> {
        Ok(match self {
            Place::Registry(reference) => Box::new(registry::Repository::new(means, reference)),
            Place::Oci(path, tag) => Box::new(layout::FolderTarget::oci(&path, tag, means.umask)?),
            Place::OciArchive(path, tag) => Box::new(tar_target::OciArchive::create(&path, tag, means.umask)?),
            Place::DockerArchive(path, name) => Box::new(docker_archive::ArchiveTarget::create(means, &path, name)?),
            Place::Dir(path) => Box::new(layout::FolderTarget::dir(&path, means.umask)?),
        })
    }

    /// The digest that it stands for.
    pub(super) fn digest(&self) -> Option<&Digest> {
        match self {
            Place::Registry(reference) => reference.digest(),
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |f: &mut fmt::Formatter<'_>, transport: &str, path: &Path, name: Option<&dyn fmt::Display>| {
            write!(f, "{transport}:{}", path.display())?;
            name.map_or(Ok(()), |name| write!(f, ":{name}"))
        };
        match self {
            Place::Registry(reference) => write!(f, "docker://{}", reference.familiar()),
            Place::Oci(path, tag) => with(f, "oci", path, tag.as_ref().map(|tag| tag as _)),
            Place::OciArchive(path, tag) => with(f, "oci-archive", path, tag.as_ref().map(|tag| tag as _)),
            Place::DockerArchive(path, name) => {
                let name = name.as_ref().map(Reference::familiar);
                with(f, "docker-archive", path, name.as_ref().map(|name| name as _))
            }
            Place::Dir(path) => with(f, "dir", path, None),
        }
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Place> {
        let wrong = |reason: &str| {
            let shown: String = text.chars().take(300).flat_map(char::escape_debug).collect();
            Error::refused(Kind::InvalidInput, format!("`{shown}` is no place of an image: {reason}"))
                .with_hint(format!("places are {TRANSPORTS}"))
        };
        let Some((transport, rest)) = text.split_once(':') else { return Err(wrong("it names no transport")) };
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name)),
            None => (rest, None),
        };
        if transport != "docker" && path.is_empty() {
            return Err(wrong("it names no file or folder"));
        }
        if name == Some("") {
            return Err(wrong("nothing follows the colon after the path"));
        }
        let path = PathBuf::from(path);
        let tag = name.map(str::to_owned);
        match transport {
            "docker" => {
                let name = rest.strip_prefix("//").ok_or_else(|| wrong("write it as docker://NAME"))?;
                Ok(Place::Registry(Reference::parse(name)?))
            }
            "oci" => Ok(Place::Oci(path, tag)),
            "oci-archive" => Ok(Place::OciArchive(path, tag)),
            "docker-archive" => Ok(Place::DockerArchive(path, name.map(Reference::parse).transpose()?)),
            "dir" if name.is_some() => Err(wrong("a dir has no names, and its path no colon")),
            "dir" => Ok(Place::Dir(path)),
            _ => Err(wrong("its transport is unknown")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_shown_and_others_are_refused_with_the_list() {
        for (text, shown) in [
            ("docker://alpine", "docker://alpine:latest"),
            ("docker://localhost:5000/a/b:1", "docker://localhost:5000/a/b:1"),
            ("oci:/a/b", "oci:/a/b"),
            ("oci:rel:docker.io/library/a:1", "oci:rel:docker.io/library/a:1"),
            ("oci-archive:a.tar:v1", "oci-archive:a.tar:v1"),
            ("docker-archive:a.tar", "docker-archive:a.tar"),
            ("docker-archive:a.tar:b", "docker-archive:a.tar:b:latest"),
            ("dir:x", "dir:x"),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), shown);
        }
        for text in
            ["alpine", "alpine:latest", "docker:alpine", "oci:", "oci::tag", "oci:a:", "dir:a:b", "x\u{1b}:y", ""]
        {
            let error = text.parse::<Place>().expect_err(text);
            assert_eq!(error.kind(), Kind::InvalidInput);
            assert!(
                error.hint().unwrap().contains("oci-archive:FILE") && !error.to_string().contains('\u{1b}'),
                "{text}"
            );
        }
        assert!("docker://Alpine".parse::<Place>().is_err());
    }
}
