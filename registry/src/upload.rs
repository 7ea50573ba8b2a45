//! Uploads: a session with chunks that are sent again when a connection breaks, and blobs taken over from next door.
//!
//! `POST` opens a session, each `PATCH` adds a chunk, and `PUT` ends it with the digest, which therefore need not be known
//! before (OCI distribution-spec, "Pushing a blob in chunks"). After a break the server says how far it has got.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use mica_engine::registry::Upload;
use mica_engine::{Error, Kind, Result};
use mica_layer::Digest;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use crate::authority::Scope;
use crate::blobs;
use crate::endpoint::Endpoint;
use crate::failure::{corrupt, refusal};
use crate::patience::is_passing;
use crate::session::{Request, Session, answer, same_host};

/// How much is sent at a time, and kept to be sent again.
const CHUNK: usize = 16 << 20;
const OCTETS: &str = "application/octet-stream";

/// Takes a blob over from another repository, if the registry does that.
pub(crate) async fn mount(session: &Session, endpoint: &Endpoint, digest: &Digest, from: &str) -> Result<bool> {
    let mut url = endpoint.in_repository("blobs/uploads/")?;
    url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
    let scope = Scope::push(endpoint).and_pull(from);
    let request = Request::new(Method::POST, url, scope).header(CONTENT_LENGTH, "0");
    let response = session.send(endpoint, &request).await?;
    let status = response.status();
    if status == StatusCode::ACCEPTED {
        // It has opened an upload in place of the mount, which nobody will use.
        if let Ok(location) = location(endpoint, response.headers()) {
            let _ = session.send(endpoint, &Request::new(Method::DELETE, location, Scope::push(endpoint))).await;
        }
    }
    Ok(status == StatusCode::CREATED)
}

/// Opens an upload.
pub(crate) async fn begin(session: &Arc<Session>, endpoint: Endpoint) -> Result<Box<dyn Upload>> {
    let location = open(session, &endpoint).await?;
    Ok(Box::new(Chunked { session: Arc::clone(session), endpoint, location, sent: 0, pending: BytesMut::new() }))
}

/// Goes on with an upload, with how many bytes the registry has of it; nothing when it is not known any more. Its place came
/// from a file, so it is held to the server that it must be of.
pub(crate) async fn resume(session: &Arc<Session>, endpoint: Endpoint, place: &str) -> Option<(Box<dyn Upload>, u64)> {
    let location = Url::parse(place).ok().filter(|url| is_keepable(url, &endpoint))?;
    let mut upload = Chunked { session: Arc::clone(session), endpoint, location, sent: 0, pending: BytesMut::new() };
    match upload.reached().await {
        Ok(reached) if reached > 0 => {
            upload.sent = reached;
            Some((Box::new(upload), reached))
        }
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%error, "an upload is begun anew");
            None
        }
    }
}

/// True for places of the registry itself. Uploads that it sends elsewhere, as to an object store, have their permission in
/// their addresses.
fn is_keepable(place: &Url, endpoint: &Endpoint) -> bool {
    place.username().is_empty() && place.password().is_none() && same_host(place, &endpoint.base)
}

async fn open(session: &Session, endpoint: &Endpoint) -> Result<Url> {
    let url = endpoint.in_repository("blobs/uploads/")?;
    let request = Request::new(Method::POST, url, Scope::push(endpoint)).header(CONTENT_LENGTH, "0");
    let response = session.send(endpoint, &request).await?;
    if response.status() != StatusCode::ACCEPTED {
        return Err(refused(response, endpoint).await);
    }
    location(endpoint, response.headers())
}

#[derive(Debug)]
struct Chunked {
    session: Arc<Session>,
    endpoint: Endpoint,
    location: Url,
    /// How many bytes the registry has.
    sent: u64,
    /// What it does not have yet.
    pending: BytesMut,
}

