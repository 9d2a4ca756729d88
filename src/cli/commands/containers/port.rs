//! `port`

use rbuild::engine::{Engine, PortForward};

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Show where a container's ports are published
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container, by name or ID
    container: String,
    /// Only this port, such as 80 or 53/udp
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let mut ports = engine.container_ports(&args.container)?;
    ports.sort_by_key(|port| (port.container_port, port.protocol.clone(), port.host));
    let address = |port: &PortForward| std::net::SocketAddr::new(port.host, port.host_port);
    let Some(wanted) = &args.port else {
        for port in &ports {
            let (number, protocol) = (port.container_port, &port.protocol);
            output.line(format!("{number}/{protocol} -> {}", address(port)))?;
        }
        return Ok(0);
    };
    let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    let wrong = || Failure::new(1, format!("invalid port '{wanted}'"));
    let number: u16 = number.parse().map_err(|_| wrong())?;
    ports.retain(|port| port.container_port == number && port.protocol == protocol);
    if ports.is_empty() {
        let message = format!(
            "no public port '{number}/{protocol}' published for {}",
            args.container
        );
        return Err(Failure::new(1, message));
    }
    for port in &ports {
        output.line(address(port))?;
    }
    Ok(0)
}
