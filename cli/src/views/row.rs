//! Rows of `ps`, `images` and `history`.

use jiff::Timestamp;
use mica_engine::container::{ContainerState, MountSource};
use mica_engine::ops::history::HistoryLine;
use mica_engine::ops::images::ImageSummary;
use mica_engine::ops::ps::ContainerSummary;

use super::{Row, row, short_id};
use crate::output::human;
use crate::output::listing::Columns;

/// The columns of `ps`.
pub const PS: Columns = Columns {
    headings: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("State", "STATE"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Label", ""),
        ("Mounts", "MOUNTS"),
        ("Networks", "NETWORKS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Platform", "PLATFORM"),
    ],
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "{{.ID}}",
};

/// The columns of `ps -s`.
pub const PS_WITH_SIZE: Columns = Columns {
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    ..PS
};

/// The columns of `images`.
pub const IMAGES: Columns = Columns {
    headings: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
};

/// The columns of `images --digests`.
pub const IMAGES_WITH_DIGESTS: Columns =
    Columns { table: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}", ..IMAGES };

/// The columns of `history`.
pub const HISTORY: Columns = Columns {
    headings: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    table: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "{{.ID}}",
};

/// How much of a value a row shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What fits.
    Short,
    /// All of it.
    Whole,
}

/// A container.
pub fn container(summary: &ContainerSummary, detail: Detail, now: Timestamp) -> Row {
    let record = &summary.record;
    let whole = detail == Detail::Whole;
    let mut command = record.args().join(" ");
    if !whole {
        command = human::ellipsis(&command, 20);
    }
    let labels = record.config.labels.clone().unwrap_or_default();
    let sources = record.spec.mounts.iter().map(|mount| match &mount.source {
        MountSource::Bind { path, .. } => path.display().to_string(),
        MountSource::Volume { name } => name.clone().unwrap_or_default(),
    });
    let binds =
        sources.filter(|source| source.starts_with('/')).chain(record.volumes.iter().map(|volume| volume.name.clone()));
    let mounts: Vec<String> = binds.map(|name| if whole { name } else { human::ellipsis(&name, 15) }).collect();
    let size = summary.size.map_or_else(
        || "0B".to_owned(),
        |size| format!("{} (virtual {})", human::size(size.writable), human::size(size.total)),
    );
    row([
        ("ID", short_id(&record.id, whole).into()),
        ("Image", image_name(&record.image_name, whole).into()),
        ("Command", crate::template::quote(&command).into()),
        ("CreatedAt", human::local_time(&record.created).into()),
        ("RunningFor", human::ago(Some(&record.created), now).into()),
        ("Status", status(&summary.state, now).into()),
        ("State", summary.state.word().into()),
        ("Ports", "".into()),
        ("Names", record.name.clone().into()),
        ("Size", size.into()),
        ("Labels", labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",").into()),
        ("Label", labels.into_iter().map(|(name, value)| (name, value.into())).collect::<Row>().into()),
        ("Mounts", mounts.join(",").into()),
        ("Networks", record.spec.network.word().into()),
        ("LocalVolumes", record.volumes.len().to_string().into()),
        ("Platform", record.spec.platform.clone().unwrap_or_default().into()),
    ])
}

/// A container's state in Docker's words.
pub fn status(state: &ContainerState, now: Timestamp) -> String {
    let since = |time: &str| human::age(time, now).unwrap_or_else(|| "Less than a second".to_owned());
    match state {
        ContainerState::Created { .. } => "Created".to_owned(),
        ContainerState::Running { started_at, .. } => format!("Up {}", since(started_at)),
        ContainerState::Paused { started_at, .. } => format!("Up {} (Paused)", since(started_at)),
        ContainerState::Exited { code, finished_at, .. } => format!("Exited ({code}) {} ago", since(finished_at)),
        ContainerState::Dead => "Dead".to_owned(),
    }
}

