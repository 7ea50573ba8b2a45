//! Does the steps of a [`Script`] to a driver.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::time::Duration;

use mica_storage_api::{ErrorKind, Flow, KeyBuf, MountArgs, ObjectKind, StageArgs, StageKind};
use mica_storage_loader::{Driver, Stage};

use crate::ground::{key, keys, listed};
use crate::script::{self, Script, Step};
use crate::verdict::{Context, Outcome, Stop, ensure};
use crate::writer::Writer;

/// A driver and the stages that are open on it.
#[derive(Debug)]
pub(crate) struct Performer<'a> {
    driver: &'a Driver,
    stages: BTreeMap<String, Stage>,
}

impl<'a> Performer<'a> {
    pub(crate) fn new(driver: &'a Driver) -> Self {
        Self { driver, stages: BTreeMap::new() }
    }

    /// Does one step. `script` says what must be there after it.
    pub(crate) fn perform(&mut self, step: &Step, script: &Script) -> Outcome {
        match step {
            Step::BeginLayer(name, chain) => {
                let stage = self.begin(StageKind::Layer, name, chain)?;
                let to = Writer { root: stage.target() };
                to.dir(&script::directory_of(name))?;
                write(to, step)?;
                self.stages.insert(name.clone(), stage);
                Ok(())
            }
            Step::CommitLayer(name) => {
                let Some(stage) = self.stages.remove(name) else {
                    return Err(Stop::Fail(format!("no stage `{name}`")));
                };
                stage.commit(key(name)?).map(drop).doing(|| format!("commit the layer `{name}`"))
            }
            Step::Abort(name) => {
                if let Some(stage) = self.stages.remove(name) {
                    stage.abort();
                }
                Ok(())
            }
            Step::Container(name, chain) => {
                let stage = self.begin(StageKind::Rw, name, chain)?;
                stage.commit(key(name)?).map(drop).doing(|| format!("make the rw object `{name}`"))
            }
            Step::Promote(name, chain) => {
                let stage = self.begin(StageKind::Promote, name, chain)?;
                stage.commit(key(name)?).map(drop).doing(|| format!("promote `{name}`"))
            }
            Step::Write(name, chain, _) => self.write(step, name, chain),
            Step::Changes(name, chain) => self.changes(name, chain),
            Step::Remove(kind, name) => {
                self.driver.remove(*kind, key(name)?).doing(|| format!("remove the {kind:?} `{name}`"))
            }
            Step::Reap => self.driver.reap(Duration::from_millis(5)).map(drop).doing(|| "reap".to_owned()),
            Step::List => self.list(script),
        }
    }

    fn begin(&self, kind: StageKind, name: &str, chain: &[String]) -> Outcome<Stage> {
        let parents = keys(chain)?;
        let parents: Vec<_> = parents.iter().map(KeyBuf::as_key).collect();
        let args = StageArgs::new(kind, key(name)?, &parents);
        self.driver.stage_begin(&args).doing(|| format!("begin the stage `{name}`"))
    }

    fn write(&self, step: &Step, name: &str, chain: &[String]) -> Outcome {
        let parents = keys(chain)?;
        let parents: Vec<_> = parents.iter().map(KeyBuf::as_key).collect();
        let mount = self.driver.mount(&MountArgs::rw(key(name)?, &parents)).doing(|| format!("mount `{name}`"))?;
        let to = Writer { root: mount.as_fd() };
        write(to, step)?;
        match script::deleted_by(chain) {
            Some(path) if to.exists(&path) => to.remove(&path),
            _ => Ok(()),
        }
    }

    fn changes(&self, name: &str, chain: &[String]) -> Outcome {
        let parents = keys(chain)?;
        let parents: Vec<_> = parents.iter().map(KeyBuf::as_key).collect();
        match self.driver.changes(key(name)?, &parents, &mut |_| Flow::Continue) {
            Err(error) if error.kind() == ErrorKind::Fallback => Ok(()),
            other => other.doing(|| format!("list the changes of `{name}`")),
        }
    }

    /// What this sequence made is listed, and nothing of it that it removed, whatever others do meanwhile.
    fn list(&self, script: &Script) -> Outcome {
        let mut found = listed(self.driver)?;
        found.retain(|(_, name)| script.is_own(name));
        let expected: Vec<(ObjectKind, String)> = script.objects.keys().cloned().collect();
        ensure!(found == expected, "`list` shows {found:?} and should show {expected:?}");
        Ok(())
    }
}

fn write(to: Writer<'_>, step: &Step) -> Outcome {
    script::file_of(step).map_or(Ok(()), |(path, content)| to.file(&path, content))
}
