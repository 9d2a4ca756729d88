-- What the built-in registry has been given: manifests with their bytes, by
-- repository; the manifests and blobs that each of them names; tags; and which
-- blobs of the store are part of a repository. `checked_at` of a tag is when its
-- upstream registry was last asked for it; NULL for one that was pushed.
CREATE TABLE hosted_manifests (
    repository TEXT NOT NULL,
    digest     BLOB NOT NULL,
    media_type TEXT NOT NULL,
    bytes      BLOB NOT NULL,
    subject    BLOB,
    stored_at  INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) STRICT;
CREATE INDEX hosted_by_subject ON hosted_manifests (repository, subject, digest)
    WHERE subject IS NOT NULL;

CREATE TABLE hosted_parts (
    repository TEXT NOT NULL,
    manifest   BLOB NOT NULL,
    part       BLOB NOT NULL,
    size       INTEGER NOT NULL,
    PRIMARY KEY (repository, manifest, part),
    FOREIGN KEY (repository, manifest) REFERENCES hosted_manifests (repository, digest)
        ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX hosted_parts_by_part ON hosted_parts (repository, part);

CREATE TABLE hosted_tags (
    repository TEXT NOT NULL,
    tag        TEXT NOT NULL,
    digest     BLOB NOT NULL,
    checked_at INTEGER,
    PRIMARY KEY (repository, tag),
    FOREIGN KEY (repository, digest) REFERENCES hosted_manifests (repository, digest)
        ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX hosted_tags_by_digest ON hosted_tags (repository, digest);

-- `used_at` is when somebody who may want to name the blob in a manifest last
-- sent it or found it there.
CREATE TABLE hosted_blobs (
    repository TEXT NOT NULL,
    digest     BLOB NOT NULL,
    used_at    INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX hosted_blobs_by_digest ON hosted_blobs (digest);

-- Blobs that are being sent: `uploads/<id>` has what came so far.
CREATE TABLE hosted_uploads (
    id         TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    begun_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
