//! `--call=outline`: what the target can be given and what it needs.

use rbuild::build::{Checked, OutlineMount};
use serde_json::{Value, json};

use super::json::{base64, location, pretty, set};
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Shows the outline of the target.
pub(super) fn answer(checked: &Checked, is_json: bool, output: &mut Output) -> Result<(), Failure> {
    if is_json {
        return output.line(pretty(&as_json(checked)));
    }
    let outline = &checked.outline;
    if outline.name.is_some() || outline.description.is_some() {
        let name = outline.name.as_deref().unwrap_or("(default)");
        match &outline.description {
            None => output.line(format!("TARGET: {name}\n"))?,
            Some(text) => output.line(format!("TARGET:      {name}\nDESCRIPTION: {text}\n"))?,
        }
    }
    if !outline.args.is_empty() {
        let rows: Vec<Vec<String>> = outline
            .args
            .iter()
            .map(|arg| {
                let description = arg.description.clone().unwrap_or_default();
                vec![arg.name.clone(), arg.value.clone(), description]
            })
            .collect();
        output.table(&["BUILD ARG", "VALUE", "DESCRIPTION"], &rows)?;
        output.line("")?;
    }
    mounts("SECRET", &outline.secrets, output)?;
    mounts("SSH", &outline.ssh, output)?;
    if !outline.caches.is_empty() {
        output.line("CACHE MOUNT")?;
        for cache in &outline.caches {
            output.line(&cache.id)?;
        }
        output.line("")?;
    }
    Ok(())
}

fn mounts(title: &str, mounts: &[OutlineMount], output: &mut Output) -> Result<(), Failure> {
    if mounts.is_empty() {
        return Ok(());
    }
    let rows: Vec<Vec<String>> = mounts
        .iter()
        .map(|mount| {
            let required = if mount.is_required { "true" } else { "" };
            vec![mount.id.clone(), required.to_owned()]
        })
        .collect();
    output.table(&[title, "REQUIRED"], &rows)?;
    output.line("")
}

fn as_json(checked: &Checked) -> Value {
    let (source, outline) = (&checked.source, &checked.outline);
    let args: Vec<Value> = outline
        .args
        .iter()
        .map(|arg| {
            let mut object = json!({"name": arg.name});
            set(&mut object, "description", arg.description.as_deref());
            set(&mut object, "value", arg.value.as_str());
            object["location"] = location(source, arg.span);
            object
        })
        .collect();
    let mounts = |list: &[OutlineMount]| -> Vec<Value> {
        list.iter()
            .map(|mount| {
                let mut object = json!({"name": mount.id});
                set(&mut object, "required", mount.is_required);
                object["location"] = location(source, mount.span);
                object
            })
            .collect()
    };
    let caches: Vec<Value> = outline
        .caches
        .iter()
        .map(|cache| json!({"ID": cache.id, "location": location(source, cache.span)}))
        .collect();
    let mut object = json!({});
    set(&mut object, "name", outline.name.as_deref());
    set(&mut object, "description", outline.description.as_deref());
    set(&mut object, "args", args);
    set(&mut object, "secrets", mounts(&outline.secrets));
    set(&mut object, "ssh", mounts(&outline.ssh));
    set(&mut object, "cache", caches);
    object["sources"] = json!([base64(&source.text)]);
    object
}
