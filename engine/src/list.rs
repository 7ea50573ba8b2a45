//! Manifest lists that are made here: which images an index is to name, for which platforms, before anybody has pushed it.
//!
//! A list is a value; its document is made of it and has no bytes of its own until it is pushed. So a list may name images
//! that are not here, and changing one leaves nothing behind.

use std::collections::BTreeMap;

use mica_layer::Digest;
use serde::{Deserialize, Serialize};

use crate::manifest::{DOCKER_LIST, DOCKER_MANIFEST, DOCUMENT_MAX, Descriptor, Document, OCI_INDEX};
use crate::{Error, Kind, Platform, Reference, Result};

/// A list of images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestList {
    /// The images, in the order in which they were added.
    pub members: Vec<Member>,
    /// Remarks on the whole.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image that a list names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The name it was added by, in the normal form; its repository is where a registry has it.
    pub name: String,
    /// Its manifest, with what the list says about it.
    pub descriptor: Descriptor,
    /// The image's ID, when it was added from the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
}

/// What a list says about an image, where it differs from what the image says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    /// The operating system.
    pub os: Option<String>,
    /// The architecture.
    pub architecture: Option<String>,
    /// The architecture's variant.
    pub variant: Option<String>,
    /// Windows' build number.
    pub os_version: Option<String>,
    /// For example `win32k`; replaces what was there unless it is empty.
    pub os_features: Vec<String>,
    /// Further remarks.
    pub annotations: BTreeMap<String, String>,
}

impl ManifestList {
    /// The index as it is pushed: Docker's where all its images are Docker's, else that of the image specification.
    pub fn document(&self) -> Result<Document> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Index<'a> {
            schema_version: u32,
            media_type: &'a str,
            manifests: Vec<&'a Descriptor>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            annotations: &'a BTreeMap<String, String>,
        }
        let is_docker = |member: &Member| {
            member.descriptor.media_type == DOCKER_MANIFEST && member.descriptor.annotations.is_empty()
        };
        let docker = !self.members.is_empty() && self.annotations.is_empty() && self.members.iter().all(is_docker);
        let media_type = if docker { DOCKER_LIST } else { OCI_INDEX };
        let index = Index {
            schema_version: 2,
            media_type,
            manifests: self.members.iter().map(|member| &member.descriptor).collect(),
            annotations: &self.annotations,
        };
        let mut bytes = Vec::new();
        // Three spaces, as Docker writes its lists.
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"   ");
        index
            .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
            .map_err(|error| Error::refused(Kind::Internal, error.to_string()))?;
        if bytes.len() as u64 > DOCUMENT_MAX {
            let message = format!("the list has {} bytes, and no more than {DOCUMENT_MAX} are read", bytes.len());
            return Err(Error::refused(Kind::InvalidInput, message));
        }
        Ok(Document::new(media_type, bytes))
    }

    /// Adds an image; one of the same name or with the same manifest makes room for it where it was.
    pub fn put(&mut self, member: Member) {
        let same = |old: &Member| old.name == member.name || old.descriptor.digest == member.descriptor.digest;
        let at = self.members.iter().position(same);
        let mut position = 0;
        self.members.retain(|old| {
            let keep = !same(old) || Some(position) == at;
            position += 1;
            keep
        });
        match at {
            Some(at) => self.members[at] = member,
            None => self.members.push(member),
        }
    }

    /// The member called by the name it was added by, or by the digest of its manifest.
    pub fn position(&self, name: &str) -> Option<usize> {
        let digest = name.rsplit('@').next().and_then(|text| text.parse::<Digest>().ok());
        let reference = Reference::parse(name).map(|reference| reference.to_string()).ok();
        let named = self.members.iter().position(|member| Some(&member.name) == reference.as_ref());
        named.or_else(|| self.members.iter().position(|member| Some(&member.descriptor.digest) == digest.as_ref()))
    }
}

impl Member {
    /// The repository that has it, in the normal form.
    pub fn repository(&self) -> Option<Reference> {
        Reference::parse_name(&self.name).ok().and_then(|name| Reference::parse_name(&name.repository()).ok())
    }

    /// Writes down what the list says about the image. An image must be for some system and architecture in the end.
    pub fn remark(&mut self, remarks: &Remarks) -> Result<()> {
        let mut platform = self.descriptor.platform.clone().unwrap_or_default();
        platform.os = remarks.os.clone().unwrap_or(platform.os);
        platform.architecture = remarks.architecture.clone().unwrap_or(platform.architecture);
        platform.variant = remarks.variant.clone().or(platform.variant).filter(|variant| !variant.is_empty());
        platform.os_version = remarks.os_version.clone().or(platform.os_version).filter(|version| !version.is_empty());
        if !remarks.os_features.is_empty() {
            platform.os_features.clone_from(&remarks.os_features);
        }
        if platform.os.is_empty() || platform.architecture.is_empty() {
            let message = format!("manifest {} must have an OS and Architecture to be pushed to a registry", self.name);
            return Err(Error::refused(Kind::InvalidInput, message).with_hint(
                "`mica manifest add LIST IMAGE --os OS --arch ARCH` says what the image does not say itself",
            ));
        }
        require_parts(&platform)?;
        self.descriptor.platform = Some(platform);
        self.descriptor.annotations.extend(remarks.annotations.clone());
        Ok(())
    }
}

