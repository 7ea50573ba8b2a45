//! Carries a session's bytes: standard input in, output out, signals and sizes along, until it ends.
//!
//! Output is written by a thread of its own, so a reader that stalls never keeps a signal or a key from its process; at
//! most [`QUEUE`] pieces wait for it, so a fast process is slowed down instead of filling memory.

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};

use mica_engine::Engine;
use mica_engine::runtime::{Session, SessionEvent, SessionInput};
use rustix::io::Errno;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::terminal::{self, DetachKeys, RawMode, Seen};

const QUEUE: usize = 16;
const PIECE: usize = 64 * 1024;

/// What is attached.
#[derive(Debug, Clone)]
pub struct Streams {
    /// Pass standard input on.
    pub stdin: bool,
    /// Show standard output.
    pub stdout: bool,
    /// Show standard error.
    pub stderr: bool,
    /// The process has a terminal.
    pub tty: bool,
    /// Keys that end the session and leave the process.
    pub detach_keys: DetachKeys,
}

/// Who gets the signals that this program gets.
#[derive(Debug, Clone, Copy)]
pub enum Signals<'a> {
    /// A container.
    Container(&'a Engine, &'a str),
    /// The session's own process.
    Session,
    /// Nobody: they end this program.
    Nobody,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The process exited with this status.
    Exited(i32),
    /// The person typed the detach keys.
    Detached,
    /// The other side has gone without a word.
    Lost,
    /// This signal ended the session.
    Signalled(i32),
    /// Nobody reads standard output any more.
    Closed,
}

impl Streams {
    /// Refuses a terminal session on input that is none, in Docker's words.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.tty && self.stdin && !terminal::stdin_is_terminal() {
            anyhow::bail!("the input device is not a TTY");
        }
        Ok(())
    }
}

/// Carries a session to its end.
pub async fn carry(mut session: Box<dyn Session>, streams: &Streams, signals: Signals<'_>) -> anyhow::Result<Ending> {
    let raw = if streams.tty && streams.stdin { RawMode::enter()? } else { None };
    let mut caught = Caught::new()?;
    let mut resized = signal(SignalKind::window_change())?;
    let (control, controls) = mpsc::unbounded_channel();
    let (detach, mut detached) = oneshot::channel();
    if let Some(input) = session.take_input() {
        let bytes = streams.stdin.then(read_stdin);
        let matcher = (streams.tty && streams.stdin).then(|| streams.detach_keys.matcher());
        tokio::spawn(Feed { input, bytes, matcher }.run(controls, detach));
    }
    let (output, written) = write_output();
    let mut interrupts = 0;
    let ending = loop {
        let next = async {
            let permit = output.reserve().await.ok()?;
            Some((permit, session.next().await))
        };
        tokio::select! {
            biased;
            Ok(()) = &mut detached => break Ending::Detached,
            number = caught.next() => match signals {
                Signals::Nobody => break Ending::Signalled(number),
                Signals::Session => {
                    interrupts += 1;
                    // A process that does not care about signals must not hold its client for ever.
                    if interrupts > 3 || control.send(Control::Signal(number)).is_err() {
                        break Ending::Signalled(number);
                    }
                }
                Signals::Container(engine, id) => {
                    // The container may be gone a moment before its session says so.
                    if let Err(error) = engine.kill(id, &number.to_string()).await {
                        tracing::debug!(%error, number, "cannot pass a signal on");
                    }
                }
            },
            Some(()) = resized.recv(), if streams.tty => {
                if let Some((rows, columns)) = terminal::size() {
                    let _ = control.send(Control::Resize(rows, columns));
                }
            }
            next = next => match next {
                None => break Ending::Closed,
                Some((_, Ok(None))) => break Ending::Lost,
                Some((_, Ok(Some(SessionEvent::Exited(code))))) => break Ending::Exited(code),
                Some((permit, Ok(Some(SessionEvent::Stdout(bytes))))) => {
                    if streams.stdout {
                        permit.send(Output::Stdout(bytes));
                    }
                }
                Some((permit, Ok(Some(SessionEvent::Stderr(bytes))))) => {
                    if streams.stderr {
                        permit.send(Output::Stderr(bytes));
                    }
                }
                Some((_, Err(error))) => return Err(error.into()),
            },
        }
    };
    drop(output);
    let closed = written.await.unwrap_or(false);
    drop(raw);
    if ending == Ending::Detached {
        crate::output::warn("\nread escape sequence");
    }
    Ok(if closed && !matches!(ending, Ending::Exited(_)) { Ending::Closed } else { ending })
}

