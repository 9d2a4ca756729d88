-- Directories of `RUN --mount=type=cache`. `base` is what such a directory begins
-- with: other content, another mode or owner is another directory. `state`: 0 being
-- filled, 1 in use, 2 retired (no mount finds it any more). Several rows may have
-- one name: copies for mounts that may not share. AUTOINCREMENT, because a number
-- also names a directory and must never be given twice.
CREATE TABLE cache_mounts (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace  TEXT NOT NULL,
    name       TEXT NOT NULL,
    base       TEXT NOT NULL,
    state      INTEGER NOT NULL,
    bytes      INTEGER,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX cache_mounts_by_name ON cache_mounts (name, namespace, base);
