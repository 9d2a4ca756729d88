//! Writing the new layer: each file is read once, hashed, written, and packed
//! into the layer's tar hash in canonical order.
//!
//! Worker threads open, read, hash and write small files ahead of the packer,
//! which takes their bytes in order; a bounded window keeps memory small. Large
//! files stream through the packer itself, with writing and hashing on threads
//! beside it. A file that an earlier layer of the same instruction already
//! holds is linked instead of copied.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};

use super::CopyError;
use super::files::FileList;
use super::place::{Content, Placed, Plan};
use super::source::{SourceTree, read_whole};
use crate::fs::{At, PathError};
use crate::layer::{Entry, EntryKind, PackOptions, Packed, Packer};
use crate::oci::{Digest, Hasher};

/// Files up to this size are read whole by the workers.
const SMALL: u64 = 1 << 20;
/// How far workers may run ahead of the packer: files, and bytes in memory.
const WINDOW_FILES: usize = 1_024;
const WINDOW_BYTES: usize = 16 << 20;
/// Size of the pieces in which a large file is read.
const PIECE: usize = 1 << 20;

/// What was written.
pub(super) struct Written {
    /// The layer's tar.
    pub(super) packed: Packed,
    /// Bytes of regular files.
    pub(super) bytes: u64,
}

/// An earlier layer whose files may be linked.
pub(super) struct Earlier<'a> {
    /// Its directory.
    pub(super) dir: &'a Path,
    /// What it holds.
    pub(super) files: &'a FileList,
}

/// Writes the layer into the empty directory `target`. Digests of regular files
/// that were not known are filled into the plan.
pub(super) fn write(
    plan: &mut Plan,
    trees: &[&dyn SourceTree],
    target: &Path,
    earlier: Option<&Earlier<'_>>,
) -> Result<Written, CopyError> {
    make_directories(plan, target)?;
    let mut placed: Vec<&mut Placed> = plan.values_mut().collect();
    let umask = umask();
    let job = Job {
        trees,
        target,
        earlier,
        umask,
    };
    let written = run(&mut placed, &job)?;
    finish_directories(plan, target)?;
    Ok(written)
}

/// What every worker needs.
struct Job<'a> {
    trees: &'a [&'a dyn SourceTree],
    target: &'a Path,
    earlier: Option<&'a Earlier<'a>>,
    /// Permission bits that creating a file takes away.
    umask: u32,
}

/// A small file after its worker is done with it.
struct Ready {
    bytes: Vec<u8>,
    digest: Option<Digest>,
}

/// What workers and packer share.
#[derive(Default)]
struct Window {
    ready: HashMap<usize, Result<Ready, PathError>>,
    bytes: usize,
    /// The next file that the packer takes.
    next: usize,
}

fn run(placed: &mut [&mut Placed], job: &Job<'_>) -> Result<Written, CopyError> {
    let small: Vec<(usize, Entry, Content)> = placed
        .iter()
        .enumerate()
        .filter(|(_, placed)| is_small(&placed.entry))
        .map(|(at, placed)| (at, placed.entry.clone(), placed.content.clone()))
        .collect();
    let window = (Mutex::new(Window::default()), Condvar::new());
    let cursor = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(8);
    let threads = if small.len() < 16 { 1 } else { threads };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&small, job, &window, &cursor, &stop));
        }
        let packed = pack(placed, job, &window);
        // Whoever waits for room must not wait for a packer that has given up.
        stop.store(true, Ordering::SeqCst);
        window.1.notify_all();
        packed
    })
}

fn is_small(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::File { size, .. } if size <= SMALL)
}

type Shared = (Mutex<Window>, Condvar);

fn lock(window: &Shared) -> MutexGuard<'_, Window> {
    window.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker: takes the next small file until there is none.
