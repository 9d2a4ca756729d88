//! Names of objects that are there now, and where each kind may stand.

use rbuild::engine::{ContainerFilter, Engine, ImageFilter, VolumeFilter};

use super::walk::{Candidate, Wanted};
use crate::cli::report::Failure;

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Every container.
    Containers,
    /// Containers that run.
    RunningContainers,
    /// Images by name.
    Images,
    /// Networks.
    Networks,
    /// Networks that a user made.
    OwnNetworks,
    /// Networks, and containers whose network may be shared.
    NetworkModes,
    /// Volumes.
    Volumes,
    /// Whatever can be inspected.
    Everything,
}

/// Commands by the last words of their path, and what their arguments name.
const POSITIONS: [(&[&str], Kind); 38] = [
    (&["attach"], Kind::RunningContainers),
    (&["exec"], Kind::RunningContainers),
    (&["kill"], Kind::RunningContainers),
    (&["pause"], Kind::RunningContainers),
    (&["port"], Kind::RunningContainers),
    (&["restart"], Kind::Containers),
    (&["stats"], Kind::RunningContainers),
    (&["stop"], Kind::RunningContainers),
    (&["top"], Kind::RunningContainers),
    (&["unpause"], Kind::Containers),
    (&["commit"], Kind::Containers),
    (&["container", "inspect"], Kind::Containers),
    (&["diff"], Kind::Containers),
    (&["container", "export"], Kind::Containers),
    (&["logs"], Kind::Containers),
    (&["rename"], Kind::Containers),
    (&["container", "rm"], Kind::Containers),
    (&["start"], Kind::Containers),
    (&["update"], Kind::Containers),
    (&["wait"], Kind::Containers),
    (&["run"], Kind::Images),
    (&["create"], Kind::Images),
    (&["history"], Kind::Images),
    (&["push"], Kind::Images),
    (&["rmi"], Kind::Images),
    (&["image", "rm"], Kind::Images),
    (&["image", "inspect"], Kind::Images),
    (&["save"], Kind::Images),
    (&["tag"], Kind::Images),
    (&["volume", "inspect"], Kind::Volumes),
    (&["volume", "rm"], Kind::Volumes),
    (&["volume", "export"], Kind::Volumes),
    (&["volume", "import"], Kind::Volumes),
    (&["network", "connect"], Kind::Networks),
    (&["network", "disconnect"], Kind::Networks),
    (&["network", "inspect"], Kind::Networks),
    (&["network", "rm"], Kind::OwnNetworks),
    (&["images"], Kind::Images),
];

/// Networks that are always there.
const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

/// Commands of one word that share their name with those of a group.
const ALONE: [(&str, Kind); 3] = [
    ("rm", Kind::Containers),
    ("inspect", Kind::Everything),
    ("export", Kind::Containers),
];

/// Commands that take one object and then something else.
const ONE: [&str; 10] = [
    "attach", "create", "exec", "export", "history", "import", "port", "rename", "run", "tag",
];

/// Commands whose arguments are words of the user's own.
const OWN_WORDS: [&[&str]; 6] = [
    &["network", "create"],
    &["network", "ls"],
    &["volume", "create"],
    &["volume", "ls"],
    &["pull"],
    &["login"],
];

impl Kind {
    /// What the argument at this position of a command names; nothing where words
    /// of the user's own stand.
    pub(super) fn of_position(path: &[&str], position: usize) -> Option<Wanted> {
        if OWN_WORDS.contains(&path) {
            return None;
        }
        let Some(kind) = Self::of_command(path) else {
            return Some(Wanted::Files);
        };
        let last = path.last().copied().unwrap_or_default();
        if path.first() == Some(&"network") && last.ends_with("connect") && position > 0 {
            return Some(Wanted::Names(Self::Containers));
        }
        if position > 0 && ONE.contains(&last) {
            return Some(Wanted::Files);
        }
        Some(Wanted::Names(kind))
    }

    fn of_command(path: &[&str]) -> Option<Self> {
        if let Some((_, kind)) = ALONE.iter().find(|(name, _)| path == [*name]) {
            return Some(*kind);
        }
        // A verb on containers or images has the same name inside its group.
        let is_group = path.len() < 2 || ["container", "image"].contains(&path[0]);
        let fits = |name: &[&str]| {
            path == name || name.len() == 1 && is_group && path.last() == name.first()
        };
        let known = POSITIONS.iter().find(|(name, _)| fits(name));
        known.map(|(_, kind)| *kind)
    }

    /// What the value of a flag names.
    pub(super) fn of_flag(path: &[&str], flag: &str) -> Option<Self> {
        match flag {
            "network" | "net" if path.last() != Some(&"build") => Some(Self::NetworkModes),
            "volumes-from" | "link" => Some(Self::Containers),
            _ => None,
        }
    }
}

/// The objects of a kind, each with a word about it.
pub(super) fn names(engine: &Engine, kind: Kind) -> Result<Vec<Candidate>, Failure> {
    Ok(match kind {
        Kind::Containers => containers(engine, true)?,
        Kind::RunningContainers => containers(engine, false)?,
        Kind::Images => images(engine)?,
        Kind::Volumes => volumes(engine)?,
        Kind::Networks => networks(engine, true)?,
        Kind::OwnNetworks => networks(engine, false)?,
        Kind::NetworkModes => {
            let mut names = networks(engine, true)?;
            let shared = containers(engine, false)?.into_iter();
            names.extend(shared.map(|(name, about)| (format!("container:{name}"), about)));
            names
        }
        Kind::Everything => {
            let mut all = containers(engine, true)?;
            all.extend(images(engine)?);
            all.extend(volumes(engine)?);
            all.extend(networks(engine, false)?);
            all
        }
    })
}

fn containers(engine: &Engine, all: bool) -> Result<Vec<Candidate>, Failure> {
    let filter = ContainerFilter {
        all,
        ..ContainerFilter::default()
    };
    let found = engine.containers(&filter)?.into_iter();
    Ok(found
        .map(|one| (one.name, format!("{}, {}", one.image, one.status)))
        .collect())
}

fn images(engine: &Engine) -> Result<Vec<Candidate>, Failure> {
    let found = engine.images(&ImageFilter::default())?;
    let names = found.into_iter().flat_map(|one| {
        let id = one.image.id.0.short();
        let names = one.names.into_iter().filter(|name| !name.contains('@'));
        names
            .map(move |name| (name, id.clone()))
            .collect::<Vec<_>>()
    });
    Ok(names.collect())
}

fn volumes(engine: &Engine) -> Result<Vec<Candidate>, Failure> {
    let found = engine.volumes(&VolumeFilter::default())?.into_iter();
    Ok(found.map(|one| (one.name, "volume".to_owned())).collect())
}

fn networks(engine: &Engine, predefined: bool) -> Result<Vec<Candidate>, Failure> {
    let found = engine.networks()?.into_iter();
    let wanted = found.filter(|one| predefined || !PREDEFINED.contains(&one.name.as_str()));
    let names = wanted.map(|one| (one.name, format!("{} network", one.driver)));
    Ok(names.collect())
}
