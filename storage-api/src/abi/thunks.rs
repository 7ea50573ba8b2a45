//! One C function per verb of a driver: borrow the arguments, run the trait's method under the guard, write the result.
#![expect(unsafe_code, reason = "the C side of every verb reads and writes through the host's pointers")]

use std::ffi::{OsStr, c_int, c_void};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::guard::{caught, guard, guard_quietly};
use super::strings::{keys, lent_fd, opt_bytes, path, read, text, texts, write};
use super::{ChangeFn, Drv, ErrorBuf, HostTable, NameFn, Str, Strs};
use crate::args::{CheckLevel, Flow, Left, MountArgs, MountFlags, ObjectKind, OpenArgs};
use crate::caps::Info;
use crate::driver::StorageDriver;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::key::Key;

/// What a `mica_drv` pointer of this crate leads to. The host keeps pointing into `info` until it closes.
struct Opened<D> {
    driver: D,
    info: Info,
}

pub(super) unsafe extern "C" fn open<D: StorageDriver>(
    host: *const HostTable,
    args: *const super::OpenArgs,
    out: *mut *mut Drv,
    info: *mut super::Info,
    err: *mut ErrorBuf,
) -> c_int {
    let verb = || {
        // SAFETY: the host's contract for `open`: size-prefixed structs, borrowed strings and descriptors, and a table that
        // stays readable for the life of the process.
        let (host, args) = unsafe { (Host::from_table(host)?, read(args)?) };
        // SAFETY: as above.
        let (options, root_path) = unsafe { (texts(args.options)?, path(args.root_path.bytes())) };
        // SAFETY: as above.
        let (root, userns) = unsafe { (lent_fd(args.root_dirfd), lent_fd(args.userns_fd)) };
        let root = root.ok_or_else(|| Error::new(ErrorKind::Invalid, "the host passed no root directory"))?;
        let rootless = args.flags & super::OPEN_ROOTLESS != 0;
        let (driver, found) =
            D::open(host, &OpenArgs { call_id: args.call_id, root, root_path, options: &options, rootless, userns })?;
        let opened = Box::new(Opened { driver, info: found });
        let shown = super::Info {
            size: size_of::<super::Info>() as u32,
            max_parents: opened.info.max_parents,
            caps: opened.info.caps.bits(),
            whiteout: opened.info.whiteout as u32,
            reserved: 0,
            backing_fs: Str::lend(opened.info.backing_fs.as_bytes()),
            detail: Str::lend(opened.info.detail.as_bytes()),
        };
        // SAFETY: both are the host's out parameters; the strings lie in the box, which lives until `close`.
        unsafe {
            write(info, &shown)?;
            put(out, Box::into_raw(opened).cast())
        }
    };
    // SAFETY: `err` is the host's error buffer.
    unsafe { guard(err, verb) }
}

pub(super) unsafe extern "C" fn close<D: StorageDriver>(drv: *mut Drv) {
    guard_quietly(|| {
        if !drv.is_null() {
            // SAFETY: `open` made it by Box::into_raw with this type, and the host closes once, after the last call.
            drop(unsafe { Box::from_raw(drv.cast::<Opened<D>>()) });
        }
    });
}

pub(super) unsafe extern "C" fn mount<D: StorageDriver>(
    drv: *mut Drv,
    args: *const super::MountArgs,
    out_mnt_fd: *mut c_int,
    err: *mut ErrorBuf,
) -> c_int {
    let verb = || {
        // SAFETY: the host's contract: an open driver, a size-prefixed struct, borrowed strings and descriptors.
        let (driver, args) = unsafe { (driver::<D>(drv)?, read(args)?) };
        // SAFETY: as above.
        let (rw_id, parents, options) = unsafe { (opt_bytes(args.rw_id), keys(args.parents)?, texts(args.options)?) };
        // SAFETY: as above.
        let (label, idmap_userns) = unsafe { (opt_bytes(args.selinux_label), lent_fd(args.idmap_userns_fd)) };
        let flags = MountFlags::from_bits(args.flags)
            .ok_or_else(|| Error::unsupported(format_args!("a mount flag among {:#x}", args.flags)))?;
        let mount = driver.mount(&MountArgs {
            call_id: args.call_id,
            rw_id: rw_id.map(Key::from_bytes).transpose()?,
            parents: &parents,
            flags,
            idmap_userns,
            selinux_label: label.map(text).transpose()?,
            options: &options,
        })?;
        // SAFETY: the host's out parameter.
        unsafe { put(out_mnt_fd, mount.into_raw_fd()) }
    };
    // SAFETY: `err` is the host's error buffer.
    unsafe { guard(err, verb) }
}

pub(super) unsafe extern "C" fn changes<D: StorageDriver>(
    drv: *mut Drv,
    rw_id: Str,
    parents: Strs,
    yield_change: Option<ChangeFn>,
    ctx: *mut c_void,
    err: *mut ErrorBuf,
) -> c_int {
    let verb = || {
        // SAFETY: the host's contract: an open driver and borrowed strings.
        let (driver, rw_id, parents) = unsafe { (driver::<D>(drv)?, Key::from_bytes(rw_id.bytes())?, keys(parents)?) };
        let yield_change = yield_change.ok_or_else(missing_callback)?;
        driver.changes(rw_id, &parents, &mut |change| {
            let name: &OsStr = change.name;
            let change = super::Change {
                size: size_of::<super::Change>() as u32,
                kind: change.kind as u32,
                path: Str::lend(change.path.as_os_str().as_bytes()),
                name: Str::lend(name.as_bytes()),
                dirfd: change.dir.map_or(-1, |dir| dir.as_raw_fd()),
                reserved: 0,
            };
            // SAFETY: the callback and its context are good for the length of this call.
            flow(unsafe { yield_change(ctx, &change) })
        })
    };
    // SAFETY: `err` is the host's error buffer.
    unsafe { guard(err, verb) }
}

