//! A Docker of a few lines for tests of what drives the fleet: containers are entries of a table, and whatever may last
//! lasts until a test lets it go on.

use crate::docker::{
    Container, ContainerId, ContainerSpec, Details, Docker, Error, Event, Executed, Pull, State, Usage,
    Version,
};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Barrier;

/// The daemon.
#[derive(Default)]
pub(super) struct Simulated {
    pub(super) known: Mutex<Known>,
    /// Stops wait until so many are under way.
    pub(super) stops: Option<Barrier>,
    /// Bytes in each engine's cache.
    pub(super) cache_bytes: std::sync::atomic::AtomicU64,
    /// What a pull says before it falls silent for ever; without it every image is there.
    pub(super) pull: Option<Vec<Pull>>,
}

#[derive(Default)]
pub(super) struct Known {
    containers: BTreeMap<String, Container>,
    made: Vec<ContainerSpec>,
    pulls: usize,
}

impl Simulated {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that was ever made, in order.
    pub(super) fn made(&self) -> Vec<ContainerSpec> {
        self.known().made.clone()
    }

    /// Containers there are.
    pub(super) fn count(&self) -> usize {
        self.known().containers.len()
    }

    /// Pulls that were begun.
    pub(super) fn pulls(&self) -> usize {
        self.known().pulls
    }
}

#[async_trait]
impl Docker for Simulated {
    async fn version(&self) -> Result<Version, Error> {
        let text = |text: &str| text.to_owned();
        Ok(Version { release: text("1"), api: text("1.41"), architecture: text("amd64") })
    }

    async fn list(&self) -> Result<Vec<Container>, Error> {
        Ok(self.known().containers.values().cloned().collect())
    }

    async fn inspect(&self, container: &str) -> Result<Details, Error> {
        Err(Error::NoContainer { id: container.to_owned() })
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, Error> {
        if self.pull.is_some() {
            return Err(Error::NoImage { image: spec.image.clone() });
        }
        let mut known = self.known();
        known.made.push(spec.clone());
        let id = ContainerId(format!("{:064x}", known.made.len()).into());
        let container = Container {
            id: id.clone(),
            name: spec.name.clone(),
            image: spec.image.clone(),
            state: State::Running,
            labels: spec.labels.clone(),
            addresses: BTreeMap::new(),
            host_ports: spec.ports.iter().map(|port| port.host_port).collect(),
        };
        known.containers.insert(id.0.to_string(), container);
        Ok(id)
    }

    async fn start(&self, _: &ContainerId) -> Result<(), Error> {
        Ok(())
    }

    async fn stop(&self, _: &ContainerId, _: Duration) -> Result<(), Error> {
        if let Some(stops) = &self.stops {
            stops.wait().await;
        }
        Ok(())
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        self.known().containers.remove(&*id.0);
        Ok(())
    }

    async fn has_image(&self, _: &str) -> Result<bool, Error> {
        Ok(self.pull.is_none())
    }

    async fn pull(&self, _: &str) -> Result<BoxStream<'static, Result<Pull, Error>>, Error> {
        self.known().pulls += 1;
        let lines = self.pull.clone().unwrap_or_default();
        Ok(stream::iter(lines.into_iter().map(Ok)).chain(stream::pending()).boxed())
    }

    async fn usage(&self, _: &ContainerId) -> Result<BoxStream<'static, Result<Usage, Error>>, Error> {
        Ok(stream::pending().boxed())
    }

    async fn exec(&self, _: &ContainerId, command: &[&str], _: Duration) -> Result<Executed, Error> {
        match command {
            ["du", "-sb", folder] => {
                let output = format!("{}\t{folder}\n", self.cache_bytes.load(Ordering::Relaxed));
                Ok(Executed { exit_code: 0, output })
            }
            ["rm", "-rf", _] => {
                self.cache_bytes.store(0, Ordering::Relaxed);
                Ok(Executed::default())
            }
            _ => Ok(Executed { exit_code: 127, output: format!("{command:?}: not found") }),
        }
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        Ok(stream::pending().boxed())
    }
}
