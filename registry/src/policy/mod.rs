//! Which images this machine admits: `policy.json` of Podman's users (containers-policy.json(5)), obeyed before a layer moves.
//!
//! It never admits what it does not understand: a file with something unknown in it is an error, and a rule that Mica cannot
//! check refuses the image. Digests, sizes and media types are verified elsewhere and always, whatever a policy says.
//!
//! Reading order: [`PolicyFile`] (the format), `scope` (which rule is for an image), `requirement` (what a rule wants),
//! [`Identity`] (whose image a signature speaks of), `key`, [`Payload`] (what was signed), `attached` (where registries keep
//! signatures), [`Trust`] (all of it as one question).

mod attached;
mod file;
mod identity;
mod key;
mod payload;
mod requirement;
mod scope;
mod strict;
mod trust;
mod wanted;

pub use file::{Place, PolicyFile, Rule};
pub use identity::Identity;
pub use payload::Payload;
pub use requirement::{KeySource, Requirement, Sigstore, Unsupported};
pub use trust::Trust;
