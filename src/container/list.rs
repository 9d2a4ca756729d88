//! Containers as `ps` lists them.

use std::collections::BTreeMap;

use super::dir::Dir;
use super::record::{AnonymousVolume, Record, State, Status};
use super::request::{MountRequest, NetworkMode, Request};
use super::{Error, find, now, ports, status, volumes};
use crate::image::{self, Image};
use crate::network::Place;
use crate::oci::{ImageId, Reference};
use crate::store::{ContainerRow, Store};

/// A container in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image as the user wrote it, or its short ID when that name means another one now.
    pub image: String,
    /// The image's ID.
    pub image_id: String,
    /// Its whole command line.
    pub command: String,
    /// When it was made, nanoseconds since 1970.
    pub created_at: i64,
    /// Its state.
    pub state: Status,
    /// Its exit code, 0 while there is none.
    pub exit_code: i32,
    /// Docker's words for its state.
    pub status: String,
    /// Docker's words for its ports.
    pub ports: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its networks.
    pub networks: String,
    /// Sources of its mounts.
    pub mounts: Vec<String>,
    /// How many volumes it has.
    pub local_volumes: usize,
    /// IDs of the images that it mounts.
    pub mounted_images: Vec<String>,
}

/// Which containers are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Also those that do not run.
    pub all: bool,
    /// Only the last so many made, running or not.
    pub last: Option<usize>,
    /// `key=value` in Docker's words; values of one key are alternatives.
    pub conditions: Vec<(String, String)>,
}

/// A container with everything that a filter may ask for.
struct Candidate {
    row: ContainerRow,
    record: Option<Record>,
    state: State,
}

impl Candidate {
    fn read(store: &Store, row: ContainerRow) -> Self {
        let dir = Dir::new(store.paths(), &row.id);
        let record = dir.record().ok();
        let state = match (&record, dir.state()) {
            (Some(_), Ok(state)) => state,
            _ => State::dead(),
        };
        Self { row, record, state }
    }

    fn request(&self) -> Option<&Request> {
        self.record.as_ref().map(|record| &record.request)
    }
}

/// The containers that `filter` lets through, newest first.
pub fn list(store: &Store, filter: &Filter) -> Result<Vec<Summary>, Error> {
    let conditions = Conditions::new(store, filter)?;
    let names: BTreeMap<Reference, ImageId> = store.name_list()?.into_iter().collect();
    let everything = filter.all || filter.last.is_some() || conditions.name_a_state();
    let now = now();
    let mut summaries = Vec::new();
    for row in store.container_list()? {
        let candidate = Candidate::read(store, row);
        if !everything && !candidate.state.is_running() || !conditions.hold(&candidate) {
            continue;
        }
        summaries.push(summary(candidate, &names, now));
        if filter.last.is_some_and(|last| summaries.len() >= last) {
            break;
        }
    }
    Ok(summaries)
}

/// Bytes of the regular files in the own layer of the container `text`.
pub fn own_size(store: &Store, text: &str) -> Result<u64, Error> {
    let row = find(store, text)?;
    let mut bytes = 0;
    let mut pending = vec![Dir::new(store.paths(), &row.id).path("fs")];
    // What a running container removes meanwhile counts no longer.
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => pending.push(entry.path()),
                Ok(meta) if meta.is_file() => bytes += meta.len(),
                _ => {}
            }
        }
    }
    Ok(bytes)
}

fn summary(candidate: Candidate, names: &BTreeMap<Reference, ImageId>, now: i64) -> Summary {
    let Candidate { row, record, state } = candidate;
    let volumes = record.as_ref().map(volumes::names_of).unwrap_or_default();
    let anonymous = record.as_ref().map(|record| record.volumes.clone());
    let request = record.map(|record| record.request).unwrap_or_default();
    let sources = request.mounts.iter().map(mount_name);
    let anonymous = anonymous.into_iter().flatten().map(|volume| volume.name);
    let expose: &[String] = if state.is_running() {
        &request.expose
    } else {
        &[]
    };
    Summary {
        image: image_name(&request.image, row.image, names),
        image_id: row.image.to_string(),
        command: command(&request.argv()),
        created_at: row.created_at,
        state: state.status,
        exit_code: state.exit_code,
        status: status::render(&state, now),
        ports: ports::render(&state.ports, expose),
        networks: network_names(&request, &state),
        mounts: sources
            .chain(anonymous)
            .filter(|name| !name.is_empty())
            .collect(),
        local_volumes: volumes.len(),
        mounted_images: request.mounts.iter().filter_map(mounted_image).collect(),
        labels: request.labels,
        id: row.id,
        name: row.name,
    }
}

/// The command line as Docker shows it: arguments with spaces stand in quotes.
fn command(argv: &[String]) -> String {
    let Some((program, arguments)) = argv.split_first() else {
        return String::new();
    };
    let mut text = program.clone();
    for argument in arguments {
        text.push(' ');
        if argument.contains(' ') {
            text.extend(["'", argument, "'"]);
        } else {
            text.push_str(argument);
        }
    }
    text
}

