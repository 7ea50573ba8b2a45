//! The structural rules of the source tree, as ARCHITECTURE.md states them. CI runs this; what is not checked does not
//! stay true.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{output, sh, workspace};

/// No file may be longer; the median stays near 200.
const MAX_LINES: usize = 700;
/// The only file that names concrete adapters.
const WIRING: &str = "cli/src/wire.rs";
/// Crates that are adapters of the engine's traits.
const ADAPTERS: &[&str] = &["mica_builder", "mica_network", "mica_runtime"];
/// Crates that are storage drivers: found at run time, so nothing links them.
const DRIVERS: &[&str] = &["mica-storage-overlay", "mica-storage-vfs", "mica-storage-btrfs"];
/// Words that promise later work.
const PROMISES: &[&str] = &["TODO", "FIXME", "XXX", "for now", "todo!(", "unimplemented!(", "#[ignore"];

/// `cargo xtask tidy`.
pub fn run() -> Result<()> {
    let mut faults = Vec::new();
    sources(&mut faults)?;
    dependencies(&mut faults)?;
    documented_dependencies(&mut faults)?;
    if !faults.is_empty() {
        bail!("the tree is not tidy:\n  {}", faults.join("\n  "));
    }
    output::line("tidy");
    Ok(())
}

fn sources(faults: &mut Vec<String>) -> Result<()> {
    let mut listing = sh::command(&["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.rs"]);
    let files = sh::read(listing.current_dir(workspace::root()))?;
    for file in files.lines() {
        let path = workspace::root().join(file);
        if !path.exists() {
            continue;
        }
        let text = fs_err::read_to_string(path)?;
        if !text.starts_with("//!") {
            faults.push(format!("{file}: does not open with a `//!` line that says what the file owns"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            faults.push(format!("{file}: {lines} lines; one idea a file, at most {MAX_LINES}"));
        }
        if file != "xtask/src/tidy.rs" {
            for promise in PROMISES.iter().filter(|promise| text.contains(**promise)) {
                faults.push(format!("{file}: `{promise}` promises later work"));
            }
        }
        let names_adapter = ADAPTERS.iter().any(|adapter| text.contains(&format!("{adapter}::")));
        if file.starts_with("cli/src/") && file != WIRING && names_adapter {
            faults.push(format!("{file}: names an adapter; only {WIRING} may"));
        }
        if file.starts_with("engine/src/") {
            for forbidden in ["println!(", "process::exit", "env::var", "mica_builder", "mica_network", "mica_runtime"]
            {
                if text.contains(forbidden) {
                    faults.push(format!("{file}: `{forbidden}`: the engine never prints, exits, reads the environment or names an adapter"));
                }
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDependency>,
}

#[derive(Deserialize)]
struct NodeDependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

fn metadata() -> Result<Metadata> {
    let text = sh::read(&mut workspace::cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    serde_json::from_str(&text).context("cargo metadata changed its format")
}

fn dependencies(faults: &mut Vec<String>) -> Result<()> {
    let metadata = metadata()?;
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    for package in metadata.packages.iter().filter(|package| package.source.is_none()) {
        for dependency in &package.dependencies {
            if DRIVERS.contains(&dependency.name.as_str()) {
                faults.push(format!(
                    "{}: depends on the driver crate {}; drivers are loaded at run time",
                    package.name, dependency.name
                ));
            }
            let outward = matches!(
                package.name.as_str(),
                "mica-engine" | "mica-layer" | "mica-storage-api" | "mica-storage-loader"
            );
            if outward
                && ["mica-builder", "mica-network", "mica-runtime", "mica-cli"].contains(&dependency.name.as_str())
            {
                faults.push(format!("{}: depends outward on {}", package.name, dependency.name));
            }
        }
    }
    let normal: BTreeMap<&str, Vec<&str>> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| {
            let links = node.deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            (node.id.as_str(), links.map(|dep| dep.pkg.as_str()).collect())
        })
        .collect();
    for driver in metadata.packages.iter().filter(|package| DRIVERS.contains(&package.name.as_str())) {
        let mut seen = BTreeSet::new();
        let mut queue = vec![driver.id.as_str()];
        while let Some(id) = queue.pop() {
            if seen.insert(id) {
                queue.extend(normal.get(id).into_iter().flatten().copied());
            }
        }
        for id in seen {
            if let Some(banned @ ("tokio" | "tracing" | "tar" | "mica-engine")) = names.get(id).copied() {
                faults.push(format!("{}: `{banned}` is in its dependency closure", driver.name));
            }
        }
    }
    Ok(())
}

/// Every dependency from outside has its line in docs/dependencies.md.
fn documented_dependencies(faults: &mut Vec<String>) -> Result<()> {
    let text = fs_err::read_to_string(workspace::root().join("docs/dependencies.md"))?;
    let metadata = metadata()?;
    let ours: BTreeSet<&str> = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_none())
        .map(|package| package.name.as_str())
        .collect();
    let direct: BTreeSet<&str> = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_none())
        .flat_map(|package| &package.dependencies)
        .filter(|dependency| dependency.kind.as_deref() != Some("build") && !ours.contains(dependency.name.as_str()))
        .map(|dependency| dependency.name.as_str())
        .collect();
    for name in direct {
        if !text.contains(&format!("| `{name}` |")) {
            faults.push(format!("docs/dependencies.md: no line says why `{name}` is here"));
        }
    }
    Ok(())
}
