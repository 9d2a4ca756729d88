//! Which items go. Pure.

use std::collections::{BTreeSet, HashMap};

use super::{CacheFilter, CacheItem, CacheItemId, Error};
use crate::fs::At as _;
use crate::store::Store;

/// What may be removed, and how much.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Also forget results that images share; their layers stay.
    pub all: bool,
    /// Conditions that an item must meet, every one of them.
    pub filters: Vec<CacheFilter>,
    /// Most bytes that may stay; 0 for no such limit.
    pub max_used: u64,
    /// Bytes that may always stay.
    pub reserved: u64,
    /// Bytes of the disk that shall be free.
    pub min_free: u64,
    /// Only say what would go.
    pub dry_run: bool,
}

/// The disk that the store lies on, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What is free for the user.
    pub free: u64,
}

impl Space {
    /// Of the data root's file system.
    pub fn of(store: &Store) -> Result<Self, Error> {
        let root = store.paths().data();
        let disk = rustix::fs::statvfs(root).at("look at the file system of", root)?;
        Ok(Self {
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
        })
    }
}

/// The items that go, the least recently used first; whatever lies on another
/// item goes before it.
pub(super) fn choose<'a>(
    items: &'a [CacheItem],
    options: &PruneOptions,
    space: Space,
) -> Vec<&'a CacheItem> {
    let mut left: u64 = items.iter().filter(|i| !i.is_shared).map(|i| i.bytes).sum();
    let keep = keep_bytes(options, left, space);
    let places: HashMap<CacheItemId, usize> = items
        .iter()
        .enumerate()
        .map(|(place, item)| (item.id, place))
        .collect();
    let parents = |item: &CacheItem| -> Vec<usize> {
        let known = item.parents.iter().filter_map(|id| places.get(id));
        known.copied().collect()
    };
    let mut children = vec![0_usize; items.len()];
    for item in items {
        for parent in parents(item) {
            children[parent] += 1;
        }
    }
    let may_go = |item: &CacheItem| {
        let allowed = item.is_reclaimable()
            || (options.all && item.is_shared && item.is_named && !item.is_kept && !item.in_use);
        allowed && options.filters.iter().all(|filter| filter.fits(item))
    };
    let entry = |place: usize| (items[place].used_at, items[place].created_at, place);
    let mut queue: BTreeSet<(i64, i64, usize)> = (0..items.len())
        .filter(|place| children[*place] == 0 && may_go(&items[*place]))
        .map(entry)
        .collect();
    let mut chosen = Vec::new();
    while let Some((.., place)) = queue.pop_first() {
        if keep.is_some_and(|keep| left <= keep) {
            break;
        }
        let item = &items[place];
        chosen.push(item);
        if !item.is_shared {
            left = left.saturating_sub(item.bytes);
        }
        for parent in parents(item) {
            children[parent] -= 1;
            if children[parent] == 0 && may_go(&items[parent]) {
                queue.insert(entry(parent));
            }
        }
    }
    chosen
}

/// How many bytes may stay; `None` when everything that fits is to go.
fn keep_bytes(options: &PruneOptions, used: u64, space: Space) -> Option<u64> {
    if (options.max_used, options.reserved, options.min_free) == (0, 0, 0) {
        return None;
    }
    let mut keep = Some(options.max_used).filter(|most| *most > 0);
    if let Some(excess) = options.min_free.checked_sub(space.free)
        && excess > 0
    {
        let most = used.saturating_sub(excess);
        keep = Some(keep.map_or(most, |keep| keep.min(most)));
    } else if keep.is_none() && options.min_free > 0 && options.reserved == 0 {
        // Enough is free already.
        return Some(u64::MAX);
    }
    Some(keep.unwrap_or_default().max(options.reserved))
}

#[cfg(test)]
mod tests {
    use super::super::CacheKind;
    use super::*;
    use crate::store::SnapshotId;

    fn item(id: i64, parent: Option<i64>, used_at: i64, bytes: u64) -> CacheItem {
        CacheItem {
            id: CacheItemId::Layer(SnapshotId(id)),
            kind: CacheKind::Regular,
            parents: parent
                .map(|id| CacheItemId::Layer(SnapshotId(id)))
                .into_iter()
                .collect(),
            created_at: id,
            used_at,
            uses: 1,
            description: String::new(),
            bytes,
            is_mutable: false,
            in_use: false,
            is_shared: false,
            is_kept: false,
            is_named: true,
        }
    }

    fn check(items: &[CacheItem], options: &PruneOptions, free: u64, expected: &[i64]) {
        let chosen = choose(items, options, Space { free });
        let ids: Vec<CacheItemId> = chosen.iter().map(|item| item.id).collect();
        let expected: Vec<CacheItemId> = expected
            .iter()
            .map(|id| CacheItemId::Layer(SnapshotId(*id)))
            .collect();
        assert_eq!(ids, expected, "{options:?}");
    }

    /// 1 and 2 lie on another, 3 on 1; 4 is alone.
    fn items() -> Vec<CacheItem> {
        vec![
            item(1, None, 10, 100),
            item(2, Some(1), 50, 10),
            item(3, Some(1), 20, 1000),
            item(4, None, 30, 5),
        ]
    }

    #[test]
    fn the_least_recently_used_goes_first_and_never_before_what_lies_on_it() {
        check(&items(), &PruneOptions::default(), 0, &[3, 4, 2, 1]);
    }

    #[test]
    fn limits_end_it() {
        let options = |max_used, reserved, min_free| PruneOptions {
            max_used,
            reserved,
            min_free,
            ..PruneOptions::default()
        };
        check(&items(), &options(1115, 0, 0), 0, &[]);
        check(&items(), &options(1114, 0, 0), 0, &[3]);
        check(&items(), &options(112, 0, 0), 0, &[3, 4]);
        check(&items(), &options(1, 0, 0), 0, &[3, 4, 2, 1]);
        check(&items(), &options(1, 200, 0), 0, &[3]);
        check(&items(), &options(0, 200, 0), 0, &[3]);
        check(&items(), &options(0, 0, 50), 100, &[]);
        check(&items(), &options(0, 0, 150), 100, &[3]);
        check(&items(), &options(0, 1110, 150), 100, &[3]);
    }

    #[test]
    fn what_is_in_use_kept_or_shared_stays() {
        for set in [
            |item: &mut CacheItem| item.in_use = true,
            |item: &mut CacheItem| item.is_kept = true,
            |item: &mut CacheItem| item.is_shared = true,
        ] {
            let mut items = items();
            set(&mut items[1]);
            set(&mut items[0]);
            check(&items, &PruneOptions::default(), 0, &[3, 4]);
        }
    }

    #[test]
    fn all_forgets_the_way_to_shared_layers_too() {
        let mut items = items();
        items[0].is_shared = true;
        items[0].is_named = false;
        items[1].is_shared = true;
        let options = PruneOptions {
            all: true,
            ..PruneOptions::default()
        };
        check(&items, &options, 0, &[3, 4, 2]);
    }
}
