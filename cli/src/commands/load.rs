//! `load`: says what it loaded, and on a terminal how far it is.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use mica_engine::ops::load::{ArchiveSource, LoadProgress};
use mica_layer::DiffId;

use crate::args::load::Load;
use crate::context::Context;
use crate::output::{self, human};
use crate::stream::stderr_is_terminal;

/// `load`.
pub(super) async fn run(context: &Context, args: &Load) -> anyhow::Result<()> {
    let source = match &args.input {
        Some(path) if path.as_os_str() != "-" => ArchiveSource::File(path.clone()),
        _ if std::io::stdin().is_terminal() => anyhow::bail!("requested load from stdin, but stdin is empty"),
        _ => ArchiveSource::Stream(Box::new(std::io::stdin())),
    };
    let bar = Arc::new(Bar { visible: !args.quiet && stderr_is_terminal(), layers: Mutex::default() });
    let loaded = context.engine()?.load(source, Arc::clone(&bar) as Arc<dyn LoadProgress>).await;
    bar.clear();
    for image in loaded? {
        for (reference, before) in &image.replaced {
            output::line(format!(
                "The image {} already exists, renaming the old one with ID {before} to empty string",
                reference.familiar()
            ))?;
        }
        for reference in &image.references {
            output::line(format!("Loaded image: {}", reference.familiar()))?;
        }
        match &image.other_platform {
            Some(platform) => output::line(format!("Loaded image ID: {} ({platform})", image.image))?,
            None if image.references.is_empty() => output::line(format!("Loaded image ID: {}", image.image))?,
            None => {}
        }
    }
    Ok(())
}

/// One line on the terminal, drawn over again.
struct Bar {
    visible: bool,
    layers: Mutex<BTreeMap<DiffId, Layer>>,
}

#[derive(Default)]
struct Layer {
    size: u64,
    done: u64,
    whole: bool,
}

impl Bar {
    fn update(&self, layer: &DiffId, change: impl FnOnce(&mut Layer)) {
        if !self.visible {
            return;
        }
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let layer = layers.entry(layer.clone()).or_default();
        // A line for each piece of an archive would cost more than the piece.
        let before = (layer.done >> 22, layer.size, layer.whole);
        change(layer);
        if before == (layer.done >> 22, layer.size, layer.whole) {
            return;
        }
        let whole = layers.values().filter(|layer| layer.whole).count();
        let done: u64 = layers.values().map(|layer| if layer.whole { layer.size } else { layer.done }).sum();
        let size: u64 = layers.values().map(|layer| layer.size).sum();
        let text =
            format!("\r\x1b[KLoading layers {whole}/{}  {} / {}", layers.len(), human::size(done), human::size(size));
        let _ = output::raw_error(text.as_bytes());
    }

    fn clear(&self) {
        let drawn = self.visible && !self.layers.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if drawn {
            let _ = output::raw_error(b"\r\x1b[K");
        }
    }
}

impl LoadProgress for Bar {
    fn layer_begin(&self, layer: &DiffId, size: u64) {
        self.update(layer, |layer| layer.size = size);
    }

    fn layer_bytes(&self, layer: &DiffId, done: u64) {
        self.update(layer, |layer| layer.done = done);
    }

    fn layer_end(&self, layer: &DiffId) {
        self.update(layer, |layer| layer.whole = true);
    }
}
