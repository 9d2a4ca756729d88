//! What a token allows: `repository:NAME:ACTIONS`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Rights on repositories, as a token server is asked for them.
///
/// Source: distribution's token scope documentation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub(super) struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    /// `actions` such as `pull` on one repository.
    pub(super) fn repository(path: &str, actions: &[&str]) -> Self {
        Self::default().with(path, actions)
    }

    /// These rights and others.
    pub(super) fn with(mut self, path: &str, actions: &[&str]) -> Self {
        let known = self.0.entry(format!("repository:{path}")).or_default();
        known.extend(actions.iter().map(|action| (*action).to_owned()));
        self
    }

    /// Reads the `scope` of a challenge; what is no scope is left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut scopes = Self::default();
        for scope in text.split_ascii_whitespace() {
            let Some((what, actions)) = scope.rsplit_once(':') else {
                continue;
            };
            let known = scopes.0.entry(what.to_owned()).or_default();
            known.extend(
                actions
                    .split(',')
                    .filter(|action| !action.is_empty())
                    .map(str::to_owned),
            );
        }
        scopes
    }

    /// All of both.
    pub(super) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (what, actions) in &other.0 {
            all.0
                .entry(what.clone())
                .or_default()
                .extend(actions.iter().cloned());
        }
        all
    }

    /// Whether everything that `other` asks for is in here.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let has = |(what, actions): (&String, &BTreeSet<String>)| {
            self.0.get(what).is_some_and(|own| own.is_superset(actions))
        };
        other.0.iter().all(has)
    }

    /// Each scope as the parameter of a token request.
    pub(super) fn iter(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(what, actions)| {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            format!("{what}:{}", actions.join(","))
        })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scopes: Vec<String> = self.iter().collect();
        f.write_str(&scopes.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_join_and_cover() {
        let pull = Scopes::repository("a/b", &["pull"]);
        let both = Scopes::parse("repository:a/b:push,pull repository:c:pull junk");
        assert!(both.covers(&pull) && !pull.covers(&both));
        assert_eq!(
            both.to_string(),
            "repository:a/b:pull,push repository:c:pull"
        );
        assert_eq!(pull.union(&both), both);
        assert!(pull.covers(&Scopes::default()));
        assert_eq!(
            Scopes::parse("registry:catalog:*").to_string(),
            "registry:catalog:*"
        );
    }
}
