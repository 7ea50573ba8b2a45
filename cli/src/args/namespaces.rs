//! Flags that say which namespaces a container shares, and what it is called there.

use clap::Args;

/// Namespaces and names.
#[derive(Debug, Args)]
pub struct NamespaceArgs {
    /// Shared memory: private, shareable, none, host or container:NAME
    #[arg(long, value_name = "MODE")]
    pub ipc: Option<String>,
    /// Process IDs: host or container:NAME
    #[arg(long, value_name = "MODE")]
    pub pid: Option<String>,
    /// Host and domain name: host
    #[arg(long, value_name = "MODE")]
    pub uts: Option<String>,
    /// Root of the control groups it sees: host or private
    #[arg(long, value_name = "MODE")]
    pub cgroupns: Option<String>,
    /// User IDs: host, auto[:size=N,uidmapping=MAP,gidmapping=MAP] or private
    #[arg(long, value_name = "MODE")]
    pub userns: Option<String>,
    /// Users of a user namespace of its own, as CONTAINER:HOST:SIZE (may be repeated)
    #[arg(long = "uidmap", value_name = "MAP")]
    pub uid_maps: Vec<String>,
    /// Its groups; those of its users unless they are named
    #[arg(long = "gidmap", value_name = "MAP")]
    pub gid_maps: Vec<String>,
    /// Whose ranges of /etc/subuid are its users
    #[arg(long = "subuidname", value_name = "NAME")]
    pub subuid_name: Option<String>,
    /// Whose ranges of /etc/subgid are its groups
    #[arg(long = "subgidname", value_name = "NAME")]
    pub subgid_name: Option<String>,
    /// Domain name of the container
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
    /// Annotation of the OCI configuration (may be repeated)
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    pub annotations: Vec<String>,
    /// Isolation technology; Linux has one
    #[arg(long, hide = true, value_name = "NAME")]
    pub isolation: Option<String>,
}
