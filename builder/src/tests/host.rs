//! The boundary's test double: a stack's root is a directory of its own, a step starts from a copy of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mica_engine::build::*;
use mica_engine::image::ImageConfig;
use mica_engine::{Error, Kind, Result};
use mica_layer::{CopyOptions, DiffId, Digest, copy_into};

use crate::DockerfileBuilder;

/// A store, a context and a record of what was said.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub state: Arc<State>,
    pub request: BuildRequest,
}

#[derive(Default)]
pub struct State {
    root: PathBuf,
    images: Mutex<BTreeMap<String, ImageConfig>>,
    cache: Mutex<BTreeMap<String, CachedStep>>,
    layers: Mutex<usize>,
    /// Everything progress reported, one line each.
    pub said: Mutex<Vec<String>>,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        fs_err::create_dir_all(&root).unwrap();
        fs_err::create_dir(dir.path().join("context")).unwrap();
        let request = BuildRequest {
            context: Some(dir.path().join("context")),
            dockerfile_name: "Dockerfile".into(),
            network: "none".into(),
            ..BuildRequest::default()
        };
        Self { dir, state: Arc::new(State { root, ..State::default() }), request }
    }

    /// Writes a file of the context, with the directories above it.
    pub fn file(&self, path: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join("context").join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, content).unwrap();
        path
    }

    pub fn context(&self) -> PathBuf {
        self.dir.path().join("context")
    }

    /// Makes a base image of files and lets `config` change what it says.
    pub fn image(&self, name: &str, files: &[(&str, &str)], config: impl FnOnce(&mut ImageConfig)) -> PathBuf {
        let id = self.state.next_layer();
        let stack = Stack { diff_ids: vec![id] };
        let root = self.state.root_of(&stack);
        fs_err::create_dir_all(&root).unwrap();
        for (path, content) in files {
            fs_err::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs_err::write(root.join(path), content).unwrap();
        }
        let mut image = ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..ImageConfig::default() };
        image.rootfs.diff_ids = stack.diff_ids;
        config(&mut image);
        self.state.images.lock().unwrap().insert(name.into(), image);
        root
    }

    pub fn build(&mut self, dockerfile: &str) -> Result<Built> {
        self.request.dockerfile = dockerfile.into();
        let host = Host(self.state.clone());
        self.state.said.lock().unwrap().clear();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let outcome = runtime.block_on(DockerfileBuilder.build(&host, self.request.clone(), &*self.state))?;
        let config = self.state.images.lock().unwrap()[outcome.image.as_str()].clone();
        let root = self.state.root_of(&Stack { diff_ids: config.rootfs.diff_ids.clone() });
        Ok(Built { config, root })
    }

    /// The error of a build that must fail.
    pub fn refusal(&mut self, dockerfile: &str) -> Error {
        match self.build(dockerfile) {
            Ok(_) => panic!("was built:\n{dockerfile}"),
            Err(error) => error,
        }
    }

    pub fn said(&self) -> Vec<String> {
        self.state.said.lock().unwrap().clone()
    }
}

pub struct Built {
    pub config: ImageConfig,
    pub root: PathBuf,
}

impl Built {
    pub fn read(&self, path: &str) -> String {
        fs_err::read_to_string(self.root.join(path)).unwrap()
    }

    /// `path mode uid:gid` of all files, one a line; links with their targets.
    pub fn list(&self) -> String {
        let mut out = String::new();
        list(&self.root, &self.root, &mut out);
        out
    }

    pub fn history(&self) -> Vec<(String, bool)> {
        let text = |entry: &mica_engine::image::HistoryEntry| {
            (entry.created_by.clone().unwrap_or_default(), entry.empty_layer)
        };
        self.config.history.iter().map(text).collect()
    }
}

fn list(root: &Path, dir: &Path, out: &mut String) {
    let mut entries: Vec<PathBuf> = fs_err::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let meta = fs_err::symlink_metadata(&path).unwrap();
        let shown = path.strip_prefix(root).unwrap().display();
        if meta.is_symlink() {
            writeln!(out, "{shown} -> {}", fs_err::read_link(&path).unwrap().display()).unwrap();
            continue;
        }
        writeln!(out, "{shown} {:o} {}:{}", meta.mode() & 0o7777, meta.uid(), meta.gid()).unwrap();
        if meta.is_dir() {
            list(root, &path, out);
        }
    }
}

