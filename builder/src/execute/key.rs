//! Cache keys: digests of everything a step's result depends on, and of nothing else.

use mica_engine::build::Stack;
use mica_layer::Digest;
use serde::Serialize;

use crate::plan::{CopyWork, RunWork};

/// Changes when the meaning of a step does, so that no older result is taken for a new one.
const VERSION: u32 = 1;

#[derive(Serialize)]
enum Identity<'a> {
    Run(&'a RunWork),
    Directory(&'a str),
    /// A copy by the content of its sources: the names in the source tree do not matter, those in the target do.
    CopyOfContent {
        work: Target<'a>,
        content: &'a Digest,
    },
    /// A copy by the stack its sources lie in: the same stack has the same content, whatever that is.
    CopyOfStack {
        work: &'a CopyWork,
        source: &'a Stack,
    },
}

/// The part of a copy that is not in the digest of what is copied.
#[derive(Serialize)]
struct Target<'a> {
    destination: &'a str,
    into_directory: bool,
    mode: Option<u32>,
    unpack: bool,
    inline: &'a [crate::plan::Inline],
}

/// The key of a RUN.
pub(super) fn run(parent: &Stack, work: &RunWork) -> Digest {
    digest(parent, &Identity::Run(work))
}

/// The key of a WORKDIR.
pub(super) fn directory(parent: &Stack, path: &str) -> Digest {
    digest(parent, &Identity::Directory(path))
}

/// The key of a copy whose sources were read; `content` knows where each goes and who will own it.
pub(super) fn copy_of_content(parent: &Stack, work: &CopyWork, content: &Digest) -> Digest {
    let target = Target {
        destination: &work.destination,
        into_directory: work.into_directory,
        mode: work.mode,
        unpack: work.unpack,
        inline: &work.inline,
    };
    digest(parent, &Identity::CopyOfContent { work: target, content })
}

/// The key of a copy whose sources need not be read, because they are immutable.
pub(super) fn copy_of_stack(parent: &Stack, work: &CopyWork, source: &Stack) -> Digest {
    digest(parent, &Identity::CopyOfStack { work, source })
}

fn digest(parent: &Stack, identity: &Identity<'_>) -> Digest {
    // A value of strings, numbers and lists always serialises, and in the order of its declaration.
    let value = serde_json::json!({ "version": VERSION, "parent": parent, "step": identity });
    Digest::sha256_of(value.to_string().as_bytes())
}
