//! Sessions whose client tells what only it knows: that its terminal has another size, and that it goes.

use async_trait::async_trait;

use crate::Result;
use crate::events::Teller;
use crate::runtime::{Session, SessionEvent, SessionInput};

/// What a session is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// A container's first process.
    Container,
    /// One that `exec` has started, whose sizes Docker does not tell either.
    Exec,
}

/// The same session, which tells.
pub(crate) fn told(session: Box<dyn Session>, teller: Teller, of: Of) -> Box<dyn Session> {
    Box::new(Told { session, teller, of })
}

struct Told {
    session: Box<dyn Session>,
    teller: Teller,
    of: Of,
}

struct ToldInput {
    input: Box<dyn SessionInput>,
    teller: Teller,
    of: Of,
}

#[async_trait]
impl Session for Told {
    async fn next(&mut self) -> Result<Option<SessionEvent>> {
        self.session.next().await
    }

    fn take_input(&mut self) -> Option<Box<dyn SessionInput>> {
        let input = self.session.take_input()?;
        Some(Box::new(ToldInput { input, teller: self.teller.clone(), of: self.of }))
    }
}

#[async_trait]
impl SessionInput for ToldInput {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.input.write(bytes).await
    }

    async fn close(&mut self) -> Result<()> {
        self.input.close().await
    }

    async fn resize(&mut self, rows: u16, columns: u16) -> Result<()> {
        self.input.resize(rows, columns).await?;
        if self.of == Of::Container {
            self.teller.tell("resize", &[("height", rows.to_string()), ("width", columns.to_string())]);
        }
        Ok(())
    }

    async fn signal(&mut self, signal: i32) -> Result<()> {
        self.input.signal(signal).await
    }

    async fn detach(&mut self) {
        self.input.detach().await;
        self.teller.tell(if self.of == Of::Container { "detach" } else { "exec_detach" }, &[]);
    }
}
