//! The files of this machine, and the devices in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::Error;
use super::document::Document;
use super::edits::Edits;
use super::names::Name;
use crate::yaml;

/// Longest file that is read. A vendor's file of a large machine has some ten
/// thousand lines.
const FILE_LIMIT: u64 = 4 << 20;
/// Most files of a directory.
const FILES: usize = 1_000;

/// The devices that are known.
#[derive(Debug, Default)]
pub struct Registry {
    documents: Vec<Document>,
    /// By full name: the document and its device, or why it cannot be used.
    devices: BTreeMap<String, Result<(usize, usize), String>>,
    problems: Vec<String>,
}

impl Registry {
    /// Reads the files of these directories, of which a later one stands over an
    /// earlier one. What is not there or cannot be read has no devices.
    pub fn read(directories: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for directory in directories {
            registry.add_directory(directory);
        }
        registry
    }

    fn add_directory(&mut self, directory: &Path) {
        let Ok(entries) = std::fs::read_dir(directory) else {
            return;
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| {
            let kind = path.extension().and_then(|kind| kind.to_str());
            matches!(kind, Some("json" | "yaml"))
        });
        paths.sort_unstable();
        let mut here: BTreeMap<String, (usize, usize, PathBuf)> = BTreeMap::new();
        for path in paths.into_iter().take(FILES) {
            match read(&path) {
                Ok(document) => self.add(document, &path, &mut here),
                Err(why) => self.problems.push(format!("{}: {why}", path.display())),
            }
        }
    }

    fn add(
        &mut self,
        document: Document,
        path: &Path,
        here: &mut BTreeMap<String, (usize, usize, PathBuf)>,
    ) {
        let at = self.documents.len();
        for (number, device) in document.devices.iter().enumerate() {
            let name = format!("{}={}", document.kind, device.name);
            if let Some((_, _, first)) = here.get(&name) {
                let why = format!(
                    "conflicting device {name:?} (specs {:?}, {:?})",
                    first.display().to_string(),
                    path.display().to_string()
                );
                self.problems.push(why.clone());
                self.devices.insert(name, Err(why));
                continue;
            }
            here.insert(name.clone(), (at, number, path.to_owned()));
            self.devices.insert(name, Ok((at, number)));
        }
        self.documents.push(document);
    }

    /// The full names of the devices that can be used.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let good = self.devices.iter().filter(|(_, found)| found.is_ok());
        good.map(|(name, _)| name.as_str())
    }

    /// Whether there is a device of this kind, such as `nvidia.com/gpu`.
    pub fn has_kind(&self, kind: &str) -> bool {
        self.documents.iter().any(|document| document.kind == kind)
    }

    /// What a container needs that uses these devices; who has no user of its own
    /// among a device's facts is `owner`'s, user and group.
    ///
    /// # Errors
    /// [`Error::Invalid`] for devices that are not known or cannot be had.
    pub(in crate::container) fn edits(
        &self,
        names: &[String],
        owner: (u32, u32),
    ) -> Result<Edits, Error> {
        let failed = |why: String| Error::Invalid(format!("CDI device injection failed: {why}"));
        let mut chosen = Vec::new();
        let mut unknown = Vec::new();
        for name in names {
            match self.devices.get(name) {
                Some(Ok(found)) if Name::parse(name).is_some() => chosen.push(*found),
                _ => unknown.push(name.as_str()),
            }
        }
        if !unknown.is_empty() {
            let mut why = format!("unresolvable CDI devices {}", unknown.join(", "));
            for problem in &self.problems {
                why.push_str(": ");
                why.push_str(problem);
            }
            return Err(failed(why));
        }
        let mut edits = Edits::default();
        let mut used = Vec::new();
        for (document, device) in chosen {
            let document_edits = &self.documents[document].container_edits;
            let device = &self.documents[document].devices[device];
            if !used.contains(&document) {
                used.push(document);
                edits.add(document_edits, owner).map_err(failed)?;
            }
            edits.add(&device.container_edits, owner).map_err(failed)?;
        }
        Ok(edits)
    }
}

fn read(path: &Path) -> Result<Document, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|err| err.to_string())?;
    let mut file = file.take(FILE_LIMIT + 1);
    file.read_to_string(&mut text)
        .map_err(|err| err.to_string())?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(format!("the file is longer than {FILE_LIMIT} bytes"));
    }
    // JSON is YAML too, but says better what is wrong with it.
    let value = if path.extension().is_some_and(|kind| kind == "json") {
        serde_json::from_str(&text).map_err(|err| err.to_string())?
    } else {
        yaml::parse(&text).map_err(|err| err.to_string())?
    };
    Document::read(value)
}
