//! Images from and to registries.

use std::path::PathBuf;

use super::{Engine, Error};
use crate::image::{self, Form};
use crate::oci::{Platform, Reference};
use crate::registry::{Access, Client, Credentials, Keyring, Settings};
use crate::transfer::{self, PullOptions, Pulled, Pushed, Watch};

/// Settings of all users of a machine.
const SYSTEM_SETTINGS: &str = "/etc/rbuild/registries.toml";

impl Engine {
    /// A client for registries, with this user's credentials and settings.
    ///
    /// Settings are those of `RBUILD_REGISTRIES`, else of `$XDG_CONFIG_HOME/rbuild/registries.toml`,
    /// else of `/etc/rbuild/registries.toml`.
    pub fn registries(&self) -> Result<Client, Error> {
        self.registries_trusting(&[])
    }

    /// The same; `hosts` need not prove who they are, nor speak TLS (`--tls-verify=false`).
    pub fn registries_trusting(&self, hosts: &[&str]) -> Result<Client, Error> {
        let settings = Settings::read(&self.registry_settings())?;
        let settings = hosts.iter().fold(settings, |settings, host| {
            settings.without_verification(host)
        });
        Ok(Client::new(
            settings,
            self.keyring(),
            self.config().environment.clone(),
        ))
    }

    /// The same for work that may not need any.
    pub fn registry_access(&self) -> Access {
        Access::new(
            self.registry_settings(),
            self.keyring(),
            self.config().environment.clone(),
        )
    }

    fn registry_settings(&self) -> PathBuf {
        let environment = &self.config().environment;
        let path = |name: &str| {
            let text = environment.get(name).filter(|text| !text.is_empty());
            text.map(PathBuf::from)
        };
        let own = path("XDG_CONFIG_HOME")
            .or_else(|| path("HOME").map(|home| home.join(".config")))
            .map(|dir| dir.join("rbuild/registries.toml"))
            .filter(|file| file.is_file());
        path("RBUILD_REGISTRIES")
            .or(own)
            .unwrap_or_else(|| SYSTEM_SETTINGS.into())
    }

    /// The places of this user's credentials.
    pub fn keyring(&self) -> Keyring {
        Keyring::new(
            self.config().environment.clone(),
            self.config().client.clone(),
        )
    }

    /// Pushes the image of this name to its registry.
    pub fn push(
        &self,
        reference: &Reference,
        form: &Form,
        watch: &dyn Watch,
    ) -> Result<Pushed, Error> {
        let image = image::find(self.store(), &reference.to_string()).map_err(|err| match err {
            image::Error::NotFound(_) => Error::Invalid(format!(
                "An image does not exist locally with the tag: {}",
                reference.familiar_repository()
            )),
            other => other.into(),
        })?;
        Ok(transfer::push(
            self.store(),
            &self.registries()?,
            &image,
            reference,
            form,
            watch,
        )?)
    }

    /// The tags of a repository that the store knows.
    pub fn local_tags(&self, reference: &Reference) -> Result<Vec<Reference>, Error> {
        let names = self.store().name_list()?.into_iter().map(|(name, _)| name);
        let same =
            |name: &Reference| name.repository() == reference.repository() && name.tag().is_some();
        Ok(names.filter(same).collect())
    }

    /// Checks credentials with a registry and keeps them. Returns the name of
    /// the helper that keeps them, if one does.
    pub fn log_in(&self, host: &str, credentials: &Credentials) -> Result<Option<String>, Error> {
        let kept = self.registries()?.log_in(host, credentials)?;
        let store = self.keyring().store(host, &kept);
        Ok(store.map_err(crate::registry::Error::from)?)
    }

    /// Forgets the credentials for a registry; whether there were any.
    pub fn log_out(&self, host: &str) -> Result<bool, Error> {
        Ok(self
            .keyring()
            .erase(host)
            .map_err(crate::registry::Error::from)?)
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
