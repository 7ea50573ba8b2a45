//! Tests of writing archives: their bytes, the law that binds diff and apply, and what other programs make of them.

mod bytes;
pub(crate) mod law;
mod peers;
