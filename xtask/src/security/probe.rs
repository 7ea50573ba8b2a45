//! The probe: a static program that says what a process in a container sees (`xtask/probe`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::mica::Sandbox;
use crate::{sh, workspace};

/// What the probe said, by name. Names may repeat.
#[derive(Debug, Default)]
pub struct Facts {
    values: BTreeMap<String, Vec<String>>,
}

impl Facts {
    /// The only value of a name, empty when there is none.
    pub fn one(&self, name: &str) -> &str {
        self.values.get(name).and_then(|values| values.first()).map_or("", String::as_str)
    }

    /// All values of a name.
    pub fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Everything whose name begins like this, without that beginning.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let values = self.values.iter();
        values.filter_map(move |(name, all)| Some((name.strip_prefix(prefix)?, all.first()?.as_str())))
    }

    /// Reads what the probe printed.
    pub fn parse(text: &str) -> Self {
        let mut facts = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('\t')) {
            facts.values.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        facts
    }
}

/// Compiles the probe.
pub fn build(sandbox: &Sandbox) -> Result<PathBuf> {
    let output = sandbox.path("probe");
    let source = workspace::root().join("xtask/probe/main.rs");
    let mut compiler = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    compiler.args(["--edition=2024", "-Cpanic=abort", "-Ctarget-feature=+crt-static", "-Crelocation-model=static"]);
    sh::run(compiler.arg("-o").arg(&output).arg(source)).context("cannot compile the probe")?;
    Ok(output)
}

/// What the probe sees on this very machine, outside of any container.
pub fn here(probe: &std::path::Path) -> Result<Facts> {
    Ok(Facts::parse(&sh::read(&mut Command::new(probe))?))
}

/// What the probe sees after a command line of mica's that ends with it.
pub fn facts(command: &mut Command) -> Result<Facts> {
    let output = sh::output(command)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let facts = Facts::parse(&said);
    ensure!(!facts.one("pid").is_empty(), "{command:?} said\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(facts)
}