fn work(
    small: &[(usize, Entry, Content)],
    job: &Job<'_>,
    window: &Shared,
    cursor: &AtomicUsize,
    stop: &AtomicBool,
) {
    loop {
        let number = cursor.fetch_add(1, Ordering::Relaxed);
        let Some((at, entry, content)) = small.get(number) else {
            return;
        };
        {
            let mut shared = lock(window);
            while !stop.load(Ordering::SeqCst)
                && number > shared.next
                && (number > shared.next + WINDOW_FILES || shared.bytes > WINDOW_BYTES)
            {
                shared = window
                    .1
                    .wait(shared)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let ready = small_file(entry, content, job);
        let mut shared = lock(window);
        shared.bytes += ready.as_ref().map_or(0, |ready| ready.bytes.len());
        shared.ready.insert(*at, ready);
        window.1.notify_all();
    }
}

/// Reads, hashes and writes (or links) one small file.
fn small_file(entry: &Entry, content: &Content, job: &Job<'_>) -> Result<Ready, PathError> {
    let target = job.target.join(&entry.path);
    let EntryKind::File {
        size,
        content: known,
    } = entry.kind
    else {
        return Ok(Ready {
            bytes: Vec::new(),
            digest: None,
        });
    };
    let (bytes, digest) = match content {
        Content::Inline(text) => (text.clone().into_bytes(), known),
        Content::None => (Vec::new(), known),
        // Nothing to read; and what stands there may be a socket.
        Content::Tree { .. } if size == 0 => (Vec::new(), Some(Digest::of(b""))),
        Content::Tree { tree, path } => {
            let tree = job.trees[*tree];
            let file = tree.open(path)?;
            let before = rustix::fs::fstat(&file).at("look at", path)?;
            let bytes = read_whole(&file, size, path)?;
            let digest = known.unwrap_or_else(|| {
                let digest = Digest::of(&bytes);
                tree.learn(path, &file, &before, digest);
                digest
            });
            (bytes, Some(digest))
        }
    };
    if bytes.len() as u64 != size {
        return Err(changed(&entry.path));
    }
    if !link_earlier(entry, digest, job, &target) {
        let mut file = create(entry, &target, job.umask)?;
        file.write_all(&bytes).at("write", &target)?;
        set_metadata(entry, &file, &target, job.umask)?;
    }
    Ok(Ready { bytes, digest })
}

fn changed(path: &Path) -> PathError {
    PathError {
        action: "copy",
        path: path.to_owned(),
        source: io::Error::other(
            "the file changed while it was read; build again when it is at rest",
        ),
    }
}

/// Links the file of an earlier layer that is the same in every respect;
/// whether there was one.
fn link_earlier(entry: &Entry, digest: Option<Digest>, job: &Job<'_>, target: &Path) -> bool {
    let (Some(earlier), Some(digest)) = (job.earlier, digest) else {
        return false;
    };
    if !earlier.files.holds(entry, digest) {
        return false;
    }
    let source = earlier.dir.join(&entry.path);
    // A full or vanished inode is no misfortune: the file is copied then.
    rustix::fs::linkat(CWD, &source, CWD, target, AtFlags::empty()).is_ok()
}

fn create(entry: &Entry, target: &Path, umask: u32) -> Result<File, PathError> {
    let mode = entry.mode & 0o777 & !umask;
    File::options()
        .write(true)
        .create_new(true)
        .mode(mode | 0o200)
        .open(target)
        .at("create", target)
}

/// Owner before mode: changing the owner clears setuid.
fn set_metadata(entry: &Entry, file: &File, target: &Path, umask: u32) -> Result<(), PathError> {
    if (entry.uid, entry.gid) != (0, 0) || !is_root() {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::fchown(file, Some(uid), Some(gid)).at("change the owner of", target)?;
    }
    if entry.mode & !0o777 != 0 || entry.mode & umask != 0 || entry.mode & 0o200 == 0 {
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))
            .at("change the mode of", target)?;
    }
    for (name, value) in &entry.xattrs {
        rustix::fs::fsetxattr(file, name.as_str(), value, rustix::fs::XattrFlags::empty())
            .at("set an attribute of", target)?;
    }
    rustix::fs::futimens(file, &times(entry.mtime)).at("set the time of", target)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o777)
}

