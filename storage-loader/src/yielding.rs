//! Callbacks into the engine's closures: what a driver yields is checked, and a panic of the closure waits until the
//! driver's frames are gone.
#![expect(unsafe_code, reason = "functions that plugins call with raw pointers")]

use std::any::Any;
use std::ffi::{OsStr, c_int, c_void};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Component, Path};

use mica_storage_api::abi::{self, Str};
use mica_storage_api::{Change, ChangeKind, Flow, Key, ObjectKind};

use crate::error::{Error, Result};

/// How an enumeration went so far.
#[derive(Default)]
struct Course {
    stopped: bool,
    broken: Option<String>,
    panic: Option<Box<dyn Any + Send>>,
}

impl Course {
    fn step(&mut self, step: impl FnOnce() -> std::result::Result<Flow, String>) -> c_int {
        // A driver that goes on after it was told to stop is told again.
        if !self.stopped {
            match catch_unwind(AssertUnwindSafe(step)) {
                Ok(Ok(Flow::Continue)) => {}
                Ok(Ok(Flow::Stop)) => self.stopped = true,
                Ok(Err(how)) => (self.stopped, self.broken) = (true, Some(how)),
                Err(payload) => (self.stopped, self.panic) = (true, Some(payload)),
            }
        }
        c_int::from(self.stopped)
    }

    fn finish(self, outcome: Result<()>, broken: impl FnOnce(String) -> Error) -> Result<()> {
        if let Some(payload) = self.panic {
            resume_unwind(payload);
        }
        match self.broken {
            Some(how) => Err(broken(how)),
            // The engine stopped it, so whatever the driver says about that does not matter.
            None if self.stopped => Ok(()),
            None => outcome,
        }
    }
}

/// The state of a `list` call.
pub struct Names<'a> {
    course: Course,
    yield_object: &'a mut dyn FnMut(ObjectKind, Key<'_>) -> Flow,
}

impl<'a> Names<'a> {
    pub fn new(yield_object: &'a mut dyn FnMut(ObjectKind, Key<'_>) -> Flow) -> Self {
        Self { course: Course::default(), yield_object }
    }

    /// `mica_name_fn`.
    pub unsafe extern "C" fn callback(ctx: *mut c_void, kind: u32, id: Str) -> c_int {
        // SAFETY: the context is the state `list` made, lent to this call alone.
        let Self { course, yield_object } = unsafe { &mut *ctx.cast::<Self>() };
        course.step(|| {
            let object =
                ObjectKind::from_code(kind).ok_or_else(|| format!("listed an object of the unknown kind {kind}"))?;
            // SAFETY: rule (a) of the header: readable for the call.
            let key = Key::from_bytes(unsafe { id.bytes() }).map_err(|error| format!("listed a bad name: {error}"))?;
            Ok(yield_object(object, key))
        })
    }

    pub fn finish(self, outcome: Result<()>, broken: impl FnOnce(String) -> Error) -> Result<()> {
        self.course.finish(outcome, broken)
    }
}

/// The state of a `changes` call.
pub struct Changes<'a> {
    course: Course,
    yield_change: &'a mut dyn FnMut(&Change<'_>) -> Flow,
}

impl<'a> Changes<'a> {
    pub fn new(yield_change: &'a mut dyn FnMut(&Change<'_>) -> Flow) -> Self {
        Self { course: Course::default(), yield_change }
    }

    /// `mica_change_fn`.
    pub unsafe extern "C" fn callback(ctx: *mut c_void, change: *const abi::Change) -> c_int {
        // SAFETY: the context is the state `changes` made, lent to this call alone.
        let Self { course, yield_change } = unsafe { &mut *ctx.cast::<Self>() };
        course.step(|| {
            // SAFETY: null or a struct of the driver that is readable for the call and as long as it says.
            let known = (!change.is_null()).then(|| unsafe { abi::known_part(change, (*change).size) }).flatten();
            let change = known.ok_or("yielded a change shorter than ABI 1.0 defines")?;
            // SAFETY: rule (a) of the header: readable for the call.
            let change = unsafe { borrow(&change) }?;
            Ok(yield_change(&change))
        })
    }

    pub fn finish(self, outcome: Result<()>, broken: impl FnOnce(String) -> Error) -> Result<()> {
        self.course.finish(outcome, broken)
    }
}

/// # Safety
/// The strings of the change are readable and its descriptor is open for `'a`.
unsafe fn borrow<'a>(change: &abi::Change) -> std::result::Result<Change<'a>, String> {
    // SAFETY: the caller vouches for the strings.
    let (path, name) = unsafe { (OsStr::from_bytes(change.path.bytes()), OsStr::from_bytes(change.name.bytes())) };
    let path = Path::new(path);
    let bad = || format!("yielded a change of `{}`, which is no path of the tree", path.display());
    let kind =
        ChangeKind::from_code(change.kind).ok_or_else(|| format!("yielded the unknown change kind {}", change.kind))?;
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || path.as_os_str().as_bytes().contains(&0) || path.file_name().unwrap_or_default() != name {
        return Err(bad());
    }
    if kind != ChangeKind::Deleted && change.dirfd < 0 {
        return Err(format!("yielded `{}` without its directory", path.display()));
    }
    // SAFETY: not negative, and the caller vouches for it.
    let dir = (change.dirfd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(change.dirfd) });
    Ok(Change { kind, path, dir, name })
}
