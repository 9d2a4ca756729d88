//! The hot paths of a build: parsing, matching, walking and hashing a context, a
//! layer to a tar and back, a key, and opening the store for one look into the cache.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark that cannot set itself up has nothing to measure"
)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use divan::Bencher;
use rbuild::context::{Context, Patterns};
use rbuild::layer::{EntryKind, Limits, NoLower, PackOptions, UnpackOptions, pack_tree, unpack};
use rbuild::oci::{CacheKey, Digest, Hasher};
use rbuild::store::{CacheRecord, KeyPart, Paths, Store};

fn main() {
    divan::main();
}

/// In memory where possible: on a disk the removal of the last tree is still
/// going on while the next one is made, and ext4 is slow to make files where it
/// has just removed some.
fn temp() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// `count` files of 2 kB in directories of 100.
fn tree(count: usize) -> tempfile::TempDir {
    let temp = temp();
    let content = vec![b'x'; 2_000];
    for i in 0..count {
        let dir = temp.path().join(format!("dir{:04}", i / 100));
        if i % 100 == 0 {
            fs::create_dir(&dir).unwrap();
        }
        fs::write(dir.join(format!("file{i:06}")), &content).unwrap();
    }
    temp
}

fn pack(dir: &Path, out: impl io::Write) {
    pack_tree(dir, PackOptions::default(), out).unwrap();
}

#[divan::bench(args = [5_000, 20_000], sample_count = 10)]
fn pack_small_files(bencher: Bencher<'_, '_>, count: usize) {
    let tree = tree(count);
    bencher.bench_local(|| pack(tree.path(), io::sink()));
}

#[divan::bench(sample_count = 5)]
fn pack_one_file_of_256_mib(bencher: Bencher<'_, '_>) {
    let temp = temp();
    fs::write(temp.path().join("file"), vec![7; 256 << 20]).unwrap();
    bencher.bench_local(|| pack(temp.path(), io::sink()));
}

#[divan::bench(args = [5_000, 20_000], sample_count = 5)]
fn unpack_small_files(bencher: Bencher<'_, '_>, count: usize) {
    let tree = tree(count);
    let mut tar = Vec::new();
    pack(tree.path(), &mut tar);
    let options = UnpackOptions {
        limits: Limits::default(),
        whiteouts: true,
    };
    bencher.with_inputs(temp).bench_local_refs(|target| {
        unpack(&mut &tar[..], target.path(), &NoLower, options).unwrap();
    });
}

/// A store with a few thousand cache records, as after some weeks of work.
fn store(temp: &tempfile::TempDir) -> Paths {
    let paths = Paths::new(temp.path().join("data"), temp.path().join("run"));
    let store = Store::open(paths.clone()).unwrap();
    for i in 0..2_000_u32 {
        let digest = Digest::of(&i.to_le_bytes());
        let part = |n: u32| KeyPart {
            name: format!("file src/{n}.rs"),
            value: digest.to_string(),
        };
        let record = CacheRecord {
            parent: None,
            description: String::new(),
            key: CacheKey(digest),
            line: digest,
            result: None,
            parts: (0..20).map(part).collect(),
        };
        store.cache_put(&record).unwrap();
    }
    paths
}

#[divan::bench]
fn open_store_and_look_into_the_cache(bencher: Bencher<'_, '_>) {
    let temp = tempfile::tempdir().unwrap();
    let paths = store(&temp);
    let key = CacheKey(Digest::of(&7_u32.to_le_bytes()));
    bencher.bench_local(|| {
        let store = Store::open(paths.clone()).unwrap();
        store.cache_get(key).unwrap().unwrap()
    });
}

#[divan::bench]
fn look_into_the_cache(bencher: Bencher<'_, '_>) {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(store(&temp)).unwrap();
    let key = CacheKey(Digest::of(&7_u32.to_le_bytes()));
    bencher.bench_local(|| store.cache_get(key).unwrap().unwrap());
}

/// A Dockerfile of 60 lines with what real ones have.
fn dockerfile() -> String {
    let mut text =
        "# syntax=docker/dockerfile:1\nARG VERSION=1\nFROM debian:$VERSION AS build\n".to_owned();
    for number in 0..20 {
        text.push_str(&format!(
            "ENV NAME{number}=\"a $VERSION b\" OTHER={number}\n\
             RUN apt-get update && \\\n    apt-get -y install package-{number}\n\
             COPY --chown=1000:1000 src/{number} /app/{number}/\n"
        ));
    }
    text
}

#[divan::bench]
fn parse_a_dockerfile(bencher: Bencher<'_, '_>) {
    let text = dockerfile();
    bencher.bench(|| rbuild::dockerfile::parse(&text));
}

#[divan::bench]
fn match_20_000_paths_against_20_ignore_patterns(bencher: Bencher<'_, '_>) {
    let lines: Vec<String> = (0..19)
        .map(|number| format!("**/*.ext{number}"))
        .chain(["node_modules".to_owned()])
        .collect();
    let patterns = Patterns::new(&lines).unwrap();
    let paths: Vec<PathBuf> = (0..20_000)
        .map(|number| PathBuf::from(format!("src/d{}/f{number}.rs", number % 200)))
        .collect();
    bencher.bench(|| paths.iter().filter(|path| patterns.matches(path)).count());
}

/// What a cached rebuild does with its context: every file is looked at, none is read.
#[divan::bench(args = [2_000, 20_000], sample_count = 10)]
fn walk_a_context_that_is_remembered(bencher: Bencher<'_, '_>, count: usize) {
    let tree = tree(count);
    let memory = temp();
    let open = || {
        let file = memory.path().join("memory");
        Context::open(tree.path(), Patterns::default(), file).unwrap()
    };
    let mut context = open();
    for entry in context.walk(Path::new("")).unwrap() {
        if matches!(entry.kind, EntryKind::File { .. }) {
            context.digest(&entry.path).unwrap();
        }
    }
    context.save();
    bencher.bench(|| open().walk(Path::new("")).unwrap().len());
}

/// The same where nothing is remembered: every file is read and hashed.
#[divan::bench(args = [2_000, 20_000], sample_count = 5)]
fn hash_a_context(bencher: Bencher<'_, '_>, count: usize) {
    let tree = tree(count);
    let context = Context::open(tree.path(), Patterns::default(), PathBuf::new()).unwrap();
    bencher.bench(|| {
        let entries = context.walk(Path::new("")).unwrap();
        let files = entries
            .iter()
            .filter(|entry| matches!(entry.kind, EntryKind::File { .. }));
        for entry in files {
            context.digest(&entry.path).unwrap();
        }
    });
}

#[divan::bench]
fn hash_the_parts_of_a_key(bencher: Bencher<'_, '_>) {
    let parts: Vec<(String, String)> = (0..40)
        .map(|number| (format!("variable NAME{number}"), "value ".repeat(10)))
        .collect();
    bencher.bench(|| {
        let mut hasher = Hasher::new();
        for (name, value) in &parts {
            hasher.part(name.as_bytes());
            hasher.part(value.as_bytes());
        }
        hasher.finish()
    });
}
