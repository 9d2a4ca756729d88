//! How our types stand in the index.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef};
use rusqlite::{Row, RowIndex, ToSql};

use super::{SnapshotId, SnapshotState};
use crate::oci::{CacheKey, ChainId, DiffId, Digest, ImageId};

impl ToSql for Digest {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.raw())))
    }
}

impl FromSql for Digest {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = value.as_blob()?;
        <[u8; 32]>::try_from(bytes)
            .map(Self::from_raw)
            .map_err(|_| FromSqlError::InvalidBlobSize {
                expected_size: 32,
                blob_size: bytes.len(),
            })
    }
}

macro_rules! as_inner {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                FromSql::column_result(value).map(Self)
            }
        }
    )*};
}

as_inner!(DiffId, ChainId, ImageId, CacheKey, SnapshotId);

/// Numbers of [`SnapshotState`] in the index; a condemned snapshot is still a
/// committed one to whoever asks for it by name.
pub(super) const ACTIVE: i64 = 0;
pub(super) const COMMITTED: i64 = 1;
pub(super) const CONDEMNED: i64 = 2;

impl FromSql for SnapshotState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            ACTIVE => Ok(Self::Active),
            COMMITTED | CONDEMNED => Ok(Self::Committed),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

/// A count as SQLite's signed integer. Nothing real is larger than that.
pub(super) fn signed(count: u64) -> Value {
    Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

/// A count that was stored by [`signed`].
pub(super) fn unsigned(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

/// A count that was stored by [`signed`], or nothing.
pub(super) fn unsigned_option(
    row: &Row<'_>,
    column: impl RowIndex,
) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(i64::unsigned_abs))
}
