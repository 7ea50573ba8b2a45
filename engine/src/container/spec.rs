//! The request: everything a person can ask of a container at `create`, as it is stored with the container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mica_layer::Digest;
use serde::{Deserialize, Serialize};

use super::block_io::BlockIo;
use super::device_request::DeviceRequest;
use super::health::HealthCheck;
use super::namespaces::Namespaces;
use super::network::{ContainerPort, EndpointSpec, NetworkMode, PortSpec};
use super::restart::RestartPolicy;
use super::system_paths::SystemPaths;
use super::userns::{NamedIds, UsernsMode};
/// What a person asked for. Fields left at their default follow the image, or Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Image reference or ID as typed.
    pub image: String,
    /// Name; a random one when `None`.
    pub name: Option<String>,
    /// Arguments after the image; empty takes the image's command.
    pub command: Vec<String>,
    /// `--entrypoint`; `Some` of nothing or of one empty string clears the image's.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value` entries, later ones win.
    pub env: Vec<String>,
    /// Names to take out of the image's environment.
    pub env_remove: Vec<String>,
    /// `user[:group]`, by name or number.
    pub user: Option<String>,
    /// Working directory.
    pub workdir: Option<String>,
    /// Host name; the short ID when `None`.
    pub hostname: Option<String>,
    /// Labels, over the image's.
    pub labels: BTreeMap<String, String>,
    /// A terminal.
    pub tty: bool,
    /// Keep stdin open.
    pub stdin_open: bool,
    /// Binds and volumes.
    pub mounts: Vec<MountSpec>,
    /// Memory file systems.
    pub tmpfs: Vec<TmpfsSpec>,
    /// Containers whose volumes and binds this one gets too, `CONTAINER[:ro|:rw]` each.
    pub volumes_from: Vec<String>,
    /// Driver of volumes that have to be made; the local one when `None`.
    pub volume_driver: Option<String>,
    /// Mount the root file system read-only.
    pub read_only: bool,
    /// Which network the container sees.
    pub network: NetworkMode,
    /// Its places, in the mode of networks.
    pub networks: Vec<EndpointSpec>,
    /// Ports to publish.
    pub ports: Vec<PortSpec>,
    /// Ports that are said to be listened on, beside the image's.
    pub expose: Vec<ContainerPort>,
    /// Publish every exposed port at any free one of the host.
    pub publish_all: bool,
    /// Run a small init as process 1.
    pub init: bool,
    /// Signal `stop` sends first, by name or number.
    pub stop_signal: Option<String>,
    /// Seconds `stop` waits; 10 when `None`, for ever when negative.
    pub stop_timeout: Option<i64>,
    /// How its health is checked, over what the image says.
    pub health: Option<HealthCheck>,
    /// Whether it is started again when it has ended.
    pub restart: RestartPolicy,
    /// Remove the container and its anonymous volumes when it exits.
    pub auto_remove: bool,
    /// Capabilities to add, with or without `CAP_`, or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities to take away, with or without `CAP_`, or `ALL`.
    pub cap_drop: Vec<String>,
    /// All capabilities, all devices, no seccomp, nothing masked.
    pub privileged: bool,
    /// Forbid gaining privileges through exec.
    pub no_new_privileges: bool,
    /// The system call filter.
    pub seccomp: SeccompChoice,
    /// Resource limits of the process.
    pub ulimits: Vec<Ulimit>,
    /// Limits of the control group.
    pub resources: Resources,
    /// Size of `/dev/shm` in bytes; 64 MiB when `None`.
    pub shm_size: Option<u64>,
    /// Host devices.
    pub devices: Vec<DeviceSpec>,
    /// Devices that files on the host describe.
    pub device_requests: Vec<DeviceRequest>,
    /// Namespaced kernel settings.
    pub sysctls: BTreeMap<String, String>,
    /// Lines of `/etc/hosts`, `name:address`; the address `host-gateway` is that of the host.
    pub add_hosts: Vec<String>,
    /// Name servers instead of the host's.
    pub dns: Vec<String>,
    /// Search domains instead of the host's.
    pub dns_search: Vec<String>,
    /// Resolver options instead of the host's.
    pub dns_options: Vec<String>,
    /// Limits of what the container may write into its root file system.
    pub storage: StorageLimits,
    /// Where output goes.
    pub log: LogSpec,
    /// `os/arch[/variant]`.
    pub platform: Option<String>,
    /// An OCI runtime by name or path; `None` is the embedded one.
    pub runtime: Option<String>,
    /// Supplementary groups by name or number.
    pub group_add: Vec<String>,
    /// The user namespace.
    pub userns: UsernsMode,
    /// The ids of it that flags name.
    #[serde(skip_serializing_if = "NamedIds::is_empty")]
    pub named_ids: NamedIds,
    /// Adjustment of the kernel's out-of-memory score.
    pub oom_score_adj: Option<i32>,
    /// Which namespaces are shared.
    pub namespaces: Namespaces,
    /// The group below which the container's is made; Mica's own when `None`.
    pub cgroup_parent: Option<String>,
    /// Rules for devices besides those of `devices`, for example `c 42:* rwm`.
    pub device_rules: Vec<String>,
    /// Annotations of the OCI configuration.
    pub annotations: BTreeMap<String, String>,
    /// Domain name (NIS), and the second part of the name in `/etc/hosts`.
    pub domainname: Option<String>,
    /// What of `/proc` and `/sys` differs from the default.
    pub system_paths: SystemPaths,
    /// An AppArmor profile by its name.
    pub apparmor: Option<String>,
}

