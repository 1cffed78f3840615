//! Docker: every call Sluice makes to it, and nothing else that bollard could do.
//!
//! [`Docker`] is what the rest of control sees: a small trait in words of our own, so that planning is tested without
//! Docker and no policy creeps in here. [`Client`] is the one implementation that speaks to a daemon. A daemon that is
//! missing, slow, restarting or refusing is an [`Error`] like any other; each call has its deadline, and nothing is
//! retried here.
//!
//! What this room does not do: it decides nothing, keeps no list of containers and runs no task.

mod client;
mod convert;
mod error;
mod host;
mod words;

pub use client::Client;
pub use error::Error;
pub use host::{Host, Tls};
pub use words::{
    Change, Container, ContainerId, ContainerSpec, Details, Event, Executed, Folder, Label, Network,
    Protocol, Published, Pull, State, Usage, Version,
};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use std::time::Duration;

/// The calls Sluice makes.
#[async_trait]
pub trait Docker: Send + Sync {
    /// What the daemon is. Also the cheapest proof that it answers.
    async fn version(&self) -> Result<Version, Error>;

    /// Every container, in any state: names and published ports of strangers are taken too.
    async fn list(&self) -> Result<Vec<Container>, Error>;

    /// One container by id, unique prefix of it, or name.
    async fn inspect(&self, container: &str) -> Result<Details, Error>;

    /// Makes a container without starting it.
    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, Error>;

    /// Starts a container; one that runs already is a success.
    async fn start(&self, id: &ContainerId) -> Result<(), Error>;

    /// Stops a container, killing it after `grace`; one that is stopped or gone is a success.
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), Error>;

    /// Removes a container with its anonymous volumes, running or not; one that is gone is a success.
    async fn remove(&self, id: &ContainerId) -> Result<(), Error>;

    /// Whether the image is there.
    async fn has_image(&self, image: &str) -> Result<bool, Error>;

    /// Starts pulling an image. The stream tells how far it is; its end without an error is success. It has no deadline
    /// of its own.
    async fn pull(&self, image: &str) -> Result<BoxStream<'static, Result<Pull, Error>>, Error>;

    /// What a container uses, about once a second. The stream ends when the container stops.
    async fn usage(&self, id: &ContainerId) -> Result<BoxStream<'static, Result<Usage, Error>>, Error>;

    /// Runs a command in a container that runs; answers its exit code and the beginning of what it printed.
    async fn exec(&self, id: &ContainerId, command: &[&str], timeout: Duration) -> Result<Executed, Error>;

    /// The last lines a container wrote, oldest first.
    async fn logs(&self, id: &ContainerId, lines: u32) -> Result<Vec<String>, Error>;

    /// What happens to containers from now on. The stream ends, with or without an error, when the daemon goes away.
    async fn events(&self) -> Result<BoxStream<'static, Result<Event, Error>>, Error>;
}
