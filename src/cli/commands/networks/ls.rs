//! `network ls`

use jiff::Timestamp;
use rbuild::engine::{Engine, Network};
use serde_json::{Value, json};

use super::has_label;
use crate::cli::commands::filters;
use crate::cli::format::{self, Column};
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

const COLUMNS: [Column; 4] = [
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
];
const TITLES: [Column; 5] = [
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

/// List networks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Do not cut IDs
    #[arg(long)]
    no_trunc: bool,
    /// Show only what fits: id, name, driver, label, scope, type, dangling
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// `json`, `table TEMPLATE` or a Go template
    #[arg(long)]
    format: Option<String>,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let conditions = conditions(&args.filter)?;
    let mut rows = Vec::new();
    let mut networks = engine.networks()?;
    networks.sort_by(|one, other| human::natural(&one.name, &other.name));
    for network in networks {
        if !fits(&network, &conditions, engine)? {
            continue;
        }
        if args.quiet && args.format.is_none() {
            output.line(short(&network.id, args.no_trunc))?;
        }
        rows.push(row(&network, args.no_trunc));
    }
    if !args.quiet || args.format.is_some() {
        format::list(output, args.format.as_deref(), &COLUMNS, &TITLES, &rows)?;
    }
    Ok(0)
}

/// The filters as pairs.
fn conditions(texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let conditions = filters::conditions(texts)?;
    for (key, _) in &conditions {
        let known = ["id", "name", "driver", "label", "scope", "type", "dangling"];
        if !known.contains(&key.as_str()) {
            return Err(Failure::new(1, format!("invalid filter '{key}'")));
        }
    }
    Ok(conditions)
}

/// Values of one key are alternatives; labels must all be there.
fn fits(
    network: &Network,
    conditions: &[(String, String)],
    engine: &Engine,
) -> Result<bool, Failure> {
    for (key, value) in conditions {
        let others = conditions.iter().filter(|(other, _)| other == key);
        let mut any = holds(network, key, value, engine)?;
        if key != "label" {
            for (_, value) in others {
                any = any || holds(network, key, value, engine)?;
            }
        }
        if !any {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(network: &Network, key: &str, value: &str, engine: &Engine) -> Result<bool, Failure> {
    Ok(match key {
        "id" => network.id.starts_with(value),
        "name" => network.name.contains(value),
        "driver" => network.driver == value,
        "label" => has_label(network, value),
        "scope" => value == "local",
        "type" => match value {
            "custom" => !network.is_predefined(),
            "builtin" => network.is_predefined(),
            _ => return Err(Failure::new(1, format!("invalid filter 'type={value}'"))),
        },
        "dangling" => {
            let wanted = match value {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => {
                    return Err(Failure::new(
                        1,
                        format!("invalid filter 'dangling={value}'"),
                    ));
                }
            };
            !network.is_predefined() && engine.network_is_used(network)? != wanted
        }
        _ => false,
    })
}

fn short(id: &str, whole: bool) -> &str {
    if whole { id } else { &id[..id.len().min(12)] }
}

fn row(network: &Network, whole: bool) -> Value {
    let created = Timestamp::from_nanosecond(i128::from(network.created_at)).ok();
    let spec = &network.spec;
    let labels = spec
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    json!({
        "CreatedAt": human::moment(created),
        "Driver": network.driver,
        "ID": short(&network.id, whole),
        "IPv4": "true",
        "IPv6": spec.ipv6.is_some().to_string(),
        "Internal": spec.internal.to_string(),
        "Labels": labels.collect::<Vec<_>>().join(","),
        "Name": network.name,
        "Scope": "local",
    })
}
