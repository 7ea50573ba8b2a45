//! The monitor's loop: the process's output to the log and to every client, their input to the process, until it ends.
//!
//! Nothing here waits but `poll`, and every buffer is bounded: a client that reads slowly makes the process wait, input
//! that the process does not read makes the client wait, and a client that goes is forgotten.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use mica_runtime::frame::{CHUNK, Frame, Stream};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::client::Client;
use crate::console;
use crate::health::Watch;
use crate::log::Log;
use crate::stdio::Ours;

/// How many bytes of input may wait for the process before clients wait.
const INPUT_LIMIT: usize = 1 << 20;
/// How much output is taken after the end. A process outside the container that holds the pipe must not hold the monitor.
const DRAIN_LIMIT: usize = 8 << 20;
/// How long after the end a silent pipe is waited for.
const DRAIN_GRACE: Duration = Duration::from_millis(200);

/// What a relay does at the edges.
#[derive(Debug, Default)]
pub struct Rules {
    /// End the input with the client that gave it.
    pub stdin_once: bool,
    /// Kill the process when the first client goes.
    pub die_with_client: bool,
}

/// Everything between one process after the other and their clients.
#[derive(Debug)]
pub struct Relay {
    rules: Rules,
    signals: SignalFd,
    listener: Option<UnixListener>,
    current: Current,
    /// True before the first process, after the last, and between two.
    between: bool,
    clients: Vec<Client>,
    /// Those that came between two processes.
    waiting: Vec<UnixStream>,
    watch: Option<Watch>,
    terminal_size: Option<(u16, u16)>,
    told_to_end: bool,
    log: Option<Log>,
    log_error: Option<io::Error>,
    /// What holds the container's published ports.
    ports: Vec<OwnedFd>,
    buffer: Vec<u8>,
}

/// The process that runs, or the last one.
#[derive(Debug, Default)]
struct Current {
    pid: i32,
    start: u64,
    streams: Ours,
    input: Vec<u8>,
    given: usize,
    input_ends: bool,
    exited: Option<i32>,
    drained: usize,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Output(Stream),
    Input,
    Client(usize),
    Check,
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
    /// A relay without a process.
    pub fn new(signals: SignalFd, rules: Rules) -> Self {
        Self {
            rules,
            signals,
            listener: None,
            current: Current { exited: Some(0), ..Current::default() },
            between: true,
            clients: Vec::new(),
            waiting: Vec::new(),
            watch: None,
            terminal_size: None,
            told_to_end: false,
            log: None,
            log_error: None,
            ports: Vec::new(),
            buffer: vec![0; CHUNK],
        }
    }

    /// Also writes a log and takes further clients.
    #[must_use]
    pub fn with(mut self, log: Option<Log>, listener: UnixListener) -> Self {
        self.log = log;
        self.listener = Some(listener);
        self
    }

    /// Holds ports from now on, and none that it held before.
    pub fn hold_ports(&mut self, ports: Vec<OwnedFd>) {
        self.ports = ports;
    }

    /// A process runs. Those who waited for it are told so.
    pub fn begin(&mut self, pid: i32, streams: Ours, watch: Option<Watch>) {
        self.watch = watch;
        let start = mica_runtime::start_time(pid).unwrap_or(0);
        self.current = Current { pid, start, streams, ..Current::default() };
        self.between = false;
        for socket in std::mem::take(&mut self.waiting) {
            self.admit(socket, false).ok();
        }
    }

    /// Admits the client that asked for the process.
    pub fn admit_first(&mut self, socket: UnixStream) -> io::Result<()> {
        self.admit(socket, true)
    }

    /// The size that a client has last given to the terminal.
    pub fn terminal_size(&self) -> Option<(u16, u16)> {
        self.terminal_size
    }

    /// True once a signal has told the monitor to end, and the process with it.
    pub fn is_told_to_end(&self) -> bool {
        self.told_to_end
    }

