//! [`Configured`]: where repositories are by everything that is configured. The files are read when the first registry is asked.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use mica_engine::{Error, Kind, Reference, Result};

use super::Sources;
use super::certificates;
use super::place::{Location, Mirror};
use super::registries::{RegistriesConf, Rule};
use super::text::{read, refused};
use crate::endpoint::{Directory, Endpoint, Verify, base, is_loopback, server_of};

/// A directory by configuration.
#[derive(Debug)]
pub struct Configured {
    sources: Sources,
    conf: Mutex<Option<Arc<RegistriesConf>>>,
}

/// What is configured, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Where names without a registry are searched.
    pub search: Vec<String>,
    /// Servers with copies, by what they are copies of.
    pub mirrors: Vec<(String, Vec<String>)>,
    /// What is reached without verified TLS.
    pub insecure: Vec<String>,
    /// What is never asked.
    pub blocked: Vec<String>,
}

/// How a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// By verified TLS; plainly too on this machine.
    Usual,
    /// By whatever it speaks.
    Insecure,
    /// In clear text, as somebody wrote down.
    Plain,
}

impl Configured {
    /// A directory by these files.
    pub fn new(sources: Sources) -> Configured {
        Configured { sources, conf: Mutex::default() }
    }

    /// Where `search` looks when nothing names a registry.
    pub fn search(&self) -> Result<Vec<String>> {
        if !self.sources.policy.search.is_empty() {
            return Ok(self.sources.policy.search.clone());
        }
        let configured = self.conf()?.search.clone().filter(|search| !search.is_empty());
        Ok(configured.unwrap_or_else(|| vec!["docker.io".to_owned()]))
    }

    /// What is configured.
    pub fn summary(&self) -> Result<Summary> {
        let (conf, policy) = (self.conf()?, &self.sources.policy);
        let mut summary = Summary { search: self.search()?, ..Summary::default() };
        summary.mirrors.extend(
            policy
                .mirrors
                .iter()
                .map(|(prefix, mirrors)| (prefix.to_string(), mirrors.iter().map(ToString::to_string).collect())),
        );
        summary.insecure.extend(policy.insecure.iter().map(ToString::to_string));
        summary.blocked.extend(policy.blocked.iter().map(ToString::to_string));
        for rule in &conf.rules {
            let mirrors: Vec<String> =
                rule.mirrors.iter().map(|mirror| format!("https://{}", mirror.location)).collect();
            if !mirrors.is_empty() {
                summary.mirrors.push((rule.prefix.to_string(), mirrors));
            }
            let insecure =
                rule.mirrors.iter().filter(|mirror| mirror.insecure).map(|mirror| mirror.location.to_string());
            summary.insecure.extend(rule.insecure.then(|| rule.prefix.to_string()).into_iter().chain(insecure));
            summary.blocked.extend(rule.blocked.then(|| rule.prefix.to_string()));
        }
        Ok(summary)
    }

    fn conf(&self) -> Result<Arc<RegistriesConf>> {
        let mut conf = self.conf.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(conf) = &*conf {
            return Ok(Arc::clone(conf));
        }
        let read = Arc::new(load(&self.sources)?);
        *conf = Some(Arc::clone(&read));
        Ok(read)
    }

    /// The rule for an image, unless that or Mica's own configuration forbids it.
    fn admit<'a>(&self, conf: &'a RegistriesConf, reference: &Reference) -> Result<Option<&'a Rule>> {
        if let Some(prefix) = self.sources.policy.blocked.iter().find(|prefix| prefix.fits(reference)) {
            return Err(blocked(reference, &format!("`registries.blocked` with `{prefix}`")));
        }
        match conf.rule(reference) {
            Some(rule) if rule.blocked => {
                Err(blocked(reference, &format!("`{}` with `{}`", rule.file.display(), rule.prefix)))
            }
            rule => Ok(rule),
        }
    }

    fn servers(&self, place: &Location, reach: Reach, mirror: bool) -> Result<Vec<Endpoint>> {
        let host = place.host.as_str();
        let certificates = certificates::find(&self.sources.certificates, host)?;
        let schemes: &[&str] = match reach {
            Reach::Plain => &["http"],
            Reach::Insecure => &["https", "http"],
            Reach::Usual if is_loopback(host) => &["https", "http"],
            Reach::Usual => &["https"],
        };
        // Docker Hub's own images are below `library`.
        let path = match place.path.contains('/') || host != "docker.io" {
            true => place.path.clone(),
            false => format!("library/{}", place.path),
        };
        let server = |scheme: &&str| {
            Ok(Endpoint {
                base: base(&format!("{scheme}://{}", server_of(host)))?,
                path: path.clone(),
                verify: match reach {
                    Reach::Insecure => Verify::Insecure,
                    _ => Verify::Authorities(certificates.authorities.clone()),
                },
                identity: certificates.identity.clone(),
                mirror,
                registry: host.to_owned(),
            })
        };
        schemes.iter().map(server).collect()
    }

    /// How a place is reached, given what its rule says.
    fn reach(&self, place: &Location, insecure: bool) -> Reach {
        let named = Reference::parse_name(&place.to_string()).ok();
        let listed = named.is_some_and(|name| self.sources.policy.insecure.iter().any(|prefix| prefix.fits(&name)));
        if insecure || listed { Reach::Insecure } else { Reach::Usual }
    }
}

