//! What holds for this call: flags over environment over config files over defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mica_engine::{Durability, Reaping};

use crate::args::global::Global;
use crate::config::{self, Config};

/// Every setting, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The store.
    pub root: PathBuf,
    /// Running state.
    pub run_root: PathBuf,
    /// The driver asked for.
    pub storage_driver: Option<String>,
    /// Its options.
    pub storage_options: Vec<String>,
    /// Folders with drivers, before the usual ones.
    pub plugin_dirs: Vec<PathBuf>,
    /// What is flushed before a command reports success.
    pub durability: Durability,
    /// Who frees the bytes of what was removed.
    pub reaping: Reaping,
    /// The OCI runtime asked for.
    pub runtime: Option<String>,
    /// Network of containers and builds that name none.
    pub network: String,
    /// True when the process is not root.
    pub rootless: bool,
    /// The flags that make another `mica` use the same store.
    pub flags: Vec<String>,
}

/// The parts of the environment that count.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    uid: u32,
    privileged_exec: bool,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        const NAMES: [&str; 10] = [
            "MICA_STORAGE_DRIVER",
            "MICA_STORAGE_OPTS",
            "MICA_STORAGE_PATH",
            "MICA_ROOT",
            "MICA_RUN_ROOT",
            "MICA_CONFIG",
            "MICA_RUNTIME",
            "XDG_DATA_HOME",
            "XDG_RUNTIME_DIR",
            "XDG_CONFIG_HOME",
        ];
        let variables = NAMES.iter().chain(&["HOME"]).filter_map(|name| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            Some(((*name).to_owned(), value))
        });
        let (uid, euid) = (rustix::process::getuid(), rustix::process::geteuid());
        let gids_differ = rustix::process::getgid() != rustix::process::getegid();
        Self {
            variables: variables.collect(),
            uid: euid.as_raw(),
            privileged_exec: uid != euid || gids_differ || is_secure_execution(),
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    fn home(&self, variable: &str, below: &str) -> PathBuf {
        self.path(variable).unwrap_or_else(|| self.path("HOME").unwrap_or_else(|| "/".into()).join(below))
    }
}

impl Settings {
    /// Resolves the settings, reading the config files.
    pub fn resolve(global: &Global, environment: &Environment) -> anyhow::Result<Self> {
        let named = global.config.clone().or_else(|| environment.path("MICA_CONFIG"));
        let defaults = [
            PathBuf::from("/etc/mica/config.toml"),
            environment.home("XDG_CONFIG_HOME", ".config").join("mica/config.toml"),
        ];
        let config = config::load(&defaults, named.as_deref())?;
        Self::combine(global, environment, config, named.as_deref())
    }

    fn combine(
        global: &Global,
        environment: &Environment,
        config: Config,
        named: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let rootless = environment.uid != 0;
        let default_root = if rootless {
            environment.home("XDG_DATA_HOME", ".local/share").join("mica")
        } else {
            "/var/lib/mica".into()
        };
        let default_run_root = match environment.path("XDG_RUNTIME_DIR") {
            Some(folder) if rootless => folder.join("mica"),
            _ if rootless => PathBuf::from(format!("/tmp/mica-{}", environment.uid)),
            _ => "/run/mica".into(),
        };
        let mut storage_options: Vec<String> =
            config.storage.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
        storage_options
            .extend(environment.get("MICA_STORAGE_OPTS").iter().flat_map(|all| all.split(',')).map(str::to_owned));
        storage_options.extend(global.storage_options.iter().cloned());
        if let Some(wrong) = storage_options.iter().find(|option| !option.contains('=')) {
            anyhow::bail!("storage option `{wrong}` is not of the form KEY=VALUE");
        }
        // A program with more rights than its caller must not load code from a place of the caller's choice.
        let from_environment = if environment.privileged_exec { None } else { environment.get("MICA_STORAGE_PATH") };
        let from_flags = if environment.privileged_exec { &[][..] } else { &global.plugin_dirs };
        let mut plugin_dirs = from_flags.to_vec();
        plugin_dirs.extend(
            from_environment.iter().flat_map(|dirs| dirs.split(':')).filter(|dir| !dir.is_empty()).map(PathBuf::from),
        );
        // Another mica has this one's flags and config files, and not its environment.
        let not_in_config = plugin_dirs.clone();
        plugin_dirs.extend(config.storage.plugin_dirs.unwrap_or_default());
        let mut settings = Self {
            root: absolute(global.root.clone().or_else(|| environment.path("MICA_ROOT")).unwrap_or(default_root))?,
            run_root: absolute(
                global.run_root.clone().or_else(|| environment.path("MICA_RUN_ROOT")).unwrap_or(default_run_root),
            )?,
            storage_driver: global
                .storage_driver
                .clone()
                .or_else(|| environment.get("MICA_STORAGE_DRIVER"))
                .or(config.storage.driver),
            storage_options,
            plugin_dirs,
            durability: match config.storage.durability {
                Some(config::Durability::None) => Durability::None,
                Some(config::Durability::Full) | None => Durability::Full,
            },
            reaping: if config.storage.reaper.unwrap_or(true) { Reaping::Detached } else { Reaping::Foreground },
            runtime: global.runtime.clone().or_else(|| environment.get("MICA_RUNTIME")).or(config.run.runtime),
            network: config.run.network.unwrap_or_else(|| "none".to_owned()),
            rootless,
            flags: Vec::new(),
        };
        settings.flags = settings.repeat(named, &not_in_config)?;
        Ok(settings)
    }

