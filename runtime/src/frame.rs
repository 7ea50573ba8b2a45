//! The frames a client and a monitor exchange over a unix socket: one byte of type, four bytes of length, the payload.
//!
//! Both sides use this file, so they cannot drift apart. A peer is not trusted with memory: a frame that announces more
//! than [`MAX_PAYLOAD`] bytes is an error before anything is allocated for it.

use mica_engine::Kind;

/// The largest payload of any frame. Requests are the only large ones: an `exec` may carry a long environment.
pub const MAX_PAYLOAD: usize = 4 << 20;

/// How many bytes of a stream one frame carries at most.
pub const CHUNK: usize = 64 << 10;

const HEADER: usize = 5;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Client: what to start, as JSON. The first frame of a new monitor, sent with its file descriptors.
    Request(Vec<u8>),
    /// Client: bytes for the standard input or the terminal.
    Stdin(Vec<u8>),
    /// Client: the standard input has ended.
    CloseStdin,
    /// Client: the terminal has this many rows and columns.
    Resize(u16, u16),
    /// Client: no output, please; only the end is of interest.
    Quiet,
    /// Client: the descriptors that come along hold the published ports from now on. No output, please.
    HoldPorts,
    /// Monitor: the process runs.
    Started {
        /// Its id.
        pid: i32,
        /// Its start time, see [`crate::start_time`].
        start: u64,
    },
    /// Monitor: the process does not run, and nothing is left of it.
    Failed {
        /// What a caller should make of it.
        kind: Kind,
        /// Why.
        message: String,
    },
    /// Monitor: bytes of the standard output or the terminal.
    Stdout(Vec<u8>),
    /// Monitor: bytes of the standard error.
    Stderr(Vec<u8>),
    /// Monitor: the process ended with this status.
    Exited(i32),
    /// Monitor: it holds the ports that came, and none that it held before.
    Held,
}

/// Bytes that are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// No frame has this type.
    #[error("frame type {0:#04x} is unknown")]
    UnknownType(u8),
    /// The announced length is beyond the limit.
    #[error("a frame announces {0} bytes")]
    TooLong(usize),
    /// The payload is not what its type asks for.
    #[error("the payload of frame type {0:#04x} is malformed")]
    Malformed(u8),
}

/// Which way a chunk of output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Frame {
    /// Appends the encoded frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Request(bytes) => put(0x01, bytes, out),
            Self::Stdin(bytes) => put(0x02, bytes, out),
            Self::CloseStdin => put(0x03, &[], out),
            Self::Resize(rows, columns) => {
                let [a, b] = rows.to_le_bytes();
                let [c, d] = columns.to_le_bytes();
                put(0x04, &[a, b, c, d], out);
            }
            Self::Quiet => put(0x05, &[], out),
            Self::HoldPorts => put(0x06, &[], out),
            Self::Started { pid, start } => {
                let mut payload = pid.to_le_bytes().to_vec();
                payload.extend_from_slice(&start.to_le_bytes());
                put(0x11, &payload, out);
            }
            Self::Failed { kind, message } => {
                let mut payload = vec![kind_code(*kind)];
                payload.extend_from_slice(message.as_bytes());
                payload.truncate(MAX_PAYLOAD);
                put(0x12, &payload, out);
            }
            Self::Stdout(bytes) => put(0x13, bytes, out),
            Self::Stderr(bytes) => put(0x14, bytes, out),
            Self::Exited(code) => put(0x15, &code.to_le_bytes(), out),
            Self::Held => put(0x16, &[], out),
        }
    }

    /// The encoded frame alone.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    fn decode(code: u8, payload: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed(code);
        Ok(match code {
            0x01 => Self::Request(payload.to_vec()),
            0x02 => Self::Stdin(payload.to_vec()),
            0x03 if payload.is_empty() => Self::CloseStdin,
            0x04 => match payload {
                [a, b, c, d] => Self::Resize(u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d])),
                _ => return Err(malformed),
            },
            0x05 if payload.is_empty() => Self::Quiet,
            0x06 if payload.is_empty() => Self::HoldPorts,
            0x11 => {
                let (pid, start) = payload.split_first_chunk::<4>().ok_or(malformed)?;
                let start = <[u8; 8]>::try_from(start).map_err(|_| malformed)?;
                Self::Started { pid: i32::from_le_bytes(*pid), start: u64::from_le_bytes(start) }
            }
            0x12 => {
                let (kind, message) = payload.split_first().ok_or(malformed)?;
                Self::Failed { kind: kind_of(*kind), message: String::from_utf8_lossy(message).into_owned() }
            }
            0x13 => Self::Stdout(payload.to_vec()),
            0x14 => Self::Stderr(payload.to_vec()),
            0x15 => Self::Exited(i32::from_le_bytes(payload.try_into().map_err(|_| malformed)?)),
            0x16 if payload.is_empty() => Self::Held,
            0x03 | 0x05 | 0x06 | 0x16 => return Err(malformed),
            _ => return Err(FrameError::UnknownType(code)),
        })
    }
}

