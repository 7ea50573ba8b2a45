//! Events: a line of JSON for everything that happens to a container or an image, in Docker's shape.
//!
//! ```text
//! <run>/events-<store>.json      the newest lines; every process appends to it
//! <run>/events-<store>.json.1    those before them
//! ```
//!
//! There is no daemon through which everything passes, so every process appends its own lines: one write to a file that is
//! opened for appending, which the kernel never mixes with another's. Whoever finds the file long renames it. The files lie
//! in the run root: they may vanish with the boot, and nobody flushes them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::container::ContainerRecord;
use crate::network::{Endpoint, NetworkRecord, NetworkState};
use crate::runtime::NAME;

/// How long a file becomes before it is renamed.
const LONG: u64 = 4 << 20;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Docker's older name of the action.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// Docker's older place of the actor's ID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Docker's older place of the image's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// `container`, `image`, `volume`, `network` or `builder`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `start`, `die`, `pull` and so on.
    #[serde(rename = "Action")]
    pub action: String,
    /// What it happened to.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`.
    pub scope: String,
    /// Seconds since 1970.
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// What an event happened to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Its ID or name.
    #[serde(rename = "ID")]
    pub id: String,
    /// What else is known of it: `name`, `image`, `exitCode`, labels.
    #[serde(rename = "Attributes", default)]
    pub attributes: BTreeMap<String, String>,
}

/// Where a container's events go, and what they all say. It travels to the monitor, which tells what only it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Teller {
    /// The file.
    pub path: PathBuf,
    /// The container.
    pub actor: Actor,
    /// Its hot state, where its networks are written down.
    pub run_dir: PathBuf,
    /// The network that it has for its whole life: the host's, or none.
    pub network: Option<Actor>,
    /// Its volumes, as they are told of when they are mounted.
    pub volumes: Vec<Actor>,
}

impl Actor {
    /// A container with its labels, its image and its name.
    pub fn container(record: &ContainerRecord) -> Self {
        let mut attributes = record.config.labels.clone().unwrap_or_default();
        attributes.insert("image".to_owned(), record.image_name.clone());
        attributes.insert("name".to_owned(), record.name.clone());
        Self { id: record.id.clone(), attributes }
    }

    /// A network with its driver.
    pub fn network(record: &NetworkRecord) -> Self {
        Self::named(&record.id, &record.name).with("type", record.driver.word())
    }

    /// A network that a container is in.
    pub fn endpoint(endpoint: &Endpoint, container: &str) -> Self {
        Self::named(&endpoint.network_id, &endpoint.network)
            .with("type", endpoint.driver.word())
            .with("container", container)
    }

    /// A volume, which has its name for an ID.
    pub fn volume(name: &str, driver: &str) -> Self {
        Self { id: name.to_owned(), attributes: BTreeMap::from([("driver".to_owned(), driver.to_owned())]) }
    }

    /// Something with a name.
    pub fn named(id: &str, name: &str) -> Self {
        Self { id: id.to_owned(), attributes: BTreeMap::from([("name".to_owned(), name.to_owned())]) }
    }

    /// The same with one more attribute.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.attributes.insert(key.to_owned(), value.to_string());
        self
    }
}

impl Event {
    /// Something that happens now.
    pub fn now(kind: &str, action: &str, actor: Actor) -> Self {
        let now = Timestamp::now();
        let from = if kind == "container" { actor.attributes.get("image").cloned() } else { None };
        let older = matches!(kind, "container" | "image");
        let own = |text: &str| if older { text.to_owned() } else { String::new() };
        Self {
            status: own(action),
            id: own(&actor.id),
            from: from.unwrap_or_default(),
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor,
            scope: "local".to_owned(),
            time: now.as_second(),
            time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
        }
    }
}

impl Teller {
    /// Tells something about the container. That it cannot be told is no failure of what happened.
    pub fn tell(&self, action: &str, attributes: &[(&str, String)]) {
        let actor = attributes.iter().fold(self.container(), |actor, (key, value)| actor.with(key, value));
        append(&self.path, &[Event::now("container", action, actor)]).ok();
    }

