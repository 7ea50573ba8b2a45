//! `oci:FOLDER`, and `dir:FOLDER` beside it: layouts in folders to read from and to write to, and `oci-archive:FILE` to read from.

use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use mica_layer::Digest;
use serde_json::{Value, json};

use super::Means;
use super::ends::{Source, Target};
use crate::layout::{
    Folder, INDEX, MANIFEST, Members, Naming, NewFolder, OCI_LAYOUT, OCI_LAYOUT_CONTENT, Part, VERSION,
    VERSION_CONTENT, Writer, refused,
};
use crate::manifest::{Descriptor, Document, INDEXES, Index, OCI_INDEX, document};
use crate::ops::load;
use crate::ops::pull::Documents;
use crate::registry::Upload;
use crate::{Error, Kind, Reference, Result};

/// Where the image specification wants an entry's name.
const NAME: &str = "org.opencontainers.image.ref.name";
/// Where containerd and Docker have it.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// A layout to read from.
#[derive(Debug)]
pub(super) struct Layout {
    members: Members,
    tag: Option<String>,
    shown: String,
}

impl Layout {
    pub(super) fn open_folder(path: &Path, tag: Option<String>) -> Result<Layout> {
        Ok(Layout { members: Members::of_folder(path)?, tag, shown: path.display().to_string() })
    }

    pub(super) fn open_archive(means: &Means, path: &Path, tag: Option<String>) -> Result<Layout> {
        let room = || crate::layout::scratch(&means.scratch);
        let members = crate::layout::open(path, means.bounds, &room)?;
        Ok(Layout { members, tag, shown: path.display().to_string() })
    }

    pub(super) fn open_dir(path: &Path) -> Result<Layout> {
        let mut layout = Layout::open_folder(path, None)?;
        layout.members.naming = Naming::Dir;
        Ok(layout)
    }

    /// The entry of the index that is meant.
    fn entry(&self) -> Result<Descriptor> {
        let index: Index = document(&self.members.document(INDEX)?, INDEX, &INDEXES)?;
        let names = |entry: &Descriptor| -> Vec<String> {
            [NAME, CONTAINERD_NAME].iter().filter_map(|key| entry.annotations.get(*key)).cloned().collect()
        };
        let mut digests: Vec<&Digest> = index.manifests.iter().map(|entry| &entry.digest).collect();
        digests.dedup();
        let known = || {
            let mut known: Vec<String> = index.manifests.iter().filter_map(|entry| names(entry).pop()).collect();
            known.truncate(20);
            let known: String = known.join(", ").chars().flat_map(char::escape_debug).collect();
            format!("its names are: {known}")
        };
        let Some(tag) = &self.tag else {
            return match (digests.as_slice(), index.manifests.first()) {
                ([_], Some(entry)) => Ok(entry.clone()),
                ([], _) => Err(Error::refused(Kind::NotFound, format!("`{}` holds no image", self.shown))),
                _ => {
                    Err(refused(format!("`{}` holds several images, and none is named", self.shown)).with_hint(known()))
                }
            };
        };
        // A short name means what a registry's client would make of it.
        let whole = Reference::parse(tag).map(|reference| reference.to_string()).ok();
        let found = |wanted: &str| index.manifests.iter().find(|entry| names(entry).iter().any(|name| name == wanted));
        found(tag).or_else(|| found(whole.as_deref()?)).cloned().ok_or_else(|| {
            let shown: String = tag.chars().take(200).flat_map(char::escape_debug).collect();
            Error::refused(Kind::NotFound, format!("`{}` holds no image of the name `{shown}`", self.shown))
                .with_hint(known())
        })
    }
}

#[async_trait]
impl Documents for Layout {
    fn called(&self) -> String {
        self.shown.clone()
    }

    async fn listed(&self, entry: &Descriptor) -> Result<Document> {
        load::listed(&self.members, entry)
    }
}

#[async_trait]
impl Source for Layout {
    async fn named(&self) -> Result<Document> {
        match self.members.naming {
            Naming::Oci => load::listed(&self.members, &self.entry()?),
            Naming::Dir => load::dir_document(self.members.document(MANIFEST)?),
        }
    }

    async fn read(&self, blob: &Descriptor, range: Range<u64>) -> Result<Vec<u8>> {
        let file = self.members.reader(&self.members.blob(&blob.digest, blob.size)?)?;
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
        file.read_exact_at(&mut bytes, range.start).map_err(Error::io("read", &self.shown))?;
        Ok(bytes)
    }
}

/// A layout in a folder to write to.
#[derive(Debug)]
pub(super) struct FolderTarget {
    folder: Mutex<Opened>,
    naming: Naming,
    tag: Option<String>,
    umask: u32,
}

#[derive(Debug)]
enum Opened {
    /// What is in it goes again unless the copy ends well.
    New(NewFolder),
    /// A layout that gets one more image.
    Known(Folder),
    Finished,
}

