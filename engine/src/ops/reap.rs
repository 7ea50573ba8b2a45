//! `__reap`: what others start and do not wait for. It ends when there is nothing left to flush or to free.

use crate::{Engine, Options, Reaping, Result};

/// Flushes layers that were left for later, empties the trash of the store's drivers as far as nobody else does it, and takes
/// away blobs that were put aside. A store that is no longer there has no trash, and is not made again.
pub async fn reap_store(mut options: Options) -> Result<()> {
    if !options.root.join("store.json").exists() {
        return Ok(());
    }
    // A reaper that fails must not start the next one.
    options.reaping = Reaping::Foreground;
    Engine::open(options)?.blocking(Engine::reap_everything).await
}

impl Engine {
    fn reap_everything(&self) -> Result<()> {
        let mut result = self.store().collect_ingests();
        // A driver that was named by its path is found only by whoever opens it so; whether it opens is seen below.
        if self.options().storage_driver.is_some() {
            drop(self.selected_driver());
        }
        for name in self.drivers_on_disk()? {
            let emptied = self.driver(&name).and_then(|driver| self.reap_unless_taken(&driver));
            // The other drivers' trash is no worse for it.
            result = result.and(emptied);
        }
        // Last, because there is less to flush then.
        result.and(self.settle_layers())
    }
}
