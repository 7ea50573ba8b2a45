//! The C side of the contract: the structs of `include/mica_storage.h` in Rust, field for field.
//!
//! [`table`] turns a [`StorageDriver`](crate::StorageDriver) into the function table; `storage-loader` calls such tables.
//! The test beside this file compiles the header and compares every size, offset and number with what stands here.

mod export;
mod grown;
mod guard;
mod stage_thunks;
mod strings;
#[cfg(test)]
mod tests;
mod thunks;

pub use export::{EntryFn, Exported, exported, host_is_supported, note};
pub use grown::{Grown, known_part};
pub use guard::guard;
pub use strings::{keys, opt_bytes, strs};

use std::ffi::{c_char, c_int, c_void};

use crate::error::{Error, ErrorKind};

/// The major version: must match.
pub const ABI_MAJOR: u32 = 1;
/// The minor version: the smaller of the two sides is in force.
pub const ABI_MINOR: u32 = 0;
/// The bytes `MCA1`.
pub const MAGIC: u32 = 0x3141_434d;
/// The one symbol a plugin exports.
pub const ENTRY_SYMBOL: &std::ffi::CStr = c"mica_storage_plugin_v1";
/// Who the note in a plugin file is for.
pub const NOTE_OWNER: &std::ffi::CStr = c"Mica";
/// What kind of note it is.
pub const NOTE_TYPE: u32 = 1;
/// The room for an error message.
pub const MESSAGE_MAX: usize = 500;
/// `MICA_OPEN_ROOTLESS`.
pub const OPEN_ROOTLESS: u32 = 1;
/// `MICA_STAGE_LAYER`.
pub const STAGE_LAYER: u32 = 1;
/// `MICA_STAGE_RW`.
pub const STAGE_RW: u32 = 2;
/// `MICA_STAGE_PROMOTE`.
pub const STAGE_PROMOTE: u32 = 1;

/// `mica_str`: bytes borrowed for the call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Str {
    /// The first byte; may be null when `len` is 0.
    pub ptr: *const c_char,
    /// How many.
    pub len: usize,
}

/// `mica_strs`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Strs {
    /// The first string; may be null when `len` is 0.
    pub ptr: *const Str,
    /// How many.
    pub len: usize,
}

/// `mica_error`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ErrorBuf {
    /// Size of the struct, set by the caller.
    pub size: u32,
    /// errno, 0: none.
    pub os_errno: i32,
    /// Bytes used in `msg`.
    pub msg_len: u32,
    /// The message.
    pub msg: [u8; MESSAGE_MAX],
}

impl ErrorBuf {
    /// An empty buffer with its size set.
    pub const fn new() -> Self {
        Self { size: size_of::<Self>() as u32, os_errno: 0, msg_len: 0, msg: [0; MESSAGE_MAX] }
    }

    /// The error that was reported with this code. Trusts nothing: an unknown code is `Other`, a length beyond the buffer
    /// is cut, control characters (which could write to a terminal) are escaped.
    pub fn to_error(&self, code: c_int) -> Error {
        let words = String::from_utf8_lossy(&self.msg[..(self.msg_len as usize).min(MESSAGE_MAX)]);
        let mut message = String::with_capacity(words.len());
        for letter in words.chars() {
            if letter.is_control() { message.extend(letter.escape_default()) } else { message.push(letter) }
        }
        let kind = u32::try_from(code).ok().and_then(ErrorKind::from_code).unwrap_or_else(|| {
            message.push_str(&format!(" (unknown error kind {code})"));
            ErrorKind::Other
        });
        if message.is_empty() {
            message = format!("no message, error kind {kind:?}");
        }
        Error { kind, errno: (self.os_errno > 0).then_some(self.os_errno), message }
    }
}

impl Default for ErrorBuf {
    fn default() -> Self {
        Self::new()
    }
}

/// `mica_host`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "field for field the header, which documents them")]
pub struct HostTable {
    pub size: u32,
    pub abi_minor: u32,
    pub ctx: *mut c_void,
    pub log_level: i32,
    pub flags: u32,
    pub log: Option<unsafe extern "C" fn(*mut c_void, i32, Str, Str)>,
    pub progress: Option<unsafe extern "C" fn(*mut c_void, u64, u64, u64) -> c_int>,
    pub lock: Option<unsafe extern "C" fn(*mut c_void, Str, c_int, *mut c_int, *mut ErrorBuf) -> c_int>,
    pub copy_tree: Option<unsafe extern "C" fn(*mut c_void, u64, c_int, c_int, u32, *mut ErrorBuf) -> c_int>,
}

/// `mica_open_args`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "field for field the header, which documents them")]
pub struct OpenArgs {
    pub size: u32,
    pub flags: u32,
    pub call_id: u64,
    pub root_dirfd: c_int,
    pub userns_fd: c_int,
    pub root_path: Str,
    pub options: Strs,
}

/// `mica_info`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "field for field the header, which documents them")]
pub struct Info {
    pub size: u32,
    pub max_parents: u32,
    pub caps: u64,
    pub whiteout: u32,
    pub reserved: u32,
    pub backing_fs: Str,
    pub detail: Str,
}

/// `mica_stage_args`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "field for field the header, which documents them")]
pub struct StageArgs {
    pub size: u32,
    pub kind: u32,
    pub call_id: u64,
    pub id: Str,
    pub parents: Strs,
    pub root_mode: u32,
    pub root_uid: u32,
    pub root_gid: u32,
    pub flags: u32,
    pub quota_bytes: u64,
    pub quota_inodes: u64,
}

