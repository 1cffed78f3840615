//! What can go wrong with Docker, told apart by what to do about it.

use std::time::Duration;

/// Why a call to Docker did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `DOCKER_HOST` names nothing that can be spoken to.
    #[error("DOCKER_HOST {value:?}: {reason}")]
    Host {
        /// The value as given.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Certificates for TLS cannot be used.
    #[error("cannot use the certificates in {path}: {reason}")]
    Certificates {
        /// The directory.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Nothing answers there.
    #[error("Docker cannot be reached at {at}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        at: String,
        /// What the system said.
        reason: String,
    },
    /// The socket may not be opened, or a proxy before it refuses the call.
    #[error("Docker at {at} refuses {call}: {reason}")]
    Forbidden {
        /// Where.
        at: String,
        /// Which call.
        call: &'static str,
        /// What it said.
        reason: String,
    },
    /// No answer in time.
    #[error("Docker did not answer {call} within {after:?}")]
    Late {
        /// Which call.
        call: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The daemon speaks only versions before 1.41.
    #[error("Docker speaks API version {version}, at least 1.41 is needed")]
    TooOld {
        /// The newest version it speaks.
        version: String,
    },
    /// No such container.
    #[error("no container {id}")]
    NoContainer {
        /// The id or name asked for.
        id: String,
    },
    /// The image is not there.
    #[error("no image {image}")]
    NoImage {
        /// The image.
        image: String,
    },
    /// The image cannot be had.
    #[error("cannot pull {image}: {reason}")]
    Pull {
        /// The image.
        image: String,
        /// What the registry or the daemon said.
        reason: String,
    },
    /// The name belongs to another container.
    #[error("the container name {name} is taken")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A published port is held by another program or container.
    #[error("a port to publish is taken: {reason}")]
    PortTaken {
        /// What the daemon said, which names the port.
        reason: String,
    },
    /// The network does not exist.
    #[error("no network for the container: {reason}")]
    NoNetwork {
        /// What the daemon said.
        reason: String,
    },
    /// Docker's disk is full.
    #[error("Docker's disk is full: {reason}")]
    DiskFull {
        /// What the daemon said.
        reason: String,
    },
    /// The daemon refuses for another reason.
    #[error("Docker answered {call} with {status}: {reason}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// HTTP status.
        status: u16,
        /// What it said.
        reason: String,
    },
    /// The answer is not what the API promises, or broke off.
    #[error("Docker's answer to {call} is not usable: {reason}")]
    Answer {
        /// Which call.
        call: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// Whether Docker as a whole cannot be used now, so that nothing follows from it about a container.
    pub const fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Host { .. }
                | Self::Certificates { .. }
                | Self::Unreachable { .. }
                | Self::Forbidden { .. }
                | Self::Late { .. }
                | Self::TooOld { .. }
                | Self::Answer { .. }
        )
    }

    /// Stable machine-readable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Host { .. } => "docker_host",
            Self::Certificates { .. } => "docker_certificates",
            Self::Unreachable { .. } => "docker_unreachable",
            Self::Forbidden { .. } => "docker_forbidden",
            Self::Late { .. } => "docker_late",
            Self::TooOld { .. } => "docker_too_old",
            Self::NoContainer { .. } => "no_container",
            Self::NoImage { .. } => "image_missing",
            Self::Pull { .. } => "pull_refused",
            Self::NameTaken { .. } => "name_taken",
            Self::PortTaken { .. } => "port_taken",
            Self::NoNetwork { .. } => "no_network",
            Self::DiskFull { .. } => "disk_full",
            Self::Refused { .. } => "docker_refused",
            Self::Answer { .. } => "docker_answer",
        }
    }

    /// What the operator can do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Host { .. } => {
                "set DOCKER_HOST to unix:///path or tcp://host:port, or leave it out for /var/run/docker.sock"
            }
            Self::Certificates { .. } => "put ca.pem, cert.pem and key.pem, readable, into DOCKER_CERT_PATH",
            Self::Unreachable { .. } => {
                "start Docker, or mount its socket into this container, or correct DOCKER_HOST"
            }
            Self::Forbidden { .. } => {
                "let this user read and write the socket (group docker), or allow the call in the socket proxy"
            }
            Self::Late { .. } => "look at the load and the log of the Docker daemon",
            Self::TooOld { .. } => "update Docker to 20.10 or later",
            Self::NoContainer { .. } => "nothing to do: it is looked up again",
            Self::NoImage { .. } => "pull or build the image, or let Docker reach its registry",
            Self::Pull { .. } => {
                "check the image's name, the registry and Docker's way to it, or pull it by hand"
            }
            Self::NameTaken { .. } => "nothing to do: the next name is tried",
            Self::PortTaken { .. } => {
                "nothing to do: the next port is tried; widen PORT_RANGE_HOST if it recurs"
            }
            Self::NoNetwork { .. } => "create the network, or correct DOCKER_NETWORK",
            Self::DiskFull { .. } => "free space where Docker keeps its data (docker system prune)",
            Self::Refused { .. } | Self::Answer { .. } => "look at the log of the Docker daemon",
        }
    }
}

/// Reads what a daemon refused: the same status stands for several faults, and only the text tells them apart.
pub(super) fn refused(call: &'static str, at: &str, status: u16, reason: String) -> Error {
    let text = reason.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["no space left on device", "disk quota exceeded"]) {
        return Error::DiskFull { reason };
    }
    if says(&["port is already allocated", "address already in use", "ports are not available"]) {
        return Error::PortTaken { reason };
    }
    match status {
        401 | 403 => Error::Forbidden { at: at.to_owned(), call, reason },
        404 if text.contains("network") => Error::NoNetwork { reason },
        409 if text.contains("name") && text.contains("in use") => Error::NameTaken { name: quoted(&reason) },
        _ => Error::Refused { call, status, reason },
    }
}

/// What stands between the first quotation marks, without a container name's leading slash.
fn quoted(text: &str) -> String {
    text.split('"').nth(1).unwrap_or(text).trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the reading of real daemons' texts: the planner tries another port, another name, or gives up by it.
    #[test]
    fn daemons_texts_are_told_apart() {
        let code = |status, text: &str| refused("start", "here", status, text.to_owned()).code();
        for (status, text, expected) in [
            (
                500,
                "driver failed programming external connectivity on endpoint acestream-1 (8f): Bind for 127.0.0.1:19000 \
                 failed: port is already allocated",
                "port_taken",
            ),
            (
                500,
                "driver failed programming external connectivity on endpoint acestream-1 (8f): Error starting userland \
                 proxy: listen tcp4 0.0.0.0:19000: bind: address already in use",
                "port_taken",
            ),
            (
                409,
                "Conflict. The container name \"/acestream-1\" is already in use by container \"8f\".",
                "name_taken",
            ),
            (404, "network aceserver not found", "no_network"),
            (500, "mkdir /var/lib/docker/overlay2/x: no space left on device", "disk_full"),
            (403, "<html>Request forbidden by administrative rules.</html>", "docker_forbidden"),
            (500, "OCI runtime create failed", "docker_refused"),
        ] {
            assert_eq!(code(status, text), expected, "{text}");
        }
        let named =
            refused("create", "here", 409, "The container name \"/a-1\" is already in use".to_owned());
        assert_eq!(named, Error::NameTaken { name: "a-1".to_owned() });
    }
}
