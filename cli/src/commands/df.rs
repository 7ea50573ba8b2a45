//! `system df`.

use jiff::Timestamp;
use mica_engine::Engine;
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
    let now = Timestamp::now();
    let is_table = matches!(format, None | Some("" | "table"));
    let shown = |columns| if is_table { listing::shown(columns, Style::default()) } else { Shown::All };
    let of_images = shown(&disk::IMAGE_DETAILS);
    let images: Vec<Row> = found.images.iter().flat_map(|image| disk::image(image, now, &of_images)).collect();
    let of_containers = shown(&disk::CONTAINER_DETAILS);
    let containers: Vec<Row> =
        found.containers.iter().map(|container| disk::container(container, now, &of_containers)).collect();
    let volumes: Vec<Row> = found.volumes.iter().map(disk::volume).collect();
    let cache: Vec<Row> = found.build_cache.iter().map(|entry| disk::cache(entry, now)).collect();
    match format {
        None | Some("" | "table") => {
            let parts: [(&str, &Columns, &[Row]); 4] = [
                ("Images space usage", &disk::IMAGE_DETAILS, &images),
                ("Containers space usage", &disk::CONTAINER_DETAILS, &containers),
                ("Local Volumes space usage", &disk::VOLUME_DETAILS, &volumes),
                ("Build cache usage", &disk::CACHE_DETAILS, &cache),
            ];
            let mut text = Vec::new();
            for (title, columns, rows) in parts {
                text.push(format!("{title}:\n\n{}", listing::render(columns, Style::default(), rows)?));
            }
            listing::leave((images, containers, found));
            output::raw(text.join("\n").as_bytes())
        }
        Some(format) => {
            // `Label` is Docker's method, not a field.
            let plain = |mut row: Row| -> Json {
                row.remove("Label");
                row.into()
            };
            let [images, containers] = [images, containers].map(|rows| rows.into_iter().map(plain).collect::<Json>());
            let whole = json!({ "Images": images, "Containers": containers, "Volumes": volumes, "BuildCache": cache });
            let template = if format == "json" { "{{json .}}" } else { format };
            output::line(Template::parse(template)?.render(&Value::from_json(&whole))?)
        }
    }
}
