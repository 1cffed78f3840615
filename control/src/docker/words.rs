//! What is said about containers, in words that belong to no library.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// Docker's own id of a container, 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(pub Arc<str>);

impl ContainerId {
    /// The first twelve digits, as people see it.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One label: `key=value`, split at the first `=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The key, never empty.
    pub key: String,
    /// The value, which may itself hold `=`.
    pub value: String,
}

impl FromStr for Label {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once('=').ok_or("it is not key=value")?;
        if key.trim().is_empty() {
            return Err("the key before = is empty");
        }
        Ok(Self { key: key.trim().to_owned(), value: value.trim().to_owned() })
    }
}

/// What a daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The daemon's release, e.g. `28.2.2`.
    pub release: String,
    /// The API version that is spoken, e.g. `1.41`.
    pub api: String,
    /// Its architecture in Go's words, e.g. `amd64`, `arm64`, `arm`.
    pub architecture: String,
}

/// A container to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// The image.
    pub image: String,
    /// Environment, in order.
    pub env: Vec<(String, String)>,
    /// The command, when the image's own is not wanted.
    pub command: Option<Vec<String>>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Where it is attached.
    pub network: Network,
    /// Published ports.
    pub ports: Vec<Published>,
    /// Memory limit; none when absent.
    pub memory_bytes: Option<u64>,
    /// Folders of the host seen inside.
    pub folders: Vec<Folder>,
}

/// Where a container is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// Docker's default bridge, on which names are not resolved.
    Bridge,
    /// A network of this name.
    Named(String),
    /// The host's own network; nothing can be published then.
    Host,
}

/// A port of a container made reachable on its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Port inside.
    pub container_port: u16,
    /// Transport.
    pub protocol: Protocol,
    /// Address of the host it is bound to.
    pub address: IpAddr,
    /// Port on the host.
    pub host_port: u16,
}

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Docker's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A folder of the host seen inside a container, writable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Absolute path on Docker's host.
    pub host: PathBuf,
    /// Absolute path inside.
    pub container: PathBuf,
}

/// What Docker says of a container's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made, never started.
    Created,
    /// It runs.
    Running,
    /// Frozen.
    Paused,
    /// It ended and Docker will start it again.
    Restarting,
    /// It is being removed.
    Removing,
    /// It ended.
    Exited,
    /// Docker failed to remove it.
    Dead,
}

impl State {
    /// Docker's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// A container as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without Docker's leading slash.
    pub name: String,
    /// The image it was made from, as it was named.
    pub image: String,
    /// What its process does.
    pub state: State,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its address in each network, by the network's name.
    pub addresses: BTreeMap<String, IpAddr>,
    /// Ports of the host it holds.
    pub host_ports: Vec<u16>,
}

/// A container as an inspection shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Details {
    /// What a list shows too; published ports also of a container that does not run.
    pub container: Container,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When its process started last, RFC 3339; changes with every restart.
    pub started: String,
    /// How its process ended last.
    pub exit_code: i64,
    /// Whether the kernel killed it for its memory.
    pub is_oom_killed: bool,
    /// Why Docker could not start it; empty when it could.
    pub error: String,
    /// `bridge`, `host`, `container:<id>` or the name of a network.
    pub network_mode: String,
    /// Published ports as Docker lists them: `19000/tcp` and where each is bound.
    pub bindings: BTreeMap<String, Vec<(String, String)>>,
}

/// Something happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// To which one.
    pub id: ContainerId,
    /// What.
    pub change: Change,
}

/// What happens to containers and matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Created,
    /// Its process started.
    Started,
    /// Its process ended, with this code where the daemon says it.
    Died(Option<i64>),
    /// The kernel killed a process of it for its memory.
    OomKilled,
    /// It is gone.
    Removed,
    /// It was renamed, paused, attached to or detached from a network: look again.
    Other,
}

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Percent of one core, over the last second.
    pub cpu_percent: f64,
    /// Bytes of memory, without what the kernel gives back when it is short.
    pub memory_bytes: u64,
    /// What it may use.
    pub memory_bytes_max: u64,
    /// Bytes received on all interfaces.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes read from disks.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

/// A command that was run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// Its exit code.
    pub exit_code: i64,
    /// The beginning of what it printed.
    pub output: String,
}

/// How far a pull is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pull {
    /// Docker's own words, e.g. `Downloading`.
    pub status: String,
    /// The layer, when this is about one.
    pub layer: Option<String>,
    /// Bytes of the layer so far.
    pub bytes: u64,
    /// Bytes of the layer in all; 0 while unknown.
    pub bytes_total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards labels whose value holds an equals sign, which broke the program this one replaces.
    #[test]
    fn a_label_is_split_at_the_first_equals_sign() {
        let label: Label = "a.b=c=d".parse().unwrap();
        assert_eq!((label.key.as_str(), label.value.as_str()), ("a.b", "c=d"));
        assert_eq!("a=".parse::<Label>().unwrap().value, "");
        for text in ["", "a", "=b", " =b"] {
            assert!(text.parse::<Label>().is_err(), "{text:?} was taken");
        }
    }
}
