//! What COPY records of a layer is what the layer on disk is.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::build::graph::{ContextId, CopyPattern, InlineFile};
use crate::build::{BuildRequest, Cancel, ContextSource};
use crate::context::{Context, Patterns};
use crate::layer::{PackOptions, pack_tree};
use crate::progress::Silent;
use crate::store::Paths;

fn op(patterns: &[&str], destination: &str) -> CopyOp {
    let pattern = |text: &&str| CopyPattern {
        literal: false,
        text: (*text).to_owned(),
        source: CopySource::Context(ContextId::MAIN),
        span: None,
    };
    CopyOp {
        patterns: patterns.iter().map(pattern).collect(),
        inline: vec![InlineFile {
            name: "note".to_owned(),
            content: "hello\n".to_owned(),
        }],
        destination: destination.to_owned(),
        chown: None,
        users: None,
        chmod: None,
        exclude: Vec::new(),
        parents: false,
        unpack: false,
        unpack_remote: false,
        instruction: "COPY",
    }
}

/// A context with every kind of entry, and a file too large to be read whole.
fn fill(dir: &Path) {
    fs::create_dir_all(dir.join("tree/deep")).unwrap();
    fs::write(dir.join("tree/a"), "a").unwrap();
    fs::write(dir.join("tree/deep/b"), "b").unwrap();
    fs::write(dir.join("tree/empty"), "").unwrap();
    fs::hard_link(dir.join("tree/a"), dir.join("tree/z")).unwrap();
    fs::set_permissions(dir.join("tree/deep/b"), fs::Permissions::from_mode(0o4711)).unwrap();
    symlink("deep/b", dir.join("tree/link")).unwrap();
    fs::write(dir.join("large"), vec![7; 3 << 20]).unwrap();
    for number in 0..300 {
        fs::write(dir.join(format!("tree/deep/f{number}")), number.to_string()).unwrap();
    }
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one build after another on one store"
)]
fn recorded_digests_are_those_of_the_layer() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("context");
    fs::create_dir(&dir).unwrap();
    fill(&dir);
    let (data, run) = (home.path().join("data"), home.path().join("run"));
    let store = Store::open(Paths::new(data, run)).unwrap();
    let contexts = [Context::open(&dir, Patterns::default(), home.path().join("memory")).unwrap()];
    let request = BuildRequest::new(ContextSource::Directory(dir.clone()));
    let cancel = Cancel::new();
    let remote = crate::remote::Remote::new(&request.remote);
    let fetcher = crate::build::fetch::Fetcher::new(&store, &remote);
    let redactor = crate::build::redact::Redactor::new(&request.steps.secrets);
    let doors = crate::build::remote_cache::Doors {
        store: &store,
        registries: None,
        platforms: &[],
        names: &[],
        keeps_blobs: false,
    };
    let imports = crate::build::remote_cache::Imports::new(doors, &Silent, &[]);
    let tools = Tools {
        store: &store,
        fetcher: &fetcher,
        contexts: &contexts,
        request: &request,
        sink: &Silent,
        cancel: &cancel,
        scratch: home.path(),
        network: std::sync::Arc::default(),
        epoch: None,
        redactor: &redactor,
        imports: &imports,
        arguments: std::collections::BTreeSet::new(),
        renewed: &std::sync::Mutex::default(),
        failed: crate::build::ops::run::Failed::default(),
    };
    let op = op(&["tree", "large"], "/to/");
    let check = |earlier| {
        let copied = Prepared::new(&op, &tools, |_| None)
            .unwrap()
            .run(&tools, None, earlier)
            .unwrap();
        let mut again = Prepared::of_contexts(&op, &tools).unwrap();
        // The key is the same before and after the files are read.
        assert_eq!(copied.files.of_contexts, again.digest().ok());
        let row = store.snapshot_get(copied.result).unwrap().unwrap();
        let packed = pack_tree(
            &snapshot::layer_dir(&store, row.id),
            PackOptions::default(),
            std::io::sink(),
        )
        .unwrap();
        assert_eq!(row.diff_id, Some(packed.diff_id));
        let copy = Active::begin(&store, None).unwrap();
        let list = format!(
            "cp -a {}/. {}",
            snapshot::layer_dir(&store, row.id).display(),
            copy.fs().display()
        );
        let status = crate::sys::command::run(
            Path::new("/bin/sh"),
            &["-c", &list],
            b"",
            std::time::Duration::from_mins(1),
        );
        status.unwrap();
        let other = copy.commit(0, None, None).unwrap();
        assert_eq!(
            row.tree,
            Some(snapshot::tree_digest(&store, other.id).unwrap())
        );
        copied.result
    };
    let first = check(None);
    fs::write(dir.join("tree/a"), "changed").unwrap();
    let second = check(Some(first));
    let inode = |id, path: &str| {
        let file = snapshot::layer_dir(&store, id).join(path);
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(file).unwrap())
    };
    assert_eq!(
        inode(first, "to/deep/b"),
        inode(second, "to/deep/b"),
        "unchanged files are shared"
    );
    assert_ne!(inode(first, "to/a"), inode(second, "to/a"));
}
