//! A Docker that is reached over TLS: something in front of the tests' own ends it, and asks for a certificate.

use crate::common::{Setup, until};
use crate::daemon::{Daemon, REMOTE};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What certificates of the authority, of the daemon and of whoever asks it are like.
const KINDS: &str = "[req]\ndistinguished_name = none\n[none]\n[authority]\nbasicConstraints = critical, CA:TRUE\n\
                     [server]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = IP:10.99.0.1\n\
                     [client]\nbasicConstraints = critical, CA:FALSE\n";

fn openssl(directory: &Path, kind: &str, name: &str) {
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(["req", "-x509", "-config", "kinds", "-extensions", kind]);
    command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    command.args(["-subj", &format!("/CN={name}")]);
    command.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]);
    if kind != "authority" {
        command.args(["-CA", "ca.crt", "-CAkey", "ca.key"]);
    }
    let made = command.output().expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Certificates of an authority of their own, as Docker's tools look for them, and those of a server.
fn certificates(directory: PathBuf) -> PathBuf {
    fs::create_dir(&directory).expect("a directory can be made");
    let path = |name: &str| directory.join(name);
    fs::write(path("kinds"), KINDS).expect("it can be written");
    openssl(&directory, "authority", "ca");
    openssl(&directory, "server", "server");
    openssl(&directory, "client", "client");
    for (from, to) in [("ca.crt", "ca.pem"), ("client.crt", "cert.pem"), ("client.key", "key.pem")] {
        fs::copy(path(from), path(to)).expect("it was made");
    }
    let pair = ["server.crt", "server.key"].map(|name| fs::read_to_string(path(name)).expect("it was made"));
    fs::write(path("server.pem"), pair.concat()).expect("it can be written");
    directory
}

/// Ends TLS in front of the daemon until dropped.
struct Front(Child);

impl Front {
    fn start(daemon: &Daemon, certificates: &Path, port: u16) -> Self {
        let address = REMOTE.split(':').next().expect("it has an address");
        let text = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 5m\n timeout server 5m\n\
             frontend docker\n bind {address}:{port} ssl crt {tls}/server.pem ca-file {tls}/ca.pem verify required\n \
             default_backend daemon\nbackend daemon\n server daemon unix@{socket}\n",
            tls = certificates.display(),
            socket = daemon.socket().display(),
        );
        let config = daemon.directory().join("haproxy.cfg");
        fs::write(&config, text).expect("it can be written");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().expect("haproxy starts"))
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Guards a Docker that is reached over TLS with a certificate it knows, and that a stranger's is told as an absence that passes
/// as soon as the right one is there, without an engine made meanwhile.
#[test]
fn a_docker_behind_tls_is_reached_with_a_certificate() {
    let Some(daemon) = Daemon::start() else { return };
    for program in ["haproxy", "openssl"] {
        if Command::new(program).arg("-v").output().is_err() {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "TLS cannot be tested: {program} is missing"
            );
            println!("skipped, TLS cannot be tested: {program} is missing");
            return;
        }
    }
    const PORT: u16 = 2376;
    let [known, strange] = ["known", "strange"].map(|name| certificates(daemon.directory().join(name)));
    // The stranger knows whom it asks, and is not known there.
    fs::copy(known.join("ca.pem"), strange.join("ca.pem")).expect("it can be copied");
    let _front = Front::start(&daemon, &known, PORT);
    for (certificates, is_known) in [(&strange, false), (&known, true)] {
        let appliance = Setup::bare()
            .env("ENGINE_PROVISIONING", "on")
            .env("DOCKER_HOST", &format!("tcp://{}:{PORT}", REMOTE.split(':').next().expect("an address")))
            .env("DOCKER_TLS_VERIFY", "1")
            .env("DOCKER_CERT_PATH", &certificates.display().to_string())
            .env("DATA_DIR", &daemon.directory().join("d").display().to_string())
            .env("ENGINE_VARIANT", "krinkuto11-amd64")
            .env("MIN_REPLICAS", "1")
            .start();
        if is_known {
            until("an engine is ready", || appliance.metric("sluice_fleet_engines{phase=\"ready\"") == 1.0);
            assert_eq!(daemon.engines(), ["acestream-1"]);
        } else {
            until("it is told", || appliance.json("/health")["engines"]["docker"] == "away");
            assert_eq!(daemon.engines(), Vec::<String>::new());
        }
    }
}
