//! zstd:chunked: what the table of contents of such a blob says of its bytes, and which of them another blob has too.
//!
//! Such a layer is an ordinary zstd stream in which every file's content is a frame of its own, followed by a skippable frame
//! with a table of contents (github.com/containers/storage, `pkg/chunked`). Two layers that share files share those bytes.
//! Nothing here is trusted: what is taken over saves a download, and the whole blob is verified against its digest.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::ops::Range;

use mica_layer::{Compression, Decoder};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::manifest::Descriptor;

/// Where the table is: offset, compressed and plain length, and kind. The second name is the older one.
const POSITION: [&str; 2] =
    ["io.github.containers.zstd-chunked.manifest-position", "io.containers.zstd-chunked.manifest-position"];
/// The only kind of table there is.
const KIND: u64 = 1;
/// The most bytes of a table that are fetched, and that they may become: some 200,000 files.
const TABLE_MAX: u64 = 16 << 20;
const PLAIN_MAX: u64 = 96 << 20;
/// Less than this in a row is fetched with what is around it: a request costs more.
const WORTH: u64 = 64 << 10;

/// Where the table of a blob is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// Bytes of the blob.
    pub(crate) range: Range<u64>,
    plain: u64,
}

impl Position {
    /// What a layer's descriptor says; `None` for other layers, and where it says nothing sensible.
    pub(crate) fn of(blob: &Descriptor) -> Option<Position> {
        let text = POSITION.iter().find_map(|name| blob.annotations.get(*name))?;
        let numbers: Vec<u64> = text.split(':').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let [offset, length, plain, KIND] = numbers[..] else { return None };
        let end = offset.checked_add(length).filter(|&end| end <= blob.size)?;
        (length <= TABLE_MAX && plain <= PLAIN_MAX).then_some(Position { range: offset..end, plain })
    }

    /// Reads the table from its bytes; `None` when they are none.
    pub(crate) fn read(&self, bytes: &[u8]) -> Option<Table> {
        let decoder = Decoder::of(Compression::Zstd, bytes).ok()?;
        let mut text = Vec::new();
        decoder.take(self.plain).read_to_end(&mut text).ok()?;
        let mut table: Table = serde_json::from_slice(&text).ok()?;
        table.entries.iter_mut().for_each(|entry| entry.bytes.end = entry.bytes.end.max(entry.bytes.start));
        Some(table)
    }
}

/// What a blob is made of, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Table {
    entries: Vec<Entry>,
}

/// A file, a part of one, or a name without content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Stands for everything that the table says but for where it is: name, metadata, the content's digest.
    key: u64,
    /// Where the content is; empty for what has none.
    bytes: Range<u64>,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entry, D::Error> {
        let mut said = Map::<String, Value>::deserialize(deserializer)?;
        let mut number = |name: &str| said.remove(name).and_then(|value| value.as_u64()).unwrap_or_default();
        let bytes = number("offset")..number("endOffset");
        let mut hasher = DefaultHasher::new();
        Value::Object(said).to_string().hash(&mut hasher);
        Ok(Entry { key: hasher.finish(), bytes })
    }
}

/// Bytes that another blob has too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shared {
    /// Where they belong.
    pub(crate) at: Range<u64>,
    /// Where the other blob has them.
    pub(crate) from: u64,
}

impl Table {
    /// What of this blob `other` has too: contents, and the headers between them where both blobs have the same names in a row.
    pub(crate) fn shared_with(&self, other: &Table) -> Vec<Shared> {
        let (mine, theirs) = (self.contents(), other.contents());
        let by_key: HashMap<u64, usize> =
            theirs.iter().enumerate().rev().map(|(index, content)| (content.entry.key, index)).collect();
        let mut shared: Vec<Shared> = Vec::new();
        for (index, content) in mine.iter().enumerate() {
            let Some(&twin) = by_key.get(&content.entry.key) else { continue };
            let (bytes, same) = (&content.entry.bytes, &theirs[twin].entry.bytes);
            if bytes.end - bytes.start != same.end - same.start || content.headers.start > bytes.start {
                continue;
            }
            // The headers follow from the names, and the padding before them from the file before.
            let before = |contents: &[Content<'_>], index: usize| index.checked_sub(1).map(|i| contents[i].entry.key);
            let headers = bytes.start - content.headers.start;
            let alike = same.start.checked_sub(theirs[twin].headers.start) == Some(headers)
                && content.names == theirs[twin].names
                && before(&mine, index) == before(&theirs, twin);
            let lead = if alike { headers } else { 0 };
            shared.push(Shared { at: bytes.start - lead..bytes.end, from: same.start - lead });
        }
        worthwhile(shared)
    }

    /// The entries that have content, each with what is between it and the one before.
    fn contents(&self) -> Vec<Content<'_>> {
        let (mut contents, mut names, mut end) = (Vec::new(), Vec::new(), 0);
        for entry in &self.entries {
            if entry.bytes.is_empty() {
                names.push(entry.key);
            } else {
                let headers = end..entry.bytes.start;
                end = entry.bytes.end;
                contents.push(Content { entry, headers, names: std::mem::take(&mut names) });
            }
        }
        contents
    }
}

