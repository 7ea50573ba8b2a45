//! `cp`: files between a container and the host, or a tar stream.
//!
//! A container is hostile, runs while it is copied from, and swaps directories for symbolic links (CVE-2018-15664), so
//! its root is one descriptor and the kernel resolves every path below it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::{Engine, Result};

/// How to copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Follow a source path that is itself a symbolic link (`-L`).
    pub follow: bool,
    /// Keep owners (`-a`); else copies in a container belong to root and copies on the host to `owner`.
    pub archive: bool,
    /// Owner of copies on the host.
    pub owner: Option<(u32, u32)>,
}

impl Engine {
    /// Copies `path` of a container to `target` on the host, as `cp` names things.
    pub async fn copy_from(&self, container: &str, path: &Path, target: PathBuf, options: CopyOptions) -> Result<()> {
        let _ = (container, path, target, options);
        todo!()
    }

    /// Copies `source` of the host to `path` in a container, as `cp` names things.
    pub async fn copy_to(&self, source: PathBuf, container: &str, path: &Path, options: CopyOptions) -> Result<()> {
        let _ = (source, container, path, options);
        todo!()
    }

    /// Writes `path` of a container as an archive (`cp CONTAINER:PATH -`).
    pub async fn copy_out(&self, container: &str, path: &Path, options: CopyOptions, out: Box<dyn Write + Send>) -> Result<()> {
        let _ = (container, path, options, out);
        todo!()
    }

    /// Extracts an archive into the directory `path` of a container (`cp - CONTAINER:PATH`).
    pub async fn copy_in(&self, archive: Box<dyn Read + Send>, container: &str, path: &Path) -> Result<()> {
        let _ = (archive, container, path);
        todo!()
    }
}
