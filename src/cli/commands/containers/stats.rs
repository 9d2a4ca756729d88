//! `stats`

use std::io::IsTerminal;
use std::time::Duration;

use rbuild::engine::{ContainerFilter, ContainerUsage, Engine, ErrorKind};
use serde_json::{Value, json};

use crate::cli::format::{self, Column};
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Time between two looks, which processor time is counted over.
const INTERVAL: Duration = Duration::from_secs(1);
const COLUMNS: [Column; 8] = [
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];
const TITLES: [Column; 1] = [("Container", "CONTAINER")];
/// Clears the screen and goes to its first line.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Show what containers use
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all containers, not only running ones
    #[arg(short, long)]
    all: bool,
    /// Show one look and quit
    #[arg(long)]
    no_stream: bool,
    /// Do not cut anything
    #[arg(long)]
    no_trunc: bool,
    /// `json`, `table TEMPLATE` or a Go template
    #[arg(long)]
    format: Option<String>,
    /// The containers, by name or ID; all running ones without
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    for name in &args.containers {
        engine.container_usage(name)?;
    }
    let mut before = look(args, engine)?;
    let live = !args.no_stream && std::io::stdout().is_terminal();
    loop {
        std::thread::sleep(INTERVAL);
        let now = look(args, engine)?;
        let rows: Vec<Value> = now
            .iter()
            .map(|usage| {
                let earlier = before.iter().find(|earlier| earlier.id == usage.id);
                let typed = args.containers.iter();
                let mut typed = typed
                    .filter(|name| **name == usage.name || usage.id.starts_with(name.as_str()));
                row(usage, earlier, args.no_trunc, typed.next())
            })
            .collect();
        if live {
            output.stdout().write_all(CLEAR.as_bytes())?;
        }
        format::list(output, args.format.as_deref(), &COLUMNS, &TITLES, &rows)?;
        output.flush()?;
        if args.no_stream {
            return Ok(0);
        }
        before = now;
    }
}

fn look(args: &Args, engine: &Engine) -> Result<Vec<ContainerUsage>, Failure> {
    let names: Vec<String> = if args.containers.is_empty() {
        let filter = ContainerFilter {
            all: args.all,
            ..ContainerFilter::default()
        };
        let containers = engine.containers(&filter)?;
        containers
            .into_iter()
            .map(|container| container.id)
            .collect()
    } else {
        args.containers.clone()
    };
    let mut usages = Vec::new();
    for name in &names {
        match engine.container_usage(name) {
            Ok(usage) => usages.push(usage),
            // It was removed meanwhile.
            Err(err) if err.kind() == ErrorKind::NotFound => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(usages)
}

fn row(
    usage: &ContainerUsage,
    earlier: Option<&ContainerUsage>,
    whole: bool,
    typed: Option<&String>,
) -> Value {
    let id: String = usage.id.chars().take(if whole { 64 } else { 12 }).collect();
    let typed = typed.cloned();
    let typed = typed.unwrap_or_else(|| usage.id.chars().take(12).collect());
    if !usage.is_running {
        return json!({
            "BlockIO": "0B / 0B", "CPUPerc": "0.00%", "Container": typed, "ID": id,
            "MemPerc": "0.00%", "MemUsage": "0B / 0B", "Name": usage.name, "NetIO": "0B / 0B",
            "PIDs": "0",
        });
    }
    let sample = &usage.sample;
    let pair = |one: u64, other: u64| format!("{} / {}", human::size(one), human::size(other));
    json!({
        "BlockIO": pair(sample.read, sample.written),
        "CPUPerc": percent(processor_share(usage, earlier)),
        "Container": typed,
        "ID": id,
        "MemPerc": percent(share(sample.memory, sample.memory_limit)),
        "MemUsage": format!(
            "{} / {}",
            human::binary_size(sample.memory),
            human::binary_size(sample.memory_limit)
        ),
        "Name": usage.name,
        "NetIO": pair(usage.received, usage.sent),
        "PIDs": sample.pids.to_string(),
    })
}

/// Processor time since the earlier look, of what one processor had to give.
fn processor_share(usage: &ContainerUsage, earlier: Option<&ContainerUsage>) -> f64 {
    let Some(earlier) = earlier.filter(|earlier| earlier.is_running) else {
        return 0.0;
    };
    let own = usage.sample.cpu.saturating_sub(earlier.sample.cpu);
    let machine = usage.machine.saturating_sub(earlier.machine);
    if machine.is_zero() {
        return 0.0;
    }
    own.as_secs_f64() / machine.as_secs_f64() * f64::from(usage.processors)
}

#[allow(clippy::cast_precision_loss, reason = "two digits of it are shown")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}
