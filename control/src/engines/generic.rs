//! Containers that are no engines: started, looked at and removed for whoever asks by REST, on the Docker engines are kept
//! in.
//!
//! Only what carries this appliance's labels is shown or removed.

use super::fleet::Ground;
use super::recipe::LABEL_INSTANCE;
use crate::docker::{ContainerId, ContainerSpec, Details, Docker, Error, Protocol, Published};
use std::collections::{BTreeMap, BTreeSet};

/// How often another name is tried when somebody else takes the one found free.
const NAMES_TRIED: usize = 5;

/// A container somebody asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) image: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Port inside, its transport, port of the host.
    pub(crate) ports: Vec<(u16, Protocol, u16)>,
    pub(crate) name_prefix: String,
}

/// Makes and starts a container; answers its id and name. What a failure leaves is removed.
///
/// # Errors
/// What Docker says.
pub(crate) async fn start(
    docker: &dyn Docker,
    ground: &Ground,
    wanted: Wanted,
) -> Result<(ContainerId, String), Error> {
    let mut taken: BTreeSet<String> = docker.list().await?.into_iter().map(|known| known.name).collect();
    let mut last = None;
    for _ in 0..NAMES_TRIED {
        let name = free_name(&wanted.name_prefix, &taken);
        match docker.create(&spec(ground, &wanted, name.clone())).await {
            Ok(id) => {
                if let Err(error) = docker.start(&id).await {
                    if let Err(left) = docker.remove(&id).await {
                        tracing::warn!(name, error = %left, "a container that did not start was left behind");
                    }
                    return Err(error);
                }
                tracing::info!(name, image = wanted.image, "a container was started by hand");
                return Ok((id, name));
            }
            Err(error @ Error::NameTaken { .. }) => {
                taken.insert(name);
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or(Error::NameTaken { name: wanted.name_prefix }))
}

/// The lowest number nobody has.
fn free_name(prefix: &str, taken: &BTreeSet<String>) -> String {
    let mut names = (1u64..).map(|number| format!("{prefix}-{number}"));
    names.find(|name| !taken.contains(name)).unwrap_or_else(|| prefix.to_owned())
}

fn spec(ground: &Ground, wanted: &Wanted, name: String) -> ContainerSpec {
    let site = &ground.site;
    let mut labels = wanted.labels.clone();
    labels.insert(LABEL_INSTANCE.to_owned(), site.instance.clone());
    labels.insert(site.label.key.clone(), site.label.value.clone());
    let published = |(container_port, protocol, host_port): &(u16, Protocol, u16)| Published {
        container_port: *container_port,
        protocol: *protocol,
        address: site.publish,
        host_port: *host_port,
    };
    ContainerSpec {
        name,
        image: wanted.image.clone(),
        env: wanted.env.clone().into_iter().collect(),
        command: None,
        labels,
        network: site.network.clone(),
        ports: wanted.ports.iter().map(published).collect(),
        memory_bytes: None,
        folders: Vec::new(),
    }
}

/// One container of this appliance by id, unique beginning of it, or name.
///
/// # Errors
/// [`Error::NoContainer`] also for one that is not this appliance's.
pub(crate) async fn inspect(docker: &dyn Docker, ground: &Ground, which: &str) -> Result<Details, Error> {
    let details = docker.inspect(which).await?;
    if ground.is_managed(&details.container.labels) {
        Ok(details)
    } else {
        Err(Error::NoContainer { id: which.to_owned() })
    }
}

/// Every container of this appliance with a label, in any state.
///
/// # Errors
/// What Docker says.
pub(crate) async fn labelled(
    docker: &dyn Docker,
    ground: &Ground,
    (key, value): (&str, &str),
) -> Result<Vec<Details>, Error> {
    let list = docker.list().await?;
    let found = list.into_iter().filter(|container| {
        ground.is_managed(&container.labels) && container.labels.get(key).is_some_and(|has| has == value)
    });
    let mut all = Vec::new();
    for container in found {
        match docker.inspect(&container.id.0).await {
            Ok(details) => all.push(details),
            // It went in between.
            Err(Error::NoContainer { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Stops and removes a container of this appliance that is no engine.
///
/// # Errors
/// What Docker says.
pub(crate) async fn remove(docker: &dyn Docker, ground: &Ground, which: &str) -> Result<(), Error> {
    let details = inspect(docker, ground, which).await?;
    docker.stop(&details.container.id, super::yard::STOP_GRACE).await?;
    docker.remove(&details.container.id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards names: the lowest free number, so that gaps are used again and nothing collides.
    #[test]
    fn the_lowest_free_number_is_taken() {
        let taken = ["svc-1", "svc-3", "other-2"].map(str::to_owned).into();
        assert_eq!(free_name("svc", &taken), "svc-2");
        assert_eq!(free_name("other", &taken), "other-1");
    }
}