impl Directory for Configured {
    fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let conf = self.conf()?;
        let rule = self.admit(&conf, reference)?;
        let mut servers = Vec::new();
        let own = self.sources.policy.mirrors.iter().filter(|(prefix, _)| prefix.fits(reference));
        if let Some((prefix, mirrors)) = own.max_by_key(|(prefix, _)| prefix.len()) {
            for Mirror { location, plain } in mirrors {
                let Some(place) = location.with(prefix.rest(reference).unwrap_or_default()) else { continue };
                let reach = if *plain { Reach::Plain } else { self.reach(&place, false) };
                servers.extend(self.servers(&place, reach, true)?);
            }
        }
        let Some(rule) = rule else {
            servers.extend(self.servers(&named(reference), self.reach(&named(reference), false), false)?);
            return Ok(servers);
        };
        let rest = rule.prefix.rest(reference).unwrap_or_default();
        for mirror in rule.mirrors.iter().filter(|mirror| mirror.pulls.covers(reference)) {
            if let Some(place) = mirror.location.with(rest) {
                servers.extend(self.servers(&place, self.reach(&place, mirror.insecure), true)?);
            }
        }
        let place = match &rule.location {
            None => named(reference),
            Some(location) => location.with(rest).ok_or_else(|| {
                let reason = format!("`location` `{location}` leaves no repository of `{}`", reference.familiar());
                refused(&rule.file, reason)
            })?,
        };
        servers.extend(self.servers(&place, self.reach(&place, rule.insecure), false)?);
        Ok(servers)
    }

    /// What is written to is the registry that the name says: `location` is for reading (containers-registries.conf(5)).
    fn own(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let conf = self.conf()?;
        let insecure = self.admit(&conf, reference)?.is_some_and(|rule| rule.insecure);
        self.servers(&named(reference), self.reach(&named(reference), insecure), false)
    }
}

/// The place that a name says.
fn named(reference: &Reference) -> Location {
    Location { host: reference.domain().to_owned(), path: reference.path().to_owned() }
}

fn blocked(reference: &Reference, by: &str) -> Error {
    let message = format!("`{}` is blocked by {by}", reference.familiar_repository());
    Error::refused(Kind::Denied, message).with_hint("whoever administers this machine forbids it; no server was asked")
}

/// Reads the files that exist: the first of the main ones, then every `*.conf` of the folders in the order of their names.
fn load(sources: &Sources) -> Result<RegistriesConf> {
    let mut conf = RegistriesConf::default();
    let mut add = |path: &Path| -> Result<bool> {
        let Some(text) = read(path)? else { return Ok(false) };
        let parsed = RegistriesConf::parse(path, &text);
        conf.overlay(parsed.map_err(|message| Error::refused(Kind::InvalidInput, message))?);
        Ok(true)
    };
    for path in &sources.registries_conf {
        if add(path)? {
            break;
        }
    }
    for folder in &sources.registries_conf_dirs {
        let entries = match fs_err::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", folder)(error)),
        };
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
        files.sort();
        for file in files {
            add(&file)?;
        }
    }
    Ok(conf)
}

