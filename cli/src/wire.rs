//! The only file that names concrete adapters: the Dockerfile builder, the monitor runtime, and where drivers are found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_builder::DockerfileBuilder;
use mica_engine::Options;
use mica_runtime::MonitorRuntime;
use mica_storage_loader::SearchPath;

use crate::settings::Settings;

/// The engine's options for these settings.
pub fn options(settings: &Settings) -> Options {
    let executable = std::env::current_exe().ok();
    let monitor = find_monitor(executable.as_deref());
    let runtime = MonitorRuntime::new(monitor)
        .with_default_runtime(settings.runtime.clone())
        .with_cache(settings.run_root.join("cache"));
    let mut self_command = vec![executable.as_deref().and_then(Path::to_str).unwrap_or("mica").to_owned()];
    self_command.extend(settings.flags.iter().cloned());
    Options {
        root: settings.root.clone(),
        run_root: settings.run_root.clone(),
        storage_driver: settings.storage_driver.clone(),
        storage_options: settings.storage_options.clone(),
        driver_search: SearchPath::standard(settings.plugin_dirs.clone(), executable.as_deref()),
        runtime: Arc::new(runtime),
        builder: Arc::new(DockerfileBuilder),
        default_network: settings.network.clone(),
        durability: settings.durability,
        rootless: settings.rootless,
        self_command,
        reaping: settings.reaping,
    }
}

/// The monitor stands next to this program, or where the installer puts it. When it stands nowhere, starting a container
/// is what fails; listing images needs no monitor.
fn find_monitor(executable: Option<&Path>) -> PathBuf {
    let folder = executable.and_then(Path::parent).unwrap_or(Path::new("/usr/bin"));
    let places = ["", "../libexec/mica", "../lib/mica"].map(|place| folder.join(place).join("mica-monitor"));
    let [beside, ..] = &places;
    places.iter().find(|place| place.is_file()).unwrap_or(beside).clone()
}
