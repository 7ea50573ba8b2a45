//! The client against servers: Debian's `docker-registry`, nginx before it, and scripted ones for what neither would do.
//!
//! Tests that need a server to be installed are named `privileged_*`; without it they say so and pass.

mod certificates;
mod client;
mod faults;
mod nginx;
mod redirects;
mod registry;
mod resuming;
mod script;
mod signing;
mod transfer;
mod trust;
mod uploads;
