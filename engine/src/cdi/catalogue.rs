//! The files in the folders of the Container Device Interface, and which of them a device comes from.

use std::path::{Path, PathBuf};

use super::document::{self, Device, Document};
use crate::{Error, Kind, Result};

/// What the files say together.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// The files of each folder, the folder that wins first.
    folders: Vec<Vec<Document>>,
    /// Files that were not understood, each with the reason.
    broken: Vec<String>,
}

impl Catalogue {
    /// Reads the folders, of which later ones win. One that is not there has no devices, and a file that is wrong only
    /// matters to whoever wants something that is not found.
    pub fn read(folders: &[PathBuf]) -> Result<Self> {
        let mut catalogue = Self::default();
        for folder in folders.iter().rev() {
            let mut documents = Vec::new();
            for path in files(folder)? {
                let text = fs_err::read_to_string(&path).map_err(|error| error.to_string());
                match text.and_then(|text| document::parse(&path, &text)) {
                    Ok(document) => documents.push(document),
                    Err(why) => catalogue.broken.push(format!("`{}`: {why}", path.display())),
                }
            }
            catalogue.folders.push(documents);
        }
        Ok(catalogue)
    }

    /// A device by its qualified name. Two files of the winning folder that both have it are an error.
    pub fn device(&self, name: &str) -> Result<Option<(&Document, &Device)>> {
        let Some((kind, wanted)) = name.split_once('=') else { return Ok(None) };
        for documents in &self.folders {
            let mut found = documents
                .iter()
                .filter(|document| document.kind == kind)
                .filter_map(|document| Some((document, document.devices.iter().find(|device| device.name == wanted)?)));
            let first = found.next();
            if let (Some((one, _)), Some((other, _))) = (first, found.next()) {
                let message = format!(
                    "CDI device `{name}` is in conflict: both `{}` and `{}` describe it",
                    one.path.display(),
                    other.path.display()
                );
                return Err(Error::refused(Kind::InvalidInput, message).with_hint("remove one of the files"));
            }
            if first.is_some() {
                return Ok(first);
            }
        }
        Ok(None)
    }

    /// That no file has a device, with what there is instead.
    pub fn missing(&self, name: &str) -> Error {
        let mut message = format!("CDI device injection failed: unresolvable CDI devices {name}");
        for broken in &self.broken {
            message.push_str("; not understood: ");
            message.push_str(broken);
        }
        let error = Error::refused(Kind::NotFound, message);
        let mut known: Vec<String> = self.names().collect();
        known.sort();
        known.dedup();
        // A machine may have hundreds; whoever mistyped one needs a few.
        known.truncate(8);
        match known.is_empty() {
            true => error.with_hint("no device is described in any folder of `--cdi-spec-dir`"),
            false => error.with_hint(format!("there are: {}", known.join(", "))),
        }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let documents = self.folders.iter().flatten();
        documents
            .flat_map(|document| document.devices.iter().map(|device| format!("{}={}", document.kind, device.name)))
    }
}

/// The files of a folder in the order of their names; folders below it are not looked into.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if path.extension().is_some_and(|ending| ending == "json" || ending == "yaml") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_folders_win_and_equals_are_in_conflict() {
        let folder = tempfile::tempdir().unwrap();
        let folders = ["etc", "run"].map(|name| folder.path().join(name));
        for folder in &folders {
            fs_err::create_dir(folder).unwrap();
        }
        let write = |folder: &Path, name: &str, devices: &str| {
            let text = format!("{{\"cdiVersion\": \"0.6.0\", \"kind\": \"v.com/c\", \"devices\": [{devices}]}}");
            fs_err::write(folder.join(name), text).unwrap();
        };
        let (a, b, c) = (r#"{"name": "a"}"#, r#"{"name": "b"}"#, r#"{"name": "c"}"#);
        write(&folders[0], "one.json", &[a, b, c].join(","));
        write(&folders[0], "two.yaml", &[b, c].join(","));
        write(&folders[1], "three.json", c);
        write(&folders[1], "broken.json", "nonsense");
        write(&folders[1], "four.txt", r#"{"name": "d"}"#);
        let gone = folder.path().join("gone");
        let catalogue = Catalogue::read(&[folders[0].clone(), folders[1].clone(), gone]).unwrap();
        let from = |name: &str| {
            let found = catalogue.device(name).map(|found| found.map(|(document, _)| document.path.clone()));
            found.map(|path| path.map(|path| path.file_name().unwrap().to_owned())).map_err(|error| error.to_string())
        };
        assert_eq!(from("v.com/c=a"), Ok(Some("one.json".into())));
        assert_eq!(from("v.com/c=c"), Ok(Some("three.json".into())));
        assert_eq!(from("v.com/c=d"), Ok(None));
        let conflict = from("v.com/c=b").unwrap_err();
        assert!(conflict.contains("one.json") && conflict.contains("two.yaml"), "{conflict}");
        let missing = catalogue.missing("v.com/c=d");
        assert!(missing.to_string().contains("unresolvable CDI devices v.com/c=d"), "{missing}");
        assert!(missing.to_string().contains("broken.json"), "{missing}");
        assert_eq!(missing.hint(), Some("there are: v.com/c=a, v.com/c=b, v.com/c=c"));
    }
}
