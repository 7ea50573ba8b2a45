//! The monitor's loop: the process's output to the log and to every client, their input to the process, until it ends.
//!
//! Nothing here waits but `poll`, and every buffer is bounded: a client that reads slowly makes the process wait, input
//! that the process does not read makes the client wait, and a client that goes is forgotten.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use mica_runtime::frame::{CHUNK, Frame, Stream};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::client::{Client, SLOW};
use crate::console;
use crate::log::Log;
use crate::stdio::Ours;

/// How many bytes of input may wait for the process before clients wait.
const INPUT_LIMIT: usize = 1 << 20;
/// How much output is taken after the end. A process outside the container that holds the pipe must not hold the monitor.
const DRAIN_LIMIT: usize = 8 << 20;
/// How long after the end a silent pipe is waited for.
const DRAIN_GRACE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// What a relay does at the edges.
#[derive(Debug, Default)]
pub struct Rules {
    /// End the input with the client that gave it.
    pub stdin_once: bool,
    /// Kill the process when the first client goes.
    pub die_with_client: bool,
}

/// Everything between one process and its clients.
#[derive(Debug)]
pub struct Relay {
    pid: i32,
    rules: Rules,
    signals: SignalFd,
    listener: Option<UnixListener>,
    greeting: Frame,
    streams: Ours,
    input: Vec<u8>,
    given: usize,
    input_ends: bool,
    clients: Vec<Client>,
    log: Option<Log>,
    log_error: Option<io::Error>,
    exited: Option<i32>,
    drained: usize,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Output(Stream),
    Input,
    Client(usize),
}

/// The signals a monitor takes notice of. Blocked before the process exists, or its end could be missed.
pub fn block_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

impl Relay {
    /// A relay for a process that runs, whose first client is told so.
    pub fn new(pid: i32, signals: SignalFd, streams: Ours, first: UnixStream, rules: Rules) -> io::Result<Self> {
        let start = mica_runtime::start_time(pid).unwrap_or(0);
        let greeting = Frame::Started { pid, start };
        let mut relay = Self {
            pid,
            rules,
            signals,
            listener: None,
            greeting,
            streams,
            input: Vec::new(),
            given: 0,
            input_ends: false,
            clients: Vec::new(),
            log: None,
            log_error: None,
            exited: None,
            drained: 0,
            buffer: vec![0; CHUNK],
        };
        relay.admit(first, true)?;
        Ok(relay)
    }

    /// Also writes a log and takes further clients.
    #[must_use]
    pub fn with(mut self, log: Option<Log>, listener: UnixListener) -> Self {
        self.log = log;
        self.listener = Some(listener);
        self
    }

    /// Relays until the process has ended and its output is drained. Returns its status as a shell sees it.
    pub fn run(&mut self) -> io::Result<i32> {
        // The process may have ended before the signal descriptor existed for it.
        self.reap();
        loop {
            let ready = self.wait()?;
            let idle = ready.is_empty();
            for (source, flags) in ready {
                self.serve(source, flags);
            }
            self.flush();
            if let Some(code) = self.exited
                && (idle || self.output_ended() || self.drained > DRAIN_LIMIT)
            {
                if let Some(log) = &mut self.log {
                    let finished = log.finish();
                    self.note(finished);
                }
                return Ok(code);
            }
        }
    }

    /// Why the log is not complete, if it is not.
    pub fn log_error(&self) -> Option<&io::Error> {
        self.log_error.as_ref()
    }

