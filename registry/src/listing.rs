//! Lists: tags, what refers to a manifest, and search.

use std::collections::BTreeSet;

use mica_engine::manifest::{Descriptor, Index, OCI_INDEX, document};
use mica_engine::registry::{SearchRequest, SearchResult};
use mica_engine::{Error, Kind, Reference, Result};
use reqwest::header::{ACCEPT, HeaderMap, LINK};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::authority::Scope;
use crate::endpoint::Endpoint;
use crate::failure::{corrupt, refusal, shown};
use crate::session::{Request, Session, answer, same_host};

/// The most pages of a list.
const PAGES_MAX: usize = 1000;
/// The most characters of a description.
const DESCRIPTION_MAX: usize = 1000;

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// The tags of a repository.
pub(crate) async fn tags(session: &Session, endpoint: &Endpoint) -> Result<Vec<String>> {
    let mut url = endpoint.in_repository("tags/list")?;
    url.query_pairs_mut().append_pair("n", "1000");
    let mut found = Vec::new();
    let mut next = Some(url);
    let mut seen = BTreeSet::new();
    while let Some(url) = next {
        if seen.len() >= PAGES_MAX || !seen.insert(url.to_string()) {
            return Err(corrupt(&endpoint.registry, "a list of tags without an end"));
        }
        let response = session.send(endpoint, &Request::new(Method::GET, url.clone(), Scope::pull(endpoint))).await?;
        let status = response.status();
        next = link(endpoint, &url, response.headers());
        let body = answer(response, &endpoint.registry).await?;
        if status != StatusCode::OK {
            return Err(refusal(&format!("list the tags of `{}`", endpoint.path), &endpoint.registry, status, &body));
        }
        let page: Tags =
            serde_json::from_slice(&body).map_err(|_| corrupt(&endpoint.registry, "a list of tags that is none"))?;
        // What is no tag by the specification's grammar is no name that anybody could pull.
        found.extend(
            page.tags.unwrap_or_default().into_iter().filter(|tag| Reference::parse(&format!("a:{tag}")).is_ok()),
        );
    }
    Ok(found)
}

/// The next page, on the same host: `<…>; rel="next"` (RFC 8288).
fn link(endpoint: &Endpoint, from: &Url, headers: &HeaderMap) -> Option<Url> {
    let value = headers.get(LINK)?.to_str().ok()?;
    let (target, parameters) = value.trim().strip_prefix('<')?.split_once('>')?;
    let next =
        parameters.replace(['"', ' '], "").split(';').any(|parameter| parameter.eq_ignore_ascii_case("rel=next"));
    let url = from.join(target).ok()?;
    (next && same_host(&url, &endpoint.base)).then_some(url)
}

/// What refers to a manifest.
pub(crate) async fn referrers(
    session: &Session,
    endpoint: &Endpoint,
    subject: &Reference,
    artifact_type: Option<&str>,
) -> Result<Vec<Descriptor>> {
    let digest = subject
        .digest()
        .ok_or_else(|| Error::refused(Kind::InvalidInput, format!("`{}` has no digest", subject.familiar())))?;
    let api = endpoint.in_repository(&format!("referrers/{digest}"))?;
    // Registries of before version 1.1 have an index under a tag made of the digest.
    let tag = endpoint.in_repository(&format!("manifests/{}-{}", digest.algorithm().name(), digest.hex()))?;
    for url in [api, tag] {
        let request = Request::new(Method::GET, url, Scope::pull(endpoint)).header(ACCEPT, OCI_INDEX);
        let response = session.send(endpoint, &request).await?;
        let status = response.status();
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED) {
            continue;
        }
        let body = answer(response, &endpoint.registry).await?;
        if status != StatusCode::OK {
            return Err(refusal(&format!("list what refers to `{digest}`"), &endpoint.registry, status, &body));
        }
        let index: Index = document(&body, "the list of referrers", &[OCI_INDEX])?;
        let fits = |entry: &Descriptor| artifact_type.is_none() || entry.artifact_type.as_deref() == artifact_type;
        return Ok(index.manifests.into_iter().filter(fits).collect());
    }
    Ok(Vec::new())
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    results: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    star_count: u64,
    #[serde(default)]
    is_official: bool,
}

/// Repositories by a term, through the interface that Docker's first registry had and some still have.
pub(crate) async fn search(
    session: &Session,
    endpoint: &Endpoint,
    wanted: &SearchRequest,
) -> Result<Vec<SearchResult>> {
    let mut url = endpoint.base.clone();
    url.set_path("/v1/search");
    url.query_pairs_mut().append_pair("q", &wanted.term).append_pair("n", &wanted.limit.to_string());
    let response = session.send(endpoint, &Request::new(Method::GET, url, Scope::none())).await?;
    let status = response.status();
    let body = answer(response, &endpoint.registry).await?;
    if status == StatusCode::NOT_FOUND {
        let message = format!("registry `{}` cannot search", endpoint.registry);
        return Err(Error::refused(Kind::Unsupported, message)
            .with_hint("`mica image tags REPOSITORY` lists the tags of a repository"));
    }
    if status != StatusCode::OK {
        return Err(refusal(&format!("search for `{}`", shown(&wanted.term)), &endpoint.registry, status, &body));
    }
    let found: Found =
        serde_json::from_slice(&body).map_err(|_| corrupt(&endpoint.registry, "results of a search that are none"))?;
    // Results name what is theirs; what other registries have is pulled by a name with the registry in front.
    let front = if endpoint.registry == "docker.io" { String::new() } else { format!("{}/", endpoint.registry) };
    let name = |name: &str| if name.starts_with(&front) { shown(name) } else { format!("{front}{}", shown(name)) };
    let results = found.results.into_iter().take(wanted.limit).map(|entry| SearchResult {
        name: name(&entry.name),
        description: readable(&entry.description.unwrap_or_default()),
        stars: entry.star_count,
        official: entry.is_official,
    });
    Ok(results.collect())
}

/// Text of strangers for people: of one line and bounded, as they wrote it otherwise.
fn readable(text: &str) -> String {
    text.chars().take(DESCRIPTION_MAX).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn the_next_page_is_on_the_same_host() {
        let endpoint = Endpoint::of(&Reference::parse("r.example/a").unwrap(), "https").unwrap();
        let from = endpoint.in_repository("tags/list").unwrap();
        for (value, expected) in [
            ("</v2/a/tags/list?last=x&n=2>; rel=\"next\"", Some("https://r.example/v2/a/tags/list?last=x&n=2")),
            ("<https://r.example/p>;rel=next", Some("https://r.example/p")),
            ("<https://evil.example/p>; rel=\"next\"", None),
            ("</p>; rel=\"prev\"", None),
            ("nonsense", None),
        ] {
            let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_str(value).unwrap())]);
            assert_eq!(link(&endpoint, &from, &headers).as_ref().map(Url::as_str), expected, "{value}");
        }
    }
}
