//! `ps` and `inspect`: containers with their states, chosen by filters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mica_layer::{DiffId, Digest};

use super::measure::Writer;
use crate::container::{
    ContainerPort, ContainerRecord, ContainerState, HEALTH, Health, MountSource, NetworkMode, parse_expose,
};
use crate::filter;
use crate::network::{Binding, NetworkState};
use crate::ops::networking::exposed;
use crate::store::container_state::{Shelf, read, restarts};
use crate::store::containers::{self, Unread};
use crate::store::images;
use crate::{Engine, Error, Kind, Result, parallel};

/// Which containers to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PsRequest {
    /// Also those that do not run.
    pub all: bool,
    /// The last so many created, in any state.
    pub last: Option<usize>,
    /// `--filter` arguments, `key=value`. Values of one key are alternatives; keys must all hold.
    pub filters: Vec<String>,
    /// Compute sizes.
    pub sizes: bool,
}

/// A container in a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSummary {
    /// What was asked for and resolved.
    pub record: ContainerRecord,
    /// What it is doing.
    pub state: ContainerState,
    /// Where its log and the files are that are mounted into it.
    pub directory: PathBuf,
    /// How it is connected, while it runs.
    pub network: NetworkState,
    /// Where the directories of volumes are.
    pub volumes: PathBuf,
    /// When asked for.
    pub size: Option<ContainerSize>,
    /// What checks have said of it, when it is checked and has run.
    pub health: Option<Health>,
    /// How many times it was started again since somebody last started it. Known of a single container, not in listings.
    pub restarts: u32,
}

/// Bytes a container takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerSize {
    /// What it wrote.
    pub writable: u64,
    /// With the image below it (`virtual`).
    pub total: u64,
}

impl Engine {
    /// Lists containers, newest first. Why one could not be started is left to [`Engine::container`].
    pub async fn ps(&self, request: PsRequest) -> Result<Vec<ContainerSummary>> {
        self.blocking(move |engine| engine.listed(&request)).await
    }

    /// [`Engine::ps`] for whoever may block.
    pub(crate) fn listed(&self, request: &PsRequest) -> Result<Vec<ContainerSummary>> {
        if !request.sizes {
            return self.list(request);
        }
        let (found, below) = parallel::both(|| self.list(request), || self.store().read(images::sizes));
        let (mut found, below) = (found?, below?);
        self.fill_sizes(&mut found, &below)?;
        Ok(found)
    }

    /// One container, by ID, prefix or name.
    pub async fn container(&self, container: &str) -> Result<ContainerSummary> {
        let (record, state) = self.look_up(container).await?;
        let restarts = restarts(&self.store().directories(&record.id))?;
        let mut summary = self.summary(record, state);
        summary.restarts = restarts;
        summary.health = health(&summary.record, &summary.directory);
        Ok(summary)
    }

    /// Bytes a container takes; may walk what it wrote.
    pub async fn container_size(&self, container: &str) -> Result<ContainerSize> {
        let (record, state) = self.look_up(container).await?;
        self.blocking(move |engine| {
            let mut found = [engine.summary(record, state)];
            engine.fill_sizes(&mut found, &engine.store().read(images::sizes)?)?;
            Ok(found[0].size.unwrap_or_default())
        })
        .await
    }

    /// Fills in what containers take over images of these sizes.
    pub(crate) fn fill_sizes(&self, containers: &mut [ContainerSummary], below: &BTreeMap<Digest, u64>) -> Result<()> {
        let writers: Vec<Writer<'_>> = containers
            .iter()
            .map(|ContainerSummary { record, state, .. }| Writer {
                id: &record.id,
                driver: &record.driver,
                running: state.is_running(),
            })
            .collect();
        let written = self.written(&writers)?;
        for (summary, usage) in containers.iter_mut().zip(written) {
            let image = below.get(&summary.record.image_id).copied().unwrap_or_default();
            summary.size = Some(ContainerSize { writable: usage.bytes, total: usage.bytes + image });
        }
        Ok(())
    }

    fn summary(&self, record: ContainerRecord, state: ContainerState) -> ContainerSummary {
        let directories = self.store().directories(&record.id);
        let connected = state.is_running() && record.spec.network == NetworkMode::Networks;
        let network =
            if connected { NetworkState::read(&directories.run).unwrap_or_default() } else { Default::default() };
        let volumes = self.store().root().join("volumes");
        // Of a container that has ended, the last word is for whoever looks at it alone.
        let health = if state.is_running() { health(&record, &directories.state) } else { None };
        ContainerSummary {
            record,
            state,
            directory: directories.state,
            network,
            volumes,
            size: None,
            health,
            restarts: 0,
        }
    }

