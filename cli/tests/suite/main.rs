//! The built `mica`, driven as a person drives it: real drivers, a real monitor, a store of its own for every test.
//!
//! Tests that start containers need root and are named `privileged_*`; without it they say so and pass.

mod apparmor;
mod archives;
mod build;
mod cdi;
mod checking;
mod chunked;
mod copying;
mod endpoints;
mod events;
mod exec;
mod flags;
mod forms;
mod handmade;
mod health;
mod image_copy;
mod images;
mod inspect;
mod leftovers;
mod lifecycle;
mod logging;
mod logins;
mod managing;
mod manifests;
mod migration;
mod network;
mod pulling;
mod push_resuming;
mod pushing;
mod quotas;
mod reaping;
mod registry;
mod restarting;
mod resuming;
mod run;
mod servers;
mod shelf;
mod signing;
mod sizes;
mod storage;
mod support;
mod terminal;
mod trust;
mod usage;
mod volumes;