/// The networks of a container, for `ps`.
fn network_names(request: &Request, state: &State) -> String {
    let now: Vec<&str> = state
        .networks
        .iter()
        .map(|place| place.network.as_str())
        .collect();
    if now.is_empty() {
        return network_name(&request.network);
    }
    let mut now = now;
    now.sort_unstable();
    now.join(",")
}

/// The network as `ps` and `inspect` name it.
pub(super) fn network_name(network: &NetworkMode) -> String {
    match network {
        NetworkMode::Container(_) => String::new(),
        other => other.text(),
    }
}

fn mount_name(mount: &MountRequest) -> String {
    match mount {
        MountRequest::Bind { source, .. } => source.display().to_string(),
        MountRequest::Volume { name, .. } => name.clone().unwrap_or_default(),
        MountRequest::Image { image, .. } => image.clone(),
        MountRequest::Tmpfs { .. } => String::new(),
    }
}

fn mounted_image(mount: &MountRequest) -> Option<String> {
    match mount {
        MountRequest::Image { image, .. } => Some(image.clone()),
        _ => None,
    }
}

/// What the user wrote while it still means this image, else the short ID.
fn image_name(written: &str, image: ImageId, names: &BTreeMap<Reference, ImageId>) -> String {
    let hex = image.0.hex();
    let short = || hex.chars().take(12).collect();
    let plain = written.strip_prefix("sha256:").unwrap_or(written);
    if plain.is_empty() {
        return short();
    }
    let means = written
        .parse()
        .ok()
        .and_then(|name: Reference| names.get(&name));
    match means {
        Some(means) if *means == image => written.to_owned(),
        // The user wrote the ID or the start of it.
        None if hex.starts_with(plain) => written.to_owned(),
        _ => short(),
    }
}

/// A filter's conditions, looked up and checked.
struct Conditions {
    by_key: BTreeMap<String, Vec<String>>,
    names: Vec<regex::Regex>,
    ancestors: Option<Vec<String>>,
    before: Option<i64>,
    since: Option<i64>,
}

impl Conditions {
    fn new(store: &Store, filter: &Filter) -> Result<Self, Error> {
        let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in &filter.conditions {
            check_condition(key, value)?;
            by_key.entry(key.clone()).or_default().push(value.clone());
        }
        let values = |key: &str| by_key.get(key).into_iter().flatten();
        let pattern = |text: &String| {
            let pattern = regex::Regex::new(text);
            pattern.or_else(|_| regex::Regex::new(&regex::escape(text)))
        };
        let names = values("name")
            .filter_map(|text| pattern(text).ok())
            .collect();
        let made = |key: &str| -> Result<Option<i64>, Error> {
            let rows = values(key).map(|text| find(store, text).map(|row| row.created_at));
            Ok(rows.collect::<Result<Vec<_>, _>>()?.pop())
        };
        let ancestors = by_key.contains_key("ancestor");
        let ancestors = ancestors
            .then(|| descendants(store, values("ancestor")))
            .transpose()?;
        let (before, since) = (made("before")?, made("since")?);
        Ok(Self {
            by_key,
            names,
            ancestors,
            before,
            since,
        })
    }

    /// Docker lists stopped containers as well when a state is asked for.
    fn name_a_state(&self) -> bool {
        ["status", "exited"]
            .iter()
            .any(|key| self.by_key.contains_key(*key))
            || self.before.is_some()
            || self.since.is_some()
    }

    fn hold(&self, candidate: &Candidate) -> bool {
        let row = &candidate.row;
        let single = self.before.is_none_or(|before| row.created_at < before)
            && self.since.is_none_or(|since| row.created_at > since)
            && (self.names.is_empty()
                || self.names.iter().any(|name| {
                    name.is_match(&row.name) || name.is_match(&format!("/{}", row.name))
                }))
            && self
                .ancestors
                .as_ref()
                .is_none_or(|ids| ids.contains(&row.image.to_string()));
        single
            && self.by_key.iter().all(|(key, values)| match key.as_str() {
                // Every label named must be there; other keys are alternatives.
                "label" => values.iter().all(|value| has_label(candidate, value)),
                key => values.iter().any(|value| holds(key, value, candidate)),
            })
    }
}

/// The IDs of the images named and of those that were built on them. What is no
/// image has no containers.
fn descendants<'a>(
    store: &Store,
    names: impl Iterator<Item = &'a String>,
) -> Result<Vec<String>, Error> {
    let named: Vec<Image> = names
        .filter_map(|text| image::find(store, text).ok())
        .collect();
    let mut ids: Vec<String> = named.iter().map(|image| image.id.to_string()).collect();
    for (image, _) in image::find_all(store)? {
        let layers = &image.config.rootfs.diff_ids;
        let stands_on = |base: &Image| {
            let below = &base.config.rootfs.diff_ids;
            !below.is_empty() && layers.len() > below.len() && layers.starts_with(below)
        };
        if named.iter().any(stands_on) {
            ids.push(image.id.to_string());
        }
    }
    Ok(ids)
}

