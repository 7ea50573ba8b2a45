//! An opened driver: the verbs of `mica_storage.h` as safe methods.
#![expect(unsafe_code, reason = "calls the plugin's functions")]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use mica_storage_api::abi::{self, DriverVt, Drv, Str};
use mica_storage_api::{
    Caps, Change, CheckLevel, Error as DriverError, Flow, Info, Key, MountArgs, ObjectKind, StageArgs, Usage, Whiteout,
};

use crate::call::{self, Lent, broken, call, failed};
use crate::error::Result;
use crate::host::Offer;
use crate::plugin::{OpenArgs, Plugin};
use crate::stage::Stage;
use crate::yielding::{Changes, Names};

/// A driver on its root. Cheap to clone; the last clone closes it, after its last stage.
#[derive(Clone)]
pub struct Driver(Arc<Open>);

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("name", &self.name()).field("info", self.info()).finish_non_exhaustive()
    }
}

impl Driver {
    pub(crate) fn open(plugin: &Plugin, args: &OpenArgs<'_>, root: BorrowedFd<'_>) -> Result<Self> {
        let name = plugin.name();
        let own = rustix::io::fcntl_dupfd_cloexec(root, 0)
            .map_err(|errno| failed(name, "open", DriverError::os(errno, "duplicate the driver root")))?;
        let host = Offer::new(own, args.services.clone());
        let options = Lent::texts(args.options);
        let raw = abi::OpenArgs {
            size: size_of::<abi::OpenArgs>() as u32,
            flags: if args.rootless { abi::OPEN_ROOTLESS } else { 0 },
            call_id: 0,
            root_dirfd: root.as_raw_fd(),
            userns_fd: -1,
            root_path: Str::lend(args.root.as_os_str().as_bytes()),
            options: options.list(),
        };
        let mut drv = std::ptr::null_mut();
        let mut found = abi::Info {
            size: size_of::<abi::Info>() as u32,
            max_parents: 0,
            caps: 0,
            whiteout: u32::MAX,
            reserved: 0,
            backing_fs: Str::EMPTY,
            detail: Str::EMPTY,
        };
        // SAFETY: a function of the checked table; all pointers lead to values that outlive the call, the host table for ever.
        call(name, "open", |err| unsafe {
            verb(plugin.table().vt.open)(host.table(), &raw, &mut drv, &mut found, err)
        })?;
        let drv = NonNull::new(drv).ok_or_else(|| broken(name, "open", "returned success without a driver"))?;
        let mut open = Open { plugin: plugin.clone(), drv, info: unknown(), host };
        open.info = info(&found).map_err(|how| broken(name, "open", how))?;
        Ok(Self(Arc::new(open)))
    }

    /// The driver's name.
    pub fn name(&self) -> &str {
        self.0.plugin.name()
    }

    /// The plugin it came from.
    pub fn plugin(&self) -> &Plugin {
        &self.0.plugin
    }

    /// What `open` found out.
    pub fn info(&self) -> &Info {
        &self.0.info
    }

    /// Begins a stage.
    pub fn stage_begin(&self, args: &StageArgs<'_>) -> Result<Stage> {
        Stage::begin(self, args)
    }

    /// A detached mount.
    pub fn mount(&self, args: &MountArgs<'_>) -> Result<OwnedFd> {
        let (parents, options) = (Lent::keys(args.parents), Lent::texts(args.options));
        let raw = abi::MountArgs {
            size: size_of::<abi::MountArgs>() as u32,
            flags: args.flags.bits(),
            call_id: args.call_id,
            rw_id: args.rw_id.map_or(Str::EMPTY, call::key),
            parents: parents.list(),
            idmap_userns_fd: args.idmap_userns.map_or(-1, |fd| fd.as_raw_fd()),
            reserved: 0,
            selinux_label: args.selinux_label.map_or(Str::EMPTY, |label| Str::lend(label.as_bytes())),
            options: options.list(),
        };
        let mut fd = -1;
        // SAFETY: a function of the checked table, an open driver, and pointers to values that outlive the call.
        self.call("mount", |err| unsafe { verb(self.vt().mount)(self.raw(), &raw, &mut fd, err) })?;
        call::take_fd(fd, call::is_mount_root).map_err(|how| broken(self.name(), "mount", how))
    }

