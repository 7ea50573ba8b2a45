//! Copies files and directory trees from below one root to below another.

use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::error::Result;

/// How a copy differs from its source.
#[derive(Clone, Default)]
pub struct CopyOptions<'a> {
    /// The owner and group everything gets; without it the source's are kept.
    pub owner: Option<(u32, u32)>,
    /// The mode (permission and set-id bits) everything but symbolic links gets; without it the source's are kept.
    pub mode: Option<u32>,
    /// Whether a source path that is itself a symbolic link is followed (inside the source root).
    pub follow: bool,
    /// Paths relative to the source path for which this returns true are left out, directories with all they hold.
    pub exclude: Option<&'a (dyn Fn(&Path) -> bool + Sync)>,
}

impl std::fmt::Debug for CopyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyOptions")
            .field("owner", &self.owner)
            .field("mode", &self.mode)
            .field("follow", &self.follow)
            .finish_non_exhaustive()
    }
}

/// What a copy did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// How many files, directories and other nodes.
    pub entries: u64,
    /// How many bytes of content.
    pub bytes: u64,
}

/// Copies `src_path` below `src` to `dst_path` below `dst`: the last component of `dst_path` names the copy.
///
/// A directory is merged into an existing directory; anything else replaces what is there. Missing parents are created
/// (0755, owned as `options.owner` says, else by root).
pub fn copy_into(
    src: BorrowedFd<'_>,
    src_path: &Path,
    dst: BorrowedFd<'_>,
    dst_path: &Path,
    options: &CopyOptions<'_>,
) -> Result<Copied> {
    let _ = (src, src_path, dst, dst_path, options);
    todo!()
}
