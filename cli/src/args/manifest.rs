//! `manifest …`.

use clap::{Args, Subcommand};
use mica_layer::Packing;

/// `manifest …`.
#[derive(Debug, Args)]
pub struct Manifest {
    /// The command.
    #[command(subcommand)]
    pub command: ManifestCommand,
}

/// Commands on manifest lists.
#[derive(Debug, Subcommand)]
pub enum ManifestCommand {
    /// Add an image to a manifest list
    Add(Add),
    /// Change what a manifest list says about an image
    Annotate(Annotate),
    /// Make a manifest list
    Create(Create),
    /// Say by the exit code whether there is a manifest list here
    Exists(Exists),
    /// Show a manifest or a manifest list
    Inspect(Inspect),
    /// Push a manifest list with its images
    Push(Push),
    /// Take an image out of a manifest list
    Remove(Remove),
    /// Forget manifest lists; their images stay
    Rm(Rm),
}

/// Accepted for scripts.
#[derive(Debug, Args)]
pub struct Insecure {
    /// Accepted for scripts: the configuration says which registries are insecure
    #[arg(long)]
    pub insecure: bool,
}

/// What a list says about an image.
#[derive(Debug, Args)]
pub struct RemarkArgs {
    /// Remark on the image (may be repeated)
    #[arg(long = "annotation", value_name = "KEY=VALUE")]
    pub annotations: Vec<String>,
    /// Architecture, for example arm64
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Operating system, for example linux
    #[arg(long, value_name = "OS")]
    pub os: Option<String>,
    /// Features of the operating system, between commas
    #[arg(long = "os-features", visible_alias = "features", value_delimiter = ',', value_name = "FEATURE")]
    pub os_features: Vec<String>,
    /// Version of the operating system
    #[arg(long, value_name = "VERSION")]
    pub os_version: Option<String>,
    /// Variant of the architecture, for example v8
    #[arg(long, value_name = "VARIANT")]
    pub variant: Option<String>,
}

/// `manifest create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Take all images of a name that stands for several
    #[arg(long)]
    pub all: bool,
    /// Add to a list that exists
    #[arg(short, long)]
    pub amend: bool,
    /// Remark on the list (may be repeated)
    #[arg(long = "annotation", value_name = "KEY=VALUE")]
    pub annotations: Vec<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group has no help of its own")]
    pub insecure: Insecure,
    /// The list's name
    #[arg(value_name = "LIST")]
    pub list: String,
    /// Images of the store or of registries
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// `manifest add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Take all images of a name that stands for several
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group has no help of its own")]
    pub insecure: Insecure,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group has no help of its own")]
    pub remarks: RemarkArgs,
    /// The list
    #[arg(value_name = "LIST")]
    pub list: String,
    /// An image of the store or of a registry
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// `manifest annotate`.
#[derive(Debug, Args)]
pub struct Annotate {
    /// Remark on the list itself; no image is named
    #[arg(long, conflicts_with_all = ["image", "arch", "os", "os_features", "os_version", "variant"])]
    pub index: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group has no help of its own")]
    pub remarks: RemarkArgs,
    /// The list
    #[arg(value_name = "LIST")]
    pub list: String,
    /// The image as it was added, or its manifest's digest
    #[arg(value_name = "IMAGE", required_unless_present = "index")]
    pub image: Option<String>,
}

/// `manifest exists`.
#[derive(Debug, Args)]
pub struct Exists {
    /// The list
    #[arg(value_name = "LIST")]
    pub list: String,
}

/// `manifest inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group has no help of its own")]
    pub insecure: Insecure,
    /// Show each image's manifest with its name and platform
    #[arg(short, long)]
    pub verbose: bool,
    /// A list that is made here, else a name of a registry, or an image's ID
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// `manifest push`.
#[derive(Debug, Args)]
pub struct Push {
    /// Accepted for scripts: the images are always pushed too
    #[arg(long, hide = true)]
    pub all: bool,
    /// How layers of local images that are not compressed yet are: gzip, gzip:N, zstd, zstd:N or none
    #[arg(long, value_name = "FORMAT[:LEVEL]")]
    pub compression: Option<Packing>,
    /// Compress layers of local images anew that are compressed already
    #[arg(long)]
    pub force_compression: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group has no help of its own")]
    pub insecure: Insecure,
    /// Forget the list when it has been pushed
    #[arg(short, long, visible_alias = "rm")]
    pub purge: bool,
    /// Print nothing but the digest
    #[arg(short, long)]
    pub quiet: bool,
    /// The list
    #[arg(value_name = "LIST")]
    pub list: String,
    /// The name to push it under; its own when left out
    #[arg(value_name = "DESTINATION")]
    pub destination: Option<String>,
}

/// `manifest remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// The list
    #[arg(value_name = "LIST")]
    pub list: String,
    /// The image as it was added, or its manifest's digest
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// `manifest rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// The lists
    #[arg(value_name = "LIST", required = true)]
    pub lists: Vec<String>,
}
