//! A file that writes down every write and flush it gets. It is the root of a FUSE file system, so that a loop device can
//! lie on it: the kernel hands the device's writes on at once and makes an `fsync` of each flush.
//!
//! Device-mapper has a target for this, `dm-log-writes`, but many kernels are built without it; FUSE is everywhere.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyWrite, Request, WriteFlags,
};
use nix::mount::{MntFlags, umount2};

use super::log::Event;

/// The recording file, mounted; gone with the value.
#[derive(Debug)]
pub struct Recorder {
    /// What the loop device lies on.
    pub device: PathBuf,
    events: Arc<Mutex<Vec<Event>>>,
    _session: BackgroundSession,
}

impl Recorder {
    /// Mounts the recording face of `image` over the file `device`.
    pub fn new(image: &Path, device: &Path) -> Result<Self> {
        let content = fs_err::OpenOptions::new().read(true).write(true).open(image)?.into_parts().0;
        fs_err::write(device, "")?;
        let events = Arc::<Mutex<Vec<Event>>>::default();
        let size = content.metadata()?.len();
        let face = Face { content, size, events: events.clone() };
        let session = fuser::spawn_mount(face, device, &Config::default())
            .with_context(|| format!("cannot mount FUSE at `{}`", device.display()))?;
        Ok(Self { device: device.to_owned(), events, _session: session })
    }

    /// How many events there were so far.
    pub fn position(&self) -> usize {
        lock(&self.events).len()
    }

    /// All events so far; those to come are still recorded, for nobody.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut lock(&self.events))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // The loop device lets go of the file a moment after its own file system is unmounted.
        let _ = umount2(&self.device, MntFlags::MNT_DETACH);
    }
}

/// The file system of one file.
struct Face {
    content: std::fs::File,
    size: u64,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Filesystem for Face {
    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let never = SystemTime::UNIX_EPOCH;
        let attributes = FileAttr {
            ino,
            size: self.size,
            blocks: self.size / 512,
            atime: never,
            mtime: never,
            ctime: never,
            crtime: never,
            kind: FileType::RegularFile,
            perm: 0o600,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        reply.attr(&Duration::from_secs(3600), &attributes);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; u64::from(size).min(self.size.saturating_sub(offset)) as usize];
        match self.content.read_exact_at(&mut bytes, offset) {
            Ok(()) => reply.data(&bytes),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if self.content.write_all_at(data, offset).is_err() {
            return reply.error(Errno::EIO);
        }
        lock(&self.events).push(Event::Write { at: offset, data: data.to_vec() });
        reply.written(data.len() as u32);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        lock(&self.events).push(Event::Flush);
        reply.ok();
    }
}

fn lock(events: &Mutex<Vec<Event>>) -> MutexGuard<'_, Vec<Event>> {
    events.lock().unwrap_or_else(PoisonError::into_inner)
}
