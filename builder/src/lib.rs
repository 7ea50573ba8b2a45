//! Dockerfile to image, through the engine's [`BuildHost`](mica_engine::build::BuildHost) and nothing else.
//!
//! A build is four pure steps and one with effects. [`syntax`] turns text into a tree that keeps positions; `plan` cuts
//! it into stages, expands every word ([`expand`], `scope`) and yields a graph of nodes; only then does `execute` run
//! the graph, so whatever can be refused is refused before the first step. A node's key is made of all that its result
//! depends on: the stack below it, and the content of what it copies or the words of what it runs.
//!
//! What is deliberately absent: the store's layout, processes, drivers, registries. The one path of the host that is
//! ever opened is the context's, and everything below it is resolved by the kernel inside it.

mod builder;
mod change;
mod duration;
mod error;
mod execute;
pub mod expand;
mod glob;
pub mod ignore;
mod plan;
mod platform;
mod scope;
pub mod syntax;
#[cfg(test)]
mod tests;

pub use builder::DockerfileBuilder;
pub use error::{Error, Fault, Place};
