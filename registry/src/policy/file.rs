//! The format of `policy.json`, read strictly: a pure function of text. What is unknown, doubled or empty is an error.

use std::collections::BTreeMap;

use mica_engine::Reference;
use serde::Deserialize;

use super::requirement::Requirement;
use super::scope;
use super::strict::{Strict, Unique, read, shown};

/// What a policy says of images in registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    default: Vec<Requirement>,
    /// The rules of the `docker` transport, by scopes as [`scope::parse`] has them.
    docker: BTreeMap<String, Vec<Requirement>>,
}

/// The rule for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule<'a> {
    /// Where it stands.
    pub place: Place,
    /// What it wants: at least one thing.
    pub requirements: &'a [Requirement],
}

/// Where a rule stands in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Under `default`.
    Default,
    /// Under the empty scope of `docker`.
    Transport,
    /// Under this scope of `docker`.
    Scope(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("`default`"),
            Self::Transport => f.write_str("the default of `docker`"),
            Self::Scope(scope) => write!(f, "scope `{}`", shown(scope)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    default: Requirements,
    #[serde(default)]
    transports: Unique<Unique<Requirements>>,
}

#[derive(Deserialize)]
#[serde(try_from = "Vec<Requirement>")]
struct Requirements(Vec<Requirement>);

impl TryFrom<Vec<Requirement>> for Requirements {
    type Error = String;

    fn try_from(list: Vec<Requirement>) -> Result<Self, Self::Error> {
        if list.is_empty() { Err("a list of requirements is empty".to_owned()) } else { Ok(Self(list)) }
    }
}

impl PolicyFile {
    /// Reads a file's text; the error says in which line, where it is in one.
    pub fn parse(text: &str) -> Result<PolicyFile, String> {
        let Strict(raw): Strict<Raw> = read(text.as_bytes())?;
        let mut file = PolicyFile { default: raw.default.0, docker: BTreeMap::new() };
        for (transport, scopes) in raw.transports.0 {
            // Nothing that Mica does goes by another transport; what they say is held to the format all the same.
            if transport != "docker" {
                continue;
            }
            for (text, requirements) in scopes.0 {
                let scope = scope::parse(&text)
                    .map_err(|reason| format!("the scope `{}` of `docker`: {reason}", shown(&text)))?;
                if file.docker.insert(scope, requirements.0).is_some() {
                    return Err(format!("the scope `{}` of `docker` stands twice", shown(&text)));
                }
            }
        }
        Ok(file)
    }

    /// The rule for an image: that of the most specific scope, and no other.
    pub fn rule(&self, reference: &Reference) -> Rule<'_> {
        let found = scope::of(reference).into_iter().find_map(|scope| {
            let requirements = self.docker.get(&scope)?;
            let place = if scope.is_empty() { Place::Transport } else { Place::Scope(scope) };
            Some(Rule { place, requirements })
        });
        found.unwrap_or(Rule { place: Place::Default, requirements: &self.default })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_scope_is_the_rule() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let scopes = [
            "",
            "r.example",
            "r.example/a",
            "r.example/a/b",
            "r.example/a/b:1",
            "*.example",
            "*.y.example",
            "p.example:5000",
            &format!("r.example/a/b@{digest}"),
            "docker.io/library/alpine",
            "Caps.Example:443/a",
        ];
        let rules: Vec<String> = scopes.iter().map(|scope| format!(r#""{scope}": [{{"type":"reject"}}]"#)).collect();
        let text = format!(
            r#"{{"default":[{{"type":"insecureAcceptAnything"}}],"transports":{{
                "docker":{{{}}},"docker-daemon":{{"":[{{"type":"insecureAcceptAnything"}}]}}, "new":{{"any thing//":[{{"type":"reject"}}]}}}}}}"#,
            rules.join(",")
        );
        let file = PolicyFile::parse(&text).unwrap();
        let pinned = format!("r.example/a/b:1@{digest}");
        for (name, expected) in [
            ("r.example/a/b:1", "scope `r.example/a/b:1`".to_owned()),
            ("r.example/a/b:2", "scope `r.example/a/b`".to_owned()),
            (&pinned, format!("scope `r.example/a/b@{digest}`")),
            ("r.example/a/bb:1", "scope `r.example/a`".to_owned()),
            ("r.example/ab:1", "scope `r.example`".to_owned()),
            ("R.EXAMPLE:443/a/b:1", "scope `r.example/a/b:1`".to_owned()),
            ("r.example:5000/a/b:1", "scope `*.example`".to_owned()),
            ("p.example:5000/x", "scope `p.example:5000`".to_owned()),
            ("x.y.example/a", "scope `*.y.example`".to_owned()),
            ("x.z.example:1234/a", "scope `*.example`".to_owned()),
            ("caps.example/a", "scope `caps.example/a`".to_owned()),
            ("evil-example.com/a", "the default of `docker`".to_owned()),
            ("alpine", "scope `docker.io/library/alpine`".to_owned()),
            ("busybox", "the default of `docker`".to_owned()),
        ] {
            let rule = file.rule(&Reference::parse(name).unwrap());
            assert_eq!((rule.place.to_string(), rule.requirements), (expected, &[Requirement::Reject][..]), "{name}");
        }
        let bare = PolicyFile::parse(r#"{"default":[{"type":"reject"}]}"#).unwrap();
        assert_eq!(bare.rule(&Reference::parse("alpine").unwrap()).place, Place::Default);
    }

    #[test]
    fn mistakes_are_errors_with_a_line() {
        let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
        for (text, words) in [
            (String::new(), "line 1: EOF"),
            ("{".to_owned(), "line 1: EOF"),
            ("[]".to_owned(), "line 1: invalid type: sequence, expected an object"),
            ("{}".to_owned(), "line 1: missing field `default`"),
            (format!("{{\"default\":{accept}}} x"), "line 1: trailing characters"),
            (format!("{{\n\"defualt\":{accept}}}"), "line 2: unknown field `defualt`"),
            (format!("{{\"default\":{accept},\n\"default\":{accept}}}"), "line 2: duplicate field `default`"),
            ("{\"default\":[]}".to_owned(), "line 1: a list of requirements is empty"),
            ("{\"default\":{}}".to_owned(), "line 1: invalid type: map"),
            ("{\"default\":null}".to_owned(), "line 1: invalid type: null"),
            (format!("{{\"default\":{accept},\n\"transports\":null}}"), "line 2: invalid type: null"),
            (format!("{{\"default\":{accept},\"transports\":{{\"docker\":[]}}}}"), "line 1: invalid type: sequence"),
            (
                format!("{{\"default\":{accept},\"transports\":{{\n\"docker\":{{}},\n\"docker\":{{}}}}}}"),
                "line 3: `docker` stands twice",
            ),
            (
                format!("{{\"default\":{accept},\"transports\":{{\"docker\":{{\"a.b\":{accept},\"a.b\":{accept}}}}}}}"),
                "line 1: `a.b` stands twice",
            ),
            (
                format!("{{\"default\":{accept},\"transports\":{{\"docker\":{{\"a.b\":{accept},\"A.b\":{accept}}}}}}}"),
                "the scope `a.b` of `docker` stands twice",
            ),
            (
                format!("{{\"default\":{accept},\"transports\":{{\"docker\":{{\"a.*.b\":{accept}}}}}}}"),
                "the scope `a.*.b` of `docker`: ",
            ),
            (
                format!("{{\"default\":{accept},\"transports\":{{\"dir\":{{\"/a\":[\n{{\"type\":\"x\"}}]}}}}}}"),
                "line 2: `x` is no type of requirement",
            ),
        ] {
            let error = PolicyFile::parse(&text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
