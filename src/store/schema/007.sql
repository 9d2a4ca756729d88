-- Networks that users make: what they are called besides their name, when they
-- were made, and everything else about them as JSON, which the store only keeps.
ALTER TABLE networks ADD COLUMN id TEXT NOT NULL DEFAULT '';
ALTER TABLE networks ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE networks ADD COLUMN spec TEXT NOT NULL DEFAULT '{}';

-- Further names that whoever has the address answers to, each with a space before and after.
ALTER TABLE leases ADD COLUMN aliases TEXT NOT NULL DEFAULT '';
-- The IPv6 address beside it, empty for none.
ALTER TABLE leases ADD COLUMN address6 TEXT NOT NULL DEFAULT '';
