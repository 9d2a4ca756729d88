//! What the build cache holds, item by item, and what of it may go.
//!
//! In: the store. Out: [`CacheItem`]s for `du`, and their removal for `prune` and
//! for the cap that holds while a build runs. What to remove is decided by a pure
//! function over the items; the store has the last word, because other processes
//! go on meanwhile.

mod cap;
mod choose;
mod filter;

pub use cap::{hold as hold_cap, settle as settle_cap};
pub use choose::{PruneOptions, Space};
pub use filter::{CacheFilter, FilterError};

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::snapshot::{self, tree_bytes};
use crate::store::{self, CacheMountRow, Kept, LayerUse, SnapshotId, Store};

/// What kind of thing an item is; the `Display` form is BuildKit's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CacheKind {
    /// A layer: the result of a step.
    Regular,
    /// A directory of `RUN --mount=type=cache`.
    CacheMount,
}

impl fmt::Display for CacheKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regular => "regular",
            Self::CacheMount => "exec.cachemount",
        })
    }
}

/// Names an item in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CacheItemId {
    /// A snapshot.
    Layer(SnapshotId),
    /// A cache mount.
    Mount(u64),
}

impl fmt::Display for CacheItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(id) => write!(f, "layer-{id}"),
            Self::Mount(id) => write!(f, "mount-{id}"),
        }
    }
}

impl std::str::FromStr for CacheItemId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Some(number) = text.strip_prefix("layer-") {
            return number
                .parse()
                .map(|id| Self::Layer(SnapshotId(id)))
                .map_err(drop);
        }
        let number = text.strip_prefix("mount-").ok_or(())?;
        number.parse().map(Self::Mount).map_err(drop)
    }
}

/// One thing that the build cache holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheItem {
    /// Its name.
    pub id: CacheItemId,
    /// What kind of thing it is.
    pub kind: CacheKind,
    /// The items that it lies on, or that have its content.
    pub parents: Vec<CacheItemId>,
    /// When it was made, nanoseconds since 1970.
    pub created_at: i64,
    /// When it was used last; a layer's time is exact to an hour.
    pub used_at: i64,
    /// How often it was used; a layer counts once an hour.
    pub uses: u64,
    /// The instruction that made it, or the name of the mount.
    pub description: String,
    /// Bytes of its regular files.
    pub bytes: u64,
    /// Whether it may still change.
    pub is_mutable: bool,
    /// Whether a living process needs it.
    pub in_use: bool,
    /// Whether an image or container has it too: removing it would free nothing.
    pub is_shared: bool,
    /// Whether the user wants it to stay.
    pub is_kept: bool,
    /// Whether the cache itself leads to it: a record, or a mount's name.
    pub is_named: bool,
}

impl CacheItem {
    /// The items that it lies on, with commas between them.
    pub fn parents_text(&self) -> String {
        let ids: Vec<String> = self.parents.iter().map(ToString::to_string).collect();
        ids.join(",")
    }

    /// Whether removing it is allowed and would free its bytes.
    pub fn is_reclaimable(&self) -> bool {
        !self.in_use && !self.is_shared && !self.is_kept
    }
}

/// What could not be read or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A file refused.
    #[error(transparent)]
    File(#[from] crate::fs::PathError),
}

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunedCache {
    /// The items.
    pub items: Vec<CacheItem>,
    /// Bytes that are free now.
    pub bytes: u64,
}

/// Everything that the build cache holds, the oldest first.
pub fn list(store: &Store) -> Result<Vec<CacheItem>, Error> {
    items(store, Sizes::Measured)
}

/// Where the sizes of cache mounts come from, whose programs tell nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sizes {
    /// Measured now.
    Measured,
    /// As they were measured last, where they ever were.
    Known,
}

fn items(store: &Store, sizes: Sizes) -> Result<Vec<CacheItem>, Error> {
    let mut items: Vec<CacheItem> = store.layer_uses()?.into_iter().map(layer).collect();
    let kept = store.kept(Kept::Mount)?;
    for row in store.cache_mounts()? {
        items.push(mount(store, &row, &kept, sizes)?);
    }
    Ok(items)
}

