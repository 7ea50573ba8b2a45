//! From a pointer a plugin returned to a table that can be called: every field is checked, nothing is assumed.
#![expect(unsafe_code, reason = "reads structs of the plugin through raw pointers")]

use std::ffi::c_char;

use mica_storage_api::abi::{ABI_MAJOR, ABI_MINOR, DriverVt, EntryFn, Grown, MAGIC, Plugin, known_part};

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
    pub options: Vec<String>,
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
    // SAFETY: of this major version, and as long as it says.
    let plugin = unsafe { known_part(plugin, size) }.ok_or(short::<Plugin>("plugin record", size))?;
    if plugin.vt.is_null() {
        return Err(short::<DriverVt>("function table", 0));
    }
    // SAFETY: a mica_plugin of this version points to a table that begins with its size and is as long as it says.
    let (vt, size) = unsafe { (known_part(plugin.vt, (*plugin.vt).size), (*plugin.vt).size) };
    let vt = vt.ok_or(short::<DriverVt>("function table", size))?;
    required(&vt)?;
    // SAFETY: a mica_plugin of this version points to NUL-terminated texts, or to nothing.
    let texts = unsafe {
        Texts {
            name: text(plugin.driver_name, 33),
            version: text(plugin.version, 128),
            license: text(plugin.license, 128),
            build_id: text(plugin.build_id, 128),
            options: lines(plugin.options, 4096),
        }
    };
    Ok((Table { vt, abi: (major, minor.min(ABI_MINOR as u16)) }, texts))
}

fn short<T: Grown>(what: &'static str, size: u32) -> Refusal {
    Refusal::Short { what, size, least: T::LEAST }
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
    // SAFETY: passed on to the caller.
    printable(&unsafe { bytes(from, most) })
}

/// The lines of such a text, without empty ones.
///
/// # Safety
/// As for [`text`].
unsafe fn lines(from: *const c_char, most: usize) -> Vec<String> {
    // SAFETY: passed on to the caller.
    let text = unsafe { bytes(from, most) };
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(printable).collect()
}

fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

/// # Safety
/// As for [`text`].
unsafe fn bytes(from: *const c_char, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !from.is_null() && bytes.len() < most {
        // SAFETY: no NUL came before this byte, and `most` is not reached.
        match unsafe { from.add(bytes.len()).read() } as u8 {
            0 => break,
            byte => bytes.push(byte),
        }
    }
    bytes
}
