//! The containers' part of `system prune` and `system df`.

use jiff::Timestamp;
use rbuild::engine::{
    ContainerFilter, ContainerRemoveOptions, ContainerSummary, Engine, Status,
};

use crate::cli::commands::filters;
use crate::cli::human;
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
    for text in texts {
        let wrong = || Failure::new(1, format!("invalid filter '{text}'"));
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        match key {
            "label" => filter.conditions.push((key.to_owned(), value.to_owned())),
            "until" => until = Some(filters::moment(value).ok_or_else(wrong)?),
            _ => return Err(wrong()),
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
        if container.state == Status::Running || !old(&container) {
            continue;
        }
        let bytes = engine.container_size(&container.id)?;
        // One that was started in the meantime, or removed by another, is none of ours.
        if engine.container_remove(&container.id, ContainerRemoveOptions::default()).is_ok() {
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

/// Prints the containers' part of `system df -v`.
pub(crate) fn df_verbose(engine: &Engine, output: &mut Output) -> Result<(), Failure> {
    let filter = ContainerFilter {
        all: true,
        ..ContainerFilter::default()
    };
    let now = Timestamp::now();
    let mut rows = Vec::new();
    for container in engine.containers(&filter)? {
        let created = Timestamp::from_nanosecond(i128::from(container.created_at)).ok();
        rows.push(vec![
            container.id.chars().take(12).collect(),
            container.image.clone(),
            format!("\"{}\"", human::ellipsis(&container.command, 20)),
            "0".to_owned(),
            human::size(engine.container_size(&container.id)?),
            human::ago(created, now),
            container.status.clone(),
            container.name.clone(),
        ]);
    }
    output.line("\nContainers space usage:\n")?;
    let header = [
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "LOCAL VOLUMES",
        "SIZE",
        "CREATED",
        "STATUS",
        "NAMES",
    ];
    output.table(&header, &rows)
}
