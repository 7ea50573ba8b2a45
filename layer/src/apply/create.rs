//! Creates what entries describe. Everything is created anew under a name that was free or is freed first, so nothing
//! is ever written through a link that was there before.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, makedev};
use rustix::io::Errno;

use super::meta::{self, Creation};
use super::place::{Dir, Places, kind};
use super::whiteout::{self, Placed};
use super::{Applied, Limits, Target, Whiteouts, name};
use crate::archive::{Archive, Entry, Kind};
use crate::error::{Error, Result};
use crate::{attributes, beneath, copy};

/// One layer being applied.
pub(super) struct Layer<'a> {
    places: Places<'a>,
    placed: Placed,
    creation: Creation,
    limits: Limits,
    applied: Applied,
    /// Cleared by whatever makes the result depend on the layers below.
    independent: bool,
}

impl<'a> Layer<'a> {
    pub fn new(target: Target<'a>, limits: Limits, root: (u32, u32)) -> Layer<'a> {
        Layer {
            places: Places::new(target, root),
            placed: Placed::default(),
            creation: Creation::current(),
            limits,
            applied: Applied::default(),
            independent: true,
        }
    }

    /// Counts one more entry.
    pub fn count(&mut self) -> Result<()> {
        self.applied.entries += 1;
        if self.applied.entries > self.limits.max_entries {
            return Err(Error::Limit { what: "entries", limit: self.limits.max_entries });
        }
        Ok(())
    }

    /// Creates the archive's current entry at the clean `path`.
    pub fn create<R: BufRead>(&mut self, archive: &mut Archive<R>, path: &[u8]) -> Result<()> {
        let entry = archive.entry();
        if path.is_empty() {
            return self.root(entry);
        }
        let device = matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice);
        if entry.kind == Kind::CharDevice && (entry.major, entry.minor) == (0, 0) {
            // No driver answers to 0:0. It is overlay's whiteout, and a layer that has one means to delete behind the
            // back of whoever reads its names.
            return Ok(());
        }
        let (parent, base) = beneath::split(path);
        let dir = self.places.dir(parent)?;
        match entry.kind {
            Kind::File => self.file(archive, &dir, base, path)?,
            Kind::Directory => return self.directory(entry, &dir, base, path),
            Kind::HardLink => self.hard_link(entry, &dir, base, path)?,
            Kind::Symlink => {
                self.node(entry, &dir, base, path, |dir, name| rustix::fs::symlinkat(&entry.link[..], dir, name))?
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let (kind, number) = match entry.kind {
                    Kind::CharDevice => (FileType::CharacterDevice, makedev(entry.major, entry.minor)),
                    Kind::BlockDevice => (FileType::BlockDevice, makedev(entry.major, entry.minor)),
                    _ => (FileType::Fifo, 0),
                };
                let made = self.node(entry, &dir, base, path, |dir, name| {
                    rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(entry.mode), number)
                });
                match made {
                    // A user namespace may make no devices, and an image that brings some must run all the same.
                    Err(Error::Io { op: "create", source, .. })
                        if device && source.kind() == std::io::ErrorKind::PermissionDenied =>
                    {
                        self.applied.skipped_devices += 1;
                        return Ok(());
                    }
                    done => done?,
                }
            }
        }
        self.note(&dir, base);
        Ok(())
    }

    /// Deletes `name` in `parent` from the layers below.
    pub fn delete(&mut self, parent: &[u8], name: &[u8]) -> Result<()> {
        whiteout::delete(&mut self.places, &self.placed, parent, name)
    }

    /// Hides what the layers below have in `path`.
    pub fn make_opaque(&mut self, path: &[u8]) -> Result<()> {
        self.independent &= whiteout::make_opaque(&mut self.places, &self.placed, path)?;
        Ok(())
    }

    /// Sets directory times and reports.
    pub fn finish(mut self) -> Result<Applied> {
        let explicit = self.places.finish()?;
        self.applied.independent = self.independent && explicit;
        Ok(self.applied)
    }

    fn root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Directory {
            return Err(Error::refused(&entry.path, "the root of a layer must be a directory"));
        }
        let dir = self.places.dir(b"")?;
        self.dress(entry, dir.fd.as_fd(), b"")?;
        self.places.explicit(Vec::new(), entry.mtime);
        Ok(())
    }

    fn file<R: BufRead>(&mut self, archive: &mut Archive<R>, dir: &Dir, base: &[u8], path: &[u8]) -> Result<()> {
        let mode = Mode::from_raw_mode(archive.entry().mode & 0o777);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.retry(dir, base, path, |dir, name| rustix::fs::openat(dir, name, flags, mode))?;
        if archive.entry().size > 0 {
            self.write(archive, &file, path)?;
        }
        let entry = archive.entry();
        // Owner, then mode, then attributes: chown clears set-id bits and capabilities, and so does writing.
        meta::own(file.as_fd(), entry, self.creation, dir.inherits)
            .map_err(|e| Error::io("set the owner of", path, e))?;
        if !entry.xattrs.is_empty() {
            self.applied.dropped_xattrs += attributes::set_open(file.as_fd(), &entry.xattrs, path)?;
        }
        rustix::fs::futimens(&file, &entry.mtime.to_set()).map_err(|e| Error::io("set times of", path, e))
    }

    fn write<R: BufRead>(&mut self, archive: &mut Archive<R>, file: &OwnedFd, path: &[u8]) -> Result<()> {
        let failed = |e| Error::io("write", path, e);
        let Some(segments) = archive.entry().sparse.clone() else {
            loop {
                let chunk = archive.content()?;
                if chunk.is_empty() {
                    return Ok(());
                }
                let written = write_some(file, chunk, None).map_err(failed)?;
                archive.consume(written);
                self.grow(written)?;
            }
        };
        for segment in segments {
            let mut done = 0;
            while done < segment.length {
                let chunk = archive.content()?;
                let length = chunk.len().min(usize::try_from(segment.length - done).unwrap_or(usize::MAX));
                if length == 0 {
                    return Err(Error::refused(path, "its sparse map claims more than it stores"));
                }
                let written = write_some(file, &chunk[..length], Some(segment.offset + done)).map_err(failed)?;
                archive.consume(written);
                done += written as u64;
                self.grow(written)?;
            }
        }
        rustix::fs::ftruncate(file, archive.entry().size).map_err(failed)
    }

    fn grow(&mut self, written: usize) -> Result<()> {
        self.applied.bytes += written as u64;
        if self.applied.bytes > self.limits.max_bytes {
            return Err(Error::Limit { what: "bytes of content", limit: self.limits.max_bytes });
        }
        Ok(())
    }

    fn directory(&mut self, entry: &Entry, dir: &Dir, base: &[u8], path: &[u8]) -> Result<()> {
        let full = beneath::join(&dir.path, base);
        let failed = |e| Error::io("create directory", path, e);
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let mut fresh = true;
        let mut hides = false;
        match rustix::fs::mkdirat(&dir.fd, base, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                fresh = kind(dir.fd.as_fd(), base).map_err(failed)? != Some(FileType::Directory);
                if fresh {
                    hides = self.places.target.whiteouts.is_overlay() && meta::is_whiteout(dir.fd.as_fd(), base);
                    self.remove(dir, base, path)?;
                    rustix::fs::mkdirat(&dir.fd, base, mode).map_err(failed)?;
                }
            }
            Err(e) => return Err(failed(e)),
        }
        let made = beneath::open_child_dir(&dir.fd, base).map_err(failed)?;
        if hides {
            meta::set_opaque(made.as_fd(), self.places.target.whiteouts, path)?;
        }
        if fresh {
            meta::own(made.as_fd(), entry, self.creation, dir.inherits)
                .map_err(|e| Error::io("set the owner of", path, e))?;
            if !entry.xattrs.is_empty() {
                self.applied.dropped_xattrs += attributes::set_open(made.as_fd(), &entry.xattrs, path)?;
            }
        } else {
            self.dress(entry, made.as_fd(), path)?;
        }
        let inherits = entry.mode & 0o2000 != 0 || !entry.xattrs.is_empty() && meta::has_default_acl(made.as_fd());
        self.places.opened(made, &full, inherits);
        self.places.explicit(full, entry.mtime);
        Ok(())
    }

    /// Gives a directory that existed before everything the entry says, and nothing it does not say.
    fn dress(&mut self, entry: &Entry, dir: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        let failed = |e| Error::io("set the owner of", path, e);
        rustix::fs::fchown(dir, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))).map_err(failed)?;
        rustix::fs::fchmod(dir, Mode::from_raw_mode(entry.mode)).map_err(failed)?;
        attributes::retain(dir, &entry.xattrs, path)?;
        self.applied.dropped_xattrs += attributes::set_open(dir, &entry.xattrs, path)?;
        Ok(())
    }

    fn hard_link(&mut self, entry: &Entry, dir: &Dir, base: &[u8], path: &[u8]) -> Result<()> {
        let mut target = Vec::new();
        name::clean(&entry.link, &mut target).map_err(|e| Error::refused(path, format!("its target: {e}")))?;
        let (parent, target_base) = beneath::split(&target);
        if target_base.is_empty() {
            return Err(Error::refused(path, "a hard link cannot point to a directory"));
        }
        let absent = || Error::LinkTarget { path: beneath::path_of(path), target: beneath::path_of(&target) };
        let found = match self.places.existing(parent)? {
            Some(holder) => kind(holder.fd.as_fd(), target_base)
                .map_err(|e| Error::io("read", &target, e))?
                .filter(|kind| {
                    // A whiteout is not a file: the layer deleted what it wants to link to.
                    *kind != FileType::CharacterDevice || !meta::is_whiteout(holder.fd.as_fd(), target_base)
                })
                .map(|kind| (holder, kind)),
            None => None,
        };
        let (holder, kind) = match found {
            Some(found) => found,
            None => self.raise(parent, target_base, &target)?.ok_or_else(absent)?,
        };
        if kind == FileType::Directory {
            return Err(Error::refused(path, "a hard link cannot point to a directory"));
        }
        if self.places.target.whiteouts == Whiteouts::Direct && !self.placed.contains(&holder.path, target_base) {
            self.independent = false;
        }
        if (&holder.path, target_base) == (&dir.path, base) {
            return Ok(());
        }
        let link =
            |dir: BorrowedFd<'_>, name: &[u8]| rustix::fs::linkat(&holder.fd, target_base, dir, name, AtFlags::empty());
        match self.retry(dir, base, path, link) {
            // Making room for the link removed what it points to.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Err(absent()),
            done => done,
        }
    }

    /// Brings a link's target up from the layers below, as overlay does when a file there is linked to, so that both
    /// names are one file afterwards.
    fn raise(&mut self, parent: &[u8], base: &[u8], target: &[u8]) -> Result<Option<(Rc<Dir>, FileType)>> {
        self.independent = false;
        let Some(merged) = self.places.target.merged else { return Ok(None) };
        let below = match beneath::open_dir(merged, &beneath::path_of(parent)) {
            Ok(below) => below,
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let Some(found) = kind(below.as_fd(), base).map_err(|e| Error::io("read", target, e))? else {
            return Ok(None);
        };
        if found != FileType::Directory {
            let holder = self.places.dir(parent)?;
            self.applied.bytes += copy::raise(below.as_fd(), holder.fd.as_fd(), base, target)?;
            return Ok(Some((holder, found)));
        }
        Ok(Some((self.places.dir(parent)?, found)))
    }

    fn node(
        &mut self,
        entry: &Entry,
        dir: &Dir,
        base: &[u8],
        path: &[u8],
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<(), Errno>,
    ) -> Result<()> {
        self.retry(dir, base, path, make)?;
        let failed = |e| Error::io("set the owner of", path, e);
        if self.creation.wrong_owner(entry.uid, entry.gid, dir.inherits) {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            rustix::fs::chownat(&dir.fd, base, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        }
        if entry.kind != Kind::Symlink && self.creation.wrong_mode(entry.mode, dir.inherits) {
            // Not a link: it was created a moment ago under a name that was free, in a tree nobody else writes to.
            rustix::fs::chmodat(&dir.fd, base, Mode::from_raw_mode(entry.mode), AtFlags::empty()).map_err(failed)?;
        }
        if !entry.xattrs.is_empty() {
            self.applied.dropped_xattrs += attributes::set(dir.fd.as_fd(), base, &entry.xattrs, path)?;
        }
        let times = entry.mtime.to_set();
        rustix::fs::utimensat(&dir.fd, base, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| Error::io("set times of", path, e))
    }

    /// Creates under a name, freeing it first when something is there: the last of several entries wins.
    fn retry<T>(
        &mut self,
        dir: &Dir,
        base: &[u8],
        path: &[u8],
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T> {
        match make(dir.fd.as_fd(), base) {
            Err(Errno::EXIST) => {
                self.remove(dir, base, path)?;
                make(dir.fd.as_fd(), base).map_err(|e| Error::io("create", path, e))
            }
            done => done.map_err(|e| Error::io("create", path, e)),
        }
    }

    fn remove(&mut self, dir: &Dir, base: &[u8], path: &[u8]) -> Result<()> {
        let failed = |e| Error::io("replace", path, e);
        // Open directories are known by names that may lead through what goes away now.
        if matches!(kind(dir.fd.as_fd(), base).map_err(failed)?, Some(FileType::Directory | FileType::Symlink)) {
            self.places.forget(&beneath::join(&dir.path, base));
        }
        beneath::remove_all(dir.fd.as_fd(), base).map_err(failed)
    }

    fn note(&mut self, dir: &Dir, base: &[u8]) {
        if self.places.target.whiteouts == Whiteouts::Direct {
            self.placed.insert(&dir.path, base);
        }
    }
}

fn write_some(file: &OwnedFd, bytes: &[u8], offset: Option<u64>) -> Result<usize, Errno> {
    let written = rustix::io::retry_on_intr(|| match offset {
        None => rustix::io::write(file, bytes),
        Some(offset) => rustix::io::pwrite(file, bytes, offset),
    })?;
    // A write of nothing would be repeated for ever.
    if written == 0 { Err(Errno::IO) } else { Ok(written) }
}
