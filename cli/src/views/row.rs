//! Rows of `ps`, `images`, `history`, `search` and `image tags`.

use jiff::Timestamp;
use mica_engine::Reference;
use mica_engine::container::{ContainerState, Health, HealthStatus, MountPoint, PointSource};
use mica_engine::ops::history::HistoryLine;
use mica_engine::ops::images::ImageSummary;
use mica_engine::ops::ps::ContainerSummary;
use mica_engine::registry::SearchResult;

use super::{Row, row, row_of, short_id};
use crate::output::human;
use crate::output::listing::{Columns, Shown};

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

/// The columns of `search`.
pub const SEARCH: Columns = Columns {
    headings: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
    ],
    table: "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
    quiet: "{{.Name}}",
};

/// The columns of `image tags`.
pub const TAGS: Columns = Columns {
    headings: &[("Repository", "REPOSITORY"), ("Tag", "TAG")],
    table: "{{.Repository}}\t{{.Tag}}",
    quiet: "{{.Tag}}",
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
pub fn container(summary: &ContainerSummary, detail: Detail, now: Timestamp, shown: &Shown) -> Row {
    let record = &summary.record;
    let whole = detail == Detail::Whole;
    let command = || {
        let command = command(&record.args());
        if whole { command } else { human::ellipsis(&command, 20) }
    };
    let labels = || record.config.labels.iter().flatten();
    let mounts = || {
        let source = |point: MountPoint| match point.source {
            PointSource::Bind(path, _) => path.display().to_string(),
            PointSource::Volume(name) => name,
            PointSource::Image { reference, .. } => reference,
        };
        let names = record.mount_points().into_iter().map(source);
        let mounts: Vec<String> = names.map(|name| if whole { name } else { human::ellipsis(&name, 15) }).collect();
        mounts.join(",")
    };
    let size = || {
        summary.size.map_or_else(
            || "0B".to_owned(),
            |size| format!("{} (virtual {})", human::size(size.writable), human::size(size.total)),
        )
    };
    row_of(
        shown,
        [
            ("ID", &|| short_id(&record.id, whole).into()),
            ("Image", &|| image_name(&record.image_name, whole).into()),
            ("Command", &|| crate::template::quote(&command()).into()),
            ("CreatedAt", &|| human::local_time(&record.created).into()),
            ("RunningFor", &|| human::ago(Some(&record.created), now).into()),
            ("Status", &|| status(&summary.state, summary.health.as_ref(), now).into()),
            ("State", &|| summary.state.word().into()),
            ("Ports", &|| super::network::ports(summary).into()),
            ("Names", &|| record.name.clone().into()),
            ("Size", &|| size().into()),
            ("Labels", &|| {
                labels().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",").into()
            }),
            ("Label", &|| labels().map(|(name, value)| (name.clone(), value.clone().into())).collect::<Row>().into()),
            ("Mounts", &|| mounts().into()),
            ("Networks", &|| super::network::names(record).join(",").into()),
            ("LocalVolumes", &|| record.volumes.len().to_string().into()),
            ("Platform", &|| record.spec.platform.clone().unwrap_or_default().into()),
        ],
    )
}

