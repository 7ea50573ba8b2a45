//! Every case with its name and what it demands, in the order of the report. A file here is one subject of the contract.

mod chains;
mod changes;
mod containers;
mod crashes;
mod entries;
mod hiding;
mod links;
mod mapping;
mod quotas;
mod races;
mod random;
mod removal;
mod stages;
mod states;

use crate::ground::Ground;
use crate::verdict::Outcome;

pub(crate) use removal::reap;

/// A named test of the contract.
#[derive(Debug)]
pub(crate) struct Case {
    /// What the report calls it: the subject, a colon, the point.
    pub(crate) name: &'static str,
    /// What a driver must do to pass, in one sentence.
    pub(crate) demands: &'static str,
    pub(crate) run: fn(&Ground<'_>) -> Outcome,
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [
        stages::CASES,
        removal::STAGE_CASES,
        races::CASES,
        chains::CASES,
        hiding::CASES,
        entries::CASES,
        links::CASES,
        containers::CASES,
        mapping::CASES,
        changes::CASES,
        removal::CASES,
        states::CASES,
        quotas::CASES,
        random::CASES,
        crashes::CASES,
    ]
    .into_iter()
    .flatten()
}
