//! Reads a partial file from its first byte on, behind those who write it.

use std::io::Read;
use std::sync::Arc;

use super::partial::Partial;

/// A reader of a blob that is still on its way.
#[derive(Debug)]
pub(crate) struct Follow {
    partial: Arc<Partial>,
    at: u64,
}

impl Follow {
    pub(crate) fn new(partial: Arc<Partial>) -> Follow {
        Follow { partial, at: 0 }
    }
}

impl Read for Follow {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.partial.read(self.at, buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}