    /// Relays until the process has ended and its output is drained. Returns its status as a shell sees it.
    pub fn run(&mut self) -> io::Result<i32> {
        // The process may have ended before the signal descriptor existed for it.
        self.reap();
        loop {
            let grace = match (self.current.exited, &self.watch) {
                (Some(_), _) => (!self.output_ended()).then_some(DRAIN_GRACE),
                (None, watch) => watch.as_ref().map(Watch::patience),
            };
            let ready = self.wait(grace)?;
            let idle = ready.is_empty();
            for (source, flags) in ready {
                self.serve(source, flags);
            }
            self.flush();
            if let (None, Some(watch)) = (self.current.exited, &mut self.watch) {
                watch.turn();
            }
            if let Some(code) = self.current.exited
                && (idle || self.output_ended() || self.current.drained > DRAIN_LIMIT)
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

    /// Tells every client of the end. They get what is left to them and go.
    pub fn tell(&mut self, code: i32) {
        self.current.streams = Ours::default();
        self.watch = None;
        self.between = true;
        for client in self.clients.iter_mut().filter(|client| !client.leaving) {
            client.send(&Frame::Exited(code));
            client.leaving = true;
        }
        self.flush();
    }

    /// Waits before the next process; false when there is to be none.
    pub fn pause(&mut self, length: Duration, is_stopped: impl Fn() -> bool) -> io::Result<bool> {
        let until = Instant::now() + length;
        loop {
            if self.told_to_end || is_stopped() {
                return Ok(false);
            }
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(true);
            }
            self.turn(Some(rest))?;
        }
    }

    /// Stays until each client has read everything or has gone. Nobody new is heard.
    pub fn finish(mut self) {
        self.listener = None;
        self.waiting.clear();
        while !self.clients.is_empty() {
            if self.turn(None).is_err() {
                return;
            }
        }
    }

    /// Serves everybody who is ready.
    fn turn(&mut self, patience: Option<Duration>) -> io::Result<()> {
        for (source, flags) in self.wait(patience)? {
            self.serve(source, flags);
        }
        self.flush();
        Ok(())
    }

    /// What is ready; nothing when patience ends first.
    fn wait(&self, patience: Option<Duration>) -> io::Result<Vec<(Source, PollFlags)>> {
        let slow = self.current.exited.is_none() && self.clients.iter().any(Client::is_slow);
        let full = self.current.input.len() - self.current.given >= INPUT_LIMIT;
        let mut sources = vec![(Source::Signals, self.signals.as_fd(), PollFlags::IN)];
        if let Some(listener) = &self.listener {
            sources.push((Source::Listener, listener.as_fd(), PollFlags::IN));
        }
        for (stream, fd) in
            [(Stream::Stdout, &self.current.streams.output), (Stream::Stderr, &self.current.streams.error)]
        {
            if let Some(fd) = fd
                && !slow
            {
                sources.push((Source::Output(stream), fd.as_fd(), PollFlags::IN));
            }
        }
        if let Some(fd) = &self.current.streams.input
            && self.current.given < self.current.input.len()
        {
            sources.push((Source::Input, fd.as_fd(), PollFlags::OUT));
        }
        if let Some(report) = self.watch.as_ref().and_then(Watch::report) {
            sources.push((Source::Check, report, PollFlags::IN));
        }
        for (at, client) in self.clients.iter().enumerate() {
            // Polling for nothing still tells of a client that has gone.
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !full && !client.silent);
            flags.set(PollFlags::OUT, client.unsent() > 0);
            sources.push((Source::Client(at), client.as_fd(), flags));
        }
        let mut polled: Vec<_> = sources.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let patience = patience.map(|patience| Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: i64::from(patience.subsec_nanos()),
        });
        rustix::io::retry_on_intr(|| poll(&mut polled, patience.as_ref()))?;
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
                    if self.between {
                        self.waiting.push(socket);
                    } else {
                        self.admit(socket, false).ok();
                    }
                }
            }
            Source::Output(stream) => self.take_output(stream),
            Source::Input => self.give_input(),
            Source::Check => {
                if let Some(watch) = &mut self.watch {
                    watch.listen(&mut self.buffer);
                }
            }
            Source::Client(at) => self.serve_client(at, flags),
        }
    }

    fn admit(&mut self, socket: UnixStream, first: bool) -> io::Result<()> {
        let mut client = Client::new(socket, first)?;
        client.send(&Frame::Started { pid: self.current.pid, start: self.current.start });
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
            {
                self.told_to_end = true;
                if self.current.exited.is_some() {
                    continue;
                }
                kill(Pid::from_raw(self.current.pid), signal).ok();
            }
        }
        self.reap();
    }

    /// Collects every dead child; orphans of the container come here too, because the monitor is a subreaper.
    fn reap(&mut self) {
        loop {
            let code = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == self.current.pid => code,
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() == self.current.pid => 128 + signal as i32,
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            self.current.exited = Some(code);
            // The last holder of the terminal's other end: without it the terminal reads as ended.
            self.current.streams.terminal = None;
            self.current.streams.input = None;
        }
    }

    fn take_output(&mut self, stream: Stream) {
        let slot =
            if stream == Stream::Stdout { &mut self.current.streams.output } else { &mut self.current.streams.error };
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
                if self.current.exited.is_some() {
                    self.current.drained += count;
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => *slot = None,
        }
    }

    fn give_input(&mut self) {
        let Some(fd) = &self.current.streams.input else { return };
        while self.current.given < self.current.input.len() {
            match rustix::io::write(fd, self.current.input.get(self.current.given..).unwrap_or_default()) {
                Ok(count) => self.current.given += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    // The process has closed its input: what was meant for it is dropped, as a shell's pipe would.
                    self.current.streams.input = None;
                    break;
                }
            }
        }
        self.current.input.clear();
        self.current.given = 0;
        if self.current.input_ends {
            self.current.streams.input = None;
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
        if frames.contains(&Frame::HoldPorts) && !client.leaving {
            self.ports = client.take_descriptors();
            client.quiet = true;
            client.send(&Frame::Held);
        }
        client.quiet |= frames.contains(&Frame::Quiet);
        if client.leaving {
            // It has had its process; the next one is not its business.
            frames.clear();
        }
        let no_more = !client.leaving && client.silent && (client.gave_input || client.first);
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
            Frame::Stdin(bytes) if self.current.streams.input.is_some() && !self.current.input_ends => {
                self.current.input.extend_from_slice(&bytes);
                self.give_input();
            }
            Frame::CloseStdin if self.rules.stdin_once => self.end_input(),
            Frame::Resize(rows, columns) => {
                self.terminal_size = Some((rows, columns));
                if let Some(terminal) = &self.current.streams.terminal {
                    console::resize(terminal, rows, columns).ok();
                }
            }
            _ => {}
        }
    }

    /// A terminal has no end of input but the one its user types.
    fn end_input(&mut self) {
        if self.current.streams.terminal.is_none() {
            self.current.input_ends = true;
            self.give_input();
        }
    }

    fn forget(&mut self, client: &Client) {
        if client.leaving {
            return;
        }
        if self.rules.stdin_once && (client.gave_input || client.first) {
            self.end_input();
        }
        if client.first && self.rules.die_with_client && self.current.exited.is_none() {
            kill(Pid::from_raw(self.current.pid), Signal::SIGKILL).ok();
        }
    }

    fn flush(&mut self) {
        for at in (0..self.clients.len()).rev() {
            let Some(client) = self.clients.get_mut(at) else { continue };
            let present = client.flush();
            if !present || (client.leaving && client.unsent() == 0) {
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
        !open(&self.current.streams.output) && !open(&self.current.streams.error)
    }
}
