//! The addresses that are taken on networks, and the names that lead to them.

use std::net::{Ipv4Addr, Ipv6Addr};

use rusqlite::{Connection, Row};

use super::columns::{signed, unsigned};
use super::{Error, Process, Store};

/// An address in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The network.
    pub network: String,
    /// The address.
    pub address: Ipv4Addr,
    /// The IPv6 address that goes with it.
    pub address6: Option<Ipv6Addr>,
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

/// The addresses that somebody answers to, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// The IPv6 address, where there is one.
    pub address6: Option<Ipv6Addr>,
    /// The name of the container that has it; its ID where that is not a container's.
    pub name: String,
}

/// An address, and the IPv6 address that goes with it.
pub type Addresses = (Ipv4Addr, Option<Ipv6Addr>);

const COLUMNS: &str = "network, address, address6, owner, pid, started";

impl Store {
    /// Takes an address for `owner` in one transaction: `choose` gets the leases
    /// of the network that are alive (dead ones are dropped) and names a free
    /// address, with its IPv6 companion; `None` when the network is full.
    ///
    /// The lease is this process'. `aliases` are names that lead to it. `choose`
    /// must not use the store.
    pub fn lease_take(
        &self,
        network: &str,
        owner: &str,
        aliases: &[String],
        choose: &dyn Fn(&[LeaseRow]) -> Option<Addresses>,
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
            let Some((address, address6)) = choose(&living) else {
                return Ok(None);
            };
            tx.prepare_cached(
                "INSERT INTO leases (network, address, address6, owner, pid, started, aliases)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                network,
                address.to_string(),
                address6
                    .map(|address| address.to_string())
                    .unwrap_or_default(),
                owner,
                process.pid,
                signed(process.started),
                spaced(aliases),
            ))?;
            Ok(Some(LeaseRow {
                network: network.to_owned(),
                address,
                address6,
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

    /// Gives the address of `owner` on one network back.
    pub fn lease_release_on(&self, network: &str, owner: &str) -> Result<(), Error> {
        self.db()
            .prepare_cached("DELETE FROM leases WHERE network = ?1 AND owner = ?2")?
            .execute([network, owner])?;
        Ok(())
    }

    /// The living leases of a network.
    pub fn lease_list(&self, network: &str) -> Result<Vec<LeaseRow>, Error> {
        let mut leases = leases(&self.db(), network)?;
        leases.retain(LeaseRow::is_alive);
        Ok(leases)
    }

    /// Who answers to `name` on a network: the container of that name, the one
    /// whose ID begins so (12 digits), those that have it as an alias. Case does not count.
    pub fn lease_find(&self, network: &str, name: &str) -> Result<Vec<NamedAddress>, Error> {
        let sql = format!(
            "{NAMED} WHERE l.network = ?1 AND (lower(c.name) = lower(?2)
             OR substr(l.owner, 1, 12) = lower(?2)
             OR instr(lower(l.aliases), ' ' || lower(?2) || ' ') > 0)"
        );
        self.named(&sql, (network, name))
    }

    /// Who has an address on a network.
    pub fn lease_of(&self, network: &str, address: &str) -> Result<Vec<NamedAddress>, Error> {
        let sql = format!("{NAMED} WHERE l.network = ?1 AND (l.address = ?2 OR l.address6 = ?2)");
        self.named(&sql, (network, address))
    }

    /// The name of the container whose addresses a process keeps.
    pub fn lease_name(&self, pid: i32) -> Result<Option<String>, Error> {
        let sql = format!("{NAMED} WHERE l.pid = ?1 AND c.name IS NOT NULL");
        let db = self.db();
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query_map([pid], |row| Ok((lease(row)?, row.get(6)?)))?;
        for row in rows {
            let (lease, name) = row?;
            if lease.is_alive() {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    fn named(&self, sql: &str, parameters: (&str, &str)) -> Result<Vec<NamedAddress>, Error> {
        let db = self.db();
        let mut statement = db.prepare_cached(sql)?;
        let rows = statement.query_map(parameters, |row| Ok((lease(row)?, row.get(6)?)))?;
        let mut found = Vec::new();
        for row in rows {
            let (lease, name) = row?;
            if lease.is_alive() {
                found.push(NamedAddress {
                    address: lease.address,
                    address6: lease.address6,
                    name,
                });
            }
        }
        Ok(found)
    }
}

const NAMED: &str = "SELECT l.network, l.address, l.address6, l.owner, l.pid, l.started,
    coalesce(c.name, l.owner) FROM leases l LEFT JOIN containers c ON c.id = l.owner";

/// Each name with a space on both sides, so that it can be looked for as a whole.
fn spaced(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!(" {} ", names.join(" "))
}

fn leases(db: &Connection, network: &str) -> Result<Vec<LeaseRow>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM leases WHERE network = ?1");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map([network], lease)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn lease(row: &Row<'_>) -> rusqlite::Result<LeaseRow> {
    Ok(LeaseRow {
        network: row.get(0)?,
        address: address(row, 1)?,
        address6: row.get_ref(2)?.as_str()?.parse().ok(),
        owner: row.get(3)?,
        pid: row.get(4)?,
        pid_started: unsigned(row, 5)?,
    })
}

pub(super) fn address(row: &Row<'_>, column: usize) -> rusqlite::Result<Ipv4Addr> {
    row.get_ref(column)?.as_str()?.parse().map_err(|err| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::<std::net::AddrParseError>::new(err),
        )
    })
}
