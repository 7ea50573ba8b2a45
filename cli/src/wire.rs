//! The only file that names concrete adapters: the Dockerfile builder, the registry client, the monitor runtime, the networks
//! of this machine's kernel, and where drivers are found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_builder::DockerfileBuilder;
use mica_engine::Options;
use mica_network::around::Around;
use mica_network::pool::Pool;
use mica_network::{KernelNetwork, Programs};
use mica_registry::HttpRegistry;
use mica_registry::config::{Configured, Logins};
use mica_registry::policy::Trust;
use mica_rootless::Joined;
use mica_runtime::{MonitorRuntime, Starter};
use mica_storage_loader::{Owners, SearchPath};

use crate::context::Context;
use crate::failure::Advice;
use crate::namespaces::OWNERS;
use crate::settings::Settings;

/// The engine's options for these settings.
pub fn options(context: &Context) -> anyhow::Result<Options> {
    let settings = &context.settings;
    let joined = context.joined.as_ref();
    let executable = std::env::current_exe().ok();
    let monitor = find_monitor(executable.as_deref());
    let runtime = MonitorRuntime::new(monitor)
        .with_default_runtime(settings.runtime.clone())
        .with_cache(settings.run_root.join("cache"))
        .with_kept(joined.map(|joined| joined.keeper.try_clone()).transpose()?.map(|keeper| Arc::new(keeper.into())))
        .with_starter(joined.and_then(starter));
    let mut self_command = vec![executable.as_deref().and_then(Path::to_str).unwrap_or("mica").to_owned()];
    self_command.extend(settings.flags.iter().cloned());
    Ok(Options {
        root: settings.root.clone(),
        run_root: settings.run_root.clone(),
        storage_driver: settings.storage_driver.clone(),
        storage_options: settings.storage_options.clone(),
        driver_search: driver_search(settings),
        runtime: Arc::new(runtime),
        builder: Arc::new(DockerfileBuilder),
        registry: Arc::new(registry(settings)),
        network: Arc::new(network(settings, executable.as_deref()).within(around(joined))),
        layer_bounds: settings.layer_bounds,
        default_network: settings.network.clone(),
        cdi_folders: settings.cdi_folders.clone(),
        durability: settings.durability,
        rootless: settings.privileges.are_confined(),
        self_command,
        reaping: settings.reaping,
    })
}

/// What connects containers. Stores that share a machine have names of their own there.
fn network(settings: &Settings, executable: Option<&Path>) -> KernelNetwork {
    let program = |name| find_program(name, executable).unwrap_or_else(|beside| beside);
    let programs = Programs { names: program("mica-names"), ports: program("mica-ports") };
    let usual = settings.run_root == Path::new("/run/mica");
    let tag = match &settings.network_tag {
        Some(tag) => Some(tag.clone()),
        None if usual => None,
        None => Some(mica_network::tag_of(&settings.run_root)),
    };
    let pools = settings.address_pools.iter().map(|(base, size)| Pool { base: *base, size: *size });
    KernelNetwork::new(&settings.run_root, tag.as_deref(), programs).with_pools(pools.collect())
}

/// Where the networks of a user without privileges are.
fn around(joined: Option<&Arc<Joined>>) -> Option<Around> {
    let joined = Arc::clone(joined?);
    let namespace = Arc::clone(&joined.network);
    let way_out = move || joined.way_out().map_err(|error| error.to_string());
    Some(Around { namespace, way_out: Arc::new(way_out) })
}

/// Who starts the monitors of a user without privileges, where the holder of the namespaces was given control groups.
fn starter(joined: &Arc<Joined>) -> Option<Starter> {
    let joined = Arc::clone(joined);
    mica_rootless::groups::are_given()
        .then(|| Starter(Arc::new(move |program, input, environment| joined.start(program, input, environment))))
}

/// The client of registries. It needs no store.
pub fn registry(settings: &Settings) -> HttpRegistry {
    HttpRegistry::new(Arc::new(directory(settings)), Arc::new(logins(settings))).with_trust(trust(settings))
}

/// Which images are admitted.
fn trust(settings: &Settings) -> Trust {
    let files = &settings.registries;
    Trust::new(files.named_policy_json.clone(), files.policy_json.clone())
}

/// Where registries are.
pub fn directory(settings: &Settings) -> Configured {
    Configured::new(settings.registries.clone())
}

/// Who asks them.
pub fn logins(settings: &Settings) -> Logins {
    Logins::new(settings.registries.clone())
}

/// Where drivers are found, and which of them are pinned.
pub fn driver_search(settings: &Settings) -> SearchPath {
    let executable = std::env::current_exe().ok();
    let search =
        SearchPath::standard(settings.plugin_dirs.clone(), executable.as_deref()).pinned(settings.pins.clone());
    if settings.privileges.are_confined() {
        search.knowing(Owners::read(&settings.run_root.join(OWNERS)))
    } else {
        search
    }
}

/// The program that makes the namespaces of a user.
pub fn find_holder() -> anyhow::Result<PathBuf> {
    let missing = |beside: PathBuf| {
        let message = format!("containers without privileges need `{}`, which is not there", beside.display());
        Advice::new(message, "`cargo build --release --workspace` and `cargo xtask install` make it")
    };
    Ok(find_program("mica-holder", std::env::current_exe().ok().as_deref()).map_err(missing)?)
}

/// When the monitor stands nowhere, starting a container is what fails; listing images needs no monitor.
fn find_monitor(executable: Option<&Path>) -> PathBuf {
    find_program("mica-monitor", executable).unwrap_or_else(|beside| beside)
}

/// The program that judges storage drivers.
pub fn find_suite() -> anyhow::Result<PathBuf> {
    let missing = |beside: PathBuf| {
        let message = format!("the conformance suite is not installed: there is no `{}`", beside.display());
        Advice::new(message, "`cargo build --release --workspace` and `cargo xtask install` make it")
    };
    Ok(find_program("mica-storage-conformance", std::env::current_exe().ok().as_deref()).map_err(missing)?)
}

/// Our other programs stand next to this one, or where the installer puts them. Yields the first place when it is in none.
fn find_program(name: &str, executable: Option<&Path>) -> Result<PathBuf, PathBuf> {
    let folder = executable.and_then(Path::parent).unwrap_or(Path::new("/usr/bin"));
    let places = ["", "../libexec/mica", "../lib/mica"].map(|place| folder.join(place).join(name));
    let [beside, ..] = &places;
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| beside.clone())
}
