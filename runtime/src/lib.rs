//! Running OCI bundles: [`MonitorRuntime`] is the client side of `mica-monitor`, the one small process that stands beside
//! every running container.
//!
//! A client starts a monitor with one end of a socket pair as its standard input and sends it a [`request::Request`]
//! together with the mount of the root file system. The same socket is then the first session: [`frame`] says what
//! travels. Later clients connect to `<run_dir>/attach.sock`. Nothing else is shared: when the client goes, the monitor,
//! the container and its log stay.
//!
//! ```text
//! <run_dir>/lock          exclusive flock for the monitor's whole life
//! <run_dir>/state.json    RunState: written before the user's process runs, removed when it has ended
//! <run_dir>/runtime.json  RuntimeRecord, for exec
//! <run_dir>/attach.sock   further sessions
//! <run_dir>/rootfs        mount point, used only in the monitor's mount namespace
//! <run_dir>/libcontainer  or oci/: what the OCI runtime keeps
//! <state_dir>/exit.json   ExitRecord
//! ```

pub mod client;
pub mod error;
pub mod frame;
pub mod identity;
pub mod request;

pub use client::{MonitorRuntime, Starter};
pub use error::Error;
pub use identity::{signal_process, start_time};
