//! The format of `registries.conf`, version 2 (containers-registries.conf(5)): a pure function of text.
//!
//! Keys that are not known are passed over, because the file is other tools' too. Short names and their aliases have no effect:
//! a name without a registry is Docker Hub's here, on every machine.

use std::path::{Path, PathBuf};

use mica_engine::Reference;
use serde::Deserialize;
use toml::Spanned;

use super::place::{Location, Prefix};
use super::text::line;

/// What one file says, or several together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistriesConf {
    /// Where names without a registry are looked for.
    pub search: Option<Vec<String>>,
    /// The rules, in the order of the files.
    pub(super) rules: Vec<Rule>,
}

/// One `[[registry]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) prefix: Prefix,
    /// Where it is in truth; `None` is where it says.
    pub(super) location: Option<Location>,
    pub(super) insecure: bool,
    pub(super) blocked: bool,
    pub(super) mirrors: Vec<Copies>,
    /// Who says so.
    pub(super) file: PathBuf,
}

/// One `[[registry.mirror]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copies {
    pub(super) location: Location,
    pub(super) insecure: bool,
    pub(super) pulls: Pulls,
}

/// Which pulls a mirror is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Pulls {
    #[default]
    #[serde(alias = "")]
    All,
    DigestOnly,
    TagOnly,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    unqualified_search_registries: Option<Vec<String>>,
    #[serde(default)]
    registry: Vec<Spanned<Table>>,
    /// The first version's.
    registries: Option<Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Table {
    prefix: Option<Spanned<String>>,
    location: Option<Spanned<String>>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    location: Spanned<String>,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<Spanned<Pulls>>,
}

