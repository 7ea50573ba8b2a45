//! `stats`: what containers use, once or every second until the interrupt key.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use mica_engine::Engine;
use mica_engine::Kind;
use mica_engine::cgroup::Figures;
use mica_engine::ops::ps::PsRequest;
use mica_engine::ops::stats::Sample;

use crate::args::stats::Stats;
use crate::context::Context;
use crate::output;
use crate::output::listing::{self, Style};
use crate::views::row::Detail;
use crate::views::usage;

/// From one look to the next, as Docker has it.
const SECOND: Duration = Duration::from_secs(1);
/// Clears the screen and goes to its first character.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// `stats`.
pub(super) async fn run(context: &Context, args: &Stats) -> anyhow::Result<()> {
    let engine = context.engine()?;
    let detail = if args.no_trunc { Detail::Whole } else { Detail::Short };
    let style = Style { format: args.format.as_deref(), quiet: false };
    // What was used a moment ago: only two looks tell how much a processor does.
    let mut before = look(&engine, args).await?;
    loop {
        tokio::time::sleep(SECOND).await;
        let now = look(&engine, args).await?;
        let earlier: BTreeMap<&str, Figures> =
            before.iter().filter_map(|sample| Some((sample.record.id.as_str(), sample.figures?))).collect();
        let rows: Vec<_> = now
            .iter()
            .map(|sample| usage::row(sample, earlier.get(sample.record.id.as_str()).copied(), detail))
            .collect();
        let text = listing::render(&usage::STATS, style, &rows)?;
        let screen = !args.no_stream && std::io::stdout().is_terminal();
        output::raw(format!("{}{text}", if screen { CLEAR } else { "" }).as_bytes())?;
        if args.no_stream {
            return Ok(());
        }
        before = now;
    }
}

/// Looks at those that were named, or at all.
async fn look(engine: &Engine, args: &Stats) -> anyhow::Result<Vec<Sample>> {
    let named = !args.containers.is_empty();
    let names = if named {
        args.containers.clone()
    } else {
        let found = engine.ps(PsRequest { all: args.all, ..PsRequest::default() }).await?;
        found.into_iter().map(|container| container.record.id).collect()
    };
    let mut samples = Vec::new();
    for name in &names {
        match engine.sample(name).await {
            Ok(sample) => samples.push(sample),
            // It has gone since it was listed.
            Err(error) if !named && error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(samples)
}
