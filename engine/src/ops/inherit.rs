//! What a new container takes over from others: the mounts of `--volumes-from`, and the file systems of images.

use crate::bundle::merge::clean;
use crate::container::{ContainerSpec, MountFlag, MountSource, MountSpec, Treatment, VolumeMount, parse_volumes_from};
use crate::{Engine, Kind, Result};

impl Engine {
    /// The volumes of the containers that `--volumes-from` names; their binds go into the request. What comes later covers
    /// what came before, and what the request itself mounts covers both. Blocks.
    pub(crate) fn inherit(&self, spec: &mut ContainerSpec) -> Result<Vec<VolumeMount>> {
        let mut volumes: Vec<VolumeMount> = Vec::new();
        let mut binds: Vec<MountSpec> = Vec::new();
        for text in &spec.volumes_from {
            let (container, read_only) = parse_volumes_from(text)?;
            let record = self.store().find_container(container)?;
            let mounted: Vec<String> = record.mount_points().into_iter().map(|point| point.target).collect();
            volumes.retain(|known| !mounted.contains(&known.target));
            binds.retain(|known| !mounted.contains(&clean(&known.target)));
            volumes.extend(record.volumes.into_iter().map(|volume| VolumeMount {
                read_only: volume.read_only || read_only,
                copy_up: false,
                treatment: Treatment::default(),
                mode: String::new(),
                ..volume
            }));
            let theirs =
                record.spec.mounts.into_iter().filter(|mount| !matches!(mount.source, MountSource::Volume { .. }));
            binds.extend(theirs.map(|mount| MountSpec {
                read_only: mount.read_only || read_only,
                treatment: Treatment::default(),
                mode: String::new(),
                flag: MountFlag::VolumesFrom,
                ..mount
            }));
        }
        let own: Vec<String> = spec.mounts.iter().map(|mount| clean(&mount.target)).collect();
        binds.retain(|bind| !own.contains(&clean(&bind.target)));
        spec.mounts.extend(binds);
        Ok(volumes)
    }

    /// Notes the IDs of images that are mounted: a name may mean another image tomorrow. Blocks.
    pub(crate) fn find_mounted_images(&self, spec: &mut ContainerSpec) -> Result<()> {
        for mount in &mut spec.mounts {
            if let MountSource::Image { reference, id } = &mut mount.source
                && id.is_none()
            {
                let found = self.store().find_image(reference).map_err(|error| match error.kind() {
                    Kind::NotFound => error.with_hint("an image that is mounted must be here: pull it first"),
                    _ => error,
                })?;
                *id = Some(found.id);
            }
        }
        Ok(())
    }
}