    /// What an rw object changed; a `Fallback` error where the driver has no better way than comparing trees.
    pub fn changes(
        &self,
        rw_id: Key<'_>,
        parents: &[Key<'_>],
        yield_change: &mut dyn FnMut(&Change<'_>) -> Flow,
    ) -> Result<()> {
        let Some(changes) = self.vt().changes else { return Err(self.fallback("changes")) };
        let parents = Lent::keys(parents);
        let mut state = Changes::new(yield_change);
        let outcome = self.call("changes", |err| {
            let ctx = std::ptr::from_mut(&mut state).cast::<c_void>();
            // SAFETY: as for `mount`; the callback gets the state it was made for.
            unsafe { changes(self.raw(), call::key(rw_id), parents.list(), Some(Changes::callback), ctx, err) }
        });
        state.finish(outcome, |how| broken(self.name(), "changes", how))
    }

    /// What an object occupies; a `Fallback` error where that takes a walk.
    pub fn usage(&self, kind: ObjectKind, id: Key<'_>) -> Result<Usage> {
        let Some(usage) = self.vt().usage else { return Err(self.fallback("usage")) };
        let mut found = Usage::default();
        self.call("usage", |err| {
            // SAFETY: as for `mount`.
            unsafe { usage(self.raw(), kind as u32, call::key(id), &mut found.bytes, &mut found.inodes, err) }
        })?;
        Ok(found)
    }

    /// Takes an object out of sight, in O(1). A missing object is success.
    pub fn remove(&self, kind: ObjectKind, id: Key<'_>) -> Result<()> {
        // SAFETY: as for `mount`.
        self.call("remove", |err| unsafe { verb(self.vt().remove)(self.raw(), kind as u32, call::key(id), err) })
    }

    /// Frees removed objects for about `budget`; yields whether something is left.
    pub fn reap(&self, budget: Duration) -> Result<bool> {
        let mut left = 0;
        let budget = u64::try_from(budget.as_millis()).unwrap_or(u64::MAX);
        // SAFETY: as for `mount`.
        self.call("reap", |err| unsafe { verb(self.vt().reap)(self.raw(), budget, &mut left, err) })?;
        Ok(left != 0)
    }

    /// Yields every object in the driver's root.
    pub fn list(&self, yield_object: &mut dyn FnMut(ObjectKind, Key<'_>) -> Flow) -> Result<()> {
        let mut state = Names::new(yield_object);
        let outcome = self.call("list", |err| {
            let ctx = std::ptr::from_mut(&mut state).cast::<c_void>();
            // SAFETY: as for `mount`; the callback gets the state it was made for.
            unsafe { verb(self.vt().list)(self.raw(), Some(Names::callback), ctx, err) }
        });
        state.finish(outcome, |how| broken(self.name(), "list", how))
    }

    /// `NotFound` when an object is missing, `Corrupt` when it is damaged.
    pub fn check(&self, kind: ObjectKind, id: Key<'_>, level: CheckLevel) -> Result<()> {
        let Some(check) = self.vt().check else { return Ok(()) };
        // SAFETY: as for `mount`.
        self.call("check", |err| unsafe { check(self.raw(), kind as u32, call::key(id), level as u32, err) })
    }

    /// A driver specific extension table; null when there is none. Valid as long as this driver.
    pub fn interface(&self, iid: &str) -> *const c_void {
        let Some(interface) = self.vt().interface else { return std::ptr::null() };
        // SAFETY: a function of the checked table, an open driver, and a string that outlives the call.
        unsafe { interface(self.raw(), Str::lend(iid.as_bytes())) }
    }

    pub(crate) fn vt(&self) -> &DriverVt {
        &self.0.plugin.table().vt
    }

    pub(crate) fn raw(&self) -> *mut Drv {
        self.0.drv.as_ptr()
    }

    pub(crate) fn call(&self, operation: &'static str, verb: impl FnOnce(*mut abi::ErrorBuf) -> c_int) -> Result<()> {
        call(self.name(), operation, verb)
    }

    fn fallback(&self, operation: &'static str) -> crate::Error {
        failed(self.name(), operation, DriverError::fallback())
    }
}

/// The driver pointer and all that must outlive it.
struct Open {
    plugin: Plugin,
    drv: NonNull<Drv>,
    info: Info,
    #[expect(dead_code, reason = "withdraws the host's services when the driver is closed")]
    host: Offer,
}

// SAFETY: by the contract a driver is used from any thread at once.
unsafe impl Send for Open {}
// SAFETY: as above.
unsafe impl Sync for Open {}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: a function of the checked table; stages hold the driver, so none is left, and nobody uses it after.
        unsafe { verb(self.plugin.table().vt.close)(self.drv.as_ptr()) }
    }
}

/// A verb that `table::required` found to be there.
pub(crate) fn verb<F>(entry: Option<F>) -> F {
    entry.expect("the table was checked for required verbs when the plugin was loaded")
}

fn unknown() -> Info {
    Info {
        caps: Caps::empty(),
        max_parents: 0,
        whiteout: Whiteout::Direct,
        backing_fs: String::new(),
        detail: String::new(),
    }
}

fn info(found: &abi::Info) -> std::result::Result<Info, String> {
    let text = |text: Str| {
        if text.len > 4096 {
            return Err(format!("returned an information text of {} bytes", text.len));
        }
        // SAFETY: rule (a) of the header: readable until close.
        Ok(String::from_utf8_lossy(unsafe { text.bytes() })
            .chars()
            .filter(|letter| !letter.is_control())
            .collect::<String>())
    };
    let whiteout = Whiteout::from_code(found.whiteout)
        .ok_or_else(|| format!("returned the unknown whiteout style {}", found.whiteout))?;
    // Bits of a newer minor version mean nothing to us.
    let caps = Caps::from_bits_truncate(found.caps);
    Ok(Info {
        caps,
        max_parents: found.max_parents,
        whiteout,
        backing_fs: text(found.backing_fs)?,
        detail: text(found.detail)?,
    })
}
