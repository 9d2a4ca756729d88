//! A registry over this data root, for others.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Engine, Error};
use crate::depot::{Access, Depot, Htpasswd, Options, Upstream};
use crate::oci::Reference;
use crate::serve::{Observer, Server, Tls};
use crate::store::Store;

/// What a registry serves, to whom and where.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Where it listens; port 0 is any that is free.
    pub address: SocketAddr,
    /// Its certificate and the key, PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The users, as `htpasswd -B` writes them; everybody when absent.
    pub htpasswd: Option<PathBuf>,
    /// Whether users get tokens instead of sending their password each time.
    pub tokens: bool,
    /// Whether those who are no users may pull.
    pub anonymous_pull: bool,
    /// Whether nothing can be pushed or removed.
    pub read_only: bool,
    /// Whether the images of the store can be pulled by their names.
    pub images: bool,
    /// The host of a registry that has what is missing.
    pub upstream: Option<String>,
    /// The URL that clients know it by.
    pub url: Option<String>,
    /// Whether it may be reached from other machines without users or without TLS.
    pub insecure: bool,
}

impl Engine {
    /// A registry over this data root, which listens already. `observer` hears of
    /// every request.
    pub fn registry(
        &self,
        options: &RegistryOptions,
        observer: Box<Observer>,
    ) -> Result<Server, Error> {
        check(options)?;
        let tls = match &options.tls {
            Some((certificate, key)) => Some(Tls::read(certificate, key)?),
            None => None,
        };
        let access = match &options.htpasswd {
            None => Access::open(),
            Some(path) => {
                let users = Htpasswd::read(path)?;
                if options.tokens {
                    Access::token(users, options.anonymous_pull)?
                } else {
                    Access::basic(users, options.anonymous_pull)
                }
            }
        };
        let listening = |source| Error::Listen {
            address: options.address,
            source,
        };
        let listener = Server::bind(options.address).map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let upstream = match &options.upstream {
            Some(host) => Some(self.upstream(host, address)?),
            None => None,
        };
        // A connection of its own: the server outlives calls of the engine.
        let store = Arc::new(Store::open(self.store().paths().clone())?);
        let depot = Depot::new(
            store,
            Options {
                access,
                read_only: options.read_only,
                offers_images: options.images,
                upstream,
                url: options.url.clone(),
                address,
            },
        );
        Server::new(listener, tls, Box::new(depot), observer).map_err(listening)
    }

    /// Removes what senders have given up; returns the bytes freed.
    pub fn sweep_registry(&self) -> Result<u64, Error> {
        Ok(Depot::sweep(self.store())?)
    }

    fn upstream(&self, host: &str, address: SocketAddr) -> Result<Upstream, Error> {
        let named = format!("{host}/a/b").parse::<Reference>().ok();
        if named.is_none_or(|named| named.host() != host || named.path() != "a/b") {
            let message = format!("`{host}` is not the host of a registry, such as `docker.io`");
            return Err(Error::Invalid(message));
        }
        let own = [address.to_string(), format!("localhost:{}", address.port())];
        if own.iter().any(|own| own == host) {
            let message =
                format!("`{host}` is this registry itself: it cannot be its own upstream");
            return Err(Error::Invalid(message));
        }
        // Its mirrors may well be ourselves.
        let client = self.registries_behind(host)?;
        Ok(Upstream::new(host.to_owned(), client))
    }
}

fn check(options: &RegistryOptions) -> Result<(), Error> {
    let invalid = |message: &str| Err(Error::Invalid(message.to_owned()));
    if options.htpasswd.is_none() && (options.tokens || options.anonymous_pull) {
        return invalid(
            "tokens and pulling without a user need users: name a file with --htpasswd",
        );
    }
    if let Some(url) = &options.url {
        let rest = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]/".contains(c);
        if !rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_plain)) {
            return invalid("the URL should look like `https://registry.example`");
        }
    }
    if options.insecure || options.address.ip().is_loopback() {
        return Ok(());
    }
    if options.htpasswd.is_none() {
        return invalid(
            "everybody who reaches this address could push and pull: name users with --htpasswd, or say --insecure",
        );
    }
    if options.tls.is_none() {
        return invalid(
            "passwords would be sent without TLS to this address: name a certificate with --tls-cert and --tls-key, or say --insecure",
        );
    }
    Ok(())
}
