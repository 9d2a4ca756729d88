//! Debian's kernel and the modules that containers need: fetched as a package once,
//! kept among the build's temporary files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::run_other;

/// What stands in the package's name: the small kernel for virtual machines.
const PACKAGE: &str = "linux-image-cloud-amd64";
/// Modules, beside those that they need.
const MODULES: [&str; 17] = [
    "overlay",
    "veth",
    "bridge",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_ct",
    "nft_fib_inet",
    "nft_reject_inet",
    "nft_redir",
    "virtio_pci",
    "virtio_blk",
    "bfq",
    "dummy",
    "null_blk",
    "zram",
];
/// Changes with what is kept.
const KEPT: &str = "vm-kernel-1";

/// A kernel.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    /// What boots.
    pub(super) image: PathBuf,
    /// Modules, in the order in which they are loaded.
    pub(super) modules: Vec<PathBuf>,
}

impl Kernel {
    /// The kernel; fetched now if there is none.
    pub(super) fn get() -> Self {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(KEPT);
        if !place.exists() {
            fetch(&place);
        }
        let entries = std::fs::read_dir(place.join("modules")).unwrap();
        let mut modules: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        modules.sort();
        Self {
            image: place.join("vmlinuz"),
            modules,
        }
    }
}

fn fetch(place: &Path) {
    let above = place.parent().unwrap();
    let work = tempfile::tempdir_in(above).unwrap();
    let tree = work.path().join("tree");
    // As another user than root apt fetches into a directory that it may write to.
    let script = format!(
        "cd '{}' && {{ {get} || {{ apt-get -q update && {get}; }}; }} && dpkg-deb -x ./*.deb tree",
        work.path().display(),
        get = format_args!(
            "apt-get -q -o APT::Sandbox::User=root download \"$(apt-cache depends {PACKAGE} | \
             sed -n 's/^ *Depends: \\(linux-image-.*\\)/\\1/p' | head -n 1)\""
        ),
    );
    run_other("sh", &["-c", &script]);
    let made = work.path().join("made");
    std::fs::create_dir_all(made.join("modules")).unwrap();
    let image = find(&tree.join("boot"), &|name| name.starts_with("vmlinuz-"));
    std::fs::rename(&image[0], made.join("vmlinuz")).unwrap();
    let files = find(&tree, &|name| name.contains(".ko"));
    let named: BTreeMap<String, PathBuf> = files
        .into_iter()
        .map(|path| (module_name(&path), path))
        .collect();
    let mut order = Vec::new();
    for module in MODULES {
        add(module, &named, &mut order);
    }
    for (index, name) in order.iter().enumerate() {
        let target = made.join(format!("modules/{index:03}-{name}.ko"));
        std::fs::write(target, plain(&named[name])).unwrap();
    }
    // Whole or not there; whoever else was doing the same made the same.
    if std::fs::rename(&made, place).is_err() {
        assert!(place.exists(), "cannot keep the kernel");
    }
}

/// Appends a module and before it those that it needs. One that is built into the
/// kernel has no file.
fn add(name: &str, named: &BTreeMap<String, PathBuf>, order: &mut Vec<String>) {
    if order.iter().any(|known| known == name) {
        return;
    }
    let Some(path) = named.get(name) else { return };
    for needed in needed(&plain(path)) {
        add(&needed, named, order);
    }
    order.push(name.to_owned());
}

/// What a module says that it needs: `depends=a,b` in its section `.modinfo`.
fn needed(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let rest = &module[at + KEY.len()..];
    let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(text).replace('-', "_");
    let names = names.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// A module's bytes; newer packages have them compressed.
fn plain(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if path.extension().is_none_or(|ending| ending != "xz") {
        return bytes;
    }
    let mut plain = Vec::new();
    let mut reader = lzma_rust2::XzReader::new(&bytes[..], true);
    std::io::Read::read_to_end(&mut reader, &mut plain).unwrap();
    plain
}

fn module_name(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy();
    name.split('.').next().unwrap_or_default().replace('-', "_")
}

/// The files beneath `dir` whose name is right.
fn find(dir: &Path, is_it: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                waiting.push(path);
            } else if is_it(&path.file_name().unwrap().to_string_lossy()) {
                found.push(path);
            }
        }
    }
    found
}
