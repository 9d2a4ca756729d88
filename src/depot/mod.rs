//! A registry of our own over the store: what `rbuild registry serve` answers.
//!
//! In: requests of the distribution protocol. Out: manifests, blobs, lists, and
//! what is pushed, kept in the store; see `store::hosted` for who keeps what.
//! Blobs lie in the store's one directory of blobs, so that what is pushed here and
//! pulled into the same data root is there once.
//!
//! With an upstream registry, what is missing comes from there and stays. With
//! images offered, the images of the store can be pulled by their names, without
//! being copied. Any number of processes may serve one data root.
//!
//! It does not listen or speak HTTP: that is [`crate::serve`]. Source: OCI
//! distribution-spec 1.1; Docker Registry HTTP API V2 for `_catalog` and tokens.

mod access;
mod blobs;
mod document;
mod images;
mod lists;
mod manifests;
mod refusal;
mod route;
mod uploads;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;

pub use access::{Access, AccessError, Htpasswd};
pub use upstream::Upstream;

use access::{Caller, Need, Right};
use refusal::{Code, Refusal};
use route::{Place, Route};
use uploads::Hashers;

use crate::serve::{Handler, Method, Request, Response};
use crate::store::Store;

/// What a registry does and for whom.
#[derive(Debug)]
pub struct Options {
    /// Who may do what.
    pub access: Access,
    /// Whether nothing can be pushed or removed.
    pub read_only: bool,
    /// Whether the images of the store can be pulled by their names.
    pub offers_images: bool,
    /// Where to fetch what is missing.
    pub upstream: Option<Upstream>,
    /// The URL that clients know it by, where that is not the host that they ask for.
    pub url: Option<String>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A registry over a store.
#[derive(Debug)]
pub struct Depot {
    store: Arc<Store>,
    options: Options,
    hashers: Hashers,
}

impl Depot {
    /// A registry over `store`, which is its own connection to a data root.
    pub fn new(store: Arc<Store>, options: Options) -> Self {
        Self {
            store,
            options,
            hashers: Hashers::default(),
        }
    }

    /// Removes what nobody has finished and nothing needs; returns the bytes
    /// freed. To be called now and then.
    pub fn sweep(store: &Store) -> Result<u64, crate::store::Error> {
        store.hosted_sweep()
    }

    fn dispatch(&self, request: &mut Request<'_>) -> Result<Response, Refusal> {
        let method = request.method.clone();
        let route = Route::parse(&request.path)?;
        let is_read = matches!(method, Method::Get | Method::Head);
        if matches!(route, Route::Token) {
            return self.token(request);
        }
        let is_write = matches!(
            method,
            Method::Post | Method::Put | Method::Patch | Method::Delete
        );
        if !is_read && !is_write {
            return Err(Refusal::method(&method));
        }
        let caller = self.admit(request, &route, &method)?;
        if is_write && self.options.read_only {
            return Err(Refusal::new(
                Code::Unsupported,
                "this registry is read-only",
            ));
        }
        match route {
            Route::Base if is_read => Ok(Response::new(200)
                .with("Content-Type", "application/json")
                .carrying(crate::serve::Content::Bytes(b"{}".to_vec()))),
            Route::Catalog if is_read => self.catalog(request),
            Route::In(repository, place) => {
                self.dispatch_in(request, &method, &repository, place, &caller)
            }
            _ => Err(Refusal::method(&method)),
        }
    }

    fn dispatch_in(
        &self,
        request: &mut Request<'_>,
        method: &Method,
        repository: &str,
        place: Place,
        caller: &Caller,
    ) -> Result<Response, Refusal> {
        match (place, method) {
            (Place::Manifest(name), Method::Get | Method::Head) => {
                self.get_manifest(request, repository, &name)
            }
            (Place::Manifest(name), Method::Put) => self.put_manifest(request, repository, &name),
            (Place::Manifest(name), Method::Delete) => self.delete_manifest(repository, &name),
            (Place::Blob(digest), Method::Get | Method::Head) => {
                self.get_blob(request, repository, digest)
            }
            (Place::Blob(digest), Method::Delete) => self.delete_blob(repository, digest),
            (Place::Uploads, Method::Post) => self.begin_upload(request, repository, caller),
            (Place::Upload(id), Method::Get | Method::Head) => self.upload_state(repository, &id),
            (Place::Upload(id), Method::Patch) => self.patch_upload(request, repository, &id),
            (Place::Upload(id), Method::Put) => self.put_upload(request, repository, &id),
            (Place::Upload(id), Method::Delete) => self.delete_upload(repository, &id),
            (Place::Tags, Method::Get | Method::Head) => self.tags(request, repository),
            (Place::Referrers(digest), Method::Get | Method::Head) => {
                self.referrers(request, repository, digest)
            }
            _ => Err(Refusal::method(method)),
        }
    }

    /// Who asks, when that one may do this.
    fn admit(
        &self,
        request: &Request<'_>,
        route: &Route,
        method: &Method,
    ) -> Result<Caller, Refusal> {
        let right = match method {
            Method::Get | Method::Head => match route {
                // Where an upload stands concerns those who push.
                Route::In(_, Place::Upload(_)) => Right::Push,
                _ => Right::Pull,
            },
            Method::Delete if !matches!(route, Route::In(_, Place::Upload(_))) => Right::Delete,
            _ => Right::Push,
        };
        let need = match route {
            Route::In(repository, _) => Need::Repository(repository, right),
            Route::Catalog => Need::Catalog,
            Route::Base | Route::Token => Need::Nothing,
        };
        self.options
            .access
            .check(request, need, &|| self.base_url(request))
    }

    fn token(&self, request: &mut Request<'_>) -> Result<Response, Refusal> {
        self.options.access.issue(request, self.options.read_only)
    }

    /// The URL that the asker knows us by. What it says itself only it will hear.
    fn base_url(&self, request: &Request<'_>) -> String {
        if let Some(url) = &self.options.url {
            return url.trim_end_matches('/').to_owned();
        }
        let good = |host: &&str| {
            let is_good = |byte: u8| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
            };
            !host.is_empty() && host.len() <= 300 && host.bytes().all(is_good)
        };
        let own = self.options.address.to_string();
        let host = request.header("host").filter(good).unwrap_or(&own);
        let scheme = if request.is_tls { "https" } else { "http" };
        format!("{scheme}://{host}")
    }
}

impl Handler for Depot {
    fn answer(&self, request: &mut Request<'_>) -> Response {
        let response = match self.dispatch(request) {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        };
        response
            .with("Docker-Distribution-Api-Version", "registry/2.0")
            .with("X-Content-Type-Options", "nosniff")
    }
}