impl FolderTarget {
    /// A layout that is there, or a new one.
    pub(super) fn oci(path: &Path, tag: Option<String>, umask: u32) -> Result<FolderTarget> {
        let opened = match Folder::open(path) {
            Ok(folder) if folder.find(OCI_LAYOUT)?.is_some() => Opened::Known(folder),
            _ => {
                // A layout without an index from the first moment on: a copy that is killed is taken up by the next one.
                let mut new = NewFolder::at(path, umask)?;
                let content = OCI_LAYOUT_CONTENT.as_bytes();
                new.member(OCI_LAYOUT, content.len() as u64, &mut &content[..])?;
                Opened::New(new)
            }
        };
        Ok(FolderTarget { folder: Mutex::new(opened), naming: Naming::Oci, tag, umask })
    }

    /// A new folder for one image.
    pub(super) fn dir(path: &Path, umask: u32) -> Result<FolderTarget> {
        let opened = Opened::New(NewFolder::at(path, umask)?);
        Ok(FolderTarget { folder: Mutex::new(opened), naming: Naming::Dir, tag: None, umask })
    }

    fn with<T>(&self, act: impl FnOnce(&Folder) -> Result<T>) -> Result<T> {
        match &*self.folder.lock().unwrap_or_else(PoisonError::into_inner) {
            Opened::New(new) => act(new.inner()),
            Opened::Known(folder) => act(folder),
            Opened::Finished => Err(Error::refused(Kind::Internal, "the layout is finished")),
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        use std::io::Write as _;
        self.with(|folder| {
            let mut part = folder.begin(name, self.umask)?;
            part.file().write_all(bytes).map_err(Error::io("write", part.shown()))?;
            part.place()
        })
    }

    /// `index.json` with one more entry, in place of another of the same name.
    fn index(&self, named: &Document) -> Result<Value> {
        let before = self.with(|folder| match folder.find(INDEX)? {
            None => Ok(None),
            Some(_) => Members::of_folder(folder.path())?.document(INDEX).map(Some),
        })?;
        let mut index = match before {
            None => json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] }),
            Some(bytes) => {
                document::<Index>(&bytes, INDEX, &INDEXES)?;
                serde_json::from_slice(&bytes).map_err(|error| refused(format!("`{INDEX}` cannot be read: {error}")))?
            }
        };
        let new = entry(named, self.tag.as_deref());
        if let Some(entries) = index["manifests"].as_array_mut() {
            let tag = self.tag.as_deref();
            entries.retain(|known| match known["annotations"][NAME].as_str() {
                Some(name) => Some(name) != tag,
                None => tag.is_some() || known["digest"] != new["digest"],
            });
            entries.push(new);
        }
        Ok(index)
    }
}

/// An entry of `index.json`.
pub(super) fn entry(named: &Document, tag: Option<&str>) -> Value {
    let mut descriptor = named.descriptor();
    if let Some(tag) = tag {
        descriptor.annotations.insert(NAME.to_owned(), tag.to_owned());
    }
    json!(descriptor)
}

#[async_trait]
impl Target for FolderTarget {
    fn at_once(&self) -> usize {
        3
    }

    async fn has(&self, blob: &Descriptor, _from: Option<&Reference>) -> Result<bool> {
        // A file of this name was whole when it got it.
        let name = self.naming.blob(&blob.digest);
        self.with(|folder| {
            let Some(file) = folder.find(&name)? else { return Ok(false) };
            Ok(file.metadata().map_err(Error::io("stat", folder.path().join(&name)))?.len() == blob.size)
        })
    }

    async fn begin(&self, blob: &Descriptor) -> Result<Box<dyn Upload>> {
        let part = self.with(|folder| folder.begin(&self.naming.blob(&blob.digest), self.umask))?;
        Ok(Box::new(Blob(part)))
    }

    async fn listed(&self, document: &Document) -> Result<()> {
        self.put(&self.naming.manifest(&document.digest), &document.bytes)
    }

    async fn finish(&self, named: &Document) -> Result<()> {
        match self.naming {
            Naming::Oci => {
                self.put(&self.naming.blob(&named.digest), &named.bytes)?;
                let index = self.index(named)?;
                self.put(INDEX, index.to_string().as_bytes())?;
            }
            Naming::Dir => {
                self.put(VERSION, VERSION_CONTENT.as_bytes())?;
                self.put(MANIFEST, &named.bytes)?;
            }
        }
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *folder, Opened::Finished) {
            Opened::New(new) => Box::new(new).finish(),
            _ => Ok(()),
        }
    }
}

/// A blob that gets its name when it is whole.
struct Blob(Part);

#[async_trait]
impl Upload for Blob {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        use std::io::Write as _;
        self.0.file().write_all(bytes).map_err(Error::io("write", self.0.shown()))
    }

    async fn finish(self: Box<Self>, _digest: &Digest) -> Result<()> {
        self.0.place()
    }
}