impl RegistriesConf {
    /// Reads a file's text; the error begins with `FILE:LINE`.
    pub fn parse(file: &Path, text: &str) -> Result<RegistriesConf, String> {
        let at = |offset: usize, reason: String| format!("{}:{}: {reason}", file.display(), line(text, offset));
        let parsed: File = toml::from_str(text)
            .map_err(|error| at(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
        if let Some(old) = parsed.registries {
            let reason =
                "`[registries]` is the first version of this format, which is not read; `[[registry]]` is the second";
            return Err(at(old.span().start, reason.to_owned()));
        }
        let mut conf = RegistriesConf { search: parsed.unqualified_search_registries, rules: Vec::new() };
        for table in parsed.registry {
            let start = table.span().start;
            let rule = table.into_inner().rule(file, start).map_err(|(offset, reason)| at(offset, reason))?;
            match conf.rules.iter().find(|known| known.prefix == rule.prefix) {
                Some(known) if *known == rule => {}
                Some(_) => return Err(at(start, format!("`{}` has two `[[registry]]` that differ", rule.prefix))),
                None => conf.rules.push(rule),
            }
        }
        Ok(conf)
    }

    /// Takes a later file over: its rules in place of those for the same prefix.
    pub fn overlay(&mut self, later: RegistriesConf) {
        self.search = later.search.or(self.search.take());
        self.rules.retain(|rule| later.rules.iter().all(|other| other.prefix != rule.prefix));
        self.rules.extend(later.rules);
    }

    /// The rule for an image: that of the longest prefix.
    pub(super) fn rule(&self, reference: &Reference) -> Option<&Rule> {
        self.rules.iter().filter(|rule| rule.prefix.fits(reference)).max_by_key(|rule| rule.prefix.len())
    }
}

impl Table {
    fn rule(self, file: &Path, start: usize) -> Result<Rule, (usize, String)> {
        let wrong = |key: &str, value: &Spanned<String>, reason: &str| {
            let shown: String = value.get_ref().chars().take(200).flat_map(char::escape_debug).collect();
            (value.span().start, format!("`{key}` is `{shown}`: {reason}"))
        };
        let location = self.location.as_ref().filter(|location| !location.get_ref().is_empty());
        let prefix = self.prefix.as_ref().filter(|prefix| !prefix.get_ref().is_empty());
        let wildcard = |text: &&Spanned<String>| !text.get_ref().starts_with("*.");
        let Some(named) = prefix.or(location) else {
            return Err((start, "`[[registry]]` has neither `prefix` nor `location`".to_owned()));
        };
        let rule = Rule {
            prefix: Prefix::parse(named.get_ref()).map_err(|reason| wrong("prefix", named, reason))?,
            // A location that only names what the rule is for sends nothing elsewhere, and may be a wildcard.
            location: match location.filter(wildcard).filter(|_| prefix.is_some()) {
                None => None,
                Some(text) => Some(Location::parse(text.get_ref()).map_err(|reason| wrong("location", text, reason))?),
            },
            insecure: self.insecure,
            blocked: self.blocked,
            mirrors: Vec::new(),
            file: file.to_owned(),
        };
        let mut mirrors = Vec::new();
        for mirror in self.mirror {
            let location = Location::parse(mirror.location.get_ref())
                .map_err(|reason| wrong("mirror.location", &mirror.location, reason))?;
            let pulls = match mirror.pull_from_mirror {
                Some(pulls) if self.mirror_by_digest_only && *pulls.get_ref() != Pulls::All => {
                    let reason = "`pull-from-mirror` and `mirror-by-digest-only` exclude each other";
                    return Err((pulls.span().start, reason.to_owned()));
                }
                _ if self.mirror_by_digest_only => Pulls::DigestOnly,
                Some(pulls) => pulls.into_inner(),
                None => Pulls::All,
            };
            mirrors.push(Copies { location, insecure: mirror.insecure, pulls });
        }
        Ok(Rule { mirrors, ..rule })
    }
}

impl Pulls {
    /// True when the mirror is asked for this image.
    pub(super) fn covers(self, reference: &Reference) -> bool {
        match self {
            Self::All => true,
            Self::DigestOnly => reference.digest().is_some(),
            Self::TagOnly => reference.digest().is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RegistriesConf, String> {
        RegistriesConf::parse(Path::new("/etc/r.conf"), text)
    }

    #[test]
    fn every_key_of_the_format() {
        let conf = parse(
            r#"
            unqualified-search-registries = ["docker.io", "quay.io"]
            short-name-mode = "enforcing"
            credential-helpers = ["containers-auth.json"]
            [[registry]]
            prefix = "docker.io"
            location = "internal.example:5000/hub"
            insecure = true
            [[registry.mirror]]
            location = "one.example/hub"
            [[registry.mirror]]
            location = "two.example"
            insecure = true
            pull-from-mirror = "tag-only"
            [[registry]]
            location = "plain.example"
            blocked = true
            [[registry]]
            prefix = "*.wild.example"
            mirror-by-digest-only = true
            mirror = [{ location = "copy.example" }]
            [aliases]
            "fedora" = "registry.fedoraproject.org/fedora"
            "#,
        )
        .unwrap();
        assert_eq!(conf.search, Some(vec!["docker.io".to_owned(), "quay.io".to_owned()]));
        let rule = |name: &str| conf.rule(&Reference::parse(name).unwrap());
        let hub = rule("alpine").unwrap();
        assert_eq!(hub.location.as_ref().unwrap().to_string(), "internal.example:5000/hub");
        let mirrors: Vec<_> =
            hub.mirrors.iter().map(|mirror| (mirror.location.to_string(), mirror.insecure, mirror.pulls)).collect();
        assert_eq!(
            mirrors,
            [("one.example/hub".to_owned(), false, Pulls::All), ("two.example".to_owned(), true, Pulls::TagOnly)]
        );
        assert!(hub.insecure && !hub.blocked);
        let plain = rule("plain.example/a").unwrap();
        assert!(plain.blocked && plain.location.is_none());
        let wild = rule("a.wild.example/x").unwrap();
        assert!(wild.location.is_none() && wild.mirrors[0].pulls == Pulls::DigestOnly);
        assert_eq!(rule("quay.io/x"), None);
    }

    #[test]
    fn the_longest_prefix_and_the_latest_file_win() {
        let mut conf = parse(
            "[[registry]]\nlocation = \"r.example\"\n[[registry]]\nprefix = \"r.example/a\"\nblocked = true\n\
             [[registry]]\nprefix = \"*.example\"\ninsecure = true\n",
        )
        .unwrap();
        let blocked = |conf: &RegistriesConf, name: &str| {
            conf.rule(&Reference::parse(name).unwrap()).map(|rule| (rule.blocked, rule.insecure))
        };
        assert_eq!(blocked(&conf, "r.example/a/b"), Some((true, false)));
        assert_eq!(blocked(&conf, "r.example/b"), Some((false, false)));
        assert_eq!(blocked(&conf, "s.example/b"), Some((false, true)));
        conf.search = Some(vec!["first".to_owned()]);
        conf.overlay(parse("[[registry]]\nprefix = \"r.example/a\"\n").unwrap());
        assert_eq!(blocked(&conf, "r.example/a/b"), Some((false, false)));
        assert_eq!(conf.search, Some(vec!["first".to_owned()]));
    }

    #[test]
    fn mistakes_name_file_line_and_key() {
        for (text, words) in [
            ("[[registry]\n", "/etc/r.conf:1: "),
            ("\n[[registry]]\nprefix = 3\n", "/etc/r.conf:3: invalid type"),
            ("[[registry]]\nblocked = \"yes\"\n", "/etc/r.conf:2: invalid type: string \"yes\""),
            ("\n\n[[registry]]\nblocked = true\n", "/etc/r.conf:3: `[[registry]]` has neither"),
            ("[[registry]]\n\nprefix = \"https://x\"\n", "/etc/r.conf:3: `prefix` is `https://x`: "),
            ("[[registry]]\nprefix = \"x.y\"\nlocation = \"a/../b\"\n", "/etc/r.conf:3: `location` is `a/../b`: "),
            (
                "[[registry]]\nlocation = \"x.y\"\n[[registry.mirror]]\nlocation = \"\"\n",
                "/etc/r.conf:4: `mirror.location` is ``: ",
            ),
            ("[[registry]]\nlocation = \"x.y\"\n[[registry.mirror]]\ninsecure = true\n", "missing field `location`"),
            (
                "[[registry]]\nlocation = \"x.y\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"z\"\n\
                 pull-from-mirror = \"tag-only\"\n",
                "/etc/r.conf:6: `pull-from-mirror` and `mirror-by-digest-only`",
            ),
            (
                "[[registry]]\nlocation = \"x.y\"\n[[registry.mirror]]\nlocation = \"z\"\npull-from-mirror = \"never\"\n",
                "/etc/r.conf:5: unknown variant `never`",
            ),
            (
                "[[registry]]\nlocation = \"x.y\"\n[[registry]]\nlocation = \"x.y\"\nblocked = true\n",
                "/etc/r.conf:3: `x.y` has two",
            ),
            ("[registries.search]\nregistries = [\"docker.io\"]\n", "the first version of this format"),
            ("unqualified-search-registries = \"docker.io\"\n", "/etc/r.conf:1: "),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert_eq!(parse("# nothing\nnew-key = { a = 1 }\n"), Ok(RegistriesConf::default()));
    }
}
