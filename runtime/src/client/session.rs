//! One session: events from the monitor, input to it.

use std::os::unix::net::UnixStream as StdStream;

use async_trait::async_trait;
use mica_engine::runtime::{Session, SessionEvent, SessionInput};
use mica_engine::{Error as EngineError, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::Error;
use crate::frame::{CHUNK, Decoder, Frame, encode_input};

/// The client's end of one connection to a monitor.
#[derive(Debug)]
pub struct MonitorSession {
    incoming: Incoming,
    input: Option<MonitorInput>,
    finished: bool,
}

#[derive(Debug)]
struct Incoming {
    socket: OwnedReadHalf,
    decoder: Decoder,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct MonitorInput {
    socket: OwnedWriteHalf,
    frames: Vec<u8>,
    pid: i32,
    start: u64,
}

impl MonitorSession {
    /// Waits until the monitor says that the process runs, or why it does not.
    pub async fn open(socket: StdStream, context: &str) -> Result<Self> {
        let failed = |source| Error::Connection { operation: "read from", source }.during(context);
        socket.set_nonblocking(true).map_err(failed)?;
        let (socket, output) = UnixStream::from_std(socket).map_err(failed)?.into_split();
        let mut incoming = Incoming { socket, decoder: Decoder::default(), buffer: vec![0; CHUNK] };
        match incoming.next().await.map_err(|error| error.during(context))? {
            Some(Frame::Started { pid, start }) => {
                let input = MonitorInput { socket: output, frames: Vec::new(), pid, start };
                Ok(Self { incoming, input: Some(input), finished: false })
            }
            Some(Frame::Failed { kind, message }) => Err(EngineError::refused(kind, message)),
            _ => Err(Error::Silent.during(context)),
        }
    }

    /// Asks for no output, and returns the process's status. `None` when the monitor goes without telling it.
    pub async fn exit(mut self) -> Result<Option<i32>> {
        if let Some(input) = &mut self.input {
            Frame::Quiet.encode(&mut input.frames);
            // A monitor that is about to go has said its last word already.
            input.send().await.ok();
        }
        while let Some(event) = self.next().await? {
            if let SessionEvent::Exited(code) = event {
                return Ok(Some(code));
            }
        }
        Ok(None)
    }

    /// Waits until the monitor holds the ports that it was sent.
    pub async fn held(mut self, context: &str) -> Result<()> {
        while let Some(frame) = self.incoming.next().await.map_err(|error| error.during(context))? {
            if frame == Frame::Held {
                return Ok(());
            }
        }
        Err(Error::Silent.during(context))
    }

    /// Makes the session one that is already over.
    pub fn finish(&mut self) {
        self.finished = true;
        self.input = None;
    }
}

#[async_trait]
impl Session for MonitorSession {
    async fn next(&mut self) -> Result<Option<SessionEvent>> {
        while !self.finished {
            let frame = self.incoming.next().await.map_err(|error| error.during("the session broke off"))?;
            match frame {
                Some(Frame::Stdout(bytes)) => return Ok(Some(SessionEvent::Stdout(bytes))),
                Some(Frame::Stderr(bytes)) => return Ok(Some(SessionEvent::Stderr(bytes))),
                Some(Frame::Exited(code)) => {
                    self.finished = true;
                    return Ok(Some(SessionEvent::Exited(code)));
                }
                Some(_) => {}
                None => self.finished = true,
            }
        }
        Ok(None)
    }

    fn take_input(&mut self) -> Option<Box<dyn SessionInput>> {
        Some(Box::new(self.input.take()?))
    }
}

impl Incoming {
    /// The next frame. Safe to cancel: bytes are in the decoder before the next wait.
    async fn next(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(Error::Protocol)? {
                return Ok(Some(frame));
            }
            let read = match self.socket.read(&mut self.buffer).await {
                Ok(0) => return Ok(None),
                // A monitor that was killed with unread input resets the connection; for a reader it has simply gone.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
                Ok(read) => read,
                Err(source) => return Err(Error::Connection { operation: "read from", source }),
            };
            self.decoder.push(&self.buffer[..read]);
        }
    }
}

impl MonitorInput {
    async fn send(&mut self) -> Result<()> {
        let sent = self.socket.write_all(&self.frames).await;
        self.frames.clear();
        sent.map_err(|source| Error::Connection { operation: "write to", source }.during("cannot send input"))
    }
}

#[async_trait]
impl SessionInput for MonitorInput {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(CHUNK) {
            encode_input(chunk, &mut self.frames);
            self.send().await?;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        Frame::CloseStdin.encode(&mut self.frames);
        self.send().await
    }

    async fn resize(&mut self, rows: u16, columns: u16) -> Result<()> {
        Frame::Resize(rows, columns).encode(&mut self.frames);
        self.send().await
    }

    /// Straight to the process, not through the monitor: a signal must not wait behind input that nobody reads.
    async fn signal(&mut self, signal: i32) -> Result<()> {
        crate::signal_process(self.pid, self.start, signal).map_err(|source| {
            let context = format!("cannot send signal {signal} to process {}", self.pid);
            match source.kind() {
                std::io::ErrorKind::NotFound => EngineError::refused(mica_engine::Kind::Conflict, context),
                _ => Error::Connection { operation: "signal the process of", source }.during(context),
            }
        })
    }
}
