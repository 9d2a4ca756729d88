-- Times are nanoseconds since 1970. Digests are their 32 raw bytes. A process is
-- its number (`pid`) and its start time in clock ticks after boot (`started`).

CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE images (
    id              BLOB PRIMARY KEY,
    manifest_digest BLOB NOT NULL,
    stored_at       INTEGER NOT NULL,
    manifest        BLOB NOT NULL,
    config          BLOB NOT NULL
) STRICT;
CREATE INDEX images_by_manifest ON images (manifest_digest);

-- `name` is the whole reference, `repository` its host and path.
CREATE TABLE names (
    name       TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    image      BLOB NOT NULL REFERENCES images (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX names_by_image ON names (image);

-- The process is the one that brought the blob last: while it lives, the blob
-- may be about to be named by an image.
CREATE TABLE layer_blobs (
    digest     BLOB PRIMARY KEY,
    diff_id    BLOB,
    size       INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    stored_at  INTEGER NOT NULL,
    pid        INTEGER NOT NULL,
    started    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX layer_blobs_by_diff ON layer_blobs (diff_id) WHERE diff_id IS NOT NULL;

-- `state`: 0 active, 1 committed, 2 condemned (unreached, being removed).
-- AUTOINCREMENT, because a number also names a directory and must never be
-- given twice.
CREATE TABLE snapshots (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    parent     INTEGER REFERENCES snapshots (id),
    depth      INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    diff_id    BLOB,
    tar_size   INTEGER,
    chain_id   BLOB,
    tree       BLOB,
    bytes      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    pid        INTEGER NOT NULL,
    started    INTEGER NOT NULL
) STRICT;
CREATE INDEX snapshots_by_parent ON snapshots (parent);
CREATE INDEX snapshots_by_chain ON snapshots (chain_id) WHERE chain_id IS NOT NULL;

-- Snapshots and blobs that a running process needs, though nothing names them.
CREATE TABLE pins (
    snapshot INTEGER,
    blob     BLOB,
    pid      INTEGER NOT NULL,
    started  INTEGER NOT NULL
) STRICT;

CREATE TABLE cache (
    key        BLOB PRIMARY KEY,
    line       BLOB NOT NULL,
    result     INTEGER,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    parts      BLOB NOT NULL
) STRICT;
CREATE INDEX cache_by_line ON cache (line, created_at);
CREATE INDEX cache_by_result ON cache (result);

CREATE TABLE containers (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    image      BLOB NOT NULL,
    snapshot   INTEGER,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE networks (
    name    TEXT PRIMARY KEY,
    device  TEXT NOT NULL,
    gateway TEXT NOT NULL,
    prefix  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    network TEXT NOT NULL,
    address TEXT NOT NULL,
    owner   TEXT NOT NULL,
    pid     INTEGER NOT NULL,
    started INTEGER NOT NULL,
    PRIMARY KEY (network, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_by_owner ON leases (owner);