fn check_condition(key: &str, value: &str) -> Result<(), Error> {
    const KEYS: [&str; 15] = [
        "ancestor",
        "before",
        "exited",
        "expose",
        "health",
        "id",
        "is-task",
        "isolation",
        "label",
        "name",
        "network",
        "publish",
        "since",
        "status",
        "volume",
    ];
    const STATES: [&str; 7] = [
        "created",
        "restarting",
        "running",
        "removing",
        "paused",
        "exited",
        "dead",
    ];
    if !KEYS.contains(&key) {
        return Err(Error::Invalid(format!("invalid filter '{key}'")));
    }
    if key == "status" && !STATES.contains(&value) {
        return Err(Error::Invalid(format!("invalid filter 'status={value}'")));
    }
    let good = match key {
        "exited" => value.parse::<i32>().is_ok(),
        "is-task" => matches!(value, "true" | "false" | "1" | "0"),
        _ => true,
    };
    if !good {
        return Err(Error::Invalid(format!("invalid filter '{key}={value}'")));
    }
    if key == "health" && !["none", "starting", "healthy", "unhealthy"].contains(&value) {
        return Err(Error::Invalid(format!(
            "invalid filter 'health={value}': invalid value for health ({value}): must be one of \
             none, starting, healthy, unhealthy"
        )));
    }
    if matches!(key, "publish" | "expose") && ports::exposed(value).is_empty() {
        return Err(Error::Invalid(format!(
            "error while looking up for {key} {value}: invalid port"
        )));
    }
    Ok(())
}

fn has_label(candidate: &Candidate, wanted: &str) -> bool {
    let Some(request) = candidate.request() else {
        return false;
    };
    match wanted.split_once('=') {
        Some((name, value)) => request.labels.get(name).is_some_and(|own| own == value),
        None => request.labels.contains_key(wanted),
    }
}

fn holds(key: &str, value: &str, candidate: &Candidate) -> bool {
    let (row, state) = (&candidate.row, &candidate.state);
    match key {
        "id" => row.id.starts_with(value),
        "status" => state.status.text() == value,
        "exited" => state.status == Status::Exited && Ok(state.exit_code) == value.parse(),
        "network" => {
            let is_there = |place: &Place| place.network == value || place.network_id == value;
            let now = state.networks.iter().any(is_there);
            let first = |request: &Request| network_name(&request.network) == value;
            now || state.networks.is_empty() && candidate.request().is_some_and(first)
        }
        "volume" => candidate.record.as_ref().is_some_and(|record| {
            let mounted =
                |mount: &MountRequest| mount.target() == value || mount_name(mount) == value;
            let anonymous =
                |volume: &AnonymousVolume| volume.name == value || volume.target == value;
            record.request.mounts.iter().any(mounted) || record.volumes.iter().any(anonymous)
        }),
        "publish" => {
            let wanted = ports::exposed(value);
            let published = |(port, protocol): &(u16, String)| {
                state
                    .ports
                    .iter()
                    .any(|forward| forward.host_port == *port && forward.protocol == *protocol)
            };
            wanted.iter().any(published)
        }
        "expose" => candidate.request().is_some_and(|request| {
            let exposed: Vec<_> = request
                .expose
                .iter()
                .flat_map(|text| ports::exposed(text))
                .collect();
            ports::exposed(value)
                .iter()
                .any(|port| exposed.contains(port))
        }),
        // Looked at already, or true of every container here.
        "name" | "ancestor" | "before" | "since" => true,
        "health" => {
            state
                .health
                .as_ref()
                .map_or("none", |health| health.status.text())
                == value
        }
        "is-task" => matches!(value, "false" | "0"),
        "isolation" => value == "default",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_named_as_long_as_the_name_means_it() {
        let id = ImageId(crate::oci::Digest::of(b"one"));
        let other = ImageId(crate::oci::Digest::of(b"two"));
        let short: String = id.0.hex().chars().take(12).collect();
        let name: Reference = "busybox".parse().unwrap();
        let check = |written: &str, names: &[(Reference, ImageId)], want: &str| {
            let names = names.iter().cloned().collect();
            assert_eq!(image_name(written, id, &names), want);
        };
        check("busybox", &[(name.clone(), id)], "busybox");
        check("busybox", &[(name, other)], &short);
        check("busybox", &[], &short);
        check(&short, &[], &short);
        check("", &[], &short);
    }

    #[test]
    fn unknown_conditions_are_refused() {
        check_condition("status", "exited").unwrap();
        for (key, value) in [("nosuch", "1"), ("status", "sleeping"), ("exited", "x")] {
            assert!(check_condition(key, value).is_err(), "{key}={value}");
        }
    }
}
