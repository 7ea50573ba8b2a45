//! What holds for this call: flags over environment over config files over defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mica_engine::{Durability, LayerBounds, Reaping};
use mica_registry::config::Sources;
use mica_storage_loader::Pins;

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
    /// Drivers that must be certain files.
    pub pins: Pins,
    /// What is flushed before a command reports success.
    pub durability: Durability,
    /// Who frees the bytes of what was removed.
    pub reaping: Reaping,
    /// How large layers may become.
    pub layer_bounds: LayerBounds,
    /// The OCI runtime asked for.
    pub runtime: Option<String>,
    /// Where devices are described.
    pub cdi_folders: Vec<PathBuf>,
    /// What is configured about registries, and in which files.
    pub registries: Sources,
    /// Network of containers and builds that name none.
    pub network: String,
    /// What ends the names of this store's bridge and packet rules; follows from the run root when `None`.
    pub network_tag: Option<String>,
    /// Where subnets of networks are cut from, each with the length of a subnet's prefix; Docker's when empty.
    pub address_pools: Vec<(ipnet::Ipv4Net, u8)>,
    /// Limit of what a container writes that names none.
    pub container_size: Option<String>,
    /// What this process may do.
    pub privileges: Privileges,
    /// The flags that make another `mica` use the same store.
    pub flags: Vec<String>,
}

/// What a process may do on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileges {
    /// Everything that root may.
    Root,
    /// Everything in a user namespace, in which it runs as root.
    Namespace,
    /// What a user may, who is root in a user namespace that is to be entered.
    User,
}

impl Privileges {
    /// True when containers are in a user namespace that does not have all users.
    pub fn are_confined(self) -> bool {
        self != Self::Root
    }
}

