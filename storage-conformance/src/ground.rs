//! The ground a case stands on: one driver, opened on a fresh root, and the few sentences every case is made of.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use mica_storage_api::{
    Caps, ErrorKind, Flow, Info, Key, KeyBuf, MountArgs, MountFlags, ObjectKind, StageArgs, StageKind, Whiteout,
};
use mica_storage_loader::{Driver, OpenArgs, Plugin, Stage};

use crate::Depth;
use crate::tree::Tree;
use crate::verdict::{Context, Outcome, Stop, ensure};
use crate::worker::Workers;
use crate::writer::Writer;

/// What a case gets.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) driver: &'a Driver,
    pub(crate) plugin: &'a Plugin,
    pub(crate) options: &'a [String],
    pub(crate) rootless: bool,
    pub(crate) depth: Depth,
    pub(crate) root: PathBuf,
    pub(crate) workers: &'a Workers<'a>,
}

/// A stage's target, as the closures that fill it see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filling<'a> {
    pub(crate) target: Writer<'a>,
    pub(crate) style: Whiteout,
}

impl Ground<'_> {
    pub(crate) fn info(&self) -> &Info {
        self.driver.info()
    }

    /// Opens the driver on the same root once more, with further options.
    pub(crate) fn try_open_again(&self, further: &[&str]) -> Result<Driver, mica_storage_loader::Error> {
        let options: Vec<String> =
            self.options.iter().cloned().chain(further.iter().map(|option| (*option).to_owned())).collect();
        self.plugin.open(&OpenArgs { options: &options, rootless: self.rootless, ..OpenArgs::new(&self.root) })
    }

    /// Opens the driver on the same root once more.
    pub(crate) fn open_again(&self) -> Outcome<Driver> {
        self.try_open_again(&[]).doing(|| "open the driver again".to_owned())
    }

    /// Ends the case with a skip unless the driver claims these capabilities.
    pub(crate) fn needs(&self, caps: Caps) -> Outcome {
        if self.info().caps.contains(caps) {
            return Ok(());
        }
        let missing: Vec<_> = (caps - self.info().caps).names().collect();
        Err(Stop::Skip(format!("the driver does not claim {}", missing.join(", "))))
    }

    /// Begins a stage.
    pub(crate) fn stage(&self, kind: StageKind, id: &str, parents: &[&str]) -> Outcome<Stage> {
        let parents = keys(parents)?;
        let parents: Vec<_> = parents.iter().map(KeyBuf::as_key).collect();
        self.driver.stage_begin(&StageArgs::new(kind, key(id)?, &parents)).doing(|| format!("begin the stage `{id}`"))
    }

    /// Stages, fills and publishes a layer. The stage is called `stage-<key>`.
    pub(crate) fn layer(&self, name: &str, parents: &[&str], fill: impl FnOnce(Filling<'_>) -> Outcome) -> Outcome {
        let stage = self.stage(StageKind::Layer, &format!("stage-{name}"), parents)?;
        fill(filling(&stage)?)?;
        stage.commit(key(name)?).doing(|| format!("commit the layer `{name}`"))?;
        Ok(())
    }

    /// Makes a writable tree.
    pub(crate) fn container(&self, name: &str, parents: &[&str]) -> Outcome {
        let stage = self.stage(StageKind::Rw, &format!("stage-{name}"), parents)?;
        stage.commit(key(name)?).doing(|| format!("commit the rw object `{name}`"))?;
        Ok(())
    }

    /// Turns a writable tree into a layer.
    pub(crate) fn promote(&self, rw: &str, parents: &[&str], name: &str) -> Outcome {
        let stage = self.stage(StageKind::Promote, rw, parents)?;
        stage.commit(key(name)?).doing(|| format!("promote `{rw}` to `{name}`"))?;
        Ok(())
    }

    /// Mounts a writable tree.
    pub(crate) fn mount(&self, rw: &str, parents: &[&str]) -> Outcome<Mounted> {
        self.mount_with(Some(rw), parents, MountFlags::empty())
    }

    /// Mounts a read-only view.
    pub(crate) fn view(&self, parents: &[&str]) -> Outcome<Mounted> {
        self.mount_with(None, parents, MountFlags::empty())
    }

    /// Mounts a writable tree or a view in a special way.
    pub(crate) fn mount_with(&self, rw: Option<&str>, parents: &[&str], flags: MountFlags) -> Outcome<Mounted> {
        let parents = keys(parents)?;
        let parents: Vec<_> = parents.iter().map(KeyBuf::as_key).collect();
        let rw_id = rw.map(key).transpose()?;
        let args = MountArgs { rw_id, flags, ..MountArgs::view(&parents) };
        Ok(Mounted { mount: self.driver.mount(&args).doing(|| format!("mount `{}`", rw.unwrap_or("a view")))? })
    }

    /// Mounts a writable tree or a view with the ids that a user namespace maps.
    pub(crate) fn mount_mapped(&self, rw: Option<&str>, parents: &[&str], ids: &OwnedFd) -> Outcome<Mounted> {
        let parents = keys(parents)?;
        let parents: Vec<_> = parents.iter().map(KeyBuf::as_key).collect();
        let rw_id = rw.map(key).transpose()?;
        let args = MountArgs { rw_id, idmap_userns: Some(ids.as_fd()), ..MountArgs::view(&parents) };
        let mount = self.driver.mount(&args).doing(|| format!("mount `{}` with mapped ids", rw.unwrap_or("a view")))?;
        Ok(Mounted { mount })
    }

    /// The tree a read-only view shows.
    pub(crate) fn read_view(&self, parents: &[&str]) -> Outcome<Tree> {
        Tree::read(self.view(parents)?.fd())
    }

    pub(crate) fn remove(&self, kind: ObjectKind, name: &str) -> Outcome {
        self.driver.remove(kind, key(name)?).doing(|| format!("remove the {kind:?} `{name}`"))
    }

    /// Every object, sorted.
    pub(crate) fn list(&self) -> Outcome<Vec<(ObjectKind, String)>> {
        listed(self.driver)
    }

    /// A failure unless exactly these objects exist.
    pub(crate) fn must_list(&self, expected: &[(ObjectKind, &str)]) -> Outcome {
        let found = self.list()?;
        let mut expected: Vec<_> = expected.iter().map(|&(kind, name)| (kind, name.to_owned())).collect();
        expected.sort();
        ensure!(found == expected, "`list` shows {found:?} and should show {expected:?}");
        Ok(())
    }
}

