//! Containers as values: what was asked for, what was resolved from the image, and what state one is in.
//!
//! Everything here is data. A record is written once, when a container is created; what changes while it runs is kept in
//! files of the monitor, so starting and stopping touch no database.

mod block_io;
mod device_request;
mod health;
mod mount_text;
mod namespaces;
mod network;
mod options;
mod points;
mod restart;
mod spec;
mod system_paths;
mod userns;

use mica_layer::{DiffId, Digest};
use serde::{Deserialize, Serialize};

use crate::image::ContainerDefaults;

pub use block_io::{
    BlockIo, DeviceRate, DeviceWeight, parse_bytes_rate, parse_device_weight, parse_operations_rate, parse_weight,
};
pub use device_request::{DeviceRequest, Gpus, is_cdi_name};
pub use health::{
    HEALTH, Health, HealthCheck, HealthResult, HealthStatus, HealthTimes, OUTPUT_LIMIT, RESULTS, parse_duration,
};
pub use mount_text::{parse_tmpfs, parse_volume, parse_volumes_from};
pub use namespaces::{CgroupnsMode, IpcMode, Namespaces, PidMode, UtsMode};
pub use network::{
    ContainerPort, DEFAULT_NETWORK, EndpointSpec, NetworkChoice, NetworkMode, PortSpec, Protocol, parse_expose,
    parse_mac, parse_network, parse_publish,
};
pub use options::{
    check_log_options, parse_add_host, parse_cpus, parse_device, parse_device_rule, parse_log_option,
    parse_security_option, parse_size, parse_storage_option, parse_sysctl, parse_ulimit,
};
pub(crate) use points::mount_points;
pub use points::{MountPoint, PointSource};
pub use restart::RestartPolicy;
pub use spec::{
    ContainerSpec, DeviceSpec, LogDriver, LogSpec, MountFlag, MountSource, MountSpec, Propagation, Recursion,
    Resources, SeccompChoice, StorageLimits, TmpfsSpec, Treatment, Ulimit, VolumeSpec,
};
pub use system_paths::SystemPaths;
pub use userns::{AutoIds, IdMap, IdMappings, NamedIds, UsernsMode, outside, parse_id_map, parse_userns};

/// A container as the store knows it. Written at `create`, changed by `rename`, `update` and `storage migrate` alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique among containers, without a leading slash.
    pub name: String,
    /// RFC 3339 time of creation.
    pub created: String,
    /// The image's ID: the digest of its config.
    pub image_id: Digest,
    /// The image as it was named at `create`.
    pub image_name: String,
    /// The driver that holds the writable snapshot.
    pub driver: String,
    /// The image's layers, bottom first: the snapshot's parents.
    pub diff_ids: Vec<DiffId>,
    /// The image's defaults with the request laid over them, so a container starts without its image's config.
    pub config: ContainerDefaults,
    /// What was asked for. Apart, because it is most of a record's size, and listings hand a thousand records on.
    pub spec: Box<ContainerSpec>,
    /// Volumes the container mounts, in the order of their mounts.
    pub volumes: Vec<VolumeMount>,
    /// The ids of its user namespace, where it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<IdMappings>,
}

impl ContainerRecord {
    /// The argument vector of the first process.
    pub fn args(&self) -> Vec<String> {
        let entrypoint = self.config.entrypoint.as_deref().unwrap_or_default();
        let command = self.config.cmd.as_deref().unwrap_or_default();
        entrypoint.iter().chain(command).cloned().collect()
    }

    /// How its health is checked, with the command; `None` when it is not.
    pub fn health_check(&self) -> Option<(HealthCheck, Vec<String>)> {
        // An image with something else in that place is not checked, and runs all the same.
        let check = HealthCheck::of(self.config.healthcheck.as_ref()?).ok()?;
        let command = check.command(self.config.shell.as_deref())?;
        Some((check, command))
    }

    /// The first twelve digits of the ID, as listings show it.
    pub fn short_id(&self) -> &str {
        &self.id[..12]
    }

    /// The host name inside the container.
    pub fn hostname(&self) -> &str {
        match &self.spec.hostname {
            Some(name) => name,
            None => self.short_id(),
        }
    }
}

/// A volume in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// The volume's name; 64 hexadecimal digits for an anonymous one.
    pub name: String,
    /// Absolute path in the container.
    pub target: String,
    /// True when the container may not write.
    pub read_only: bool,
    /// True when the volume was made for this container alone and goes with it.
    pub anonymous: bool,
    /// True to fill an empty volume with what the image has at the target.
    pub copy_up: bool,
    /// Path below the volume's top that is mounted in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
    /// What is done to it first.
    #[serde(default, skip_serializing_if = "is_plain")]
    pub treatment: Treatment,
    /// The options as they were typed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// How it is made when it is not there yet.
    #[serde(default, skip_serializing_if = "is_plain")]
    pub spec: VolumeSpec,
}

fn is_plain<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// It has never run, or its last start failed before its process ran.
    Created {
        /// Why the last start failed: the exit code `start` reported and the reason.
        failure: Option<(i32, String)>,
    },
    /// Its first process lives.
    Running {
        /// Process ID on the host.
        pid: i32,
        /// RFC 3339.
        started_at: String,
    },
    /// Its processes are frozen.
    Paused {
        /// Process ID on the host.
        pid: i32,
        /// RFC 3339.
        started_at: String,
    },
    /// Its first process has ended, and its monitor will start another in a moment.
    Restarting {
        /// The status of the one that ended.
        code: i32,
        /// RFC 3339, of the one that ended.
        started_at: String,
        /// RFC 3339.
        finished_at: String,
    },
    /// Its first process has ended.
    Exited {
        /// 0 to 255; 128 + signal for a signal.
        code: i32,
        /// RFC 3339.
        started_at: String,
        /// RFC 3339.
        finished_at: String,
        /// True when the kernel killed it for memory.
        oom_killed: bool,
        /// What the monitor had to say about the end.
        error: Option<String>,
    },
    /// It was being removed when that was cut off.
    Dead,
}

impl ContainerState {
    /// Docker's word for the state: what `--filter status=` and `inspect` use.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::Restarting { .. } => "restarting",
            Self::Exited { .. } => "exited",
            Self::Dead => "dead",
        }
    }

    /// True while the first process exists or is about to.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Paused { .. } | Self::Restarting { .. })
    }

    /// Process ID of the first process on the host, while it exists.
    pub fn pid(&self) -> Option<i32> {
        match self {
            Self::Running { pid, .. } | Self::Paused { pid, .. } => Some(*pid),
            _ => None,
        }
    }

    /// The exit code, as `wait` and `inspect` show it.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Exited { code, .. } | Self::Restarting { code, .. } => *code,
            Self::Created { failure: Some((code, _)) } => *code,
            _ => 0,
        }
    }
}