    /// The same without sizes.
    pub(crate) fn list(&self, request: &PsRequest) -> Result<Vec<ContainerSummary>> {
        let rows = self.store().read(containers::rows)?;
        let filters = self.filters(&request.filters, &rows)?;
        let any_state = request.all || request.last.is_some() || filters.names_states();
        let shelf = Shelf::open(self.store())?;
        // In one go: beside other work on this machine, threads wait for each other at the end of every step.
        let looked = parallel::map(&rows, |row| {
            let record = row.record()?;
            if !filters.match_record(&record) {
                return Ok(None);
            }
            let state = match shelf.at_rest(&record.id)? {
                Some(state) => state,
                None => self.state_of(&record)?,
            };
            Ok(Some(self.summary(record, state)))
        });
        let mut found = Vec::with_capacity(rows.len());
        for looked in looked {
            let Some(summary) = looked? else { continue };
            if self.is_finished(&summary.record, &summary.state) && self.clear_finished(&summary.record.id)? {
                continue;
            }
            let wanted = filters.match_state(&summary.state)
                && filters.match_health(summary.health.as_ref())
                && filters.match_ports(&summary)?;
            if wanted && (any_state || summary.state.is_running()) {
                found.push(summary);
            }
            if request.last.is_some_and(|last| found.len() >= last) {
                break;
            }
        }
        Ok(found)
    }

    fn filters(&self, words: &[String], rows: &[Unread]) -> Result<Filters> {
        let mut filters = Filters::parse(words)?;
        for (key, names) in [("before", &mut filters.before), ("since", &mut filters.since)] {
            for name in filters.values.get(key).into_iter().flatten() {
                let found = self.store().find_container(name)?;
                names.extend(rows.iter().filter(|row| row.id == found.id).map(|row| row.created.clone()));
            }
        }
        for network in filters.values.get_mut("network").into_iter().flatten() {
            match self.find_network(network) {
                Ok(found) => *network = found.name,
                // A container may name a network that is gone.
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::InvalidInput) => {}
                Err(error) => return Err(error),
            }
        }
        for image in filters.values.get("ancestor").into_iter().flatten() {
            match self.store().find_image(image) {
                Ok(found) => filters.ancestors.push((found.id, found.config.rootfs.diff_ids)),
                // Nothing descends from an image that is not there.
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::InvalidInput) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filters)
    }
}

/// What checks have said.
fn health(record: &ContainerRecord, directory: &Path) -> Option<Health> {
    record.health_check()?;
    read(&directory.join(HEALTH)).ok().flatten()
}

/// Parsed `--filter` arguments, with what they name looked up.
#[derive(Debug, Default)]
struct Filters {
    values: BTreeMap<String, Vec<String>>,
    before: Vec<String>,
    since: Vec<String>,
    ancestors: Vec<(Digest, Vec<DiffId>)>,
    published: BTreeSet<ContainerPort>,
    exposed: BTreeSet<ContainerPort>,
    is_task: Option<bool>,
}

impl Filters {
    fn parse(words: &[String]) -> Result<Filters> {
        const HEALTHS: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];
        const KEYS: [&str; 15] = [
            "ancestor",
            "before",
            "exited",
            "expose",
            "health",
            "id",
            "is-task",
            "isolation",
            "label",
            "name",
            "network",
            "publish",
            "since",
            "status",
            "volume",
        ];
        const ISOLATIONS: [&str; 3] = ["default", "process", "hyperv"];
        const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
        let mut filters = Filters::default();
        for word in words {
            let wrong = || Error::refused(Kind::InvalidInput, format!("invalid filter `{}`", word.escape_debug()));
            let (key, value) = word.split_once('=').ok_or_else(wrong)?;
            filter::known(&[(key.to_owned(), String::new())], &KEYS)?;
            let fits = match key {
                "status" => STATES.contains(&value),
                "health" => HEALTHS.contains(&value),
                "exited" => value.parse::<i32>().is_ok(),
                "isolation" => ISOLATIONS.contains(&value),
                _ => true,
            };
            if !fits {
                return Err(wrong());
            }
            match key {
                "publish" => filters.published.extend(parse_expose(value)?),
                "expose" => filters.exposed.extend(parse_expose(value)?),
                "is-task" => filters.is_task = Some(filter::boolean(key, value)?),
                _ => {}
            }
            filters.values.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        Ok(filters)
    }

