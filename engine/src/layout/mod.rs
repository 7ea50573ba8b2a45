//! Images at rest outside the store: named members of an archive or of a folder, read and written.
//!
//! Nothing here knows an image: which members there are and what they say is for [`crate::ops::load`],
//! [`crate::ops::save`] and [`crate::ops::copy_image`]. Paths of strangers are resolved by the kernel, inside a root.

mod folder;
mod headers;
mod members;
mod open;
mod part;
mod writer;

use mica_layer::Digest;

pub(crate) use folder::Folder;
pub(crate) use members::{Extent, Members, corrupt, refused, verify};
pub(crate) use open::{open, read};
pub(crate) use part::{Part, scratch};
pub(crate) use writer::{NewFolder, Tar, Writer, hashed};

/// The index of a layout of the image specification.
pub(crate) const INDEX: &str = "index.json";
/// What says that a layout is one.
pub(crate) const OCI_LAYOUT: &str = "oci-layout";
/// Its content.
pub(crate) const OCI_LAYOUT_CONTENT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The member that makes an archive one of Docker's, and a folder one of skopeo's `dir:`.
pub(crate) const MANIFEST: &str = "manifest.json";
/// What says that a folder is one of skopeo's `dir:`.
pub(crate) const VERSION: &str = "version";
/// Its content.
pub(crate) const VERSION_CONTENT: &str = "Directory Transport Version: 1.1\n";

/// What members are called by their digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Naming {
    /// `blobs/sha256/<hex>` (OCI image-spec, `image-layout.md`).
    #[default]
    Oci,
    /// `<hex>` and, for the manifests of an index, `<hex>.manifest.json`, as skopeo's `dir:` has it.
    Dir,
}

impl Naming {
    /// The member that is a blob.
    pub(crate) fn blob(self, digest: &Digest) -> String {
        match self {
            Naming::Oci => format!("blobs/{}/{}", digest.algorithm().name(), digest.hex()),
            Naming::Dir => digest.hex().to_owned(),
        }
    }

    /// The member that is a manifest which an index lists.
    pub(crate) fn manifest(self, digest: &Digest) -> String {
        match self {
            Naming::Oci => self.blob(digest),
            Naming::Dir => format!("{}.manifest.json", digest.hex()),
        }
    }
}
