//! The image config of a finished plan: layers, one history entry a step, times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mica_engine::build::Stack;
use mica_engine::image::{HistoryEntry, ImageConfig, RootFs};

use crate::error::{Error, Fault, Result};
use crate::plan::Plan;

/// What BuildKit puts there; tools tell build steps from commits by it.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Adds to the plan's config what running it has shown.
pub(super) fn finish(plan: &Plan, stacks: &[Stack], epoch: Option<&str>) -> Result<ImageConfig> {
    let now = match epoch.filter(|text| !text.is_empty()) {
        None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        Some(text) => Duration::from_secs(text.parse().map_err(|_| {
            Error::Request(Fault::Invalid(format!("`SOURCE_DATE_EPOCH={text}` is no number of seconds")))
        })?),
    };
    let now = rfc3339(now);
    let mut config = plan.config.clone();
    let mut below = 0;
    for id in plan.lineage() {
        let node = &plan.nodes[id];
        let height = stacks[id].diff_ids.len();
        let grew = node.parent.is_some() && height > below;
        below = height;
        let Some(text) = &node.history else { continue };
        config.history.push(HistoryEntry {
            created: Some(now.clone()),
            created_by: Some(text.clone()),
            comment: Some(COMMENT.into()),
            empty_layer: !grew,
            ..HistoryEntry::default()
        });
        config.created = Some(now.clone());
    }
    config.created.get_or_insert(now);
    config.rootfs = RootFs { diff_ids: stacks[plan.result].diff_ids.clone(), ..RootFs::default() };
    Ok(config)
}

/// RFC 3339 in UTC with nanoseconds, as Go writes it: without a fraction when there is none.
fn rfc3339(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The civil calendar by eras of 400 years that begin on 1 March (Howard Hinnant, "chrono-compatible algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    let fraction = match since_epoch.subsec_nanos() {
        0 => String::new(),
        nanoseconds => format!(".{nanoseconds:09}").trim_end_matches('0').to_owned(),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339() {
        for (seconds, nanoseconds, expected) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_700_000_000, 120_000_000, "2023-11-14T22:13:20.12Z"),
            (4_102_444_799, 1, "2099-12-31T23:59:59.000000001Z"),
        ] {
            assert_eq!(rfc3339(Duration::new(seconds, nanoseconds)), expected);
        }
    }
}
