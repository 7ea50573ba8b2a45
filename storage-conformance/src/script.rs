//! Random sequences of verbs that two processes can agree on: from a seed follows what a process does to a driver, step by
//! step, and what must be there after each step.

use std::collections::BTreeMap;

use fastrand::Rng;
use mica_storage_api::ObjectKind;

/// Files and what they hold; a directory or link is not part of it.
pub(crate) type Files = BTreeMap<String, String>;

/// One call, or the few that are one step of a container's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Begin a layer on a chain and fill it.
    BeginLayer(String, Vec<String>),
    /// Publish it under its own name.
    CommitLayer(String),
    /// Give it up.
    Abort(String),
    /// Make a container.
    Container(String, Vec<String>),
    /// Mount it, write a file and delete one of the image.
    Write(String, Vec<String>, u32),
    /// Turn it into a layer of the same name.
    Promote(String, Vec<String>),
    /// List its changes.
    Changes(String, Vec<String>),
    /// Take an object away.
    Remove(ObjectKind, String),
    /// Free a little of the trash.
    Reap,
    /// List everything.
    List,
}

/// An object that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// Its parents, top first.
    pub(crate) chain: Vec<String>,
    /// What it shows.
    pub(crate) files: Files,
    writes: u32,
}

/// A sequence, and what must be there at the point it has come to.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    rng: Rng,
    prefix: String,
    promotes: bool,
    made: u32,
    pub(crate) objects: BTreeMap<(ObjectKind, String), Object>,
}

/// The layer's own file.
fn own(name: &str) -> String {
    format!("d-{name}/f")
}

fn content(name: &str) -> String {
    format!("{name}\n").repeat(40)
}

impl Script {
    /// The sequence of a seed. All its names begin with `prefix`.
    pub(crate) fn new(seed: u64, prefix: &str, promotes: bool) -> Self {
        Self { rng: Rng::with_seed(seed), prefix: prefix.to_owned(), promotes, made: 0, objects: BTreeMap::new() }
    }

    /// The next step; what must be there is what holds after it.
    pub(crate) fn next(&mut self) -> Step {
        let step = self.pick();
        self.apply(&step);
        step
    }

    /// Whether a name is one of this sequence.
    pub(crate) fn is_own(&self, name: &str) -> bool {
        name.strip_prefix(self.prefix.as_str()).is_some_and(|rest| rest.starts_with('-'))
    }

    fn pick(&mut self) -> Step {
        let stages = self.names(ObjectKind::Stage);
        let rws = self.names(ObjectKind::Rw);
        let roll = self.rng.u32(0..100);
        let one = |rng: &mut Rng, names: &[String]| names[rng.usize(0..names.len())].clone();
        match roll {
            0..20 => return Step::BeginLayer(self.fresh("l"), self.chain()),
            20..40 if !stages.is_empty() => return Step::CommitLayer(one(&mut self.rng, &stages)),
            40..45 if !stages.is_empty() => return Step::Abort(one(&mut self.rng, &stages)),
            45..57 => return Step::Container(self.fresh("c"), self.chain()),
            _ => {}
        }
        if !rws.is_empty() && roll < 85 {
            let name = one(&mut self.rng, &rws);
            let object = &self.objects[&(ObjectKind::Rw, name.clone())];
            let (chain, writes) = (object.chain.clone(), object.writes);
            return match roll {
                57..66 => Step::Write(name, chain, writes + 1),
                66..74 if self.promotes => Step::Promote(name, chain),
                74..79 => Step::Changes(name, chain),
                79..85 => Step::Remove(ObjectKind::Rw, name),
                _ => Step::List,
            };
        }
        let free: Vec<String> =
            self.names(ObjectKind::Layer).into_iter().filter(|name| !self.is_needed(name)).collect();
        match roll {
            85..90 if !free.is_empty() => Step::Remove(ObjectKind::Layer, one(&mut self.rng, &free)),
            90..95 => Step::Reap,
            _ => Step::List,
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::BeginLayer(name, chain) => {
                let mut files = self.shown(chain);
                files.insert(own(name), content(name));
                let object = Object { chain: chain.clone(), files, writes: 0 };
                self.objects.insert((ObjectKind::Stage, name.clone()), object);
            }
            Step::CommitLayer(name) => self.rename(ObjectKind::Stage, name),
            Step::Abort(name) => drop(self.objects.remove(&(ObjectKind::Stage, name.clone()))),
            Step::Container(name, chain) => {
                let object = Object { chain: chain.clone(), files: self.shown(chain), writes: 0 };
                self.objects.insert((ObjectKind::Rw, name.clone()), object);
            }
            Step::Write(name, _, number) => {
                if let Some(object) = self.objects.get_mut(&(ObjectKind::Rw, name.clone())) {
                    object.writes = *number;
                    object.files.insert(format!("w-{name}-{number}"), content(name));
                    if let Some(bottom) = object.chain.last() {
                        object.files.remove(&own(bottom));
                    }
                }
            }
            Step::Promote(name, _) => self.rename(ObjectKind::Rw, name),
            Step::Remove(kind, name) => drop(self.objects.remove(&(*kind, name.clone()))),
            Step::Changes(..) | Step::Reap | Step::List => {}
        }
    }

    /// Makes a layer of a stage or of an rw object.
    fn rename(&mut self, kind: ObjectKind, name: &str) {
        if let Some(object) = self.objects.remove(&(kind, name.to_owned())) {
            self.objects.insert((ObjectKind::Layer, name.to_owned()), object);
        }
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{}-{kind}{}", self.prefix, self.made)
    }

    /// A layer with all that is below it, or nothing. Short, so that a drop of depth costs no copies of deep trees.
    fn chain(&mut self) -> Vec<String> {
        let layers = self.names(ObjectKind::Layer);
        if layers.is_empty() {
            return Vec::new();
        }
        let top = layers[self.rng.usize(0..layers.len())].clone();
        let below = &self.objects[&(ObjectKind::Layer, top.clone())].chain;
        if below.len() >= 6 { Vec::new() } else { std::iter::once(top).chain(below.iter().cloned()).collect() }
    }

    fn shown(&self, chain: &[String]) -> Files {
        let top = chain.first().and_then(|top| self.objects.get(&(ObjectKind::Layer, top.clone())));
        top.map(|object| object.files.clone()).unwrap_or_default()
    }

    fn is_needed(&self, layer: &str) -> bool {
        self.objects.values().any(|object| object.chain.iter().any(|name| name == layer))
    }

    fn names(&self, wanted: ObjectKind) -> Vec<String> {
        self.objects.keys().filter(|(kind, _)| *kind == wanted).map(|(_, name)| name.clone()).collect()
    }
}

/// The file a step of this kind writes, with what it holds.
pub(crate) fn file_of(step: &Step) -> Option<(String, String)> {
    match step {
        Step::BeginLayer(name, _) => Some((own(name), content(name))),
        Step::Write(name, _, number) => Some((format!("w-{name}-{number}"), content(name))),
        _ => None,
    }
}

/// The directory of a layer's own file.
pub(crate) fn directory_of(name: &str) -> String {
    format!("d-{name}")
}

/// The file of the image that a write deletes, if it is still there.
pub(crate) fn deleted_by(chain: &[String]) -> Option<String> {
    chain.last().map(|bottom| own(bottom))
}
