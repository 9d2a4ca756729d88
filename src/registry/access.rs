//! A client that is made when it is first needed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Client, Error, Keyring, Settings};

/// How registries are reached, for work that may not need any: settings are read,
/// and a client is made, when something asks for one. Cheap to clone; clones share
/// the client.
#[derive(Debug, Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: PathBuf,
    keyring: Keyring,
    environment: BTreeMap<String, String>,
    client: Mutex<Option<Arc<Client>>>,
}

impl Access {
    /// Access with the settings of this file, which need not be there, and these
    /// credentials. `environment` names proxies and certificates.
    pub fn new(settings: PathBuf, keyring: Keyring, environment: BTreeMap<String, String>) -> Self {
        Self {
            inner: Arc::new(Inner {
                settings,
                keyring,
                environment,
                client: Mutex::default(),
            }),
        }
    }

    /// The client, the same one each time.
    ///
    /// # Errors
    /// When the settings cannot be read.
    pub fn client(&self) -> Result<Arc<Client>, Error> {
        let mut client = self
            .inner
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        let made = Arc::new(self.make(self.settings()?));
        Ok(Arc::clone(client.insert(made)))
    }

    /// A client of its own that does not look at the certificate of `host`.
    ///
    /// # Errors
    /// When the settings cannot be read.
    pub fn unverified(&self, host: &str) -> Result<Arc<Client>, Error> {
        let settings = self.settings()?.without_verification(host);
        Ok(Arc::new(self.make(settings)))
    }

    fn settings(&self) -> Result<Settings, Error> {
        Ok(Settings::read(&self.inner.settings)?)
    }

    fn make(&self, settings: Settings) -> Client {
        let keyring = self.inner.keyring.clone();
        Client::new(settings, keyring, self.inner.environment.clone())
    }
}
