//! What a pull says, in Docker's words.

use mica_engine::Reference;
use mica_engine::ops::pull::{LayerState, PullProgress, Pulled};
use mica_layer::Digest;

use super::layers::{Layers, Word};

/// The lines of a pull.
#[derive(Debug)]
pub struct Pulling {
    layers: Layers,
    begin: Begin,
}

/// What is said before a pull begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// That the image is not here: somebody wanted to use it.
    Missing,
    /// Only what is pulled.
    Asked,
}

impl Pulling {
    /// On these lines.
    pub fn new(layers: Layers, begin: Begin) -> Pulling {
        Pulling { layers, begin }
    }
}

impl PullProgress for Pulling {
    fn pulling(&self, reference: &Reference) {
        if self.begin == Begin::Missing {
            self.layers.say(&format!("Unable to find image '{}' locally", reference.familiar()));
        }
        let what = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.as_str(),
            (None, tag) => tag.unwrap_or("latest"),
        };
        self.layers.say(&format!("{what}: Pulling from {}", reference.path()));
    }

    fn layer(&self, blob: &Digest, state: LayerState) {
        let word = match state {
            LayerState::Waiting => Word::State("Pulling fs layer"),
            LayerState::Exists => Word::End("Already exists"),
            LayerState::Downloading { done, total } => Word::Amount { word: "Downloading", done, total },
            LayerState::Downloaded => Word::State("Download complete"),
            LayerState::Extracting { done, total } => Word::Amount { word: "Extracting", done, total },
            LayerState::Complete => Word::End("Pull complete"),
        };
        self.layers.set(blob.short(), word);
    }

    fn pulled(&self, pulled: &Pulled) {
        let name = pulled.reference.familiar();
        self.layers.say(&format!("Digest: {}", pulled.digest));
        self.layers.say(&match pulled.newer {
            true => format!("Status: Downloaded newer image for {name}"),
            false => format!("Status: Image is up to date for {name}"),
        });
    }

    fn warning(&self, text: &str) {
        crate::output::warn(format!("WARNING: {text}"));
    }
}
