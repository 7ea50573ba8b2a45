//! `volume prune`: volumes that no container mounts.

use crate::ops::prune::{PruneRequest, PruneVolumes, Pruned};
use crate::store::{containers, volumes};
use crate::{Engine, Error, Kind, Result, filter};

impl Engine {
    /// Removes volumes that no container mounts: those without a name of their own, or all. Blocks.
    pub(crate) fn prune_volumes(&self, request: &PruneRequest, pruned: &mut Pruned) -> Result<()> {
        let all = request.volumes == PruneVolumes::Unused
            || request
                .filters
                .iter()
                .any(|(name, value)| name == "all" && filter::boolean(name, value).unwrap_or(false));
        let labels: Vec<&(String, String)> =
            request.filters.iter().filter(|(name, _)| matches!(name.as_str(), "label" | "label!")).collect();
        let known = self.store().read(volumes::all)?;
        for volume in known.into_iter().filter(|volume| all || volume.anonymous) {
            let fits = labels.iter().all(|(name, value)| filter::has_label(&volume.labels, value) == (name == "label"));
            let used = || self.store().read(|db| containers::users_of_volume(db, &volume.name));
            if !fits || !used()?.is_empty() {
                continue;
            }
            let size = self.held(std::slice::from_ref(&volume.name))?.first().map_or(0, |usage| usage.bytes);
            match self.remove_volume_now(&volume.name) {
                Ok(()) => {
                    pruned.reclaimed += size;
                    pruned.volumes.push(volume.name);
                }
                // Removed or mounted by somebody else meanwhile.
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Refuses filters that volumes do not have.
    pub(crate) fn check_volume_filters(request: &PruneRequest) -> Result<()> {
        let alone = !request.containers && !request.build_cache;
        if request.volumes == PruneVolumes::Keep {
            return Ok(());
        }
        if alone {
            return filter::known(&request.filters, &["label", "label!", "all"]);
        }
        match request.filters.iter().any(|(name, _)| name == "until") {
            false => Ok(()),
            true => Err(Error::refused(
                Kind::InvalidInput,
                "the `until` filter is not supported with `--volumes`: volumes are not pruned by their age",
            )),
        }
    }
}