/// Each part of a platform must be one: with a slash in it, it would be read as two.
fn require_parts(platform: &Platform) -> Result<()> {
    let parts: Vec<&String> = [&platform.os, &platform.architecture].into_iter().chain(&platform.variant).collect();
    if parts.iter().any(|part| part.contains('/')) {
        let shown: Vec<String> = parts.iter().map(|part| format!("`{}`", part.escape_debug())).collect();
        let message = format!("{} is not a platform: its parts have no slashes", shown.join(" "));
        return Err(Error::refused(Kind::InvalidInput, message));
    }
    platform.to_string().parse::<Platform>().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Contents, OCI_MANIFEST};

    fn member(name: &str, media_type: &str, bytes: &[u8], platform: &str) -> Member {
        let mut descriptor = Descriptor::of(media_type, bytes);
        descriptor.platform = Some(platform.parse().unwrap());
        Member { name: Reference::parse(name).unwrap().to_string(), descriptor, image: None }
    }

    fn list(members: &[(&str, &[u8])]) -> ManifestList {
        let mut list = ManifestList::default();
        for (name, bytes) in members {
            list.put(member(name, DOCKER_MANIFEST, bytes, "linux/amd64"));
        }
        list
    }

    #[test]
    fn the_document_is_of_the_kind_its_images_are_of() {
        let note = || BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let docker = || member("a", DOCKER_MANIFEST, b"1", "linux/amd64");
        let oci = || member("b", OCI_MANIFEST, b"2", "linux/arm64");
        let mut noted = docker();
        noted.descriptor.annotations = note();
        for (members, annotations, expected) in [
            (vec![docker()], BTreeMap::new(), DOCKER_LIST),
            (vec![docker(), oci()], BTreeMap::new(), OCI_INDEX),
            (vec![docker()], note(), OCI_INDEX),
            (vec![noted], BTreeMap::new(), OCI_INDEX),
            (vec![], BTreeMap::new(), OCI_INDEX),
        ] {
            let list = ManifestList { members: members.clone(), annotations };
            let document = list.document().unwrap();
            assert_eq!(document.media_type, expected, "{list:?}");
            let Contents::Index(index) = document.read().unwrap() else { panic!("{document:?}") };
            assert!(index.manifests.iter().eq(members.iter().map(|member| &member.descriptor)));
            assert_eq!(index.annotations, list.annotations);
        }
    }

    #[test]
    fn an_image_stands_in_a_list_once() {
        let mut list = list(&[("a", b"1"), ("b", b"2"), ("c", b"3")]);
        let names = |list: &ManifestList| -> Vec<String> {
            list.members.iter().map(|member| Reference::parse(&member.name).unwrap().familiar()).collect()
        };
        // The same name with other bytes, then other names for bytes that are there.
        list.put(member("b", DOCKER_MANIFEST, b"4", "linux/arm64"));
        assert_eq!(names(&list), ["a:latest", "b:latest", "c:latest"]);
        assert_eq!(list.members[1].descriptor.digest, Digest::sha256_of(b"4"));
        list.put(member("d", DOCKER_MANIFEST, b"1", "linux/arm64"));
        assert_eq!(names(&list), ["d:latest", "b:latest", "c:latest"]);
        list.put(member("d", DOCKER_MANIFEST, b"3", "linux/arm64"));
        assert_eq!(names(&list), ["d:latest", "b:latest"]);
    }

    #[test]
    fn members_are_found_by_name_and_by_digest() {
        let list = list(&[("h.example/a:1", b"1"), ("b", b"2")]);
        let (first, other) = (Digest::sha256_of(b"1"), Digest::sha256_of(b"x"));
        for (name, expected) in [
            ("h.example/a:1", Some(0)),
            ("docker.io/library/b", Some(1)),
            ("b:latest", Some(1)),
            (first.as_str(), Some(0)),
            (&format!("anything@{first}"), Some(0)),
            (other.as_str(), None),
            ("h.example/a", None),
            ("", None),
        ] {
            assert_eq!(list.position(name), expected, "{name}");
        }
    }

    #[test]
    fn what_a_list_says_takes_the_place_of_what_an_image_says() {
        let some = |text: &str| Some(text.to_owned());
        let mut member = member("a", DOCKER_MANIFEST, b"1", "linux/arm64");
        member
            .remark(&Remarks {
                variant: some("v9"),
                os_version: some("10"),
                os_features: vec!["x".into()],
                ..Remarks::default()
            })
            .unwrap();
        let platform = member.descriptor.platform.clone().unwrap();
        assert_eq!(platform.to_string(), "linux/arm64/v9");
        assert_eq!((platform.os_version.as_deref(), platform.os_features.len()), (Some("10"), 1));
        member.remark(&Remarks::default()).unwrap();
        assert_eq!(member.descriptor.platform.as_ref(), Some(&platform));
        for (os, architecture) in [("", "amd64"), ("linux", ""), ("li nux", "amd64"), ("linux", "a/b/c"), ("../x", "y")]
        {
            let remarks = Remarks { os: some(os), architecture: some(architecture), ..Remarks::default() };
            assert!(member.clone().remark(&remarks).is_err(), "{os}/{architecture}");
        }
    }
}
