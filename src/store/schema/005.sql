-- What a record is called for people, how often it was used, and the key of the
-- step that it ran on.
ALTER TABLE cache ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE cache ADD COLUMN uses INTEGER NOT NULL DEFAULT 1;
ALTER TABLE cache ADD COLUMN parent BLOB;
CREATE INDEX cache_by_parent ON cache (parent, created_at) WHERE parent IS NOT NULL;

-- Few snapshots are ever being written or removed, and every build looks for those.
CREATE INDEX snapshots_unsettled ON snapshots (state) WHERE state <> 1;

-- What the user wants to stay, whatever its age: `kind` is `layer` (a snapshot) or
-- `mount` (a cache mount).
CREATE TABLE kept (
    kind TEXT NOT NULL,
    id   INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
