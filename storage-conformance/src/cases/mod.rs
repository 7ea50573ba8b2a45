//! Every case with its name, in the order of the report. A file here is one subject of the contract.

mod chains;
mod containers;
mod races;
mod removal;
mod stages;

use crate::ground::Ground;
use crate::verdict::Outcome;

pub(crate) use removal::reap;

/// A named test of the contract.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Ground<'_>) -> Outcome,
}

/// All of them.
pub(crate) const ALL: &[Case] = &[
    Case { name: "open: the information is sane", run: stages::info_is_sane },
    Case { name: "open: a fresh root lists nothing", run: stages::fresh_root_is_empty },
    Case { name: "open: a second opening sees the same objects", run: stages::second_opening_sees_the_first },
    Case { name: "open: an unknown option is refused", run: stages::unknown_option_is_refused },
    Case { name: "stage: a layer comes back as it was written", run: stages::layer_round_trip },
    Case {
        name: "stage: the root directory has the asked-for attributes, and children inherit them",
        run: stages::root_attributes,
    },
    Case { name: "stage: an abort leaves nothing", run: stages::abort_leaves_nothing },
    Case { name: "stage: a drop leaves nothing", run: stages::drop_leaves_nothing },
    Case { name: "stage: a name in use is refused and unharmed", run: stages::busy_stage_name },
    Case { name: "stage: a second commit of a key is refused and harmless", run: stages::second_commit_of_a_key },
    Case { name: "stage: target and merged view show what the style promises", run: stages::target_and_merged },
    Case { name: "stage: a killed process leaves a stage that can be cleared", run: removal::killed_stage },
    Case { name: "race: threads commit one key", run: races::threads },
    Case { name: "race: processes commit one key", run: races::processes },
    Case { name: "race: many containers at once", run: races::many_containers },
    Case { name: "chain: parents show through", run: chains::parents_show_through },
    Case { name: "chain: replace, delete, opaque, and back again", run: chains::replace_and_delete },
    Case { name: "chain: layers staged without parents, in any order", run: chains::layers_without_parents },
    Case { name: "chain: every kind of entry passes through", run: chains::everything_through_a_chain },
    Case { name: "chain: as deep as the driver promises", run: chains::deep_chain },
    Case { name: "rw: containers and image are isolated", run: containers::isolation },
    Case { name: "rw: writes outlive the mount", run: containers::rw_persists },
    Case { name: "rw: views and read-only mounts refuse writes", run: containers::view_is_read_only },
    Case { name: "rw: no parents at all", run: containers::no_parents },
    Case { name: "rw: volatile mounts, again and again", run: containers::volatile },
    Case { name: "rw: a directory made again hides the old content", run: containers::changes_after_opaque },
    Case { name: "promote: the layer is what was visible", run: containers::promote },
    Case { name: "promote: a taken key is refused and both stay", run: containers::promote_to_a_taken_key },
    Case { name: "promote: the target shows the tree", run: containers::stage_may_touch_a_promotion },
    Case { name: "changes: equal to a comparison of trees", run: containers::changes },
    Case { name: "remove: list is exact, missing is fine", run: removal::remove_and_list },
    Case { name: "remove: a name can be used again at once", run: removal::names_come_back },
    Case { name: "remove: while mounted", run: removal::remove_while_mounted },
    Case { name: "remove: missing objects are reported as such", run: removal::missing_objects },
    Case { name: "reap: reclaims everything", run: removal::reap_reclaims_everything },
    Case { name: "usage: grows with what is written", run: removal::usage_grows },
    Case { name: "mount: nothing is attached on the host", run: races::mount_table_stays_clean },
];
