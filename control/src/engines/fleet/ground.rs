//! What holds for all engines once Docker has been looked at: what they are made from, where they are attached, how they
//! are reached, and whose they are. Pure.

use crate::docker::{Container, State};
use crate::engines::Authority;
use crate::engines::recipe::{self, Ports, Recipe, Site};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How engines are reached from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// On published ports of this host: a name or an address.
    Published(String),
    /// On their address in a network this process is in, too.
    Network(String),
}

/// What holds for all engines.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ground {
    /// What they are made from.
    pub(crate) recipe: Recipe,
    /// How they are attached, published and labelled.
    pub(crate) site: Site,
    /// How they are reached.
    pub(crate) reach: Reach,
}

/// Whose a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// An engine of this appliance.
    Ours,
    /// An engine of the program this one replaces, which marked no appliance.
    Unclaimed,
    /// Everything else, engines of another appliance included.
    Strange,
}

impl Ground {
    /// Whose a container is.
    pub(crate) fn ownership(&self, container: &Container) -> Ownership {
        let label = |key: &str| container.labels.get(key);
        let is_managed = label(&self.site.label.key) == Some(&self.site.label.value);
        // A generic container that was provisioned by hand is managed too, and is no engine.
        let is_engine = label(recipe::LABEL_HTTP).is_some() || label(recipe::LABEL_HOST_HTTP).is_some();
        match label(recipe::LABEL_INSTANCE) {
            _ if !is_managed || !is_engine => Ownership::Strange,
            Some(instance) if *instance == self.site.instance => Ownership::Ours,
            Some(_) => Ownership::Strange,
            None => Ownership::Unclaimed,
        }
    }

    /// Whether labels are those of a container this appliance may show and remove, engine or not.
    pub(crate) fn is_managed(&self, labels: &BTreeMap<String, String>) -> bool {
        let instance = labels.get(recipe::LABEL_INSTANCE);
        labels.get(&self.site.label.key) == Some(&self.site.label.value)
            && instance.is_none_or(|instance| *instance == self.site.instance)
    }

    /// The ports an engine's labels name; `None` when they name no HTTP port.
    pub(crate) fn ports(&self, container: &Container) -> Option<Ports> {
        let port = |key: &str| container.labels.get(key).and_then(|text| text.parse::<u16>().ok());
        let http = port(recipe::LABEL_HOST_HTTP).or_else(|| port(recipe::LABEL_HTTP))?;
        Some(Ports {
            http,
            second: port(recipe::LABEL_HTTPS).or_else(|| port(recipe::LABEL_API)).unwrap_or_default(),
            host_https: port(recipe::LABEL_HOST_HTTPS),
            p2p: port(recipe::LABEL_P2P),
        })
    }

    /// Where a running engine is reached; `None` while it cannot be.
    pub(crate) fn authority(&self, container: &Container) -> Option<Authority> {
        if container.state != State::Running {
            return None;
        }
        let Reach::Network(network) = &self.reach else { return self.published(&container.labels) };
        let port = |key: &str| container.labels.get(key).and_then(|text| text.parse::<u16>().ok());
        let inside = port(recipe::LABEL_HTTP).or_else(|| port(recipe::LABEL_HOST_HTTP))?;
        let address: IpAddr = *container.addresses.get(network)?;
        at(&address.to_string(), inside)
    }

    /// Where an engine with these labels is reached, as far as that is known without asking Docker.
    pub(crate) fn published(&self, labels: &BTreeMap<String, String>) -> Option<Authority> {
        let Reach::Published(host) = &self.reach else { return None };
        let port = |key: &str| labels.get(key).and_then(|text| text.parse::<u16>().ok());
        at(host, port(recipe::LABEL_HOST_HTTP).or_else(|| port(recipe::LABEL_HTTP))?)
    }
}

fn at(host: &str, port: u16) -> Option<Authority> {
    let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    text.parse().ok()
}
