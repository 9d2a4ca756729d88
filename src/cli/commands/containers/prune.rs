//! The containers' part of the prunes.

use jiff::Timestamp;
use rbuild::engine::{ContainerFilter, ContainerRemoveOptions, ContainerSummary, Engine, Status};

use crate::cli::commands::filters;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Removes stopped containers that the filters let through, prints them, and
/// returns the bytes freed.
pub(crate) fn prune_stopped(
    engine: &Engine,
    texts: &[String],
    output: &mut Output,
) -> Result<u64, Failure> {
    let mut filter = ContainerFilter {
        all: true,
        ..ContainerFilter::default()
    };
    let mut until = None;
    let mut without = Vec::new();
    for (key, value) in filters::conditions(texts)? {
        let wrong = || Failure::new(1, format!("invalid filter '{key}={value}'"));
        match key.as_str() {
            "label!" => without.push(value),
            "until" => until = Some(filters::moment(&value).ok_or_else(wrong)?),
            "label" => filter.conditions.push((key, value)),
            _ => return Err(Failure::new(1, format!("invalid filter '{key}'"))),
        }
    }
    engine.collect_containers()?;
    let old = |container: &ContainerSummary| {
        let created = Timestamp::from_nanosecond(i128::from(container.created_at));
        until.is_none_or(|until| created.is_ok_and(|created| created < until))
    };
    let mut freed = 0;
    let mut removed = Vec::new();
    for container in engine.containers(&filter)? {
        let kept = without.iter().any(|label| has_label(&container, label));
        if !is_stopped(container.state) || !old(&container) || kept {
            continue;
        }
        let bytes = engine.container_size(&container.id)?;
        // One that was started in the meantime, or removed by another, is none of ours.
        if engine
            .container_remove(&container.id, ContainerRemoveOptions::default())
            .is_ok()
        {
            freed += bytes;
            removed.push(container.id);
        }
    }
    if !removed.is_empty() {
        output.line("Deleted Containers:")?;
        for id in removed {
            output.line(id)?;
        }
        output.line("")?;
    }
    Ok(freed)
}

fn is_stopped(state: Status) -> bool {
    matches!(state, Status::Created | Status::Exited | Status::Dead)
}

/// Whether a container has a label, with its value where one is given.
fn has_label(container: &ContainerSummary, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => container.labels.get(name).is_some_and(|own| own == value),
        None => container.labels.contains_key(wanted),
    }
}