/// The packer: takes every entry in canonical order.
fn pack(placed: &mut [&mut Placed], job: &Job<'_>, window: &Shared) -> Result<Written, CopyError> {
    let mut packer = Packer::new(io::sink(), PackOptions::default());
    let mut total = 0;
    let mut taken = 0;
    for (at, placed) in placed.iter_mut().enumerate() {
        let target = job.target.join(&placed.entry.path);
        let packing = |err: io::Error| {
            CopyError::File(PathError {
                action: "pack",
                path: target.clone(),
                source: err,
            })
        };
        match &placed.entry.kind {
            EntryKind::File { size, .. } => {
                total += size;
                if is_small(&placed.entry) {
                    let ready = take(window, at, &mut taken)?;
                    packer
                        .entry(&placed.entry, &mut ready.bytes.as_slice())
                        .map_err(packing)?;
                    set_digest(placed, ready.digest);
                } else {
                    let digest = large_file(placed, job, &target, &mut packer)?;
                    set_digest(placed, digest);
                }
            }
            kind => {
                make_special(&placed.entry, kind, job, &target)?;
                packer
                    .entry(&placed.entry, &mut io::empty())
                    .map_err(packing)?;
            }
        }
    }
    let (packed, _) = packer.finish().map_err(|err| {
        CopyError::File(PathError {
            action: "pack",
            path: job.target.to_owned(),
            source: err,
        })
    })?;
    Ok(Written {
        packed,
        bytes: total,
    })
}

fn set_digest(placed: &mut Placed, digest: Option<Digest>) {
    if let EntryKind::File { content, .. } = &mut placed.entry.kind {
        *content = digest;
    }
}

/// Waits for the small file number `at` of the plan.
fn take(window: &Shared, at: usize, taken: &mut usize) -> Result<Ready, PathError> {
    let mut shared = lock(window);
    let ready = loop {
        if let Some(ready) = shared.ready.remove(&at) {
            break ready?;
        }
        shared = window
            .1
            .wait(shared)
            .unwrap_or_else(PoisonError::into_inner);
    };
    *taken += 1;
    shared.next = *taken;
    shared.bytes -= ready.bytes.len();
    window.1.notify_all();
    Ok(ready)
}

/// Streams a large file: read here, hashed into the tar here, written and
/// hashed for the cache on two threads beside.
fn large_file(
    placed: &Placed,
    job: &Job<'_>,
    target: &Path,
    packer: &mut Packer<io::Sink>,
) -> Result<Option<Digest>, CopyError> {
    let entry = &placed.entry;
    let EntryKind::File { content: known, .. } = entry.kind else {
        return Ok(None);
    };
    let Content::Tree { tree, path } = &placed.content else {
        return Ok(known);
    };
    let tree = job.trees[*tree];
    let source = tree.open(path)?;
    let before = rustix::fs::fstat(&source).at("look at", path)?;
    let linked = link_earlier(entry, known, job, target);
    let sink = if linked {
        None
    } else {
        Some(create(entry, target, job.umask)?)
    };
    let failed = |err: io::Error| PathError {
        action: "copy",
        path: target.to_owned(),
        source: err,
    };
    let digest = std::thread::scope(|scope| -> Result<Option<Digest>, PathError> {
        let (to_writer, written) = mpsc::sync_channel::<std::sync::Arc<[u8]>>(4);
        let (to_hasher, hashed) = mpsc::sync_channel::<std::sync::Arc<[u8]>>(4);
        let writer = sink.as_ref().map(|mut file| {
            scope.spawn(move || written.iter().try_for_each(|piece| file.write_all(&piece)))
        });
        let hasher = known.is_none().then(|| {
            scope.spawn(move || {
                let mut hasher = Hasher::new();
                for piece in hashed {
                    hasher.update(&piece);
                }
                hasher.finish()
            })
        });
        let mut reader = Tee {
            source: &source,
            writer: writer.is_some().then_some(to_writer),
            hasher: hasher.is_some().then_some(to_hasher),
            piece: std::sync::Arc::from(&[][..]),
            at: 0,
        };
        let packed = packer.entry(entry, &mut reader);
        drop(reader);
        let written = writer.map(|writer| writer.join().expect("writing does not panic"));
        let digest = hasher.map(|hasher| hasher.join().expect("hashing does not panic"));
        // The writer's failure is the cause of the reader's.
        written.transpose().map_err(failed)?;
        packed.map_err(failed)?;
        Ok(digest.or(known))
    })?;
    if known.is_none()
        && let Some(digest) = digest
    {
        tree.learn(path, &source, &before, digest);
    }
    if let Some(sink) = sink {
        set_metadata(entry, &sink, target, job.umask)?;
    }
    Ok(digest)
}

