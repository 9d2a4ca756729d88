//! Images from and to registries.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Engine, Error, Reach};
use crate::image::{self, Bundle, Variant};
use crate::oci::{Platform, Reference};
use crate::registry::{Access, Client, Credentials, Keyring, Settings};
use crate::transfer::{self, PullOptions, Pulled, PushOptions, Pushed, Watch};

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

    /// The same for a registry that is a mirror of `host` itself.
    pub(super) fn registries_behind(&self, host: &str) -> Result<Client, Error> {
        let settings = Settings::read(&self.registry_settings())?;
        Ok(Client::new(
            settings.without_mirrors(host),
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
        self.config()
            .settings("RBUILD_REGISTRIES", "registries.toml")
    }

    /// The places of this user's credentials.
    pub fn keyring(&self) -> Keyring {
        Keyring::new(
            self.config().environment.clone(),
            self.config().client.clone(),
        )
    }

    /// Pushes what this name stands for to its registry: one image, or those of
    /// several platforms and an index over them. With `platform`, that one alone.
    pub fn push(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        options: &PushOptions,
        reach: Reach,
        watch: &dyn Watch,
    ) -> Result<Pushed, Error> {
        let bundle = self.bundle_to_push(reference, platform)?;
        let pushed = reach.work(self, reference.host(), watch, |client| {
            transfer::push(self.store(), client, &bundle, reference, options, watch)
        })?;
        let repository = reference.familiar_repository();
        self.note_image("push", &reference.familiar(), &repository);
        Ok(pushed)
    }

    fn bundle_to_push(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
    ) -> Result<Bundle, Error> {
        let text = reference.to_string();
        let image = image::find(self.store(), &text).map_err(|err| match err {
            image::Error::NotFound(_) => Error::Invalid(format!(
                "An image does not exist locally with the tag: {}",
                reference.familiar_repository()
            )),
            other => other.into(),
        })?;
        let names = vec![reference.clone()];
        let variants = image::variants(self.store(), reference)?;
        let Some(wanted) = platform else {
            if variants.len() < 2 {
                return Ok(Bundle::one(image, names));
            }
            let variants = variants.into_iter().map(|(platform, image)| Variant {
                platform,
                image,
                annotations: BTreeMap::new(),
            });
            return Ok(Bundle::several(
                variants.collect(),
                names,
                BTreeMap::new(),
                false,
            )?);
        };
        let image = image::find_for(self.store(), &text, wanted)?;
        let config = &image.config;
        let own = Platform::normalised(&config.os, &config.architecture, config.variant.as_deref());
        let fits = own.os == wanted.os
            && own.architecture == wanted.architecture
            && (wanted.variant.is_none() || own.variant == wanted.variant);
        if !fits {
            return Err(Error::Invalid(format!(
                "image with reference {} was found but does not provide the specified platform ({wanted})",
                reference.familiar()
            )));
        }
        Ok(Bundle::one(image, names))
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
    pub fn log_in(
        &self,
        host: &str,
        credentials: &Credentials,
        reach: Reach,
    ) -> Result<Option<String>, Error> {
        let kept = reach.client(self, &[host])?.log_in(host, credentials)?;
        let store = self.keyring().store(host, &kept);
        Ok(store.map_err(crate::registry::Error::from)?)
    }

    /// The credentials that are kept for a registry, if there are any.
    pub fn credentials(&self, host: &str) -> Result<Option<Credentials>, Error> {
        let found = self.keyring().find(host, "");
        Ok(match found.map_err(crate::registry::Error::from)? {
            Credentials::Anonymous => None,
            found => Some(found),
        })
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
        reach: Reach,
        watch: &dyn Watch,
    ) -> Result<Pulled, Error> {
        let options = PullOptions {
            platform: platform.cloned().unwrap_or_else(Platform::host),
        };
        let pulled = reach.work(self, reference.host(), watch, |client| {
            transfer::pull(self.store(), client, reference, &options, watch)
        })?;
        self.note_image(
            "pull",
            &reference.familiar(),
            &reference.familiar_repository(),
        );
        Ok(pulled)
    }
}