/// A command line for people: what has blanks in it is shown as one word.
fn command(args: &[String]) -> String {
    let shown = |(index, word): (usize, &String)| match index > 0 && word.contains(' ') {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    args.iter().enumerate().map(shown).collect::<Vec<_>>().join(" ")
}

/// A container's state in Docker's words.
pub fn status(state: &ContainerState, health: Option<&Health>, now: Timestamp) -> String {
    let since = |time: &str| human::age(time, now).unwrap_or_else(|| "Less than a second".to_owned());
    match state {
        ContainerState::Created { .. } => "Created".to_owned(),
        ContainerState::Running { started_at, .. } => {
            let health = match health.map(|health| health.status) {
                None => String::new(),
                Some(HealthStatus::Starting) => " (health: starting)".to_owned(),
                Some(status) => format!(" ({})", status.word()),
            };
            format!("Up {}{health}", since(started_at))
        }
        ContainerState::Paused { started_at, .. } => format!("Up {} (Paused)", since(started_at)),
        ContainerState::Restarting { code, finished_at, .. } => {
            format!("Restarting ({code}) {} ago", since(finished_at))
        }
        ContainerState::Exited { code, finished_at, .. } => format!("Exited ({code}) {} ago", since(finished_at)),
        ContainerState::Dead => "Dead".to_owned(),
    }
}

/// An image: one row per name, or one row of `<none>`.
pub fn image(summary: &ImageSummary, detail: Detail, now: Timestamp, shown: &Shown) -> Vec<Row> {
    let none = || "<none>".to_owned();
    let one = |repository: String, tag: String, digest: String| {
        row_of(
            shown,
            [
                ("ID", &|| short_id(summary.id.as_str(), detail == Detail::Whole).into()),
                ("Repository", &|| repository.clone().into()),
                ("Tag", &|| tag.clone().into()),
                ("Digest", &|| digest.clone().into()),
                ("CreatedSince", &|| human::ago(summary.created.as_deref(), now).into()),
                ("CreatedAt", &|| {
                    summary.created.as_deref().map_or_else(|| "N/A".to_owned(), human::local_time).into()
                }),
                ("Size", &|| human::size(summary.size).into()),
                ("VirtualSize", &|| human::size(summary.size).into()),
                ("Containers", &|| summary.containers.to_string().into()),
                ("SharedSize", &|| "N/A".into()),
                ("UniqueSize", &|| "N/A".into()),
            ],
        )
    };
    let manifest = || summary.manifest.as_ref().map_or_else(none, ToString::to_string);
    // An image that was pulled by its digest has a repository and no tag.
    let own = if summary.references.is_empty() { &summary.digests } else { &summary.references };
    let names: Vec<&Reference> = own.iter().chain(&summary.lists).collect();
    if names.is_empty() {
        return vec![one(none(), none(), manifest())];
    }
    let named = names.iter().map(|reference| {
        let digest = summary.digest_of(reference).map_or_else(none, ToString::to_string);
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

/// A repository that was found. In JSON, what a table marks is said.
pub fn search(result: &SearchResult, detail: Detail, json: bool) -> Row {
    let description = &result.description;
    let mark = |value: bool| match (value, json) {
        (true, true) => "true",
        (true, false) => "[OK]",
        (false, true) => "false",
        (false, false) => "",
    };
    row([
        ("Name", result.name.clone().into()),
        (
            "Description",
            if detail == Detail::Whole { description.clone() } else { human::ellipsis(description, 45) }.into(),
        ),
        ("StarCount", result.stars.to_string().into()),
        ("IsOfficial", mark(result.official).into()),
        ("IsAutomated", mark(false).into()),
    ])
}

/// A tag of a repository.
pub fn tag(repository: &str, tag: &str) -> Row {
    row([("Repository", repository.into()), ("Tag", tag.into())])
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
            (
                ContainerState::Restarting { code: 2, started_at: at(0), finished_at: at(58) },
                "Restarting (2) 2 seconds ago",
            ),
            (ContainerState::Dead, "Dead"),
        ];
        for (state, expected) in cases {
            assert_eq!(status(&state, None, now), expected);
        }
        let running = ContainerState::Running { pid: 1, started_at: at(57) };
        for (verdict, expected) in [
            (HealthStatus::Starting, "Up 3 seconds (health: starting)"),
            (HealthStatus::Healthy, "Up 3 seconds (healthy)"),
            (HealthStatus::Unhealthy, "Up 3 seconds (unhealthy)"),
        ] {
            let health = Health { status: verdict, ..Health::default() };
            assert_eq!(status(&running, Some(&health), now), expected);
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
