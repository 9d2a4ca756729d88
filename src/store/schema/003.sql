-- The images that a name stands for on several platforms, in the order of the
-- index that they came in. `names` has the one for this machine.
CREATE TABLE platforms (
    name     TEXT NOT NULL REFERENCES names (name) ON DELETE CASCADE,
    place    INTEGER NOT NULL,
    platform TEXT NOT NULL,
    image    BLOB NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    PRIMARY KEY (name, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX platforms_by_image ON platforms (image);

-- Compressed forms of layers: which blob `form` (codec, level, compressor) makes
-- of the plain tar `diff_id`.
CREATE TABLE compressed (
    diff_id BLOB NOT NULL,
    form    TEXT NOT NULL,
    digest  BLOB NOT NULL REFERENCES layer_blobs (digest) ON DELETE CASCADE,
    PRIMARY KEY (diff_id, form)
) STRICT, WITHOUT ROWID;
CREATE INDEX compressed_by_digest ON compressed (digest);
