//! Image references: parsing, Docker's normal form (`alpine` is `docker.io/library/alpine:latest`) and its familiar form.
//!
//! The grammar is that of the distribution specification with Docker's default domain. A [`Reference`] that exists is
//! valid: it holds no control characters, no `..`, nothing that begins with a dash, so it is safe in messages and rows.

use std::fmt;
use std::str::FromStr;

use mica_layer::Digest;

use crate::{Error, Kind, Result};

/// The registry of names that name none.
const DEFAULT_DOMAIN: &str = "docker.io";
/// The account of names on it that name none.
const OFFICIAL: &str = "library/";
/// The tag of names that have neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// The longest domain and path together.
const NAME_MAX: usize = 255;
/// The longest tag.
const TAG_MAX: usize = 128;

/// A normalised image reference: domain, path, and a tag or a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises; a name without tag and digest gets the tag `latest`.
    pub fn parse(text: &str) -> Result<Reference> {
        let mut reference = Reference::parse_name(text)?;
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some(DEFAULT_TAG.into());
        }
        Ok(reference)
    }

    /// Parses and normalises, and adds no tag.
    pub fn parse_name(text: &str) -> Result<Reference> {
        parse(text).map_err(|reason| {
            let shown: String = text.chars().take(NAME_MAX).flat_map(char::escape_debug).collect();
            Error::refused(Kind::InvalidInput, format!("invalid reference format: `{shown}`: {reason}"))
        })
    }

    /// The registry's host, with its port where it has one.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path on the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The manifest's digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The repository in the normal form, `docker.io/library/alpine`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository as people write it, `alpine`: the shortest form that is read as this repository again.
    pub fn familiar_repository(&self) -> String {
        let official = self.path.strip_prefix(OFFICIAL);
        let short = official.filter(|name| !name.contains('/') && !is_id(name)).unwrap_or(&self.path);
        // `docker.io/localhost/app` without its domain would be an image of localhost.
        let (domain, path) = split_domain(short);
        if (domain, &path) == (&self.domain, &self.path) { short.to_owned() } else { self.repository() }
    }

    /// The whole reference as people write it, `alpine:latest`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_repository())
    }

    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.repository()))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        Reference::parse(text)
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if is_id(text) {
        return Err("64 hexadecimal digits are an image ID, not a name");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|_| "what follows `@` is not a digest")?)),
        None => (text, None),
    };
    // A colon before the last slash belongs to the port of the domain.
    let name_end = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[name_end..].find(':') {
        Some(colon) => (&rest[..name_end + colon], Some(&rest[name_end + colon + 1..])),
        None => (rest, None),
    };
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let (domain, path) = split_domain(name);
    check_domain(domain)?;
    check_path(&path)?;
    if domain.len() + 1 + path.len() > NAME_MAX {
        return Err("the name has more than 255 characters");
    }
    Ok(Reference { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
}

/// True for what is always an image ID: 64 hexadecimal digits.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn split_domain(name: &str) -> (&str, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    // The name Docker's own registry had first.
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        return (domain, format!("{OFFICIAL}{path}"));
    }
    (domain, path.to_owned())
}

fn check_domain(domain: &str) -> Result<(), &'static str> {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    };
    if port.is_some_and(|port| port.is_empty() || port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit())) {
        return Err("the registry's port is not a number");
    }
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address
            .parse::<std::net::Ipv6Addr>()
            .map(drop)
            .map_err(|_| "the registry's address is not an IPv6 address");
    }
    let fits = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if host.split('.').all(fits) { Ok(()) } else { Err("the registry's name is not a host name") }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("the repository name must be lower case");
    }
    if path.split('/').all(is_component) {
        Ok(())
    } else {
        Err("the repository name is not made of a-z, 0-9 and single separators")
    }
}

/// Runs of `[a-z0-9]`, with one of `.`, `_`, `__` or any number of `-` between them.
fn is_component(component: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !word(first) || !word(last) {
        return false;
    }
    bytes
        .split(|&b| word(b))
        .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-'))
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let fits = tag.bytes().enumerate().all(|(i, b)| word(b) || (i > 0 && matches!(b, b'.' | b'-')));
    if tag.is_empty() || tag.len() > TAG_MAX || !fits {
        return Err("the tag is not 1 to 128 of A-Z a-z 0-9 _ . -, beginning with a letter, a digit or `_`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_have_one_normal_and_one_familiar_form() {
        for (text, normal, familiar) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
            ("library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("docker.io/user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("docker.io/localhost/app", "docker.io/localhost/app:latest", "docker.io/localhost/app:latest"),
            ("docker.io/a.b/app", "docker.io/a.b/app:latest", "docker.io/a.b/app:latest"),
            ("library/group/app", "docker.io/library/group/app:latest", "library/group/app:latest"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("ghcr.io/a/b__c/d--e.f", "ghcr.io/a/b__c/d--e.f:latest", "ghcr.io/a/b__c/d--e.f:latest"),
            ("Registry/app", "Registry/app:latest", "Registry/app:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), normal);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(Reference::parse(normal).unwrap(), reference);
        }
        let pinned = Reference::parse(&format!("alpine:3@sha256:{HEX}")).unwrap();
        assert_eq!((pinned.tag(), pinned.digest().unwrap().hex()), (Some("3"), HEX));
        assert_eq!(Reference::parse(&format!("alpine@sha256:{HEX}")).unwrap().tag(), None);
    }

    #[test]
    fn hostile_and_malformed_names_are_refused() {
        let long_tag = format!("a:{}", "t".repeat(129));
        let long_name = format!("a/{}", "b".repeat(5000));
        let bad_digest = format!("a@sha256:{}", HEX.to_uppercase());
        for text in [
            "",
            "Alpine",
            "../x",
            "a/../b",
            "/a",
            "a/",
            "a//b",
            "-a",
            "--all",
            "a\n",
            "a\u{1b}[0m",
            ":tag",
            "a:",
            "a:-t",
            "a:.t",
            "a b",
            "a@",
            "a@sha256:abc",
            "a._b",
            "a..b",
            "a___b",
            "host:port/a",
            "-h.io/a",
            "h-.io/a",
            "http://a/b",
            HEX,
            &long_tag,
            &long_name,
            &bad_digest,
            "[zz]:1/a",
            "ä",
        ] {
            let error = Reference::parse(text).expect_err(text);
            assert_eq!(error.kind(), Kind::InvalidInput);
            assert!(!error.to_string().contains(['\u{1b}', '\n']), "{error}");
        }
    }
}
