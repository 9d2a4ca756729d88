//! What lies in a layer's directory, largest first: as much of the tree as a
//! reader can take in, and sums of the rest.

use std::collections::{BinaryHeap, HashSet};
use std::ffi::CStr;
use std::io;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, statat};

use super::{Error, layer_dir};
use crate::fs::{At as _, Descent};
use crate::store::{SnapshotId, Store};

/// How many entries of one directory are told one by one.
const CHILDREN: usize = 20;
/// How deep the told tree is; a directory further down is not opened up.
const DEPTH: usize = 24;

/// How much is looked at and told.
#[derive(Debug, Clone, Copy)]
pub struct ContentsLimits {
    /// How many entries are looked at.
    pub entries: usize,
    /// How many entries are told.
    pub told: usize,
}

/// What a layer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its root.
    pub root: ContentsEntry,
    /// How many entries were looked at.
    pub entries: usize,
    /// Whether that is all of them.
    pub complete: bool,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentsKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A whiteout: the layer removes what lies beneath.
    Removed,
    /// A device, a pipe or a socket.
    Other,
}

/// A file or directory of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentsEntry {
    /// Its name; several joined by `/` where each directory holds nothing but
    /// the next. Names are foreign, and what is no UTF-8 in them is replaced.
    pub name: String,
    /// What it is.
    pub kind: ContentsKind,
    /// Bytes of regular files in it, each once however many names it has.
    pub bytes: u64,
    /// How many files, links and other things are in it that are no directory.
    pub files: u64,
    /// What is in it, largest first.
    pub children: Vec<ContentsEntry>,
    /// How many entries of it are not told, and their bytes; not those further
    /// down, nor those of a directory that tells no entry at all.
    pub others: (u64, u64),
}

/// Looks into the layer of one snapshot.
pub fn contents(store: &Store, id: SnapshotId, limits: ContentsLimits) -> Result<Contents, Error> {
    let dir = layer_dir(store, id);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&dir, flags, Mode::empty()).at("open", &dir)?;
    let mut tree = Tree::default();
    tree.read(Descent::new(root), limits.entries)
        .at("read", &dir)?;
    tree.sum();
    Ok(Contents {
        root: tree.told(limits.told),
        entries: tree.nodes.len() - 1,
        complete: tree.complete,
    })
}

/// A directory tree in memory; the root is node 0, and what is in a directory
/// comes after it.
#[derive(Debug, Default)]
struct Tree {
    nodes: Vec<Node>,
    complete: bool,
}

#[derive(Debug)]
struct Node {
    parent: usize,
    name: Box<[u8]>,
    kind: ContentsKind,
    bytes: u64,
    files: u64,
    children: Vec<usize>,
}

impl Tree {
    fn add(&mut self, parent: usize, name: &CStr, kind: ContentsKind, bytes: u64) -> usize {
        let place = self.nodes.len();
        self.nodes.push(Node {
            parent,
            name: name.to_bytes().into(),
            kind,
            bytes,
            files: u64::from(kind != ContentsKind::Directory),
            children: Vec::new(),
        });
        if place > 0 {
            self.nodes[parent].children.push(place);
        }
        place
    }

    fn read(&mut self, mut descent: Descent, limit: usize) -> io::Result<()> {
        let mut linked = HashSet::new();
        let mut here = self.add(0, c"", ContentsKind::Directory, 0);
        // The directories that are still to be entered, one list a level.
        let mut waiting: Vec<Vec<usize>> = Vec::new();
        loop {
            waiting.push(self.read_directory(&descent, here, limit, &mut linked)?);
            loop {
                let Some(directories) = waiting.last_mut() else {
                    self.complete = true;
                    return Ok(());
                };
                if self.nodes.len() > limit {
                    return Ok(());
                }
                if let Some(next) = directories.pop() {
                    let mut name = self.nodes[next].name.to_vec();
                    name.push(0);
                    let name = CStr::from_bytes_with_nul(&name).unwrap_or_default();
                    descent.enter(name)?;
                    here = next;
                    break;
                }
                waiting.pop();
                descent.leave()?;
            }
        }
    }

    /// Adds what is in a directory; returns the directories among it.
    fn read_directory(
        &mut self,
        descent: &Descent,
        here: usize,
        limit: usize,
        linked: &mut HashSet<(u64, u64)>,
    ) -> io::Result<Vec<usize>> {
        let mut names = Vec::new();
        let room = (limit + 1).saturating_sub(self.nodes.len());
        descent.names(&mut |name, _| {
            if names.len() < room {
                names.push(name.to_owned());
            }
        })?;
        let mut directories = Vec::new();
        for name in names {
            let stat = statat(descent.dir(), &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let (kind, bytes) = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => (ContentsKind::Directory, 0),
                FileType::RegularFile => {
                    let first = stat.st_nlink < 2 || linked.insert((stat.st_dev, stat.st_ino));
                    let bytes = if first {
                        stat.st_size.unsigned_abs()
                    } else {
                        0
                    };
                    (ContentsKind::File, bytes)
                }
                FileType::Symlink => (ContentsKind::Link, 0),
                FileType::CharacterDevice if stat.st_rdev == 0 => (ContentsKind::Removed, 0),
                _ => (ContentsKind::Other, 0),
            };
            let place = self.add(here, &name, kind, bytes);
            if kind == ContentsKind::Directory {
                directories.push(place);
            }
        }
        Ok(directories)
    }

