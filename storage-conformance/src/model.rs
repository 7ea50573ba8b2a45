//! A plain directory beside the driver's root, to which the suite does the same as to the driver: what must come out.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use mica_storage_api::Whiteout;
use rustix::fs::{Mode, OFlags};

use crate::ground::Ground;
use crate::tree::Tree;
use crate::verdict::{Context, Outcome};
use crate::whiteout;
use crate::writer::Writer;

/// The directory; it goes with the value.
#[derive(Debug)]
pub(crate) struct Model {
    path: PathBuf,
    dir: OwnedFd,
}

impl Model {
    /// Makes an empty one with the root directory that a layer without parents has.
    pub(crate) fn new(ground: &Ground<'_>) -> Outcome<Self> {
        Self::new_beside(ground, "model")
    }

    /// The same under another name, for a case that needs two.
    pub(crate) fn new_beside(ground: &Ground<'_>, name: &str) -> Outcome<Self> {
        let path = ground.root.with_extension(name);
        fs_err::create_dir(&path).doing(|| "make the model".to_owned())?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty()).doing(|| "open the model".to_owned())?;
        let model = Self { path, dir };
        model.writer().mode(".", 0o755)?;
        Ok(model)
    }

    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer { root: self.dir.as_fd() }
    }

    /// What is in it, without the times of directories.
    pub(crate) fn tree(&self) -> Outcome<Tree> {
        Ok(Tree::read(self.dir.as_fd())?.without_directory_times())
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // Left behind it would fail the next case that needs one, loudly.
        let _ = fs_err::remove_dir_all(&self.path);
    }
}

/// One thing a layer says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A file with this content, in the place of whatever was there.
    File(&'static str, &'static str),
    /// A directory; merged with one that was there, in the place of anything else.
    Dir(&'static str),
    /// A directory in the place of whatever was there.
    Again(&'static str),
    /// A symbolic link in the place of whatever was there.
    Link(&'static str, &'static str),
    /// The path is deleted, whether or not it was there.
    Delete(&'static str),
    /// The directory hides what is below it.
    Opaque(&'static str),
}

impl Step {
    /// Writes it as the engine would.
    pub(crate) fn write(self, to: Writer<'_>, style: Whiteout) -> Outcome {
        let direct = style == Whiteout::Direct;
        let clear = |path: &str| if direct && to.exists(path) { whiteout::delete(to, style, path) } else { Ok(()) };
        let (Self::File(path, _)
        | Self::Dir(path)
        | Self::Again(path)
        | Self::Link(path, _)
        | Self::Delete(path)
        | Self::Opaque(path)) = self;
        for (end, _) in path.match_indices('/') {
            whiteout::ensure_dir(to, &path[..end])?;
        }
        match self {
            Self::File(path, content) => {
                clear(path)?;
                to.file(path, content)?;
                to.mtime(path, 1_000_000_000, 0)
            }
            Self::Link(path, target) => {
                clear(path)?;
                to.symlink(path, target)?;
                to.mtime(path, 1_000_000_000, 0)
            }
            Self::Dir(path) => {
                if !to.is_dir(path) {
                    clear(path)?;
                }
                whiteout::ensure_dir(to, path)
            }
            Self::Again(path) => {
                clear(path)?;
                to.dir(path)?;
                whiteout::make_opaque(to, style, path)
            }
            Self::Delete(path) if direct => clear(path),
            Self::Delete(path) => whiteout::delete(to, style, path),
            Self::Opaque(path) => {
                whiteout::ensure_dir(to, path)?;
                whiteout::make_opaque(to, style, path)
            }
        }
    }
}
