//! What a push says, in Docker's words.

use mica_engine::Reference;
use mica_engine::ops::push::{PushProgress, PushState, Pushed};
use mica_layer::DiffId;

use super::layers::{Layers, Word};

/// The lines of a push.
#[derive(Debug)]
pub struct Pushing {
    layers: Layers,
}

impl Pushing {
    /// On these lines.
    pub fn new(layers: Layers) -> Pushing {
        Pushing { layers }
    }
}

impl PushProgress for Pushing {
    fn pushing(&self, repository: &Reference) {
        self.layers.say(&format!("The push refers to repository [{}]", repository.repository()));
    }

    fn layer(&self, layer: &DiffId, state: PushState<'_>) {
        let mounted;
        let word = match state {
            PushState::Preparing => Word::State("Preparing"),
            PushState::Waiting => Word::State("Waiting"),
            PushState::Exists => Word::End("Layer already exists"),
            PushState::Mounted(from) => {
                mounted = format!("Mounted from {from}");
                Word::End(&mounted)
            }
            PushState::Pushing { done, total } => Word::Amount { word: "Pushing", done, total },
            PushState::Pushed => Word::End("Pushed"),
        };
        self.layers.set(layer.0.short(), word);
    }

    fn pushed(&self, pushed: &Pushed) {
        if pushed.partial {
            self.layers.say(
                "Not all multiplatform-content is present and only the available single-platform image was pushed",
            );
        }
        let tag = pushed.reference.tag().unwrap_or("latest");
        self.layers.say(&format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size));
    }
}
