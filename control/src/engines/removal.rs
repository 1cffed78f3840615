//! Removes every engine of this appliance from Docker, for an operator who is done with them.
//!
//! Besides the routes the one way in which engines that are well go: neither a start nor a stop takes them. It works
//! beside no appliance, because one that runs would make new ones at once.

use super::fleet::Ownership;
use super::{Setup, survey, yard};
use crate::docker::{Client, Container, Docker, Error, State};
use futures_util::StreamExt;

/// Containers that are stopped at the same time: each takes as long as its process does.
const STOPS_MAX: usize = 16;

/// An engine that was to be removed.
#[derive(Debug)]
pub struct Removal {
    /// Its container's name.
    pub name: String,
    /// Whether it is gone.
    pub outcome: Result<(), Error>,
}

/// Why no engine was looked for.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// No thread can be started.
    #[error("cannot start a thread: {0}")]
    Threads(#[from] std::io::Error),
    /// Docker cannot be used.
    #[error("{error}; {}", error.remedy())]
    Docker {
        /// What is wrong.
        #[from]
        error: Error,
    },
}

/// Stops and removes the engines of this appliance, those it would take over from the program it replaces included.
///
/// # Errors
/// Docker cannot be used. What becomes of each engine stands in its [`Removal`].
pub fn remove_engines(setup: &Setup) -> Result<Vec<Removal>, RemovalError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(remove_all(&Client::new(setup.host.clone()), setup))?)
}

async fn remove_all(docker: &dyn Docker, setup: &Setup) -> Result<Vec<Removal>, Error> {
    let ground = survey::survey(docker, setup).await?;
    // What somebody else left stopped was never taken over.
    let runs = |state| matches!(state, State::Running | State::Restarting | State::Paused);
    let is_ours = |container: &Container| match ground.ownership(container) {
        Ownership::Ours => true,
        Ownership::Unclaimed => runs(container.state),
        Ownership::Strange => false,
    };
    let list = docker.list().await?;
    let removals = list.into_iter().filter(is_ours).map(|container| async move {
        let outcome = yard::remove(docker, &container.id).await;
        Removal { name: container.name, outcome }
    });
    let mut removals: Vec<Removal> =
        futures_util::stream::iter(removals).buffer_unordered(STOPS_MAX).collect().await;
    removals.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(removals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::recipe;
    use crate::engines::simulated::{self, Simulated};

    /// Guards what goes and what stays: all of this appliance's, running or not, and what runs of the program it replaces; never
    /// another appliance's, what that program left stopped, or a container that is no engine.
    #[tokio::test]
    async fn only_engines_of_this_appliance_go() {
        let docker = Simulated::default();
        for (name, instance, state, is_engine) in [
            ("acestream-1", Some("one"), State::Running, true),
            ("acestream-2", Some("one"), State::Exited, true),
            ("acestream-3", Some("two"), State::Running, true),
            ("acestream-4", None, State::Running, true),
            ("acestream-5", None, State::Exited, true),
            ("svc-1", Some("one"), State::Running, false),
        ] {
            let mut labels = std::collections::BTreeMap::from([("a".to_owned(), "b".to_owned())]);
            labels.extend(instance.map(|instance| (recipe::LABEL_INSTANCE.to_owned(), instance.to_owned())));
            labels.extend(is_engine.then(|| (recipe::LABEL_HOST_HTTP.to_owned(), "19000".to_owned())));
            docker.put(name, state, labels);
        }
        let gone = remove_all(&docker, &simulated::yard().setup).await.expect("Docker answers");
        assert!(gone.iter().all(|removal| removal.outcome.is_ok()));
        let gone: Vec<&str> = gone.iter().map(|removal| removal.name.as_str()).collect();
        assert_eq!(gone, ["acestream-1", "acestream-2", "acestream-4"]);
        assert_eq!(docker.names(), ["acestream-3", "acestream-5", "svc-1"]);
    }
}
