//! The flags that `run` and `create` share. Those of Docker's that are missing here are refused, never ignored.

use std::path::PathBuf;

use super::health::HealthArgs;
use super::logging::LoggingArgs;
use super::namespaces::NamespaceArgs;
use super::networking::NetworkArgs;
use super::resources::ResourceArgs;
use super::restart::RestartArgs;
use super::volumes::VolumeArgs;
use clap::{ArgAction, Args, ValueEnum};

/// What a new container is asked to be.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct ContainerArgs {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Name of the container
    #[arg(long)]
    pub name: Option<String>,
    /// Keep stdin open even if not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Attach to stdin, stdout or stderr (may be repeated)
    #[arg(short, long, value_name = "STREAM", ignore_case = true)]
    pub attach: Vec<StreamName>,
    /// Remove the container and its anonymous volumes when it exits
    #[arg(long)]
    pub rm: bool,
    /// Set an environment variable; a name alone takes its value from here (may be repeated)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read environment variables from a file (may be repeated)
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Supplementary group, by name or number (may be repeated)
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Bind a folder or mount a volume (may be repeated)
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:OPTIONS]")]
    pub volume: Vec<String>,
    /// Mount by keys: type=bind|volume|tmpfs|image,source=…,target=…,readonly (may be repeated)
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub mount: Vec<String>,
    /// Mount a memory file system (may be repeated)
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    pub tmpfs: Vec<String>,
    /// Volumes of other containers and of other drivers.
    #[command(flatten)]
    pub volumes: VolumeArgs,
    /// Make the root file system read-only
    #[arg(long)]
    pub read_only: bool,
    /// Networks and published ports.
    #[command(flatten)]
    pub networking: NetworkArgs,
    /// Host name of the container
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Set a label (may be repeated)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// Read labels from a file (may be repeated)
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
    /// Write the container's ID to a file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Run an init in the container that forwards signals and reaps processes
    #[arg(long)]
    pub init: bool,
    /// When to ask a registry for the image
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub pull: Pull,
    /// Platform, os/arch[/variant]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// OCI runtime by name or path
    #[arg(long, value_name = "RUNTIME")]
    pub runtime: Option<String>,
    /// Signal that stops the container
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Seconds to wait for the container to stop before killing it
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub stop_timeout: Option<i64>,
    /// Do not print progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Security, resource and system settings.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Limits of memory, processors and block devices.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Namespaces and names.
    #[command(flatten)]
    pub namespaces: NamespaceArgs,
    /// What follows when it has ended.
    #[command(flatten)]
    pub restarting: RestartArgs,
    /// Where its output is kept.
    #[command(flatten)]
    pub logging: LoggingArgs,
    /// How its health is checked.
    #[command(flatten)]
    pub health: HealthArgs,
    /// The image, then the command with its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    pub words: Vec<String>,
}

/// Security, resource and system settings.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Add a capability, or ALL (may be repeated)
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,
    /// Drop a capability, or ALL (may be repeated)
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,
    /// All capabilities and devices, nothing masked
    #[arg(long)]
    pub privileged: bool,
    /// no-new-privileges, seccomp=unconfined|FILE, apparmor=PROFILE, systempaths=unconfined, mask=, unmask=, proc-opts= (may be repeated)
    #[arg(long = "security-opt", value_name = "OPTION")]
    pub security_options: Vec<String>,
    /// Resource limit of the process (may be repeated)
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    pub ulimits: Vec<String>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Limit of memory and swap together; -1 is unlimited
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub memory_swap: Option<String>,
    /// Memory that reclaim leaves alone
    #[arg(long, value_name = "BYTES")]
    pub memory_reservation: Option<String>,
    /// Number of processors, also a fraction
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<String>,
    /// Weight of processor time
    #[arg(short, long, value_name = "WEIGHT")]
    pub cpu_shares: Option<u64>,
    /// Processors to run on, for example 0-2,7
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Limit of processes; -1 is unlimited
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    pub shm_size: Option<String>,
    /// Limit of what the container writes: size=BYTES, inodes=NUMBER (may be repeated)
    #[arg(long = "storage-opt", value_name = "KEY=VALUE")]
    pub storage_options: Vec<String>,
    /// Adjustment of the out-of-memory score, -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    pub oom_score_adj: Option<i32>,
    /// Add a device of the host, or one by its CDI name, `VENDOR/CLASS=NAME` (may be repeated)
    #[arg(long = "device", value_name = "SOURCE[:TARGET][:ACCESS]")]
    pub devices: Vec<String>,
    /// Set a namespaced kernel setting (may be repeated)
    #[arg(long = "sysctl", value_name = "NAME=VALUE")]
    pub sysctls: Vec<String>,
    /// Add a line to /etc/hosts (may be repeated)
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    pub add_hosts: Vec<String>,
    /// Name server (may be repeated)
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<String>,
    /// Search domain (may be repeated)
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Resolver option (may be repeated)
    #[arg(long = "dns-option", alias = "dns-opt", value_name = "OPTION")]
    pub dns_options: Vec<String>,
}

/// When to ask a registry for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pull {
    /// Before every use.
    Always,
    /// When it is not local.
    Missing,
    /// Never.
    Never,
}

impl From<Pull> for mica_engine::ops::create::PullPolicy {
    fn from(pull: Pull) -> Self {
        match pull {
            Pull::Always => Self::Always,
            Pull::Missing => Self::Missing,
            Pull::Never => Self::Never,
        }
    }
}

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StreamName {
    /// Standard input.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