    /// Adds to each directory what is in it, and sorts that.
    fn sum(&mut self) {
        for place in (1..self.nodes.len()).rev() {
            let Node {
                parent,
                bytes,
                files,
                ..
            } = self.nodes[place];
            self.nodes[parent].bytes += bytes;
            self.nodes[parent].files += files;
        }
        for place in 0..self.nodes.len() {
            let mut children = std::mem::take(&mut self.nodes[place].children);
            children.sort_by(|a, b| {
                let (a, b) = (&self.nodes[*a], &self.nodes[*b]);
                (b.bytes, b.files)
                    .cmp(&(a.bytes, a.files))
                    .then(a.name.cmp(&b.name))
            });
            self.nodes[place].children = children;
        }
    }

    /// The part of the tree that is told: the largest directories are opened up first.
    fn told(&self, limit: usize) -> ContentsEntry {
        let mut open = HashSet::new();
        let mut count = 0;
        let mut heap = BinaryHeap::from([(u64::MAX, std::cmp::Reverse(0), 0)]);
        while let Some((_, std::cmp::Reverse(place), depth)) = heap.pop() {
            let (end, _) = self.chain(place);
            let shown = self.nodes[end].children.len().min(CHILDREN);
            if count + shown > limit || depth >= DEPTH {
                continue;
            }
            open.insert(place);
            count += shown;
            for child in &self.nodes[end].children[..shown] {
                let node = &self.nodes[*child];
                if node.kind == ContentsKind::Directory {
                    heap.push((node.bytes, std::cmp::Reverse(*child), depth + 1));
                }
            }
        }
        self.entry(0, &open)
    }

    /// Follows directories that hold nothing but one further directory; the last
    /// one, and the names on the way joined.
    fn chain(&self, place: usize) -> (usize, Vec<u8>) {
        let mut end = place;
        let mut name = self.nodes[place].name.to_vec();
        while place != 0
            && let [only] = self.nodes[end].children[..]
            && self.nodes[only].kind == ContentsKind::Directory
            && name.len() < 200
        {
            end = only;
            name.push(b'/');
            name.extend_from_slice(&self.nodes[end].name);
        }
        (end, name)
    }

    /// An entry with what is told of it; recursion is as deep as [`DEPTH`].
    fn entry(&self, place: usize, open: &HashSet<usize>) -> ContentsEntry {
        let (end, name) = self.chain(place);
        let node = &self.nodes[end];
        let mut entry = ContentsEntry {
            name: String::from_utf8_lossy(&name).into_owned(),
            kind: node.kind,
            bytes: node.bytes,
            files: node.files,
            children: Vec::new(),
            others: (0, 0),
        };
        if open.contains(&place) {
            let shown = node.children.len().min(CHILDREN);
            let (told, others) = node.children.split_at(shown);
            entry.children = told.iter().map(|child| self.entry(*child, open)).collect();
            let bytes = others.iter().map(|other| self.nodes[*other].bytes).sum();
            entry.others = (others.len() as u64, bytes);
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(usize, &CStr, ContentsKind, u64)]) -> Tree {
        let mut tree = Tree::default();
        tree.add(0, c"", ContentsKind::Directory, 0);
        for (parent, name, kind, bytes) in entries {
            tree.add(*parent, name, *kind, *bytes);
        }
        tree.sum();
        tree
    }

    fn shown(entry: &ContentsEntry) -> String {
        let children: Vec<String> = entry.children.iter().map(shown).collect();
        let mut text = format!("{}={}", entry.name, entry.bytes);
        if !children.is_empty() {
            text.push_str(&format!("({})", children.join(" ")));
        }
        if entry.others.0 > 0 {
            text.push_str(&format!("+{}={}", entry.others.0, entry.others.1));
        }
        text
    }

    #[test]
    fn the_largest_comes_first_and_lone_directories_are_joined() {
        use ContentsKind::{Directory, File};
        let tree = tree(&[
            (0, c"etc", Directory, 0),
            (1, c"passwd", File, 5),
            (0, c"usr", Directory, 0),
            (3, c"lib", Directory, 0),
            (4, c"big", File, 100),
            (4, c"empty", Directory, 0),
        ]);
        assert_eq!(
            shown(&tree.told(100)),
            "=105(usr/lib=100(big=100 empty=0) etc=5(passwd=5))"
        );
        // With room for four entries the smaller directory stays shut.
        assert_eq!(
            shown(&tree.told(4)),
            "=105(usr/lib=100(big=100 empty=0) etc=5)"
        );
        assert_eq!(shown(&tree.told(0)), "=105");
    }

    #[test]
    fn many_entries_are_summed_up() {
        let mut entries = Vec::new();
        for size in 1..=30 {
            entries.push((0, c"file", ContentsKind::File, size));
        }
        let root = tree(&entries).told(1000);
        assert_eq!(root.children.len(), CHILDREN);
        assert_eq!(root.others, (10, (1..=10).sum()));
        assert_eq!((root.bytes, root.files), ((1..=30).sum(), 30));
    }

    #[test]
    fn a_deep_tree_is_told_to_a_depth() {
        // Two files beside each directory, or the directories would be joined.
        let mut entries = Vec::new();
        for level in 0..1000 {
            let parent = if level == 0 { 0 } else { (level - 1) * 2 + 1 };
            entries.push((parent, c"d", ContentsKind::Directory, 0));
            entries.push((parent, c"f", ContentsKind::File, 1));
        }
        let mut depth = 0;
        let root = tree(&entries).told(100_000);
        let mut entry = &root;
        while let Some(next) = entry.children.first() {
            entry = next;
            depth += 1;
        }
        assert_eq!(depth, DEPTH);
        assert_eq!(root.bytes, 1000);
    }
}
