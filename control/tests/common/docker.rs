//! A Docker daemon of a few lines behind a real socket: containers are entries of a table, and each that runs has a tiny
//! engine where its port is published. Every call is counted by what it asks for.

use super::engine::Engine;
use serde_json::{Value, json};
use sluice_control::docker::{Host, Label};
use sluice_control::ports::PortRange;
use sluice_control::recipe::Tags;
use sluice_control::{BreakerLimits, FleetLimits, Ranges, Setup, YardOptions};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Engines of one test listen on an address no other test uses.
static NEXT: AtomicU16 = AtomicU16::new(0);

struct Container {
    name: String,
    image: String,
    labels: Value,
    /// What is published: inside, and where.
    ports: Vec<(u16, SocketAddr)>,
    /// There while it runs.
    engine: Option<Engine>,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<String, Container>,
    made: u64,
    /// Creations that are refused before one is done.
    refusals: u32,
    calls: BTreeMap<&'static str, u64>,
}

/// The daemon. Its engines end with it.
pub struct Docker {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    publish: Ipv4Addr,
}

impl Docker {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let served = state.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let served = served.clone();
                // A connection that breaks is control's to notice.
                std::thread::spawn(move || drop(serve(&served, socket)));
            }
        });
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let test = NEXT.fetch_add(1, Ordering::Relaxed) as u8;
        Self { state, address, publish: Ipv4Addr::new(127, 64 | (test & 63), high, low.max(1)) }
    }

    /// So many creations fail first.
    pub fn refuse(&self, creations: u32) {
        self.state.lock().unwrap().refusals = creations;
    }

    /// Calls so far, by what they asked for.
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.state.lock().unwrap().calls.clone()
    }

    /// Names of the containers there are.
    pub fn names(&self) -> Vec<String> {
        self.state.lock().unwrap().containers.values().map(|container| container.name.clone()).collect()
    }

    /// Images of the containers there are.
    pub fn images(&self) -> Vec<String> {
        self.state.lock().unwrap().containers.values().map(|container| container.image.clone()).collect()
    }

    /// Options of a control that keeps engines here, so many at least and at most.
    pub fn options(&self, (min, max): (usize, usize)) -> sluice_control::Options {
        let breaker = BreakerLimits { threshold: 5, recovery: Duration::from_secs(300) };
        let range = |first, last| PortRange::new(first, last).expect("a range");
        let yard = YardOptions {
            setup: Setup {
                host: Host::new(Some(&format!("tcp://{}", self.address)), None).expect("an address"),
                variant: None,
                custom: None,
                tags: Tags::default(),
                label: Label { key: "test".to_owned(), value: "yes".to_owned() },
                instance: "one".to_owned(),
                network: None,
                publish: Some(IpAddr::V4(self.publish)),
                has_https_mapped: false,
                memory_bytes: None,
                folders: Vec::new(),
            },
            limits: FleetLimits {
                min,
                max,
                surge: 0,
                min_free: 0,
                streams_per_engine: 3,
                is_auto_delete: true,
                grace: Duration::from_millis(100),
                startup: Duration::from_secs(60),
                concurrent_max: 5,
                interval: Duration::ZERO,
                unhealthy_grace: Duration::from_secs(60),
                cooldown: Duration::from_secs(60),
                list_interval: Duration::from_millis(200),
                breaker,
                replacement_breaker: breaker,
            },
            ranges: Ranges { host: range(19000, 19099), https: range(45000, 45099), p2p: None },
            pull_timeout: Duration::from_secs(5),
            cache_bytes_max: None,
        };
        sluice_control::Options { docker: Some(yard), ..super::options(&[]) }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.state.lock().unwrap().containers.clear();
    }
}

/// Answers requests of one connection until it is closed. Streams are opened and stay silent.
fn serve(state: &Mutex<State>, mut socket: TcpStream) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if socket.read(&mut byte)? == 0 {
                return Ok(());
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)];
        socket.read_exact(&mut body)?;
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // Without the version.
        let path =
            path.strip_prefix("/v1.").and_then(|rest| rest.split_once('/')).map_or(path, |(_, path)| path);
        let path: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (status, answer) = match (method, path.as_slice()) {
            (_, ["events"] | ["containers", _, "stats"]) => {
                count(state, if path[0] == "events" { "events" } else { "stats" });
                write!(
                    socket,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                )?;
                return socket.read(&mut byte).map(drop);
            }
            (method, path) => answer(state, method, path, query, &body),
        };
        let text = if answer.is_null() { String::new() } else { answer.to_string() };
        write!(
            socket,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )?;
    }
}

