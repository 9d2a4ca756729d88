//! Networks and the addresses that are taken on them.

use std::net::Ipv4Addr;

use rusqlite::{Connection, OptionalExtension, Row};

use super::columns::{signed, unsigned};
use super::{Error, Process, Store};

/// A network as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRow {
    /// Unique name, `bridge` for the default one.
    pub name: String,
    /// Name of its bridge device.
    pub device: String,
    /// The bridge's address, the containers' gateway.
    pub gateway: Ipv4Addr,
    /// Prefix length of its subnet.
    pub prefix: u8,
}

/// An address in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The network.
    pub network: String,
    /// The address.
    pub address: Ipv4Addr,
    /// Who uses it: a container ID or a build.
    pub owner: String,
    /// The process that keeps it; when that is gone the address is free.
    pub pid: i32,
    /// That process' start time, so that a reused pid is not mistaken for it.
    pub pid_started: u64,
}

impl LeaseRow {
    fn is_alive(&self) -> bool {
        let process = Process {
            pid: self.pid,
            started: self.pid_started,
        };
        process.is_alive()
    }
}

impl Store {
    /// The network with this name.
    pub fn network_get(&self, name: &str) -> Result<Option<NetworkRow>, Error> {
        get(&self.db(), name)
    }

    /// Registers a network; an existing one stays and is returned.
    pub fn network_put(&self, row: &NetworkRow) -> Result<NetworkRow, Error> {
        self.write(|tx| {
            if let Some(existing) = get(tx, &row.name)? {
                return Ok(existing);
            }
            tx.prepare_cached(
                "INSERT INTO networks (name, device, gateway, prefix) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((&row.name, &row.device, row.gateway.to_string(), row.prefix))?;
            Ok(row.clone())
        })
    }

    /// Every network, sorted by name.
    pub fn network_list(&self) -> Result<Vec<NetworkRow>, Error> {
        let db = self.db();
        let mut statement =
            db.prepare_cached("SELECT name, device, gateway, prefix FROM networks ORDER BY name")?;
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

    /// Takes an address for `owner` in one transaction: `choose` gets the leases
    /// of the network that are alive (dead ones are dropped) and names a free
    /// address; `None` when the network is full.
    ///
    /// The lease is this process'. `choose` must not use the store.
    pub fn lease_take(
        &self,
        network: &str,
        owner: &str,
        choose: &dyn Fn(&[LeaseRow]) -> Option<Ipv4Addr>,
    ) -> Result<Option<LeaseRow>, Error> {
        let process = self.process;
        self.write(|tx| {
            let (living, dead): (Vec<_>, Vec<_>) = leases(tx, network)?
                .into_iter()
                .partition(LeaseRow::is_alive);
            let mut drop =
                tx.prepare_cached("DELETE FROM leases WHERE network = ?1 AND address = ?2")?;
            for lease in dead {
                drop.execute((network, lease.address.to_string()))?;
            }
            let Some(address) = choose(&living) else {
                return Ok(None);
            };
            tx.prepare_cached(
                "INSERT INTO leases (network, address, owner, pid, started)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((
                network,
                address.to_string(),
                owner,
                process.pid,
                signed(process.started),
            ))?;
            Ok(Some(LeaseRow {
                network: network.to_owned(),
                address,
                owner: owner.to_owned(),
                pid: process.pid,
                pid_started: process.started,
            }))
        })
    }

    /// Gives every address of `owner` back.
    pub fn lease_release(&self, owner: &str) -> Result<(), Error> {
        self.db()
            .prepare_cached("DELETE FROM leases WHERE owner = ?1")?
            .execute([owner])?;
        Ok(())
    }

    /// The living leases of a network.
    pub fn lease_list(&self, network: &str) -> Result<Vec<LeaseRow>, Error> {
        let mut leases = leases(&self.db(), network)?;
        leases.retain(LeaseRow::is_alive);
        Ok(leases)
    }
}

fn get(db: &Connection, name: &str) -> Result<Option<NetworkRow>, Error> {
    Ok(db
        .prepare_cached("SELECT name, device, gateway, prefix FROM networks WHERE name = ?1")?
        .query_row([name], network)
        .optional()?)
}

fn leases(db: &Connection, network: &str) -> Result<Vec<LeaseRow>, Error> {
    let mut statement = db.prepare_cached(
        "SELECT network, address, owner, pid, started FROM leases WHERE network = ?1",
    )?;
    let rows = statement.query_map([network], |row| {
        Ok(LeaseRow {
            network: row.get(0)?,
            address: address(row, 1)?,
            owner: row.get(2)?,
            pid: row.get(3)?,
            pid_started: unsigned(row, 4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn network(row: &Row<'_>) -> rusqlite::Result<NetworkRow> {
    Ok(NetworkRow {
        name: row.get(0)?,
        device: row.get(1)?,
        gateway: address(row, 2)?,
        prefix: row.get(3)?,
    })
}

fn address(row: &Row<'_>, column: usize) -> rusqlite::Result<Ipv4Addr> {
    row.get_ref(column)?.as_str()?.parse().map_err(|err| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::<std::net::AddrParseError>::new(err),
        )
    })
}