    /// True when states outside of the default listing are asked for.
    fn names_states(&self) -> bool {
        self.values.contains_key("status") || self.values.contains_key("exited")
    }

    fn match_record(&self, record: &ContainerRecord) -> bool {
        self.any("id", |value| record.id.starts_with(value))
            && self.any("name", |value| name_matches(&record.name, value))
            && self.all("label", |value| label_matches(record, value))
            && self.any("network", |value| is_on(record, value))
            && self.any("volume", |value| mounts(record, value))
            // Tasks are of swarms, and the other isolations of Windows.
            && self.is_task != Some(true)
            && self.any("isolation", |value| value == "default")
            && self.any("ancestor", |_| self.descends(record))
            && self.any("before", |_| self.before.iter().any(|created| record.created < *created))
            && self.any("since", |_| self.since.iter().any(|created| record.created > *created))
    }

    /// Ports are those of the machine that are published now, or those that the container says it listens on. As with Docker
    /// one of either kind is enough.
    fn match_ports(&self, summary: &ContainerSummary) -> Result<bool> {
        if self.published.is_empty() && self.exposed.is_empty() {
            return Ok(true);
        }
        let is_published = |binding: &Binding| {
            self.published.contains(&ContainerPort { protocol: binding.container.protocol, port: binding.port })
        };
        Ok(summary.network.ports.iter().any(is_published)
            || (!self.exposed.is_empty() && exposed(&summary.record)?.iter().any(|port| self.exposed.contains(port))))
    }

    fn match_state(&self, state: &ContainerState) -> bool {
        let code = match state {
            ContainerState::Exited { code, .. } => Some(*code),
            _ => None,
        };
        self.any("status", |value| state.word() == value)
            && self.any("exited", |value| code.is_some() && value.parse().ok() == code)
    }

    fn match_health(&self, health: Option<&Health>) -> bool {
        let word = health.map_or("none", |health| health.status.word());
        self.any("health", |value| value == word)
    }

    fn descends(&self, record: &ContainerRecord) -> bool {
        self.ancestors
            .iter()
            .any(|(id, stack)| record.image_id == *id || (!stack.is_empty() && record.diff_ids.starts_with(stack)))
    }

    fn any(&self, key: &str, test: impl Fn(&str) -> bool) -> bool {
        self.values.get(key).is_none_or(|values| values.iter().any(|value| test(value)))
    }

    fn all(&self, key: &str, test: impl Fn(&str) -> bool) -> bool {
        self.values.get(key).is_none_or(|values| values.iter().all(|value| test(value)))
    }
}

/// True when a container is on a network, by its name.
fn is_on(record: &ContainerRecord, wanted: &str) -> bool {
    match &record.spec.network {
        NetworkMode::None => wanted == "none",
        NetworkMode::Host => wanted == "host",
        NetworkMode::Networks => record.spec.networks.iter().any(|endpoint| endpoint.network == wanted),
        NetworkMode::Container(_) => false,
    }
}

/// A part of the name, with `^` and `$` for its ends.
fn name_matches(name: &str, wanted: &str) -> bool {
    let (from_start, rest) = wanted.strip_prefix('^').map_or((false, wanted), |rest| (true, rest));
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let (to_end, rest) = rest.strip_suffix('$').map_or((false, rest), |rest| (true, rest));
    match (from_start, to_end) {
        (true, true) => name == rest,
        (true, false) => name.starts_with(rest),
        (false, true) => name.ends_with(rest),
        (false, false) => name.contains(rest),
    }
}

fn label_matches(record: &ContainerRecord, wanted: &str) -> bool {
    let labels = record.config.labels.as_ref();
    match wanted.split_once('=') {
        Some((key, value)) => labels.and_then(|labels| labels.get(key)).is_some_and(|found| found == value),
        None => labels.is_some_and(|labels| labels.contains_key(wanted)),
    }
}

