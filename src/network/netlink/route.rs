//! Links, addresses and routes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::NetlinkSerializable;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVeth, IpVlanMode, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::attributes::{find, read_array};
use super::{Connection, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, Request, malformed};

/// Index of the loopback device, the first one of every network namespace.
pub(in crate::network) const LOOPBACK: u32 = 1;

/// Prefix lengths of addresses that hold on a link (RFC 3927, RFC 4291).
const LINK_LOCAL_PREFIX: u8 = 16;
const LINK_LOCAL_PREFIX6: u8 = 64;

const RTM_NEWLINK: u16 = 16;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_IFALIAS: u16 = 20;
/// Packets flow (linux/if.h, `IF_OPER_UP`).
const IF_OPER_UP: u8 = 6;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PRIORITY: u16 = 6;
/// Sizes of the fixed parts before the attributes: `struct ifinfomsg`, `struct
/// ifaddrmsg`, `struct rtmsg`.
const LINK_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;
const ROUTE_BYTES: usize = 12;

/// A device, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::network) struct Link {
    pub(in crate::network) index: u32,
    /// Whether it is switched on.
    pub(in crate::network) is_up: bool,
    /// Whether it has noticed that its peer is on, too, and carries packets.
    pub(in crate::network) is_running: bool,
    pub(in crate::network) mtu: u32,
}

/// An IPv4 address of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::network) struct Address {
    pub(in crate::network) link: u32,
    pub(in crate::network) local: Ipv4Addr,
    pub(in crate::network) prefix: u8,
}

/// An IPv4 route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::network) struct Route {
    pub(in crate::network) destination: Ipv4Addr,
    pub(in crate::network) prefix: u8,
    pub(in crate::network) link: Option<u32>,
    pub(in crate::network) metric: u32,
}

/// What a pair of connected devices is made with: one end on a bridge here, the
/// other one in a namespace.
#[derive(Debug)]
pub(in crate::network) struct Pair<'a> {
    /// Name of the end that stays here.
    pub(in crate::network) name: &'a str,
    /// What is noted with it.
    pub(in crate::network) alias: &'a str,
    /// Index of the bridge.
    pub(in crate::network) bridge: u32,
    /// Both ends' MTU.
    pub(in crate::network) mtu: u32,
    /// Where the other end goes.
    pub(in crate::network) namespace: BorrowedFd<'a>,
    /// Its name there.
    pub(in crate::network) inner_name: &'a str,
    /// Its hardware address.
    pub(in crate::network) mac: [u8; 6],
}

/// What a device on a device is made with, in a namespace.
#[derive(Debug)]
pub(in crate::network) struct Child<'a> {
    /// Index of the device that it is on.
    pub(in crate::network) parent: u32,
    /// Whether it shares that one's hardware address.
    pub(in crate::network) is_ipvlan: bool,
    /// How it sees others on the same device; the kernel's choice when absent.
    pub(in crate::network) mode: Option<&'a str>,
    /// Where it goes.
    pub(in crate::network) namespace: BorrowedFd<'a>,
    /// Its name there.
    pub(in crate::network) name: &'a str,
    /// Its hardware address, where it has one of its own.
    pub(in crate::network) mac: [u8; 6],
}

/// What a device inside is set to.
#[derive(Debug)]
pub(in crate::network) struct Inside {
    /// Its index.
    pub(in crate::network) link: u32,
    /// Its address.
    pub(in crate::network) address: Ipv4Addr,
    /// Prefix length of the subnet.
    pub(in crate::network) prefix: u8,
    /// Where everything else goes.
    pub(in crate::network) gateway: Option<Ipv4Addr>,
    /// Its IPv6 address with the prefix length.
    pub(in crate::network) address6: Option<(Ipv6Addr, u8)>,
    /// Where everything else goes by IPv6.
    pub(in crate::network) gateway6: Option<Ipv6Addr>,
}

/// A `NETLINK_ROUTE` socket.
#[derive(Debug)]
pub(in crate::network) struct RouteSocket(Connection);

impl RouteSocket {
    /// Opens one in the calling thread's network namespace.
    pub(in crate::network) fn open() -> io::Result<Self> {
        Connection::open(NETLINK_ROUTE).map(Self)
    }

