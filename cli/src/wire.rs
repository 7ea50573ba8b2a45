//! The only file that names concrete adapters: the Dockerfile builder, the monitor runtime, and where drivers are found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_builder::DockerfileBuilder;
use mica_engine::Options;
use mica_runtime::MonitorRuntime;
use mica_storage_loader::SearchPath;

use crate::failure::Advice;
use crate::settings::Settings;

/// The engine's options for these settings.
pub fn options(settings: &Settings) -> anyhow::Result<Options> {
    let executable = std::env::current_exe().ok();
    let monitor = find_monitor(executable.as_deref())?;
    let runtime = MonitorRuntime::new(monitor).with_default_runtime(settings.runtime.clone());
    let mut self_command = vec![executable.as_deref().and_then(Path::to_str).unwrap_or("mica").to_owned()];
    self_command.extend(settings.flags.iter().cloned());
    Ok(Options {
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
    })
}

/// The monitor stands next to this program, or where the installer puts it.
fn find_monitor(executable: Option<&Path>) -> anyhow::Result<PathBuf> {
    let folder = executable.and_then(Path::parent);
    let places: Vec<PathBuf> = folder
        .into_iter()
        .flat_map(|folder| {
            [folder.to_owned(), folder.join("../libexec/mica"), folder.join("../lib/mica")]
                .map(|place| place.join("mica-monitor"))
        })
        .collect();
    match places.iter().find(|place| place.is_file()) {
        Some(place) => Ok(place.clone()),
        None => Err(Advice::new(
            format!(
                "cannot find `mica-monitor` at {}",
                places.iter().map(|place| format!("`{}`", place.display())).collect::<Vec<_>>().join(" or ")
            ),
            "build it with `cargo build -p mica-runtime`, or install mica with `cargo xtask install`",
        )
        .into()),
    }
}
