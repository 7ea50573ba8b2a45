//! Compares a directory with the layers it was made of: unpacking without writing.
//!
//! A layer's archive is the truth about its tree, and it has a digest. So nothing has to be recorded when a layer is
//! unpacked: the archive is streamed again, every entry is looked up where applying it would have put it, and a walk at
//! the end finds what no entry explains. The rules are those of [`crate::apply`](mod@crate::apply): the last of several
//! entries counts, parents are resolved inside the root, and deletions are in the target's own style.
//!
//! Memory grows with the number of entries of the layer, by about 150 bytes each; content is streamed. What the disk
//! refuses to show is a difference like any other; only what is wrong with the archive is an error.

mod compare;
mod model;
#[cfg(test)]
mod tests;
mod walk;

use std::io::BufRead;
use std::path::PathBuf;
use std::rc::Rc;

use self::compare::Reader;
use self::model::{Dir, Model, Node, Origin, Parents};
use crate::apply::name::{self, Meaning};
use crate::apply::{Target, Whiteouts};
use crate::archive::{Archive, Entry, Kind};
use crate::beneath;
use crate::error::{Error, Result};

/// Something about a path that is not as its layer says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Relative to the root; empty for the root itself.
    pub path: PathBuf,
    /// What is wrong with it, as a phrase that follows the path.
    pub what: String,
}

/// A directory under comparison with one layer after the other.
///
/// With [`Whiteouts::Direct`] the target shows everything up to the last layer, and `merged` is what it was before the
/// first of them: nothing for an empty directory. In the other styles the target holds one layer alone, and `merged` shows
/// what lies below it, if anything does.
#[derive(Debug)]
pub struct Verifier<'a> {
    model: Model<'a>,
    reader: Reader,
}

impl<'a> Verifier<'a> {
    /// Begins with nothing expected.
    pub fn new(target: Target<'a>) -> Verifier<'a> {
        Verifier { model: Model::new(target), reader: Reader::default() }
    }

    /// Expects what an uncompressed archive says, up to its end marker.
    pub fn layer(&mut self, source: impl BufRead) -> Result<()> {
        let mut archive = Archive::new(source);
        self.model.next_layer();
        let mut path = Vec::new();
        while let Some(entry) = archive.next()? {
            let refuse = |reason: &str| Error::refused(&entry.path, reason);
            name::clean(&entry.path, &mut path).map_err(refuse)?;
            let (parent, base) = beneath::split(&path);
            let meaning = match self.model.target.whiteouts {
                Whiteouts::OciFiles => Meaning::Entry,
                _ => name::meaning(base).map_err(refuse)?,
            };
            match meaning {
                Meaning::Entry => self.entry(&mut archive, &path)?,
                Meaning::Whiteout(name) => self.model.delete(parent, name),
                Meaning::Opaque => self.model.make_opaque(parent),
                Meaning::Ignored => {}
            }
        }
        Ok(())
    }

    /// Looks for what no layer explains, and reports everything in the order of paths.
    pub fn finish(self) -> Vec<Difference> {
        let wrong = walk::walk(self.model, self.reader);
        wrong.into_iter().map(|(path, what)| Difference { path: beneath::path_of(&path), what }).collect()
    }

    fn entry<R: BufRead>(&mut self, archive: &mut Archive<R>, path: &[u8]) -> Result<()> {
        let entry = archive.entry();
        if path.is_empty() {
            let wrong = compare::root(&self.model, entry);
            self.model.put(b"", Node::Dir(Dir::new(Origin::Entry)), wrong);
            return Ok(());
        }
        if entry.kind == Kind::CharDevice && (entry.major, entry.minor) == (0, 0) {
            return Ok(());
        }
        let (parent, base) = beneath::split(path);
        // Applying would have failed where a name cannot be resolved.
        let Some(place) = self.model.place(parent, Parents::Make) else { return Ok(()) };
        let full = beneath::join(&place.path, base);
        if entry.kind == Kind::HardLink {
            let link = entry.link.clone();
            self.hard_link(&link, &full);
            return Ok(());
        }
        let node = node_of(entry);
        self.reader.begin();
        // Where the directory itself is missing, that is the difference.
        let wrong = match &place.fd {
            Some(dir) => self.reader.entry(dir, base, &full, archive, self.model.target.whiteouts)?,
            None => None,
        };
        let stated = match (&wrong, &place.fd) {
            (None, Some(_)) => None,
            _ => Some(Rc::new(self.reader.stated(archive)?)),
        };
        self.model.put(&full, node, wrong);
        self.model.state(&full, stated);
        Ok(())
    }

    fn hard_link(&mut self, link: &[u8], full: &[u8]) {
        let mut target = Vec::new();
        if name::clean(link, &mut target).is_err() {
            return;
        }
        let Some((target, node)) = self.model.link_target(&target, &mut self.reader) else {
            self.model.put(full, Node::Other, Some("is a link to a file that the layer does not have".to_owned()));
            return;
        };
        if target != full {
            let stated = self.model.states.get(&target).and_then(|state| state.stated.clone());
            let wrong = self.reader.link(&self.model, &target, full, stated.as_deref());
            self.model.put(full, node, wrong);
            self.model.state(full, stated);
            self.model.join(&target, full);
        }
    }
}

fn node_of(entry: &Entry) -> Node {
    match entry.kind {
        Kind::Directory => Node::Dir(Dir::new(Origin::Entry)),
        Kind::Symlink => Node::Link(entry.link.clone()),
        _ => Node::Other,
    }
}
