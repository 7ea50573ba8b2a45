//! How the C library's allocator gets memory from the kernel. Chosen once, before there are threads.
//!
//! A thread's share of the heap grows by as little as is asked for, a system call each time: a listing of a thousand images and
//! containers made 1,600 calls of mprotect(2), whose lock on the address space the other threads' page faults wait for. Growing by
//! more takes a tenth off such a listing and costs nothing until the memory is touched.

use std::ffi::c_int;

use nix::libc;

/// Bytes by which the heap grows beyond what is asked for.
const STEP: c_int = 4 << 20;
/// Naming any of these settings ends the library's own adaption of the others, so they are what it adapts to at most:
/// buffers of layers that are unpacked would be mapped anew each time.
const MAPPED_FROM: c_int = 32 << 20;
const TRIMMED_FROM: c_int = 2 * MAPPED_FROM;

/// Makes the choice. A library that does not know it goes on as it is.
#[expect(unsafe_code, reason = "the settings are the C library's own and have no other interface")]
pub fn tune() {
    for (setting, bytes) in
        [(libc::M_TOP_PAD, STEP), (libc::M_MMAP_THRESHOLD, MAPPED_FROM), (libc::M_TRIM_THRESHOLD, TRIMMED_FROM)]
    {
        // SAFETY: mallopt(3) takes two numbers, keeps no pointer, and changes only where later memory comes from; it is not
        // safe beside other threads, and this runs before the first one.
        let _ = unsafe { libc::mallopt(setting, bytes) };
    }
}
