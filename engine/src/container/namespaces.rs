//! Which namespaces a container has for itself and which it shares with the host or another container.

use serde::{Deserialize, Serialize};

use crate::{Error, Kind, Result};

/// The namespaces besides those of mounts, network and users.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    /// Shared memory, semaphores and message queues.
    pub ipc: IpcMode,
    /// Process IDs.
    pub pid: PidMode,
    /// Host and domain name.
    pub uts: UtsMode,
    /// What the container takes for the root of its control groups; by the version of control groups when `None`.
    pub cgroup: Option<CgroupnsMode>,
}

/// `--ipc`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpcMode {
    /// One of its own.
    #[default]
    Private,
    /// One of its own that other containers may join.
    Shareable,
    /// One of its own, without `/dev/shm`.
    None,
    /// The host's.
    Host,
    /// That of another container.
    Container(String),
}

/// `--pid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PidMode {
    /// One of its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// That of another container.
    Container(String),
}

/// `--uts`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UtsMode {
    /// One of its own.
    #[default]
    Private,
    /// The host's.
    Host,
}

/// `--cgroupns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupnsMode {
    /// The container's group is the root it sees.
    Private,
    /// The container sees the host's tree.
    Host,
}

impl Namespaces {
    /// The containers this one shares a namespace with, as they were named.
    pub fn donors(&self) -> impl Iterator<Item = &str> {
        let ipc = if let IpcMode::Container(donor) = &self.ipc { Some(donor.as_str()) } else { None };
        let pid = if let PidMode::Container(donor) = &self.pid { Some(donor.as_str()) } else { None };
        ipc.into_iter().chain(pid)
    }
}

impl IpcMode {
    /// Reads `private`, `shareable`, `none`, `host` or `container:NAME`; nothing is the default.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "private" => Ok(Self::Private),
            "shareable" => Ok(Self::Shareable),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            _ => donor(text).map(Self::Container).ok_or_else(|| invalid(format!("invalid IPC mode: `{text}`"))),
        }
    }

    /// The word `--ipc` takes.
    pub fn word(&self) -> String {
        match self {
            Self::Private => "private".into(),
            Self::Shareable => "shareable".into(),
            Self::None => "none".into(),
            Self::Host => "host".into(),
            Self::Container(donor) => format!("container:{donor}"),
        }
    }
}

impl PidMode {
    /// Reads `private`, `host` or `container:NAME`; nothing is the default.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            _ => donor(text).map(Self::Container).ok_or_else(|| invalid(format!("invalid PID mode: `{text}`"))),
        }
    }

    /// The word `--pid` takes, empty for the default as Docker shows it.
    pub fn word(&self) -> String {
        match self {
            Self::Private => String::new(),
            Self::Host => "host".into(),
            Self::Container(donor) => format!("container:{donor}"),
        }
    }
}

impl UtsMode {
    /// Reads `host`, or `private` for the default.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            _ => Err(invalid(format!("invalid UTS mode: `{text}`"))),
        }
    }

    /// The word `--uts` takes, empty for the default as Docker shows it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Private => "",
            Self::Host => "host",
        }
    }
}

impl CgroupnsMode {
    /// Reads `private` or `host`; nothing leaves it to the version of control groups.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        match text {
            "" => Ok(None),
            "private" => Ok(Some(Self::Private)),
            "host" => Ok(Some(Self::Host)),
            _ => Err(invalid(format!("invalid cgroup namespace mode: `{text}`"))),
        }
    }

    /// The word `--cgroupns` takes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Host => "host",
        }
    }
}

fn donor(text: &str) -> Option<String> {
    text.strip_prefix("container:").filter(|name| !name.is_empty()).map(str::to_owned)
}

fn invalid(message: String) -> Error {
    Error::refused(Kind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_words_or_containers() {
        for text in ["private", "shareable", "none", "host", "container:web"] {
            assert_eq!(IpcMode::parse(text).unwrap().word(), text);
        }
        for (text, word) in [("", ""), ("private", ""), ("host", "host"), ("container:web", "container:web")] {
            assert_eq!(PidMode::parse(text).unwrap().word(), word);
        }
        assert_eq!(UtsMode::parse("host").unwrap(), UtsMode::Host);
        assert_eq!(CgroupnsMode::parse("private").unwrap().map(CgroupnsMode::word), Some("private"));
        assert_eq!(CgroupnsMode::parse("").unwrap(), None);
        for text in ["x", "container:", "container", "HOST", "shareable:x"] {
            assert!(IpcMode::parse(text).is_err() && PidMode::parse(text).is_err(), "{text}");
            assert!(UtsMode::parse(text).is_err() && CgroupnsMode::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn donors_are_those_that_were_named() {
        let both = Namespaces {
            ipc: IpcMode::Container("a".into()),
            pid: PidMode::Container("b".into()),
            ..Default::default()
        };
        assert_eq!(both.donors().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(Namespaces::default().donors().count(), 0);
    }
}
