//! Cache keys. Pure: from an operation and what is known of its inputs.
//!
//! `docs/cache.md` has the table of what enters a key; golden tests hold it.
//! A key is made of named parts, which are stored beside the result so that a
//! miss can be explained. Parts whose name starts with `@` are notes for later
//! look-ups and do not enter the key.

use super::RunNetwork;
use super::graph::{CopyOp, CopySource, HttpOp, Op, RunOp, Vertex, WorkdirOp};
use crate::oci::{CacheKey, DiffId, Digest, Hasher, Platform};
use crate::store::KeyPart;

/// Version of the scheme; changing what enters a key changes it.
const VERSION: &[u8] = b"rbuild cache key 1";

/// How the names of parts begin that have the tree of a mount.
const MOUNT_TREE: &str = "tree of mount ";

/// A key in the making.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    /// Which step this is, whatever its inputs.
    pub(super) line: Digest,
    /// The parts so far.
    pub(super) parts: Vec<KeyPart>,
}

impl Definition {
    /// The parts that the operation itself brings.
    pub(super) fn of(vertex: &Vertex, extra_hosts: &[String]) -> Self {
        let mut parts = Vec::new();
        match &vertex.op {
            Op::Image(image) => parts.push(part("layers", &list(&image.diff_ids))),
            Op::Run(op) => run_parts(op, extra_hosts, &mut parts),
            Op::Copy(op) => copy_parts(op, &mut parts),
            Op::Workdir(WorkdirOp { path, user }) => {
                parts.push(part("path", path));
                parts.push(part("user", user));
            }
            Op::Http(op) => http_parts(op, &mut parts),
            // Parent and layer are all that a link is; what a server says is added
            // once it was asked.
            Op::Link(_) | Op::Git(_) => {}
        }
        let mut hasher = Hasher::new();
        hasher.part(VERSION);
        hasher.part(kind(&vertex.op).as_bytes());
        hasher.part(vertex.text.as_bytes());
        Self {
            line: hasher.finish(),
            parts,
        }
    }

    /// Adds an input.
    pub(super) fn with(mut self, name: &str, value: &impl ToString) -> Self {
        self.parts.push(part(name, &value.to_string()));
        self
    }

    /// The key of all parts.
    pub(super) fn key(&self, op: &Op) -> CacheKey {
        let mut hasher = Hasher::new();
        hasher.part(VERSION);
        hasher.part(kind(op).as_bytes());
        for part in self.parts.iter().filter(|part| !part.name.starts_with('@')) {
            hasher.part(part.name.as_bytes());
            hasher.part(part.value.as_bytes());
        }
        CacheKey(hasher.finish())
    }
}

/// The value of a part, in a stored record.
pub(super) fn value<'a>(parts: &'a [KeyPart], name: &str) -> Option<&'a str> {
    parts
        .iter()
        .find(|part| part.name == name)
        .map(|part| part.value.as_str())
}

/// The name of the part with the key of the step that is copied from; there
/// may be several.
pub(super) fn from_part(number: usize) -> String {
    match number {
        0 => "from".to_owned(),
        number => format!("from {number}"),
    }
}

/// Whether a part is the key of a step that is copied from.
pub(super) fn is_from(name: &str) -> bool {
    name == "from" || name.starts_with("from ")
}

/// Whether a part is the key of a step that notes tell the content of.
pub(super) fn is_step(name: &str) -> bool {
    matches!(name, "parent" | "layer" | "users") || is_from(name)
}

/// Whether a note means something in this store alone.
pub(super) fn is_local(name: &str) -> bool {
    name == "@parent" || name.starts_with("@mounted ")
}

/// Whether two records have the same parts, inputs that are compared by content left out.
pub(super) fn same_operation(a: &[KeyPart], b: &[KeyPart]) -> bool {
    fn own(parts: &[KeyPart]) -> impl Iterator<Item = &KeyPart> {
        let input = |part: &&KeyPart| {
            let name = part.name.as_str();
            !name.starts_with('@') && name != "epoch" && !is_step(name) && !is_mount_tree(name)
        };
        parts.iter().filter(input)
    }
    own(a).eq(own(b))
}

/// The part with the key of the tree that a mount takes.
pub(super) fn mount_tree(number: usize) -> String {
    format!("{MOUNT_TREE}{number}")
}

/// The note with the tree itself.
pub(super) fn mounted(number: usize) -> String {
    format!("@mounted {number}")
}

/// Whether a part is the key of a tree that is mounted.
pub(super) fn is_mount_tree(name: &str) -> bool {
    name.starts_with(MOUNT_TREE)
}

/// What kind of step it is.
pub(super) fn kind(op: &Op) -> &'static str {
    match op {
        Op::Image(_) => "image",
        Op::Run(_) => "run",
        Op::Copy(_) => "copy",
        Op::Link(_) => "link",
        Op::Workdir(_) => "workdir",
        Op::Http(_) => "http",
        Op::Git(_) => "git",
    }
}

