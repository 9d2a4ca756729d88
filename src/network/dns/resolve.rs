//! Names looked up in the store.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::Zone;
use super::answer::{self, Question};
use crate::store::{NamedAddress, Paths, Store};

/// What becomes of a query.
#[derive(Debug)]
pub(super) enum Outcome {
    /// This is the answer.
    Answer(Vec<u8>),
    /// Others may know.
    PassOn,
    /// It is no question.
    Ignore,
}

/// Knows the members of some networks.
#[derive(Debug)]
pub(super) struct Resolver {
    paths: Paths,
    /// Opened by the first question.
    store: OnceLock<Option<Store>>,
    zones: Mutex<Vec<Zone>>,
    upstream: Vec<IpAddr>,
    links: BTreeMap<String, String>,
    /// Of several addresses each comes first in turn.
    turn: AtomicUsize,
}

impl Resolver {
    pub(super) fn new(
        paths: Paths,
        zones: Vec<Zone>,
        upstream: Vec<IpAddr>,
        links: BTreeMap<String, String>,
    ) -> Self {
        Self {
            paths,
            store: OnceLock::new(),
            zones: Mutex::new(zones),
            upstream,
            links,
            turn: AtomicUsize::new(0),
        }
    }

    pub(super) fn set_zones(&self, zones: Vec<Zone>) {
        *self.zones.lock().unwrap_or_else(PoisonError::into_inner) = zones;
    }

    /// The servers that know other names.
    pub(super) fn upstream(&self) -> &[IpAddr] {
        &self.upstream
    }

    /// Answers a query from what is known here.
    pub(super) fn resolve(&self, query: &[u8]) -> Outcome {
        let Some(question) = answer::read(query) else {
            return Outcome::Ignore;
        };
        let answer = match &question {
            Question::Address { name, six } => self.members(name).map(|members| {
                let mut addresses = addresses(&members, *six);
                if !addresses.is_empty() {
                    let turn = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
                    addresses.rotate_left(turn);
                }
                answer::addresses(query, &addresses)
            }),
            Question::Pointer(address) => self
                .owner(*address)
                .map(|name| answer::pointer(query, &name)),
            // A member has nothing but addresses.
            Question::Other(name) => self.members(name).map(|_| answer::addresses(query, &[])),
        };
        match answer {
            Some(answer) => answer.map_or(Outcome::Ignore, Outcome::Answer),
            None if self.leads_out() => Outcome::PassOn,
            None => answer::unknown(query).map_or(Outcome::Ignore, Outcome::Answer),
        }
    }

    /// Who is called `name`; `None` when nobody is. `web.net` is `web` on the network `net`.
    fn members(&self, name: &str) -> Option<Vec<NamedAddress>> {
        let store = self.store()?;
        let lower = name.to_ascii_lowercase();
        let name = self.links.get(&lower).map_or(name, String::as_str);
        let mut found = Vec::new();
        for zone in self.zones() {
            // What cannot be looked up is not known.
            found.extend(store.lease_find(&zone.network, name).unwrap_or_default());
            let suffix = format!(".{}", zone.network);
            if let Some(short) = name.strip_suffix(suffix.as_str()) {
                found.extend(store.lease_find(&zone.network, short).unwrap_or_default());
            }
        }
        (!found.is_empty()).then_some(found)
    }

    /// The name of who has an address, with that of the network.
    fn owner(&self, address: IpAddr) -> Option<String> {
        let store = self.store()?;
        let text = address.to_string();
        self.zones().into_iter().find_map(|zone| {
            let found = store.lease_of(&zone.network, &text).unwrap_or_default();
            let first = found.into_iter().next()?;
            Some(format!("{}.{}", first.name, zone.network))
        })
    }

    fn store(&self) -> Option<&Store> {
        let open = || Store::open(self.paths.clone()).ok();
        self.store.get_or_init(open).as_ref()
    }

    fn zones(&self) -> Vec<Zone> {
        let zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        zones.clone()
    }

    fn leads_out(&self) -> bool {
        !self.upstream.is_empty() && self.zones().iter().any(|zone| zone.leads_out)
    }
}

fn addresses(members: &[NamedAddress], six: bool) -> Vec<IpAddr> {
    members
        .iter()
        .filter_map(|member| {
            if six {
                member.address6.map(IpAddr::V6)
            } else {
                Some(IpAddr::V4(member.address))
            }
        })
        .collect()
}
