//! The host's side of the contract: log, cancellation, `<driver root>/locks/<name>`, the tree copy.
//!
//! The table a driver gets stays readable for ever, as the header promises: its few bytes are leaked once per open. What it
//! leads to goes when the driver is closed; a driver that hangs on to the table afterwards is refused.
#![expect(unsafe_code, reason = "functions that plugins call with raw pointers")]

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mica_storage_api::abi::{ABI_MINOR, ErrorBuf, HostTable, Str, guard};
use mica_storage_api::{Error, ErrorKind, Flow, Key, LogLevel, Result, ResultExt};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// What the engine does with a driver's messages, and how it stops one.
pub trait HostServices: Send + Sync + std::fmt::Debug {
    /// The least important level that is kept.
    fn log_level(&self) -> LogLevel {
        LogLevel::Warn
    }

    /// A message of the driver.
    fn log(&self, level: LogLevel, target: &str, message: &str);

    /// Progress of a long call; `Stop` cancels it.
    fn progress(&self, call_id: u64, done: u64, total: u64) -> Flow;
}

/// Keeps no message and never cancels.
#[derive(Clone, Copy, Debug)]
pub struct NoServices;

impl HostServices for NoServices {
    fn log(&self, _level: LogLevel, _target: &str, _message: &str) {}

    fn progress(&self, _call_id: u64, _done: u64, _total: u64) -> Flow {
        Flow::Continue
    }
}

/// The services of one opened driver; dropping it withdraws them.
#[derive(Debug)]
pub struct Offer {
    table: &'static HostTable,
    token: usize,
}

// SAFETY: the table is immutable, and its context is a number.
unsafe impl Send for Offer {}
// SAFETY: as above.
unsafe impl Sync for Offer {}

impl Offer {
    /// Offers services to a driver with this root.
    pub fn new(root: OwnedFd, services: Arc<dyn HostServices>) -> Self {
        let log_level = services.log_level() as i32;
        let mut open = registry();
        open.last += 1;
        let token = open.last;
        open.offered.insert(token, Arc::new(Context { root, services }));
        drop(open);
        let table = Box::leak(Box::new(HostTable {
            size: size_of::<HostTable>() as u32,
            abi_minor: ABI_MINOR,
            ctx: std::ptr::without_provenance_mut(token),
            log_level,
            flags: 0,
            log: Some(log),
            progress: Some(progress),
            lock: Some(lock),
            copy_tree: Some(copy_tree),
        }));
        Self { table, token }
    }

    /// The table as it crosses.
    pub fn table(&self) -> *const HostTable {
        self.table
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        registry().offered.remove(&self.token);
    }
}

struct Context {
    root: OwnedFd,
    services: Arc<dyn HostServices>,
}

struct Registry {
    last: usize,
    offered: BTreeMap<usize, Arc<Context>>,
}

fn registry() -> MutexGuard<'static, Registry> {
    static OPEN: Mutex<Registry> = Mutex::new(Registry { last: 0, offered: BTreeMap::new() });
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn context(ctx: *mut c_void) -> Result<Arc<Context>> {
    let found = registry().offered.get(&ctx.addr()).cloned();
    found.ok_or_else(|| Error::new(ErrorKind::Invalid, "the driver is closed and has no host any more"))
}

unsafe extern "C" fn log(ctx: *mut c_void, level: i32, target: Str, message: Str) {
    let verb = || {
        let level = LogLevel::from_code(level).unwrap_or(LogLevel::Warn);
        // SAFETY: rule (a) of the header: strings are readable for the call.
        let (target, message) = unsafe { (target.bytes(), message.bytes()) };
        context(ctx)?.services.log(level, &String::from_utf8_lossy(target), &String::from_utf8_lossy(message));
        Ok(())
    };
    // SAFETY: null is allowed; a log that fails has nobody to tell.
    unsafe { guard(std::ptr::null_mut(), verb) };
}

unsafe extern "C" fn progress(ctx: *mut c_void, call_id: u64, done: u64, total: u64) -> c_int {
    let verb = || match context(ctx)?.services.progress(call_id, done, total) {
        Flow::Continue => Ok(()),
        Flow::Stop => Err(cancelled()),
    };
    // SAFETY: null is allowed; the code says enough.
    unsafe { guard(std::ptr::null_mut(), verb) }
}

unsafe extern "C" fn lock(
    ctx: *mut c_void,
    name: Str,
    exclusive: c_int,
    out_fd: *mut c_int,
    err: *mut ErrorBuf,
) -> c_int {
    let verb = || {
        // SAFETY: rule (a) of the header: strings are readable for the call.
        let name = Key::from_bytes(unsafe { name.bytes() })?;
        if out_fd.is_null() {
            return Err(Error::new(ErrorKind::Invalid, "no place for the lock's descriptor"));
        }
        let file = take_lock(context(ctx)?.root.as_fd(), name, exclusive != 0)?;
        // SAFETY: not null, and the driver's out parameter.
        unsafe { out_fd.write(file.into_raw_fd()) };
        Ok(())
    };
    // SAFETY: the driver's error buffer.
    unsafe { guard(err, verb) }
}

unsafe extern "C" fn copy_tree(
    ctx: *mut c_void,
    call_id: u64,
    from: c_int,
    to: c_int,
    flags: u32,
    err: *mut ErrorBuf,
) -> c_int {
    let verb = || {
        if flags != 0 || from < 0 || to < 0 {
            return Err(Error::new(ErrorKind::Invalid, format!("copy_tree({from}, {to}, {flags:#x})")));
        }
        // SAFETY: rule (e) of the header: open for the call.
        let (from, to) = unsafe { (BorrowedFd::borrow_raw(from), BorrowedFd::borrow_raw(to)) };
        let context = context(ctx)?;
        mica_storage_api::copy::copy_tree(from, to, &mut |done| context.services.progress(call_id, done, 0))
    };
    // SAFETY: the driver's error buffer.
    unsafe { guard(err, verb) }
}

/// The files are empty and never removed: unlinking one while somebody waits for it would give two holders.
fn take_lock(root: BorrowedFd<'_>, name: Key<'_>, exclusive: bool) -> Result<OwnedFd> {
    let show = || format!("lock `locks/{name}`");
    let dir = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let locks = match rustix::fs::openat(root, "locks", dir, Mode::empty()) {
        Err(Errno::NOENT) => {
            match rustix::fs::mkdirat(root, "locks", Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::os(errno, show())),
            }
            rustix::fs::openat(root, "locks", dir, Mode::empty())
        }
        other => other,
    }
    .during(show)?;
    let file = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&locks, name.as_str(), file, Mode::RUSR | Mode::WUSR).during(show)?;
    let mode = if exclusive { FlockOperation::LockExclusive } else { FlockOperation::LockShared };
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, mode)).during(show)?;
    Ok(file)
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the host asked to stop")
}
