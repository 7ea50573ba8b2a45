//! The config file: TOML with the few settings that are worth keeping, and nothing it does not know.
//!
//! Later files win key by key over earlier ones; the environment and then the command line win over all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

/// What the config files say together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[storage]`.
    #[serde(default)]
    pub storage: Storage,
    /// `[run]`.
    #[serde(default)]
    pub run: Run,
}

/// Where snapshots live.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Driver of new snapshots.
    pub driver: Option<String>,
    /// Options of that driver.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Folders with further drivers.
    pub plugin_dirs: Option<Vec<PathBuf>>,
    /// `full` or `none`.
    pub durability: Option<Durability>,
    /// False: no process is left behind to free the bytes of what was removed.
    pub reaper: Option<bool>,
}

/// What is flushed before a command reports success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// What was acknowledged survives a power cut.
    Full,
    /// Nothing is flushed.
    None,
}

/// How containers run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Name or path of an OCI runtime.
    pub runtime: Option<String>,
    /// Network of containers that name none.
    pub network: Option<String>,
}

/// Reads the files that exist, in order. A file that was named on the command line must exist.
pub fn load(defaults: &[PathBuf], named: Option<&Path>) -> anyhow::Result<Config> {
    let mut config = Config::default();
    if let Some(path) = named {
        let text = fs_err::read_to_string(path)?;
        config.overlay(parse(path, &text)?);
        return Ok(config);
    }
    for path in defaults {
        match fs_err::read_to_string(path) {
            Ok(text) => config.overlay(parse(path, &text)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(config)
}

/// Parses one file's text; errors carry `file:line`.
fn parse(path: &Path, text: &str) -> anyhow::Result<Config> {
    let config: Config = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1;
        anyhow::anyhow!("{}:{line}: {}", path.display(), error.message())
    })?;
    if let Some(network) = &config.run.network
        && !matches!(network.as_str(), "none" | "host")
    {
        bail!("{}: `run.network` is `{network}`; this version has `none` and `host`", path.display());
    }
    for folder in config.storage.plugin_dirs.iter().flatten() {
        if !folder.is_absolute() {
            return Err(anyhow::anyhow!("`storage.plugin_dirs` has `{}`, which is not absolute", folder.display()))
                .with_context(|| format!("cannot use `{}`", path.display()));
        }
    }
    Ok(config)
}

impl Config {
    fn overlay(&mut self, later: Self) {
        let Self { storage, run } = later;
        self.storage.driver = storage.driver.or(self.storage.driver.take());
        self.storage.options.extend(storage.options);
        self.storage.plugin_dirs = storage.plugin_dirs.or(self.storage.plugin_dirs.take());
        self.storage.durability = storage.durability.or(self.storage.durability);
        self.storage.reaper = storage.reaper.or(self.storage.reaper);
        self.run.runtime = run.runtime.or(self.run.runtime.take());
        self.run.network = run.network.or(self.run.network.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        super::parse(Path::new("/etc/mica/config.toml"), text).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn every_key() {
        let config = parse(
            "[storage]\ndriver = \"overlay\"\noptions = { volatile = \"true\" }\nplugin_dirs = [\"/opt/d\"]\ndurability = \"none\"\nreaper = false\n\
             [run]\nruntime = \"runc\"\nnetwork = \"host\"\n",
        )
        .expect("valid");
        assert_eq!(config.storage.driver.as_deref(), Some("overlay"));
        assert_eq!(config.storage.options["volatile"], "true");
        assert_eq!(config.storage.plugin_dirs, Some(vec![PathBuf::from("/opt/d")]));
        assert_eq!(config.storage.durability, Some(Durability::None));
        assert_eq!(config.storage.reaper, Some(false));
        assert_eq!(config.run.network.as_deref(), Some("host"));
    }

    #[test]
    fn mistakes_name_the_file_and_the_line() {
        let cases = [
            ("[storage]\ndrivr = \"x\"\n", "/etc/mica/config.toml:2: unknown field `drivr`"),
            ("\n\n[network]\n", "/etc/mica/config.toml:3: unknown field `network`"),
            ("[storage]\n\ndurability = \"some\"\n", "/etc/mica/config.toml:3: unknown variant `some`"),
            ("[storage\n", "/etc/mica/config.toml:1: "),
            ("[run]\nnetwork = \"bridge\"\n", "`run.network` is `bridge`; this version has `none` and `host`"),
            ("[storage]\nplugin_dirs = [\"rel\"]\n", "`rel`, which is not absolute"),
        ];
        for (text, expected) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text:?} gave {error}");
        }
    }

    #[test]
    fn later_files_win_key_by_key() {
        let mut config =
            parse("[storage]\ndriver = \"vfs\"\noptions = { a = \"1\", b = \"1\" }\n[run]\nnetwork = \"host\"\n")
                .expect("valid");
        config.overlay(parse("[storage]\noptions = { b = \"2\" }\ndriver = \"btrfs\"\n").expect("valid"));
        assert_eq!(config.storage.driver.as_deref(), Some("btrfs"));
        assert_eq!(config.storage.options["a"], "1");
        assert_eq!(config.storage.options["b"], "2");
        assert_eq!(config.run.network.as_deref(), Some("host"));
    }

    #[test]
    fn a_named_file_must_exist_and_others_need_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("none.toml");
        assert_eq!(load(std::slice::from_ref(&missing), None).expect("no file is fine"), Config::default());
        let error = load(&[], Some(&missing)).expect_err("the named file is missing");
        assert!(format!("{error:#}").contains("none.toml"), "{error:#}");
    }
}
