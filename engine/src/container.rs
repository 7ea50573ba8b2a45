//! Containers as values: what was asked for, what was resolved from the image, and what state one is in.
//!
//! Everything here is data. A record is written once, when a container is created; what changes while it runs is kept in
//! files of the monitor, so starting and stopping touch no database.

mod options;
mod spec;

use mica_layer::{DiffId, Digest};
use serde::{Deserialize, Serialize};

use crate::image::ContainerDefaults;

pub use options::{
    parse_add_host, parse_cpus, parse_device, parse_log_option, parse_security_option, parse_size, parse_sysctl,
    parse_tmpfs, parse_ulimit, parse_volume,
};
pub use spec::{
    ContainerSpec, DeviceSpec, LogDriver, LogSpec, MountSource, MountSpec, NetworkMode, Propagation, Resources,
    SeccompChoice, TmpfsSpec, Ulimit, UsernsMode,
};

/// A container as the store knows it. Written at `create`, changed by `rename` alone.
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
    /// What was asked for.
    pub spec: ContainerSpec,
    /// Volumes the container mounts, in the order of their mounts.
    pub volumes: Vec<VolumeMount>,
}

impl ContainerRecord {
    /// The argument vector of the first process.
    pub fn args(&self) -> Vec<String> {
        let entrypoint = self.config.entrypoint.as_deref().unwrap_or_default();
        let command = self.config.cmd.as_deref().unwrap_or_default();
        entrypoint.iter().chain(command).cloned().collect()
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
            Self::Exited { .. } => "exited",
            Self::Dead => "dead",
        }
    }

    /// True while the first process exists.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Paused { .. })
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
            Self::Exited { code, .. } => *code,
            Self::Created { failure: Some((code, _)) } => *code,
            _ => 0,
        }
    }
}
