//! From a pointer a plugin returned to a table that can be called: every field is checked, nothing is assumed.
#![expect(unsafe_code, reason = "reads structs of the plugin through raw pointers")]

use std::ffi::c_char;

use mica_storage_api::abi::{ABI_MAJOR, ABI_MINOR, DriverVt, EntryFn, MAGIC, Plugin};

use crate::error::Refusal;

/// A checked table: required verbs are there.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    pub vt: DriverVt,
    pub abi: (u16, u16),
}

/// The texts a plugin says about itself.
#[derive(Clone, Debug)]
pub struct Texts {
    pub name: String,
    pub version: String,
    pub license: String,
    pub build_id: String,
}

/// Asks the entry function of a library and checks what it returns.
///
/// # Safety
/// `entry` is the entry function of a library that stays loaded; like all code it is trusted to return null or a pointer to
/// readable memory that begins like a `mica_plugin`.
pub unsafe fn from_entry(entry: EntryFn) -> Result<(Table, Texts), Refusal> {
    // SAFETY: the caller vouches for the function.
    let plugin = unsafe { entry(ABI_MAJOR, ABI_MINOR) };
    if plugin.is_null() {
        return Err(Refusal::Declined);
    }
    // SAFETY: not null, and the caller vouches for the memory.
    unsafe { from_plugin(plugin) }
}

/// Checks a table.
///
/// # Safety
/// `plugin` leads to memory that begins like a `mica_plugin`, and the pointers in it to what the header says.
pub unsafe fn from_plugin(plugin: *const Plugin) -> Result<(Table, Texts), Refusal> {
    // A struct of another kind may be as short as its magic number, so fields are read one by one before the size is known.
    // SAFETY: the caller vouches for the beginning.
    let magic = unsafe { (&raw const (*plugin).magic).read_unaligned() };
    if magic != MAGIC {
        return Err(Refusal::Magic { magic });
    }
    // SAFETY: the magic number says it is a mica_plugin, all versions of which begin with these fields.
    let (size, major, minor) = unsafe { ((*plugin).size, (*plugin).abi_major, (*plugin).abi_minor) };
    if u32::from(major) != ABI_MAJOR {
        return Err(Refusal::Version { major, minor });
    }
    enough("plugin record", size, size_of::<Plugin>())?;
    // SAFETY: of this major version and long enough.
    let plugin = unsafe { plugin.read() };
    if plugin.vt.is_null() {
        return Err(Refusal::Short { what: "function table", size: 0, least: size_of::<DriverVt>() });
    }
    // SAFETY: a mica_plugin of this version points to a table that begins with its size.
    enough("function table", unsafe { (*plugin.vt).size }, size_of::<DriverVt>())?;
    // SAFETY: long enough.
    let vt = unsafe { plugin.vt.read() };
    required(&vt)?;
    // SAFETY: a mica_plugin of this version points to NUL-terminated texts, or to nothing.
    let (name, version, license, build_id) = unsafe {
        (text(plugin.driver_name, 33), text(plugin.version, 128), text(plugin.license, 128), text(plugin.build_id, 128))
    };
    let texts = Texts { name, version, license, build_id };
    Ok((Table { vt, abi: (major, minor.min(ABI_MINOR as u16)) }, texts))
}

fn enough(what: &'static str, size: u32, least: usize) -> Result<(), Refusal> {
    if (size as usize) < least { Err(Refusal::Short { what, size, least }) } else { Ok(()) }
}

fn required(vt: &DriverVt) -> Result<(), Refusal> {
    let verbs = [
        ("open", vt.open.is_some()),
        ("close", vt.close.is_some()),
        ("stage_begin", vt.stage_begin.is_some()),
        ("stage_commit", vt.stage_commit.is_some()),
        ("stage_abort", vt.stage_abort.is_some()),
        ("mount", vt.mount.is_some()),
        ("remove", vt.remove.is_some()),
        ("reap", vt.reap.is_some()),
        ("list", vt.list.is_some()),
    ];
    match verbs.iter().find(|(_, there)| !there) {
        Some((verb, _)) => Err(Refusal::MissingVerb { verb }),
        None => Ok(()),
    }
}

/// At most `most` bytes of a C text, printable.
///
/// # Safety
/// `from` is null or leads to a NUL-terminated text, or to at least `most` bytes.
unsafe fn text(from: *const c_char, most: usize) -> String {
    let mut bytes = Vec::new();
    while !from.is_null() && bytes.len() < most {
        // SAFETY: no NUL came before this byte, and `most` is not reached.
        match unsafe { from.add(bytes.len()).read() } as u8 {
            0 => break,
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}
