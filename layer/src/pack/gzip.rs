//! gzip from many threads: blocks of a fixed size, each compressed to members of its own and put in order again.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use super::members::Members;
use super::{Source, join};
use crate::digest::Hasher;
use crate::error::{Error, Result};
use crate::pipe;

/// What one thread compresses at a time. It decides the bytes, so it never depends on the machine. Twice as much saves two
/// thousandths of the size.
const BLOCK: usize = 512 * 1024;

/// A block that wants to be compressed.
struct Job {
    block: Arc<Vec<u8>>,
    done: Sender<io::Result<Vec<u8>>>,
}

/// Where a block's members come from.
type Compressed = Receiver<io::Result<Vec<u8>>>;

/// Compresses a whole source.
pub(super) fn pack(source: &mut (dyn Read + Send), level: u32, threads: usize, sink: &mut dyn Write) -> Result<Source> {
    std::thread::scope(|scope| {
        // As many blocks again as are worked on may wait, to be worked on or to be written.
        let (order, blocks) = sync_channel(2 * threads);
        let reader = scope.spawn(move || read(scope, source, (level, threads), &order));
        let written = write(blocks, sink);
        let source = join(reader)?;
        written.map(|()| source)
    })
}

/// Cuts the source into blocks. Threads begin as there is work for them.
fn read<'scope>(
    scope: &'scope Scope<'scope, '_>,
    source: &mut (dyn Read + Send),
    (level, threads): (u32, usize),
    order: &SyncSender<Compressed>,
) -> Result<Source> {
    let (work, jobs) = channel();
    let jobs = Arc::new(Mutex::new(jobs));
    let mut blocks = Blocks::default();
    let (mut hasher, mut size, mut started) = (Hasher::new(), 0, 0);
    loop {
        let block = blocks.fill(source).map_err(Error::Source)?;
        // Even nothing is a member.
        if block.is_empty() && size > 0 {
            return Ok(Source { digest: hasher.finish(), size });
        }
        let (done, compressed) = channel();
        // Whoever writes may have given up, and says why.
        if order.send(compressed).is_err() {
            return Ok(Source { digest: hasher.finish(), size });
        }
        let _ = work.send(Job { block: Arc::clone(&block), done });
        if started < threads {
            let jobs = Arc::clone(&jobs);
            scope.spawn(move || compress(level, &jobs));
            started += 1;
        }
        hasher.update(&block);
        size += block.len() as u64;
        if block.len() < BLOCK {
            return Ok(Source { digest: hasher.finish(), size });
        }
    }
}

fn write(blocks: Receiver<Compressed>, sink: &mut dyn Write) -> Result<()> {
    for block in blocks {
        let members = block.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())).map_err(Error::Sink)?;
        sink.write_all(&members).map_err(Error::Sink)?;
    }
    Ok(())
}

/// One thread: takes blocks until there are no more.
fn compress(level: u32, jobs: &Mutex<Receiver<Job>>) {
    let mut members = Members::new(level);
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { block, done }) = job else { return };
        let compressed = members.of(&block);
        // The block may be filled again as soon as its members are known.
        drop(block);
        // Nobody may wait for them any more.
        let _ = done.send(compressed);
    }
}

/// Blocks whose memory is used again: fresh memory is cleared and mapped page by page.
#[derive(Default)]
struct Blocks(VecDeque<Arc<Vec<u8>>>);

impl Blocks {
    /// The next of the source; shorter than a block at its end only.
    fn fill(&mut self, source: &mut (dyn Read + Send)) -> io::Result<Arc<Vec<u8>>> {
        // They become free in the order in which they were filled, more or less.
        let free = self.0.pop_front_if(|block| Arc::get_mut(block).is_some());
        let mut block = free.unwrap_or_else(|| Arc::new(vec![0; BLOCK]));
        let bytes = Arc::make_mut(&mut block);
        bytes.resize(BLOCK, 0);
        let filled = pipe::fill(source, bytes)?;
        bytes.truncate(filled);
        self.0.push_back(Arc::clone(&block));
        Ok(block)
    }
}
