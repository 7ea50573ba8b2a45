//! Which variables an instruction sees: global arguments for `FROM`, then a stage's own arguments below its environment.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Fault;
use crate::expand::{self, Environment, Expanded};
use crate::platform::Platform;
use crate::syntax::ast::ArgDeclaration;

/// Arguments that need no declaration: they reach RUN and nothing else, and leave no trace in keys and history.
const PROXIES: &[&str] = &[
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What was given on the command line and before the first `FROM`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Global {
    /// `--build-arg`.
    pub given: BTreeMap<String, String>,
    /// Platform arguments and the `ARG`s before the first `FROM`.
    pub args: BTreeMap<String, String>,
    /// The escape character.
    pub escape: char,
}

impl Global {
    pub fn new(given: &BTreeMap<String, String>, target: &Platform, escape: char) -> Self {
        Self { given: given.clone(), args: Platform::arguments(target).into_iter().collect(), escape }
    }

    /// Declares an `ARG` that stands before the first `FROM`; each default sees the ones before it.
    pub fn declare(&mut self, declaration: &ArgDeclaration) -> Result<(), Fault> {
        let value = match (self.given.get(&declaration.name), &declaration.default) {
            (Some(given), _) => given.clone(),
            (None, Some(default)) => self.expand(default)?.text,
            (None, None) => return Ok(()),
        };
        self.args.insert(declaration.name.clone(), value);
        Ok(())
    }

    /// Expands a word of a `FROM` line.
    pub fn expand(&self, raw: &str) -> Result<Expanded, Fault> {
        Ok(expand::expand(raw, self.escape, &|name: &str| self.args.get(name).cloned())?)
    }

    /// The proxy settings of the command line.
    pub fn proxies(&self) -> impl Iterator<Item = (&str, &str)> {
        PROXIES.iter().filter_map(|name| Some((*name, self.given.get(*name)?.as_str())))
    }

    /// Names given on the command line that nothing declares.
    pub fn unused<'a>(&'a self, declared: &'a BTreeSet<String>) -> impl Iterator<Item = &'a str> {
        let known = |name: &str| {
            declared.contains(name)
                || PROXIES.contains(&name)
                || self.args.contains_key(name)
                || name.starts_with("BUILDKIT_")
                || name == "SOURCE_DATE_EPOCH"
        };
        self.given.keys().map(String::as_str).filter(move |name| !known(name))
    }
}

/// The variables of a stage at one instruction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// Declared arguments in order, with their values.
    pub args: Vec<(String, Option<String>)>,
    /// The environment of the image config, `NAME=value`.
    pub env: Vec<String>,
}

impl Environment for Scope {
    /// The environment wins over arguments, wherever either was set.
    fn get(&self, name: &str) -> Option<String> {
        let from_env = self.env.iter().rev().find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name));
        match from_env {
            Some((_, value)) => Some(value.to_owned()),
            None => self.args.iter().rev().find(|(key, _)| key == name).and_then(|(_, value)| value.clone()),
        }
    }
}

impl Scope {
    /// Declares an `ARG` of a stage whose default is expanded already. The command line wins over the default, and a
    /// declaration without a default takes the global value. Returns the value it has now.
    pub fn declare(&mut self, global: &Global, name: &str, default: Option<String>) -> Option<String> {
        let value = match (global.given.get(name), default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(default),
            (None, None) => global.args.get(name).cloned(),
        };
        self.args.retain(|(known, _)| known != name);
        self.args.push((name.to_owned(), value.clone()));
        value
    }

    /// Sets a variable of the environment, in its old place if it has one.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let same = |known: &&mut String| known.split_once('=').is_some_and(|(key, _)| key == name);
        match self.env.iter_mut().find(same) {
            Some(known) => *known = entry,
            None => self.env.push(entry),
        }
    }

    /// Arguments as history and RUN show them: those that have a value, as the environment sees them.
    pub fn visible_args(&self) -> Vec<String> {
        self.args.iter().filter_map(|(name, _)| self.get(name).map(|value| format!("{name}={value}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global() -> Global {
        let given = [("G", "given"), ("http_proxy", "p"), ("NOBODY", "x")];
        let given = given.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let mut global = Global::new(&given, &Platform::parse("linux/arm/v7").unwrap(), '\\');
        for (name, default) in [("A", Some("1")), ("B", Some("${A}2")), ("G", Some("default")), ("N", None)] {
            let default = default.map(str::to_owned);
            global.declare(&ArgDeclaration { name: name.into(), default }).unwrap();
        }
        global
    }

    #[test]
    fn from_sees_global_arguments() {
        let global = global();
        assert_eq!(global.expand("$A-$B-$G-$N-$TARGETPLATFORM").unwrap().text, "1-12-given--linux/arm/v7");
    }

    #[test]
    fn a_stage_sees_what_it_declares() {
        let global = global();
        let mut scope = Scope::default();
        assert_eq!(scope.get("A"), None);
        assert_eq!(scope.declare(&global, "A", None).as_deref(), Some("1"));
        assert_eq!(scope.declare(&global, "A", Some("own".into())).as_deref(), Some("own"));
        assert_eq!(scope.declare(&global, "G", Some("own".into())).as_deref(), Some("given"));
        assert_eq!(scope.declare(&global, "TARGETARCH", None).as_deref(), Some("arm"));
        assert_eq!(scope.declare(&global, "U", None), None);
        scope.set_env("A", "env");
        assert_eq!(scope.get("A").as_deref(), Some("env"));
        scope.declare(&global, "A", Some("later".into()));
        assert_eq!(scope.get("A").as_deref(), Some("env"));
        scope.set_env("A", "again");
        assert_eq!(scope.env, ["A=again"]);
    }

    #[test]
    fn unused_arguments_are_named_but_proxies_are_not() {
        let global = global();
        let declared = BTreeSet::from(["G".to_owned()]);
        assert_eq!(global.unused(&declared).collect::<Vec<_>>(), ["NOBODY"]);
        assert_eq!(global.proxies().collect::<Vec<_>>(), [("http_proxy", "p")]);
    }
}
