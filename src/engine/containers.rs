//! Verbs on containers.

use std::io;

use serde_json::Value;

use super::{Engine, Error};
use crate::container;
use crate::image;

pub use crate::container::{
    Attached, Created, Event, ExecRequest, Filter as ContainerFilter, LogEntry, LogOptions,
    MountRequest, NetworkMode, RemoveOptions as ContainerRemoveOptions,
    Request as ContainerRequest, Spare, StartOptions, Started, Status, StopOptions, Stream,
    Streams, Summary as ContainerSummary, Ulimit, signal,
};
pub use crate::network::{PortForward, PortPublish};

impl Engine {
    /// Whether an image has this name or ID.
    pub fn has_image(&self, image: &str) -> Result<bool, Error> {
        match image::find(&self.store, image) {
            Ok(_) => Ok(true),
            Err(image::Error::NotFound(_)) => Ok(false),
            Err(err) => Err(err.into()),
        }
    }

    /// Makes a container.
    pub fn container_create(&self, request: ContainerRequest) -> Result<Created, Error> {
        let image = image::find(&self.store, &request.image)?;
        Ok(container::create(&self.store, &image, request)?)
    }

    /// Starts a container; `None` when it runs already.
    pub fn container_start(
        &self,
        container: &str,
        options: StartOptions,
    ) -> Result<Option<Started>, Error> {
        Ok(container::start(&self.store, container, options)?)
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
        container::start(&self.store, container, StartOptions::default())?;
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

    /// Removes the directories that interrupted creations and removals of
    /// containers left; returns how many.
    pub fn collect_containers(&self) -> Result<u64, Error> {
        Ok(container::collect(&self.store)?)
    }
}

/// The exit code of `run` when this kept the container from starting: 127 for a
/// program that is not there, 126 for one that cannot be executed, else 125.
pub fn run_code(error: &Error) -> u8 {
    match error {
        Error::Container(error) => error.run_code(),
        _ => 125,
    }
}
