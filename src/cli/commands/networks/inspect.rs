//! `network inspect`

use jiff::Timestamp;
use rbuild::engine::{Engine, Network};
use serde_json::{Map, Value, json};

use crate::cli::format;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Show everything about networks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `json` or a Go template
    #[arg(short, long)]
    format: Option<String>,
    /// Accepted for compatibility
    #[arg(short, long, hide = true)]
    verbose: bool,
    /// The networks, by name or ID
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let mut documents = Vec::new();
    let mut failures: Vec<Failure> = Vec::new();
    for text in &args.networks {
        match engine.network(text) {
            Ok(network) => documents.push(document(engine, &network)?),
            Err(error) => failures.push(error.into()),
        }
    }
    format::documents(output, args.format.as_deref(), &documents)?;
    for failure in &failures {
        output.failure(failure);
    }
    Ok(u8::from(!failures.is_empty()))
}

/// A network under Docker's keys.
///
/// Source: Docker Engine API 1.48, "NetworkInspect".
pub(crate) fn document(engine: &Engine, network: &Network) -> Result<Value, Failure> {
    let spec = &network.spec;
    let created = Timestamp::from_nanosecond(i128::from(network.created_at));
    let mut containers = Map::new();
    for member in engine.network_members(network)? {
        let lease = &member.lease;
        let prefix = network
            .subnet
            .as_ref()
            .and_then(|(subnet, _)| subnet.split_once('/'))
            .map_or("", |(_, prefix)| prefix);
        let six = lease.address6.zip(spec.ipv6);
        let entry = json!({
            "Name": member.name,
            "EndpointID": lease.owner,
            "MacAddress": member.mac,
            "IPv4Address": format!("{}/{prefix}", lease.address),
            "IPv6Address": six.map(|(a, six)| format!("{a}/{}", six.prefix)).unwrap_or_default(),
        });
        containers.insert(lease.owner.clone(), entry);
    }
    Ok(json!({
        "Name": network.name,
        "Id": network.id,
        "Created": created.map(|time| time.to_string()).unwrap_or_default(),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": true,
        "EnableIPv6": spec.ipv6.is_some(),
        "IPAM": {
            "Driver": "default",
            "Options": if network.is_predefined() { Value::Null } else { json!({}) },
            "Config": match subnets(network) {
                none if none.is_empty() => Value::Null,
                some => Value::from(some),
            },
        },
        "Internal": spec.internal,
        "Attachable": spec.attachable,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": containers,
        "Options": options(network),
        "Labels": spec.labels,
    }))
}

/// The options, and for the default bridge those that it always has.
fn options(network: &Network) -> Value {
    if network.name != "bridge" {
        return json!(network.spec.options);
    }
    json!({
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
        "com.docker.network.bridge.name": network.device.as_deref().unwrap_or_default(),
        "com.docker.network.driver.mtu": "1500",
    })
}

fn subnets(network: &Network) -> Vec<Value> {
    let spec = &network.spec;
    let mut subnets = Vec::new();
    if let Some((subnet, gateway)) = &network.subnet {
        let mut four = json!({ "Subnet": subnet, "Gateway": gateway.to_string() });
        if let Some((address, prefix)) = spec.range {
            four["IPRange"] = json!(format!("{address}/{prefix}"));
        }
        if !spec.reserved.is_empty() {
            four["AuxiliaryAddresses"] = json!(spec.reserved);
        }
        subnets.push(four);
    }
    if let Some(six) = &spec.ipv6 {
        subnets.push(json!({
            "Subnet": format!("{}/{}", six.network(), six.prefix),
            "Gateway": six.gateway.to_string(),
        }));
    }
    subnets
}