    /// The device with this name.
    pub(in crate::network) fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        self.find_link(named(name))
    }

    /// The device with this index.
    pub(in crate::network) fn link_at(&mut self, index: u32) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.find_link(message)
    }

    fn find_link(&mut self, mut message: LinkMessage) -> io::Result<Option<Link>> {
        message
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let replies = match self
            .0
            .ask(request(&RouteNetlinkMessage::GetLink(message), 0))
        {
            Err(err) if is_no_device(&err) => return Ok(None),
            result => result?,
        };
        let reply = replies
            .iter()
            .find(|reply| reply.kind == RTM_NEWLINK)
            .ok_or_else(malformed)?;
        let body = reply.body.as_slice();
        let flags = LinkFlags::from_bits_retain(u32::from_ne_bytes(read_array(body, 8)?));
        let attributes = body.get(LINK_BYTES..).unwrap_or_default();
        Ok(Some(Link {
            index: u32::from_ne_bytes(read_array(body, 4)?),
            is_up: flags.contains(LinkFlags::Up),
            is_running: find(attributes, IFLA_OPERSTATE) == Some(&[IF_OPER_UP]),
            mtu: find(attributes, IFLA_MTU)
                .map(|value| read_array(value, 0).map(u32::from_ne_bytes))
                .transpose()?
                .unwrap_or_default(),
        }))
    }

    /// Every IPv4 address of the namespace.
    pub(in crate::network) fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        let replies = self
            .0
            .list(request(&RouteNetlinkMessage::GetAddress(message), 0))?;
        let mut addresses = Vec::with_capacity(replies.len());
        for reply in &replies {
            let attributes = reply.body.get(ADDRESS_BYTES..).unwrap_or_default();
            let [_, prefix, _, _] = read_array(&reply.body, 0)?;
            if let Some(local) = find(attributes, IFA_LOCAL) {
                addresses.push(Address {
                    link: u32::from_ne_bytes(read_array(&reply.body, 4)?),
                    local: Ipv4Addr::from(read_array::<4>(local, 0)?),
                    prefix,
                });
            }
        }
        Ok(addresses)
    }

    /// Every IPv4 route of the namespace.
    pub(in crate::network) fn routes(&mut self) -> io::Result<Vec<Route>> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        let replies = self
            .0
            .list(request(&RouteNetlinkMessage::GetRoute(message), 0))?;
        let mut routes = Vec::with_capacity(replies.len());
        for reply in &replies {
            let attributes = reply.body.get(ROUTE_BYTES..).unwrap_or_default();
            let [_, prefix, _, _] = read_array(&reply.body, 0)?;
            let number = |kind| {
                find(attributes, kind)
                    .map(|value| read_array(value, 0).map(u32::from_ne_bytes))
                    .transpose()
            };
            routes.push(Route {
                destination: match find(attributes, RTA_DST) {
                    Some(value) => Ipv4Addr::from(read_array::<4>(value, 0)?),
                    None => Ipv4Addr::UNSPECIFIED,
                },
                prefix,
                link: number(RTA_OIF)?,
                metric: number(RTA_PRIORITY)?.unwrap_or(0),
            });
        }
        Ok(routes)
    }

    /// Makes a bridge, still down, if there is none of this name.
    pub(in crate::network) fn add_bridge(
        &mut self,
        name: &str,
        mac: [u8; 6],
        mtu: u32,
    ) -> io::Result<()> {
        let mut message = named(name);
        message.attributes.extend([
            // A bridge without an address of its own takes the lowest of its
            // ports', and changes it as they come and go.
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ]);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self
            .0
            .send_all(&[request(&RouteNetlinkMessage::NewLink(message), flags)])
        {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    /// Gives a device its address and switches it on.
    pub(in crate::network) fn bring_up(
        &mut self,
        link: u32,
        mtu: u32,
        address: Ipv4Addr,
        prefix: u8,
    ) -> io::Result<()> {
        let mut up = switched_on(link);
        // Said to a bridge that exists, this also keeps it from following its ports' MTU.
        up.attributes.push(LinkAttribute::Mtu(mtu));
        self.0.send_all(&[
            request(&RouteNetlinkMessage::SetLink(up), NLM_F_ACK),
            new_address(link, address, prefix),
        ])
    }

    /// Makes a pair of connected devices. The inner one is still off: the kernel
    /// opens it before it knows its peer, and refuses (`veth_open`, ENOTCONN).
    pub(in crate::network) fn add_pair(&mut self, pair: &Pair<'_>) -> io::Result<()> {
        let mut inner = named(pair.inner_name);
        inner.attributes.extend([
            LinkAttribute::Address(pair.mac.to_vec()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::NetNsFd(pair.namespace.as_raw_fd()),
        ]);
        let mut outer = named(pair.name);
        outer.header.flags = LinkFlags::Up;
        outer.header.change_mask = LinkFlags::Up;
        outer.attributes.extend([
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::Controller(pair.bridge),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inner))),
            ]),
        ]);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        // Not taken by the first message.
        let mut noted = named(pair.name);
        noted
            .attributes
            .push(LinkAttribute::IfAlias(pair.alias.to_owned()));
        self.0.send_all(&[
            request(&RouteNetlinkMessage::NewLink(outer), flags),
            request(&RouteNetlinkMessage::SetLink(noted), NLM_F_ACK),
        ])
    }

    /// Notes something with a device.
    pub(in crate::network) fn set_alias(&mut self, link: u32, alias: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = link;
        message
            .attributes
            .push(LinkAttribute::IfAlias(alias.to_owned()));
        let set = RouteNetlinkMessage::SetLink(message);
        self.0.send_all(&[request(&set, NLM_F_ACK)])
    }

    /// Puts every device whose alias begins so, and that is on no bridge, on this one.
    /// Returns how many.
    pub(in crate::network) fn plug_again(
        &mut self,
        bridge: u32,
        alias_prefix: &str,
    ) -> io::Result<usize> {
        let mut all = LinkMessage::default();
        all.attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let replies = self
            .0
            .list(request(&RouteNetlinkMessage::GetLink(all), 0))?;
        let mut requests = Vec::new();
        for reply in replies.iter().filter(|reply| reply.kind == RTM_NEWLINK) {
            let attributes = reply.body.get(LINK_BYTES..).unwrap_or_default();
            let is_ours = find(attributes, IFLA_IFALIAS)
                .is_some_and(|alias| alias.starts_with(alias_prefix.as_bytes()));
            if !is_ours || find(attributes, IFLA_MASTER).is_some() {
                continue;
            }
            let mut message = switched_on(u32::from_ne_bytes(read_array(&reply.body, 4)?));
            message.attributes.push(LinkAttribute::Controller(bridge));
            requests.push(request(&RouteNetlinkMessage::SetLink(message), NLM_F_ACK));
        }
        for one in &requests {
            match self.0.send_all(std::slice::from_ref(one)) {
                // Its container ended meanwhile.
                Err(err) if is_no_device(&err) => {}
                result => result?,
            }
        }
        Ok(requests.len())
    }

    /// Makes a device on another one, inside a namespace, still off.
    pub(in crate::network) fn add_child(&mut self, child: &Child<'_>) -> io::Result<()> {
        let (kind, data) = if child.is_ipvlan {
            let mode = match child.mode {
                Some("l3") => IpVlanMode::L3,
                Some("l3s") => IpVlanMode::L3S,
                _ => IpVlanMode::L2,
            };
            let data = InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)]);
            (InfoKind::IpVlan, data)
        } else {
            let mode = match child.mode {
                Some("private") => MacVlanMode::Private,
                Some("vepa") => MacVlanMode::Vepa,
                Some("passthru") => MacVlanMode::Passthrough,
                _ => MacVlanMode::Bridge,
            };
            let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]);
            (InfoKind::MacVlan, data)
        };
        let mut message = named(child.name);
        if !child.is_ipvlan {
            message
                .attributes
                .push(LinkAttribute::Address(child.mac.to_vec()));
        }
        message.attributes.extend([
            LinkAttribute::Link(child.parent),
            LinkAttribute::NetNsFd(child.namespace.as_raw_fd()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]),
        ]);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.0
            .send_all(&[request(&RouteNetlinkMessage::NewLink(message), flags)])
    }

    /// Makes a pair of connected devices, both here and on, if there is none of this name.
    pub(in crate::network) fn add_cable(&mut self, name: &str, other: &str) -> io::Result<()> {
        let mut near = named(name);
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(named(other)))),
        ]));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        let made = self
            .0
            .send_all(&[request(&RouteNetlinkMessage::NewLink(near), flags)]);
        match made {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
        for name in [name, other] {
            if let Some(link) = self.link(name)? {
                self.switch_on(link.index)?;
            }
        }
        Ok(())
    }

    /// Takes its IPv4 addresses from a device.
    #[cfg(test)]
    pub(in crate::network) fn remove_addresses(&mut self, link: u32) -> io::Result<()> {
        for address in self.addresses()? {
            if address.link == link {
                let mut delete = AddressMessage::default();
                delete.header.family = AddressFamily::Inet;
                delete.header.prefix_len = address.prefix;
                delete.header.index = link;
                let local = AddressAttribute::Local(IpAddr::V4(address.local));
                delete.attributes.push(local);
                let delete = RouteNetlinkMessage::DelAddress(delete);
                self.0.send_all(&[request(&delete, NLM_F_ACK)])?;
            }
        }
        Ok(())
    }

    /// Gives a device an IPv6 address beside those that it has.
    pub(in crate::network) fn add_address6(
        &mut self,
        link: u32,
        address: Ipv6Addr,
        prefix: u8,
    ) -> io::Result<()> {
        self.0.send_all(&[new_address6(link, address, prefix)])
    }

    /// Gives the namespace an address and its way out: loopback and the device
    /// on, the addresses on the device, everything else through the gateways.
    pub(in crate::network) fn configure_inside(&mut self, inside: &Inside) -> io::Result<()> {
        let switch_on = |link| request(&RouteNetlinkMessage::SetLink(switched_on(link)), NLM_F_ACK);
        let mut requests = vec![
            switch_on(LOOPBACK),
            switch_on(inside.link),
            new_address(inside.link, inside.address, inside.prefix),
        ];
        if let Some((address, prefix)) = inside.address6 {
            requests.push(new_address6(inside.link, address, prefix));
        }
        requests.extend(default_routes(inside.link, inside.gateway, inside.gateway6));
        self.0.send_all(&requests)
    }

    /// Switches a device on.
    pub(in crate::network) fn switch_on(&mut self, link: u32) -> io::Result<()> {
        let up = RouteNetlinkMessage::SetLink(switched_on(link));
        self.0.send_all(&[request(&up, NLM_F_ACK)])
    }

    /// Sends everything else through these gateways from now on.
    pub(in crate::network) fn set_default_routes(
        &mut self,
        link: u32,
        gateway: Option<Ipv4Addr>,
        gateway6: Option<Ipv6Addr>,
    ) -> io::Result<()> {
        let mut requests: Vec<Request> = default_routes(link, gateway, gateway6).collect();
        for request in &mut requests {
            request.flags |= super::NLM_F_REPLACE;
        }
        self.0.send_all(&requests)
    }

    /// Gives a device addresses that hold on its link alone.
    pub(in crate::network) fn add_link_local(
        &mut self,
        link: u32,
        addresses: &[IpAddr],
    ) -> io::Result<()> {
        let requests: Vec<Request> = addresses
            .iter()
            .map(|address| match address {
                IpAddr::V4(address) => new_address(link, *address, LINK_LOCAL_PREFIX),
                IpAddr::V6(address) => new_address6(link, *address, LINK_LOCAL_PREFIX6),
            })
            .collect();
        if requests.is_empty() {
            return Ok(());
        }
        self.0.send_all(&requests)
    }

    /// Removes the device with this name; whether there was one.
    pub(in crate::network) fn remove_link(&mut self, name: &str) -> io::Result<bool> {
        let message = RouteNetlinkMessage::DelLink(named(name));
        match self.0.send_all(&[request(&message, NLM_F_ACK)]) {
            Err(err) if is_no_device(&err) => Ok(false),
            result => result.map(|()| true),
        }
    }
}

