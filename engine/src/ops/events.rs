//! `events`: what has happened and what happens, from the file that every process appends to.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use tokio::sync::mpsc;

use crate::container::{ContainerRecord, NetworkMode};
use crate::events::{self, Actor, Event, Teller};
use crate::store::volumes::LOCAL;
use crate::{Engine, Error, Result, filter};

/// How long a reader sleeps at most. It is woken by what it waits for; this is for kernels without a free inotify.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// Lines that wait for whoever shows them.
const QUEUE: usize = 256;
/// The keys that filters have. Of the last six nothing ever happens here.
const KEYS: [&str; 15] = [
    "container",
    "event",
    "health_status",
    "image",
    "label",
    "network",
    "scope",
    "type",
    "volume",
    "daemon",
    "config",
    "node",
    "plugin",
    "secret",
    "service",
];

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventsRequest {
    /// From this time on; only what happens from now on when `None`.
    pub since: Option<Timestamp>,
    /// Up to this time; for ever when `None`.
    pub until: Option<Timestamp>,
    /// `name=value` pairs. Values of one name are alternatives; names must all hold.
    pub filters: Vec<(String, String)>,
}

/// Events, one at a time.
#[derive(Debug)]
pub struct EventStream(mpsc::Receiver<Result<Event>>);

impl EventStream {
    /// The next event; `None` when the time that was asked for is over. Safe to cancel.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        self.0.recv().await
    }
}

impl Engine {
    /// Tells that something happened. That it cannot be told is no failure of what happened.
    pub(crate) fn tell(&self, kind: &str, action: &str, actor: Actor) {
        self.tell_all(&[Event::now(kind, action, actor)]);
    }

    /// Tells several things with one write.
    pub(crate) fn tell_all(&self, events: &[Event]) {
        if let Err(error) = events::append(&self.events_file(), events) {
            tracing::debug!(%error, "an event is not told");
        }
    }

    /// Tells something of a container.
    pub(crate) fn tell_of(&self, record: &ContainerRecord, action: &str) {
        self.tell("container", action, Actor::container(record));
    }

    /// What a container's monitor tells its events with.
    pub(crate) fn teller(&self, record: &ContainerRecord) -> Teller {
        let network = match record.spec.network {
            NetworkMode::None => {
                Some(self.predefined("none").id).map(|id| Actor::named(&id, "none").with("type", "null"))
            }
            NetworkMode::Host => {
                Some(self.predefined("host").id).map(|id| Actor::named(&id, "host").with("type", "host"))
            }
            NetworkMode::Networks | NetworkMode::Container(_) => None,
        };
        let volumes = record.volumes.iter().map(|volume| {
            Actor::volume(&volume.name, LOCAL)
                .with("container", &record.id)
                .with("destination", &volume.target)
                .with("propagation", "")
                .with("read/write", !volume.read_only)
        });
        Teller {
            path: self.events_file(),
            actor: Actor::container(record),
            run_dir: self.store().directories(&record.id).run,
            network: network.map(|network| network.with("container", &record.id)),
            volumes: volumes.collect(),
        }
    }

    fn events_file(&self) -> PathBuf {
        events::file(self.store().run_root(), self.store().id())
    }

    /// Opens the stream of events. Whatever happens from now on is in it.
    pub fn events(&self, request: EventsRequest) -> Result<EventStream> {
        filter::known(&request.filters, &KEYS)?;
        let mut reader = Reader::open(self.events_file(), request.since.is_some())?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        // A thread that nobody waits for: it sleeps in the kernel until something happens.
        std::thread::spawn(move || {
            if let Err(error) = reader.run(&request, &sender) {
                let _ = sender.blocking_send(Err(error));
            }
        });
        Ok(EventStream(receiver))
    }
}

/// The files, read to where they are written.
struct Reader {
    path: PathBuf,
    before: Option<std::fs::File>,
    file: Option<std::fs::File>,
    rest: Vec<u8>,
    watch: Option<OwnedFd>,
}

impl Reader {
    /// At the beginning of everything, or at the end.
    fn open(path: PathBuf, from_beginning: bool) -> Result<Self> {
        let watch = watch(&path);
        let before = if from_beginning { open(&events::previous(&path))? } else { None };
        let mut file = open(&path)?;
        if let (Some(file), false) = (&mut file, from_beginning) {
            std::io::Seek::seek(file, std::io::SeekFrom::End(0)).map_err(Error::io("read", &path))?;
        }
        Ok(Self { path, before, file, rest: Vec::new(), watch })
    }

    fn run(&mut self, request: &EventsRequest, sender: &mpsc::Sender<Result<Event>>) -> Result<()> {
        loop {
            // Before the reading: what is told up to now is then read.
            let now = Timestamp::now();
            for event in self.read()? {
                let time = Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or(now);
                if request.until.is_some_and(|until| time > until) {
                    return Ok(());
                }
                let wanted = request.since.is_none_or(|since| time >= since) && chosen(&event, &request.filters);
                if wanted && sender.blocking_send(Ok(event)).is_err() {
                    return Ok(());
                }
            }
            if sender.is_closed() || request.until.is_some_and(|until| now >= until) {
                return Ok(());
            }
            self.sleep(request.until);
        }
    }

