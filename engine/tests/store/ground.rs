//! What the tests stand on: an engine on a throw-away store with a driver's real library, and archives built from bytes.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use mica_engine::build::Builder;
use mica_engine::ops::load::{ArchiveSource, Loaded, Silent};
use mica_engine::ops::reap::reap_store;
use mica_engine::{Durability, Engine, LayerBounds, Options, Reaping, Result};
use mica_layer::Digest;
use mica_storage_loader::SearchPath;
use serde_json::{Value, json};

use super::nothing::Nothing;

/// The drivers that work on any file system.
pub const DRIVERS: [&str; 2] = ["overlay", "vfs"];

/// Stands for no driver in particular: what the store uses.
pub const ANY: &str = "";

/// A store that goes away with the value.
pub struct Ground {
    pub directory: tempfile::TempDir,
    driver: String,
}

impl Ground {
    pub fn new(driver: &str) -> Ground {
        Ground { directory: tempfile::tempdir().unwrap(), driver: driver.to_owned() }
    }

    /// One more engine on the store, as another process would open it.
    pub fn engine(&self) -> Engine {
        open(self.directory.path(), &self.driver)
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Loads an archive and returns what it held.
    pub fn load(&self, engine: &Engine, archive: &[u8]) -> Result<Vec<Loaded>> {
        let path = self.directory.path().join(format!("archive-{}", fastrand::u64(..)));
        fs_err::write(&path, archive).unwrap();
        let loaded = wait(engine.load(ArchiveSource::File(path.clone()), Arc::new(Silent)));
        fs_err::remove_file(path).unwrap();
        loaded
    }

    /// [`Ground::weight`] after the reaper: a busy machine leaves it what is not gone in a moment.
    pub fn settled_weight(&self) -> (u64, Vec<String>) {
        wait(reap_store(options(self.directory.path(), &self.driver, Arc::new(Nothing)))).unwrap();
        self.weight()
    }

    /// Bytes below the store's directories of content, drivers and locks, and what is there. A chain's lock file stays as
    /// long as the chain.
    pub fn weight(&self) -> (u64, Vec<String>) {
        let mut names = Vec::new();
        let mut bytes = 0;
        for part in ["content", "drivers", "locks"] {
            let top = self.root().join(part);
            walk(&top, &mut |path, length| {
                let name = path.strip_prefix(self.root()).unwrap().display().to_string();
                // Views live as long as somebody has the driver open.
                if !name.starts_with("drivers/vfs/views/") {
                    bytes += length;
                    names.push(format!("{name} {length}"));
                }
            });
        }
        // The overlay driver makes this one when it first needs it.
        names.retain(|name| !name.starts_with("locks/chain-") && !name.starts_with("drivers/overlay/roots "));
        names.sort();
        (bytes, names)
    }
}

pub fn open(directory: &Path, driver: &str) -> Engine {
    open_with(directory, driver, Arc::new(Nothing))
}

/// An engine that builds with `builder`.
pub fn open_with(directory: &Path, driver: &str, builder: Arc<dyn Builder>) -> Engine {
    Engine::open(options(directory, driver, builder)).unwrap()
}

fn options(directory: &Path, driver: &str, builder: Arc<dyn Builder>) -> Options {
    Options {
        root: directory.join("root"),
        run_root: directory.join("run"),
        storage_driver: (driver != ANY).then(|| driver.to_owned()),
        storage_options: Vec::new(),
        driver_search: SearchPath::new([libraries()]),
        runtime: Arc::new(Nothing),
        builder,
        registry: Arc::new(Nothing),
        network: Arc::new(Nothing),
        layer_bounds: LayerBounds::default(),
        default_network: "none".into(),
        durability: Durability::Full,
        rootless: false,
        self_command: Vec::new(),
        reaping: Reaping::Foreground,
        cdi_folders: Vec::new(),
    }
}

/// Waits for a future of the engine.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A file's content below a mount.
pub fn read(mount: &OwnedFd, path: &str) -> std::io::Result<String> {
    use rustix::fs::{Mode, OFlags, openat};
    let file = openat(mount.as_fd(), path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    std::io::read_to_string(std::fs::File::from(file))
}

/// Writes a file below a mount.
pub fn write(mount: &OwnedFd, path: &str, content: &str) {
    use rustix::fs::{Mode, OFlags, openat};
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = openat(mount.as_fd(), path, flags, Mode::from_raw_mode(0o644)).unwrap();
    std::io::Write::write_all(&mut std::fs::File::from(file), content.as_bytes()).unwrap();
}

/// An entry of a layer under construction.
pub enum Node<'a> {
    Dir(&'a str),
    File(&'a str, &'a str),
    HardLink(&'a str, &'a str),
}

/// A layer's archive.
pub fn layer(nodes: &[Node<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for node in nodes {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(1_700_000_000);
        match node {
            Node::Dir(path) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                builder.append_data(&mut header, path, std::io::empty()).unwrap();
            }
            Node::File(path, content) => {
                header.set_mode(0o644);
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, content.as_bytes()).unwrap();
            }
            Node::HardLink(path, target) => {
                header.set_entry_type(tar::EntryType::Link);
                header.set_size(0);
                builder.append_link(&mut header, path, target).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// An image under construction.
#[derive(Clone)]
pub struct Image {
    pub names: Vec<String>,
    pub layers: Vec<Vec<u8>>,
    pub config: Value,
}

impl Image {
    pub fn new(name: &str, layers: Vec<Vec<u8>>) -> Image {
        let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::sha256_of(layer).to_string()).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-02T03:04:05Z",
            "config": { "Cmd": ["/bin/true"], "Labels": { "name": name } },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": [],
        });
        Image { names: vec![name.to_owned()], layers, config }
    }
}

/// A base of three layers, the second with a whiteout, the third on directories that only the first one has.
pub fn sample(name: &str) -> Image {
    Image::new(
        name,
        vec![
            layer(&[
                Node::Dir("etc"),
                Node::File("etc/kept", "kept"),
                Node::File("etc/gone", "gone"),
                Node::Dir("deep"),
                Node::Dir("deep/er"),
            ]),
            layer(&[Node::Dir("etc"), Node::File("etc/.wh.gone", ""), Node::File("etc/new", "new")]),
            layer(&[Node::File("deep/er/file", "implicit parents"), Node::HardLink("link", "etc/kept")]),
        ],
    )
}

/// Members of an archive, by name.
pub type Members = Vec<(String, Vec<u8>)>;

/// Docker's archive of images.
pub fn docker_members(images: &[Image]) -> Members {
    let mut members: Members = Vec::new();
    let mut manifest = Vec::new();
    for image in images {
        let config = image.config.to_string().into_bytes();
        let config_name = format!("{}.json", Digest::sha256_of(&config).hex());
        let mut layers = Vec::new();
        for layer in &image.layers {
            let name = format!("{}/layer.tar", Digest::sha256_of(layer).hex());
            layers.push(name.clone());
            members.push((name, layer.clone()));
        }
        manifest.push(json!({ "Config": config_name, "RepoTags": image.names, "Layers": layers }));
        members.push((config_name, config));
    }
    members.push(("manifest.json".into(), Value::from(manifest).to_string().into_bytes()));
    members
}

/// The image specification's layout of one image.
pub fn oci_members(image: &Image) -> Members {
    let mut members: Members = vec![("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
    let mut blob = |bytes: &[u8], media_type: &str| {
        let digest = Digest::sha256_of(bytes);
        members.push((format!("blobs/sha256/{}", digest.hex()), bytes.to_vec()));
        json!({ "mediaType": media_type, "digest": digest.as_str(), "size": bytes.len() })
    };
    let config = blob(image.config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let layers: Vec<Value> =
        image.layers.iter().map(|layer| blob(layer, "application/vnd.oci.image.layer.v1.tar")).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers,
    });
    let mut entry = blob(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": image.names[0] });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    members.push(("index.json".into(), index.to_string().into_bytes()));
    members
}

/// Packs members into an archive.
pub fn pack(members: &Members) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        // Written raw, because hostile names are refused by the library.
        let name = name.as_bytes();
        assert!(name.len() < 100, "test names fit the old header");
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_cksum();
        builder.append(&header, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn docker_archive(images: &[Image]) -> Vec<u8> {
    pack(&docker_members(images))
}

/// A sink whose bytes can be looked at afterwards.
#[derive(Clone, Default)]
pub struct Sink(pub Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs a test on a store on btrfs, in a process of its own with its own mounts. `test` is its name below this binary.
pub fn on_btrfs(test: &str, driver: &str, work: impl FnOnce(&Ground)) {
    const SCRATCH: &str = "MICA_TEST_BTRFS";
    let missing = ["unshare", "mkfs.btrfs", "mount", "btrfs"].into_iter().find(|program| {
        !std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join(program).exists())
    });
    if !is_root() || missing.is_some_and(|program| skip(&format!("needs `{program}`"))) {
        return;
    }
    if std::env::var_os(SCRATCH).is_none() {
        let mut again = Command::new("unshare");
        again.args(["--mount", "--propagation", "private", "--"]).arg(std::env::current_exe().unwrap());
        again.args(["--exact", test, "--nocapture"]).env(SCRATCH, "1");
        assert!(again.status().unwrap().success());
        return;
    }
    let ground = Ground::new(driver);
    let image = ground.directory.path().join("image");
    fs_err::create_dir(ground.root()).unwrap();
    fs_err::File::create(&image).unwrap().set_len(512 << 20).unwrap();
    assert!(Command::new("mkfs.btrfs").arg("-q").arg(&image).status().unwrap().success());
    assert!(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(ground.root()).status().unwrap().success());
    work(&ground);
    assert!(Command::new("umount").arg(ground.root()).status().unwrap().success());
}

/// Skips a test that needs root; CI sets `MICA_NO_SKIP` so that a skip there is a failure.
pub fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    !skip("needs root")
}

/// Says why a test does nothing; a failure where nothing may be skipped.
#[expect(clippy::print_stderr, reason = "a test says why it did nothing")]
pub fn skip(reason: &str) -> bool {
    assert!(std::env::var_os("MICA_NO_SKIP").is_none(), "{reason}");
    eprintln!("skipped: {reason}");
    true
}

/// The directory with the drivers' libraries, built when they are not there.
fn libraries() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let executable = std::env::current_exe().unwrap();
            let directory = executable.parent().unwrap().parent().unwrap().to_owned();
            let names = DRIVERS.into_iter().chain(["btrfs"]);
            let missing = names.clone().any(|name| !directory.join(format!("libmica_storage_{name}.so")).exists());
            if missing {
                let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                cargo.arg("build").env("CARGO_TARGET_DIR", directory.parent().unwrap());
                for name in names {
                    cargo.arg("-p").arg(format!("mica-storage-{name}"));
                }
                assert!(cargo.status().unwrap().success(), "the drivers do not build");
            }
            directory
        })
        .clone()
}

fn walk(path: &Path, visit: &mut dyn FnMut(&Path, u64)) {
    let mut entries: Vec<_> = fs_err::read_dir(path).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(fs_err::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().unwrap();
        let length = if kind.is_dir() { 0 } else { entry.metadata().unwrap().len() };
        visit(&entry.path(), length);
        if kind.is_dir() {
            walk(&entry.path(), visit);
        }
    }
}
