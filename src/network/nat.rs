//! The way out of a bridge: forwarding, address translation, and leave to pass.
//!
//! Each bridge has one nftables table of ours, replaced as a whole. Where another
//! program keeps a filter that drops what it does not know (Docker does), two
//! rules of ours are put at the head of the chain it leaves to others.
//!
//! What is not handled: filters that drop forwarded packets and are written with
//! the legacy iptables modules, or in tables other than iptables' own. Their
//! owners have to let the bridge pass.

use std::io;

use crate::store::NetworkRow;

use super::attach::{During, Error};
use super::ipam::Subnet;
use super::netlink::nftables::{
    Family, ForeignChain, Hook, NftSocket, Rule, Transaction, is_unsupported,
};
use super::spec::Spec;

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
const FORWARDING6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// The table that iptables keeps its filter in, and its chain for forwarded packets.
const FILTER: &str = "filter";
const FILTER_FORWARD: &str = "FORWARD";
/// The chain at the head of `FORWARD` that Docker leaves to others.
const DOCKER_USER: &str = "DOCKER-USER";

/// Part of the comment of our table: a change of the rules below changes it, so
/// that tables written by an older version are replaced.
const RULES_VERSION: u32 = 3;

/// Whether packets of the bridge find their way out, and back. Costs a handful of
/// questions to the kernel, together about a tenth of a millisecond.
pub(super) fn is_complete(network: &NetworkRow, spec: &Spec) -> Result<bool, Error> {
    if !is_forwarding(spec).during(forwarding)? {
        return Ok(false);
    }
    let mut nft = NftSocket::open().map_err(refusal)?;
    Ok(missing(&mut nft, network, spec)
        .map_err(refusal)?
        .is_empty())
}

/// Makes sure that packets of the bridge find their way out, and back.
pub(super) fn ensure(network: &NetworkRow, spec: &Spec) -> Result<(), Error> {
    if !is_forwarding(spec).during(forwarding)? {
        std::fs::write(FORWARDING, "1").during(forwarding)?;
        if spec.ipv6.is_some() {
            std::fs::write(FORWARDING6, "1").during(forwarding)?;
        }
    }
    let mut nft = NftSocket::open().map_err(refusal)?;
    let transaction = missing(&mut nft, network, spec).map_err(refusal)?;
    if transaction.is_empty() {
        return Ok(());
    }
    nft.commit(transaction).map_err(refusal)
}

/// Removes every rule of ours for the bridge.
pub(super) fn remove(device: &str) -> Result<(), Error> {
    let mut nft = NftSocket::open().map_err(refusal)?;
    let mut transaction = Transaction::default();
    let table = table_name(device);
    // Added first, so that removing it cannot fail.
    transaction.add_table(&table, "");
    transaction.remove_table(&table);
    if nft.has_any_table(Family::Six, &table).map_err(refusal)? {
        transaction.family(Family::Six);
        transaction.remove_table(&table);
        transaction.family(Family::Four);
    }
    for chain in [DOCKER_USER, FILTER_FORWARD] {
        for mark in [mark_in(device), mark_out(device)] {
            for handle in nft.marked_rules(FILTER, chain, &mark).map_err(refusal)? {
                transaction.remove_rule(FILTER, chain, handle);
            }
        }
    }
    nft.commit(transaction).map_err(refusal)
}

/// Whether packets from outside may come to a bridge of ours: no filter is known to
/// stand in their way but the one that our rules are put into. What the old
/// interface of iptables filters cannot be seen here, so it counts as one.
pub(super) fn lets_in(nft: &mut NftSocket, family: Family) -> io::Result<bool> {
    let names = match family {
        Family::Four => "/proc/thread-self/net/ip_tables_names",
        _ => "/proc/thread-self/net/ip6_tables_names",
    };
    let legacy = std::fs::read_to_string(names).unwrap_or_default();
    if legacy.lines().any(|table| table == FILTER) {
        return Ok(false);
    }
    let is_ours = |chain: &ForeignChain| {
        family == Family::Four && chain.table == FILTER && chain.name == FILTER_FORWARD
    };
    let mut drops = nft.forward_drops()?.into_iter();
    Ok(!drops.any(|chain| chain.sees(family) && !is_ours(&chain)))
}

fn is_forwarding(spec: &Spec) -> io::Result<bool> {
    let is_on = |path| Ok::<_, io::Error>(!std::fs::read(path)?.starts_with(b"0"));
    Ok(is_on(FORWARDING)? && (spec.ipv6.is_none() || is_on(FORWARDING6)?))
}

fn forwarding() -> String {
    "switch on packet forwarding".to_owned()
}

