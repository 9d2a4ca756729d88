//! The files of a result, entry by entry.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use super::Built;
use crate::build::Error;
use crate::build::output::FilesOutput;
use crate::fs::PathError;
use crate::layer::{Entry, EntryKind, Lower};
use crate::snapshot::{FileId, View};
use crate::store::Store;

/// What is called for each entry; a regular file comes opened.
pub(super) type Visit<'a> = dyn FnMut(&Entry, Option<File>) -> Result<(), Error> + 'a;

/// A result's tree, and where it goes in the output.
pub(super) struct Part<'a> {
    /// The directory of its own that the platform has, if it has one.
    pub(super) directory: Option<String>,
    view: View,
    built: &'a Built,
}

/// The trees of the output, one a platform.
pub(super) fn parts<'a>(
    store: &Store,
    built: &'a [Built],
    output: &FilesOutput,
) -> Result<Vec<Part<'a>>, Error> {
    let split = output.split.unwrap_or(built.len() > 1);
    let part = |built: &'a Built| {
        let top = built.graph.target.and_then(|id| built.solved.result(id));
        let platform = built.platform.to_string().replace('/', "_");
        Ok(Part {
            directory: split.then_some(platform),
            view: View::open(store, top)?,
            built,
        })
    };
    let parts = built.iter().map(part).collect::<Result<Vec<_>, Error>>()?;
    if !split && parts.len() > 1 {
        refuse_collisions(&parts)?;
    }
    Ok(parts)
}

/// Two platforms may share directories, but no file.
fn refuse_collisions(parts: &[Part<'_>]) -> Result<(), Error> {
    let mut seen: BTreeMap<PathBuf, String> = BTreeMap::new();
    for part in parts {
        let platform = part.built.platform.to_string();
        part.walk(&mut |entry, _| {
            if entry.is_directory() {
                return Ok(());
            }
            if let Some(other) = seen.insert(entry.path.clone(), platform.clone()) {
                let path = entry.path.display();
                return Err(Error::Unsupported(format!(
                    "cannot overwrite {path} from {other} with {platform} when split option is disabled"
                )));
            }
            Ok(())
        })?;
    }
    Ok(())
}

impl Part<'_> {
    /// Calls `visit` for everything in the tree, a directory before its content,
    /// names sorted, with paths as the output has them. A further name of a file
    /// that was visited already is a hard link to its first path. With
    /// `SOURCE_DATE_EPOCH` everything has that time, as BuildKit's exporters give it.
    pub(super) fn walk(&self, visit: &mut Visit<'_>) -> Result<(), Error> {
        if let Some(directory) = &self.directory {
            visit(&self.top_directory(directory), None)?;
        }
        let mut links: HashMap<FileId, PathBuf> = HashMap::new();
        // The names that are still to be visited, one list a level, last first.
        let mut levels = vec![self.names(Path::new(""))?];
        let mut path = PathBuf::new();
        while let Some(names) = levels.last_mut() {
            let Some(name) = names.pop() else {
                levels.pop();
                path.pop();
                continue;
            };
            path.push(name);
            let found = self.view.entry_and_file(&path)?;
            let is_directory = matches!(&found, Some((entry, _)) if entry.is_directory());
            if let Some((entry, file)) = found {
                self.visit(entry, file, &mut links, visit)?;
            }
            if is_directory {
                levels.push(self.names(&path)?);
            } else {
                path.pop();
            }
        }
        Ok(())
    }

    fn visit(
        &self,
        mut entry: Entry,
        file: Option<FileId>,
        links: &mut HashMap<FileId, PathBuf>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        let source = entry.path.clone();
        if let Some(directory) = &self.directory {
            entry.path = Path::new(directory).join(&source);
        }
        if let Some(epoch) = self.built.epoch {
            entry.mtime = epoch;
        }
        if let Some(file) = file {
            if let Some(first) = links.get(&file) {
                entry.kind = EntryKind::HardLink(first.clone());
            } else {
                links.insert(file, entry.path.clone());
            }
        }
        let content = match entry.kind {
            EntryKind::File { .. } => Some(self.view.open(&source)?),
            _ => None,
        };
        visit(&entry, content)
    }

    fn names(&self, path: &Path) -> Result<Vec<std::ffi::OsString>, PathError> {
        if self.view.layers().is_empty() {
            return Ok(Vec::new());
        }
        let mut names = self.view.list(path)?;
        names.reverse();
        Ok(names)
    }

    fn top_directory(&self, name: &str) -> Entry {
        Entry {
            path: PathBuf::from(name),
            kind: EntryKind::Directory { opaque: false },
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: self.built.epoch.unwrap_or(0),
            xattrs: Vec::new(),
        }
    }
}
