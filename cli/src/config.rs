//! The config file: TOML with the few settings that are worth keeping, and nothing it does not know.
//!
//! Later files win key by key over earlier ones; the environment and then the command line win over all of them.

mod registries;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mica_engine::LayerBounds;
use mica_storage_loader::Pins;
use serde::Deserialize;

pub use registries::Registries;

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
    /// `[network]`.
    #[serde(default)]
    pub network: Network,
    /// `[registries]`.
    #[serde(default)]
    pub registries: Registries,
    /// `[images]`.
    #[serde(default)]
    pub images: Images,
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
    /// Digests that drivers' files must have, by driver.
    #[serde(default)]
    pub pins: BTreeMap<String, String>,
    /// `full` or `none`.
    pub durability: Option<Durability>,
    /// Limit of what a container writes that names none, as `--storage-opt size=` takes it.
    pub container_size: Option<String>,
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
    /// Folders that describe devices (CDI); later ones win.
    pub cdi_dirs: Option<Vec<PathBuf>>,
}

/// How containers are connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The network of containers and builds that name none, as `--network` takes it.
    pub default: Option<String>,
    /// Where the subnets of networks are cut from.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// What ends the names of this store's default bridge and of its packet rules.
    pub tag: Option<String>,
}

/// A pool of addresses, as Docker's `default-address-pools` has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// All addresses, for example `10.64.0.0/12`.
    pub base: String,
    /// The length of a subnet's prefix, for example 24.
    pub size: u8,
}

impl Network {
    /// The pools, checked.
    pub fn pools(&self) -> anyhow::Result<Vec<(ipnet::Ipv4Net, u8)>> {
        let check = |pool: &Pool| {
            let base: ipnet::Ipv4Net =
                pool.base.parse().with_context(|| format!("`{}` is no IPv4 network", pool.base))?;
            anyhow::ensure!(
                (base.prefix_len()..=30).contains(&pool.size),
                "subnets of /{} cannot be cut from `{base}`",
                pool.size
            );
            Ok((base.trunc(), pool.size))
        };
        self.pools.iter().map(check).collect()
    }
}

/// What images may be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// The size up to which an uncompressed layer may be any multiple of its compressed one.
    pub layer_size: Option<String>,
    /// The multiple that a larger one may be.
    pub layer_expansion: Option<u64>,
    /// The most files of one layer.
    pub layer_entries: Option<u64>,
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
    if let Some(network) = &config.network.default {
        mica_engine::container::parse_network(network)
            .with_context(|| format!("{}: `network.default` is no network", path.display()))?;
    }
    config.network.pools().with_context(|| format!("{}: `network.pools` is wrong", path.display()))?;
    if let Some(tag) = &config.network.tag
        && !(1..=8).contains(&tag.len()) | !tag.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    {
        bail!("{}: `network.tag` is not one to eight lower-case letters and digits", path.display());
    }
    if let Some(size) = &config.storage.container_size {
        mica_engine::container::parse_size(size)
            .with_context(|| format!("{}: `storage.container_size` is no size", path.display()))?;
    }
    for (key, folders) in [("storage.plugin_dirs", &config.storage.plugin_dirs), ("run.cdi_dirs", &config.run.cdi_dirs)]
    {
        if let Some(folder) = folders.iter().flatten().find(|folder| !folder.is_absolute()) {
            return Err(anyhow::anyhow!("`{key}` has `{}`, which is not absolute", folder.display()))
                .with_context(|| format!("cannot use `{}`", path.display()));
        }
    }
    config.images.bounds().with_context(|| format!("{}: `images.layer_size` is no size", path.display()))?;
    config.storage.pins().with_context(|| format!("cannot use `{}`", path.display()))?;
    config.registries.rules().with_context(|| format!("cannot use `{}`", path.display()))?;
    Ok(config)
}

impl Storage {
    /// The pinned drivers.
    pub fn pins(&self) -> Result<Pins, mica_storage_loader::Error> {
        let mut pins = Pins::default();
        self.pins.iter().try_for_each(|(name, digest)| pins.insert(name, digest))?;
        Ok(pins)
    }
}

impl Images {
    /// The bounds, with the defaults of those that are not stated.
    pub fn bounds(&self) -> mica_engine::Result<LayerBounds> {
        let default = LayerBounds::default();
        let size = self.layer_size.as_deref().map(mica_engine::container::parse_size).transpose()?;
        Ok(LayerBounds {
            size: size.unwrap_or(default.size),
            expansion: self.layer_expansion.unwrap_or(default.expansion),
            entries: self.layer_entries.unwrap_or(default.entries),
        })
    }
}

