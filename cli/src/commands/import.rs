//! `import`: prints the new image's ID.

use std::io::IsTerminal;
use std::path::PathBuf;

use mica_engine::ops::import::ImportRequest;
use mica_engine::ops::load::ArchiveSource;

use crate::args::import::Import;
use crate::context::Context;
use crate::output;

/// `import`.
pub(super) async fn run(context: &Context, args: &Import) -> anyhow::Result<()> {
    let source = match args.file.as_str() {
        "-" if std::io::stdin().is_terminal() => anyhow::bail!("requested import from stdin, but stdin is a terminal"),
        "-" => ArchiveSource::Stream(Box::new(std::io::stdin())),
        url if url.starts_with("http://") || url.starts_with("https://") => {
            anyhow::bail!("this version of mica does not import from URLs: fetch `{url}` and import the file");
        }
        path => ArchiveSource::File(PathBuf::from(path)),
    };
    let request = ImportRequest {
        source,
        // As Docker has it, whose daemon is handed the bytes of a file and not its name.
        source_name: "-".to_owned(),
        reference: args.reference.clone(),
        message: args.message.clone(),
        changes: args.changes.clone(),
        platform: args.platform.clone(),
    };
    output::line(context.engine()?.import(request).await?)
}