/// An image: one row per name, or one row of `<none>`.
pub fn image(summary: &ImageSummary, detail: Detail, now: Timestamp) -> Vec<Row> {
    let none = || "<none>".to_owned();
    let one = |repository: String, tag: String, digest: String| {
        row([
            ("ID", short_id(summary.id.as_str(), detail == Detail::Whole).into()),
            ("Repository", repository.into()),
            ("Tag", tag.into()),
            ("Digest", digest.into()),
            ("CreatedSince", human::ago(summary.created.as_deref(), now).into()),
            ("CreatedAt", summary.created.as_deref().map_or_else(|| "N/A".to_owned(), human::local_time).into()),
            ("Size", human::size(summary.size).into()),
            ("VirtualSize", human::size(summary.size).into()),
            ("Containers", summary.containers.to_string().into()),
            ("SharedSize", "N/A".into()),
            ("UniqueSize", "N/A".into()),
        ])
    };
    let manifest = || summary.manifest.as_ref().map_or_else(none, ToString::to_string);
    if summary.references.is_empty() {
        return vec![one(none(), none(), manifest())];
    }
    let named = summary.references.iter().map(|reference| {
        let digest = reference.digest().map_or_else(manifest, ToString::to_string);
        one(reference.familiar_repository(), reference.tag().map_or_else(none, str::to_owned), digest)
    });
    named.collect()
}

/// A step of an image's history.
pub fn history(line: &HistoryLine, detail: Detail, humane: bool, now: Timestamp) -> Row {
    let whole = detail == Detail::Whole;
    let created_by = line.created_by.replace('\t', " ");
    let created_at = line.created.clone().unwrap_or_default();
    let created = if humane { human::ago(line.created.as_deref(), now) } else { created_at.clone() };
    row([
        ("ID", line.id.as_ref().map_or_else(|| "<missing>".to_owned(), |id| short_id(id.as_str(), whole)).into()),
        ("CreatedSince", created.into()),
        ("CreatedAt", created_at.into()),
        ("CreatedBy", if whole { created_by } else { human::ellipsis(&created_by, 45) }.into()),
        ("Size", if humane { human::size(line.size) } else { line.size.to_string() }.into()),
        ("Comment", if whole { line.comment.clone() } else { human::ellipsis(&line.comment, 45) }.into()),
    ])
}

/// An image that was named by its ID is shown by twelve digits of it.
fn image_name(name: &str, whole: bool) -> String {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    let is_id = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { short_id(name, whole) } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_dockers() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("valid");
        let at = |second: u8| format!("2026-01-01T00:00:{second:02}Z");
        let exited =
            ContainerState::Exited { code: 3, started_at: at(0), finished_at: at(30), oom_killed: false, error: None };
        let cases = [
            (ContainerState::Created { failure: None }, "Created"),
            (ContainerState::Running { pid: 1, started_at: at(57) }, "Up 3 seconds"),
            (ContainerState::Paused { pid: 1, started_at: at(0) }, "Up About a minute (Paused)"),
            (exited, "Exited (3) 30 seconds ago"),
            (ContainerState::Dead, "Dead"),
        ];
        for (state, expected) in cases {
            assert_eq!(status(&state, now), expected);
        }
    }

    #[test]
    fn history_lines_are_cut_and_their_gaps_named() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("valid");
        let line = HistoryLine {
            id: None,
            created: Some("2026-01-01T00:00:00Z".into()),
            created_by: format!("RUN\t{}", "x".repeat(60)),
            size: 1_500_000,
            comment: "c".into(),
            references: Vec::new(),
        };
        let short = history(&line, Detail::Short, true, now);
        assert_eq!(short["ID"], "<missing>");
        assert_eq!(short["CreatedSince"], "About a minute ago");
        assert_eq!(short["CreatedBy"], format!("RUN {}…", "x".repeat(40)));
        assert_eq!(short["Size"], "1.5MB");
        let whole = history(&line, Detail::Whole, false, now);
        assert_eq!(whole["Size"], "1500000");
        assert_eq!(whole["CreatedSince"], "2026-01-01T00:00:00Z");
        assert_eq!(whole["CreatedBy"], format!("RUN {}", "x".repeat(60)));
    }

    #[test]
    fn images_named_by_id_are_shown_short() {
        let id = "ab".repeat(32);
        assert_eq!(image_name(&id, false), "abababababab");
        assert_eq!(image_name(&format!("sha256:{id}"), false), "abababababab");
        assert_eq!(image_name("busybox:1", false), "busybox:1");
        assert_eq!(image_name(&id, true), id);
    }
}