pub(super) unsafe extern "C" fn usage<D: StorageDriver>(
    drv: *mut Drv,
    kind: u32,
    id: Str,
    bytes: *mut u64,
    inodes: *mut u64,
    err: *mut ErrorBuf,
) -> c_int {
    let verb = || {
        // SAFETY: the host's contract: an open driver and a borrowed string.
        let (driver, id) = unsafe { (driver::<D>(drv)?, Key::from_bytes(id.bytes())?) };
        let usage = driver.usage(object(kind)?, id)?;
        // SAFETY: the host's out parameters.
        unsafe {
            put(bytes, usage.bytes)?;
            put(inodes, usage.inodes)
        }
    };
    // SAFETY: `err` is the host's error buffer.
    unsafe { guard(err, verb) }
}

pub(super) unsafe extern "C" fn remove<D: StorageDriver>(
    drv: *mut Drv,
    kind: u32,
    id: Str,
    err: *mut ErrorBuf,
) -> c_int {
    let verb = || {
        // SAFETY: the host's contract: an open driver and a borrowed string.
        let (driver, id) = unsafe { (driver::<D>(drv)?, Key::from_bytes(id.bytes())?) };
        driver.remove(object(kind)?, id)
    };
    // SAFETY: `err` is the host's error buffer.
    unsafe { guard(err, verb) }
}

pub(super) unsafe extern "C" fn reap<D: StorageDriver>(
    drv: *mut Drv,
    budget_ms: u64,
    left: *mut u64,
    err: *mut ErrorBuf,
) -> c_int {
    let verb = || {
        // SAFETY: the host's contract: an open driver.
        let driver = unsafe { driver::<D>(drv)? };
        let more = driver.reap(Duration::from_millis(budget_ms))? == Left::More;
        // SAFETY: the host's out parameter.
        unsafe { put(left, u64::from(more)) }
    };
    // SAFETY: `err` is the host's error buffer.
    unsafe { guard(err, verb) }
}

pub(super) unsafe extern "C" fn list<D: StorageDriver>(
    drv: *mut Drv,
    yield_name: Option<NameFn>,
    ctx: *mut c_void,
    err: *mut ErrorBuf,
) -> c_int {
    let verb = || {
        // SAFETY: the host's contract: an open driver.
        let driver = unsafe { driver::<D>(drv)? };
        let yield_name = yield_name.ok_or_else(missing_callback)?;
        driver.list(&mut |kind, id| {
            // SAFETY: the callback and its context are good for the length of this call.
            flow(unsafe { yield_name(ctx, kind as u32, Str::lend(id.as_str().as_bytes())) })
        })
    };
    // SAFETY: `err` is the host's error buffer.
    unsafe { guard(err, verb) }
}

pub(super) unsafe extern "C" fn check<D: StorageDriver>(
    drv: *mut Drv,
    kind: u32,
    id: Str,
    level: u32,
    err: *mut ErrorBuf,
) -> c_int {
    let verb = || {
        // SAFETY: the host's contract: an open driver and a borrowed string.
        let (driver, id) = unsafe { (driver::<D>(drv)?, Key::from_bytes(id.bytes())?) };
        let level =
            CheckLevel::from_code(level).ok_or_else(|| Error::unsupported(format_args!("check level {level}")))?;
        driver.check(object(kind)?, id, level)
    };
    // SAFETY: `err` is the host's error buffer.
    unsafe { guard(err, verb) }
}

pub(super) unsafe extern "C" fn interface<D: StorageDriver>(drv: *mut Drv, iid: Str) -> *const c_void {
    caught(|| {
        // SAFETY: the host's contract: an open driver and a borrowed string.
        let (driver, iid) = unsafe { (driver::<D>(drv)?, iid.bytes()) };
        Ok(driver.interface(text(iid)?))
    })
    .unwrap_or(std::ptr::null())
}

/// # Safety
/// `drv` is null or came from [`open`] of the same driver type and is not closed for `'a`.
pub(super) unsafe fn driver<'a, D>(drv: *mut Drv) -> Result<&'a D> {
    // SAFETY: the caller vouches for a non-null pointer.
    let opened = unsafe { drv.cast::<Opened<D>>().as_ref() };
    opened.map(|opened| &opened.driver).ok_or_else(|| Error::new(ErrorKind::Invalid, "the host passed no driver"))
}

/// # Safety
/// `to` is null or writable.
pub(super) unsafe fn put<T>(to: *mut T, value: T) -> Result<()> {
    if to.is_null() {
        return Err(Error::new(ErrorKind::Invalid, "the host passed no place for a result"));
    }
    // SAFETY: not null, and the caller vouches that it is writable.
    unsafe { to.write(value) };
    Ok(())
}

fn object(kind: u32) -> Result<ObjectKind> {
    ObjectKind::from_code(kind).ok_or_else(|| Error::new(ErrorKind::Invalid, format!("object kind {kind} is unknown")))
}

fn flow(stop: c_int) -> Flow {
    if stop == 0 { Flow::Continue } else { Flow::Stop }
}

fn missing_callback() -> Error {
    Error::new(ErrorKind::Invalid, "the host passed no callback")
}