fn count(state: &Mutex<State>, what: &'static str) {
    *state.lock().unwrap().calls.entry(what).or_default() += 1;
}

fn answer(
    state: &Mutex<State>,
    method: &str,
    path: &[&str],
    query: &str,
    body: &[u8],
) -> (&'static str, Value) {
    let what = match (method, path) {
        (_, ["version"]) => "version",
        (_, ["containers", "json"]) => "list",
        ("post", ["containers", "create"]) => "create",
        ("post", ["containers", _, "start"]) => "start",
        ("post", ["containers", _, "stop"]) => "stop",
        ("delete", ["containers", _]) => "remove",
        (_, ["images", ..]) => "image",
        _ => "other",
    };
    count(state, what);
    let mut state = state.lock().unwrap();
    match (what, path) {
        ("version", _) => ("200 OK", json!({ "ApiVersion": "1.44", "Version": "28.0.0", "Arch": "amd64" })),
        ("list", _) => {
            ("200 OK", state.containers.iter().map(|(id, container)| listed(id, container)).collect())
        }
        ("create", _) if state.refusals > 0 => {
            state.refusals -= 1;
            ("500 Internal Server Error", json!({ "message": "no space left on device" }))
        }
        ("create", _) => {
            let asked: Value = serde_json::from_slice(body).expect("JSON");
            state.made += 1;
            let id = format!("{:064x}", state.made);
            let name = query.split('&').find_map(|pair| pair.strip_prefix("name=")).unwrap_or_default();
            let container = Container {
                name: name.to_owned(),
                image: asked["Image"].as_str().unwrap_or_default().to_owned(),
                labels: asked["Labels"].clone(),
                ports: ports(&asked["HostConfig"]["PortBindings"]),
                engine: None,
            };
            state.containers.insert(id.clone(), container);
            ("201 Created", json!({ "Id": id, "Warnings": [] }))
        }
        ("start", [_, id, _]) => match state.containers.get_mut(*id) {
            Some(container) => {
                let at = container.ports.first().expect("the engine's port is published").1;
                container.engine.get_or_insert_with(|| Engine::start_at(at));
                ("204 No Content", Value::Null)
            }
            None => missing(),
        },
        ("stop", [_, id, _]) => match state.containers.get_mut(*id) {
            Some(container) => {
                container.engine = None;
                ("204 No Content", Value::Null)
            }
            None => missing(),
        },
        ("remove", [_, id]) => match state.containers.remove(*id) {
            Some(_) => ("204 No Content", Value::Null),
            None => missing(),
        },
        ("image", _) => ("200 OK", json!({ "Id": "sha256:0" })),
        _ => missing(),
    }
}

fn missing() -> (&'static str, Value) {
    ("404 Not Found", json!({ "message": "no such thing" }))
}

fn ports(bindings: &Value) -> Vec<(u16, SocketAddr)> {
    let all = bindings.as_object().into_iter().flatten();
    let mut ports: Vec<(u16, SocketAddr)> = all
        .filter_map(|(inside, bound)| {
            let text = |name: &str| bound[0][name].as_str();
            let at = SocketAddr::new(text("HostIp")?.parse().ok()?, text("HostPort")?.parse().ok()?);
            Some((inside.split('/').next()?.parse().ok()?, at))
        })
        .collect();
    ports.sort();
    ports
}

fn listed(id: &str, container: &Container) -> Value {
    let ports = container.ports.iter().map(|(inside, at)| {
        json!({ "IP": at.ip().to_string(), "PrivatePort": inside, "PublicPort": at.port(), "Type": "tcp" })
    });
    json!({
        "Id": id, "Names": [format!("/{}", container.name)], "Image": container.image,
        "State": if container.engine.is_some() { "running" } else { "created" },
        "Labels": container.labels, "Ports": ports.collect::<Vec<_>>(),
        "NetworkSettings": { "Networks": { "bridge": { "IPAddress": "" } } },
    })
}
