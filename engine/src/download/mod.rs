//! Blobs on their way from a registry: partial files that outlive their process, and readers that follow them.
//!
//! A blob is written into `content/ingest/<algorithm>-<hex>.partial` by one or more connections, while whoever unpacks it
//! reads behind them. A process that dies leaves the file with a note of what of it is there; the next one goes on.
//!
//! `chunked` knows which bytes other blobs have too, `partial` is the file, `intervals` the note, `follow` the reader, `queue` who fetches what.

mod chunked;
mod follow;
mod intervals;
mod partial;
mod queue;

pub(crate) use chunked::{Position, Table};
pub(crate) use follow::Follow;
pub(crate) use partial::{Partial, is_awaited};
pub(crate) use queue::{Downloads, Watch};
