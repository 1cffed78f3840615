//! Where Docker is: `DOCKER_HOST`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` read as its own tools read them. Pure.

use super::Error;
use std::fmt;
use std::path::PathBuf;

/// Where it is when nobody says otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Ports of Docker's own convention.
const PORT_PLAIN: u16 = 2375;
const PORT_TLS: u16 = 2376;

/// Where Docker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A socket of this machine.
    Unix(PathBuf),
    /// A machine, this one or another.
    Tcp {
        /// Name or address, without brackets.
        name: String,
        /// Port.
        port: u16,
        /// How to speak TLS, if so.
        tls: Option<Tls>,
    },
}

/// Certificates for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Directory of `ca.pem`, `cert.pem` and `key.pem`.
    pub directory: PathBuf,
}

impl Host {
    /// Reads the three variables; `docker_host` empty or absent means the usual socket.
    ///
    /// # Errors
    /// [`Error::Host`] for a scheme nobody speaks here, or a text that is no address.
    pub fn new(docker_host: Option<&str>, tls: Option<Tls>) -> Result<Self, Error> {
        let Some(text) = docker_host.map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(Self::Unix(DEFAULT_SOCKET.into()));
        };
        let fault = |reason| Error::Host { value: text.to_owned(), reason };
        let (scheme, rest) =
            text.split_once("://").ok_or(fault("it has no scheme, such as unix:// or tcp://"))?;
        let is_tls = match scheme {
            "unix" if rest.starts_with('/') => return Ok(Self::Unix(rest.into())),
            "unix" => return Err(fault("the path of the socket is not absolute")),
            "tcp" => tls.is_some(),
            "http" => false,
            "https" => true,
            "ssh" => return Err(fault("ssh is not spoken here; forward the socket with ssh -L")),
            _ => return Err(fault("the scheme is none of unix, tcp, http, https")),
        };
        let tls = tls.filter(|_| is_tls);
        if is_tls && tls.is_none() {
            return Err(fault("https needs DOCKER_CERT_PATH"));
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(fault("a path or a user has no place in it"));
        }
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => {
                (name, port.parse().map_err(|_| fault("the port is not a number up to 65535"))?)
            }
            _ => (authority, if is_tls { PORT_TLS } else { PORT_PLAIN }),
        };
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        if name.is_empty() || port == 0 {
            return Err(fault("the host or the port is missing"));
        }
        Ok(Self::Tcp { name: name.to_owned(), port, tls })
    }

    /// The machine on which published ports are reached, when it is not this one.
    pub fn remote(&self) -> Option<&str> {
        let Self::Tcp { name, .. } = self else { return None };
        let is_loopback = name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        (!is_loopback && !name.eq_ignore_ascii_case("localhost")).then_some(name)
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub(super) fn authority(name: &str, port: u16) -> String {
        if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { name, port, .. } => write!(f, "tcp://{}", Self::authority(name, *port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards reading `DOCKER_HOST` as Docker's own tools do, and knowing when it is another machine.
    #[test]
    fn hosts_are_read_as_dockers_tools_read_them() {
        let tls = || Some(Tls { directory: "/certs".into() });
        for (text, tls, shown, remote) in [
            (None, None, "unix:///var/run/docker.sock", None),
            (Some("  "), None, "unix:///var/run/docker.sock", None),
            (Some("unix:///run/user/1000/docker.sock"), None, "unix:///run/user/1000/docker.sock", None),
            (Some("tcp://dind:2375"), None, "tcp://dind:2375", Some("dind")),
            (Some("tcp://dind"), None, "tcp://dind:2375", Some("dind")),
            (Some("tcp://10.0.0.9"), tls(), "tcp://10.0.0.9:2376", Some("10.0.0.9")),
            (Some("tcp://[fd00::1]:99/"), None, "tcp://[fd00::1]:99", Some("fd00::1")),
            (Some("tcp://127.0.0.1:2375"), None, "tcp://127.0.0.1:2375", None),
            (Some("http://localhost"), None, "tcp://localhost:2375", None),
        ] {
            let host = Host::new(text, tls).unwrap();
            assert_eq!((host.to_string().as_str(), host.remote()), (shown, remote), "{text:?}");
        }
        for text in [
            "docker:2375",
            "unix://docker.sock",
            "ssh://me@host",
            "npipe://x",
            "tcp://",
            "tcp://:1",
            "tcp://h:0",
            "tcp://h:x",
            "tcp://h/v1",
            "tcp://me@h",
            "https://h",
        ] {
            assert_eq!(Host::new(Some(text), None).unwrap_err().code(), "docker_host", "{text}");
        }
    }
}
