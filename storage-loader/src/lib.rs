//! Finds, checks and loads storage drivers, and calls them safely.
//!
//! The order of events: [`SearchPath`] says where plugins may lie and which are pinned, [`SearchPath::load`] finds the file
//! of a name, refuses one that somebody else could have written or whose note is wrong, loads the rest for ever and checks
//! the table, [`Plugin::open`] yields a [`Driver`], whose methods are the verbs of `mica_storage.h` as safe Rust. A driver is not trusted to be right:
//! whatever it returns is checked, and an [`Error`] names the driver and the verb.
//!
//! The host's side of the contract lives here too: the log, the `locks/` directory inside each driver's root, the tree copy.
//!
//! Deliberately absent: reading the environment or a configuration (the caller fills the [`SearchPath`]), choosing a driver,
//! async, printing.

mod call;
mod driver;
mod error;
mod examine;
mod host;
mod note;
mod owners;
mod pins;
mod plugin;
mod search;
mod stage;
mod table;
mod trust;
mod yielding;

pub use driver::Driver;
pub use error::{Error, Refusal, Result};
pub use examine::Examined;
pub use host::{HostServices, NoServices};
pub use note::Note;
pub use owners::Owners;
pub use pins::Pins;
pub use plugin::{OpenArgs, Plugin, PluginInfo};
pub use search::{Candidate, SearchPath, candidates, discover};
pub use stage::Stage;