#[cfg(test)]
mod tests {
    use super::super::place::{Policy, Prefix};
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// What is asked for a name, one word a server.
    fn asked(directory: &Configured, name: &str) -> String {
        let servers = match directory.endpoints(&Reference::parse(name).unwrap()) {
            Ok(servers) => servers,
            Err(error) => return error.to_string(),
        };
        let word = |server: &Endpoint| {
            let mark = match (&server.verify, server.mirror) {
                (Verify::Insecure, true) => "~m:",
                (Verify::Insecure, false) => "~",
                (_, true) => "m:",
                (_, false) => "",
            };
            format!("{mark}{}{}", server.base, server.path)
        };
        servers.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn servers_come_in_order_and_nothing_is_plain_that_is_not_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs_err::create_dir(at("conf.d")).unwrap();
        fs_err::write(
            at("registries.conf"),
            r#"
            [[registry]]
            prefix = "docker.io"
            [[registry.mirror]]
            location = "mirror.example/hub"
            [[registry.mirror]]
            location = "digests.example"
            pull-from-mirror = "digest-only"
            [[registry]]
            prefix = "moved.example/old"
            location = "new.example:5000/team"
            [[registry]]
            prefix = "to-hub.example"
            location = "docker.io"
            [[registry]]
            location = "bad.example"
            "#,
        )
        .unwrap();
        fs_err::write(at("conf.d/10-bad.conf"), "[[registry]]\nlocation = \"bad.example\"\nblocked = true\n").unwrap();
        fs_err::write(at("conf.d/20-lab.conf"), "[[registry]]\nprefix = \"*.lab.example\"\ninsecure = true\n").unwrap();
        fs_err::write(at("conf.d/ignored.txt"), "[[").unwrap();
        let directory = Configured::new(Sources {
            registries_conf: vec![at("absent.conf"), at("registries.conf")],
            registries_conf_dirs: vec![at("absent.d"), at("conf.d")],
            policy: Policy {
                insecure: vec![
                    Prefix::parse("10.0.0.1:5000").unwrap(),
                    Prefix::parse("new.example:5000/team").unwrap(),
                ],
                blocked: vec![Prefix::parse("docker.io/evil").unwrap()],
                mirrors: vec![(
                    Prefix::parse("quay.io/team").unwrap(),
                    vec![Mirror::parse("http://10.0.0.2").unwrap(), Mirror::parse("localhost:5000/q").unwrap()],
                )],
                ..Policy::default()
            },
            ..Sources::default()
        });
        let pinned = format!("alpine@sha256:{HEX}");
        for (name, expected) in [
            (
                "alpine",
                "m:https://mirror.example/hub/library/alpine https://registry-1.docker.io/library/alpine".to_owned(),
            ),
            (
                &pinned,
                "m:https://mirror.example/hub/library/alpine m:https://digests.example/library/alpine \
                 https://registry-1.docker.io/library/alpine"
                    .to_owned(),
            ),
            ("r.example/a", "https://r.example/a".to_owned()),
            ("localhost:5000/a", "https://localhost:5000/a http://localhost:5000/a".to_owned()),
            ("10.0.0.1:5000/a", "~https://10.0.0.1:5000/a ~http://10.0.0.1:5000/a".to_owned()),
            ("10.0.0.1:5001/a", "https://10.0.0.1:5001/a".to_owned()),
            (
                "quay.io/team/a",
                "m:http://10.0.0.2/a m:https://localhost:5000/q/a m:http://localhost:5000/q/a https://quay.io/team/a"
                    .to_owned(),
            ),
            ("quay.io/other/a", "https://quay.io/other/a".to_owned()),
            (
                "moved.example/old/app",
                "~https://new.example:5000/team/app ~http://new.example:5000/team/app".to_owned(),
            ),
            ("moved.example/older/app", "https://moved.example/older/app".to_owned()),
            ("to-hub.example/alpine", "https://registry-1.docker.io/library/alpine".to_owned()),
            ("a.lab.example/x", "~https://a.lab.example/x ~http://a.lab.example/x".to_owned()),
            ("evil/a", "`evil/a` is blocked by `registries.blocked` with `docker.io/evil`".to_owned()),
            (
                "BAD.example/a",
                format!("`BAD.example/a` is blocked by `{}` with `bad.example`", at("conf.d/10-bad.conf").display()),
            ),
        ] {
            assert_eq!(asked(&directory, name), expected, "{name}");
        }
        let own = directory.own(&Reference::parse("moved.example/old/app").unwrap()).unwrap();
        assert_eq!(own.iter().map(|server| server.base.as_str()).collect::<Vec<_>>(), ["https://moved.example/"]);
        assert!(directory.own(&Reference::parse("evil/a").unwrap()).is_err());
        let summary = directory.summary().unwrap();
        assert_eq!(summary.search, ["docker.io"]);
        assert_eq!(summary.insecure, ["10.0.0.1:5000", "new.example:5000/team", "*.lab.example"]);
        assert_eq!(summary.blocked, ["docker.io/evil", "bad.example"]);
    }

    #[test]
    fn a_mistake_breaks_what_asks_a_registry_and_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registries.conf");
        fs_err::write(&path, "[[registry]]\nblocked = 1\n").unwrap();
        let directory = Configured::new(Sources { registries_conf: vec![path.clone()], ..Sources::default() });
        assert!(asked(&directory, "a").contains("registries.conf:2: "));
        fs_err::write(&path, "unqualified-search-registries = [\"r.example\"]\n").unwrap();
        assert_eq!(directory.search().unwrap(), ["r.example"]);
        fs_err::write(&path, "[[").unwrap();
        assert_eq!(asked(&directory, "a"), "https://registry-1.docker.io/library/a", "read once");
    }

    #[test]
    fn certificates_go_with_the_host() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("r.example:5000")).unwrap();
        let authority = folder.path().join("r.example:5000/ca.crt");
        fs_err::write(&authority, "").unwrap();
        let directory = Configured::new(Sources { certificates: vec![folder.path().to_owned()], ..Sources::default() });
        let verify = |name: &str| directory.endpoints(&Reference::parse(name).unwrap()).unwrap().remove(0).verify;
        assert_eq!(verify("r.example:5000/a"), Verify::Authorities(vec![authority]));
        assert_eq!(verify("r.example/a"), Verify::default());
    }
}
