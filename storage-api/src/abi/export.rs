//! What a driver crate writes at its end: one macro that makes its table and the exported symbol.

use std::ffi::CStr;
use std::mem::offset_of;

use super::{ABI_MAJOR, ABI_MINOR, DriverVt, MAGIC, NOTE_OWNER, NOTE_TYPE, Note, Plugin};
use crate::driver::StorageDriver;

/// The type of the exported symbol.
pub type EntryFn = unsafe extern "C" fn(u32, u32) -> *const Plugin;

/// A table made from a [`StorageDriver`], and from nothing else: what `plugin()` of a driver crate yields, so that safe code
/// can hand it to the loader.
#[derive(Debug)]
pub struct Exported(Plugin);

impl Exported {
    /// The table as it crosses.
    pub fn table(&self) -> &Plugin {
        &self.0
    }
}

struct TableOf<D>(std::marker::PhantomData<D>);

impl<D: StorageDriver> TableOf<D> {
    const TABLE: DriverVt = super::table::<D>();
}

/// The value [`export_driver!`](crate::export_driver) puts into static memory.
pub const fn exported<D: StorageDriver>(
    version: &'static CStr,
    license: &'static CStr,
    build_id: &'static CStr,
) -> Exported {
    Exported(Plugin {
        magic: MAGIC,
        size: size_of::<Plugin>() as u32,
        abi_major: ABI_MAJOR as u16,
        abi_minor: ABI_MINOR as u16,
        flags: 0,
        driver_name: D::NAME.as_ptr(),
        version: version.as_ptr(),
        license: license.as_ptr(),
        build_id: build_id.as_ptr(),
        vt: &TableOf::<D>::TABLE,
        options: D::OPTIONS.as_ptr(),
    })
}

/// The note [`export_driver!`](crate::export_driver) puts into the plugin's file.
pub const fn note<D: StorageDriver>(version: &CStr) -> Note {
    Note {
        owner_size: NOTE_OWNER.count_bytes() as u32 + 1,
        content_size: (size_of::<Note>() - offset_of!(Note, abi_major)) as u32,
        kind: NOTE_TYPE,
        owner: padded(NOTE_OWNER),
        abi_major: ABI_MAJOR,
        abi_minor: ABI_MINOR,
        driver_name: padded(D::NAME),
        version: padded(version),
    }
}

/// The text in a field of fixed size, which it leaves at least one NUL in.
const fn padded<const SIZE: usize>(text: &CStr) -> [u8; SIZE] {
    let (text, mut field, mut at) = (text.to_bytes(), [0; SIZE], 0);
    assert!(text.len() < SIZE, "the driver's name or version does not fit into the note of a plugin");
    while at < text.len() {
        field[at] = text[at];
        at += 1;
    }
    field
}

/// Whether a host of this major version can use our tables.
pub const fn host_is_supported(host_major: u32) -> bool {
    host_major == ABI_MAJOR
}

/// Exports a [`StorageDriver`] as a plugin; written once, at the root of the driver's crate.
///
/// It defines `pub fn plugin() -> &'static Exported` and the C symbol `mica_storage_plugin_v1`, which only calls it, and puts
/// an ELF note with the ABI, the name and the version into the file, which can be read without running it.
///
/// A driver is built as `cdylib` (the plugin) and as `rlib` (for its own tests, which run the table without `dlopen`).
/// rustc makes both in one run, so the symbol is in the rlib too, and two drivers linked into one program collide: the
/// linker says "duplicate symbol" or drops one. Nothing can call the wrong driver by it: Rust code reaches a driver by the
/// path of its `plugin`, and the loader asks one library handle, never the program. Mica keeps drivers out of shared
/// programs altogether (no crate depends on a driver, checked by `cargo xtask tidy`).
#[macro_export]
macro_rules! export_driver {
    ($driver:ty) => {
        /// The table of this driver, as `mica_storage_plugin_v1` yields it.
        pub fn plugin() -> &'static $crate::abi::Exported {
            const fn c_text(text: &'static str) -> &'static ::std::ffi::CStr {
                match ::std::ffi::CStr::from_bytes_with_nul(text.as_bytes()) {
                    Ok(text) => text,
                    Err(_) => ::std::panic!("contains a NUL"),
                }
            }
            #[expect(unsafe_code, reason = "a note must lie in a section that the linker makes a note of")]
            // SAFETY: the section holds nothing but notes, and a `Note` is one, padded and aligned as ELF has it.
            #[unsafe(link_section = ".note.mica.storage")]
            #[used]
            static NOTE: $crate::abi::Note =
                $crate::abi::note::<$driver>(c_text(::std::concat!(::std::env!("CARGO_PKG_VERSION"), "\0")));
            static PLUGIN: $crate::abi::Exported = $crate::abi::exported::<$driver>(
                c_text(::std::concat!(::std::env!("CARGO_PKG_VERSION"), "\0")),
                c_text(::std::concat!(::std::env!("CARGO_PKG_LICENSE"), "\0")),
                c_text(::std::concat!(::std::env!("CARGO_PKG_NAME"), "-", ::std::env!("CARGO_PKG_VERSION"), "\0")),
            );
            &PLUGIN
        }

        #[expect(unsafe_code, reason = "the one exported symbol of a plugin")]
        // SAFETY: the name belongs to the plugin interface, and `export_driver!` documents what happens to it in an rlib.
        #[unsafe(no_mangle)]
        extern "C" fn mica_storage_plugin_v1(host_major: u32, _host_minor: u32) -> *const $crate::abi::Plugin {
            if $crate::abi::host_is_supported(host_major) { plugin().table() } else { ::std::ptr::null() }
        }
    };
}
