//! The `mica` command line: arguments in, Docker's words out, and no policy of its own.
//!
//! Reading order: [`args`] is what can be typed, [`settings`] and [`wire`] make an engine of it, [`commands`] has one file
//! per command, which calls one verb of the engine and shows the result through [`views`] and [`output`].

mod allocator;
mod app;
pub mod args;
mod bus_error;
mod commands;
pub mod config;
mod context;
mod docs;
pub mod failure;
mod files;
mod moment;
mod namespaces;
pub mod output;
mod progress;
pub mod settings;
mod spec;
mod stream;
pub mod template;
pub mod terminal;
mod views;
mod wire;

pub use app::main;
pub use docs::{command, write_completions, write_man_pages};
