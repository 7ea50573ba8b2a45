//! What reads bytes from strangers, each as a function of bytes that panics when a law is broken.
//!
//! The same functions run in two ways: the tests here feed them their seeds and some thousand mutations of these, always
//! the same ones, on every CI run; `cargo xtask fuzz TARGET` hands them to libFuzzer, which follows the coverage for as
//! long as one likes. An input that broke a law becomes a seed. The driver table, whose bytes are pointers, is fuzzed
//! where its fields are read, in `storage-loader`.

mod archive;
mod dns;
mod layer;
mod policy;
mod registry;
mod text;

/// A function of bytes, by name.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As on the command line, and the name of the folder below `seeds`.
    pub name: &'static str,
    /// Takes any bytes; panics when a law is broken.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "archive", run: archive::images },
    Target { name: "challenge", run: registry::challenge },
    Target { name: "config", run: archive::config },
    Target { name: "credentials", run: registry::credentials },
    Target { name: "dns", run: dns::question },
    Target { name: "dockerfile", run: text::dockerfile },
    Target { name: "dockerignore", run: text::dockerignore },
    Target { name: "layer", run: layer::plain },
    Target { name: "layer-compressed", run: layer::compressed },
    Target { name: "policy", run: policy::file },
    Target { name: "reference", run: text::reference },
    Target { name: "registries-conf", run: registry::registries_conf },
    Target { name: "signature-payload", run: policy::payload },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
