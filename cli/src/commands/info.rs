//! `info`.

use std::fmt::Write as _;

use mica_engine::ops::info::Info as Facts;
use mica_registry::config::Summary;
use serde_json::{Value as Json, json};

use crate::args::info::Info;
use crate::context::Context;
use crate::output::human;
use crate::template::{Template, Value};
use crate::views::registries;
use crate::{output, wire};

/// `info`.
pub(super) async fn run(context: &Context, args: &Info) -> anyhow::Result<()> {
    let mut facts = context.engine()?.info().await?;
    // A file about registries that is not understood is no reason to say nothing of the store.
    let summary = wire::directory(&context.settings).summary().unwrap_or_else(|error| {
        facts.warnings.push(error.to_string());
        Summary::default()
    });
    match args.format.as_deref() {
        None | Some("") => {
            output::raw(text(&facts, &summary).as_bytes())?;
            facts.warnings.iter().for_each(|warning| output::warn(format!("WARNING: {warning}")));
            Ok(())
        }
        Some("json") => output::line(view(&facts, &summary)),
        Some(format) => output::line(Template::parse(format)?.render(&Value::from_json(&view(&facts, &summary)))?),
    }
}

fn view(facts: &Facts, summary: &Summary) -> Json {
    let (all, running, paused, stopped) = facts.containers;
    json!({
        "ID": facts.store_id,
        "Containers": all,
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": stopped,
        "Images": facts.images,
        "Driver": facts.driver,
        "DriverStatus": facts.driver_status.iter().map(|(name, value)| [name, value]).collect::<Vec<_>>(),
        "DriversInStore": facts.drivers_in_store,
        "DefaultRuntime": facts.runtime,
        "CgroupVersion": facts.cgroup_version,
        "KernelVersion": facts.kernel,
        "OperatingSystem": facts.operating_system,
        "OSType": "linux",
        "Architecture": facts.architecture,
        "NCPU": facts.cpus,
        "MemTotal": facts.memory,
        "Name": facts.hostname,
        "DockerRootDir": facts.root,
        "RunRoot": facts.run_root,
        "Rootless": facts.rootless,
        "IndexServerAddress": registries::INDEX_SERVER,
        "RegistryConfig": registries::config(summary),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Warnings": facts.warnings,
    })
}

fn text(facts: &Facts, summary: &Summary) -> String {
    let (all, running, paused, stopped) = facts.containers;
    let mut out = String::new();
    let mut line = |indent: usize, name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(out, "{:indent$}{name}: {value}", "");
    };
    line(0, "Mica Version", &env!("CARGO_PKG_VERSION"));
    line(0, "Containers", &all);
    line(1, "Running", &running);
    line(1, "Paused", &paused);
    line(1, "Stopped", &stopped);
    line(0, "Images", &facts.images);
    line(0, "Storage Driver", &facts.driver);
    for (name, value) in &facts.driver_status {
        line(1, name, value);
    }
    line(0, "Storage Drivers in Use", &facts.drivers_in_store.join(" "));
    line(0, "Default Runtime", &facts.runtime);
    line(0, "Cgroup Version", &facts.cgroup_version);
    line(0, "Kernel Version", &facts.kernel);
    line(0, "Operating System", &facts.operating_system);
    line(0, "OSType", &"linux");
    line(0, "Architecture", &facts.architecture);
    line(0, "CPUs", &facts.cpus);
    line(0, "Total Memory", &human::size(facts.memory));
    line(0, "Name", &facts.hostname);
    line(0, "ID", &facts.store_id);
    line(0, "Root Dir", &facts.root.display());
    line(0, "Run Dir", &facts.run_root.display());
    line(0, "Rootless", &facts.rootless);
    for line in registries::lines(summary) {
        let _ = writeln!(out, "{line}");
    }
    out
}
