//! Images from and to registries.

use std::path::PathBuf;

use super::{Engine, Error};
use crate::oci::{Platform, Reference};
use crate::registry::{Client, Keyring, Settings};
use crate::transfer::{self, PullOptions, Pulled, Watch};

/// Settings of all users of a machine.
const SYSTEM_SETTINGS: &str = "/etc/rbuild/registries.toml";

impl Engine {
    /// A client for registries, with this user's credentials and settings.
    ///
    /// Settings are those of `RBUILD_REGISTRIES`, else of `$XDG_CONFIG_HOME/rbuild/registries.toml`,
    /// else of `/etc/rbuild/registries.toml`.
    pub fn registries(&self) -> Result<Client, Error> {
        let environment = &self.config().environment;
        let path = |name: &str| {
            let text = environment.get(name).filter(|text| !text.is_empty());
            text.map(PathBuf::from)
        };
        let own = path("XDG_CONFIG_HOME")
            .or_else(|| path("HOME").map(|home| home.join(".config")))
            .map(|dir| dir.join("rbuild/registries.toml"))
            .filter(|file| file.is_file());
        let file = path("RBUILD_REGISTRIES")
            .or(own)
            .unwrap_or_else(|| SYSTEM_SETTINGS.into());
        Ok(Client::new(
            Settings::read(&file)?,
            self.keyring(),
            environment.clone(),
        ))
    }

    /// The places of this user's credentials.
    pub fn keyring(&self) -> Keyring {
        Keyring::new(
            self.config().environment.clone(),
            self.config().client.clone(),
        )
    }

    /// Pulls an image.
    pub fn pull(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        watch: &dyn Watch,
    ) -> Result<Pulled, Error> {
        let options = PullOptions {
            platform: platform.cloned().unwrap_or_else(Platform::host),
        };
        Ok(transfer::pull(
            self.store(),
            &self.registries()?,
            reference,
            &options,
            watch,
        )?)
    }
}
