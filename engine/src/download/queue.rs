//! Who fetches what: blobs in order, piece by piece, several pieces at once.
//!
//! Pieces are taken from the front, so that the bytes that are unpacked next come with the speed of all connections together.
//! A connection asks for what it gets in about a second: a request then costs little, and hardly ever is one cut short, which
//! would waste what is on its way. Only at the end, when nothing waits any more, the rest of a slow one is shared.
//!
//! Connections are tasks of the caller's runtime, and they only write into page cache. Unpacking happens elsewhere, in
//! threads, and never holds a connection up: what comes in ahead of it waits in its file.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::partial::Partial;
use crate::registry::{BlobSink, Registry};
use crate::{Error, Kind, Reference, Result};

/// Connections at once. More do not make a fast registry faster, and slow ones limit each.
const CONNECTIONS: usize = 4;
/// The first piece of each connection, and what one that has nothing else to do takes over at least: a request costs as much
/// as some MiB.
const PIECE: u64 = 8 << 20;
/// Bounds of what a connection asks for.
const PIECES: std::ops::RangeInclusive<u64> = (2 << 20)..=(64 << 20);

/// Sees bytes come in.
pub(crate) trait Watch: Send + Sync {
    /// So many bytes of the blob are there.
    fn came(&self, partial: &Partial);
}

/// Blobs on their way. Dropped, nothing more comes in; what came stays.
pub(crate) struct Downloads {
    queue: Arc<Queue>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

struct Queue {
    registry: Arc<dyn Registry>,
    repository: Reference,
    watch: Arc<dyn Watch>,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    /// Gaps that nobody fills yet, in the order in which they are wanted.
    waiting: VecDeque<(Arc<Partial>, Range<u64>)>,
    /// What connections are at. The end of one may come nearer while it runs.
    claims: Vec<Arc<Claim>>,
}

struct Claim {
    partial: Arc<Partial>,
    rest: Mutex<Range<u64>>,
}

impl Downloads {
    /// Begins to fetch blobs from a repository, in this order. The connections run on `runtime`.
    pub(crate) fn start(
        runtime: &Handle,
        (registry, repository): (Arc<dyn Registry>, Reference),
        partials: &[Arc<Partial>],
        watch: Arc<dyn Watch>,
    ) -> Downloads {
        let mut work = Work::default();
        for partial in partials {
            watch.came(partial);
            work.waiting.extend(partial.gaps().into_iter().map(|gap| (Arc::clone(partial), gap)));
        }
        let queue = Arc::new(Queue { registry, repository, watch, work: Mutex::new(work) });
        let connections = (0..CONNECTIONS).map(|_| runtime.spawn(connection(Arc::clone(&queue)))).collect();
        Downloads { queue, tasks: Mutex::new(connections) }
    }
}

impl std::fmt::Debug for Downloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Downloads").field("repository", &self.queue.repository).finish_non_exhaustive()
    }
}

impl Drop for Downloads {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        // Tasks end some time after they are aborted; nobody waits for bytes that no longer come.
        let mut work = lock(&self.queue.work);
        for (partial, _) in work.waiting.drain(..) {
            partial.abandon();
        }
        for claim in work.claims.drain(..) {
            claim.partial.abandon();
        }
    }
}

/// One connection: takes work until there is none that is worth a request.
async fn connection(queue: Arc<Queue>) {
    let mut piece = PIECE;
    while let Some(claim) = queue.claim(piece) {
        let range = lock(&claim.rest).clone();
        let (begun, start) = (Instant::now(), range.start);
        let mut sink = Sink { queue: &queue, claim: &claim, at: range.start };
        let fetched = queue.registry.fetch_blob(&queue.repository, &claim.partial.blob, range, &mut sink).await;
        let rest = lock(&claim.rest).clone();
        lock(&queue.work).claims.retain(|other| !Arc::ptr_eq(other, &claim));
        let a_second = (rest.start - start) as f64 / begun.elapsed().as_secs_f64().max(1e-3);
        piece = (a_second as u64).clamp(*PIECES.start(), *PIECES.end());
        match fetched {
            // A sink that has all it wants ends the connection.
            _ if rest.is_empty() => {}
            Ok(()) => claim.partial.fail(Error::refused(Kind::Internal, "a registry's blob ended too early")),
            Err(error) => claim.partial.fail(error),
        }
    }
}

impl Queue {
    /// The next piece, or the second half of what a connection still has to do.
    fn claim(&self, piece: u64) -> Option<Arc<Claim>> {
        // Where parts cost as much as the whole, nobody takes anything off anybody.
        let parts = self.registry.serves_ranges(&self.repository);
        let mut work = lock(&self.work);
        let (partial, range) = next(&mut work.waiting, if parts { piece } else { u64::MAX }).or_else(|| {
            let busiest = work.claims.iter().filter(|_| parts).max_by_key(|claim| {
                let rest = lock(&claim.rest);
                rest.end.saturating_sub(rest.start)
            })?;
            let mut rest = lock(&busiest.rest);
            let left = rest.end.saturating_sub(rest.start);
            if left < 2 * PIECE {
                return None;
            }
            let middle = rest.end - left / 2;
            let half = middle..rest.end;
            rest.end = middle;
            Some((Arc::clone(&busiest.partial), half))
        })?;
        let claim = Arc::new(Claim { partial, rest: Mutex::new(range) });
        work.claims.push(Arc::clone(&claim));
        Some(claim)
    }
}

/// Takes a piece off the first gap; a rest that is not worth a request goes with it.
fn next(waiting: &mut VecDeque<(Arc<Partial>, Range<u64>)>, piece: u64) -> Option<(Arc<Partial>, Range<u64>)> {
    let (partial, gap) = waiting.front_mut()?;
    let length = gap.end - gap.start;
    let end = if length / 3 < piece / 2 { gap.end } else { gap.start + piece };
    let taken = (Arc::clone(partial), gap.start..end);
    gap.start = end;
    if gap.is_empty() {
        waiting.pop_front();
    }
    Some(taken)
}

/// Puts what comes in where it belongs.
struct Sink<'a> {
    queue: &'a Queue,
    claim: &'a Claim,
    at: u64,
}

impl BlobSink for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        // The rest may have gone to another connection meanwhile.
        let end = lock(&self.claim.rest).end;
        let wanted = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(bytes.len());
        self.claim.partial.write(self.at, &bytes[..wanted])?;
        self.at += wanted as u64;
        let done = {
            let mut rest = lock(&self.claim.rest);
            rest.start = self.at;
            rest.start >= rest.end
        };
        self.queue.watch.came(&self.claim.partial);
        // More than was asked for is never sent here, so this is only the end of a range that became shorter.
        if done && wanted < bytes.len() {
            return Err(Error::refused(Kind::Conflict, "another connection fetches the rest"));
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
