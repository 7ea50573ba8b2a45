//! [`HttpRegistry`]: the engine's registry boundary over HTTP. What each call asks is in a file of its own.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use mica_engine::manifest::{Descriptor, Document};
use mica_engine::registry::{BlobSink, Registry, SearchRequest, SearchResult, Upload};
use mica_engine::{Error, Kind, Reference, Result};
use mica_layer::Digest;
use reqwest::Method;

use crate::authority::LoginOutcome;
use crate::blobs::{self, Fetch};
use crate::credential::{Anonymous, Credential, Credentials};
use crate::endpoint::{Defaults, Directory, Endpoint, Verify};
use crate::patience::Patience;
use crate::policy::Trust;
use crate::session::Session;
use crate::{documents, failure, listing, upload};

/// A client of registries.
#[derive(Debug)]
pub struct HttpRegistry {
    directory: Arc<dyn Directory>,
    session: Arc<Session>,
    /// Which images are admitted.
    trust: Trust,
    /// By server: whether it turned out to speak TLS, where both were possible.
    speaks_tls: Mutex<HashMap<String, bool>>,
    /// Servers with copies that could not be reached, which nobody waits for again.
    down: Mutex<HashSet<String>>,
}

impl Default for HttpRegistry {
    fn default() -> Self {
        Self::new(Arc::new(Defaults), Arc::new(Anonymous))
    }
}

impl HttpRegistry {
    /// A client that finds registries through `directory` and shows them `credentials`.
    pub fn new(directory: Arc<dyn Directory>, credentials: Arc<dyn Credentials>) -> HttpRegistry {
        Self::with_patience(directory, credentials, Patience::default())
    }

    /// The same, with other bounds of waiting.
    pub fn with_patience(
        directory: Arc<dyn Directory>,
        credentials: Arc<dyn Credentials>,
        patience: Patience,
    ) -> HttpRegistry {
        let session = Arc::new(Session::new(credentials, patience));
        HttpRegistry {
            directory,
            session,
            trust: Trust::default(),
            speaks_tls: Mutex::default(),
            down: Mutex::default(),
        }
    }

    /// The same, admitting what `trust` admits; without it, every image is.
    #[must_use]
    pub fn with_trust(self, trust: Trust) -> HttpRegistry {
        HttpRegistry { trust, ..self }
    }

    /// Whether a registry takes a credential.
    pub async fn check_login(&self, registry: &str, credential: &Credential) -> Result<LoginOutcome> {
        // A repository that need not exist: what counts is where the registry is.
        let reference = Reference::parse(&format!("{registry}/mica"))?;
        let endpoint = self.own_server(&reference).await?;
        let client = self.session.client(&endpoint)?;
        self.session.authority().check(&endpoint, &client, credential).await
    }

    /// The servers to read a repository from, in the order in which they are tried.
    async fn servers(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let servers = self.speaking(self.directory.endpoints(reference)?).await?;
        if servers.is_empty() {
            let message = format!("the configuration has no server for `{}`", reference.familiar_repository());
            return Err(Error::refused(Kind::NotFound, message));
        }
        Ok(servers)
    }

    /// The registry itself, which alone is written to.
    async fn own_server(&self, reference: &Reference) -> Result<Endpoint> {
        let own = self.speaking(self.directory.own(reference)?).await?.pop();
        own.ok_or_else(|| {
            let message = format!("the configuration has only copies of `{}`", reference.familiar_repository());
            Error::refused(Kind::Denied, message)
        })
    }

    /// Those that are not known to be down, each by what it speaks.
    async fn speaking(&self, endpoints: Vec<Endpoint>) -> Result<Vec<Endpoint>> {
        let mut servers: Vec<Endpoint> = Vec::new();
        let mut given = endpoints.into_iter().filter(|endpoint| !self.is_down(endpoint)).peekable();
        while let Some(endpoint) = given.next() {
            // The same server by TLS and plainly is one, which speaks one of the two.
            let both = |next: &Endpoint| {
                let same = (next.base.host_str(), next.mirror) == (endpoint.base.host_str(), endpoint.mirror);
                same && next.path == endpoint.path && next.is_plain() && !endpoint.is_plain()
            };
            match given.next_if(both) {
                Some(plain) if !self.speaks_tls(&endpoint).await? => servers.push(plain),
                _ => servers.push(endpoint),
            }
        }
        Ok(servers)
    }

    /// Tries TLS once where plain HTTP would do too.
    async fn speaks_tls(&self, endpoint: &Endpoint) -> Result<bool> {
        let known = || self.speaks_tls.lock().unwrap_or_else(PoisonError::into_inner);
        let server = failure::host(&endpoint.base);
        if let Some(&speaks) = known().get(&server) {
            return Ok(speaks);
        }
        let client = self.session.client(endpoint)?;
        let tried = client.request(Method::GET, endpoint.url("")?).send().await;
        // Without a port the two are two ports, and the one that nobody listens on speaks nothing. Where clear text is
        // allowed by name it may also be that only a proxy for clear text leads there.
        let two_ways = endpoint.base.port().is_none() || endpoint.verify == Verify::Insecure;
        let nobody = |error: &reqwest::Error| two_ways && error.is_connect() && !failure::is_certificate(error);
        let speaks = !tried.is_err_and(|error| failure::speaks_no_tls(&error) || nobody(&error));
        known().insert(server, speaks);
        Ok(speaks)
    }