/// Appends one output frame to `out` without an intermediate copy of the bytes.
pub fn encode_output(stream: Stream, bytes: &[u8], out: &mut Vec<u8>) {
    put(if stream == Stream::Stdout { 0x13 } else { 0x14 }, bytes, out);
}

/// Appends one input frame to `out` without an intermediate copy of the bytes.
pub fn encode_input(bytes: &[u8], out: &mut Vec<u8>) {
    put(0x02, bytes, out);
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        // Moving the tail only when it is small keeps the cost of a frame proportional to the frame.
        if self.start > 0 && self.buffer.len() - self.start <= self.start {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let Some((&[code, a, b, c, d], body)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong(length));
        }
        let Some(payload) = body.get(..length) else { return Ok(None) };
        let frame = Frame::decode(code, payload)?;
        self.start += HEADER + length;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        Ok(Some(frame))
    }
}

fn put(code: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER + payload.len());
    out.push(code);
    // Every caller cuts streams at CHUNK and requests at MAX_PAYLOAD, both far below u32::MAX.
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
}

const KINDS: [Kind; 12] = [
    Kind::Internal,
    Kind::NotFound,
    Kind::AlreadyExists,
    Kind::Conflict,
    Kind::InvalidInput,
    Kind::Unsupported,
    Kind::Denied,
    Kind::Unavailable,
    Kind::Corrupt,
    Kind::NoSpace,
    Kind::NotExecutable,
    Kind::CommandNotFound,
];

fn kind_code(kind: Kind) -> u8 {
    KINDS.iter().position(|known| *known == kind).map_or(0, |at| at as u8)
}

fn kind_of(code: u8) -> Kind {
    KINDS.get(usize::from(code)).copied().unwrap_or(Kind::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Frame> {
        vec![
            Frame::Request(b"{}".to_vec()),
            Frame::Stdin(vec![0, 255, 10]),
            Frame::CloseStdin,
            Frame::Resize(24, 80),
            Frame::Quiet,
            Frame::HoldPorts,
            Frame::Started { pid: 42, start: u64::MAX },
            Frame::Failed { kind: Kind::CommandNotFound, message: "exec: `x`".into() },
            Frame::Stdout(vec![7; CHUNK]),
            Frame::Stderr(vec![]),
            Frame::Exited(137),
            Frame::Held,
        ]
    }

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = Vec::new();
        samples().iter().for_each(|frame| frame.encode(&mut bytes));
        for step in [1, 3, 5, 1000, bytes.len()] {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, samples(), "pieces of {step} bytes");
        }
    }

    #[test]
    fn every_kind_survives() {
        for kind in KINDS {
            assert_eq!(kind_of(kind_code(kind)), kind);
        }
    }

    #[test]
    fn hostile_bytes_are_errors() {
        for (bytes, error) in [
            (&[0x77, 0, 0, 0, 0][..], FrameError::UnknownType(0x77)),
            (&[0x13, 255, 255, 255, 255], FrameError::TooLong(0xffff_ffff)),
            (&[0x04, 1, 0, 0, 0, 9], FrameError::Malformed(0x04)),
            (&[0x15, 0, 0, 0, 0], FrameError::Malformed(0x15)),
            (&[0x12, 0, 0, 0, 0], FrameError::Malformed(0x12)),
            (&[0x03, 1, 0, 0, 0, 1], FrameError::Malformed(0x03)),
        ] {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            assert_eq!(decoder.next_frame(), Err(error));
        }
    }
}