/// `mica_stage_out`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "field for field the header, which documents them")]
pub struct StageOut {
    pub size: u32,
    pub whiteout: u32,
    pub target_dirfd: c_int,
    pub merged_dirfd: c_int,
}

/// `mica_mount_args`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "field for field the header, which documents them")]
pub struct MountArgs {
    pub size: u32,
    pub flags: u32,
    pub call_id: u64,
    pub rw_id: Str,
    pub parents: Strs,
    pub idmap_userns_fd: c_int,
    pub reserved: u32,
    pub selinux_label: Str,
    pub options: Strs,
}

/// `mica_change`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "field for field the header, which documents them")]
pub struct Change {
    pub size: u32,
    pub kind: u32,
    pub path: Str,
    pub name: Str,
    pub dirfd: c_int,
    pub reserved: u32,
}

/// `mica_change_fn`.
pub type ChangeFn = unsafe extern "C" fn(*mut c_void, *const Change) -> c_int;
/// `mica_name_fn`.
pub type NameFn = unsafe extern "C" fn(*mut c_void, u32, Str) -> c_int;

/// `mica_drv`: the plugin's own, never looked into by the host.
#[derive(Debug)]
#[repr(C)]
pub struct Drv {
    opaque: [u8; 0],
}

/// `mica_stage`: likewise.
#[derive(Debug)]
#[repr(C)]
pub struct StagePtr {
    opaque: [u8; 0],
}

/// `mica_driver_vt`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "field for field the header, which documents them")]
pub struct DriverVt {
    pub size: u32,
    pub reserved: u32,
    pub open: Option<
        unsafe extern "C" fn(*const HostTable, *const OpenArgs, *mut *mut Drv, *mut Info, *mut ErrorBuf) -> c_int,
    >,
    pub close: Option<unsafe extern "C" fn(*mut Drv)>,
    pub stage_begin: Option<
        unsafe extern "C" fn(*mut Drv, *const StageArgs, *mut *mut StagePtr, *mut StageOut, *mut ErrorBuf) -> c_int,
    >,
    pub stage_sync: Option<unsafe extern "C" fn(*mut StagePtr, *mut ErrorBuf) -> c_int>,
    pub stage_commit: Option<unsafe extern "C" fn(*mut StagePtr, Str, *mut u64, *mut ErrorBuf) -> c_int>,
    pub stage_abort: Option<unsafe extern "C" fn(*mut StagePtr)>,
    pub mount: Option<unsafe extern "C" fn(*mut Drv, *const MountArgs, *mut c_int, *mut ErrorBuf) -> c_int>,
    pub changes:
        Option<unsafe extern "C" fn(*mut Drv, Str, Strs, Option<ChangeFn>, *mut c_void, *mut ErrorBuf) -> c_int>,
    pub usage: Option<unsafe extern "C" fn(*mut Drv, u32, Str, *mut u64, *mut u64, *mut ErrorBuf) -> c_int>,
    pub remove: Option<unsafe extern "C" fn(*mut Drv, u32, Str, *mut ErrorBuf) -> c_int>,
    pub reap: Option<unsafe extern "C" fn(*mut Drv, u64, *mut u64, *mut ErrorBuf) -> c_int>,
    pub list: Option<unsafe extern "C" fn(*mut Drv, Option<NameFn>, *mut c_void, *mut ErrorBuf) -> c_int>,
    pub check: Option<unsafe extern "C" fn(*mut Drv, u32, Str, u32, *mut ErrorBuf) -> c_int>,
    pub interface: Option<unsafe extern "C" fn(*mut Drv, Str) -> *const c_void>,
}

/// `mica_plugin`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "field for field the header, which documents them")]
pub struct Plugin {
    pub magic: u32,
    pub size: u32,
    pub abi_major: u16,
    pub abi_minor: u16,
    pub flags: u32,
    pub driver_name: *const c_char,
    pub version: *const c_char,
    pub license: *const c_char,
    pub build_id: *const c_char,
    pub vt: *const DriverVt,
    pub options: *const c_char,
}

/// `mica_note`: what a file says about itself without being run.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(4))]
#[expect(missing_docs, reason = "field for field the header, which documents them")]
pub struct Note {
    pub owner_size: u32,
    pub content_size: u32,
    pub kind: u32,
    pub owner: [u8; 8],
    pub abi_major: u32,
    pub abi_minor: u32,
    pub driver_name: [u8; 40],
    pub version: [u8; 40],
}

#[expect(unsafe_code, reason = "a table in static memory is shared by all threads")]
// SAFETY: every pointer in the table leads to immutable memory that lives as long as the process: `exported` takes
// `'static` values only, and the loader never unloads a plugin.
unsafe impl Sync for Plugin {}

/// The function table of a driver.
pub const fn table<D: crate::StorageDriver>() -> DriverVt {
    DriverVt {
        size: size_of::<DriverVt>() as u32,
        reserved: 0,
        open: Some(thunks::open::<D>),
        close: Some(thunks::close::<D>),
        stage_begin: Some(stage_thunks::begin::<D>),
        stage_sync: Some(stage_thunks::sync::<D::Stage>),
        stage_commit: Some(stage_thunks::commit::<D::Stage>),
        stage_abort: Some(stage_thunks::abort::<D::Stage>),
        mount: Some(thunks::mount::<D>),
        changes: Some(thunks::changes::<D>),
        usage: Some(thunks::usage::<D>),
        remove: Some(thunks::remove::<D>),
        reap: Some(thunks::reap::<D>),
        list: Some(thunks::list::<D>),
        check: Some(thunks::check::<D>),
        interface: Some(thunks::interface::<D>),
    }
}
