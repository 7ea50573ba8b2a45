//! What is mounted in a container beside its root: binds, volumes and images as one list.

use std::path::PathBuf;

use mica_layer::Digest;

use super::spec::{MountSource, Propagation, Recursion, Treatment};
use super::{ContainerRecord, ContainerSpec, VolumeMount};
use crate::bundle::merge::clean;

/// One thing that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// Absolute and clean.
    pub target: String,
    /// What it shows.
    pub source: PointSource,
    /// Path below the source's top that is mounted in its place.
    pub subpath: Option<String>,
    /// True when the container may not write.
    pub read_only: bool,
    /// What becomes of mounts below the source.
    pub recursion: Recursion,
    /// How later mounts travel.
    pub propagation: Option<Propagation>,
    /// What is done to the source first.
    pub treatment: Treatment,
    /// The options as they were typed.
    pub mode: String,
}

/// What a mount point shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointSource {
    /// A path of the host, and whether a missing one is made.
    Bind(PathBuf, bool),
    /// A volume by its name.
    Volume(String),
    /// An image.
    Image {
        /// As it was named.
        reference: String,
        /// Its ID.
        id: Digest,
    },
}

impl ContainerRecord {
    /// Everything that is mounted, parents before children; mounts of the same depth in the order of the request.
    pub fn mount_points(&self) -> Vec<MountPoint> {
        mount_points(&self.spec, &self.volumes)
    }

    /// The ID of an image that is mounted somewhere.
    pub fn mounts_image(&self, image: &Digest) -> bool {
        self.spec
            .mounts
            .iter()
            .any(|mount| matches!(&mount.source, MountSource::Image { id: Some(id), .. } if id == image))
    }
}

/// [`ContainerRecord::mount_points`] before there is a record.
pub(crate) fn mount_points(spec: &ContainerSpec, volumes: &[VolumeMount]) -> Vec<MountPoint> {
    let asked = spec.mounts.iter().filter_map(|mount| {
        let source = match &mount.source {
            MountSource::Bind { path, create } => PointSource::Bind(path.clone(), *create),
            MountSource::Image { reference, id } => {
                PointSource::Image { reference: reference.clone(), id: id.clone()? }
            }
            MountSource::Volume { .. } => return None,
        };
        let is_image = matches!(source, PointSource::Image { .. });
        Some(MountPoint {
            target: clean(&mount.target),
            source,
            subpath: mount.subpath.clone(),
            read_only: mount.read_only || is_image,
            recursion: mount.recursion,
            propagation: mount.propagation,
            treatment: mount.treatment,
            mode: mount.mode.clone(),
        })
    });
    let volumes = volumes.iter().map(|volume| MountPoint {
        target: clean(&volume.target),
        source: PointSource::Volume(volume.name.clone()),
        subpath: volume.subpath.clone(),
        read_only: volume.read_only,
        recursion: Recursion::Enabled,
        propagation: None,
        treatment: volume.treatment,
        mode: volume.mode.clone(),
    });
    let mut all: Vec<MountPoint> = asked.chain(volumes).collect();
    // A child mounted first would vanish under its parent.
    all.sort_by_key(|point| point.target.matches('/').count());
    all
}
