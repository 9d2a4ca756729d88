//! `NetworkSettings`: where a container is on the network.

use serde_json::{Map, Value, json};

use super::{exposed_ports, push};
use crate::container::list;
use crate::container::record::State;
use crate::container::request::{NetworkMode, Request};
use crate::store::ContainerRow;

pub(super) fn network_settings(row: &ContainerRow, request: &Request, state: &State) -> Value {
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
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let place = state.network.as_ref();
    let address = place
        .map(|place| place.address.to_string())
        .unwrap_or_default();
    let gateway = place
        .map(|place| place.gateway.to_string())
        .unwrap_or_default();
    let prefix = place.map_or(0, |place| place.prefix);
    let mac = place.map(|place| mac(place.mac)).unwrap_or_default();
    let mut networks = Map::new();
    if !matches!(request.network, NetworkMode::Container(_)) {
        networks.insert(
            list::network_name(&request.network),
            json!({
                "IPAMConfig": null,
                "Links": null,
                "Aliases": null,
                "MacAddress": mac,
                "DriverOpts": null,
                "NetworkID": "",
                "EndpointID": if state.is_running() { row.id.as_str() } else { "" },
                "Gateway": gateway,
                "IPAddress": address,
                "IPPrefixLen": prefix,
                "IPv6Gateway": "",
                "GlobalIPv6Address": "",
                "GlobalIPv6PrefixLen": 0,
                "DNSNames": null,
            }),
        );
    }
    json!({
        "Bridge": "",
        "SandboxID": if state.is_running() { row.id.as_str() } else { "" },
        "SandboxKey": match state.pid {
            0 => String::new(),
            pid => format!("/proc/{pid}/ns/net"),
        },
        "Ports": forwarded,
        "Gateway": gateway,
        "IPAddress": address,
        "IPPrefixLen": prefix,
        "MacAddress": mac,
        "Networks": networks,
    })
}
