//! Which build checks are wanted: the value of the `check` directive.

use super::{Rule, directives};

/// A choice of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rules {
    All,
    These(Vec<String>),
}

impl Default for Rules {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl Rules {
    fn read(text: &str) -> Self {
        match text.trim() {
            "all" => Self::All,
            names => Self::These(
                names
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .collect(),
            ),
        }
    }

    fn contains(&self, rule: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|name| name == rule),
        }
    }

    fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::These(names), Self::These(more)) => names.extend(more),
            (_, Self::All) => *self = Self::All,
            (Self::All, _) => {}
        }
    }
}

/// The options of the build checks.
///
/// Source: `check` directive in the Dockerfile reference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckOptions {
    skip: Rules,
    experimental: Rules,
    /// Whether a violation fails the build.
    pub error: bool,
}

impl CheckOptions {
    /// Reads `skip=A,B;error=true;experimental=all`.
    ///
    /// # Errors
    /// The message, when an option is unknown or its value is.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        if text.trim().is_empty() {
            return Ok(options);
        }
        for part in text.trim().splitn(3, ';') {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("invalid check option {}", super::quote(part)));
            };
            match name.trim() {
                "skip" => options.skip = Rules::read(value),
                "experimental" => options.experimental = Rules::read(value),
                "error" => {
                    options.error = super::go::boolean(value.trim()).ok_or_else(|| {
                        let part = super::quote(part);
                        format!("failed to parse check option {part}: invalid syntax")
                    })?;
                }
                name => return Err(format!("invalid check option {}", super::quote(name))),
            }
        }
        Ok(options)
    }

    /// Whether warnings of this rule are wanted.
    pub fn wants(&self, rule: &str) -> bool {
        if Rule::named(rule).is_some_and(|rule| rule.is_experimental) {
            self.experimental.contains(rule)
        } else {
            !self.skip.contains(rule)
        }
    }

    /// The options for one instruction: a `# check=` among the comments above
    /// it adds to those of the file. One that cannot be read is a comment.
    #[must_use]
    pub fn with_comments(&self, comments: &[String]) -> Self {
        let mut options = self.clone();
        let directive = comments
            .iter()
            .filter_map(|comment| directives::parse(comment))
            .find(|directive| directive.name == "check");
        if let Some(directive) = directive {
            let word = directive.value.split(' ').next().unwrap_or_default();
            if let Ok(more) = Self::read(word) {
                options.skip.merge(more.skip);
                options.experimental.merge(more.experimental);
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let options = CheckOptions::read("skip=A, B;error=true").unwrap();
        assert!(!options.wants("A") && !options.wants("B") && options.wants("C"));
        assert!(options.error);
        let options = CheckOptions::read("skip=all").unwrap();
        assert!(!options.wants("A"));
        assert!(CheckOptions::read("").unwrap().wants("A"));
    }

    #[test]
    fn experimental_rules_are_off_until_asked_for() {
        let rule = "InvalidDefinitionDescription";
        assert!(!CheckOptions::default().wants(rule));
        let options = CheckOptions::read("skip=all;experimental=all").unwrap();
        assert!(options.wants(rule) && !options.wants("A"));
    }

    #[test]
    fn wrong_options_are_refused() {
        assert_eq!(
            CheckOptions::read("x").unwrap_err(),
            "invalid check option \"x\""
        );
        assert_eq!(
            CheckOptions::read("x=1").unwrap_err(),
            "invalid check option \"x\""
        );
        assert!(CheckOptions::read("error=maybe").is_err());
    }

    #[test]
    fn comments_add_to_the_options() {
        let options = CheckOptions::read("skip=A").unwrap();
        let comments = ["about".to_owned(), "check=skip=B // why".to_owned()];
        let merged = options.with_comments(&comments);
        assert!(!merged.wants("A") && !merged.wants("B") && merged.wants("C"));
        assert!(options.wants("B"));
    }
}