/// A bind, a volume or an image in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// What is mounted.
    pub source: MountSource,
    /// Absolute path in the container.
    pub target: String,
    /// True when the container may not write.
    pub read_only: bool,
    /// How later mounts below it travel; private when `None`.
    pub propagation: Option<Propagation>,
    /// True to leave a new volume empty.
    pub no_copy: bool,
    /// What becomes of mounts below the source.
    #[serde(default, skip_serializing_if = "is_default")]
    pub recursion: Recursion,
    /// Path below the top of a volume or an image that is mounted in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
    /// What is done to the source first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub treatment: Treatment,
    /// The options as they were typed after the second colon of `-v`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// The flag that asked for it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub flag: MountFlag,
    /// How a volume is made that is not there yet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volume: VolumeSpec,
}

impl MountSpec {
    /// A mount without any options.
    pub fn new(source: MountSource, target: impl Into<String>) -> Self {
        Self {
            source,
            target: target.into(),
            read_only: false,
            propagation: None,
            no_copy: false,
            recursion: Recursion::default(),
            subpath: None,
            treatment: Treatment::default(),
            mode: String::new(),
            flag: MountFlag::default(),
            volume: VolumeSpec::default(),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What is done to the source of a mount, in Podman's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Treatment {
    /// `U`: everything in it is given to the container's user, for good.
    pub chown: bool,
    /// `idmap`: it has the owners in the container that it has on the host, whatever user namespace the container has.
    pub idmap: bool,
    /// `O`: what the container writes is kept apart, and forgotten when it starts again.
    pub overlay: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A path of the host.
    Bind {
        /// Absolute path.
        path: PathBuf,
        /// True to make a missing path a directory (`-v`), false to refuse it (`--mount`).
        create: bool,
    },
    /// A volume; without a name one is made for this container alone.
    Volume {
        /// Its name.
        name: Option<String>,
    },
    /// The file system of an image, read-only.
    Image {
        /// The image as it was named.
        reference: String,
        /// The image's ID, from `create` on.
        id: Option<Digest>,
    },
}

/// What becomes of mounts below the source of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recursion {
    /// They come along, and are read-only too where the kernel can do that.
    #[default]
    Enabled,
    /// They stay away (`bind-recursive=disabled`, `bind-nonrecursive`).
    Disabled,
    /// They come along and stay writable in a read-only mount (`bind-recursive=writable`).
    Writable,
    /// They come along read-only, or nothing is mounted (`bind-recursive=readonly`).
    ReadOnly,
}

/// A flag that asks for a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountFlag {
    /// `-v`.
    #[default]
    Volume,
    /// `--mount`.
    Mount,
    /// `--volumes-from`.
    VolumesFrom,
}