/// What has to be changed so that all our rules are there.
fn missing(nft: &mut NftSocket, network: &NetworkRow, spec: &Spec) -> io::Result<Transaction> {
    let table = table_name(&network.device);
    let comment = table_comment(network, spec);
    let mut transaction = Transaction::default();
    if !nft.has_table(Family::Four, &table, &comment)? {
        let subnet = Subnet::of(network.gateway, network.prefix);
        let from = Rule::default().if_from(subnet.network(), subnet.mask());
        put_table(&mut transaction, network, spec, from, &comment);
    }
    if let Some(six) = spec.ipv6
        && !nft.has_table(Family::Six, &table, &comment)?
    {
        transaction.family(Family::Six);
        let from = Rule::default().if_from6(six.network(), six.prefix);
        put_table(&mut transaction, network, spec, from, &comment);
        transaction.family(Family::Four);
    }
    if let Some(chain) = foreign_chain(nft)? {
        put_accepts(nft, &mut transaction, chain, &network.device)?;
    }
    Ok(transaction)
}

/// `from` holds for packets from the network's subnet.
fn put_table(
    transaction: &mut Transaction,
    network: &NetworkRow,
    spec: &Spec,
    from: Rule,
    comment: &str,
) {
    let device = &network.device;
    let table = &table_name(device);
    transaction.add_table(table, comment);
    transaction.remove_table(table);
    transaction.add_table(table, comment);
    transaction.add_chain(table, "published", Hook::BEFORE_POSTROUTING);
    // A member that reached another one by a published port of this host: the answer
    // would go to it directly, from an address that it never spoke to.
    let to_members = |rule: Rule| rule.if_out_by(device).if_translated();
    let hairpin = to_members(from.clone()).masquerade();
    transaction.append_rule(table, "published", &hairpin);
    // Everybody else keeps the own address, members of other networks too, who would
    // be translated as they leave theirs.
    let keep = to_members(Rule::default()).keep_source(transaction.current_family());
    transaction.append_rule(table, "published", &keep);
    if spec.masquerades() {
        transaction.add_chain(table, "postrouting", Hook::POSTROUTING);
        let translate = from.unless_out_by(device).masquerade();
        transaction.append_rule(table, "postrouting", &translate);
    }
    transaction.add_chain(table, "forward", Hook::FORWARD);
    // Only published ports are to be reached from outside, which are translated.
    let shield = Rule::default()
        .if_out_by(device)
        .unless_in_by(device)
        .if_first_of_connection()
        .unless_translated()
        .drop();
    transaction.append_rule(table, "forward", &shield);
    if spec.internal {
        let hold = Rule::default()
            .if_in_by(device)
            .unless_out_by(device)
            .unless_translated()
            .drop();
        transaction.append_rule(table, "forward", &hold);
    }
}

/// The chain in which another program would drop our packets.
fn foreign_chain(nft: &mut NftSocket) -> io::Result<Option<&'static str>> {
    if nft.chain_drops(FILTER, DOCKER_USER)?.is_some() {
        return Ok(Some(DOCKER_USER));
    }
    let drops = nft.chain_drops(FILTER, FILTER_FORWARD)? == Some(true);
    Ok(drops.then_some(FILTER_FORWARD))
}

fn put_accepts(
    nft: &mut NftSocket,
    transaction: &mut Transaction,
    chain: &str,
    device: &str,
) -> io::Result<()> {
    for (mark, rule) in [
        (mark_out(device), Rule::default().if_in_by(device)),
        (mark_in(device), Rule::default().if_out_by(device)),
    ] {
        if nft.marked_rules(FILTER, chain, &mark)?.is_empty() {
            transaction.insert_rule(FILTER, chain, &rule.accept(), &mark);
        }
    }
    Ok(())
}

fn table_name(device: &str) -> String {
    format!("rbuild_{device}")
}

fn table_comment(network: &NetworkRow, spec: &Spec) -> String {
    let subnet = Subnet::of(network.gateway, network.prefix);
    let internal = if spec.internal { " internal" } else { "" };
    let masked = if spec.masquerades() { "" } else { " plain" };
    format!("rules {RULES_VERSION} for {subnet}{internal}{masked}")
}

/// Marks end in a word, so that no device's mark is the beginning of another's.
fn mark_out(device: &str) -> String {
    format!("rbuild: {device} out")
}

fn mark_in(device: &str) -> String {
    format!("rbuild: {device} in")
}

fn refusal(err: io::Error) -> Error {
    if is_unsupported(&err) {
        Error::NoNft
    } else {
        Error::Nft(err)
    }
}
