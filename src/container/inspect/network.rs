//! `NetworkSettings`: where a container is on its networks.

use serde_json::{Map, Value, json};

use super::{exposed_ports, push};
use crate::container::endpoint::EndpointRequest;
use crate::container::list;
use crate::container::record::State;
use crate::container::request::{NetworkMode, Request};
use crate::network::{self, Place};
use crate::store::ContainerRow;

pub(super) fn network_settings(
    row: &ContainerRow,
    request: &Request,
    state: &State,
    endpoints: &[EndpointRequest],
) -> Value {
    let mut forwarded = Map::new();
    if state.is_running() {
        for port in exposed_ports(request) {
            forwarded.insert(port, Value::Null);
        }
    }
    for forward in &state.ports {
        let key = format!("{}/{}", forward.container_port, forward.protocol);
        let binding = json!({
            "HostIp": forward.host.to_string(),
            "HostPort": forward.host_port.to_string(),
        });
        push(&mut forwarded, key, binding);
    }
    let mut networks = Map::new();
    if !request.network.is_joined() && !matches!(request.network, NetworkMode::Container(_)) {
        let name = list::network_name(&request.network);
        let endpoint = endpoint(row, state, &EndpointRequest::default(), None);
        networks.insert(name, endpoint);
    }
    for wanted in endpoints {
        let place = state.networks.iter().find(|p| p.network == wanted.network);
        networks.insert(wanted.network.clone(), endpoint(row, state, wanted, place));
    }
    // Docker's top members tell of the default bridge alone.
    let first = state
        .networks
        .iter()
        .find(|p| p.network == network::DEFAULT);
    let text = |value: Option<String>| value.unwrap_or_default();
    json!({
        "Bridge": "",
        "SandboxID": if state.is_running() { row.id.as_str() } else { "" },
        "SandboxKey": match state.pid {
            0 => String::new(),
            pid => format!("/proc/{pid}/ns/net"),
        },
        "Ports": forwarded,
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": first.map(|_| row.id.as_str()).unwrap_or_default(),
        "Gateway": text(first.and_then(|place| place.gateway).map(|g| g.to_string())),
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": text(first.map(|place| place.address.to_string())),
        "IPPrefixLen": first.map_or(0, |place| place.prefix),
        "IPv6Gateway": "",
        "MacAddress": text(first.map(Place::mac_text)),
        "Networks": networks,
    })
}

fn endpoint(
    row: &ContainerRow,
    state: &State,
    wanted: &EndpointRequest,
    place: Option<&Place>,
) -> Value {
    let text = |value: Option<String>| value.unwrap_or_default();
    let config = match (
        wanted.address,
        wanted.address6,
        wanted.link_local.as_slice(),
    ) {
        (None, None, []) => Value::Null,
        (four, six, local) => {
            let mut config = Map::new();
            for (key, address) in [
                ("IPv4Address", four.map(|a| a.to_string())),
                ("IPv6Address", six.map(|a| a.to_string())),
            ] {
                config.extend(address.map(|address| (key.to_owned(), json!(address))));
            }
            if !local.is_empty() {
                config.insert("LinkLocalIPs".to_owned(), json!(local));
            }
            Value::Object(config)
        }
    };
    let is_named = place.is_some_and(Place::has_names);
    let short: String = row.id.chars().take(12).collect();
    let names: Vec<String> = [vec![row.name.clone()], wanted.aliases.clone(), vec![short]].concat();
    let is_there = place.is_some() || state.is_running() && wanted.network.is_empty();
    json!({
        "IPAMConfig": config,
        "Links": if wanted.links.is_empty() { Value::Null } else {
            let links = wanted.links.iter().map(|(alias, name)| format!("{name}:{alias}"));
            Value::from(links.collect::<Vec<_>>())
        },
        "Aliases": if wanted.aliases.is_empty() { Value::Null } else { json!(wanted.aliases) },
        "MacAddress": text(place.map(Place::mac_text)),
        "DriverOpts": if wanted.options.is_empty() { Value::Null } else { json!(wanted.options) },
        "GwPriority": wanted.gw_priority,
        "NetworkID": place.map(|place| place.network_id.as_str()).unwrap_or_default(),
        "EndpointID": if is_there { row.id.as_str() } else { "" },
        "Gateway": text(place.and_then(|place| place.gateway).map(|g| g.to_string())),
        "IPAddress": text(place.map(|place| place.address.to_string())),
        "IPPrefixLen": place.map_or(0, |place| place.prefix),
        "IPv6Gateway": text(place.and_then(|place| place.gateway6).map(|g| g.to_string())),
        "GlobalIPv6Address": text(place.and_then(|place| place.address6).map(|(a, _)| a.to_string())),
        "GlobalIPv6PrefixLen": place.and_then(|place| place.address6).map_or(0, |(_, p)| p),
        "DNSNames": if is_named { json!(names) } else { Value::Null },
    })
}