/// A detached mount.
#[derive(Debug)]
pub(crate) struct Mounted {
    mount: OwnedFd,
}

impl Mounted {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }

    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer { root: self.mount.as_fd() }
    }
}

/// Every object of a driver, sorted.
pub(crate) fn listed(driver: &Driver) -> Outcome<Vec<(ObjectKind, String)>> {
    let mut found = Vec::new();
    driver
        .list(&mut |kind, name| {
            found.push((kind, name.to_string()));
            Flow::Continue
        })
        .doing(|| "list the objects".to_owned())?;
    found.sort();
    Ok(found)
}

/// Where a stage wants its content.
pub(crate) fn filling(stage: &Stage) -> Outcome<Filling<'_>> {
    Ok(Filling { target: Writer { root: stage.target() }, style: stage.whiteout() })
}

pub(crate) fn key(name: &str) -> Outcome<Key<'_>> {
    Key::new(name).doing(|| "make a key".to_owned())
}

pub(crate) fn keys(names: &[impl AsRef<str>]) -> Outcome<Vec<KeyBuf>> {
    names.iter().map(|name| KeyBuf::new(name.as_ref()).doing(|| "make a key".to_owned())).collect()
}

/// A failure unless the call failed in this way.
pub(crate) fn must_refuse<T>(
    result: Result<T, mica_storage_loader::Error>,
    expected: ErrorKind,
    what: &str,
) -> Outcome {
    match result {
        Ok(_) => Err(Stop::Fail(format!("{what} succeeded and should be refused as {expected:?}"))),
        Err(error) if error.kind() == expected => Ok(()),
        Err(error) => {
            Err(Stop::Fail(format!("{what} was refused as {:?} and should be {expected:?}: {error}", error.kind())))
        }
    }
}
