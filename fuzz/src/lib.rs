//! What each fuzz target does with its bytes: everything that must hold of any
//! input is asserted here. The test suite replays the corpora through the same
//! functions.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rbuild::context::Patterns;
use rbuild::dockerfile::{self, CheckOptions, Span};
use rbuild::layer::{self, EntryKind, Limits, NoLower, PackOptions, TarReader, UnpackOptions};
use rbuild::oci::{self, Digest, ImageConfig, Index, Manifest, Platform, Reference};
use rbuild::store::{Paths, Store};

/// What is done with an input.
pub type Target = fn(&[u8]);

/// The targets by name, as the suite replays them.
pub const TARGETS: [(&str, Target); 7] = [
    ("parse", parse),
    ("expand", expand),
    ("words", words),
    ("ignore", ignore),
    ("tar", tar),
    ("unpack", unpack),
    ("load", load),
];

/// A Dockerfile: parsing never fails, and every place lies in the text.
pub fn parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let check = |span: Span| {
        assert!(text.get(span.start..span.end).is_some(), "{span:?}");
        assert!(span.line(text) >= 1);
    };
    let parsed = dockerfile::parse(text);
    let found = dockerfile::lint(&parsed.dockerfile);
    for diagnostic in parsed.diagnostics.iter().chain(&found) {
        check(diagnostic.span);
        assert!(!diagnostic.message.is_empty());
    }
    for line in &parsed.dockerfile.global_args {
        check(line.span);
    }
    for stage in &parsed.dockerfile.stages {
        check(stage.from.span);
        for instruction in &stage.instructions {
            check(instruction.span);
        }
    }
    if let Some(directive) = &parsed.dockerfile.check {
        drop(CheckOptions::read(&directive.value));
    }
    drop(dockerfile::parse_trigger(text));
}

/// A word, its first byte telling how it is expanded; what follows a NUL is the
/// value of `a`.
pub fn expand(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let (word, value) = text.split_once('\0').unwrap_or((text, "x*y"));
    let pairs = [("a", value), ("b", ""), ("é", "\n"), ("c", "a b")];
    let scope: HashMap<String, String> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let escape = if mode & 1 == 0 { '\\' } else { '`' };
    match (mode >> 1) % 3 {
        0 => {
            let Ok(expanded) = dockerfile::expand(word, escape, &Values(scope.clone())) else {
                return;
            };
            for name in &expanded.matched {
                assert!(scope.contains_key(name), "{name} is not set");
                assert!(!expanded.unmatched.contains(name));
            }
            for name in &expanded.unmatched {
                assert!(!scope.contains_key(name), "{name} is set");
            }
        }
        1 => drop(dockerfile::expand_heredoc(word, &Values(scope))),
        _ => drop(dockerfile::expand_words(word, escape, &Values(scope))),
    }
}

struct Values(HashMap<String, String>);

impl dockerfile::Scope for Values {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

/// The small languages and documents; the first byte tells which.
pub fn words(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    if kind % 16 == 15 {
        let (passwd, group) = rest.split_at(rest.len() / 2);
        let users = oci::passwd::Users::parse(passwd, group);
        drop(users.resolve("a:b"));
        drop(users.group("a"));
        return;
    }
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    match kind % 16 {
        0 => drop(dockerfile::mount_options(text)),
        1 => drop(dockerfile::git_reference(text)),
        2 => {
            if let Ok(ports) = dockerfile::exposed_ports(text) {
                assert!(ports.keys().count() <= 65_536);
            }
        }
        3 => drop(dockerfile::signal_number(text)),
        4 => drop(dockerfile::duration(text)),
        5 => drop(dockerfile::memory_bytes(text)),
        6 => drop(CheckOptions::read(text)),
        7 => drop(dockerfile::quote(text)),
        8 => {
            // A reference that is read is written back as one that is the same.
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().expect("its own spelling");
                assert_eq!(reference, again);
                let again: Reference = reference.familiar().parse().expect("its short spelling");
                assert_eq!(reference, again);
            }
        }
        9 => {
            if let Ok(platform) = text.parse::<Platform>() {
                let again: Platform = platform.to_string().parse().expect("its own spelling");
                assert_eq!(platform.to_string(), again.to_string());
            }
        }
        10 => drop(text.parse::<Digest>()),
        11 => drop(dockerfile::device_request(text)),
        12 => document::<ImageConfig>(text),
        13 => document::<Manifest>(text),
        14 => document::<Index>(text),
        _ => {}
    }
}

fn document<T: serde::de::DeserializeOwned + serde::Serialize>(text: &str) {
    if let Ok(value) = serde_json::from_str::<T>(text) {
        serde_json::to_string(&value).expect("what was read can be written");
    }
}

