//! Rows of `system df` and `system df -v`.

use jiff::Timestamp;
use mica_engine::ops::df::{CacheUsage, ImageUsage, UsageLine, VolumeUsage};
use mica_engine::ops::ps::ContainerSummary;

use super::row::{Detail, IMAGES, PS};
use super::{Row, row, short_id};
use crate::output::human;
use crate::output::listing::{Columns, Shown};

/// The columns of `system df`.
pub const SUMS: Columns = Columns {
    headings: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "{{.Type}}",
};

/// The columns of images.
pub const IMAGE_DETAILS: Columns = Columns {
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
    ..IMAGES
};

/// The columns of containers.
pub const CONTAINER_DETAILS: Columns = Columns {
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
    ..PS
};

/// The columns of volumes.
pub const VOLUME_DETAILS: Columns = Columns {
    headings: &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")],
    table: "{{.Name}}\t{{.Links}}\t{{.Size}}",
    quiet: "{{.Name}}",
};

/// The columns of the build cache.
pub const CACHE_DETAILS: Columns = Columns {
    headings: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("LastUsedSince", "LAST USED"),
        ("Shared", "SHARED"),
    ],
    table: "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.LastUsedSince}}\t{{.Shared}}",
    quiet: "{{.ID}}",
};

/// One kind of object.
pub fn sum(name: &str, line: &UsageLine) -> Row {
    let size = human::size(line.reclaimable);
    let reclaimable = match (line.reclaimable * 100).checked_div(line.size) {
        Some(percent) => format!("{size} ({percent}%)"),
        None => size,
    };
    row([
        ("Type", name.into()),
        ("TotalCount", line.total.to_string().into()),
        ("Active", line.active.to_string().into()),
        ("Size", human::size(line.size).into()),
        ("Reclaimable", reclaimable.into()),
    ])
}

/// An image: one row per name.
pub fn image(image: &ImageUsage, now: Timestamp, shown: &Shown) -> Vec<Row> {
    let mut rows = row::image(&image.summary, Detail::Short, now, shown);
    for row in &mut rows {
        row.insert("SharedSize".to_owned(), human::size(image.shared).into());
        row.insert("UniqueSize".to_owned(), human::size(image.unique).into());
    }
    rows
}

/// A container; what it shares with its image is not its own.
pub fn container(container: &ContainerSummary, now: Timestamp, shown: &Shown) -> Row {
    let mut row = row::container(container, Detail::Short, now, shown);
    row.insert("Size".to_owned(), human::size(container.size.unwrap_or_default().writable).into());
    row
}

/// A volume.
pub fn volume(volume: &VolumeUsage) -> Row {
    row([
        ("Name", volume.name.clone().into()),
        ("Driver", "local".into()),
        ("Links", volume.links.to_string().into()),
        ("Size", human::size(volume.size).into()),
    ])
}

/// A build cache entry. Its bytes are those of a layer, which an image has too.
pub fn cache(entry: &CacheUsage, now: Timestamp) -> Row {
    row([
        ("ID", short_id(&entry.id, false).into()),
        ("CacheType", "regular".into()),
        ("Size", human::size(entry.size).into()),
        ("LastUsedSince", format!("{} ago", human::duration(now.as_second() - entry.used)).into()),
        ("Shared", "true".into()),
    ])
}
