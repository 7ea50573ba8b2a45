//! `search`: repositories by a term, in the registry that the term names or in those that are configured.

use anyhow::{anyhow, bail};
use mica_engine::registry::{Registry as _, SearchRequest, SearchResult};

use super::pairs;
use crate::args::search::Search;
use crate::context::Context;
use crate::output::listing::{self, Style};
use crate::views::row::{self, Detail};
use crate::{output, wire};

/// `search`.
pub(super) async fn run(context: &Context, args: &Search) -> anyhow::Result<()> {
    let wanted = Wanted::parse(&args.filters)?;
    let (registries, term) = match named(&args.term) {
        Some((registry, term)) => (vec![registry.to_owned()], term),
        None => (wire::directory(&context.settings).search()?, args.term.as_str()),
    };
    let client = wire::registry(&context.settings);
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for registry in registries {
        let request = SearchRequest { registry: Some(registry), term: term.to_owned(), limit: usize::from(args.limit) };
        match client.search(&request).await {
            Ok(results) => found.push(results),
            Err(error) => failures.push(anyhow::Error::from(error)),
        }
    }
    if found.is_empty()
        && let Some(failure) = failures.pop()
    {
        return Err(failure);
    }
    // One that cannot search does not keep the others from it.
    failures.iter().for_each(output::error);
    let detail = if args.no_trunc { Detail::Whole } else { Detail::Short };
    let json = args.format.as_deref().is_some_and(|format| format.contains("json"));
    let fitting = found.iter().flatten().filter(|result| wanted.fits(result));
    let rows: Vec<_> = fitting.map(|result| row::search(result, detail, json)).collect();
    let style = Style { format: args.format.as_deref(), quiet: false };
    output::raw(listing::render(&row::SEARCH, style, &rows)?.as_bytes())
}

/// A term with a registry in front, told by its dot or port as in names of images.
fn named(term: &str) -> Option<(&str, &str)> {
    let (registry, rest) = term.split_once('/')?;
    let is_host = registry.contains(['.', ':']) || registry == "localhost";
    (is_host && !rest.is_empty()).then_some((registry, rest))
}

/// `--filter`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    stars: u64,
    official: Option<bool>,
    automated: Option<bool>,
}

impl Wanted {
    fn parse(filters: &[String]) -> anyhow::Result<Wanted> {
        let mut wanted = Wanted::default();
        for (name, value) in pairs(filters)? {
            let wrong = || anyhow!("invalid filter '{name}={value}'");
            let truth = || match value.as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(wrong()),
            };
            match name.as_str() {
                "stars" => wanted.stars = wanted.stars.max(value.parse().map_err(|_| wrong())?),
                "is-official" => wanted.official = Some(truth()?),
                "is-automated" => wanted.automated = Some(truth()?),
                _ => bail!("invalid filter '{name}'"),
            }
        }
        Ok(wanted)
    }

    fn fits(&self, result: &SearchResult) -> bool {
        // No registry builds images by itself any more, so nothing is automated.
        result.stars >= self.stars
            && self.official.is_none_or(|wanted| wanted == result.official)
            && self.automated.is_none_or(|wanted| !wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_may_name_a_registry() {
        for (term, expected) in [
            ("alpine", None),
            ("user/app", None),
            ("r.example/app", Some(("r.example", "app"))),
            ("localhost:5000/a/b", Some(("localhost:5000", "a/b"))),
            ("localhost/a", Some(("localhost", "a"))),
            ("r.example/", None),
        ] {
            assert_eq!(named(term), expected, "{term}");
        }
    }

    #[test]
    fn filters_are_dockers() {
        let parse = |filters: &[&str]| Wanted::parse(&filters.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        let wanted = parse(&["stars=3", "is-official=true"]).expect("valid");
        let result = |stars, official| SearchResult { stars, official, ..SearchResult::default() };
        assert!(wanted.fits(&result(3, true)) && !wanted.fits(&result(2, true)) && !wanted.fits(&result(9, false)));
        for (filter, words) in [
            ("stars=many", "invalid filter 'stars=many'"),
            ("is-official=maybe", "invalid filter 'is-official=maybe'"),
            ("colour=red", "invalid filter 'colour'"),
            ("stars", "bad format of filter"),
        ] {
            assert!(parse(&[filter]).expect_err(filter).to_string().contains(words), "{filter}");
        }
    }
}
