//! Annotations as they are written on the command line.
//!
//! Source: buildx, docs/reference/buildx_build.md, "Create annotations";
//! BuildKit, exporter/containerimage/exptypes/annotations.go.

use rbuild::build::{Annotated, Annotation};
use rbuild::oci::Platform;

/// `[TYPE[[PLATFORM]],...:]KEY=VALUE` of `--annotation`.
pub(super) fn flag(text: &str) -> Result<Vec<Annotation>, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("invalid annotation \"{text}\", expected key=value"))?;
    let (types, key) = match key.split_once(':') {
        Some((types, key)) if is_types(types) => (types, key),
        _ => ("manifest", key),
    };
    if key.is_empty() {
        return Err(format!("invalid annotation \"{text}\", the key is missing"));
    }
    types
        .split(',')
        .map(|one| {
            let (kind, platform) = split_platform(one)?;
            Ok(Annotation {
                on: on(kind)?,
                platform,
                key: key.to_owned(),
                value: value.to_owned(),
            })
        })
        .collect()
}

/// `annotation[-TYPE][[PLATFORM]].KEY` among the options of an output; `None`
/// for another option.
pub(super) fn option(name: &str, value: &str) -> Option<Result<Annotation, String>> {
    let rest = name.strip_prefix("annotation")?;
    let (kind, key) = rest.split_once('.')?;
    let kind = kind.strip_prefix('-').unwrap_or(kind);
    let parsed = split_platform(kind).and_then(|(kind, platform)| {
        Ok(Annotation {
            on: on(if kind.is_empty() { "manifest" } else { kind })?,
            platform,
            key: key.to_owned(),
            value: value.to_owned(),
        })
    });
    Some(parsed)
}

/// Whether the text before the first colon is a list of types: keys may have
/// colons of their own.
fn is_types(text: &str) -> bool {
    text.split(',').all(|one| {
        let kind = one.split('[').next().unwrap_or_default();
        on(kind).is_ok()
    })
}

fn on(kind: &str) -> Result<Annotated, String> {
    match kind {
        "index" => Ok(Annotated::Index),
        "index-descriptor" => Ok(Annotated::IndexDescriptor),
        "manifest" => Ok(Annotated::Manifest),
        "manifest-descriptor" => Ok(Annotated::ManifestDescriptor),
        other => Err(format!("unrecognized annotation type {other}")),
    }
}

fn split_platform(text: &str) -> Result<(&str, Option<Platform>), String> {
    let Some((kind, rest)) = text.split_once('[') else {
        return Ok((text, None));
    };
    let inner = rest
        .strip_suffix(']')
        .ok_or_else(|| format!("invalid annotation type \"{text}\""))?;
    let platform = inner.parse::<Platform>().map_err(|err| err.to_string())?;
    Ok((kind, Some(platform)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let show = |one: &Annotation| {
            let platform = one.platform.as_ref().map(ToString::to_string);
            format!("{:?} {platform:?} {}={}", one.on, one.key, one.value)
        };
        match flag(text) {
            Ok(all) => all.iter().map(show).collect::<Vec<_>>().join("; "),
            Err(why) => why,
        }
    }

    #[test]
    fn a_flag_names_what_it_annotates() {
        assert_eq!(shown("a=b=c"), "Manifest None a=b=c");
        assert_eq!(shown("index:a=b"), "Index None a=b");
        assert_eq!(
            shown("manifest[linux/arm64],index-descriptor:a=b"),
            "Manifest Some(\"linux/arm64\") a=b; IndexDescriptor None a=b"
        );
        assert_eq!(shown("x:y=z"), "Manifest None x:y=z");
        assert!(shown("a").contains("expected key=value"));
        assert!(shown("index:=b").contains("the key is missing"));
    }

    #[test]
    fn an_option_does_too() {
        let parse = |name: &str| option(name, "v").map(|one| one.map(|one| (one.on, one.key)));
        let manifest = Annotated::Manifest;
        assert_eq!(
            parse("annotation.a.b"),
            Some(Ok((manifest, "a.b".to_owned())))
        );
        assert_eq!(
            parse("annotation-index[linux/amd64].k"),
            Some(Ok((Annotated::Index, "k".to_owned())))
        );
        assert_eq!(parse("annotations"), None);
        assert!(parse("annotation-x.k").unwrap().is_err());
    }
}
