//! [`Engine`]: one open store with its adapters. The verbs are `impl` blocks of their own in [`crate::ops`].

use std::path::PathBuf;
use std::sync::Arc;

use mica_storage_loader::SearchPath;

use crate::build::Builder;
use crate::network::Network;
use crate::registry::Registry;
use crate::runtime::Runtime;
use crate::storage::Backends;
use crate::store::Store;
use crate::{Error, LayerBounds, Result};

/// What an engine is opened with. Everything that the environment or a config file may say has been resolved by the caller.
#[derive(Debug)]
pub struct Options {
    /// The store, for example `/var/lib/mica`.
    pub root: PathBuf,
    /// Hot state, for example `/run/mica`; may vanish at reboot.
    pub run_root: PathBuf,
    /// `--storage-driver` or the config's choice: a name, or the path of a library.
    pub storage_driver: Option<String>,
    /// `--storage-opt`, `key=value` each, for the chosen driver.
    pub storage_options: Vec<String>,
    /// Where driver libraries are looked for.
    pub driver_search: SearchPath,
    /// What starts containers.
    pub runtime: Arc<dyn Runtime>,
    /// What reads Dockerfiles.
    pub builder: Arc<dyn Builder>,
    /// What talks to registries.
    pub registry: Arc<dyn Registry>,
    /// What connects containers.
    pub network: Arc<dyn Network>,
    /// How large layers may become.
    pub layer_bounds: LayerBounds,
    /// The network of containers and builds that name none, as `--network` has it.
    pub default_network: String,
    /// Where devices are described (CDI); later folders win.
    pub cdi_folders: Vec<PathBuf>,
    /// What is waited for before a verb reports success.
    pub durability: Durability,
    /// True when the process lives in a user namespace.
    pub rootless: bool,
    /// How to call this program again with the same store: the words before the verb.
    pub self_command: Vec<String>,
    /// Who frees the bytes of what was removed.
    pub reaping: Reaping,
}

/// What is waited for before a verb reports success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// What was acknowledged survives a power cut.
    #[default]
    Full,
    /// Nothing is flushed: for throw-away stores.
    None,
}

/// Who frees the bytes of what was removed, when that takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reaping {
    /// A detached process of low priority, which the removal starts and does not wait for.
    #[default]
    Detached,
    /// The removal of an image itself, the next removal of a container, or `prune`.
    Foreground,
}

/// An open store with its adapters. Cloning is cheap and shares everything.
#[derive(Debug, Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

/// What every clone of an engine shares.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) store: Store,
    pub(crate) backends: Backends,
}

impl Engine {
    /// Opens the store, creating it when it does not exist. Costs about a millisecond: drivers are loaded on first use,
    /// and recovery runs only when the machine was started since the last time.
    pub fn open(options: Options) -> Result<Engine> {
        let store = Store::open(&options.root, &options.run_root, options.durability)?;
        let backends = Backends::default();
        let engine = Engine(Arc::new(Inner { options, store, backends }));
        engine.recover_store()?;
        engine.resume_reaping()?;
        Ok(engine)
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// The store below it.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// Runs blocking work off the async threads. A panic in it goes on in the caller.
    pub(crate) async fn blocking<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Engine) -> Result<T> + Send + 'static,
    {
        let engine = self.clone();
        match tokio::task::spawn_blocking(move || work(&engine)).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Error::refused(crate::Kind::Unavailable, "the runtime is shutting down")),
        }
    }
}
