//! Manifests and indexes: getting, looking up and storing them.

use bytes::Bytes;
use mica_engine::manifest::{DOCUMENT_MAX, Descriptor, Document, INDEXES, MANIFESTS};
use mica_engine::{Error, Kind, Reference, Result};
use mica_layer::{Digest, Hasher};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;

use crate::authority::Scope;
use crate::endpoint::Endpoint;
use crate::failure::{corrupt, refusal, unreachable};
use crate::session::{Request, Session, answer};

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// What registries once had in place of manifests.
const SCHEMA_1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// The document a reference stands for.
pub(crate) async fn get(session: &Session, endpoint: &Endpoint, reference: &Reference) -> Result<Document> {
    let registry = &endpoint.registry;
    let request = request(Method::GET, endpoint, reference)?;
    let mut failed = 0;
    let (headers, bytes) = loop {
        let response = session.send(endpoint, &request).await?;
        if response.status() != StatusCode::OK {
            return Err(refused(response, endpoint, reference).await?);
        }
        let headers = response.headers().clone();
        failed += 1;
        match bounded(response, registry).await {
            // The connection broke in the middle of the document.
            Err(error) if error.kind() == Kind::Unavailable && failed < session.patience.attempts => {
                tokio::time::sleep(session.patience.pause(failed, None).unwrap_or_default()).await;
            }
            bytes => break (headers, bytes?),
        }
    };
    let announced = header(&headers, &DIGEST).and_then(|text| text.parse::<Digest>().ok());
    let content_type = header(&headers, &CONTENT_TYPE);
    for expected in reference.digest().into_iter().chain(announced.as_ref()) {
        let mut hasher = Hasher::with(expected.algorithm());
        hasher.update(&bytes);
        let actual = hasher.finish();
        if actual != *expected {
            return Err(corrupt(
                registry,
                format!("a manifest of `{}` with the digest `{actual}` instead of `{expected}`", reference.familiar()),
            ));
        }
    }
    let media_type = media_type(content_type.as_deref(), &bytes).ok_or_else(|| {
        corrupt(registry, format!("something for `{}` that does not say what it is", reference.familiar()))
    })?;
    if SCHEMA_1.contains(&media_type.as_str()) {
        let message =
            format!("`{}` is an image in Docker's schema 1, which no engine reads any more", reference.familiar());
        return Err(
            Error::refused(Kind::Unsupported, message).with_hint("pushing it again with a newer client converts it")
        );
    }
    let digest = reference.digest().cloned().unwrap_or_else(|| Digest::sha256_of(&bytes));
    let document = Document { media_type, digest, bytes };
    document.read()?;
    Ok(document)
}

/// What a reference means, without its bytes.
pub(crate) async fn head(session: &Session, endpoint: &Endpoint, reference: &Reference) -> Result<Option<Descriptor>> {
    let response = session.send(endpoint, &request(Method::HEAD, endpoint, reference)?).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(None),
        _ => return Err(refused(response, endpoint, reference).await?),
    }
    let headers = response.headers();
    let digest = header(headers, &DIGEST).and_then(|text| text.parse::<Digest>().ok());
    let size = headers.get(reqwest::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let media_type = media_type(header(headers, &CONTENT_TYPE).as_deref(), b"");
    match (digest, size, media_type) {
        (Some(digest), Some(size), Some(media_type)) => Ok(Some(Descriptor::new(&media_type, digest, size))),
        // A registry that leaves the digest out is asked for the whole.
        _ => get(session, endpoint, reference).await.map(|document| Some(document.descriptor())),
    }
}

/// Stores a document.
pub(crate) async fn put(
    session: &Session,
    endpoint: &Endpoint,
    reference: &Reference,
    document: &Document,
) -> Result<()> {
    let name = reference.tag().unwrap_or(document.digest.as_str());
    let url = endpoint.in_repository(&format!("manifests/{name}"))?;
    let request = Request::new(Method::PUT, url, Scope::push(endpoint))
        .header(CONTENT_TYPE, &document.media_type)
        .body(Bytes::copy_from_slice(&document.bytes));
    let response = session.send(endpoint, &request).await?;
    let status = response.status();
    if !status.is_success() {
        let body = answer(response, &endpoint.registry).await?;
        return Err(refusal(&format!("push `{}`", reference.familiar()), &endpoint.registry, status, &body));
    }
    match header(response.headers(), &DIGEST) {
        Some(stored) if stored != document.digest.as_str() => Err(corrupt(
            &endpoint.registry,
            format!("word that it stored `{}` with another digest than `{}`", reference.familiar(), document.digest),
        )),
        _ => Ok(()),
    }
}

/// What a body that came without a usable content type calls itself, or the content type.
fn media_type(content_type: Option<&str>, bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Own {
        media_type: Option<String>,
        schema_version: Option<u64>,
    }
    let bare = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if let Some(known) = bare.filter(|bare| {
        let bare = bare.as_str();
        INDEXES.contains(&bare) || MANIFESTS.contains(&bare) || SCHEMA_1.contains(&bare)
    }) {
        return Some(known);
    }
    let own: Own = serde_json::from_slice(bytes).ok()?;
    match own.schema_version {
        Some(1) => Some(SCHEMA_1[0].to_owned()),
        _ => own.media_type,
    }
}

fn request(method: Method, endpoint: &Endpoint, reference: &Reference) -> Result<Request> {
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.as_str(),
        (None, Some(tag)) => tag,
        (None, None) => "latest",
    };
    let url = endpoint.in_repository(&format!("manifests/{name}"))?;
    let accept: Vec<&str> = MANIFESTS.into_iter().chain(INDEXES).collect();
    Ok(Request::new(method, url, Scope::pull(endpoint)).header(ACCEPT, &accept.join(", ")))
}

async fn refused(response: Response, endpoint: &Endpoint, reference: &Reference) -> Result<Error> {
    let status = response.status();
    let body = answer(response, &endpoint.registry).await?;
    let name = reference.familiar();
    if status == StatusCode::NOT_FOUND {
        let message = format!(
            "manifest for {name} not found: manifest unknown: registry `{}` has no such image",
            endpoint.registry
        );
        return Ok(Error::refused(Kind::NotFound, message));
    }
    Ok(refusal(&format!("pull `{name}`"), &endpoint.registry, status, &body))
}

async fn bounded(mut response: Response, registry: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(registry, error))? {
        if (bytes.len() + chunk.len()) as u64 > DOCUMENT_MAX {
            return Err(corrupt(registry, format!("a manifest of more than {DOCUMENT_MAX} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use mica_engine::manifest::{DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

    use super::*;

    #[test]
    fn a_document_says_what_it_is_in_its_header_or_in_itself() {
        let own = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}"}}"#);
        for (content_type, body, expected) in [
            (Some(OCI_MANIFEST), "", Some(OCI_MANIFEST)),
            (Some("application/vnd.docker.distribution.manifest.v2+json; charset=utf-8"), "", Some(DOCKER_MANIFEST)),
            (Some("application/json"), &own, Some(OCI_INDEX)),
            (None, &own, Some(OCI_INDEX)),
            (Some("text/html"), "<html>", None),
            (None, r#"{"schemaVersion":1}"#, Some(SCHEMA_1[0])),
            (None, r#"{"schemaVersion":2}"#, None),
        ] {
            assert_eq!(media_type(content_type, body.as_bytes()).as_deref(), expected, "{content_type:?} {body}");
        }
    }
}
