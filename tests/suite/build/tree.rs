//! The file tree that an image shows, its layers merged here and not by the
//! program under test.

use std::collections::BTreeMap;
use std::io::Read;

use rbuild::image::{Image, open_layer};
use rbuild::store::Store;

/// Paths without a leading slash, to what stands there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, Node>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    /// As `ls` shows it: `-`, `d`, `l`, `p`, `c` or `b`.
    kind: char,
    mode: u32,
    owner: (u64, u64),
    mtime: u64,
    body: Vec<u8>,
}

impl Tree {
    /// The tree of an image.
    pub(crate) fn of(store: &Store, image: &Image) -> Self {
        let mut tree = Self::default();
        for index in 0..image.config.rootfs.diff_ids.len() {
            let layer = open_layer(store, image, index).unwrap();
            let (_, mut plain) = rbuild::layer::decompress(layer).unwrap();
            tree.apply(&mut plain);
        }
        tree
    }

    fn apply(&mut self, layer: &mut dyn Read) {
        let mut archive = tar::Archive::new(layer);
        let mut fresh = Self::default();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = text(&entry.path_bytes());
            let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
            if name == ".wh..wh..opq" {
                self.0.retain(|old, _| !old.starts_with(&format!("{dir}/")));
                continue;
            }
            if let Some(gone) = name.strip_prefix(".wh.") {
                let gone = text(format!("{dir}/{gone}").as_bytes());
                self.remove(&gone);
                continue;
            }
            let mut body = Vec::new();
            entry.read_to_end(&mut body).unwrap();
            let header = entry.header();
            let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
            let kind = match header.entry_type() {
                tar::EntryType::Regular => '-',
                tar::EntryType::Directory => 'd',
                tar::EntryType::Symlink => 'l',
                tar::EntryType::Fifo => 'p',
                tar::EntryType::Char => 'c',
                tar::EntryType::Block => 'b',
                tar::EntryType::Link => {
                    let first = fresh.0[&text(&link.unwrap())].clone();
                    fresh.0.insert(path, first);
                    continue;
                }
                other => panic!("{path}: {other:?} in a layer"),
            };
            if kind == 'l' {
                body = link.unwrap();
            }
            let node = Node {
                kind,
                mode: header.mode().unwrap() & 0o7777,
                owner: (header.uid().unwrap(), header.gid().unwrap()),
                mtime: header.mtime().unwrap(),
                body,
            };
            fresh.0.insert(path, node);
        }
        for (path, node) in fresh.0 {
            if node.kind != 'd' {
                self.remove(&path);
            }
            self.0.insert(path, node);
        }
    }

    fn remove(&mut self, path: &str) {
        self.0.remove(path);
        let below = format!("{path}/");
        let gone = self.0.range(below.clone()..).map(|(old, _)| old.clone());
        let gone: Vec<String> = gone.take_while(|old| old.starts_with(&below)).collect();
        for old in gone {
            self.0.remove(&old);
        }
    }

    #[track_caller]
    fn node(&self, path: &str) -> &Node {
        let found = self.0.get(path);
        found.unwrap_or_else(|| panic!("no {path} in {:?}", self.0.keys()))
    }

    /// Whether there is anything at `path`.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// The content of a file, or the target of a link.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8_lossy(&self.node(path).body).into_owned()
    }

    /// Kind, mode and owner: `d0755 0:0`.
    #[track_caller]
    pub(crate) fn meta(&self, path: &str) -> String {
        let node = self.node(path);
        let (uid, gid) = node.owner;
        format!("{}{:04o} {uid}:{gid}", node.kind, node.mode)
    }

    /// Seconds since 1970.
    #[track_caller]
    pub(crate) fn mtime(&self, path: &str) -> u64 {
        self.node(path).mtime
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Everything that is no directory: `a/b=content`, `l->target`.
    pub(crate) fn files(&self) -> Vec<String> {
        let files = self.0.iter().filter(|(_, node)| node.kind != 'd');
        files
            .map(|(path, node)| {
                let mark = if node.kind == 'l' { "->" } else { "=" };
                format!("{path}{mark}{}", String::from_utf8_lossy(&node.body))
            })
            .collect()
    }
}

/// A path as the layers' spellings of it compare.
fn text(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    path.trim_start_matches("./").trim_matches('/').to_owned()
}
