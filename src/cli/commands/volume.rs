//! `volume ...`

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use rbuild::engine::{Engine, EventKind, Volume, VolumeFilter, VolumeRequest};
use serde_json::{Map, Value, json};

use super::filters;
use crate::cli::format::{self, Column};
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;
use crate::cli::values;

/// `volume ...`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Create(CreateArgs),
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    Inspect(InspectArgs),
    #[command(visible_alias = "remove")]
    Rm(RemoveArgs),
    Prune(PruneArgs),
    Export(ExportArgs),
    Import(ImportArgs),
}

/// Make a volume
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The driver: local
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// Labels
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Options of the driver: type, o, device
    #[arg(short, long = "opt", value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// The name
    #[arg(long = "name", value_name = "NAME", hide = true)]
    old_name: Option<String>,
    /// The name; one is made up when it is left out
    name: Option<String>,
}

/// List volumes
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Show only names
    #[arg(short, long)]
    quiet: bool,
    /// Show only what fits: dangling, driver, label, name
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// `json`, `table TEMPLATE` or a Go template
    #[arg(long)]
    format: Option<String>,
}

/// Show everything about volumes
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// `json` or a Go template
    #[arg(short, long)]
    format: Option<String>,
    /// The volumes
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

/// Remove volumes that no container uses
#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// Volumes that are not there are no error
    #[arg(short, long)]
    force: bool,
    /// The volumes
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

/// Remove volumes that no container uses
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Remove also volumes that have a name of their own
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Remove only what fits: label
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

/// Write the files of a volume as a tar
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The file to write; standard output when it is left out
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The volume
    volume: String,
}

/// Unpack a tar over the files of a volume
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The volume
    volume: String,
    /// The file to read, compressed or not; standard input when it is `-` or left out
    file: Option<PathBuf>,
}

/// Runs a verb on volumes; returns the exit code.
pub(crate) fn run(command: &Command, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    match command {
        Command::Create(args) => create(args, engine, output),
        Command::Ls(args) => list(args, engine, output),
        Command::Inspect(args) => {
            super::inspect::volumes(&args.names, args.format.as_deref(), engine, output)
        }
        Command::Rm(args) => remove(args, engine, output),
        Command::Prune(args) => prune(args, engine, output),
        Command::Export(args) => export(args, engine, output),
        Command::Import(args) => import(args, engine),
    }
}

fn create(args: &CreateArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    if !["", "local"].contains(&args.driver.as_str()) {
        let driver = &args.driver;
        let message =
            format!("error looking up volume plugin {driver}: plugin \"{driver}\" not found");
        return Err(Failure::new(1, message));
    }
    if args.old_name.is_some() && args.name.is_some() {
        let message = "conflicting options: cannot specify a volume-name through both --name and \
                       as a positional arg";
        return Err(Failure::new(1, message));
    }
    let pairs = |texts: &[String]| -> Result<BTreeMap<String, String>, Failure> {
        let pairs = texts.iter().map(|text| values::pair(text));
        pairs
            .collect::<Result<_, _>>()
            .map_err(|message| Failure::new(1, message))
    };
    let volume = engine.volume_create(VolumeRequest {
        name: args.name.clone().or(args.old_name.clone()),
        labels: pairs(&args.label)?,
        options: pairs(&args.opt)?,
    })?;
    output.line(volume.name)?;
    Ok(0)
}

