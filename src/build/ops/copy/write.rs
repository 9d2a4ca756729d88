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
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use super::CopyError;
use super::disk::{
    create, finish_directories, link_earlier, make_directories, make_special, move_in,
    set_metadata, umask,
};
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
pub(super) struct Job<'a> {
    trees: &'a [&'a dyn SourceTree],
    /// The directory of the new layer.
    pub(super) target: &'a Path,
    /// The layer that an earlier build made.
    pub(super) earlier: Option<&'a Earlier<'a>>,
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
    let mut is_moved = false;
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
            is_moved = move_in(entry, tree.give(path), (&file, &before), &target)?;
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
    if !is_moved && !link_earlier(entry, digest, job, &target) {
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
    let is_there = link_earlier(entry, known, job, target)
        || move_in(entry, tree.give(path), (&source, &before), target)?;
    let sink = if is_there {
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
