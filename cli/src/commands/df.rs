//! `system df`.

use jiff::Timestamp;
use mica_engine::Engine;
use mica_engine::ops::df::DiskDetails;
use serde_json::{Value as Json, json};

use crate::args::system::Df;
use crate::context::Context;
use crate::output;
use crate::output::listing::{self, Columns, Shown, Style};
use crate::template::{Template, Value};
use crate::views::{Row, disk};

/// `system df`.
pub(super) async fn run(context: &Context, args: &Df) -> anyhow::Result<()> {
    let engine = context.engine()?;
    if args.verbose {
        return details(&engine, args.format.as_deref()).await;
    }
    let usage = engine.disk_usage().await?;
    let rows = [
        disk::sum("Images", &usage.images),
        disk::sum("Containers", &usage.containers),
        disk::sum("Local Volumes", &usage.volumes),
        disk::sum("Build Cache", &usage.build_cache),
    ];
    let style = Style { format: args.format.as_deref(), quiet: false };
    output::raw(listing::render(&disk::SUMS, style, &rows)?.as_bytes())
}

/// Four tables, or one document that a template can take apart.
async fn details(engine: &Engine, format: Option<&str>) -> anyhow::Result<()> {
    let found = engine.disk_details().await?;
    let shown = match format {
        None | Some("" | "table") => output::raw(tables(&found)?.as_bytes()),
        Some(format) => output::line(document(&found, format)?),
    };
    listing::leave(found);
    shown
}

fn tables(found: &DiskDetails) -> anyhow::Result<String> {
    let now = Timestamp::now();
    let table = |title: &str, columns: &Columns, rows: &dyn Fn(&Shown) -> Vec<Row>| {
        let rows = rows(&listing::shown(columns, Style::default()));
        let text = listing::render(columns, Style::default(), &rows).map(|table| format!("{title}:\n\n{table}"));
        listing::leave(rows);
        text
    };
    let images = |shown: &Shown| found.images.iter().flat_map(|image| disk::image(image, now, shown)).collect();
    let containers = |shown: &Shown| found.containers.iter().map(|one| disk::container(one, now, shown)).collect();
    let volumes = |_: &Shown| found.volumes.iter().map(disk::volume).collect();
    let cache = |_: &Shown| found.build_cache.iter().map(|entry| disk::cache(entry, now)).collect();
    // The two that grow long are made at once.
    let (images, containers) = std::thread::scope(|scope| {
        let images = scope.spawn(|| table("Images space usage", &disk::IMAGE_DETAILS, &images));
        let containers = table("Containers space usage", &disk::CONTAINER_DETAILS, &containers);
        (images.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), containers)
    });
    let parts = [
        images?,
        containers?,
        table("Local Volumes space usage", &disk::VOLUME_DETAILS, &volumes)?,
        table("Build cache usage", &disk::CACHE_DETAILS, &cache)?,
    ];
    Ok(parts.join("\n"))
}

fn document(found: &DiskDetails, format: &str) -> anyhow::Result<String> {
    let now = Timestamp::now();
    // `Label` is Docker's method, not a field.
    let plain = |mut row: Row| -> Json {
        row.remove("Label");
        row.into()
    };
    let images = found.images.iter().flat_map(|image| disk::image(image, now, &Shown::All)).map(plain);
    let containers = found.containers.iter().map(|one| disk::container(one, now, &Shown::All)).map(plain);
    let volumes = found.volumes.iter().map(disk::volume).map(Json::from);
    let cache = found.build_cache.iter().map(|entry| disk::cache(entry, now)).map(Json::from);
    let whole = json!({
        "Images": images.collect::<Json>(),
        "Containers": containers.collect::<Json>(),
        "Volumes": volumes.collect::<Json>(),
        "BuildCache": cache.collect::<Json>(),
    });
    let template = if format == "json" { "{{json .}}" } else { format };
    Ok(Template::parse(template)?.render(&Value::from_json(&whole))?)
}
