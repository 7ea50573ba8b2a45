//! `completion`, and what the installer asks for.

use crate::args::completion::Completion;
use crate::args::docs::Docs;
use crate::{docs, output};

/// `completion`.
pub(super) fn run(args: &Completion) -> anyhow::Result<()> {
    let mut script = Vec::new();
    docs::write_completion(args.shell, &mut script);
    output::raw(&script)
}

/// `__docs`.
pub(super) fn docs(args: &Docs) -> anyhow::Result<()> {
    docs::write_man_pages(&args.folder.join("man1"))?;
    docs::write_completions(&args.folder.join("completions"))?;
    Ok(())
}