fn run_parts(op: &RunOp, extra_hosts: &[String], parts: &mut Vec<KeyPart>) {
    for (number, argument) in op.argv.iter().enumerate() {
        parts.push(part(&format!("argument {number}"), argument));
    }
    for (name, value) in &op.env {
        parts.push(part(&format!("variable {name}"), value));
    }
    parts.push(part("working directory", &op.cwd));
    parts.push(part("user", &op.user));
    let network = match op.network {
        RunNetwork::Default => "default",
        RunNetwork::None => "none",
        RunNetwork::Host => "host",
    };
    parts.push(part("network", network));
    if let Some(script) = &op.script {
        parts.push(part("script", &script.content));
    }
    if op.insecure {
        parts.push(part("security", "insecure"));
    }
    for (number, mount) in op.mounts.iter().enumerate() {
        parts.push(part(&format!("mount {number}"), &mount.key_text()));
    }
    // What runs natively everywhere is what its image is for.
    if op.platform != Platform::host() {
        parts.push(part("platform", &op.platform.to_string()));
    }
    // Names only: where a name leads is no part of what the step means.
    for host in extra_hosts {
        parts.push(part(&format!("host {host}"), ""));
    }
}

fn http_parts(op: &HttpOp, parts: &mut Vec<KeyPart>) {
    parts.push(part("name", &op.name));
    // A checksum is the content; neither the address nor the date matters then.
    if let Some(checksum) = &op.checksum {
        parts.push(part("content", &checksum.to_string()));
    }
}

fn copy_parts(op: &CopyOp, parts: &mut Vec<KeyPart>) {
    parts.push(part("instruction", op.instruction));
    parts.push(part("destination", &op.destination));
    parts.push(part("chown", op.chown.as_deref().unwrap_or_default()));
    let chmod = op.chmod.as_ref().map(ToString::to_string);
    parts.push(part("chmod", &chmod.unwrap_or_default()));
    if op.parents {
        parts.push(part("parents", "true"));
    }
    for (number, pattern) in op.exclude.iter().enumerate() {
        parts.push(part(&format!("exclude {number}"), pattern));
    }
    // What the instruction does without the flag is no part.
    if op.instruction == "ADD" && !op.unpack {
        parts.push(part("unpack", "false"));
    }
    if op.unpack_remote {
        parts.push(part("unpack", "true"));
    }
    for file in &op.inline {
        parts.push(part(&format!("heredoc {}", file.name), &file.content));
    }
    // With a context the content of the sources stands for them; from another
    // step the definition needs the patterns as well, and where there are several
    // trees, which of them each pattern means.
    let trees = op.trees();
    for (number, pattern) in op.patterns.iter().enumerate() {
        if let CopySource::Vertex(_) = pattern.source {
            parts.push(part(&format!("source {number}"), &pattern.text));
        }
        if trees.len() > 1 {
            let tree = trees.iter().position(|tree| *tree == pattern.source);
            let tree = tree.unwrap_or_default().to_string();
            parts.push(part(&format!("tree of source {number}"), &tree));
        }
    }
}

fn list(diff_ids: &[DiffId]) -> String {
    let texts: Vec<String> = diff_ids.iter().map(ToString::to_string).collect();
    texts.join(" ")
}

