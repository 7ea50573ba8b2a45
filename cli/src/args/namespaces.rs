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
