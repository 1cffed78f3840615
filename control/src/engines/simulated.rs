//! A Docker of a few lines for tests of what drives the fleet: containers are entries of a table, and whatever may last
//! lasts until a test lets it go on.

use crate::docker::Host;
use crate::docker::{
    Container, ContainerId, ContainerSpec, Details, Docker, Error, Event, Executed, Pull, State, Usage,
    Version,
};
use crate::engines::ports::PortRange;
use crate::engines::recipe::Tags;
use crate::engines::{BreakerLimits, FleetLimits, Ranges, Setup, YardOptions};
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
pub(crate) struct Simulated {
    pub(crate) known: Mutex<Known>,
    /// Stops wait until so many are under way.
    pub(crate) stops: Option<Barrier>,
    /// What becomes of every start, when it is no success.
    pub(crate) start_fault: Option<Error>,
    /// Bytes in each engine's cache.
    pub(crate) cache_bytes: std::sync::atomic::AtomicU64,
    /// What a pull says before it falls silent for ever; without it every image is there.
    pub(crate) pull: Option<Vec<Pull>>,
}

#[derive(Default)]
pub(crate) struct Known {
    containers: BTreeMap<String, Container>,
    made: Vec<ContainerSpec>,
    pulls: usize,
}

impl Simulated {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that was ever made, in order.
    pub(crate) fn made(&self) -> Vec<ContainerSpec> {
        self.known().made.clone()
    }

    /// Containers there are.
    pub(crate) fn count(&self) -> usize {
        self.known().containers.len()
    }

    /// Their names, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.known().containers.values().map(|container| container.name.clone()).collect();
        names.sort();
        names
    }

    /// A container somebody else made.
    pub(crate) fn put(&self, name: &str, state: State, labels: BTreeMap<String, String>) {
        let container = Container {
            id: ContainerId(name.into()),
            name: name.to_owned(),
            image: String::new(),
            state,
            labels,
            addresses: BTreeMap::new(),
            host_ports: Vec::new(),
        };
        self.known().containers.insert(name.to_owned(), container);
    }

    /// Pulls that were begun.
    pub(crate) fn pulls(&self) -> usize {
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
        self.start_fault.clone().map_or(Ok(()), Err)
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

    async fn logs(&self, id: &ContainerId, lines: u32) -> Result<Vec<String>, Error> {
        if !self.known().containers.contains_key(&*id.0) {
            return Err(Error::NoContainer { id: id.to_string() });
        }
        Ok((0..lines.min(3)).map(|line| format!("line {line}")).collect())
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

/// How engines are kept in it.
pub(crate) fn yard() -> YardOptions {
    let breaker = BreakerLimits { threshold: 5, recovery: Duration::from_secs(300) };
    let range = |first, last| PortRange::new(first, last).expect("a range");
    YardOptions {
        setup: Setup {
            host: Host::new(None, None).expect("an address"),
            variant: None,
            custom: None,
            tags: Tags::default(),
            label: "a=b".parse().expect("a label"),
            instance: "one".to_owned(),
            network: None,
            publish: None,
            has_https_mapped: false,
            memory_bytes: None,
            folders: Vec::new(),
        },
        limits: FleetLimits {
            min: 1,
            max: 2,
            surge: 0,
            min_free: 1,
            streams_per_engine: 1,
            is_auto_delete: true,
            grace: Duration::from_secs(30),
            startup: Duration::from_secs(60),
            concurrent_max: 5,
            interval: Duration::ZERO,
            unhealthy_grace: Duration::from_secs(60),
            cooldown: Duration::from_secs(60),
            list_interval: Duration::from_secs(10),
            breaker,
            replacement_breaker: breaker,
        },
        ranges: Ranges { host: range(19000, 19999), https: range(45000, 49999), p2p: None },
        pull_timeout: Duration::from_secs(900),
        cache_bytes_max: Some(1000),
    }
}
