//! `image copy`: no store is opened, so none is made.

use std::sync::Arc;

use mica_engine::ops::copy_image::{BlobState, CopyProgress, CopyRequest, Means, copy_image};
use mica_engine::ops::pull::Platforms;
use mica_layer::Digest;

use crate::args::image_copy::ImageCopy;
use crate::context::Context;
use crate::progress::layers::{Layers, Word};
use crate::{files, output, wire};

/// Large files of a moment belong here, where there is as much room as on the disk, and not into memory.
const SCRATCH: &str = "/var/tmp";

/// `image copy`.
pub(super) async fn run(context: &Context, args: &ImageCopy) -> anyhow::Result<()> {
    let options = wire::options(context)?;
    let platforms = match &args.platform {
        _ if args.all => Platforms::All,
        Some(platform) => Platforms::One(platform.clone()),
        None => Platforms::Native,
    };
    let means = Means {
        registry: options.registry,
        scratch: SCRATCH.into(),
        bounds: options.layer_bounds,
        umask: files::umask_of_caller(),
    };
    let request = CopyRequest { source: args.source.clone(), target: args.target.clone(), platforms, means };
    let layers = if args.quiet { Layers::silent() } else { Layers::on_stdout() };
    let shown = Arc::new(Shown(layers));
    let digest = copy_image(request, Arc::clone(&shown) as Arc<dyn CopyProgress>).await?;
    if args.quiet {
        return output::line(digest);
    }
    shown.0.say(&format!("Digest: {digest}"));
    shown.0.say(&format!("Status: Copied {} to {}", args.source, args.target));
    Ok(())
}

#[derive(Debug)]
struct Shown(Layers);

impl CopyProgress for Shown {
    fn blob(&self, digest: &Digest, state: BlobState) {
        let word = match state {
            BlobState::Waiting => Word::State("Waiting"),
            BlobState::Exists => Word::End("Already exists"),
            BlobState::Copying { done, total } => Word::Amount { word: "Copying", done, total },
            BlobState::Copied => Word::End("Copied"),
        };
        self.0.set(digest.short(), word);
    }
}
