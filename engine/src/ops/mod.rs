//! The verbs: one file each, one walk from top to bottom, as `impl Engine` blocks next to their request and result types.
//!
//! A verb values first and effects last: names and IDs are resolved before anything is written, bytes are written before
//! the rows that name them, and tags come last, so whatever a dying command leaves behind has no name.

pub mod attach;
pub mod build;
pub mod check;
pub mod commit;
pub mod copy;
pub mod create;
pub mod df;
pub mod diff;
pub mod exec;
pub mod export;
pub mod history;
pub mod images;
pub mod import;
pub mod info;
pub mod inspect_image;
pub mod kill;
pub mod load;
pub mod logs;
mod prepare;
pub mod prune;
pub mod ps;
pub(crate) mod publish;
pub mod reap;
pub mod recover;
pub mod remove;
pub mod rename;
pub mod rmi;
mod root;
pub mod run;
pub mod run_step;
pub mod save;
pub mod start;
pub mod stop;
mod stubs;
pub mod tag;
pub mod wait;
