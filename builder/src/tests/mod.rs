//! Builds on real directories: a host whose layers are whole trees stands in for the engine's store.

mod caching;
mod copying;
mod host;
mod planning;
