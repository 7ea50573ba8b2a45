//! Flags that limit what of the machine a container may use, beyond those everybody types.

use clap::Args;

/// Limits of memory, processors and block devices.
#[derive(Debug, Args)]
pub struct ResourceArgs {
    /// Those that `update` can change.
    #[command(flatten)]
    pub adjustable: Adjustable,
    /// Freeze the container when it runs out of memory, instead of killing a process
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Control group below which the container's is made
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// Let the container use devices, for example `c 42:* rmw` (may be repeated)
    #[arg(long = "device-cgroup-rule", value_name = "RULE")]
    pub device_rules: Vec<String>,
    /// Add graphics processors: `all`, a number, or `device=ID` (may be repeated)
    #[arg(long, value_name = "REQUEST")]
    pub gpus: Vec<String>,
}

/// Limits that a running container can get others of.
#[derive(Debug, Args)]
pub struct Adjustable {
    /// How readily memory is swapped out, 0 to 100; -1 leaves it to the kernel
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub memory_swappiness: Option<i64>,
    /// Limit of kernel memory; no kernel has it any more
    #[arg(long, hide = true, value_name = "BYTES")]
    pub kernel_memory: Option<String>,
    /// Scheduling period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// Processor time in a scheduling period, in microseconds; -1 is unlimited
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub cpu_quota: Option<i64>,
    /// Period of the real-time scheduler in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_period: Option<u64>,
    /// Processor time in a period of the real-time scheduler, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// Share of block devices' time, 10 to 1000; 0 leaves it to the kernel
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<String>,
    /// The same for one device (may be repeated)
    #[arg(long, value_name = "DEVICE:WEIGHT")]
    pub blkio_weight_device: Vec<String>,
    /// Bytes a second that may be read from a device (may be repeated)
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub device_read_bps: Vec<String>,
    /// Bytes a second that may be written to a device (may be repeated)
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub device_write_bps: Vec<String>,
    /// Reads a second from a device (may be repeated)
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub device_read_iops: Vec<String>,
    /// Writes a second to a device (may be repeated)
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub device_write_iops: Vec<String>,
}