impl Config {
    fn overlay(&mut self, later: Self) {
        let Self { storage, run, network, registries, images } = later;
        self.registries.overlay(registries);
        self.storage.driver = storage.driver.or(self.storage.driver.take());
        self.storage.options.extend(storage.options);
        self.storage.pins.extend(storage.pins);
        self.storage.plugin_dirs = storage.plugin_dirs.or(self.storage.plugin_dirs.take());
        self.storage.durability = storage.durability.or(self.storage.durability);
        self.storage.container_size = storage.container_size.or(self.storage.container_size.take());
        self.storage.reaper = storage.reaper.or(self.storage.reaper);
        self.run.runtime = run.runtime.or(self.run.runtime.take());
        self.run.cdi_dirs = run.cdi_dirs.or(self.run.cdi_dirs.take());
        self.network.default = network.default.or(self.network.default.take());
        self.network.tag = network.tag.or(self.network.tag.take());
        if !network.pools.is_empty() {
            self.network.pools = network.pools;
        }
        self.images.layer_size = images.layer_size.or(self.images.layer_size.take());
        self.images.layer_expansion = images.layer_expansion.or(self.images.layer_expansion);
        self.images.layer_entries = images.layer_entries.or(self.images.layer_entries);
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
            "[storage]\ndriver = \"overlay\"\noptions = { volatile = \"true\" }\nplugin_dirs = [\"/opt/d\"]\ndurability = \"none\"\nreaper = false\ncontainer_size = \"10G\"\n\
             [run]\nruntime = \"runc\"\ncdi_dirs = [\"/opt/cdi\"]\n\
             [network]\ndefault = \"host\"\ntag = \"x1\"\npools = [{ base = \"10.64.0.0/12\", size = 24 }]\n\
             [images]\nlayer_size = \"1m\"\nlayer_expansion = 10\nlayer_entries = 7\n",
        )
        .expect("valid");
        assert_eq!(config.storage.driver.as_deref(), Some("overlay"));
        assert_eq!(config.storage.options["volatile"], "true");
        assert_eq!(config.storage.plugin_dirs, Some(vec![PathBuf::from("/opt/d")]));
        assert_eq!(config.storage.durability, Some(Durability::None));
        assert_eq!(config.storage.reaper, Some(false));
        assert_eq!(config.storage.container_size.as_deref(), Some("10G"));
        assert_eq!(config.run.cdi_dirs, Some(vec![PathBuf::from("/opt/cdi")]));
        assert_eq!(config.network.default.as_deref(), Some("host"));
        assert_eq!(config.network.pools().expect("pools"), [("10.64.0.0/12".parse().expect("a network"), 24)]);
        let bounds = LayerBounds { size: 1 << 20, expansion: 10, entries: 7 };
        assert_eq!(config.images.bounds().expect("bounds"), bounds);
    }

    #[test]
    fn mistakes_name_the_file_and_the_line() {
        let cases = [
            ("[storage]\ndrivr = \"x\"\n", "/etc/mica/config.toml:2: unknown field `drivr`"),
            ("\n\n[netwrk]\n", "/etc/mica/config.toml:3: unknown field `netwrk`"),
            ("[storage]\n\ndurability = \"some\"\n", "/etc/mica/config.toml:3: unknown variant `some`"),
            ("[storage\n", "/etc/mica/config.toml:1: "),
            ("[network]\ndefault = \"a:b\"\n", "`network.default` is no network"),
            ("[network]\npools = [{ base = \"x\", size = 24 }]\n", "`x` is no IPv4 network"),
            ("[network]\npools = [{ base = \"10.0.0.0/16\", size = 8 }]\n", "subnets of /8 cannot be cut"),
            ("[network]\ntag = \"../x\"\n", "`network.tag` is not"),
            ("[storage]\ncontainer_size = \"big\"\n", "`storage.container_size` is no size: invalid size: `big`"),
            ("[images]\nlayer_size = \"big\"\n", "`images.layer_size` is no size: invalid size: `big`"),
            ("[storage]\nplugin_dirs = [\"rel\"]\n", "`rel`, which is not absolute"),
            ("[run]\ncdi_dirs = [\"/a\", \"rel\"]\n", "`run.cdi_dirs` has `rel`, which is not absolute"),
            (
                "[storage]\npins = { vfs = \"sha256:1\" }\n",
                "config.toml`: the driver `vfs` is pinned to `sha256:1`, which is not",
            ),
        ];
        for (text, expected) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text:?} gave {error}");
        }
    }

    #[test]
    fn later_files_win_key_by_key() {
        let mut config =
            parse("[storage]\ndriver = \"vfs\"\noptions = { a = \"1\", b = \"1\" }\n[network]\ndefault = \"host\"\n")
                .expect("valid");
        config.overlay(parse("[storage]\noptions = { b = \"2\" }\ndriver = \"btrfs\"\n").expect("valid"));
        assert_eq!(config.storage.driver.as_deref(), Some("btrfs"));
        assert_eq!(config.storage.options["a"], "1");
        assert_eq!(config.storage.options["b"], "2");
        assert_eq!(config.network.default.as_deref(), Some("host"));
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