enum Control {
    Resize(u16, u16),
    Signal(i32),
}

enum Output {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
}

/// The input side of a session and what goes into it.
struct Feed {
    input: Box<dyn SessionInput>,
    bytes: Option<mpsc::Receiver<Vec<u8>>>,
    matcher: Option<terminal::Matcher>,
}

impl Feed {
    /// Errors are not told: an input whose process has gone ends with the session.
    async fn run(mut self, mut controls: mpsc::UnboundedReceiver<Control>, detach: oneshot::Sender<()>) {
        loop {
            let bytes = self.bytes.as_mut();
            tokio::select! {
                biased;
                control = controls.recv() => match control {
                    None => return,
                    Some(Control::Resize(rows, columns)) => {
                        let _ = self.input.resize(rows, columns).await;
                    }
                    Some(Control::Signal(number)) => {
                        let _ = self.input.signal(number).await;
                    }
                },
                piece = async { match bytes { Some(bytes) => bytes.recv().await, None => std::future::pending().await } } => {
                    let Some(piece) = piece else {
                        self.bytes = None;
                        let _ = self.input.close().await;
                        continue;
                    };
                    let seen = match &mut self.matcher {
                        Some(matcher) => matcher.feed(&piece),
                        None => Seen::Pass(piece),
                    };
                    let (piece, ends) = match seen {
                        Seen::Pass(piece) => (piece, false),
                        Seen::Detach(piece) => (piece, true),
                    };
                    if !piece.is_empty() && self.input.write(&piece).await.is_err() {
                        self.bytes = None;
                    }
                    if ends {
                        self.input.detach().await;
                        let _ = detach.send(());
                        return;
                    }
                }
            }
        }
    }
}

/// Reads standard input on a thread that nobody waits for: a blocked read cannot be called back.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let stdin = std::io::stdin();
        let mut buffer = vec![0; PIECE];
        loop {
            match rustix::io::read(stdin.as_fd(), &mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                        return;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_for(stdin.as_fd(), rustix::event::PollFlags::IN),
                Err(_) => return,
            }
        }
    });
    receiver
}

/// Writes output on a thread; the second value says at the end whether standard output was closed by its reader.
fn write_output() -> (mpsc::Sender<Output>, oneshot::Receiver<bool>) {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let (done, written) = oneshot::channel();
    std::thread::spawn(move || {
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let mut closed = false;
        while let Some(output) = receiver.blocking_recv() {
            match output {
                Output::Stdout(bytes) => {
                    if write_fully(stdout.as_fd(), &bytes).is_err() {
                        closed = true;
                        break;
                    }
                }
                // Nobody left to read errors is no reason to stop.
                Output::Stderr(bytes) => drop(write_fully(stderr.as_fd(), &bytes)),
            }
        }
        drop(receiver);
        let _ = done.send(closed);
    });
    (sender, written)
}

/// Writes all bytes, also to a descriptor that somebody else has made non-blocking.
fn write_fully(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for(fd, rustix::event::PollFlags::OUT),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_for(fd: BorrowedFd<'_>, flags: rustix::event::PollFlags) {
    let _ = rustix::event::poll(&mut [rustix::event::PollFd::from_borrowed_fd(fd, flags)], None);
}

/// Every signal that ends or informs a process and that a person may send to this one.
struct Caught(Vec<(Signal, i32)>);

impl Caught {
    fn new() -> anyhow::Result<Self> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::quit(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
        ];
        let signals = kinds.iter().map(|kind| Ok((signal(*kind)?, kind.as_raw_value())));
        Ok(Self(signals.collect::<std::io::Result<_>>()?))
    }

    async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (signal, number) in &mut self.0 {
                if let std::task::Poll::Ready(Some(())) = signal.poll_recv(context) {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Whether progress may be drawn over: standard error is a terminal that understands it.
pub fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