/// What a volume is made with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeSpec {
    /// The driver; the local one when `None`.
    pub driver: Option<String>,
    /// Options of the driver: `type`, `device` and `o` of the local one.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// How mounts below a bind travel between the host and the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Not at all, with everything below.
    Rprivate,
    /// Not at all.
    Private,
    /// Both ways, with everything below.
    Rshared,
    /// Both ways.
    Shared,
    /// From the host only, with everything below.
    Rslave,
    /// From the host only.
    Slave,
}

impl Propagation {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Rprivate, Self::Private, Self::Rshared, Self::Shared, Self::Rslave, Self::Slave];

    /// The propagation a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|propagation| propagation.word() == word)
    }

    /// The mount option's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rprivate => "rprivate",
            Self::Private => "private",
            Self::Rshared => "rshared",
            Self::Shared => "shared",
            Self::Rslave => "rslave",
            Self::Slave => "slave",
        }
    }
}

/// A memory file system in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsSpec {
    /// Absolute path in the container.
    pub target: String,
    /// Mount options over `noexec,nosuid,nodev`.
    pub options: Vec<String>,
    /// The flag that asked for it, if that was not `--tmpfs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<MountFlag>,
}

/// The system call filter of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompChoice {
    /// Mica's profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// The text of a profile: Docker's form or the OCI form.
    Profile(String),
}

/// A resource limit of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Lower-case name without `RLIMIT_`, for example `nofile`.
    pub name: String,
    /// Soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is unlimited.
    pub hard: u64,
}

/// Limits of the control group. `None` sets nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory and swap; -1 is unlimited. Twice the memory when `None`, as Docker has it.
    pub memory_swap: Option<i64>,
    /// Bytes of memory that reclaim leaves alone.
    pub memory_reservation: Option<i64>,
    /// Thousandths of a processor.
    pub milli_cpus: Option<u64>,
    /// Weight of processor time (`cpu.shares`).
    pub cpu_shares: Option<u64>,
    /// Processors, for example `0-2,7`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Number of processes; 0 or -1 is unlimited.
    pub pids: Option<i64>,
    /// How readily memory is swapped out, 0 to 100.
    pub memory_swappiness: Option<u8>,
    /// The kernel freezes the container when it runs out of memory, instead of killing a process.
    pub oom_kill_disable: bool,
    /// Microseconds of a scheduling period.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in a period; -1 is unlimited.
    pub cpu_quota: Option<i64>,
    /// Microseconds of a period of the real-time scheduler.
    pub cpu_rt_period: Option<u64>,
    /// Microseconds of processor time in a period of the real-time scheduler.
    pub cpu_rt_runtime: Option<i64>,
    /// Limits of block devices.
    pub block_io: BlockIo,
}

/// Limits of what a container may write into its root file system. `None` and 0 set nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageLimits {
    /// Bytes.
    pub size: Option<u64>,
    /// Files, directories and whatever else takes an inode.
    pub inodes: Option<u64>,
}

/// A device of the host in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the container.
    pub target: String,
    /// Some of `r`, `w` and `m`.
    pub access: String,
}

/// Where a container's output goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSpec {
    /// The driver.
    pub driver: LogDriver,
    /// Size in bytes at which the file is rotated.
    pub max_size: Option<u64>,
    /// How many files are kept; the driver's number when `None`.
    pub max_files: Option<u32>,
    /// `labels`, `env` and `tag`: what every entry says beside its line; and what is accepted without an effect.
    pub options: BTreeMap<String, String>,
}

/// Log drivers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogDriver {
    /// Docker's json-file.
    #[default]
    #[serde(rename = "json-file")]
    JsonFile,
    /// The same in files of a bounded size.
    #[serde(rename = "local")]
    Local,
    /// The systemd journal.
    #[serde(rename = "journald")]
    Journald,
    /// Nothing is kept.
    #[serde(rename = "none")]
    None,
}

impl LogDriver {
    /// The word `--log-driver` takes.
    pub fn word(self) -> &'static str {
        match self {
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::Journald => "journald",
            Self::None => "none",
        }
    }
}
