//! `network create`

use rbuild::engine::{Engine, NewNetwork};

use crate::cli::output::Output;
use crate::cli::report::Failure;
use crate::cli::values;

/// Make a network
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How members are connected: bridge, macvlan or ipvlan
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Subnet, such as 172.30.0.0/16 or fd00:1::/64
    #[arg(long, value_name = "CIDR")]
    subnet: Vec<String>,
    /// Gateway of a subnet
    #[arg(long, value_name = "IP")]
    gateway: Vec<String>,
    /// Where members' addresses are taken from
    #[arg(long, value_name = "CIDR")]
    ip_range: Vec<String>,
    /// An address that something else has
    #[arg(long, value_name = "NAME=IP", value_parser = values::pair)]
    aux_address: Vec<(String, String)>,
    /// No way out of it
    #[arg(long)]
    internal: bool,
    /// Accepted for compatibility: every container may join
    #[arg(long)]
    attachable: bool,
    /// IPv6 beside IPv4
    #[arg(long)]
    ipv6: bool,
    /// Accepted for compatibility: there is always IPv4
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: bool,
    /// Set a label
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = values::pair)]
    label: Vec<(String, String)>,
    /// Option of the driver, such as parent=eth0 or com.docker.network.driver.mtu=1400
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = values::pair)]
    opt: Vec<(String, String)>,
    /// Accepted for compatibility: `default` is the only one
    #[arg(long, value_name = "DRIVER", hide = true)]
    ipam_driver: Option<String>,
    /// Accepted for compatibility
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    ipam_opt: Vec<String>,
    /// Accepted for compatibility: `local` is the only one
    #[arg(long, hide = true)]
    scope: Option<String>,
    /// Its name
    name: String,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    if let Some(driver) = args
        .ipam_driver
        .as_deref()
        .filter(|name| *name != "default")
    {
        let message = format!("invalid ipam driver: {driver}: `default` is the only one");
        return Err(Failure::new(1, message));
    }
    if let Some(scope) = args.scope.as_deref().filter(|scope| *scope != "local") {
        let message = format!("invalid scope: {scope}: `local` is the only one");
        return Err(Failure::new(1, message));
    }
    if !args.ipv4 && !args.ipv6 {
        return Err(Failure::new(1, "IPv4 or IPv6 must be enabled"));
    }
    let network = engine.network_create(&NewNetwork {
        name: args.name.clone(),
        driver: args.driver.clone(),
        subnets: args.subnet.clone(),
        gateways: args.gateway.clone(),
        ranges: args.ip_range.clone(),
        reserved: args.aux_address.clone(),
        internal: args.internal,
        attachable: args.attachable,
        ipv6: args.ipv6,
        labels: args.label.iter().cloned().collect(),
        options: args.opt.iter().cloned().collect(),
    })?;
    output.line(network.id)?;
    Ok(0)
}
