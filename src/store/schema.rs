//! Tables, version and migration.