fn is_no_device(err: &io::Error) -> bool {
    err.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn switched_on(link: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = link;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

fn new_address(link: u32, address: Ipv4Addr, prefix: u8) -> Request {
    let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = link;
    message.attributes.extend([
        AddressAttribute::Local(IpAddr::V4(address)),
        AddressAttribute::Address(IpAddr::V4(address)),
        AddressAttribute::Broadcast(Ipv4Addr::from(u32::from(address) | host_bits)),
    ]);
    // No `NLM_F_EXCL`: an address that is there already is kept.
    request(
        &RouteNetlinkMessage::NewAddress(message),
        NLM_F_ACK | NLM_F_CREATE | super::NLM_F_REPLACE,
    )
}

fn new_address6(link: u32, address: Ipv6Addr, prefix: u8) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.prefix_len = prefix;
    message.header.index = link;
    // Nobody else has it, so it need not be asked for: it can be used at once.
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes.extend([
        AddressAttribute::Address(IpAddr::V6(address)),
        AddressAttribute::Flags(AddressFlags::Nodad),
    ]);
    request(
        &RouteNetlinkMessage::NewAddress(message),
        NLM_F_ACK | NLM_F_CREATE | super::NLM_F_REPLACE,
    )
}

fn default_routes(
    link: u32,
    gateway: Option<Ipv4Addr>,
    gateway6: Option<Ipv6Addr>,
) -> impl Iterator<Item = Request> {
    let four = gateway.map(|gateway| (AddressFamily::Inet, RouteAddress::Inet(gateway)));
    let six = gateway6.map(|gateway| (AddressFamily::Inet6, RouteAddress::Inet6(gateway)));
    four.into_iter().chain(six).map(move |(family, gateway)| {
        let mut route = RouteMessage::default();
        route.header.address_family = family;
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.header.protocol = RouteProtocol::Boot;
        route.header.scope = RouteScope::Universe;
        route.header.kind = RouteType::Unicast;
        route
            .attributes
            .extend([RouteAttribute::Gateway(gateway), RouteAttribute::Oif(link)]);
        request(
            &RouteNetlinkMessage::NewRoute(route),
            NLM_F_ACK | NLM_F_CREATE,
        )
    })
}

fn request(message: &RouteNetlinkMessage, flags: u16) -> Request {
    let mut body = vec![0; message.buffer_len()];
    message.serialize(&mut body);
    Request {
        kind: message.message_type(),
        flags,
        body,
    }
}
