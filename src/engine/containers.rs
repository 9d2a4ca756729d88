//! Verbs on containers.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Engine, Error, apply_changes};
use crate::container;
use crate::image::{self, Image};
use crate::oci::{ImageId, Platform};

pub use crate::container::{
    Attached, Change, Changes as ContainerChanges, CommitOptions, CopyIn, CopyOut, Created,
    DeviceRegistry, DeviceRequest, DeviceWish, Event, ExecRequest, Filter as ContainerFilter,
    Health, HealthRequest, LogEntry, LogOptions, LogRequest, Machine, MountRequest, NetworkMode,
    Offers, PathFacts, Program, RemoveOptions as ContainerRemoveOptions,
    Request as ContainerRequest, RestartPolicy, Spare, StartOptions, Started, Status, StopOptions,
    Stream, Streams, Summary as ContainerSummary, Ulimit, Usage as ContainerUsage, extract_local,
    is_device_name, local_facts, pack_local, signal,
};
pub use crate::network::{PortForward, PortPublish};
pub use crate::sandbox::{DeviceRate, RateKind, ResourceLimits};

impl Engine {
    /// Where to look for what this machine offers containers: outside runtimes and
    /// devices of vendors.
    ///
    /// Settings are those of `RBUILD_DAEMON_JSON`, else of `$XDG_CONFIG_HOME/rbuild/daemon.json`,
    /// else of `/etc/rbuild/daemon.json`.
    pub fn machine(&self) -> Machine {
        let environment = &self.config().environment;
        Machine {
            settings: self.config().settings("RBUILD_DAEMON_JSON", "daemon.json"),
            path: environment.get("PATH").cloned(),
        }
    }

    /// What this machine offers containers.
    pub fn offers(&self) -> Result<Offers, Error> {
        Ok(self.machine().offers()?)
    }

    /// Whether an image has this name or ID, and is for `platform` if one is asked for.
    pub fn has_image(&self, image: &str, platform: Option<&Platform>) -> Result<bool, Error> {
        match self.image_for(image, platform) {
            Ok(found) => Ok(platform.is_none_or(|platform| fits(&found, platform))),
            Err(Error::Image(image::Error::NotFound(_))) => Ok(false),
            Err(err) => Err(err),
        }
    }

    fn image_for(&self, image: &str, platform: Option<&Platform>) -> Result<Image, Error> {
        Ok(match platform {
            Some(platform) => image::find_for(&self.store, image, platform)?,
            None => image::find(&self.store, image)?,
        })
    }

    /// Makes a container of an image, which has to be for `platform` if one is asked for.
    pub fn container_create(
        &self,
        request: ContainerRequest,
        platform: Option<&Platform>,
    ) -> Result<Created, Error> {
        let image = self.image_for(&request.image, platform)?;
        if let Some(platform) = platform.filter(|platform| !fits(&image, platform)) {
            return Err(Error::Invalid(format!(
                "image with reference {} was found but does not provide the specified platform ({platform})",
                request.image
            )));
        }
        let request = ContainerRequest {
            runtime: self.machine().offers()?.runtime(&request.runtime)?,
            ..request
        };
        Ok(container::create(&self.store, &image, request)?)
    }

    /// Starts a container; `None` when it runs already.
    pub fn container_start(
        &self,
        container: &str,
        options: StartOptions,
    ) -> Result<Option<Started>, Error> {
        let machine = self.machine();
        Ok(container::start(&self.store, container, options, &machine)?)
    }

    /// Attaches to a running container.
    pub fn container_attach(&self, container: &str, streams: Streams) -> Result<Attached, Error> {
        Ok(container::attach(&self.store, container, streams)?)
    }

    /// Runs a further program in a running container.
    pub fn container_exec(&self, container: &str, request: ExecRequest) -> Result<Attached, Error> {
        Ok(container::exec(&self.store, container, request)?)
    }

    /// The containers that `filter` lets through, newest first.
    pub fn containers(&self, filter: &ContainerFilter) -> Result<Vec<ContainerSummary>, Error> {
        Ok(container::list(&self.store, filter)?)
    }

    /// Everything about a container, under Docker's keys.
    pub fn container_inspect(&self, container: &str) -> Result<Value, Error> {
        Ok(container::inspect(&self.store, container)?)
    }

    /// Bytes of a container's own layer.
    pub fn container_size(&self, container: &str) -> Result<u64, Error> {
        Ok(container::own_size(&self.store, container)?)
    }

    /// The ports that are carried to a container.
    pub fn container_ports(&self, container: &str) -> Result<Vec<PortForward>, Error> {
        Ok(container::published(&self.store, container)?)
    }

    /// Hands a container's log to `sink`, line by line; an error of `sink` ends
    /// it and is the inner result.
    pub fn container_logs(
        &self,
        container: &str,
        options: &LogOptions,
        sink: &mut dyn FnMut(&LogEntry) -> io::Result<()>,
    ) -> Result<io::Result<()>, Error> {
        Ok(container::logs(&self.store, container, options, sink)?)
    }

    /// Asks a container to end, and kills it when it does not in time.
    pub fn container_stop(&self, container: &str, options: StopOptions) -> Result<(), Error> {
        Ok(container::stop(&self.store, container, options)?)
    }

    /// Stops a container if it runs, and starts it.
    pub fn container_restart(&self, container: &str, options: StopOptions) -> Result<(), Error> {
        container::stop(&self.store, container, options)?;
        let machine = self.machine();
        container::start(&self.store, container, StartOptions::default(), &machine)?;
        container::note_verb(&self.store, container, "restart", &[]);
        Ok(())
    }