/// True when a volume's name, a bind's source or a mount's target is this.
fn mounts(record: &ContainerRecord, wanted: &str) -> bool {
    let volume = record.volumes.iter().any(|volume| volume.name == wanted || volume.target == wanted);
    let bind = record.spec.mounts.iter().any(|mount| {
        let source = matches!(&mount.source, MountSource::Bind { path, .. } if path.as_os_str() == wanted);
        source || mount.target == wanted
    });
    volume || bind
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ContainerRecord {
        ContainerRecord {
            id: "ab".repeat(32),
            name: "web_1".into(),
            created: "2026-01-02T00:00:00Z".into(),
            image_id: Digest::sha256_of(b"i"),
            image_name: "i".into(),
            driver: "overlay".into(),
            diff_ids: vec![DiffId(Digest::sha256_of(b"1")), DiffId(Digest::sha256_of(b"2"))],
            config: crate::image::ContainerDefaults {
                labels: Some([("tier".to_owned(), "front".to_owned())].into()),
                ..Default::default()
            },
            spec: Box::new(crate::container::ContainerSpec {
                mounts: vec![crate::container::parse_volume("/srv:/data").unwrap()],
                ..Default::default()
            }),
            volumes: vec![],
            ids: None,
        }
    }

    #[test]
    fn filters_choose_records_and_states() {
        let exited = ContainerState::Exited {
            code: 3,
            started_at: "a".into(),
            finished_at: "b".into(),
            oom_killed: false,
            error: None,
        };
        for (words, wanted) in [
            (vec![], true),
            (vec!["id=abab"], true),
            (vec!["id=ba"], false),
            (vec!["name=eb"], true),
            (vec!["name=^web_1$"], true),
            (vec!["name=^/web_1$"], true),
            (vec!["name=^eb"], false),
            (vec!["name=x", "name=web"], true),
            (vec!["label=tier"], true),
            (vec!["label=tier=back"], false),
            (vec!["label=tier", "label=none"], false),
            (vec!["status=exited"], true),
            (vec!["status=running"], false),
            (vec!["exited=3"], true),
            (vec!["exited=0", "exited=3"], true),
            (vec!["exited=0"], false),
            (vec!["volume=/srv"], true),
            (vec!["volume=/data", "network=none"], true),
            (vec!["network=host"], false),
            (vec!["is-task=false", "isolation=default"], true),
            (vec!["is-task=true"], false),
            (vec!["isolation=hyperv"], false),
        ] {
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            let filters = Filters::parse(&words).unwrap();
            assert_eq!(filters.match_record(&record()) && filters.match_state(&exited), wanted, "{words:?}");
        }
        for word in [
            "nope=1",
            "status",
            "status=asleep",
            "exited=x",
            "publish=http",
            "expose=9-1",
            "is-task=x",
            "isolation=x",
            "",
        ] {
            assert_eq!(Filters::parse(&[word.to_owned()]).unwrap_err().kind(), Kind::InvalidInput, "{word}");
        }
        assert_eq!(Filters::parse(&["nope=1".to_owned()]).unwrap_err().to_string(), "invalid filter `nope`");
    }

    #[test]
    fn ports_are_those_of_the_machine_or_those_listened_on() {
        let binding = |text: &str| {
            let port = crate::container::parse_publish(text).unwrap().remove(0);
            let address = std::net::Ipv4Addr::UNSPECIFIED.into();
            Binding { container: port.container, address, port: port.host.unwrap().0 }
        };
        let mut record = record();
        record.spec.expose = parse_expose("7000/udp").unwrap();
        let summary = ContainerSummary {
            record,
            state: ContainerState::Created { failure: None },
            directory: PathBuf::new(),
            network: NetworkState { ports: vec![binding("8080:80"), binding("53:5353/udp")], ..Default::default() },
            volumes: PathBuf::new(),
            size: None,
            health: None,
            restarts: 0,
        };
        for (words, wanted) in [
            (vec![], true),
            (vec!["publish=8080"], true),
            (vec!["publish=8080/tcp"], true),
            (vec!["publish=8080/udp"], false),
            (vec!["publish=80"], false),
            (vec!["publish=8000-8100"], true),
            (vec!["publish=50-60/udp"], true),
            (vec!["expose=7000/udp"], true),
            (vec!["expose=7000"], false),
            (vec!["publish=1", "expose=6999-7001/udp"], true),
            (vec!["publish=1", "publish=8080"], true),
        ] {
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            assert_eq!(Filters::parse(&words).unwrap().match_ports(&summary).unwrap(), wanted, "{words:?}");
        }
    }

    #[test]
    fn ancestors_are_images_and_what_they_were_built_on() {
        let ancestor = |id: &[u8], layers: &[&[u8]]| Filters {
            values: [("ancestor".to_owned(), vec!["x".to_owned()])].into(),
            ancestors: vec![(
                Digest::sha256_of(id),
                layers.iter().map(|layer| DiffId(Digest::sha256_of(layer))).collect(),
            )],
            ..Filters::default()
        };
        assert!(ancestor(b"i", &[]).match_record(&record()));
        assert!(ancestor(b"base", &[b"1"]).match_record(&record()));
        assert!(!ancestor(b"base", &[b"2"]).match_record(&record()));
        assert!(!ancestor(b"scratch", &[]).match_record(&record()));
    }
}
