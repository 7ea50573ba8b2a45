//! `signedIdentity`: whose image a signature has to speak of (containers-policy.json(5)).

use mica_engine::Reference;
use serde::Deserialize;

use super::scope;
use super::strict::{Strict, none_given, present, shown};

/// What the name in a signature has to be, given the name that an image is pulled by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Strict<Raw>")]
pub enum Identity {
    /// The same name with the same tag; by digest, any tag of the same repository.
    #[default]
    RepoDigestOrExact,
    /// The same name with the same tag or digest.
    Exact,
    /// Any of the same repository.
    Repository,
    /// This one.
    ExactReference(Reference),
    /// Any of this repository.
    ExactRepository(Reference),
    /// As `RepoDigestOrExact`, once the beginning of the image's name has been replaced.
    Remap {
        /// What is replaced, where the image's name begins with it.
        prefix: String,
        /// By what.
        signed_prefix: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "present")]
    docker_reference: Option<String>,
    #[serde(default, deserialize_with = "present")]
    docker_repository: Option<String>,
    #[serde(default, deserialize_with = "present")]
    prefix: Option<String>,
    #[serde(default, deserialize_with = "present")]
    signed_prefix: Option<String>,
}

impl TryFrom<Strict<Raw>> for Identity {
    type Error = String;

    fn try_from(Strict(mut raw): Strict<Raw>) -> Result<Self, String> {
        let kind = raw.kind.clone();
        let missing = |key: &str| format!("`{kind}` has no `{key}`");
        let identity = match kind.as_str() {
            "matchRepoDigestOrExact" => Self::RepoDigestOrExact,
            "matchExact" => Self::Exact,
            "matchRepository" => Self::Repository,
            "exactReference" => {
                let text = raw.docker_reference.take().ok_or_else(|| missing("dockerReference"))?;
                let reference = named("dockerReference", &text)?;
                if reference.tag().is_none() && reference.digest().is_none() {
                    return Err(format!("`dockerReference` is `{}`, which has neither tag nor digest", shown(&text)));
                }
                Self::ExactReference(reference)
            }
            "exactRepository" => {
                let text = raw.docker_repository.take().ok_or_else(|| missing("dockerRepository"))?;
                let reference = named("dockerRepository", &text)?;
                if reference.tag().is_some() || reference.digest().is_some() {
                    return Err(format!("`dockerRepository` is `{}`, which has a tag or a digest", shown(&text)));
                }
                Self::ExactRepository(reference)
            }
            "remapIdentity" => {
                let read = |key: &str, text: Option<String>| {
                    let text = text.ok_or_else(|| missing(key))?;
                    scope::parse_prefix(&text).map_err(|reason| format!("`{key}` is `{}`: {reason}", shown(&text)))
                };
                Self::Remap {
                    prefix: read("prefix", raw.prefix.take())?,
                    signed_prefix: read("signedPrefix", raw.signed_prefix.take())?,
                }
            }
            other => return Err(format!("`signedIdentity` has the type `{}`, which is none", shown(other))),
        };
        none_given(
            &kind,
            &[
                ("dockerReference", raw.docker_reference.is_some()),
                ("dockerRepository", raw.docker_repository.is_some()),
                ("prefix", raw.prefix.is_some()),
                ("signedPrefix", raw.signed_prefix.is_some()),
            ],
        )?;
        Ok(identity)
    }
}

fn named(key: &str, text: &str) -> Result<Reference, String> {
    Reference::parse_name(text).map_err(|error| format!("`{key}`: {error}"))
}

impl Identity {
    /// True when a signature that names `signed` is for the image that is pulled by this name.
    pub fn fits(&self, image: &Reference, signed: &str) -> bool {
        let Ok(signed) = Reference::parse_name(signed) else { return false };
        let same_repository = |name: &Reference| scope::repository(name) == scope::repository(&signed);
        let is_bare = |name: &Reference| name.tag().is_none() && name.digest().is_none();
        let exactly = |name: &Reference| !is_bare(name) && !is_bare(&signed) && scope::image(name) == whole(&signed);
        let either = |name: &Reference| match name.digest() {
            Some(_) => !is_bare(&signed) && same_repository(name),
            None => exactly(name),
        };
        match self {
            Self::RepoDigestOrExact => either(image),
            Self::Exact => exactly(image),
            Self::Repository => same_repository(image),
            Self::ExactReference(name) => !is_bare(&signed) && whole(name) == whole(&signed),
            Self::ExactRepository(name) => same_repository(name),
            Self::Remap { prefix, signed_prefix } => {
                remapped(image, prefix, signed_prefix).is_some_and(|name| either(&name))
            }
        }
    }

    /// As a policy writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RepoDigestOrExact => "matchRepoDigestOrExact",
            Self::Exact => "matchExact",
            Self::Repository => "matchRepository",
            Self::ExactReference(_) => "exactReference",
            Self::ExactRepository(_) => "exactRepository",
            Self::Remap { .. } => "remapIdentity",
        }
    }

    /// True when no signature fits that names a repository and no more, as those of cosign do.
    pub fn wants_tag(&self) -> bool {
        !matches!(self, Self::Repository | Self::ExactRepository(_))
    }
}

/// A name with everything that it has.
fn whole(name: &Reference) -> String {
    let tag = name.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = name.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{}{tag}{digest}", scope::repository(name))
}