    /// Tells, in Docker's order, that the container has started: its networks and its volumes come first.
    pub fn tell_start(&self) {
        let mut events: Vec<Event> =
            self.networks().into_iter().map(|network| Event::now("network", "connect", network)).collect();
        events.extend(self.volumes.iter().map(|volume| Event::now("volume", "mount", volume.clone())));
        events.push(Event::now("container", "start", self.actor.clone()));
        append(&self.path, &events).ok();
    }

    /// Tells that the container is in no network any more and has no volumes: it has ended, and nothing follows.
    pub fn tell_end(&self) {
        let mut events: Vec<Event> =
            self.networks().into_iter().map(|network| Event::now("network", "disconnect", network)).collect();
        events.extend(self.volumes.iter().map(|volume| {
            let mut volume = volume.clone();
            volume.attributes.retain(|key, _| matches!(key.as_str(), "container" | "driver"));
            Event::now("volume", "unmount", volume)
        }));
        if !events.is_empty() {
            append(&self.path, &events).ok();
        }
    }

    /// The container, by the name that it has at this moment.
    fn container(&self) -> Actor {
        match fs_err::read_to_string(self.run_dir.join(NAME)) {
            Ok(name) => self.actor.clone().with("name", name),
            Err(_) => self.actor.clone(),
        }
    }

    /// The networks that it is in at this moment: somebody may have connected it to others since it started.
    fn networks(&self) -> Vec<Actor> {
        if let Some(network) = &self.network {
            return vec![network.clone()];
        }
        let state = NetworkState::read(&self.run_dir).unwrap_or_default();
        state.endpoints.iter().map(|endpoint| Actor::endpoint(endpoint, &self.actor.id)).collect()
    }
}

/// Where the events of a store go.
pub fn file(run_root: &Path, store: &str) -> PathBuf {
    run_root.join(format!("events-{store}.json"))
}

/// The file before a file of events.
pub fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Appends lines, with one write for all of them.
pub fn append(path: &Path, events: &[Event]) -> std::io::Result<()> {
    let mut text = Vec::with_capacity(512);
    for event in events {
        serde_json::to_writer(&mut text, event)?;
        text.push(b'\n');
    }
    let mut file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.write_all(&text)?;
    if file.metadata()?.len() > LONG {
        turn_over(path, &file)?;
    }
    Ok(())
}

/// Gives a long file its other name, unless somebody else is doing that or has done it.
fn turn_over(path: &Path, file: &File) -> std::io::Result<()> {
    if rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let named = fs_err::metadata(path).is_ok_and(|named| file.metadata().is_ok_and(|own| own.ino() == named.ino()));
    if named { fs_err::rename(path, previous(path)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<Event> {
        let text = fs_err::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn events_have_dockers_keys() {
        let event = Event::now("container", "start", Actor::named("abc", "web").with("image", "app:1"));
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!((json["status"].as_str(), json["id"].as_str()), (Some("start"), Some("abc")));
        assert_eq!((json["from"].as_str(), json["scope"].as_str()), (Some("app:1"), Some("local")));
        assert_eq!(json["Actor"]["Attributes"]["name"], "web");
        assert_eq!(json["timeNano"].as_i64().unwrap() / 1_000_000_000, json["time"].as_i64().unwrap());
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
        let json = serde_json::to_value(Event::now("volume", "create", Actor::named("v", "v"))).unwrap();
        assert!(json.get("status").is_none() && json.get("from").is_none(), "{json}");
    }

    #[test]
    fn many_write_at_once_and_lines_stay_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "s");
        let event = |number: u32| Event::now("image", "tag", Actor::named(&number.to_string(), &"x".repeat(3000)));
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || (0..400).for_each(|at| append(path, &[event(writer * 1000 + at)]).unwrap()));
            }
        });
        let mut all = lines(&previous(&path));
        assert!(!all.is_empty(), "the file was long enough to be renamed");
        all.extend(lines(&path));
        let mut seen: Vec<u32> = all.iter().map(|event| event.actor.id.parse().unwrap()).collect();
        seen.sort_unstable();
        let wanted: Vec<u32> = (0..4).flat_map(|writer| (0..400).map(move |at| writer * 1000 + at)).collect();
        assert_eq!(seen, wanted);
    }
}
