//! Where each file goes: the destination's rules, and the entries of the new layer.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::CopyError;
use super::select::Selected;
use crate::build::chmod::Chmod;
use crate::layer::{Entry, EntryKind, Lower};
use crate::snapshot::View;

/// One entry of the new layer.
#[derive(Debug)]
pub(super) struct Placed {
    /// The entry with its final path, owner and mode.
    pub(super) entry: Entry,
    /// Where a regular file's bytes come from.
    pub(super) content: Content,
}

/// Where bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing to read.
    None,
    /// A file of tree number `tree`, by path.
    Tree {
        /// Which of the instruction's source trees.
        tree: usize,
        /// The path in it.
        path: PathBuf,
    },
    /// A text of the Dockerfile.
    Inline(String),
}

/// The new layer in canonical order. Component-wise comparison of paths is that order.
pub(super) type Plan = BTreeMap<PathBuf, Placed>;

/// Gives every entry the time that `clamp` makes of its own.
pub(super) fn set_times(plan: &mut Plan, clamp: &dyn Fn(i64) -> i64) {
    for placed in plan.values_mut() {
        placed.entry.mtime = clamp(placed.entry.mtime);
    }
}

/// Owner and mode that flags ask for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ownership<'a> {
    /// `--chown`, resolved.
    pub(super) owner: Option<(u32, u32)>,
    /// `--chmod`.
    pub(super) mode: Option<&'a Chmod>,
}

impl Ownership<'_> {
    fn apply(self, entry: &mut Entry) {
        if let Some((uid, gid)) = self.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some(mode) = self.mode
            && !matches!(entry.kind, EntryKind::Symlink(_))
        {
            let is_dir = matches!(entry.kind, EntryKind::Directory { .. });
            entry.mode = mode.apply(entry.mode, is_dir);
        }
    }

    /// The metadata of a directory that has to be made.
    fn of_new_directory(self, path: &Path, now: i64) -> Entry {
        let (uid, gid) = self.owner.unwrap_or_default();
        Entry {
            path: path.to_owned(),
            kind: EntryKind::Directory { opaque: false },
            mode: self.mode.map_or(0o755, Chmod::of_new_directory),
            uid,
            gid,
            mtime: now,
            xattrs: Vec::new(),
        }
    }
}

/// Places entries above the tree `below`.
pub(super) struct Placer<'a> {
    below: &'a View,
    ownership: Ownership<'a>,
    /// Time of what has none of its own, in seconds since 1970.
    now: i64,
    pub(super) plan: Plan,
    /// Hard links by the first name of their file.
    links: HashMap<PathBuf, Vec<PathBuf>>,
}

impl<'a> Placer<'a> {
    pub(super) fn new(below: &'a View, ownership: Ownership<'a>, now: i64) -> Self {
        Self {
            below,
            ownership,
            now,
            plan: Plan::new(),
            links: HashMap::new(),
        }
    }

    /// The destination as a path without links, and whether it is a directory
    /// (it was written as one, or is one already).
    pub(super) fn destination(&self, written: &str) -> Result<(PathBuf, bool), CopyError> {
        let as_dir = written.ends_with('/');
        let path = Path::new(written.trim_matches('/'));
        let real = self.below.resolve(path, true)?;
        let is_dir = self
            .kind(&real)?
            .is_some_and(|kind| matches!(kind, EntryKind::Directory { .. }));
        if is_dir || as_dir {
            return Ok((real, true));
        }
        // A link to anything but a directory is replaced, not written through.
        Ok((self.below.resolve(path, false)?, false))
    }

    /// Places one thing that was selected.
    pub(super) fn place(
        &mut self,
        item: Selected,
        destination: &Path,
        is_dir: bool,
    ) -> Result<(), CopyError> {
        let (root, tree) = (item.entry.path.clone(), item.tree);
        if !matches!(item.entry.kind, EntryKind::Directory { .. }) {
            let mut entry = item.entry;
            let source =
                std::mem::replace(&mut entry.path, target(destination, is_dir, &item.name));
            return self.put(entry, Content::Tree { tree, path: source });
        }
        self.directory(destination)?;
        for mut entry in item.beneath {
            let source = entry.path.clone();
            let relative = source.strip_prefix(&root).unwrap_or(&source);
            entry.path = destination.join(relative);
            if let EntryKind::HardLink(first) = &mut entry.kind {
                *first = destination.join(first.strip_prefix(&root).unwrap_or(first));
            }
            if item.passed.contains(&source) {
                self.pass(entry)?;
            } else {
                self.put(entry, Content::Tree { tree, path: source })?;
            }
        }
        Ok(())
    }

    /// Places a text of the Dockerfile.
    pub(super) fn place_inline(
        &mut self,
        name: &str,
        content: &str,
        destination: &Path,
        is_dir: bool,
    ) -> Result<(), CopyError> {
        let entry = Entry {
            path: target(destination, is_dir, OsStr::new(name)),
            kind: EntryKind::File {
                size: content.len() as u64,
                content: Some(crate::oci::Digest::of(content.as_bytes())),
            },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: self.now,
            xattrs: Vec::new(),
        };
        self.put(entry, Content::Inline(content.to_owned()))
    }

