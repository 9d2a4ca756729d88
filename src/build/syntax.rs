//! `# syntax=`: which language a Dockerfile says that it is in.
//!
//! The directive names an image with another parser. Docker's own are newer or
//! older versions of the language that is built in here; others are not run.

use crate::dockerfile::{Dockerfile, Located, Span};
use crate::oci::Reference;

/// The build argument that overrides the directive.
pub(super) const ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// A warning, and its place where it has one, when the file asks for a language that is
/// not built in.
pub(super) fn warning(
    dockerfile: &Dockerfile,
    argument: Option<&String>,
) -> Option<(Option<Span>, String)> {
    let argument = argument.filter(|text| !text.is_empty());
    let (frontend, span) = match (argument, &dockerfile.syntax) {
        (Some(text), _) => (first_word(text), None),
        (None, Some(Located { value, span, .. })) => (value.as_str(), Some(*span)),
        (None, None) => return None,
    };
    if is_built_in(frontend) {
        return None;
    }
    let what = if span.is_some() {
        format!("the syntax `{frontend}`")
    } else {
        format!("{ARGUMENT}=`{frontend}`")
    };
    let message = format!(
        "{what} is not run: external frontends are not supported, the file is read as a Dockerfile"
    );
    Some((span, message))
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

fn is_built_in(frontend: &str) -> bool {
    if frontend == "dockerfile.v0" {
        return true;
    }
    let Ok(reference) = frontend.parse::<Reference>() else {
        return false;
    };
    let name = reference.to_string();
    let name = name.split(['@', ':']).next().unwrap_or_default();
    matches!(
        name,
        "docker.io/docker/dockerfile" | "docker.io/docker/dockerfile-upstream"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::parse;

    fn check(text: &str, argument: Option<&str>, want: Option<&str>) {
        let argument = argument.map(str::to_owned);
        let found = warning(&parse(text).dockerfile, argument.as_ref());
        let found = found.map(|(_, message)| message);
        let found = found
            .as_ref()
            .map(|message| message.split(" is not").next().unwrap());
        assert_eq!(found, want, "{text} {argument:?}");
    }

    #[test]
    fn dockers_own_frontends_are_built_in() {
        for name in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile:1.26",
            "docker/dockerfile-upstream:master",
            "docker/dockerfile:1@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "dockerfile.v0",
        ] {
            check(&format!("# syntax={name}\nFROM a\n"), None, None);
            check("FROM a\n", Some(name), None);
        }
    }

    #[test]
    fn others_are_warned_about() {
        check("FROM a\n", None, None);
        check(
            "#syntax=some/frontend:1 x\nFROM a\n",
            None,
            Some("the syntax `some/frontend:1`"),
        );
        check("// syntax=a/b\nFROM a\n", None, Some("the syntax `a/b`"));
        check(
            "# syntax=docker/dockerfileX\nFROM a\n",
            None,
            Some("the syntax `docker/dockerfileX`"),
        );
        check(
            "# syntax=docker/dockerfile\nFROM a\n",
            Some("ghcr.io/x/y -z"),
            Some("BUILDKIT_SYNTAX=`ghcr.io/x/y`"),
        );
        check(
            "# syntax=ghcr.io/x/y\nFROM a\n",
            Some("docker/dockerfile"),
            None,
        );
    }
}
