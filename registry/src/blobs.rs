//! Blobs: their bytes by ranges, taken up again where a connection broke, and whether they are there.

use std::ops::Range;

use mica_engine::manifest::Descriptor;
use mica_engine::registry::BlobSink;
use mica_engine::{Error, Kind, Result};
use mica_layer::Digest;
use reqwest::header::{CONTENT_RANGE, HeaderMap, RANGE};
use reqwest::{Method, Response, StatusCode};

use crate::authority::Scope;
use crate::endpoint::Endpoint;
use crate::failure::{corrupt, refusal, unreachable};
use crate::session::{Request, Session, answer};

/// What is still to be fetched of a blob.
#[derive(Debug)]
pub(crate) struct Fetch<'a> {
    blob: &'a Descriptor,
    rest: Range<u64>,
    sink_failed: bool,
}

impl<'a> Fetch<'a> {
    pub(crate) fn new(blob: &'a Descriptor, range: Range<u64>) -> Fetch<'a> {
        Fetch { blob, rest: range.start..range.end.min(blob.size), sink_failed: false }
    }

    /// True when the bytes came and nobody could take them.
    pub(crate) fn sink_failed(&self) -> bool {
        self.sink_failed
    }
}

/// Why a connection ended before its work was done.
enum Broken {
    /// It may be taken up again.
    Passing(Error),
    Final(Error),
}

/// Fetches what is missing, in order.
pub(crate) async fn fetch(
    session: &Session,
    endpoint: &Endpoint,
    fetch: &mut Fetch<'_>,
    sink: &mut dyn BlobSink,
) -> Result<()> {
    let mut failed = 0;
    while fetch.rest.start < fetch.rest.end {
        let before = fetch.rest.start;
        let Err(broken) = connection(session, endpoint, fetch, sink).await else { continue };
        let error = match broken {
            Broken::Final(error) => return Err(error),
            Broken::Passing(error) => error,
        };
        // Whoever gets further may go on for as long as that lasts.
        failed = if fetch.rest.start > before { 1 } else { failed + 1 };
        if failed >= session.patience.attempts {
            return Err(error);
        }
        tracing::debug!(blob = %fetch.blob.digest, at = fetch.rest.start, %error, "going on with a blob");
        tokio::time::sleep(session.patience.pause(failed, None).unwrap_or_default()).await;
    }
    Ok(())
}

/// One request and its answer.
async fn connection(
    session: &Session,
    endpoint: &Endpoint,
    fetch: &mut Fetch<'_>,
    sink: &mut dyn BlobSink,
) -> Result<(), Broken> {
    let registry = &endpoint.registry;
    let url = endpoint.in_repository(&format!("blobs/{}", fetch.blob.digest)).map_err(Broken::Final)?;
    let mut request = Request::new(Method::GET, url, Scope::pull(endpoint));
    let whole = fetch.rest == (0..fetch.blob.size);
    if !whole {
        request = request.header(RANGE, &format!("bytes={}-{}", fetch.rest.start, fetch.rest.end - 1));
    }
    let mut response = session.send(endpoint, &request).await.map_err(Broken::Final)?;
    let lie = |what: &str| Broken::Final(corrupt(registry, format!("{what} blob `{}`", fetch.blob.digest)));
    let size = fetch.blob.size;
    if !whole && response.status() == StatusCode::OK {
        session.knows_no_ranges(registry);
    }
    let another_size = |size| format!("{size} bytes instead of {} for", fetch.blob.size);
    let mut skip = match response.status() {
        StatusCode::OK => match response.content_length() {
            Some(announced) if announced != size => return Err(lie(&another_size(announced))),
            _ => fetch.rest.start,
        },
        StatusCode::PARTIAL_CONTENT => match content_range(response.headers()) {
            Some((_, Some(announced))) if announced != size => return Err(lie(&another_size(announced))),
            Some((first, _)) if first == fetch.rest.start => 0,
            _ => return Err(lie("another range than was asked for of")),
        },
        StatusCode::RANGE_NOT_SATISFIABLE => return Err(lie("word that there is less than was announced of")),
        _ => return Err(Broken::Final(refused(response, registry, fetch.blob).await)),
    };
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) if fetch.rest.start == fetch.rest.end => return Ok(()),
            Ok(None) => return Err(Broken::Passing(short(registry, fetch))),
            Err(error) => return Err(Broken::Passing(unreachable(registry, error))),
        };
        let skipped = skip.min(chunk.len() as u64);
        skip -= skipped;
        let fresh = &chunk[usize::try_from(skipped).unwrap_or(chunk.len())..];
        let room = fetch.rest.end - fetch.rest.start;
        if fresh.len() as u64 > room {
            if fetch.rest.end < fetch.blob.size && response.status() == StatusCode::OK {
                // A server that knows no ranges sends what follows too.
                let wanted = &fresh[..usize::try_from(room).unwrap_or(fresh.len())];
                return take(fetch, sink, wanted);
            }
            let message = format!("more than the {} bytes that blob `{}` has", fetch.blob.size, fetch.blob.digest);
            return Err(Broken::Final(corrupt(registry, message)));
        }
        take(fetch, sink, fresh)?;
    }
}

fn take(fetch: &mut Fetch<'_>, sink: &mut dyn BlobSink, bytes: &[u8]) -> Result<(), Broken> {
    sink.write(bytes).map_err(|error| {
        fetch.sink_failed = true;
        Broken::Final(error)
    })?;
    fetch.rest.start += bytes.len() as u64;
    Ok(())
}

fn short(registry: &str, fetch: &Fetch<'_>) -> Error {
    let missing = fetch.rest.end - fetch.rest.start;
    let message = format!("registry `{registry}` ended blob `{}` {missing} bytes too early", fetch.blob.digest);
    Error::refused(Kind::Unavailable, message)
}

async fn refused(response: Response, registry: &str, blob: &Descriptor) -> Error {
    let status = response.status();
    match answer(response, registry).await {
        Ok(body) => refusal(&format!("get blob `{}`", blob.digest), registry, status, &body),
        Err(error) => error,
    }
}

/// Where an answer to a range begins, and of how many bytes it is a part: `bytes 100-199/1000` (RFC 9110 section 14.4).
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let value = headers.get(CONTENT_RANGE)?.to_str().ok()?.trim();
    let (range, size) = value.strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.parse().ok()?, size.parse().ok()))
}

/// Whether the repository has a blob.
pub(crate) async fn exists(session: &Session, endpoint: &Endpoint, digest: &Digest) -> Result<bool> {
    let url = endpoint.in_repository(&format!("blobs/{digest}"))?;
    let response = session.send(endpoint, &Request::new(Method::HEAD, url, Scope::push(endpoint))).await?;
    match response.status() {
        status if status.is_success() => Ok(true),
        StatusCode::NOT_FOUND => Ok(false),
        status => Err(refusal(&format!("look for blob `{digest}`"), &endpoint.registry, status, b"")),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn ranges_begin_where_they_say() {
        for (value, expected) in [
            ("bytes 100-199/1000", Some((100, Some(1000)))),
            ("bytes 0-0/*", Some((0, None))),
            ("bytes */1000", None),
            ("items 1-2/3", None),
            ("bytes -5-6/7", None),
            ("bytes 18446744073709551616-1/2", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_str(value).unwrap())]);
            assert_eq!(content_range(&headers), expected, "{value}");
        }
    }
}