    /// Makes sure that `path` is a directory of the new layer: with the metadata
    /// that it has below, or new. Its parents too.
    pub(super) fn directory(&mut self, path: &Path) -> Result<(), CopyError> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        if let Some(placed) = self.plan.get(path) {
            return match placed.entry.kind {
                EntryKind::Directory { .. } => Ok(()),
                _ => Err(CopyError::NotADirectory(shown(path))),
            };
        }
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        let entry = match self.below.entry(path)? {
            Some(mut entry) if matches!(entry.kind, EntryKind::Directory { .. }) => {
                entry.kind = EntryKind::Directory { opaque: false };
                entry
            }
            Some(_) => return Err(CopyError::NotADirectory(shown(path))),
            None => self.ownership.of_new_directory(path, self.now),
        };
        self.plan.insert(
            path.to_owned(),
            Placed {
                entry,
                content: Content::None,
            },
        );
        Ok(())
    }

    /// Makes sure of a directory that is there for what comes to lie in it: with
    /// its own metadata, but where there is one already, only the mode is taken.
    fn pass(&mut self, entry: Entry) -> Result<(), CopyError> {
        if !self.is_directory(&entry.path)? {
            return self.put(entry, Content::None);
        }
        self.directory(&entry.path)?;
        if let Some(placed) = self.plan.get_mut(&entry.path) {
            placed.entry.mode = entry.mode;
        }
        Ok(())
    }

    /// Places one entry, checking what stands there already.
    pub(super) fn put(&mut self, mut entry: Entry, content: Content) -> Result<(), CopyError> {
        let parent = entry.path.parent().map(Path::to_owned).unwrap_or_default();
        self.directory(&parent)?;
        self.ownership.apply(&mut entry);
        let is_dir = matches!(entry.kind, EntryKind::Directory { .. });
        let there = match self.plan.get(&entry.path) {
            Some(placed) => Some(placed.entry.kind.clone()),
            None => self.kind(&entry.path)?,
        };
        match there {
            Some(EntryKind::Directory { .. }) if !is_dir => {
                return Err(CopyError::IsADirectory(shown(&entry.path)));
            }
            Some(EntryKind::Directory { .. }) | None => {}
            Some(_) if is_dir => return Err(CopyError::NotADirectory(shown(&entry.path))),
            Some(_) => {}
        }
        self.insert(entry, content);
        Ok(())
    }

    /// Places one entry over whatever stands there, as extracting an archive does.
    pub(super) fn put_over(&mut self, mut entry: Entry, content: Content) -> Result<(), CopyError> {
        let path = entry.path.clone();
        let is_dir = matches!(entry.kind, EntryKind::Directory { .. });
        if is_dir && self.is_directory(&path)? {
            self.directory(&path)?;
        } else {
            let parent = path.parent().map(Path::to_owned).unwrap_or_default();
            self.directory(&parent)?;
            self.clear_below(&path);
        }
        self.ownership.apply(&mut entry);
        self.insert(entry, content);
        Ok(())
    }

    /// Takes out what was placed beneath `path`.
    fn clear_below(&mut self, path: &Path) {
        // Whatever is beneath a path follows it directly.
        let below = self
            .plan
            .range::<Path, _>((Bound::Excluded(path), Bound::Unbounded))
            .map(|(placed, _)| placed)
            .take_while(|placed| placed.starts_with(path));
        let below: Vec<PathBuf> = below.cloned().collect();
        for gone in below {
            if let Some(old) = self.plan.remove(&gone) {
                self.hand_down(&gone, old);
            }
        }
    }

    /// Puts an entry in place of what is planned there.
    fn insert(&mut self, entry: Entry, content: Content) {
        let path = entry.path.clone();
        let content = match &entry.kind {
            EntryKind::File { .. } => content,
            _ => Content::None,
        };
        if let EntryKind::HardLink(first) = &entry.kind {
            self.links
                .entry(first.clone())
                .or_default()
                .push(path.clone());
        }
        if let Some(old) = self.plan.insert(path.clone(), Placed { entry, content }) {
            self.hand_down(&path, old);
        }
    }

    /// A file whose first name is taken by something else lives on under its
    /// further names: the first of them becomes the file.
    fn hand_down(&mut self, path: &Path, old: Placed) {
        let Some(mut names) = self.links.remove(path) else {
            return;
        };
        names.sort_unstable();
        names.dedup();
        let is_link = |placed: &Placed| matches!(&placed.entry.kind, EntryKind::HardLink(first) if first == path);
        names.retain(|name| self.plan.get(name).is_some_and(is_link));
        let Some((heir, others)) = names.split_first() else {
            return;
        };
        if let Some(placed) = self.plan.get_mut(heir) {
            placed.entry.kind = old.entry.kind;
            placed.content = old.content;
        }
        for name in others {
            if let Some(placed) = self.plan.get_mut(name) {
                placed.entry.kind = EntryKind::HardLink(heir.clone());
            }
        }
        self.links.insert(heir.clone(), others.to_vec());
    }

    /// `path` with links to directories followed in all but its last component,
    /// and in that one too where it is a link to a directory.
    pub(super) fn follow(&self, path: &Path) -> Result<PathBuf, CopyError> {
        if self.plan.contains_key(path) {
            return Ok(path.to_owned());
        }
        let real = self.below.resolve(path, true)?;
        if self.is_directory(&real)? {
            return Ok(real);
        }
        Ok(self.below.resolve(path, false)?)
    }

    /// Whether a directory stands at `path` already.
    pub(super) fn is_directory(&self, path: &Path) -> Result<bool, CopyError> {
        let kind = match self.plan.get(path) {
            Some(placed) => Some(placed.entry.kind.clone()),
            None => self.kind(path)?,
        };
        Ok(matches!(kind, Some(EntryKind::Directory { .. })))
    }

    fn kind(&self, path: &Path) -> Result<Option<EntryKind>, CopyError> {
        Ok(self.below.entry(path)?.map(|entry| entry.kind))
    }
}

fn target(destination: &Path, is_dir: bool, name: &OsStr) -> PathBuf {
    if is_dir {
        destination.join(name)
    } else {
        destination.to_owned()
    }
}

fn shown(path: &Path) -> String {
    format!("/{}", path.display())
}
