-- The snapshot in whose directory the content lies, where that is not its own:
-- a layer that stands on several parents.
ALTER TABLE snapshots ADD COLUMN layer INTEGER;
