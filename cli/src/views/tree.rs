//! `images --tree`: names, and below each the platforms it stands for.

use mica_engine::Reference;
use mica_engine::ops::tree::{NamedTree, PlatformLine, TreeFigures};

use super::short_id;
use crate::output::{human, table};
use crate::views::row::Detail;

const HEADINGS: &str = "IMAGE\tID\tDISK USAGE\tCONTENT SIZE\tEXTRA\n";

/// The whole tree. What is not here has no ID and takes nothing; `U` is in use by a container, `list` is made here.
pub fn tree(names: &[NamedTree], detail: Detail) -> String {
    let mut text = HEADINGS.to_owned();
    let id = |image: &Option<mica_layer::Digest>| match image {
        Some(image) => short_id(image.as_str(), detail == Detail::Whole),
        None => "-".to_owned(),
    };
    for named in names {
        let name = named.name.as_ref().map_or_else(|| "<untagged>".to_owned(), Reference::familiar);
        text.push_str(&line(&name, &id(&named.image), named.figures, if named.list { &["list"] } else { &[] }));
        let last = named.platforms.len().saturating_sub(1);
        for (at, platform) in named.platforms.iter().enumerate() {
            let branch = if at == last { "└─" } else { "├─" };
            text.push_str(&line(&format!("{branch} {}", words(platform)), &id(&platform.image), platform.figures, &[]));
        }
    }
    table::align(&text)
}

fn line(name: &str, id: &str, figures: TreeFigures, extra: &[&str]) -> String {
    let used = figures.in_use.then_some("U");
    let extra: Vec<&str> = used.into_iter().chain(extra.iter().copied()).collect();
    let (disk, content) = (human::size(figures.disk), human::size(figures.content));
    format!("{name}\t{id}\t{disk}\t{content}\t{}\n", extra.join(" "))
}

fn words(line: &PlatformLine) -> String {
    let platform = line.platform.as_ref().map(|platform| platform.normalized().to_string());
    let shown = platform.filter(|platform| platform != "/").unwrap_or_else(|| "unknown".to_owned());
    shown.chars().flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_stand_below_the_name_they_came_by() {
        let image = |text: &str| Some(mica_layer::Digest::sha256_of(text.as_bytes()));
        let figures = |content, disk, in_use| TreeFigures { content, disk, in_use };
        let platform = |text: &str, image, figures| PlatformLine { platform: text.parse().ok(), image, figures };
        let names = [
            NamedTree {
                name: Some(Reference::parse("app").expect("a name")),
                list: true,
                image: image("a"),
                figures: figures(4_000_000, 12_000_000, true),
                platforms: vec![
                    platform("linux/amd64", image("a"), figures(4_000_000, 12_000_000, true)),
                    platform("linux/arm64/v8", None, TreeFigures::default()),
                ],
            },
            NamedTree { name: None, list: false, image: None, figures: TreeFigures::default(), platforms: Vec::new() },
        ];
        let expected = "\
IMAGE            ID             DISK USAGE   CONTENT SIZE   EXTRA
app:latest       ca978112ca1b   12MB         4MB            U list
├─ linux/amd64   ca978112ca1b   12MB         4MB            U
└─ linux/arm64   -              0B           0B
<untagged>       -              0B           0B
";
        let text = tree(&names, Detail::Short);
        let trimmed: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        assert_eq!(trimmed, expected, "{text}");
    }
}
