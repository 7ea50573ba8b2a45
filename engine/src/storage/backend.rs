//! Which driver: what was asked for, else what the store already uses, else what works here.
//!
//! A driver that was named is never replaced by another. The whole-tree driver is never picked by itself, because
//! it makes every container a copy; the refusal says how to ask for it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use mica_layer::{ChainId, DiffId};
use mica_storage_api::{Flow, LogLevel};
use mica_storage_loader::{Driver, HostServices, OpenArgs, Plugin};

use crate::store::{boot_id, preference};
use crate::{Engine, Error, Kind, Result};

/// What is probed when nothing says otherwise, in this order.
pub const PROBED: [&str; 2] = ["overlay", "btrfs"];
/// The driver that works everywhere, slowly.
const EVERYWHERE: &str = "vfs";

/// The option by which a driver is told what it found when it last looked.
const PROBED_BEFORE: &str = "probed=";

/// The drivers this process has opened. Nothing is opened twice: an open probes the real root.
#[derive(Debug, Default)]
pub(crate) struct Backends(Mutex<Opened>);

#[derive(Debug, Default)]
struct Opened {
    drivers: BTreeMap<String, Driver>,
    selected: Option<Driver>,
}

impl Engine {
    /// The driver for new snapshots. Blocks.
    pub(crate) fn selected_driver(&self) -> Result<Driver> {
        let mut opened = self.0.backends.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = &opened.selected {
            return Ok(driver.clone());
        }
        let driver = self.select(&mut opened)?;
        tracing::debug!(driver = driver.name(), "storage driver selected");
        opened.selected = Some(driver.clone());
        Ok(driver)
    }

    /// The driver for a new container of a stack: where nobody named one and the store's own does not hold the stack, one
    /// that does, because somebody moved it there. Blocks.
    pub(crate) fn driver_for(&self, stack: &[DiffId]) -> Result<Driver> {
        let usual = self.selected_driver()?;
        let (None, Some(top)) = (&self.options().storage_driver, ChainId::of(stack)) else { return Ok(usual) };
        match self.store().holders_of(&top)?.as_slice() {
            [first, rest @ ..] if first != usual.name() && rest.iter().all(|name| name != usual.name()) => {
                self.driver(first)
            }
            _ => Ok(usual),
        }
    }

    /// The driver for new snapshots, if this process has needed one.
    pub(crate) fn opened_driver(&self) -> Option<Driver> {
        self.0.backends.0.lock().unwrap_or_else(PoisonError::into_inner).selected.clone()
    }

    /// The driver of this name. Blocks.
    pub(crate) fn driver(&self, name: &str) -> Result<Driver> {
        let mut opened = self.0.backends.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.open_driver(&mut opened, name)
    }