fn part(name: &str, value: &str) -> KeyPart {
    KeyPart {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::graph::{BaseImage, ContextId, CopyPattern, InlineFile, VertexId};
    use crate::oci::{ImageConfig, ImageId};

    fn vertex(op: Op) -> Vertex {
        Vertex {
            parent: None,
            op,
            span: None,
            name: "[1/2] X".to_owned(),
            text: "X".to_owned(),
        }
    }

    fn run() -> RunOp {
        RunOp {
            argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), "make".to_owned()],
            script: None,
            env: vec![("PATH".to_owned(), "/bin".to_owned())],
            proxy_env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            network: RunNetwork::Default,
            mounts: Vec::new(),
            insecure: false,
            platform: Platform::host(),
        }
    }

    fn copy(source: CopySource) -> CopyOp {
        let pattern = |text: &str| CopyPattern {
            literal: false,
            text: text.to_owned(),
            source,
            span: None,
        };
        CopyOp {
            patterns: vec![pattern("a"), pattern("b")],
            inline: Vec::new(),
            destination: "/d/".to_owned(),
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

    fn key(op: Op) -> CacheKey {
        let vertex = vertex(op);
        let parent = Digest::of(b"parent");
        Definition::of(&vertex, &[])
            .with("parent", &parent)
            .key(&vertex.op)
    }

    /// A key that changes here makes every user build everything again: change
    /// [`VERSION`] with it, and say so in the changelog.
    #[test]
    fn keys_of_version_1_stay() {
        let image = BaseImage {
            reference: "x".to_owned(),
            id: ImageId(Digest::of(b"id")),
            config: ImageConfig::default(),
            diff_ids: vec![DiffId(Digest::of(b"layer"))],
            remote: None,
        };
        let workdir = WorkdirOp {
            path: "/w".to_owned(),
            user: "u".to_owned(),
        };
        let keys = [
            key(Op::Image(Box::new(image))),
            key(Op::Run(run())),
            key(Op::Copy(copy(CopySource::Context(ContextId::MAIN)))),
            key(Op::Copy(copy(CopySource::Vertex(Some(VertexId(0)))))),
            key(Op::Workdir(workdir)),
        ];
        let shown: Vec<String> = keys.iter().map(|key| key.0.short()).collect();
        assert_eq!(shown, GOLDEN);
    }

    const GOLDEN: [&str; 5] = [
        "966cad2c3e5e",
        "a856b1dafd1f",
        "668c52ed90c9",
        "a9843b063749",
        "8f729d5c0b67",
    ];

    #[test]
    fn every_option_of_run_counts_but_proxies() {
        let changes: [fn(&mut RunOp); 8] = [
            |op| op.argv[2].push('x'),
            |op| op.env[0].1.push('x'),
            |op| op.env.push(("A".to_owned(), String::new())),
            |op| op.cwd.push('x'),
            |op| op.user.push('x'),
            |op| op.network = RunNetwork::None,
            |op| op.platform = "linux/s390x".parse().unwrap(),
            |op| {
                op.script = Some(InlineFile {
                    name: "s".to_owned(),
                    content: "#!".to_owned(),
                });
            },
        ];
        let plain = key(Op::Run(run()));
        for (number, change) in changes.iter().enumerate() {
            let mut op = run();
            change(&mut op);
            assert_ne!(key(Op::Run(op)), plain, "change {number}");
        }
        let mut proxied = run();
        proxied
            .proxy_env
            .push(("http_proxy".to_owned(), "x".to_owned()));
        assert_eq!(key(Op::Run(proxied)), plain);
    }

    #[test]
    fn the_tree_of_each_source_counts_where_there_are_several() {
        let trees = [
            CopySource::Context(ContextId::MAIN),
            CopySource::Vertex(Some(VertexId(0))),
            CopySource::Vertex(Some(VertexId(1))),
        ];
        let mut keys = Vec::new();
        for first in trees {
            for second in trees {
                let mut op = copy(first);
                op.patterns[1].source = second;
                keys.push(key(Op::Copy(op)));
            }
        }
        keys.sort_unstable_by_key(|key| key.0.hex());
        keys.dedup();
        // Two different steps are told apart by their own keys, which are no part yet.
        assert_eq!(keys.len(), 5);
    }

    #[test]
    fn of_mounts_what_they_mean_counts_and_not_who_shares_them() {
        use crate::build::mount::{CacheSpec, FileSpec, RunMount, RunMountKind};
        use crate::dockerfile::Sharing;
        let file = FileSpec {
            mode: 0o400,
            uid: 0,
            gid: 0,
        };
        let cache = CacheSpec {
            id: "a".to_owned(),
            namespace: String::new(),
            sharing: Sharing::Shared,
            from: None,
            source: String::new(),
            directory: None,
        };
        let secret = |id: &str, required| RunMountKind::Secret {
            id: id.to_owned(),
            env: None,
            required,
            file,
        };
        let of = |kind: RunMountKind, target: &str| {
            let mut op = run();
            op.mounts.push(RunMount {
                target: target.to_owned(),
                read_only: false,
                kind,
                span: None,
            });
            key(Op::Run(op))
        };
        let other = CacheSpec {
            id: "b".to_owned(),
            namespace: "n".to_owned(),
            sharing: Sharing::Locked,
            ..cache.clone()
        };
        let owned = CacheSpec {
            directory: Some(file),
            ..cache.clone()
        };
        let plain = of(RunMountKind::Cache(cache.clone()), "/c");
        assert_eq!(of(RunMountKind::Cache(other), "/c"), plain);
        assert_eq!(of(secret("s", true), "/c"), of(secret("s", false), "/c"));
        let size_bytes = Some(1);
        let different = [
            key(Op::Run(run())),
            plain,
            of(RunMountKind::Cache(cache), "/d"),
            of(RunMountKind::Cache(owned), "/c"),
            of(secret("s", false), "/c"),
            of(secret("t", false), "/c"),
            of(RunMountKind::Tmpfs { size_bytes: None }, "/c"),
            of(RunMountKind::Tmpfs { size_bytes }, "/c"),
        ];
        for (number, one) in different.iter().enumerate() {
            assert!(!different[..number].contains(one), "{number}");
        }
    }

    #[test]
    fn notes_do_not_enter_a_key() {
        let vertex = vertex(Op::Run(run()));
        let plain = Definition::of(&vertex, &[]);
        let noted = plain.clone().with("@parent", &7);
        assert_eq!(plain.key(&vertex.op), noted.key(&vertex.op));
        assert!(same_operation(&plain.parts, &noted.parts));
    }
}