const COLUMNS: [Column; 2] = [("Driver", "DRIVER"), ("Name", "VOLUME NAME")];
const TITLES: [Column; 8] = [
    ("Availability", "AVAILABILITY"),
    ("Group", "GROUP"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Scope", "SCOPE"),
    ("Size", "SIZE"),
    ("Status", "STATUS"),
];

fn list(args: &ListArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let filter = VolumeFilter {
        conditions: filters::conditions(&args.filter)?,
    };
    let volumes = engine.volumes(&filter)?;
    if args.quiet && args.format.is_none() {
        for volume in &volumes {
            output.line(&volume.name)?;
        }
        return Ok(0);
    }
    let rows: Vec<Value> = volumes.iter().map(|volume| row(volume, None)).collect();
    format::list(output, args.format.as_deref(), &COLUMNS, &TITLES, &rows)?;
    Ok(0)
}

/// A row of a listing; with how many containers use it and its size in bytes
/// where that was asked for.
pub(super) fn row(volume: &Volume, usage: Option<(usize, u64)>) -> Value {
    let labels = volume.labels.iter();
    let labels: Vec<String> = labels
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let none = || "N/A".to_owned();
    json!({
        "Availability": "N/A",
        "Driver": "local",
        "Group": "N/A",
        "Labels": labels.join(","),
        "Links": usage.map_or_else(none, |(links, _)| links.to_string()),
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": "local",
        "Size": usage.map_or_else(none, |(_, bytes)| human::size(bytes)),
        "Status": "N/A",
    })
}

/// A volume as Docker's `volume inspect` shows it.
///
/// Source: Docker Engine API 1.51, "Volume".
pub(super) fn document(volume: &Volume) -> Value {
    let created = Timestamp::from_nanosecond(i128::from(volume.created_at)).unwrap_or_default();
    let map = |pairs: &BTreeMap<String, String>| {
        if pairs.is_empty() {
            return Value::Null;
        }
        let pairs = pairs.iter();
        Value::Object(
            pairs
                .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
                .collect::<Map<_, _>>(),
        )
    };
    json!({
        "CreatedAt": created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "Driver": "local",
        "Labels": map(&volume.labels),
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": map(&volume.options),
        "Scope": "local",
    })
}

fn remove(args: &RemoveArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let mut failed = 0;
    for name in &args.names {
        match engine.volume_remove(name, args.force) {
            Ok(()) => output.line(name)?,
            Err(error) => {
                output.failure(&Failure::from(error));
                failed = 1;
            }
        }
    }
    Ok(failed)
}

fn prune(args: &PruneArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let mut conditions = filters::conditions(&args.filter)?;
    let mut all = args.all;
    let mut conflict = false;
    // `all` may be said as a filter too.
    conditions.retain(|(key, value)| {
        let is_all = key == "all";
        conflict |= is_all && args.all;
        all |= is_all && matches!(value.as_str(), "1" | "true");
        !is_all
    });
    let unknown = |(key, _): &&(String, String)| !["label", "label!"].contains(&key.as_str());
    if let Some((key, _)) = conditions.iter().find(unknown) {
        return Err(Failure::new(1, format!("invalid filter '{key}'")));
    }
    if conflict {
        let message = "conflicting options: cannot specify both --all and --filter all=1";
        return Err(Failure::new(1, message));
    }
    let what = if all { "all local" } else { "anonymous local" };
    let warning = format!(
        "WARNING! This will remove {what} volumes not used by at least one container.\nAre you \
         sure you want to continue?"
    );
    if !args.force && !output.confirm(&warning)? {
        return Ok(0);
    }
    let freed = sweep(all, conditions, engine, output)?;
    super::system::total(freed, output)
}

/// Removes volumes, prints their names and returns the bytes freed.
pub(super) fn sweep(
    all: bool,
    conditions: Vec<(String, String)>,
    engine: &Engine,
    output: &mut Output,
) -> Result<u64, Failure> {
    let (removed, freed) = engine.volumes_prune(all, &VolumeFilter { conditions })?;
    engine.note_prune(EventKind::Volume, freed);
    if !removed.is_empty() {
        output.line("Deleted Volumes:")?;
        for name in removed {
            output.line(name)?;
        }
        output.line("")?;
    }
    Ok(freed)
}

fn export(args: &ExportArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let Some(path) = &args.output else {
        if output.stdout_is_terminal() {
            return Err(Failure::new(
                1,
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        engine.volume_export(&args.volume, output.stdout())?;
        return Ok(0);
    };
    engine.volume(&args.volume)?;
    let failed =
        |err: io::Error| Failure::new(1, format!("cannot write {}: {err}", path.display()));
    let mut file = io::BufWriter::new(File::create(path).map_err(failed)?);
    engine.volume_export(&args.volume, &mut file)?;
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)
        .and_then(|file| file.sync_all())
        .map_err(failed)?;
    Ok(0)
}

fn import(args: &ImportArgs, engine: &Engine) -> Result<u8, Failure> {
    match args.file.as_deref().filter(|path| path.as_os_str() != "-") {
        Some(path) => {
            let mut file = File::open(path)
                .map_err(|err| Failure::new(1, format!("cannot read {}: {err}", path.display())))?;
            engine.volume_import(&args.volume, &mut file)?;
        }
        None => engine.volume_import(&args.volume, &mut io::stdin())?,
    }
    Ok(0)
}
