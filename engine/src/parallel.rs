//! Small work on many things at once, by as many threads as the machine runs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Fewer than this are not worth a thread: starting one costs as much as reading some twenty small files.
const SHARE: usize = 64;

/// How many a thread takes at a time.
const PIECE: usize = 32;

/// How many threads run at once. The library reads files of the control group for that, so it is asked once.
pub(crate) fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// What `work` makes of each item, in their order.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = threads().min(items.len() / SHARE);
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    // Taken piece by piece and not halved: beside other work one of the threads may not run for a while.
    let next = AtomicUsize::new(0);
    let take = || {
        let mut made: Vec<(usize, Vec<R>)> = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = items.chunks(PIECE).nth(index) else { return made };
            made.push((index, piece.iter().map(&work).collect()));
        }
    };
    let mut pieces = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take)).collect();
        let mut made = take();
        for other in others {
            made.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        made
    });
    pieces.sort_unstable_by_key(|(index, _)| *index);
    pieces.into_iter().flat_map(|(_, made)| made).collect()
}

/// What two pieces of work make that are done at once.
pub(crate) fn both<A, B: Send>(here: impl FnOnce() -> A, there: impl FnOnce() -> B + Send) -> (A, B) {
    std::thread::scope(|scope| {
        let there = scope.spawn(there);
        (here(), there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_come_in_the_order_of_the_items() {
        for count in [0, 1, 63, 128, 1001] {
            let items: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert_eq!(super::map(&items, |item| item * 2), doubled, "{count}");
        }
    }
}