struct Content<'a> {
    entry: &'a Entry,
    /// Between the content before and this one.
    headers: Range<u64>,
    /// What has no content and lies there too.
    names: Vec<u64>,
}

/// Leaves out what is not worth to be left out of a request.
fn worthwhile(shared: Vec<Shared>) -> Vec<Shared> {
    let mut kept = Vec::with_capacity(shared.len());
    let rows = shared.chunk_by(|one, next| one.at.end == next.at.start);
    for row in rows {
        if row.iter().map(|shared| shared.at.end - shared.at.start).sum::<u64>() >= WORTH {
            kept.extend_from_slice(row);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use mica_layer::{Digest, Encoder};

    use super::*;

    const K: u64 = 40_000;

    /// A table of files by name and content, each content of `K` bytes behind a header of a hundred.
    fn table(files: &[(&str, &str)]) -> Table {
        let entries = files.iter().enumerate().map(|(index, (name, content))| {
            let start = index as u64 * (K + 100) + 100;
            let place = if content.is_empty() { 0..0 } else { start..start + K };
            serde_json::json!({ "name": name, "digest": content, "offset": place.start, "endOffset": place.end })
        });
        let text = serde_json::json!({ "version": 1, "entries": entries.collect::<Vec<_>>() }).to_string();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn files_in_a_row_are_shared_with_their_headers() {
        let at = |index: u64| index * (K + 100);
        let whole = table(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
        let all = |from: Range<u64>| (at(from.start), at(from.end));
        let rows = |mine: &Table, other: &Table| -> Vec<(u64, u64, u64)> {
            let shared = mine.shared_with(other);
            let rows = shared.chunk_by(|one, next| one.at.end == next.at.start);
            rows.map(|row| (row[0].at.start, row[row.len() - 1].at.end, row[0].from)).collect()
        };
        let (start, end) = all(0..4);
        assert_eq!(rows(&whole, &whole), [(start, end, 0)]);
        // The second is another one: the first alone is not worth it, and the header after it is not certain.
        let changed = table(&[("a", "1"), ("b", "x"), ("c", "3"), ("d", "4")]);
        assert_eq!(rows(&changed, &whole), [(at(2) + 100, at(4), at(2) + 100)]);
        // One more in front moves all.
        let moved = table(&[("0", "0"), ("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
        assert_eq!(rows(&moved, &whole), [(at(1) + 100, at(5), 100)]);
        // The same content under another name has another header, and nothing is left that is worth it.
        let renamed = table(&[("z", "1"), ("y", "2")]);
        assert_eq!(rows(&renamed, &whole), []);
        assert_eq!(rows(&table(&[]), &whole), []);
    }

    #[test]
    fn positions_and_tables_are_read_with_bounds() {
        let blob = |position: &str| {
            let mut blob = Descriptor::new("x", Digest::sha256_of(b"x"), 1000);
            blob.annotations.insert(POSITION[0].to_owned(), position.to_owned());
            blob
        };
        for (text, expected) in [
            ("900:50:400:1", Some(900..950)),
            ("900:100:400:1", Some(900..1000)),
            ("900:101:400:1", None),
            ("900:50:400:2", None),
            ("900:50:999999999999:1", None),
            ("18446744073709551615:50:1:1", None),
            ("900:50:400", None),
            ("", None),
            ("a:b:c:1", None),
        ] {
            assert_eq!(Position::of(&blob(text)).map(|position| position.range), expected, "{text}");
        }
        assert_eq!(Position::of(&Descriptor::new("x", Digest::sha256_of(b"x"), 9)), None);

        let packed = |text: &str| {
            let mut encoder = Encoder::new(Compression::Zstd, None, Vec::new()).unwrap();
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let position = Position { range: 0..1, plain: 200 };
        let table = r#"{"version":1,"entries":[{"name":"a","offset":9,"endOffset":3}]}"#;
        assert_eq!(position.read(&packed(table)).unwrap().entries[0].bytes, 9..9);
        let long = format!(r#"{{"version":1,"entries":[{}]}}"#, vec![r#"{"name":"a"}"#; 50].join(","));
        for bytes in [packed("{"), packed("[]"), packed(&long), b"none".to_vec(), vec![]] {
            assert_eq!(position.read(&bytes), None);
        }
    }
}