    fn select(&self, opened: &mut Opened) -> Result<Driver> {
        if let Some(wanted) = &self.options().storage_driver {
            return self.open_driver(opened, wanted);
        }
        if let Some(used) = self.store().read(preference::driver)? {
            return self.open_driver(opened, &used);
        }
        let mut reasons = Vec::new();
        for name in PROBED {
            match self.open_driver(opened, name) {
                Ok(driver) => return Ok(driver),
                Err(Error::Storage { source, .. }) if declines(&source) => {
                    reasons.push(format!("{name}: {}", reason(&source)))
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::refused(Kind::Unsupported, format!("no storage driver suits this store ({})", reasons.join("; ")))
            .with_hint(format!(
                "`--storage-driver {EVERYWHERE}` works everywhere, but copies the whole image for every container"
            )))
    }

    fn open_driver(&self, opened: &mut Opened, name: &str) -> Result<Driver> {
        if let Some(driver) = opened.drivers.get(name) {
            return Ok(driver.clone());
        }
        let fail = |source| Error::Storage { operation: "open", source };
        let plugin = self.options().driver_search.load(name).map_err(fail)?;
        if let Some(driver) = opened.drivers.get(plugin.name()) {
            return Ok(driver.clone());
        }
        let options = options_of(plugin.name(), &self.options().storage_options);
        let root = self.driver_root(plugin.name());
        let open = |options: &[String]| {
            let args =
                OpenArgs { root: &root, options, rootless: self.options().rootless, services: Arc::new(Services) };
            plugin.open(&args)
        };
        let driver = self.open_probed(&plugin, &options, &open).map_err(|source| {
            // Made for a driver that declined; one that holds something does not go.
            let _ = fs_err::remove_dir(&root);
            fail(source)
        })?;
        opened.drivers.insert(driver.name().to_owned(), driver.clone());
        Ok(driver)
    }
}

impl Engine {
    /// Opens a driver, without its probe where an earlier process on this boot has done it: a probe makes a mount, and of
    /// processes that start at once one waits for the other.
    fn open_probed(
        &self,
        plugin: &Plugin,
        options: &[String],
        open: &dyn Fn(&[String]) -> mica_storage_loader::Result<Driver>,
    ) -> mica_storage_loader::Result<Driver> {
        let mark = self.store().run_root().join(format!("probed-{}-{}", self.store().id(), plugin.name()));
        let Some(seen) = self.probe_key(plugin, options) else { return open(options) };
        let known = fs_err::read_to_string(&mark).unwrap_or_default();
        let found = known.strip_prefix(&seen).and_then(|rest| rest.strip_suffix('\n'));
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            let telling: Vec<String> = options.iter().cloned().chain([format!("{PROBED_BEFORE}{found}")]).collect();
            match open(&telling) {
                // A driver that does not know the option is always cheap to open, or always probes.
                Err(error) if error.kind() == mica_storage_api::ErrorKind::Invalid => drop(fs_err::write(&mark, &seen)),
                result => return result,
            }
        }
        let driver = open(options)?;
        // Only a hint: whoever cannot write it probes again.
        let found = &driver.info().detail;
        if !known.starts_with(&seen) && !found.is_empty() && !found.contains('\n') {
            let _ = fs_err::write(&mark, format!("{seen}{found}\n"));
        }
        Ok(driver)
    }

    /// What a probe's answer depends on: this boot, this library, this file system, these options.
    fn probe_key(&self, plugin: &Plugin, options: &[String]) -> Option<String> {
        if options.iter().any(|option| option.starts_with(PROBED_BEFORE)) {
            return None;
        }
        let library = fs_err::metadata(plugin.path()?).ok()?;
        let root = fs_err::metadata(self.driver_root(plugin.name())).ok()?;
        let (boot, rootless) = (boot_id().ok()?, self.options().rootless);
        let (library, changed, device) = (library.ino(), library.mtime_nsec() ^ library.mtime(), root.dev());
        Some(format!("{boot} {} {library} {changed} {device} {rootless} {options:?}\n", plugin.build_id()))
    }
}

/// `key=value` is for whichever driver is opened, `driver.key=value` for that one alone.
pub fn options_of(driver: &str, options: &[String]) -> Vec<String> {
    let own = |option: &String| {
        let (key, _) = option.split_once('=').unwrap_or((option, ""));
        match key.split_once('.') {
            None => Some(option.clone()),
            Some((name, _)) if name == driver => Some(option[name.len() + 1..].to_owned()),
            Some(_) => None,
        }
    };
    options.iter().filter_map(own).collect()
}

/// True when the driver is sound and does not suit, or is not installed.
fn declines(error: &mica_storage_loader::Error) -> bool {
    error.kind().is_refusal() || matches!(error, mica_storage_loader::Error::NotFound { .. })
}

fn reason(error: &mica_storage_loader::Error) -> String {
    match error {
        mica_storage_loader::Error::NotFound { .. } => "not installed".to_owned(),
        mica_storage_loader::Error::Call { source, .. } => source.message.clone(),
        other => other.to_string(),
    }
}

/// Drivers' messages go to the engine's log.
#[derive(Debug)]
struct Services;

impl HostServices for Services {
    fn log(&self, level: LogLevel, target: &str, message: &str) {
        match level {
            LogLevel::Error | LogLevel::Warn => tracing::warn!(driver = target, "{message}"),
            _ => tracing::debug!(driver = target, "{message}"),
        }
    }

    fn progress(&self, _call_id: u64, _done: u64, _total: u64) -> Flow {
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_to_the_driver_they_name() {
        let options = ["size=1", "btrfs.quota=simple", "overlay.xino=off"].map(String::from);
        assert_eq!(options_of("overlay", &options), ["size=1", "xino=off"]);
        assert_eq!(options_of("vfs", &options), ["size=1"]);
    }
}
