//! `import`.

use clap::Args;

/// Make an image of a root file system archive.
#[derive(Debug, Args)]
pub struct Import {
    /// Dockerfile instruction for the image's config (may be repeated)
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub changes: Vec<String>,
    /// Remark for the history
    #[arg(short, long)]
    pub message: Option<String>,
    /// Platform, os/arch[/variant]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// The archive, or - for stdin
    #[arg(value_name = "FILE|-")]
    pub file: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
}
