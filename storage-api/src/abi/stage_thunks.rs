//! One C function per verb of a stage.
#![expect(unsafe_code, reason = "the C side of every verb reads and writes through the host's pointers")]

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use super::guard::{guard, guard_quietly};
use super::strings::{keys, read, write};
use super::thunks::{driver, put};
use super::{Drv, ErrorBuf, StageArgs as RawArgs, StageOut, StagePtr, Str};
use crate::args::{StageArgs, StageKind};
use crate::driver::{Stage, StorageDriver};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

pub(super) unsafe extern "C" fn begin<D: StorageDriver>(
    drv: *mut Drv,
    args: *const RawArgs,
    out: *mut *mut StagePtr,
    place: *mut StageOut,
    err: *mut ErrorBuf,
) -> c_int {
    let verb = || {
        // SAFETY: the host's contract: an open driver, a size-prefixed struct, borrowed strings.
        let (driver, args) = unsafe { (driver::<D>(drv)?, read(args)?) };
        // SAFETY: as above.
        let (id, parents) = unsafe { (Key::from_bytes(args.id.bytes())?, keys(args.parents)?) };
        let stage = Box::new(driver.stage_begin(&StageArgs {
            call_id: args.call_id,
            kind: kind(&args)?,
            id,
            parents: &parents,
            root_mode: args.root_mode,
            root_uid: args.root_uid,
            root_gid: args.root_gid,
            quota_bytes: args.quota_bytes,
            quota_inodes: args.quota_inodes,
        })?);
        let target = stage.target();
        // The driver keeps its descriptors, the host gets its own: neither can close the other's.
        let (dir, merged) = (duplicate(target.dir)?, target.merged.map(duplicate).transpose()?);
        let shown = StageOut {
            size: size_of::<StageOut>() as u32,
            whiteout: target.whiteout as u32,
            target_dirfd: dir.as_raw_fd(),
            merged_dirfd: merged.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        };
        if out.is_null() {
            return Err(Error::new(ErrorKind::Invalid, "the host passed no place for the stage"));
        }
        // SAFETY: both are the host's out parameters.
        unsafe {
            write(place, &shown)?;
            put(out, Box::into_raw(stage).cast())?;
        }
        // They are the host's now.
        let _ = (dir.into_raw_fd(), merged.map(IntoRawFd::into_raw_fd));
        Ok(())
    };
    // SAFETY: `err` is the host's error buffer.
    unsafe { guard(err, verb) }
}

pub(super) unsafe extern "C" fn sync<S: Stage>(stage: *mut StagePtr, err: *mut ErrorBuf) -> c_int {
    // SAFETY: the host's contract: a live stage and its error buffer.
    unsafe { guard(err, || live::<S>(stage)?.sync()) }
}

pub(super) unsafe extern "C" fn commit<S: Stage>(
    stage: *mut StagePtr,
    key: Str,
    bytes: *mut u64,
    err: *mut ErrorBuf,
) -> c_int {
    let verb = || {
        // SAFETY: the host's contract: a live stage, which this call ends.
        let stage = unsafe { taken::<S>(stage)? };
        // SAFETY: the host's contract: a borrowed string.
        let key = Key::from_bytes(unsafe { key.bytes() })?;
        let used = stage.commit(key)?;
        if !bytes.is_null() {
            // SAFETY: the host's out parameter.
            unsafe { bytes.write(used) };
        }
        Ok(())
    };
    // SAFETY: `err` is the host's error buffer.
    unsafe { guard(err, verb) }
}

pub(super) unsafe extern "C" fn abort<S: Stage>(stage: *mut StagePtr) {
    guard_quietly(|| {
        // SAFETY: the host's contract: a live stage, which this call ends.
        if let Ok(stage) = unsafe { taken::<S>(stage) } {
            stage.abort();
        }
    });
}

fn kind(args: &RawArgs) -> Result<StageKind> {
    match (args.kind, args.flags) {
        (super::STAGE_LAYER, 0) => Ok(StageKind::Layer),
        (super::STAGE_LAYER, super::STAGE_PROMOTE) => Ok(StageKind::Promote),
        (super::STAGE_RW, 0) => Ok(StageKind::Rw),
        (kind, flags) => Err(Error::unsupported(format_args!("stage kind {kind} with flags {flags:#x}"))),
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(|errno| Error::os(errno, "duplicate a stage directory"))
}

/// # Safety
/// `stage` is null or came from [`begin`] of the same driver type, is not ended, and is used by one thread at a time.
unsafe fn live<'a, S>(stage: *mut StagePtr) -> Result<&'a mut S> {
    // SAFETY: the caller vouches for a non-null pointer.
    unsafe { stage.cast::<S>().as_mut() }.ok_or_else(|| Error::new(ErrorKind::Invalid, "the host passed no stage"))
}

/// # Safety
/// As for [`live`], and the stage is not used again.
unsafe fn taken<S>(stage: *mut StagePtr) -> Result<Box<S>> {
    if stage.is_null() {
        return Err(Error::new(ErrorKind::Invalid, "the host passed no stage"));
    }
    // SAFETY: `begin` made it by Box::into_raw with this type, and the caller gives it up.
    Ok(unsafe { Box::from_raw(stage.cast()) })
}
