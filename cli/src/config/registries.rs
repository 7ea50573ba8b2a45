//! `[registries]` of the config file: what it may say, checked. What registries mean is the registry crate's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail, ensure};
use mica_registry::config::{Mirror, Policy, Prefix};
use serde::Deserialize;

/// Where images come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registries {
    /// Registries that `search` asks when nothing names one.
    pub search: Option<Vec<String>>,
    /// Registries without verified TLS.
    pub insecure: Option<Vec<String>>,
    /// Names that nothing is pulled from or pushed to.
    pub blocked: Option<Vec<String>>,
    /// Servers with copies, by what they are copies of.
    #[serde(default)]
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Further folders as `/etc/docker/certs.d`.
    pub ca_dirs: Option<Vec<PathBuf>>,
    /// The file in place of Podman's `policy.json`.
    pub policy: Option<PathBuf>,
}

impl Registries {
    /// What it says of names and servers, understood.
    pub fn rules(&self) -> anyhow::Result<Policy> {
        let prefix = |key: &str, text: &str| {
            Prefix::parse(text).map_err(|reason| anyhow!("`registries.{key}` has `{text}`: {reason}"))
        };
        let prefixes = |key: &str, list: &Option<Vec<String>>| {
            list.iter().flatten().map(|text| prefix(key, text)).collect::<anyhow::Result<Vec<_>>>()
        };
        let mut mirrors = Vec::new();
        for (of, list) in &self.mirrors {
            let parse =
                |text: &String| Mirror::parse(text).map_err(|reason| anyhow!("`{text}` is no mirror: {reason}"));
            let parsed: anyhow::Result<Vec<Mirror>> = list.iter().map(parse).collect();
            mirrors.push((prefix("mirrors", of)?, parsed.with_context(|| format!("`registries.mirrors` of `{of}`"))?));
        }
        for folder in self.ca_dirs.iter().flatten() {
            ensure!(folder.is_absolute(), "`registries.ca_dirs` has `{}`, which is not absolute", folder.display());
        }
        if let Some(path) = self.policy.iter().find(|path| !path.is_absolute()) {
            bail!("`registries.policy` is `{}`, which is not absolute", path.display());
        }
        prefixes("search", &self.search)?;
        Ok(Policy {
            search: self.search.clone().unwrap_or_default(),
            insecure: prefixes("insecure", &self.insecure)?,
            blocked: prefixes("blocked", &self.blocked)?,
            mirrors,
        })
    }

    pub(super) fn overlay(&mut self, later: Self) {
        self.search = later.search.or(self.search.take());
        self.insecure = later.insecure.or(self.insecure.take());
        self.blocked = later.blocked.or(self.blocked.take());
        self.mirrors.extend(later.mirrors);
        self.ca_dirs = later.ca_dirs.or(self.ca_dirs.take());
        self.policy = later.policy.or(self.policy.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Registries, String> {
        let parsed: Registries = toml::from_str(text).map_err(|error| error.to_string())?;
        parsed.rules().map(|_| parsed).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn every_key_and_its_mistakes() {
        let registries = parse(
            "search = [\"docker.io\"]\ninsecure = [\"10.0.0.1:5000\", \"*.lab.example\"]\nblocked = [\"docker.io/evil\"]\n\
             ca_dirs = [\"/etc/mica/certs.d\"]\npolicy = \"/etc/mica/policy.json\"\n[mirrors]\n\"docker.io\" = [\"http://10.0.0.2:5000/hub\", \"m.example\"]\n",
        )
        .expect("valid");
        assert_eq!(registries.rules().expect("valid").mirrors.len(), 1);
        assert_eq!(registries.policy, Some("/etc/mica/policy.json".into()));
        for (text, words) in [
            ("insecure = [\"http://r.example\"]", "`registries.insecure` has `http://r.example`: "),
            ("blocked = [\"a.*.b\"]", "`registries.blocked` has `a.*.b`: "),
            ("search = [\"\"]", "`registries.search` has ``: "),
            ("[mirrors]\n\"x/../y z\" = []", "`registries.mirrors` has `x/../y z`: "),
            ("[mirrors]\n\"docker.io\" = [\"ftp://x\"]", "`registries.mirrors` of `docker.io`: `ftp://x` is no mirror"),
            ("ca_dirs = [\"certs\"]", "`certs`, which is not absolute"),
            ("policy = \"policy.json\"", "`registries.policy` is `policy.json`, which is not absolute"),
            ("mirror = []", "unknown field `mirror`"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn later_files_win_key_by_key() {
        let mut registries = parse(
            "insecure = [\"a.example\"]\nblocked = [\"b.example\"]\npolicy = \"/p\"\n[mirrors]\n\"m.example\" = [\"one.example\"]",
        )
        .expect("valid");
        registries.overlay(
            parse("insecure = []\n[mirrors]\n\"m.example\" = [\"two.example\"]\n\"n.example\" = [\"x.example\"]")
                .expect("valid"),
        );
        assert_eq!(registries.insecure, Some(Vec::new()));
        assert_eq!(registries.blocked, Some(vec!["b.example".to_owned()]));
        assert_eq!(registries.policy, Some("/p".into()));
        assert_eq!(
            (registries.mirrors["m.example"].as_slice(), registries.mirrors.len()),
            (&["two.example".to_owned()][..], 2)
        );
    }
}