/// Patterns, a NUL, and paths: the quick look and the walk agree.
pub fn ignore(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (file, paths) = text.split_once('\0').unwrap_or((text, "a/b/c"));
    let lines = Patterns::read(file);
    let Ok(patterns) = Patterns::new(&lines) else {
        return;
    };
    for path in paths.split('\n').take(16) {
        let parts: Vec<&str> = path
            .split('/')
            .filter(|part| !matches!(*part, "" | "." | ".."))
            .collect();
        if parts.is_empty() {
            continue;
        }
        let mut walked = PathBuf::new();
        let mut verdict = None;
        for part in &parts {
            let above_is_ignored = verdict
                .as_ref()
                .is_some_and(|verdict: &rbuild::context::Verdict| verdict.is_ignored);
            let reincludes = patterns.may_reinclude_below(&walked);
            walked.push(part);
            let next = patterns.judge(&walked, verdict.as_ref());
            if above_is_ignored && !next.is_ignored {
                assert!(
                    reincludes,
                    "a walk would not come to `{}`",
                    walked.display()
                );
            }
            verdict = Some(next);
        }
        let walked_to = verdict.is_some_and(|verdict| verdict.is_ignored);
        assert_eq!(patterns.matches(&walked), walked_to, "{}", walked.display());
    }
}

/// Bounds small enough that a bomb is found out at once.
fn limits() -> Limits {
    Limits {
        entries: 1_000,
        bytes: 1 << 20,
        depth: 64,
    }
}

/// The archive with the checksums of its headers put right: a mutation that only
/// breaks one would never get any further.
fn with_checksums(archive: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    for block in archive.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    archive
}

/// An archive, compressed or not: its entries, all that they say of themselves,
/// and no more bytes than the bounds allow.
pub fn tar(data: &[u8]) {
    let archive = with_checksums(data);
    let Ok((_, plain)) = layer::decompress(archive.as_slice()) else {
        return;
    };
    // What comes behind the archive is hashed to its end, so that needs a bound, too.
    let mut plain = plain.take(8 << 20);
    let mut reader = TarReader::new(&mut plain, limits());
    let mut bytes = 0;
    let mut entries = 0;
    loop {
        let entry = match reader.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            // After an error nobody reads on.
            Err(_) => return,
        };
        entries += 1;
        assert!(entry.path.is_relative());
        let depth = entry.path.components().count();
        assert!(depth <= limits().depth, "{depth} components");
        let odd = |part| !matches!(part, std::path::Component::Normal(_));
        assert!(
            !entry.path.components().any(odd),
            "{}",
            entry.path.display()
        );
        if matches!(entry.kind, EntryKind::File { .. }) {
            let Ok(count) = io::copy(&mut reader, &mut io::sink()) else {
                return;
            };
            bytes += count;
        }
        assert!(bytes <= limits().bytes && entries <= limits().entries);
    }
    if let Ok(unpacked) = reader.finish() {
        assert!(unpacked.entries >= entries);
    }
}

/// A layer, unpacked to disk: nothing lands beside its directory, and what was
/// unpacked can be packed, twice the same, and unpacked again.
pub fn unpack(data: &[u8]) {
    let Some((mode, archive)) = data.split_first() else {
        return;
    };
    let dir = scratch();
    let target = dir.path().join("tree");
    fs::create_dir(&target).expect("a directory");
    let options = UnpackOptions {
        limits: limits(),
        whiteouts: mode & 1 == 0,
    };
    let archive = with_checksums(archive);
    let Ok((_, plain)) = layer::decompress(archive.as_slice()) else {
        return;
    };
    let mut plain = plain.take(8 << 20);
    let unpacked = layer::unpack(&mut plain, &target, &NoLower, options);
    let beside: Vec<_> = fs::read_dir(dir.path())
        .expect("the scratch directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(beside, ["tree"], "the archive reached out of its directory");
    if unpacked.is_ok() && options.whiteouts {
        repack(&target, dir.path());
    }
}

fn repack(tree: &Path, dir: &Path) {
    let mut archive = Vec::new();
    let options = PackOptions::default();
    let Ok(first) = layer::pack_tree(tree, options, &mut archive) else {
        return;
    };
    let second = layer::pack_tree(tree, options, io::sink()).expect("it was packed before");
    assert_eq!(first.diff_id, second.diff_id);
    let again = dir.join("again");
    fs::create_dir(&again).expect("a directory");
    let options = UnpackOptions {
        limits: Limits::default(),
        whiteouts: true,
    };
    let unpacked =
        layer::unpack(&mut archive.as_slice(), &again, &NoLower, options).expect("our own archive");
    assert_eq!(unpacked.diff_id, first.diff_id);
    let third =
        layer::pack_tree(&again, PackOptions::default(), io::sink()).expect("it was packed before");
    assert_eq!(first.diff_id, third.diff_id, "unpacking changed something");
}

/// An archive of images, as `load` reads it.
pub fn load(data: &[u8]) {
    let dir = scratch();
    let paths = Paths::new(dir.path().join("data"), dir.path().join("run"));
    let store = Store::open(paths).expect("a new store");
    let archive = with_checksums(data);
    let mut source = archive.as_slice();
    if let Ok(loaded) = rbuild::image::load(&store, &mut source) {
        for image in loaded {
            assert!(rbuild::image::find(&store, &image.id.to_string()).is_ok());
        }
    }
}

/// A directory in memory where there is one: every input makes its own.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
    .expect("a scratch directory")
}
