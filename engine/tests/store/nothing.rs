//! An adapter for everything that these tests do without: they start no process and reach no server.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;

use async_trait::async_trait;
use mica_engine::build::{BuildHost, BuildOutcome, BuildProgress, BuildRequest, Builder};
use mica_engine::image::ImageConfig;
use mica_engine::manifest::{Descriptor, Document};
use mica_engine::network::{
    AttachRequest, Attachment, ConnectRequest, DisconnectRequest, Endpoint, Member, Network, NetworkRecord, Party,
    PublishRequest, Published,
};
use mica_engine::registry::{BlobSink, Registry, SearchRequest, SearchResult, Upload};
use mica_engine::runtime::{Descriptors, ExecRequest, Runtime, Session, StartRequest};
use mica_engine::{Error, Kind, Reference, Result};
use mica_layer::Digest;

/// Neither a runtime nor a builder nor a registry.
#[derive(Debug)]
pub struct Nothing;

fn nothing<T>() -> Result<T> {
    Err(Error::refused(Kind::Unsupported, "not in this test"))
}

#[async_trait]
impl Network for Nothing {
    async fn design(&self, _wanted: NetworkRecord, _others: Vec<NetworkRecord>) -> Result<NetworkRecord> {
        nothing()
    }

    async fn attach(&self, _request: AttachRequest) -> Result<Attachment> {
        nothing()
    }

    async fn connect(&self, _request: ConnectRequest) -> Result<Endpoint> {
        nothing()
    }

    async fn disconnect(&self, _request: DisconnectRequest) -> Result<()> {
        nothing()
    }

    async fn publish(&self, _request: PublishRequest) -> Result<Published> {
        nothing()
    }

    fn release(&self, _endpoints: &[Endpoint]) {}

    fn rename(&self, _container: &Party, _endpoints: &[Endpoint]) -> Result<()> {
        Ok(())
    }

    fn running(&self, _network: &str) -> Result<Option<NetworkRecord>> {
        Ok(None)
    }

    fn members(&self, _network: &str) -> Result<Vec<Member>> {
        Ok(Vec::new())
    }

    fn interface(&self, _network: &NetworkRecord) -> String {
        String::new()
    }

    async fn take_down(&self, _network: &NetworkRecord) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Runtime for Nothing {
    fn name(&self) -> &str {
        "nothing"
    }

    async fn start(&self, _request: StartRequest, _descriptors: Descriptors) -> Result<Box<dyn Session>> {
        nothing()
    }

    async fn attach(&self, _run_dir: &Path) -> Result<Box<dyn Session>> {
        nothing()
    }

    async fn exec(&self, _request: ExecRequest) -> Result<Box<dyn Session>> {
        nothing()
    }

    async fn hold_ports(&self, _run_dir: &Path, _ports: Vec<OwnedFd>) -> Result<()> {
        nothing()
    }

    async fn kill(&self, _run_dir: &Path, _signal: i32) -> Result<()> {
        nothing()
    }

    async fn next_exit(&self, _run_dir: &Path) -> Result<Option<i32>> {
        nothing()
    }

    fn wake(&self, _run_dir: &Path) {}

    async fn wait(&self, _run_dir: &Path) -> Result<()> {
        nothing()
    }

    fn detach(&self, _command: &[String]) -> Result<()> {
        nothing()
    }
}

#[async_trait]
impl Builder for Nothing {
    async fn build(
        &self,
        _host: &dyn BuildHost,
        _request: BuildRequest,
        _progress: &dyn BuildProgress,
    ) -> Result<BuildOutcome> {
        nothing()
    }

    fn change(&self, _config: &mut ImageConfig, _instructions: &[String]) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Registry for Nothing {
    async fn manifest(&self, _reference: &Reference) -> Result<Document> {
        nothing()
    }

    async fn look_up(&self, _reference: &Reference) -> Result<Option<Descriptor>> {
        nothing()
    }

    async fn fetch_blob(
        &self,
        _repository: &Reference,
        _blob: &Descriptor,
        _range: Range<u64>,
        _sink: &mut dyn BlobSink,
    ) -> Result<()> {
        nothing()
    }

    async fn has_blob(&self, _repository: &Reference, _digest: &Digest) -> Result<bool> {
        nothing()
    }

    async fn mount_blob(&self, _repository: &Reference, _digest: &Digest, _from: &Reference) -> Result<bool> {
        nothing()
    }

    async fn begin_upload(&self, _repository: &Reference) -> Result<Box<dyn Upload>> {
        nothing()
    }

    async fn push_manifest(&self, _reference: &Reference, _document: &Document) -> Result<()> {
        nothing()
    }

    async fn referrers(&self, _subject: &Reference, _artifact_type: Option<&str>) -> Result<Vec<Descriptor>> {
        nothing()
    }

    async fn tags(&self, _repository: &Reference) -> Result<Vec<String>> {
        nothing()
    }

    async fn search(&self, _request: &SearchRequest) -> Result<Vec<SearchResult>> {
        nothing()
    }
}
