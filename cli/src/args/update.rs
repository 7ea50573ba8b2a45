//! `update`.

use clap::Args;
use mica_engine::container::RestartPolicy;

use super::resources::Adjustable;
use super::restart::policy;

/// Change limits or the restart policy of containers.
#[derive(Debug, Args)]
pub struct Update {
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
    /// Memory that is swapped, real time and block devices.
    #[command(flatten)]
    pub adjustable: Adjustable,
    /// no, `on-failure[:RETRIES]`, always or unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    pub restart: Option<RestartPolicy>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}
