//! The loop: datagrams one after the other, connections and questions for others on threads of their own, not too many.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mica_network::answer::{Answer, answer, failure};
use rustix::event::{PollFd, PollFlags, poll};

use crate::forward::{self, Transport};
use crate::receive::Request;

/// How many questions may wait for others at once. A container that asks more hears that it failed.
const THREADS: usize = 100;
/// How long a silent connection is kept.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that one datagram holds.
const DATAGRAM: usize = 64 << 10;

/// Serves until it is over.
pub fn run(request: Request) -> io::Result<()> {
    let request = Arc::new(request);
    let busy = Arc::new(AtomicUsize::new(0));
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let mut watched = [
            PollFd::new(&request.life, PollFlags::IN),
            PollFd::from_borrowed_fd(request.udp.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(request.tcp.as_fd(), PollFlags::IN),
        ];
        rustix::io::retry_on_intr(|| poll(&mut watched, None))?;
        let ready = watched.map(|watched| !watched.revents().is_empty());
        if ready[0] {
            return Ok(());
        }
        if ready[1]
            && let Ok((length, client)) = request.udp.recv_from(&mut buffer)
        {
            let question = buffer[..length].to_vec();
            match answer(&request.names, &question) {
                Answer::Here(reply) => drop(request.udp.send_to(&reply, client)),
                Answer::Nothing => {}
                Answer::Elsewhere => {
                    let asked = Arc::clone(&request);
                    let sent = question.clone();
                    let started = spawn(&busy, move || {
                        let reply =
                            forward::ask(&asked.names, &sent, Transport::Datagram).unwrap_or_else(|| failure(&sent));
                        drop(asked.udp.send_to(&reply, client));
                    });
                    if !started {
                        drop(request.udp.send_to(&failure(&question), client));
                    }
                }
            }
        }
        if ready[2]
            && let Ok((stream, _)) = request.tcp.accept()
        {
            let asked = Arc::clone(&request);
            spawn(&busy, move || drop(converse(&asked, stream)));
        }
    }
}

/// Questions on one connection, each with its length before it (RFC 1035, 4.2.2).
fn converse(request: &Request, mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        let reply = match answer(&request.names, &question) {
            Answer::Here(reply) => reply,
            Answer::Nothing => return Ok(()),
            Answer::Elsewhere => {
                forward::ask(&request.names, &question, Transport::Stream).unwrap_or_else(|| failure(&question))
            }
        };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &reply].concat())?;
    }
}

/// Works on a thread of its own; false when there are too many.
fn spawn(busy: &Arc<AtomicUsize>, work: impl FnOnce() + Send + 'static) -> bool {
    if busy.fetch_add(1, Ordering::Relaxed) >= THREADS {
        busy.fetch_sub(1, Ordering::Relaxed);
        return false;
    }
    let done = Arc::clone(busy);
    let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
        work();
        done.fetch_sub(1, Ordering::Relaxed);
    });
    if thread.is_err() {
        busy.fetch_sub(1, Ordering::Relaxed);
    }
    thread.is_ok()
}