    /// Tells every client of the end and stays until each has read it all or has gone.
    pub fn finish(mut self, code: i32) {
        self.listener = None;
        self.streams = Ours::default();
        for client in &mut self.clients {
            client.send(&Frame::Exited(code));
        }
        self.flush();
        while self.clients.iter().any(|client| client.unsent() > 0) {
            self.clients.retain(|client| client.unsent() > 0);
            let Ok(ready) = self.wait() else { return };
            for (source, flags) in ready {
                self.serve(source, flags);
            }
            self.flush();
        }
    }

    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let slow = self.exited.is_none() && self.clients.iter().any(|client| client.unsent() >= SLOW);
        let full = self.input.len() - self.given >= INPUT_LIMIT;
        let mut sources = vec![(Source::Signals, self.signals.as_fd(), PollFlags::IN)];
        if let Some(listener) = &self.listener {
            sources.push((Source::Listener, listener.as_fd(), PollFlags::IN));
        }
        for (stream, fd) in [(Stream::Stdout, &self.streams.output), (Stream::Stderr, &self.streams.error)] {
            if let Some(fd) = fd
                && !slow
            {
                sources.push((Source::Output(stream), fd.as_fd(), PollFlags::IN));
            }
        }
        if let Some(fd) = &self.streams.input
            && self.given < self.input.len()
        {
            sources.push((Source::Input, fd.as_fd(), PollFlags::OUT));
        }
        for (at, client) in self.clients.iter().enumerate() {
            // Polling for nothing still tells of a client that has gone.
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !full && !client.silent);
            flags.set(PollFlags::OUT, client.unsent() > 0);
            sources.push((Source::Client(at), client.as_fd(), flags));
        }
        let mut polled: Vec<_> = sources.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let grace = (self.exited.is_some() && !self.output_ended()).then_some(&DRAIN_GRACE);
        rustix::io::retry_on_intr(|| poll(&mut polled, grace))?;
        let flags: Vec<_> = polled.iter().map(PollFd::revents).collect();
        let answers = sources.iter().zip(flags).filter(|(_, flags)| !flags.is_empty());
        // Clients last to first, so that one that goes does not shift those still to be served.
        Ok(answers.map(|((source, _, _), flags)| (*source, flags)).rev().collect())
    }

    fn serve(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Signals => self.take_signals(),
            Source::Listener => {
                if let Some(Ok((socket, _))) = self.listener.as_ref().map(UnixListener::accept) {
                    self.admit(socket, false).ok();
                }
            }
            Source::Output(stream) => self.take_output(stream),
            Source::Input => self.give_input(),
            Source::Client(at) => self.serve_client(at, flags),
        }
    }

    fn admit(&mut self, socket: UnixStream, first: bool) -> io::Result<()> {
        let mut client = Client::new(socket, first)?;
        client.send(&self.greeting);
        if client.flush() {
            self.clients.push(client);
        } else if first {
            self.forget(&client);
        }
        Ok(())
    }

    fn take_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let signal = Signal::try_from(info.ssi_signo as i32);
            if let Ok(signal) = signal
                && signal != Signal::SIGCHLD
                && self.exited.is_none()
            {
                kill(Pid::from_raw(self.pid), signal).ok();
            }
        }
        self.reap();
    }

    /// Collects every dead child; orphans of the container come here too, because the monitor is a subreaper.
    fn reap(&mut self) {
        loop {
            let code = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == self.pid => code,
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() == self.pid => 128 + signal as i32,
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            self.exited = Some(code);
            // The last holder of the terminal's other end: without it the terminal reads as ended.
            self.streams.terminal = None;
            self.streams.input = None;
        }
    }

    fn take_output(&mut self, stream: Stream) {
        let slot = if stream == Stream::Stdout { &mut self.streams.output } else { &mut self.streams.error };
        let Some(fd) = slot else { return };
        match rustix::io::read(&*fd, &mut *self.buffer) {
            // EIO is how a terminal says that its other end is closed.
            Ok(0) | Err(Errno::IO) => *slot = None,
            Ok(count) => {
                let bytes = self.buffer.get(..count).unwrap_or_default();
                if let Some(log) = &mut self.log {
                    let written = log.write(stream, bytes);
                    if let Err(error) = written {
                        self.log_error.get_or_insert(error);
                    }
                }
                for client in &mut self.clients {
                    client.send_output(stream, bytes);
                }
                if self.exited.is_some() {
                    self.drained += count;
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => *slot = None,
        }
    }

    fn give_input(&mut self) {
        let Some(fd) = &self.streams.input else { return };
        while self.given < self.input.len() {
            match rustix::io::write(fd, self.input.get(self.given..).unwrap_or_default()) {
                Ok(count) => self.given += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    // The process has closed its input: what was meant for it is dropped, as a shell's pipe would.
                    self.streams.input = None;
                    break;
                }
            }
        }
        self.input.clear();
        self.given = 0;
        if self.input_ends {
            self.streams.input = None;
        }
    }

    fn serve_client(&mut self, at: usize, flags: PollFlags) {
        let Some(client) = self.clients.get_mut(at) else { return };
        let mut present = true;
        if flags.contains(PollFlags::IN) {
            present = client.receive(&mut self.buffer);
        } else if flags.intersects(PollFlags::ERR | PollFlags::HUP) {
            present = false;
        }
        let mut frames = Vec::new();
        loop {
            match client.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => {
                    present = false;
                    break;
                }
            }
        }
        client.gave_input |= frames.iter().any(|frame| matches!(frame, Frame::Stdin(_) | Frame::CloseStdin));
        let no_more = client.silent && (client.gave_input || client.first);
        for frame in frames {
            self.obey(frame);
        }
        if no_more && self.rules.stdin_once {
            self.end_input();
        }
        if !present {
            let client = self.clients.remove(at);
            self.forget(&client);
        }
    }

    fn obey(&mut self, frame: Frame) {
        match frame {
            Frame::Stdin(bytes) if self.streams.input.is_some() && !self.input_ends => {
                self.input.extend_from_slice(&bytes);
                self.give_input();
            }
            Frame::CloseStdin if self.rules.stdin_once => self.end_input(),
            Frame::Resize(rows, columns) => {
                if let Some(terminal) = &self.streams.terminal {
                    console::resize(terminal, rows, columns).ok();
                }
            }
            _ => {}
        }
    }

    /// A terminal has no end of input but the one its user types.
    fn end_input(&mut self) {
        if self.streams.terminal.is_none() {
            self.input_ends = true;
            self.give_input();
        }
    }

    fn forget(&mut self, client: &Client) {
        if self.rules.stdin_once && (client.gave_input || client.first) {
            self.end_input();
        }
        if client.first && self.rules.die_with_client && self.exited.is_none() {
            kill(Pid::from_raw(self.pid), Signal::SIGKILL).ok();
        }
    }

    fn flush(&mut self) {
        for at in (0..self.clients.len()).rev() {
            if self.clients.get_mut(at).is_some_and(|client| !client.flush()) {
                let client = self.clients.remove(at);
                self.forget(&client);
            }
        }
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.log_error.get_or_insert(error);
        }
    }

    fn output_ended(&self) -> bool {
        let open = |fd: &Option<OwnedFd>| fd.is_some();
        !open(&self.streams.output) && !open(&self.streams.error)
    }
}
