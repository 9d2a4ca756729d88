//! Repositories by a word: the search of Docker's first registry protocol, which
//! hubs still have.
//!
//! Source: Docker Registry API v1, "Search"; Docker Engine API 1.48, "ImageSearch".

use serde::Deserialize;

use super::error::Error;
use super::manifests::MANIFEST_LIMIT;
use super::scope::Scopes;
use super::session::{Call, Session};
use super::{Client, Endpoint};
use crate::http::Method;

/// Where `docker.io` is searched.
const DOCKER_INDEX: &str = "index.docker.io";

/// A repository that was found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SearchHit {
    /// Its name.
    pub name: String,
    /// What its owner says of it.
    #[serde(default, deserialize_with = "text")]
    pub description: String,
    /// How many like it.
    #[serde(default)]
    pub star_count: i64,
    /// Whether it is one of the hub's own.
    #[serde(default)]
    pub is_official: bool,
    /// Whether it is built by the hub; no hub does that any more.
    #[serde(default)]
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<SearchHit>,
}

/// A text that may be null.
fn text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(from)?.unwrap_or_default())
}

impl Session {
    /// What the search finds; `None` where there is no search.
    fn search(&self, term: &str, limit: usize) -> Result<Option<Vec<SearchHit>>, Error> {
        let url = self.url("/v1/search")?;
        let call = Call {
            method: Method::Get,
            url: url
                .with_query("q", term)
                .with_query("n", &limit.to_string()),
            headers: vec![("Accept", "application/json".to_owned())],
            scopes: Scopes::default(),
            what: self.host.clone(),
        };
        let bytes = match self.document(&call, MANIFEST_LIMIT) {
            Ok((_, bytes)) => bytes,
            Err(
                Error::NotFound { .. }
                | Error::Status {
                    status: 405 | 410 | 501,
                    ..
                },
            ) => return Ok(None),
            Err(err) => return Err(err),
        };
        // A page for people is what some registries answer to every path.
        let answer = serde_json::from_slice::<Answer>(&bytes).ok();
        Ok(answer.map(|answer| answer.results))
    }
}

impl Client {
    /// Searches the repositories of a registry; `None` where it has no search.
    pub fn search(
        &self,
        host: &str,
        term: &str,
        limit: usize,
    ) -> Result<Option<Vec<SearchHit>>, Error> {
        self.allow(host)?;
        let mut endpoint = self.settings.endpoint(host);
        if host == "docker.io" {
            endpoint = Endpoint {
                host: DOCKER_INDEX.to_owned(),
                ..endpoint
            };
        }
        self.session(host, &endpoint, "")?.search(term, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_with_what_is_missing() {
        let text = r#"{"num_results":2,"results":[
            {"name":"busybox","description":null,"star_count":3,"is_official":true},
            {"name":"a/b","trusted":false}]}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        assert_eq!(answer.results[0].star_count, 3);
        assert!(answer.results[0].is_official && !answer.results[1].is_official);
        assert_eq!(answer.results[1].description, "");
    }
}