    fn is_down(&self, endpoint: &Endpoint) -> bool {
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        endpoint.mirror && down.contains(&failure::host(&endpoint.base))
    }

    /// Keeps in mind why a server with copies was of no use.
    fn passed_over(&self, mirror: String, error: &Error) {
        tracing::debug!(mirror, %error, "trying the next server");
        if error.kind() == Kind::Unavailable {
            self.down.lock().unwrap_or_else(PoisonError::into_inner).insert(mirror);
        }
    }

    /// Asks one server after the other until one has what is wanted.
    async fn first<T, F>(&self, reference: &Reference, ask: impl Fn(Arc<Session>, Endpoint) -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
        T: Send,
    {
        let servers = self.servers(reference).await?;
        let mut last = None;
        for endpoint in servers {
            let mirror = endpoint.mirror.then(|| failure::host(&endpoint.base));
            match ask(Arc::clone(&self.session), endpoint).await {
                Err(error) => {
                    if let Some(mirror) = mirror {
                        self.passed_over(mirror, &error);
                    }
                    last = Some(error);
                }
                found => return found,
            }
        }
        Err(last.unwrap_or_else(|| Error::refused(Kind::Internal, "no server was asked")))
    }
}

#[async_trait]
impl Registry for HttpRegistry {
    async fn manifest(&self, reference: &Reference) -> Result<Document> {
        self.first(reference, |session, endpoint| async move { documents::get(&session, &endpoint, reference).await })
            .await
    }

    async fn admit(&self, reference: &Reference, chain: &[Document]) -> Result<()> {
        self.trust.admit(self, reference, chain).await
    }

    async fn look_up(&self, reference: &Reference) -> Result<Option<Descriptor>> {
        self.first(reference, |session, endpoint| async move { documents::head(&session, &endpoint, reference).await })
            .await
    }

    async fn fetch_blob(
        &self,
        repository: &Reference,
        blob: &Descriptor,
        range: Range<u64>,
        sink: &mut dyn BlobSink,
    ) -> Result<()> {
        let mut fetch = Fetch::new(blob, range);
        let mut last = None;
        for endpoint in self.servers(repository).await? {
            // Another server goes on where this one stopped.
            match blobs::fetch(&self.session, &endpoint, &mut fetch, sink).await {
                Ok(()) => return Ok(()),
                Err(error) if fetch.sink_failed() => return Err(error),
                Err(error) => {
                    if endpoint.mirror {
                        self.passed_over(failure::host(&endpoint.base), &error);
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::refused(Kind::Internal, "no server was asked")))
    }

    fn serves_ranges(&self, repository: &Reference) -> bool {
        self.session.serves_ranges(repository.domain())
    }

    async fn has_blob(&self, repository: &Reference, digest: &Digest) -> Result<bool> {
        let endpoint = self.own_server(repository).await?;
        blobs::exists(&self.session, &endpoint, digest).await
    }

    async fn mount_blob(&self, repository: &Reference, digest: &Digest, from: &Reference) -> Result<bool> {
        if repository.domain() != from.domain() {
            return Ok(false);
        }
        let endpoint = self.own_server(repository).await?;
        upload::mount(&self.session, &endpoint, digest, from.path()).await
    }

    async fn begin_upload(&self, repository: &Reference) -> Result<Box<dyn Upload>> {
        let endpoint = self.own_server(repository).await?;
        upload::begin(&self.session, endpoint).await
    }

    async fn resume_upload(&self, repository: &Reference, place: &str) -> Result<Option<(Box<dyn Upload>, u64)>> {
        let endpoint = self.own_server(repository).await?;
        Ok(upload::resume(&self.session, endpoint, place).await)
    }

    async fn push_manifest(&self, reference: &Reference, document: &Document) -> Result<()> {
        let endpoint = self.own_server(reference).await?;
        documents::put(&self.session, &endpoint, reference, document).await
    }

    async fn referrers(&self, subject: &Reference, artifact_type: Option<&str>) -> Result<Vec<Descriptor>> {
        self.first(subject, |session, endpoint| async move {
            listing::referrers(&session, &endpoint, subject, artifact_type).await
        })
        .await
    }

    async fn tags(&self, repository: &Reference) -> Result<Vec<String>> {
        self.first(repository, |session, endpoint| async move { listing::tags(&session, &endpoint).await }).await
    }

    async fn search(&self, request: &SearchRequest) -> Result<Vec<SearchResult>> {
        let registry = request.registry.as_deref().unwrap_or("docker.io");
        let mut endpoint = self.own_server(&Reference::parse(&format!("{registry}/mica"))?).await?;
        if registry == "docker.io" {
            endpoint.base = crate::endpoint::base("https://index.docker.io")?;
        }
        listing::search(&self.session, &endpoint, request).await
    }
}
