//! `network connect`, `network disconnect`

use rbuild::engine::{EndpointRequest, Engine, ErrorKind};

use crate::cli::report::Failure;
use crate::cli::values;

/// Put a container on a network
#[derive(Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    /// A further name that leads to the container
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// IPv4 address
    #[arg(long, value_name = "IP")]
    ip: Option<String>,
    /// IPv6 address
    #[arg(long, value_name = "IP")]
    ip6: Option<String>,
    /// A name that this container alone has for another: CONTAINER:NAME
    #[arg(long, value_name = "CONTAINER[:NAME]")]
    link: Vec<String>,
    /// A further address that holds on the link alone, such as 169.254.7.7
    #[arg(long, value_name = "IP")]
    link_local_ip: Vec<String>,
    /// Option of the driver, which is only told
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::pair)]
    driver_opt: Vec<(String, String)>,
    /// The network with the highest one is the way out
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    gw_priority: i64,
    /// The network, by name or ID
    network: String,
    /// The container, by name or ID
    container: String,
}

/// Take a container off a network
#[derive(Debug, clap::Args)]
pub(crate) struct DisconnectArgs {
    /// Do not fail for a container that is not there
    #[arg(short, long)]
    force: bool,
    /// The network, by name or ID
    network: String,
    /// The container, by name or ID
    container: String,
}

pub(super) fn connect(args: &ConnectArgs, engine: &Engine) -> Result<u8, Failure> {
    let mut endpoint = EndpointRequest {
        network: args.network.clone(),
        aliases: args.alias.clone(),
        options: args.driver_opt.iter().cloned().collect(),
        gw_priority: args.gw_priority,
        ..EndpointRequest::default()
    };
    for address in args.ip.iter().chain(&args.ip6) {
        let set = endpoint.set_address(address);
        set.map_err(|err| Failure::new(1, err.to_string()))?;
    }
    for address in &args.link_local_ip {
        let added = endpoint.add_link_local(address);
        added.map_err(|err| Failure::new(1, err.to_string()))?;
    }
    for link in &args.link {
        let (target, name) = link.split_once(':').unwrap_or((link, link));
        endpoint
            .links
            .insert(name.to_ascii_lowercase(), target.to_owned());
    }
    engine.network_connect(&args.container, endpoint)?;
    Ok(0)
}

pub(super) fn disconnect(args: &DisconnectArgs, engine: &Engine) -> Result<u8, Failure> {
    let network = engine.network(&args.network)?;
    match engine.network_disconnect(&args.container, &network) {
        Err(error) if args.force && error.kind() == ErrorKind::NotFound => Ok(0),
        other => Ok(other.map(|()| 0)?),
    }
}