/// The parts of the environment that count.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    uid: u32,
    confined: bool,
    privileged_exec: bool,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        const NAMES: [&str; 15] = [
            "MICA_NETWORK",
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
            "DOCKER_CONFIG",
            "REGISTRY_AUTH_FILE",
            "CONTAINERS_REGISTRIES_CONF",
            "PATH",
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
            confined: mica_rootless::is_confined(),
            privileged_exec: uid != euid || gids_differ || is_secure_execution(),
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// The files about registries that this environment leads to.
    fn registries(&self, config: &config::Registries) -> anyhow::Result<Sources> {
        let mut sources = Sources {
            registries_conf: vec!["/etc/containers/registries.conf".into()],
            registries_conf_dirs: vec!["/etc/containers/registries.conf.d".into()],
            certificates: ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from).into(),
            policy_json: vec!["/etc/containers/policy.json".into()],
            named_policy_json: config.policy.clone(),
            policy: config.rules()?,
            ..Sources::default()
        };
        sources.certificates.splice(0..0, config.ca_dirs.iter().flatten().cloned());
        // A program with more rights than its caller must not read secrets from a place of the caller's choice, nor start
        // programs from one.
        if self.privileged_exec {
            return Ok(sources);
        }
        let docker = self.path("DOCKER_CONFIG").or_else(|| Some(self.path("HOME")?.join(".docker")));
        sources.docker_config = docker.map(|folder| folder.join("config.json"));
        sources.search_path = self.get("PATH").unwrap_or_default().into();
        let runtime = self
            .path("XDG_RUNTIME_DIR")
            .map_or_else(|| format!("/run/containers/{}", self.uid).into(), |folder| folder.join("containers"));
        // Podman looks for this one in the home and nowhere else.
        sources.policy_json.splice(0..0, self.path("HOME").map(|home| home.join(".config/containers/policy.json")));
        let home = self.path("XDG_CONFIG_HOME").or_else(|| Some(self.path("HOME")?.join(".config")));
        sources.auth_files.extend(self.path("REGISTRY_AUTH_FILE"));
        sources.auth_files.push(runtime.join("auth.json"));
        if let Some(home) = home {
            let own = home.join("containers");
            sources.auth_files.push(own.join("auth.json"));
            sources.registries_conf.insert(0, own.join("registries.conf"));
            sources.registries_conf_dirs.push(own.join("registries.conf.d"));
            let before = sources.certificates.len() - 2;
            sources.certificates.splice(before..before, [own.join("certs.d"), home.join("docker/certs.d")]);
        }
        if let Some(named) = self.path("CONTAINERS_REGISTRIES_CONF") {
            sources.registries_conf = vec![named];
        }
        Ok(sources)
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
        let is_user = environment.uid != 0;
        let pins = config.storage.pins()?;
        let registries = environment.registries(&config.registries)?;
        let default_root = if is_user {
            environment.home("XDG_DATA_HOME", ".local/share").join("mica")
        } else {
            "/var/lib/mica".into()
        };
        let default_run_root = match environment.path("XDG_RUNTIME_DIR") {
            Some(folder) if is_user => folder.join("mica"),
            _ if is_user => PathBuf::from(format!("/tmp/mica-{}", environment.uid)),
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
        // What describes devices may name programs that run on the host.
        let from_flags = if environment.privileged_exec { &[][..] } else { &global.cdi_folders };
        let cdi_folders = match (from_flags, config.run.cdi_dirs) {
            ([], None) => mica_engine::cdi::FOLDERS.map(PathBuf::from).into(),
            ([], Some(folders)) => folders,
            (folders, _) => folders.iter().cloned().map(absolute).collect::<Result<_, _>>()?,
        };
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
            pins,
            durability: match config.storage.durability {
                Some(config::Durability::None) => Durability::None,
                Some(config::Durability::Full) | None => Durability::Full,
            },
            reaping: if config.storage.reaper.unwrap_or(true) { Reaping::Detached } else { Reaping::Foreground },
            layer_bounds: config.images.bounds()?,
            runtime: global.runtime.clone().or_else(|| environment.get("MICA_RUNTIME")).or(config.run.runtime),
            cdi_folders,
            registries,
            network: environment
                .get("MICA_NETWORK")
                .or(config.network.default.clone())
                .unwrap_or_else(|| "bridge".to_owned()),
            network_tag: config.network.tag.clone(),
            address_pools: config.network.pools()?,
            container_size: config.storage.container_size,
            privileges: match (is_user, environment.confined) {
                (true, _) => Privileges::User,
                (false, true) => Privileges::Namespace,
                (false, false) => Privileges::Root,
            },
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
        Environment { variables, uid, confined: false, privileged_exec: false }
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
        assert_eq!((root.network.as_str(), root.privileges), ("bridge", Privileges::Root));
        let inside = Environment { confined: true, ..environment(0, &[]) };
        let inside = combine(&Global::default(), &inside, Config::default());
        assert_eq!((inside.root.as_path(), inside.privileges), (Path::new("/var/lib/mica"), Privileges::Namespace));
        let user = environment(1000, &[("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/run/user/1000")]);
        let user = combine(&Global::default(), &user, Config::default());
        assert_eq!(user.root, Path::new("/home/u/.local/share/mica"));
        assert_eq!(user.run_root, Path::new("/run/user/1000/mica"));
        assert_eq!(user.privileges, Privileges::User);
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
        let named = Global { cdi_folders: vec!["/cdi".into()], ..Global::default() };
        assert_eq!(combine(&named, &variables, Config::default()).cdi_folders, [Path::new("/cdi")]);
        variables.privileged_exec = true;
        assert!(combine(&global, &variables, Config::default()).plugin_dirs.is_empty());
        let usual = combine(&named, &variables, Config::default()).cdi_folders;
        assert_eq!(usual, [Path::new("/etc/cdi"), Path::new("/var/run/cdi")]);
    }

    #[test]
    fn files_about_registries_are_where_docker_and_podman_have_them() {
        let variables = [("HOME", "/home/u"), ("PATH", "/bin"), ("XDG_RUNTIME_DIR", "/run/user/7")];
        let mut user = environment(7, &variables);
        let config = Config::default();
        let found = combine(&Global::default(), &user, config.clone()).registries;
        assert_eq!(found.docker_config.as_deref(), Some(Path::new("/home/u/.docker/config.json")));
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            found.auth_files,
            paths(&["/run/user/7/containers/auth.json", "/home/u/.config/containers/auth.json"])
        );
        assert_eq!(
            found.registries_conf,
            paths(&["/home/u/.config/containers/registries.conf", "/etc/containers/registries.conf"])
        );
        assert_eq!(
            found.registries_conf_dirs,
            paths(&["/etc/containers/registries.conf.d", "/home/u/.config/containers/registries.conf.d"])
        );
        assert_eq!(
            found.certificates,
            paths(&[
                "/home/u/.config/containers/certs.d",
                "/home/u/.config/docker/certs.d",
                "/etc/containers/certs.d",
                "/etc/docker/certs.d"
            ])
        );
        assert_eq!(
            found.policy_json,
            paths(&["/home/u/.config/containers/policy.json", "/etc/containers/policy.json"])
        );
        let named = [("DOCKER_CONFIG", "/d"), ("REGISTRY_AUTH_FILE", "/a"), ("CONTAINERS_REGISTRIES_CONF", "/r")];
        let found = combine(&Global::default(), &environment(0, &named), config.clone()).registries;
        assert_eq!(found.docker_config.as_deref(), Some(Path::new("/d/config.json")));
        assert_eq!(found.auth_files, paths(&["/a", "/run/containers/0/auth.json"]));
        assert_eq!(found.registries_conf, paths(&["/r"]));
        user.privileged_exec = true;
        let found = combine(&Global::default(), &user, config).registries;
        assert!(found.docker_config.is_none() && found.auth_files.is_empty() && found.search_path.is_empty());
        assert_eq!(found.registries_conf, paths(&["/etc/containers/registries.conf"]));
        assert_eq!(found.policy_json, paths(&["/etc/containers/policy.json"]));
    }

    #[test]
    fn options_without_a_value_are_refused() {
        let global = Global { storage_options: vec!["x".to_owned()], ..Global::default() };
        let error = Settings::combine(&global, &environment(0, &[]), Config::default(), None).expect_err("no value");
        assert_eq!(error.to_string(), "storage option `x` is not of the form KEY=VALUE");
    }
}
