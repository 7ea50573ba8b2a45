//! `prune`: everything nobody needs goes, by the kinds that were asked for, and with it what dead commands left.

use jiff::Timestamp;

use crate::events::Actor;
use crate::filter;
use crate::ops::images::ImageSummary;
use crate::ops::ps::PsRequest;
use crate::ops::remove::RemoveOptions;
use crate::ops::rmi::{Removed, drop_others, layers_in};
use crate::storage::reap::Patience;
use crate::store::{Flush, build_cache, containers, images, remote};
use crate::{Engine, Kind, Result};

/// Which images `prune` removes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PruneImages {
    /// None.
    #[default]
    Keep,
    /// Those without a name and without containers.
    Dangling,
    /// Those without containers.
    Unused,
}

/// Which volumes `prune` removes, of those that no container mounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PruneVolumes {
    /// None.
    #[default]
    Keep,
    /// Those without a name of their own.
    Anonymous,
    /// All.
    Unused,
}

/// What `prune` removes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneRequest {
    /// Containers that do not run.
    pub containers: bool,
    /// Images.
    pub images: PruneImages,
    /// The build cache.
    pub build_cache: bool,
    /// Volumes.
    pub volumes: PruneVolumes,
    /// `until=…` and `label=…` filters, as `name=value` pairs.
    pub filters: Vec<(String, String)>,
}

/// What `prune` removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// IDs of containers.
    pub containers: Vec<String>,
    /// Names of volumes.
    pub volumes: Vec<String>,
    /// Names, images and layers.
    pub images: Vec<Removed>,
    /// Keys of build cache entries.
    pub build_cache: Vec<String>,
    /// Bytes that came back.
    pub reclaimed: u64,
}

impl Engine {
    /// Removes what nobody needs, and collects what dead commands left.
    pub async fn prune(&self, request: PruneRequest) -> Result<Pruned> {
        Self::check_volume_filters(&request)?;
        if request.volumes == PruneVolumes::Keep || request.containers {
            filter::known(&request.filters, &["label", "label!", "until"])?;
        }
        let mut pruned = Pruned::default();
        self.blocking(|engine| {
            engine.store().make_room();
            Ok(())
        })
        .await?;
        if request.containers {
            self.prune_containers(&request, &mut pruned).await?;
            self.tell_prune("container", pruned.reclaimed);
        }
        if request.images != PruneImages::Keep {
            self.prune_images(&request, &mut pruned).await?;
        }
        self.blocking(move |engine| {
            if request.volumes != PruneVolumes::Keep {
                let before = pruned.reclaimed;
                engine.prune_volumes(&request, &mut pruned)?;
                engine.tell_prune("volume", pruned.reclaimed - before);
            }
            if request.build_cache {
                engine.store().write(Flush::Later, build_cache::disown)?;
            }
            let swept = engine.reclaim(Patience::Wait)?;
            engine.collect_garbage(Patience::Wait)?;
            engine.store().collect_downloads()?;
            engine.store().collect_uploads()?;
            pruned.images.extend(layers_in(&swept));
            pruned.reclaimed += swept.bytes();
            // Layers of images and of steps are swept together, and what came back is told once.
            let images = request.images != PruneImages::Keep;
            if images {
                engine.tell_prune("image", swept.bytes());
            }
            if request.build_cache {
                engine.tell_prune("builder", if images { 0 } else { swept.bytes() });
            }
            pruned.build_cache = swept.steps;
            Ok(pruned)
        })
        .await
    }

    /// Tells that things of a kind were pruned, which have no ID together.
    pub(crate) fn tell_prune(&self, kind: &str, reclaimed: u64) {
        self.tell(kind, "prune", Actor::default().with("reclaimed", reclaimed));
    }

    async fn prune_containers(&self, request: &PruneRequest, pruned: &mut Pruned) -> Result<()> {
        for container in self.ps(PsRequest { all: true, sizes: true, ..PsRequest::default() }).await? {
            let record = &container.record;
            let labels = record.config.labels.clone().unwrap_or_default();
            if container.state.is_running() || !chosen(&request.filters, Some(&record.created), &labels)? {
                continue;
            }
            match self.remove(&record.id, RemoveOptions::default()).await {
                Ok(()) => {
                    pruned.reclaimed += container.size.unwrap_or_default().writable;
                    pruned.containers.push(record.id.clone());
                }
                // Removed or started by somebody else meanwhile.
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn prune_images(&self, request: &PruneRequest, pruned: &mut Pruned) -> Result<()> {
        for image in self.images(&[]).await? {
            let wanted = request.images == PruneImages::Unused || image.is_dangling();
            if image.containers > 0 || !wanted || !chosen(&request.filters, image.created.as_deref(), &image.labels)? {
                continue;
            }
            pruned.images.extend(self.blocking(move |engine| engine.drop_unused(&image)).await?);
        }
        Ok(())
    }

    /// Removes an image's row unless it has got a container or another name meanwhile.
    fn drop_unused(&self, image: &ImageSummary) -> Result<Vec<Removed>> {
        self.store().write(Flush::Now, |db| {
            let used =
                images::collect(db, "SELECT 1 FROM containers WHERE image = ?1", [image.id.as_str()], |_| Ok(()))?;
            let mounted = containers::users_of_mounted_image(db, &image.id)?;
            if !used.is_empty() || !mounted.is_empty() || images::tags_of(db, &image.id)? != image.references {
                return Ok(Vec::new());
            }
            let mut indexes = Vec::new();
            for reference in &image.references {
                indexes.extend(remote::index_of(db, reference)?);
            }
            images::delete(db, &image.id)?;
            let mut removed: Vec<Removed> = image.references.iter().cloned().map(Removed::Untagged).collect();
            removed.push(Removed::Deleted(image.id.clone()));
            for index in &indexes {
                removed.extend(drop_others(db, index)?.into_iter().map(Removed::Deleted));
            }
            Ok(removed)
        })
    }
}

/// Whether the filters of the request let a thing go.
fn chosen(
    filters: &[(String, String)],
    created: Option<&str>,
    labels: &std::collections::BTreeMap<String, String>,
) -> Result<bool> {
    for (name, value) in filters {
        let holds = match name.as_str() {
            "label" => filter::has_label(labels, value),
            "label!" => !filter::has_label(labels, value),
            "until" => {
                let limit = filter::point_in_time(value, Timestamp::now())?;
                created.and_then(|text| text.parse::<Timestamp>().ok()).is_none_or(|created| created < limit)
            }
            _ => true,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}