    fn repeat(&self, config: Option<&Path>, plugin_dirs: &[PathBuf]) -> anyhow::Result<Vec<String>> {
        let text = |path: &Path| match path.to_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(anyhow::anyhow!("`{}` is not valid UTF-8", path.display())),
        };
        let mut flags = vec!["--root".to_owned(), text(&self.root)?, "--run-root".to_owned(), text(&self.run_root)?];
        if let Some(config) = config {
            flags.extend(["--config".to_owned(), text(&absolute(config.to_owned())?)?]);
        }
        for folder in plugin_dirs {
            flags.extend(["--plugin-dir".to_owned(), text(&absolute(folder.to_owned())?)?]);
        }
        if let Some(driver) = &self.storage_driver {
            flags.extend(["--storage-driver".to_owned(), driver.clone()]);
        }
        for option in &self.storage_options {
            flags.extend(["--storage-opt".to_owned(), option.clone()]);
        }
        if let Some(runtime) = &self.runtime {
            flags.extend(["--runtime".to_owned(), runtime.clone()]);
        }
        Ok(flags)
    }
}

/// Whether the kernel marked this execution as one with more rights than its caller (`AT_SECURE`, getauxval(3)), as it
/// does for file capabilities too. When it cannot be learned, it is.
fn is_secure_execution() -> bool {
    const AT_SECURE: usize = 23;
    let Ok(vector) = fs_err::read("/proc/self/auxv") else {
        return true;
    };
    let words: Vec<usize> = vector
        .chunks_exact(size_of::<usize>())
        .filter_map(|word| word.try_into().ok().map(usize::from_ne_bytes))
        .collect();
    let entry = words.chunks_exact(2).find(|entry| entry[0] == AT_SECURE);
    entry.is_none_or(|entry| entry[1] != 0)
}

fn absolute(path: PathBuf) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(uid: u32, variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Environment { variables, uid, privileged_exec: false }
    }

    fn combine(global: &Global, environment: &Environment, config: Config) -> Settings {
        Settings::combine(global, environment, config, None).expect("valid settings")
    }

    #[test]
    fn defaults_depend_on_who_calls() {
        let root = combine(&Global::default(), &environment(0, &[("XDG_DATA_HOME", "/x")]), Config::default());
        assert_eq!(
            (root.root.as_path(), root.run_root.as_path()),
            (Path::new("/var/lib/mica"), Path::new("/run/mica"))
        );
        assert_eq!(root.network, "none");
        let user = environment(1000, &[("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/run/user/1000")]);
        let user = combine(&Global::default(), &user, Config::default());
        assert_eq!(user.root, Path::new("/home/u/.local/share/mica"));
        assert_eq!(user.run_root, Path::new("/run/user/1000/mica"));
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_config() {
        let mut config = Config::default();
        config.storage.driver = Some("config".to_owned());
        config.run.runtime = Some("config".to_owned());
        config.storage.options.insert("a".to_owned(), "1".to_owned());
        let from_config = combine(&Global::default(), &environment(0, &[]), config.clone());
        assert_eq!(from_config.storage_driver.as_deref(), Some("config"));
        let variables =
            environment(0, &[("MICA_STORAGE_DRIVER", "env"), ("MICA_ROOT", "/env"), ("MICA_RUNTIME", "env")]);
        let from_environment = combine(&Global::default(), &variables, config.clone());
        assert_eq!(from_environment.storage_driver.as_deref(), Some("env"));
        assert_eq!(from_environment.root, Path::new("/env"));
        let global = Global {
            storage_driver: Some("flag".to_owned()),
            root: Some("/flag".into()),
            storage_options: vec!["b=2".to_owned()],
            ..Global::default()
        };
        let from_flags = combine(&global, &variables, config);
        assert_eq!(from_flags.storage_driver.as_deref(), Some("flag"));
        assert_eq!(from_flags.storage_options, ["a=1", "b=2"]);
        assert_eq!(
            from_flags.flags,
            [
                "--root",
                "/flag",
                "--run-root",
                "/run/mica",
                "--storage-driver",
                "flag",
                "--storage-opt",
                "a=1",
                "--storage-opt",
                "b=2",
                "--runtime",
                "env"
            ]
        );
    }

    #[test]
    fn a_path_to_code_is_ignored_when_the_program_has_more_rights_than_its_caller() {
        let mut variables = environment(0, &[("MICA_STORAGE_PATH", "/a:/b")]);
        assert_eq!(
            combine(&Global::default(), &variables, Config::default()).plugin_dirs,
            [Path::new("/a"), Path::new("/b")]
        );
        let global = Global { plugin_dirs: vec!["/flag".into()], ..Global::default() };
        let another = combine(&global, &variables, Config::default()).flags;
        assert_eq!(another[4..], ["--plugin-dir", "/flag", "--plugin-dir", "/a", "--plugin-dir", "/b"]);
        variables.privileged_exec = true;
        assert!(combine(&global, &variables, Config::default()).plugin_dirs.is_empty());
    }

    #[test]
    fn options_without_a_value_are_refused() {
        let global = Global { storage_options: vec!["x".to_owned()], ..Global::default() };
        let error = Settings::combine(&global, &environment(0, &[]), Config::default(), None).expect_err("no value");
        assert_eq!(error.to_string(), "storage option `x` is not of the form KEY=VALUE");
    }
}