fn layer(row: LayerUse) -> CacheItem {
    let description = match (row.is_active, row.description) {
        (true, _) => "being written".to_owned(),
        (_, text) if text.is_empty() => "layer of an image".to_owned(),
        (_, text) => text,
    };
    CacheItem {
        id: CacheItemId::Layer(row.id),
        kind: CacheKind::Regular,
        parents: [row.parent, row.layer]
            .into_iter()
            .flatten()
            .map(CacheItemId::Layer)
            .collect(),
        created_at: row.created_at,
        used_at: row.used_at,
        uses: row.uses,
        description,
        bytes: row.bytes,
        is_mutable: row.is_active,
        in_use: row.in_use || row.is_active,
        is_shared: row.is_shared,
        is_kept: row.is_kept,
        is_named: row.key.is_some(),
    }
}

fn mount(
    store: &Store,
    row: &CacheMountRow,
    kept: &HashSet<i64>,
    sizes: Sizes,
) -> Result<CacheItem, Error> {
    let in_use = store.cache_mount_in_use(row)?;
    Ok(CacheItem {
        id: CacheItemId::Mount(row.id),
        kind: CacheKind::CacheMount,
        parents: Vec::new(),
        created_at: row.created_at,
        used_at: row.used_at.max(row.created_at),
        uses: 0,
        description: format!("cache mount {}", row.key),
        bytes: mount_bytes(store, row, in_use || sizes == Sizes::Known)?,
        is_mutable: true,
        in_use,
        is_shared: false,
        is_kept: i64::try_from(row.id).is_ok_and(|id| kept.contains(&id)),
        is_named: true,
    })
}

/// The size of a cache mount, measured anew unless what is known is good enough.
fn mount_bytes(store: &Store, row: &CacheMountRow, known: bool) -> Result<u64, Error> {
    if known && let Some(bytes) = row.bytes {
        return Ok(bytes);
    }
    match tree_bytes(&row.path) {
        Ok(bytes) => {
            if row.bytes != Some(bytes) {
                store.cache_mount_measured(row.id, bytes)?;
            }
            Ok(bytes)
        }
        // Removed meanwhile, or changing under our eyes.
        Err(_) => Ok(row.bytes.unwrap_or_default()),
    }
}

/// Removes what `options` name, the least recently used first, or only says what
/// that would be. Items in use and items that the user wants to keep stay.
pub fn prune(store: &Store, options: &PruneOptions) -> Result<PrunedCache, Error> {
    prune_items(store, options, &list(store)?)
}

fn prune_items(
    store: &Store,
    options: &PruneOptions,
    items: &[CacheItem],
) -> Result<PrunedCache, Error> {
    let space = Space::of(store)?;
    let chosen = choose::choose(items, options, space);
    let chosen: Vec<CacheItem> = chosen.into_iter().cloned().collect();
    if options.dry_run {
        return Ok(summary(chosen));
    }
    Ok(summary(remove(store, chosen)?))
}

fn summary(items: Vec<CacheItem>) -> PrunedCache {
    let freed = items.iter().filter(|item| !item.is_shared);
    PrunedCache {
        bytes: freed.map(|item| item.bytes).sum(),
        items,
    }
}

/// Removes items as far as nobody has come to need them; returns those that went.
fn remove(store: &Store, items: Vec<CacheItem>) -> Result<Vec<CacheItem>, Error> {
    let mut layers = Vec::new();
    let mut gone: HashMap<CacheItemId, bool> = HashMap::new();
    for item in &items {
        match item.id {
            CacheItemId::Layer(id) if item.is_shared => {
                // Its bytes belong to an image; only the way to it is forgotten.
                store.cache_forget(id)?;
                gone.insert(item.id, true);
            }
            CacheItemId::Layer(id) => layers.push(id),
            CacheItemId::Mount(id) => {
                gone.insert(item.id, store.cache_mount_remove(id)?);
            }
        }
    }
    for id in snapshot::evict(store, &layers)? {
        gone.insert(CacheItemId::Layer(id), true);
    }
    let went = |item: &CacheItem| gone.get(&item.id) == Some(&true);
    Ok(items.into_iter().filter(went).collect())
}
