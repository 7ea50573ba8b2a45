//! The built `mica`, driven as a person drives it: real drivers, a real monitor, a store of its own for every test.
//!
//! Tests that start containers need root and are named `privileged_*`; without it they say so and pass.

mod build;
mod checking;
mod copying;
mod exec;
mod images;
mod inspect;
mod leftovers;
mod lifecycle;
mod reaping;
mod run;
mod support;
mod terminal;
mod usage;