/// The image under the name that it was signed by; `None` when that is no name written out in full.
fn remapped(image: &Reference, prefix: &str, signed_prefix: &str) -> Option<Reference> {
    let mut name = scope::image(image);
    let below = scope::repository(image).strip_prefix(prefix).map(str::to_owned);
    if below.is_some_and(|below| below.is_empty() || below.starts_with('/')) {
        name.replace_range(..prefix.len(), signed_prefix);
    }
    // `host:1` without a repository would be read as one of Docker Hub's.
    Reference::parse_name(&name).ok().filter(|parsed| whole(parsed) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(text: &str) -> Result<Identity, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn names_in_signatures_fit_or_do_not() {
        let pinned = format!("r.example/a@{DIGEST}");
        let both = format!("r.example/a:1@{DIGEST}");
        let exact = r#"{"type":"matchExact"}"#;
        let either = r#"{"type":"matchRepoDigestOrExact"}"#;
        let repository = r#"{"type":"matchRepository"}"#;
        let reference = r#"{"type":"exactReference","dockerReference":"vendor.example/a:1"}"#;
        let of_vendor = r#"{"type":"exactRepository","dockerRepository":"vendor.example/a"}"#;
        let remap = r#"{"type":"remapIdentity","prefix":"r.example/copies","signedPrefix":"vendor.example"}"#;
        let to_hub = r#"{"type":"remapIdentity","prefix":"r.example/hub","signedPrefix":"docker.io"}"#;
        for (identity, image, signed, expected) in [
            (exact, "r.example/a:1", "r.example/a:1", true),
            (exact, "R.EXAMPLE:443/a:1", "r.example/a:1", true),
            (exact, "r.example/a:1", "r.example/a:2", false),
            (exact, "r.example/a:1", "r.example/a", false),
            (exact, "r.example/a:1", &both, false),
            (exact, &pinned, &pinned, true),
            (exact, &both, &pinned, true),
            (exact, &pinned, "r.example/a:1", false),
            (either, "r.example/a:1", "r.example/a:1", true),
            (either, "r.example/a:1", "r.example/a:2", false),
            (either, "r.example/a:1", "r.example/b:1", false),
            (either, "r.example/a:1", "r.example/a", false),
            (either, &pinned, "r.example/a:1", true),
            (either, &pinned, "r.example/a:2", true),
            (either, &both, "r.example/a:2", true),
            (either, &pinned, "r.example/a", false),
            (either, &pinned, "r.example/b:1", false),
            (either, "alpine:3", "docker.io/library/alpine:3", true),
            (either, "alpine:3", "alpine:3", true),
            (repository, "r.example/a:1", "r.example/a:2", true),
            (repository, "r.example/a:1", "r.example/a", true),
            (repository, "r.example/a:1", "r.example/a/b", false),
            (repository, "r.example/a:1", "r.example:5000/a", false),
            (reference, "r.example/a:2", "vendor.example/a:1", true),
            (reference, "r.example/a:2", "vendor.example/a", false),
            (reference, "vendor.example/a:2", "vendor.example/a:2", false),
            (of_vendor, "r.example/a:2", "vendor.example/a:1", true),
            (of_vendor, "r.example/a:2", "vendor.example/a", true),
            (of_vendor, "r.example/a:2", "r.example/a:2", false),
            (remap, "r.example/copies/b/c:1", "vendor.example/b/c:1", true),
            (remap, "r.example/copies/b/c:1", "vendor.example/b/c:2", false),
            (remap, "r.example/copies/b/c:1", "r.example/copies/b/c:1", false),
            (remap, "r.example/copiesb/c:1", "vendor.exampleb/c:1", false),
            (remap, "r.example/other:1", "r.example/other:1", true),
            (remap, "r.example/copies:1", "vendor.example:1", false),
            (to_hub, "r.example/hub/library/alpine:1", "alpine:1", true),
            (to_hub, "r.example/hub/alpine:1", "alpine:1", false),
            (repository, "r.example/a:1", "", false),
            (repository, "r.example/a:1", "../a", false),
        ] {
            let found = read(identity).unwrap().fits(&Reference::parse(image).unwrap(), signed);
            assert_eq!(found, expected, "{identity} {image} {signed}");
        }
    }

    #[test]
    fn what_is_written_wrongly_is_refused() {
        for (text, words) in [
            (r#"{}"#, "missing field `type`"),
            (r#"["matchExact"]"#, "invalid type: sequence, expected an object"),
            (r#"{"type":"matchAnything"}"#, "`matchAnything`, which is none"),
            (r#"{"type":"matchExact","prefix":"a.example"}"#, "`matchExact` has no use for `prefix`"),
            (r#"{"type":"matchExact","kind":"x"}"#, "unknown field `kind`"),
            (r#"{"type":"matchExact","type":"matchRepository"}"#, "duplicate field `type`"),
            (r#"{"type":"exactReference"}"#, "has no `dockerReference`"),
            (r#"{"type":"exactReference","dockerReference":"r.example/a"}"#, "neither tag nor digest"),
            (r#"{"type":"exactReference","dockerReference":"r.example/A:1"}"#, "invalid reference format"),
            (r#"{"type":"exactRepository","dockerRepository":"r.example/a:1"}"#, "has a tag or a digest"),
            (r#"{"type":"remapIdentity","prefix":"r.example"}"#, "has no `signedPrefix`"),
            (
                r#"{"type":"remapIdentity","prefix":"r.example","signedPrefix":"v.example/a:1"}"#,
                "has a tag or a digest",
            ),
            (r#"{"type":"remapIdentity","prefix":null,"signedPrefix":"v.example"}"#, "invalid type: null"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
