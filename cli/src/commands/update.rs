//! `update`: prints the names it was given.

use mica_engine::container::{Resources, parse_cpus};
use mica_engine::ops::update::UpdateRequest;

use super::each;
use crate::args::update::Update;
use crate::context::Context;
use crate::{output, spec};

/// `update`.
pub(super) async fn run(context: &Context, args: &Update) -> anyhow::Result<()> {
    let mut resources = Resources {
        memory: args.memory.as_deref().map(spec::bytes).transpose()?,
        memory_swap: args.memory_swap.as_deref().map(spec::bytes).transpose()?,
        memory_reservation: args.memory_reservation.as_deref().map(spec::bytes).transpose()?,
        milli_cpus: args.cpus.as_deref().map(parse_cpus).transpose()?,
        cpu_shares: args.cpu_shares,
        cpuset_cpus: args.cpuset_cpus.clone(),
        cpuset_mems: args.cpuset_mems.clone(),
        pids: args.pids_limit,
        ..Resources::default()
    };
    spec::adjustable(&mut resources, &args.adjustable)?;
    let request = UpdateRequest { resources, restart: args.restart };
    if request == UpdateRequest::default() {
        anyhow::bail!("you must provide one or more flags when using this command");
    }
    let engine = context.engine()?;
    each(&args.containers, async |name| {
        for warning in engine.update(name, request.clone()).await? {
            output::warn(&warning);
        }
        output::line(name)
    })
    .await
}