    /// The events that were told since the last time.
    fn read(&mut self) -> Result<Vec<Event>> {
        let mut found = Vec::new();
        if let Some(mut before) = self.before.take() {
            self.drain(&mut before, &mut found)?;
        }
        loop {
            if self.file.is_none() {
                self.file = open(&self.path)?;
            }
            let Some(mut file) = self.file.take() else { return Ok(found) };
            // Asked before the reading: a file that has lost its name by then gets nothing more.
            let named = fs_err::metadata(&self.path).ok();
            let own = file.metadata().map_err(Error::io("look at", &self.path))?;
            self.drain(&mut file, &mut found)?;
            if named.is_none_or(|named| named.ino() == own.ino()) {
                self.file = Some(file);
                return Ok(found);
            }
        }
    }

    fn drain(&mut self, file: &mut std::fs::File, found: &mut Vec<Event>) -> Result<()> {
        file.read_to_end(&mut self.rest).map_err(Error::io("read", &self.path))?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = self.rest.split_off(end + 1);
        found.extend(
            self.rest.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Event>(line).ok()),
        );
        self.rest = rest;
        Ok(())
    }

    fn sleep(&self, until: Option<Timestamp>) {
        let left = until.map(|until| until.duration_since(Timestamp::now()));
        let left = left.and_then(|left| std::time::Duration::try_from(left).ok());
        let patience = match left {
            Some(left) if left.as_secs() == 0 => Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() },
            _ => LOOK_AGAIN,
        };
        let Some(watch) = &self.watch else {
            std::thread::sleep(std::time::Duration::from_millis(100));
            return;
        };
        if poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&patience)).is_ok() {
            let mut buffer = [0; 4096];
            while rustix::io::read(watch, &mut buffer).is_ok_and(|count| count == buffer.len()) {}
        }
    }
}

/// Wakes at changes in the directory, because the file may not be there yet.
fn watch(path: &Path) -> Option<OwnedFd> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
    let changes = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_FROM;
    inotify::add_watch(&watch, path.parent()?, changes).ok()?;
    Some(watch)
}

fn open(path: &Path) -> Result<Option<std::fs::File>> {
    match fs_err::File::open(path) {
        Ok(file) => Ok(Some(file.into_parts().0)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", path)(error)),
    }
}

/// Whether the filters let an event through.
fn chosen(event: &Event, filters: &[(String, String)]) -> bool {
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in filters {
        by_name.entry(name).or_default().push(value);
    }
    by_name.iter().all(|(name, values)| match *name {
        // Labels must all be there, as everywhere else.
        "label" => values.iter().all(|value| filter::has_label(&event.actor.attributes, value)),
        name => values.iter().any(|value| matches(event, name, value)),
    })
}

fn matches(event: &Event, name: &str, value: &str) -> bool {
    let attribute = |key: &str| event.actor.attributes.get(key).map(String::as_str);
    let is = |kind: &str| event.kind == kind && (event.actor.id.starts_with(value) || attribute("name") == Some(value));
    match name {
        "event" => event.action == value || event.action.split_once(':').is_some_and(|(action, _)| action == value),
        "type" => event.kind == value,
        "scope" => event.scope == value,
        "health_status" => event.action == format!("health_status: {value}"),
        // A container's image counts too, by its name with or without the tag.
        "image" => {
            let bare = |name: &str| name == value || name.rsplit_once(':').is_some_and(|(name, _)| name == value);
            match event.kind.as_str() {
                "image" => is("image") || attribute("name").is_some_and(bare),
                _ => attribute("image").is_some_and(bare),
            }
        }
        "container" => is("container") || attribute("container") == Some(value),
        kind => is(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_choose_events() {
        let actor = Actor::named("abcdef", "web").with("image", "app:1").with("tier", "front");
        let event = Event::now("container", "exec_create: sh -c x", actor);
        for (filters, wanted) in [
            (vec![], true),
            (vec!["container=web"], true),
            (vec!["container=abc"], true),
            (vec!["container=eb"], false),
            (vec!["event=exec_create"], true),
            (vec!["event=exec"], false),
            (vec!["event=start", "event=exec_create: sh -c x"], true),
            (vec!["event=start", "type=container"], false),
            (vec!["image=app"], true),
            (vec!["image=app:2"], false),
            (vec!["label=tier=front", "label=name"], true),
            (vec!["label=tier=front", "label=none"], false),
            (vec!["volume=web"], false),
            (vec!["scope=local", "type=image"], false),
        ] {
            let pair = |filter: &&str| filter.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
            let pairs: Vec<_> = filters.iter().filter_map(pair).collect();
            assert_eq!(chosen(&event, &pairs), wanted, "{filters:?}");
        }
    }

    #[test]
    fn a_reader_follows_a_file_that_gets_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = events::file(dir.path(), "s");
        let tell = |id: &str| events::append(&path, &[Event::now("image", "tag", Actor::named(id, id))]).unwrap();
        let ids = |events: Vec<Event>| events.into_iter().map(|event| event.actor.id).collect::<Vec<_>>().concat();
        let mut reader = Reader::open(path.clone(), true).unwrap();
        assert_eq!(ids(reader.read().unwrap()), "");
        tell("a");
        tell("b");
        assert_eq!(ids(reader.read().unwrap()), "ab");
        tell("c");
        fs_err::rename(&path, events::previous(&path)).unwrap();
        tell("d");
        assert_eq!(ids(reader.read().unwrap()), "cd");
        assert_eq!(ids(Reader::open(path.clone(), true).unwrap().read().unwrap()), "abcd");
        let mut late = Reader::open(path.clone(), false).unwrap();
        tell("e");
        assert_eq!(ids(late.read().unwrap()), "e");
    }
}