impl Chunked {
    /// Sends a chunk until the registry has all of it.
    async fn send(&mut self, mut chunk: Bytes) -> Result<()> {
        let mut failed = 0;
        while !chunk.is_empty() {
            let last = self.sent + chunk.len() as u64 - 1;
            let request = Request::new(Method::PATCH, self.location.clone(), Scope::push(&self.endpoint))
                .header(CONTENT_TYPE, OCTETS)
                .header(CONTENT_RANGE, &format!("{}-{last}", self.sent))
                .body(chunk.clone());
            // The same chunk again could come twice: the server is asked first how much of it has arrived.
            let error = match self.session.send_once(&self.endpoint, &request).await {
                Ok(response) if response.status().is_success() => {
                    self.location = location(&self.endpoint, response.headers())?;
                    self.sent = last + 1;
                    return Ok(());
                }
                Ok(response) => self.passing(response).await?,
                Err(error) if error.kind() == Kind::Unavailable => error,
                Err(error) => return Err(error),
            };
            failed += 1;
            self.pause(failed, &error).await?;
            match self.reached().await {
                Ok(reached) => {
                    let skip = reached.checked_sub(self.sent).filter(|skip| *skip <= chunk.len() as u64);
                    let skip =
                        skip.ok_or_else(|| corrupt(&self.endpoint.registry, "word of an upload that is not ours"))?;
                    if skip > 0 {
                        failed = 0;
                    }
                    chunk = chunk.slice(usize::try_from(skip).unwrap_or(chunk.len())..);
                    self.sent = reached;
                }
                // The registry of the CNCF, which many others are made of, refuses a session that has got a part of a chunk.
                // What has been sent of the blob is still at hand here when that is nothing but this chunk.
                Err(_) if self.sent == 0 => self.location = open(&self.session, &self.endpoint).await?,
                Err(error) => return Err(self.lost(&error)),
            }
        }
        Ok(())
    }

    /// Why a request was refused, when another one may do better.
    async fn passing(&self, response: Response) -> Result<Error> {
        let status = response.status();
        let error = refused(response, &self.endpoint).await;
        if is_elsewhere(status) || is_passing(status) { Ok(error) } else { Err(error) }
    }

    /// Waits before the next try, if there is one.
    async fn pause(&self, failed: u32, error: &Error) -> Result<()> {
        match self.session.patience.pause(failed, None).filter(|_| failed < self.session.patience.attempts) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => Err(self.lost(error)),
        }
    }

    /// Nothing is wrong but that the upload has to be begun anew.
    fn lost(&self, error: &Error) -> Error {
        let message =
            format!("registry `{}` lost an upload to `{}`: {error}", self.endpoint.registry, self.endpoint.path);
        Error::refused(Kind::Unavailable, message)
    }

    /// Asks how far the upload has got.
    async fn reached(&mut self) -> Result<u64> {
        let request = Request::new(Method::GET, self.location.clone(), Scope::push(&self.endpoint));
        let response = self.session.send(&self.endpoint, &request).await?;
        if !response.status().is_success() {
            return Err(refused(response, &self.endpoint).await);
        }
        if response.headers().contains_key(LOCATION) {
            self.location = location(&self.endpoint, response.headers())?;
        }
        let reached = response.headers().get(RANGE).and_then(|value| received(value.to_str().ok()?));
        reached.ok_or_else(|| corrupt(&self.endpoint.registry, "no word of how far an upload has got"))
    }
}

