//! Networks as registered.

use std::net::Ipv4Addr;

use rusqlite::{Connection, OptionalExtension, Row};

use super::leases::address;
use super::{Error, Store};

/// A network as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRow {
    /// Unique name, `bridge` for the default one.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Name of its bridge device.
    pub device: String,
    /// The bridge's address, the containers' gateway.
    pub gateway: Ipv4Addr,
    /// Prefix length of its subnet.
    pub prefix: u8,
    /// When it was made, nanoseconds since 1970.
    pub created_at: i64,
    /// Everything else about it, a JSON document of the network module's.
    pub spec: String,
}

const COLUMNS: &str = "name, id, device, gateway, prefix, created_at, spec";

impl Store {
    /// The network with this name.
    pub fn network_get(&self, name: &str) -> Result<Option<NetworkRow>, Error> {
        get(&self.db(), name)
    }

    /// Registers a network; an existing one of its name stays and is returned.
    pub fn network_put(&self, row: &NetworkRow) -> Result<NetworkRow, Error> {
        self.write(|tx| {
            if let Some(existing) = get(tx, &row.name)? {
                return Ok(existing);
            }
            let sql =
                format!("INSERT INTO networks ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
            tx.prepare_cached(&sql)?.execute((
                &row.name,
                &row.id,
                &row.device,
                row.gateway.to_string(),
                row.prefix,
                row.created_at,
                &row.spec,
            ))?;
            Ok(row.clone())
        })
    }

    /// Every network, sorted by name.
    pub fn network_list(&self) -> Result<Vec<NetworkRow>, Error> {
        let db = self.db();
        let sql = format!("SELECT {COLUMNS} FROM networks ORDER BY name");
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query_map([], network)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Forgets a network and its leases.
    pub fn network_remove(&self, name: &str) -> Result<(), Error> {
        self.write(|tx| {
            tx.execute("DELETE FROM leases WHERE network = ?1", [name])?;
            tx.execute("DELETE FROM networks WHERE name = ?1", [name])?;
            Ok(())
        })
    }
}

fn get(db: &Connection, name: &str) -> Result<Option<NetworkRow>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM networks WHERE name = ?1");
    Ok(db
        .prepare_cached(&sql)?
        .query_row([name], network)
        .optional()?)
}

fn network(row: &Row<'_>) -> rusqlite::Result<NetworkRow> {
    Ok(NetworkRow {
        name: row.get(0)?,
        id: row.get(1)?,
        device: row.get(2)?,
        gateway: address(row, 3)?,
        prefix: row.get(4)?,
        created_at: row.get(5)?,
        spec: row.get(6)?,
    })
}
