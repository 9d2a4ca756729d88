//! Opening the index: tables, version and migration.
//!
//! The version stands in SQLite's `user_version`, which is part of the database's
//! header: an index of the current version is opened with one small read. It is
//! set in the same transaction that makes the tables, and after the directories
//! are made, so a root that says its version is whole.

use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{Error, Paths};
use crate::fs::Lock;

/// Each brings the index from the version of its position to the next. What
/// has been released is never edited, only followed by another.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/001.sql"),
    include_str!("schema/002.sql"),
    include_str!("schema/003.sql"),
    include_str!("schema/004.sql"),
    include_str!("schema/005.sql"),
    include_str!("schema/006.sql"),
    include_str!("schema/007.sql"),
];

/// How long a process waits for another one's transaction.
const BUSY: Duration = Duration::from_mins(1);

/// More than the number of different statements in this module.
const STATEMENTS: usize = 160;

/// The version that this program writes.
fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Opens the index of `paths`, creating or migrating what is needed.
pub(super) fn open(paths: &Paths) -> Result<Connection, Error> {
    // The runtime directory does not survive a reboot.
    paths.create_run()?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    match Connection::open_with_flags(paths.index(), flags) {
        Ok(db) => {
            prepare(&db)?;
            if version(&db)? == known() {
                return Ok(db);
            }
        }
        Err(rusqlite::Error::SqliteFailure(err, _)) if err.code == ErrorCode::CannotOpen => {}
        Err(err) => return Err(err.into()),
    }
    migrate(paths, flags)
}

/// After so many pages the log is copied into the database. A command that finds no
/// other one at work reads the whole log first, so it stays short: 1 MiB is half a
/// millisecond.
const LOG_PAGES: i64 = 256;

fn migrate(paths: &Paths, flags: OpenFlags) -> Result<Connection, Error> {
    paths.create_root()?;
    // SQLite does not wait for its own locks while it switches to WAL.
    let _lock = Lock::exclusive(&paths.data().join("lock"))?;
    let mut db = Connection::open_with_flags(paths.index(), flags | OpenFlags::SQLITE_OPEN_CREATE)?;
    prepare(&db)?;
    let found = version(&db)?;
    if found > known() {
        return Err(Error::TooNew {
            root: paths.data().to_owned(),
            found,
            known: known(),
        });
    }
    paths.create_rest()?;
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Versions are small and never negative unless somebody damaged the file.
    let done = usize::try_from(version(&tx)?).unwrap_or_default();
    for migration in MIGRATIONS.iter().skip(done) {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "user_version", known())?;
    tx.commit()?;
    crate::fs::sync_dir(paths.data())?;
    Ok(db)
}

/// Sets what is not kept in the file. The order matters: first of all the
/// connection must know to wait.
fn prepare(db: &Connection) -> Result<(), Error> {
    db.busy_timeout(BUSY)?;
    db.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON")?;
    db.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    // The last one to close would copy the log into the database, sync and remove
    // it: three syncs for every command. It is copied when it has grown instead.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

fn version(db: &Connection) -> Result<i64, Error> {
    Ok(db.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}