#[async_trait]
impl Upload for Chunked {
    async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while self.pending.len() + bytes.len() >= CHUNK {
            let (head, rest) = bytes.split_at(CHUNK - self.pending.len());
            self.pending.extend_from_slice(head);
            bytes = rest;
            let chunk = std::mem::take(&mut self.pending).freeze();
            self.send(chunk.clone()).await?;
            // Fresh memory is mapped page by page, which takes as long as copying into it.
            self.pending = chunk.try_into_mut().unwrap_or_else(|_still_held| BytesMut::with_capacity(CHUNK));
            self.pending.clear();
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn place(&self) -> Option<&str> {
        (self.sent > 0 && is_keepable(&self.location, &self.endpoint)).then(|| self.location.as_str())
    }

    async fn finish(mut self: Box<Self>, digest: &Digest) -> Result<()> {
        let rest = std::mem::take(&mut self.pending).freeze();
        // Small blobs go with the last request; of large ones the last chunk goes like the others, so that it can be repeated.
        let body = if self.sent == 0 { rest } else { self.send(rest).await.map(|()| Bytes::new())? };
        let mut failed = 0;
        loop {
            let mut url = self.location.clone();
            url.query_pairs_mut().append_pair("digest", digest.as_str());
            let request = Request::new(Method::PUT, url, Scope::push(&self.endpoint))
                .header(CONTENT_TYPE, OCTETS)
                .body(body.clone());
            let error = match self.session.send_once(&self.endpoint, &request).await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => self.passing(response).await?,
                Err(error) if error.kind() == Kind::Unavailable => error,
                Err(error) => return Err(error),
            };
            failed += 1;
            self.pause(failed, &error).await?;
            // The end of a try that broke off may have arrived, or a part of its only chunk.
            if blobs::exists(&self.session, &self.endpoint, digest).await? {
                return Ok(());
            }
            if self.sent == 0 {
                self.location = open(&self.session, &self.endpoint).await?;
            } else if error.kind() == Kind::NotFound {
                return Err(self.lost(&error));
            }
        }
    }
}

/// True for answers to who sends what is not expected: a range that does not fit, or to a session that is none any more.
fn is_elsewhere(status: StatusCode) -> bool {
    matches!(status, StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NOT_FOUND)
}

/// How many bytes `Range: 0-99` or `bytes=0-99` stands for. `0-0` is what a registry says of an upload without any.
fn received(value: &str) -> Option<u64> {
    let value = value.trim();
    let (first, last) = value.strip_prefix("bytes=").unwrap_or(value).split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first == 0).then(|| if last == 0 { 0 } else { last + 1 })
}

/// Where the session goes on.
fn location(endpoint: &Endpoint, headers: &HeaderMap) -> Result<Url> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let url = location.and_then(|location| endpoint.base.join(location).ok());
    let url = url.ok_or_else(|| corrupt(&endpoint.registry, "an upload without a place"))?;
    // A session on another host gets the blob and no credentials; from TLS nothing leads to plain HTTP.
    if url.scheme() == "https" || (endpoint.is_plain() && url.scheme() == "http") {
        return Ok(url);
    }
    // Behind a proxy that ends TLS some registries name themselves by `http`.
    let mut upgraded = url;
    let fits = upgraded.scheme() == "http" && upgraded.set_scheme(endpoint.base.scheme()).is_ok();
    if fits && same_host(&upgraded, &endpoint.base) {
        Ok(upgraded)
    } else {
        Err(corrupt(&endpoint.registry, "an upload's place without TLS"))
    }
}

async fn refused(response: Response, endpoint: &Endpoint) -> Error {
    let status = response.status();
    match answer(response, &endpoint.registry).await {
        Ok(body) => refusal(&format!("upload to `{}`", endpoint.path), &endpoint.registry, status, &body),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use mica_engine::Reference;

    use super::*;

    #[test]
    fn only_places_of_the_registry_itself_are_kept_and_none_with_a_password() {
        let endpoint = Endpoint::of(&Reference::parse("r.example:5000/team/app").unwrap(), "https").unwrap();
        for (place, keepable) in [
            ("https://r.example:5000/v2/team/app/blobs/uploads/1?_state=abc", true),
            ("http://r.example:5000/v2/team/app/blobs/uploads/1", false),
            ("https://r.example/v2/team/app/blobs/uploads/1", false),
            ("https://store.example/bucket/1?signature=abc", false),
            ("https://someone:secret@r.example:5000/v2/team/app/blobs/uploads/1", false),
            ("https://someone@r.example:5000/v2/team/app/blobs/uploads/1", false),
        ] {
            assert_eq!(is_keepable(&Url::parse(place).unwrap(), &endpoint), keepable, "{place}");
        }
    }

    #[test]
    fn a_server_says_how_far_it_has_got() {
        for (value, expected) in
            [("0-99", Some(100)), ("bytes=0-1", Some(2)), ("0-0", Some(0)), ("5-9", None), ("", None), ("0--1", None)]
        {
            assert_eq!(received(value), expected, "{value}");
        }
    }
}