    /// Sends a signal to a running container.
    pub fn container_kill(&self, container: &str, signal: i32) -> Result<(), Error> {
        Ok(container::kill(&self.store, container, signal)?)
    }

    /// Waits for a container's end and returns its exit code.
    pub fn container_wait(&self, container: &str) -> Result<i32, Error> {
        Ok(container::wait(&self.store, container)?)
    }

    /// Removes a container; a running one only by force.
    pub fn container_remove(
        &self,
        container: &str,
        options: ContainerRemoveOptions,
    ) -> Result<(), Error> {
        Ok(container::remove(&self.store, container, options)?)
    }

    /// Gives a container another name.
    pub fn container_rename(&self, container: &str, name: &str) -> Result<(), Error> {
        Ok(container::rename(&self.store, container, name)?)
    }

    /// Takes the link `CONTAINER/ALIAS` away; it is gone from the container's next start on.
    pub fn container_unlink(&self, link: &str) -> Result<(), Error> {
        Ok(container::unlink(&self.store, link)?)
    }

    /// Stops a container's processes for a while.
    pub fn container_pause(&self, container: &str) -> Result<(), Error> {
        Ok(container::pause(&self.store, container)?)
    }

    /// Lets the processes of a paused container go on.
    pub fn container_unpause(&self, container: &str) -> Result<(), Error> {
        Ok(container::unpause(&self.store, container)?)
    }

    /// Changes limits and restart policy; returns what the user should know of it.
    pub fn container_update(
        &self,
        container: &str,
        changes: &ContainerChanges,
    ) -> Result<Vec<String>, Error> {
        Ok(container::update(&self.store, container, changes)?)
    }

    /// What a container uses now.
    pub fn container_usage(&self, container: &str) -> Result<ContainerUsage, Error> {
        Ok(container::usage(&self.store, container)?)
    }

    /// The processes of a container: titles and rows, in the columns that words of
    /// `ps` ask for.
    pub fn container_top(
        &self,
        container: &str,
        options: &[String],
    ) -> Result<(Vec<String>, Vec<Vec<String>>), Error> {
        let listed = container::top(&self.store, container, options)?;
        container::note_verb(&self.store, container, "top", &[]);
        Ok(listed)
    }

    /// What a container changed of its image's files.
    pub fn container_diff(&self, container: &str) -> Result<Vec<(Change, PathBuf)>, Error> {
        Ok(container::diff(&self.store, container)?)
    }

    /// Makes an image of what a container has become, after Dockerfile instructions.
    pub fn container_commit(
        &self,
        container: &str,
        options: CommitOptions,
        changes: &[String],
    ) -> Result<ImageId, Error> {
        let (comment, name) = (
            options.message.clone().unwrap_or_default(),
            options
                .name
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        );
        let made: Result<ImageId, Error> =
            container::commit(&self.store, container, options, |config| {
                apply_changes(config, changes)
            });
        let id = made?;
        let id_text = id.to_string();
        let more = [
            ("comment", comment.as_str()),
            ("imageID", id_text.as_str()),
            ("imageRef", name.as_str()),
        ];
        container::note_verb(&self.store, container, "commit", &more);
        self.note_id("create", id);
        Ok(id)
    }

    /// Writes a container's file system to `out`, as a tar.
    pub fn container_export(
        &self,
        container: &str,
        out: &mut (dyn Write + Send),
    ) -> Result<(), Error> {
        container::note_verb(&self.store, container, "export", &[]);
        Ok(container::export(&self.store, container, out)?)
    }

    /// What is at a path of a container; `None` for nothing.
    pub fn container_facts(
        &self,
        container: &str,
        path: &Path,
    ) -> Result<Option<PathFacts>, Error> {
        Ok(container::facts(&self.store, container, path)?)
    }

    /// Writes what is at a path of a container to `out`, as a tar.
    pub fn container_copy_out(
        &self,
        container: &str,
        what: &CopyOut,
        out: &mut (dyn Write + Send),
    ) -> Result<(), Error> {
        container::note_verb(&self.store, container, "archive-path", &[]);
        Ok(container::copy_out(&self.store, container, what, out)?)
    }

    /// Puts the content of a tar into a directory of a container.
    pub fn container_copy_in(
        &self,
        container: &str,
        to: &CopyIn,
        source: &mut (dyn Read + Send),
    ) -> Result<(), Error> {
        container::note_verb(&self.store, container, "extract-to-dir", &[]);
        Ok(container::copy_in(&self.store, container, to, source)?)
    }

    /// Starts the containers that their restart policy wants to run when the machine
    /// has started; the name of each with what became of it.
    pub fn start_by_policy(&self) -> Result<Vec<ByPolicy>, Error> {
        let started = container::start_by_policy(&self.store, &self.machine())?;
        let own = |(name, result): container::ByPolicy| (name, result.map_err(Error::from));
        Ok(started.into_iter().map(own).collect())
    }

    /// Removes the directories that interrupted creations and removals of
    /// containers left; returns how many.
    pub fn collect_containers(&self) -> Result<u64, Error> {
        Ok(container::collect(&self.store)?)
    }
}

/// The name of a container, and what became of its start.
pub type ByPolicy = (String, Result<(), Error>);

fn fits(image: &Image, platform: &Platform) -> bool {
    image.config.os == platform.os && image.config.architecture == platform.architecture
}

/// The exit code of `run` when this kept the container from starting: 127 for a
/// program that is not there, 126 for one that cannot be executed, else 125.
pub fn run_code(error: &Error) -> u8 {
    match error {
        Error::Container(error) => error.run_code(),
        _ => 125,
    }
}