impl State {
    fn next_layer(&self) -> DiffId {
        let mut layers = self.layers.lock().unwrap();
        *layers += 1;
        DiffId(Digest::sha256_of(format!("layer {layers}").as_bytes()))
    }

    fn root_of(&self, stack: &Stack) -> PathBuf {
        let name: String = stack.diff_ids.iter().map(|id| id.0.as_str()).collect();
        self.root.join(Digest::sha256_of(name.as_bytes()).hex())
    }

    fn open(&self, stack: &Stack) -> OwnedFd {
        let path = self.root_of(stack);
        fs_err::create_dir_all(&path).unwrap();
        fs_err::File::open(path).unwrap().into_parts().0.into()
    }
}

struct Host(Arc<State>);

#[async_trait]
impl BuildHost for Host {
    async fn base(&self, reference: &str, _platform: Option<&str>, _pull: bool) -> Result<Base> {
        match self.0.images.lock().unwrap().get(reference) {
            Some(config) => Ok(Base { image: Digest::sha256_of(b"base"), config: config.clone() }),
            None => Err(Error::refused(Kind::NotFound, format!("no such image `{reference}`")).with_hint("load it")),
        }
    }

    async fn cached(&self, key: &Digest) -> Result<Option<CachedStep>> {
        Ok(self.0.cache.lock().unwrap().get(key.as_str()).cloned())
    }

    async fn record(&self, key: &Digest, step: &CachedStep) -> Result<()> {
        self.0.cache.lock().unwrap().insert(key.as_str().into(), step.clone());
        Ok(())
    }

    async fn begin(&self, parent: &Stack) -> Result<Box<dyn Workspace>> {
        let mut stack = parent.clone();
        stack.diff_ids.push(self.0.next_layer());
        let (from, to) = (self.0.open(parent), self.0.open(&stack));
        copy_into(from.as_fd(), Path::new("."), to.as_fd(), Path::new("."), &CopyOptions::default()).unwrap();
        Ok(Box::new(Work { state: self.0.clone(), stack, committed: false }))
    }

    async fn view(&self, stack: &Stack) -> Result<OwnedFd> {
        Ok(self.0.open(stack))
    }

    async fn publish(&self, config: &ImageConfig, tags: &[String]) -> Result<Digest> {
        let digest = Digest::sha256_of(&serde_json::to_vec(config).unwrap());
        let mut images = self.0.images.lock().unwrap();
        for name in tags.iter().map(String::as_str).chain([digest.as_str()]) {
            images.insert(name.into(), config.clone());
        }
        Ok(digest)
    }
}

struct Work {
    state: Arc<State>,
    stack: Stack,
    committed: bool,
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs_err::remove_dir_all(self.state.root_of(&self.stack));
        }
    }
}

#[async_trait]
impl Workspace for Work {
    fn root(&self) -> Result<OwnedFd> {
        Ok(self.state.open(&self.stack))
    }

    /// Runs on the host with the root as its directory: enough to see arguments, environment and status.
    async fn run(&mut self, step: RunStep, output: &dyn RunOutput) -> Result<i32> {
        let env = step.env.iter().filter_map(|entry| entry.split_once('='));
        let ran = Command::new(&step.args[0])
            .args(&step.args[1..])
            .env_clear()
            .envs(env)
            .env("STEP", format!("{} {} {}", step.cwd, step.user, step.network))
            .current_dir(self.state.root_of(&self.stack))
            .output()
            .unwrap();
        output.stdout(&ran.stdout);
        output.stderr(&ran.stderr);
        Ok(ran.status.code().unwrap_or(137))
    }

    async fn commit(mut self: Box<Self>) -> Result<Stack> {
        self.committed = true;
        Ok(self.stack.clone())
    }
}

impl BuildProgress for State {
    fn begin(&self, step: usize, name: &str) {
        self.said.lock().unwrap().push(format!("{step} {name}"));
    }

    fn cached(&self, step: usize) {
        self.said.lock().unwrap().push(format!("{step} CACHED"));
    }

    fn output(&self, step: usize, _stream: Stream, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.said.lock().unwrap().push(format!("{step} > {}", String::from_utf8_lossy(bytes).trim_end()));
        }
    }

    fn end(&self, step: usize, error: Option<&str>) {
        if let Some(error) = error {
            self.said.lock().unwrap().push(format!("{step} ERROR {error}"));
        }
    }

    fn warning(&self, text: &str) {
        self.said.lock().unwrap().push(format!("! {text}"));
    }
}