/// Reads pieces and hands each to the threads beside.
struct Tee<'a> {
    source: &'a File,
    writer: Option<mpsc::SyncSender<std::sync::Arc<[u8]>>>,
    hasher: Option<mpsc::SyncSender<std::sync::Arc<[u8]>>>,
    piece: std::sync::Arc<[u8]>,
    at: usize,
}

impl Read for Tee<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            let mut piece = vec![0; PIECE];
            let count = self.source.read(&mut piece)?;
            piece.truncate(count);
            self.piece = piece.into();
            self.at = 0;
            if count > 0 {
                for to in [&self.writer, &self.hasher].into_iter().flatten() {
                    // A thread that has given up reports its own error when it is joined.
                    to.send(self.piece.clone())
                        .map_err(|_| io::ErrorKind::BrokenPipe)?;
                }
            }
        }
        let count = out.len().min(self.piece.len() - self.at);
        out[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Makes the directories, parents first, open to us until they are finished.
fn make_directories(plan: &Plan, target: &Path) -> Result<(), PathError> {
    for (path, placed) in plan {
        if matches!(placed.entry.kind, EntryKind::Directory { .. }) {
            let dir = target.join(path);
            rustix::fs::mkdir(&dir, Mode::from_raw_mode(0o700)).at("create", &dir)?;
        }
    }
    Ok(())
}

/// Gives the directories their metadata, children first, so that the times stay.
fn finish_directories(plan: &Plan, target: &Path) -> Result<(), PathError> {
    for (path, placed) in plan.iter().rev() {
        if matches!(placed.entry.kind, EntryKind::Directory { .. }) {
            let dir = target.join(path);
            let file = File::open(&dir).at("open", &dir)?;
            set_metadata(&placed.entry, &file, &dir, 0o777)?;
        }
    }
    Ok(())
}

/// Makes what is no regular file and no directory.
fn make_special(
    entry: &Entry,
    kind: &EntryKind,
    job: &Job<'_>,
    target: &Path,
) -> Result<(), PathError> {
    use rustix::fs::{FileType, makedev, mknodat};
    let node = |kind: FileType, device: u64| {
        mknodat(CWD, target, kind, Mode::from_raw_mode(entry.mode), device).at("create", target)
    };
    match kind {
        EntryKind::File { .. } | EntryKind::Directory { .. } => return Ok(()),
        EntryKind::Symlink(link) => {
            rustix::fs::symlink(link, target).at("create", target)?;
        }
        EntryKind::HardLink(first) => {
            let first: PathBuf = job.target.join(first);
            return rustix::fs::linkat(CWD, &first, CWD, target, AtFlags::empty())
                .at("link", target);
        }
        EntryKind::CharDevice { major, minor } => {
            node(FileType::CharacterDevice, makedev(*major, *minor))?;
        }
        EntryKind::BlockDevice { major, minor } => {
            node(FileType::BlockDevice, makedev(*major, *minor))?;
        }
        EntryKind::Fifo => node(FileType::Fifo, 0)?,
        EntryKind::Whiteout => node(FileType::CharacterDevice, 0)?,
    }
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    rustix::fs::chownat(CWD, target, Some(uid), Some(gid), flags)
        .at("change the owner of", target)?;
    if !matches!(kind, EntryKind::Symlink(_)) {
        rustix::fs::chmod(target, Mode::from_raw_mode(entry.mode))
            .at("change the mode of", target)?;
    }
    rustix::fs::utimensat(CWD, target, &times(entry.mtime), flags).at("set the time of", target)
}
