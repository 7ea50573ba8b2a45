//! Where things are in this checkout, and how they are built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{output, sh};

/// The checkout's root: the folder above xtask's own.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A cargo command in the checkout.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    // Cargo sets these for xtask itself; a nested cargo would take them for its own package.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_")) {
        command.env_remove(name);
    }
    command.env_remove("CARGO_MANIFEST_DIR");
    command
}

/// Builds everything in release mode. Binary, monitor and drivers stand side by side in `target/release`, which is
/// where the binary looks first, so nothing has to be copied. Returns the path of `mica`.
pub fn build_release() -> Result<PathBuf> {
    output::part("release build", || {
        sh::run(&mut cargo(&["build", "--release", "--workspace", "--exclude", "xtask", "--exclude", "mica-fuzz"]))
    })?;
    mica_binary()
}

/// The release `mica`, which must have been built.
pub fn mica_binary() -> Result<PathBuf> {
    let path = target().join("release/mica");
    path.canonicalize().with_context(|| format!("`{}` is missing: run `cargo xtask build`", path.display()))
}

/// A driver's shared library in the release directory.
pub fn driver(name: &str) -> PathBuf {
    target().join(format!("release/libmica_storage_{name}.so"))
}

/// Where test root file systems are kept between runs.
pub fn fixtures() -> PathBuf {
    target().join("fixtures")
}
