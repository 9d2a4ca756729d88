//! `--filter` of `du` and `prune`: which items are meant.

use std::time::{SystemTime, UNIX_EPOCH};

use super::CacheItem;

/// A filter that is none.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It has no form that is known.
    #[error("invalid filter {0:?}: expected `KEY=VALUE`, `KEY!=VALUE`, `KEY~=PATTERN` or `KEY`")]
    Form(String),
    /// Its key is unknown.
    #[error(
        "unknown filter {0:?}: use until, id, parents, description, type, inuse, mutable, immutable, shared or private"
    )]
    Key(String),
    /// Its value makes no sense.
    #[error("invalid value {value:?} of filter {key:?}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Its pattern is malformed.
    #[error("invalid pattern {pattern:?}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        #[source]
        source: regex::Error,
    },
}

/// One condition on an item.
#[derive(Debug, Clone)]
pub struct CacheFilter {
    field: Field,
    test: Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Parents,
    Description,
    Type,
    InUse,
    Mutable,
    Immutable,
    Shared,
    Private,
    /// Not used since the moment that the test has.
    Until,
}

#[derive(Debug, Clone)]
enum Test {
    Present,
    Equals(String),
    Differs(String),
    Matches(regex::Regex),
    Before(i64),
}

impl CacheFilter {
    /// Reads `KEY=VALUE`, `KEY!=VALUE`, `KEY~=PATTERN` or `KEY`. `moment` reads the
    /// value of `until`, as nanoseconds since 1970.
    ///
    /// # Errors
    /// [`FilterError`] for what is no filter.
    pub fn parse(text: &str, moment: &dyn Fn(&str) -> Option<i64>) -> Result<Self, FilterError> {
        let end = text
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(text.len());
        let (key, rest) = text.split_at(end);
        let field = field(key).ok_or_else(|| FilterError::Key(key.to_owned()))?;
        let test = if rest.is_empty() {
            Test::Present
        } else if let Some(value) = rest.strip_prefix("!=") {
            Test::Differs(value.to_owned())
        } else if let Some(pattern) = rest.strip_prefix("~=") {
            let regex = regex::RegexBuilder::new(pattern)
                .size_limit(1 << 20)
                .build();
            Test::Matches(regex.map_err(|source| FilterError::Pattern {
                pattern: pattern.to_owned(),
                source,
            })?)
        } else if let Some(value) = rest.strip_prefix("==").or(rest.strip_prefix('=')) {
            Test::Equals(value.to_owned())
        } else {
            return Err(FilterError::Form(text.to_owned()));
        };
        if field != Field::Until {
            return Ok(Self { field, test });
        }
        let Test::Equals(value) = test else {
            return Err(FilterError::Form(text.to_owned()));
        };
        match moment(&value) {
            Some(time) => Ok(Self {
                field,
                test: Test::Before(time),
            }),
            None => Err(FilterError::Value {
                key: key.to_owned(),
                value,
            }),
        }
    }

    /// Whether an item meets it.
    pub fn fits(&self, item: &CacheItem) -> bool {
        let flag = |value: bool| if value { "true" } else { "" }.to_owned();
        let value = match self.field {
            Field::Id => item.id.to_string(),
            Field::Parents => item.parents_text(),
            Field::Description => item.description.clone(),
            Field::Type => item.kind.to_string(),
            Field::InUse => flag(item.in_use),
            Field::Mutable => flag(item.is_mutable),
            Field::Immutable => flag(!item.is_mutable),
            Field::Shared => flag(item.is_shared),
            Field::Private => flag(!item.is_shared),
            Field::Until => String::new(),
        };
        match &self.test {
            Test::Present => !value.is_empty(),
            Test::Equals(wanted) => same(&value, wanted),
            Test::Differs(wanted) => !same(&value, wanted),
            Test::Matches(pattern) => pattern.is_match(&value),
            Test::Before(time) => item.used_at < *time,
        }
    }

    /// Items not used for `nanoseconds`.
    pub fn unused_for(nanoseconds: i64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
        Self {
            field: Field::Until,
            test: Test::Before(now.saturating_sub(nanoseconds)),
        }
    }
}

/// Whether a value is the one asked for; what is false is an empty text.
fn same(value: &str, wanted: &str) -> bool {
    value == wanted || (value.is_empty() && wanted == "false")
}

fn field(key: &str) -> Option<Field> {
    Some(match key {
        "id" => Field::Id,
        "parents" | "parent" => Field::Parents,
        "description" => Field::Description,
        "type" => Field::Type,
        "inuse" => Field::InUse,
        "mutable" => Field::Mutable,
        "immutable" => Field::Immutable,
        "shared" => Field::Shared,
        "private" => Field::Private,
        "until" => Field::Until,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{CacheItemId, CacheKind};
    use super::*;

    fn item() -> CacheItem {
        CacheItem {
            id: CacheItemId::Mount(7),
            kind: CacheKind::CacheMount,
            parents: Vec::new(),
            created_at: 1,
            used_at: 100,
            uses: 0,
            description: "cache mount npm".to_owned(),
            bytes: 1,
            is_mutable: true,
            in_use: false,
            is_shared: false,
            is_kept: false,
            is_named: true,
        }
    }

    #[test]
    fn filters_are_read_and_tell_items_apart() {
        let moment = |text: &str| text.parse().ok();
        for (text, expected) in [
            ("id=mount-7", true),
            ("id==mount-7", true),
            ("id=layer-7", false),
            ("id!=layer-7", true),
            ("id~=^mount", true),
            ("type=exec.cachemount", true),
            ("type=regular", false),
            ("description~=npm$", true),
            ("parents", false),
            ("mutable", true),
            ("mutable=true", true),
            ("mutable=false", false),
            ("immutable", false),
            ("inuse", false),
            ("inuse=false", true),
            ("private", true),
            ("shared", false),
            ("until=100", false),
            ("until=101", true),
        ] {
            let filter = CacheFilter::parse(text, &moment).unwrap();
            assert_eq!(filter.fits(&item()), expected, "{text}");
        }
        for wrong in ["nope=1", "id?1", "id~=(", "until", "until=soon", "", "=1"] {
            assert!(CacheFilter::parse(wrong, &moment).is_err(), "{wrong}");
        }
    }
}
