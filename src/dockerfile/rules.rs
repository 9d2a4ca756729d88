//! The rules of the build checks: their names, what they are about, their pages.
//!
//! Source: "Build checks" in the Dockerfile reference; the texts are those that
//! BuildKit's clients show and hand on as JSON.

/// A rule of the build checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its name, as `# check=skip=NAME` has it.
    pub name: &'static str,
    /// What it is about, in a sentence.
    pub description: &'static str,
    /// The last part of its page's address; empty for the rule without a page
    /// at Docker's.
    slug: &'static str,
    /// Whether it is off unless asked for.
    pub is_experimental: bool,
}

impl Rule {
    /// The rule of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.name == name)
    }

    /// The page at Docker's, where there is one.
    pub fn url(&self) -> Option<String> {
        let page = |slug| format!("https://docs.docker.com/go/dockerfile/rule/{slug}/");
        (!self.slug.is_empty()).then(|| page(self.slug))
    }
}

const fn rule(name: &'static str, slug: &'static str, description: &'static str) -> Rule {
    Rule {
        name,
        description,
        slug,
        is_experimental: false,
    }
}

/// Every rule.
pub const RULES: [Rule; 22] = [
    rule(
        "StageNameCasing",
        "stage-name-casing",
        "Stage names should be lowercase",
    ),
    rule(
        "FromAsCasing",
        "from-as-casing",
        "The 'as' keyword should match the case of the 'from' keyword",
    ),
    rule(
        "NoEmptyContinuation",
        "no-empty-continuation",
        "Empty continuation lines will become errors in a future release",
    ),
    rule(
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    ),
    rule(
        "DuplicateStageName",
        "duplicate-stage-name",
        "Stage names should be unique",
    ),
    rule(
        "ReservedStageName",
        "reserved-stage-name",
        "Reserved words should not be used as stage names",
    ),
    rule(
        "JSONArgsRecommended",
        "json-args-recommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to \
         OS signals",
    ),
    rule(
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    ),
    rule(
        "UndefinedArgInFrom",
        "undefined-arg-in-from",
        "FROM command must use declared ARGs",
    ),
    rule(
        "WorkdirRelativePath",
        "workdir-relative-path",
        "Relative workdir without an absolute workdir declared within the build can have \
         unexpected results if the base image changes",
    ),
    rule(
        "UndefinedVar",
        "undefined-var",
        "Variables should be defined before their use",
    ),
    rule(
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    ),
    rule(
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "Legacy key/value format with whitespace separator should not be used",
    ),
    rule(
        "InvalidBaseImagePlatform",
        "",
        "Base image platform does not match expected target platform",
    ),
    rule(
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the \
         default behavior",
    ),
    rule(
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "Sensitive data should not be used in the ARG or ENV commands",
    ),
    rule(
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "Default value for global ARG results in an empty or invalid base image name",
    ),
    rule(
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "FROM --platform flag should not use a constant value",
    ),
    rule(
        "CopyIgnoredFile",
        "copy-ignored-file",
        "Attempting to Copy file that is excluded by .dockerignore",
    ),
    Rule {
        is_experimental: true,
        ..rule(
            "InvalidDefinitionDescription",
            "invalid-definition-description",
            "Comment for build stage or argument should follow the format: `# <arg/stage name> \
             <description>`. If this is not intended to be a description comment, add an empty \
             line or comment between the instruction and the comment.",
        )
    },
    rule(
        "ExposeProtoCasing",
        "expose-proto-casing",
        "Protocol in EXPOSE instruction should be lowercase",
    ),
    rule(
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will \
         become an error in a future release",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_in_kebab_case() {
        let url = |name| Rule::named(name).unwrap().url();
        let page = url("JSONArgsRecommended").unwrap();
        assert!(page.ends_with("/json-args-recommended/"), "{page}");
        assert_eq!(url("InvalidBaseImagePlatform"), None);
        assert_eq!(Rule::named("Nothing"), None);
    }
}
