//! A Docker daemon of a few lines behind a real socket: containers are entries of a table, and each that runs has a tiny
//! engine where its port is published. Every call is counted by what it asks for.

use super::engine::{Engine, Mood};
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
use std::time::{Duration, Instant};

/// Engines of one test listen on an address no other test uses.
static NEXT: AtomicU16 = AtomicU16::new(0);

struct Container {
    name: String,
    image: String,
    labels: Value,
    /// What is published: inside, and where.
    ports: Vec<(u16, SocketAddr)>,
    is_running: bool,
    has_empty_cache: bool,
    /// There while it runs, if anything is published.
    engine: Option<Engine>,
}

/// A container that was made.
#[derive(Clone, Debug)]
pub struct Created {
    pub at: Instant,
    pub asked: Value,
}

#[derive(Default)]
struct State {
    created: Vec<Created>,
    /// What the daemon says it runs on, unless it is the usual.
    architecture: Option<&'static str>,
    /// How engines of containers behave that start from now on.
    mood: Option<Mood>,
    /// Creations take so long.
    delay: Duration,
    /// Creations under way, and the most there were.
    creating: (usize, usize),
    /// Bytes in the cache of every container whose cache was not emptied since.
    cached: u64,
    /// Commands that were to be run in containers: where, and what.
    commands: Vec<(String, Vec<String>)>,
    /// There is no image, and a pull of one never ends.
    has_no_images: bool,
    /// The most containers there were.
    most: usize,

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

    /// What `DOCKER_HOST` has to be.
    pub fn host(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// Where its engines can be published.
    pub fn publish(&self) -> Ipv4Addr {
        self.publish
    }

    /// Containers made so far, oldest first.
    pub fn created(&self) -> Vec<Created> {
        self.state.lock().unwrap().created.clone()
    }

    /// From now on it says that it runs on this.
    pub fn runs_on(&self, architecture: &'static str) {
        self.state.lock().unwrap().architecture = Some(architecture);
    }

    /// How engines behave that start from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = Some(mood);
    }

    /// Creations take so long from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// The most creations that were under way at once; counts anew from now on.
    pub fn take_most_at_once(&self) -> usize {
        std::mem::take(&mut self.state.lock().unwrap().creating.1)
    }

    /// How the engines behave from now on that run now.
    pub fn spoil(&self, mood: Mood) {
        let state = self.state.lock().unwrap();
        state
            .containers
            .values()
            .filter_map(|container| container.engine.as_ref())
            .for_each(|engine| engine.set_mood(mood));
    }

    /// Puts a label on every container there is.
    pub fn label(&self, name: &str, value: &str) {
        let mut state = self.state.lock().unwrap();
        state.containers.values_mut().for_each(|container| container.labels[name] = value.into());
    }

    /// Every container has so much in its cache, as long as nobody empties it.
    pub fn fill_caches(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap();
        state.cached = bytes;
        state.containers.values_mut().for_each(|container| container.has_empty_cache = false);
    }

    /// From now on there is no image, and a pull never ends.
    pub fn lose_images(&self) {
        self.state.lock().unwrap().has_no_images = true;
    }

    /// The most containers there were at once; counts anew from now on.
    pub fn take_most(&self) -> usize {
        let mut state = self.state.lock().unwrap();
        let now = state.containers.len();
        std::mem::replace(&mut state.most, now)
    }

    /// Ids of the containers there are.
    pub fn ids(&self) -> Vec<String> {
        self.state.lock().unwrap().containers.keys().cloned().collect()
    }

    /// Removes every container, as somebody at the daemon would.
    pub fn clear(&self) {
        let gone = std::mem::take(&mut self.state.lock().unwrap().containers);
        drop(gone);
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
            ("post", ["images", "create"]) if state.lock().unwrap().has_no_images => {
                count(state, "pull");
                write!(
                    socket,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                )?;
                return socket.read(&mut byte).map(drop);
            }
            ("post", ["exec", number, "start"]) => {
                let output = run(&mut state.lock().unwrap(), number);
                write!(
                    socket,
                    "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
                )?;
                // A piece of what was written to standard output, as Docker tells it apart from the other stream.
                socket.write_all(&[1, 0, 0, 0])?;
                socket.write_all(&(output.len() as u32).to_be_bytes())?;
                return socket.write_all(output.as_bytes());
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
        ("post", ["containers", _, "exec"]) => "exec",
        (_, ["exec", _, "json"]) => "exec end",
        _ => "other",
    };
    count(state, what);
    if what == "create" {
        let delay = {
            let mut state = state.lock().unwrap();
            let now = state.creating.0 + 1;
            state.creating = (now, state.creating.1.max(now));
            state.delay
        };
        std::thread::sleep(delay);
        state.lock().unwrap().creating.0 -= 1;
    }
    let mut state = state.lock().unwrap();
    match (what, path) {
        ("version", _) => {
            let architecture = state.architecture.unwrap_or("amd64");
            ("200 OK", json!({ "ApiVersion": "1.44", "Version": "28.0.0", "Arch": architecture }))
        }
        ("list", _) => {
            ("200 OK", state.containers.iter().map(|(id, container)| listed(id, container)).collect())
        }
        ("create", _) if state.refusals > 0 => {
            state.refusals -= 1;
            ("500 Internal Server Error", json!({ "message": "no space left on device" }))
        }
        ("create", _) if state.has_no_images => ("404 Not Found", json!({ "message": "No such image" })),
        ("create", _) => {
            let asked: Value = serde_json::from_slice(body).expect("JSON");
            state.made += 1;
            state.created.push(Created { at: Instant::now(), asked: asked.clone() });
            let id = format!("{:064x}", state.made);
            let name = query.split('&').find_map(|pair| pair.strip_prefix("name=")).unwrap_or_default();
            let container = Container {
                name: name.to_owned(),
                image: asked["Image"].as_str().unwrap_or_default().to_owned(),
                labels: asked["Labels"].clone(),
                ports: ports(&asked["HostConfig"]["PortBindings"]),
                is_running: false,
                has_empty_cache: false,
                engine: None,
            };
            state.containers.insert(id.clone(), container);
            state.most = state.most.max(state.containers.len());
            ("201 Created", json!({ "Id": id, "Warnings": [] }))
        }
        ("start", [_, id, _]) => {
            let mood = state.mood;
            match state.containers.get_mut(*id) {
                Some(container) => {
                    container.is_running = true;
                    if let (Some((_, at)), None) = (container.ports.first(), &container.engine) {
                        let engine = Engine::start_at(*at);
                        mood.into_iter().for_each(|mood| engine.set_mood(mood));
                        container.engine = Some(engine);
                    }
                    ("204 No Content", Value::Null)
                }
                None => missing(),
            }
        }
        ("stop", [_, id, _]) => match state.containers.get_mut(*id) {
            Some(container) => {
                (container.engine, container.is_running) = (None, false);
                ("204 No Content", Value::Null)
            }
            None => missing(),
        },
        ("remove", [_, id]) => match state.containers.remove(*id) {
            Some(_) => ("204 No Content", Value::Null),
            None => missing(),
        },
        ("image", _) if state.has_no_images => missing(),
        ("image", _) => ("200 OK", json!({ "Id": "sha256:0" })),
        ("exec", [_, id, _]) => {
            let asked: Value = serde_json::from_slice(body).expect("JSON");
            let words = asked["Cmd"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let command = words.map(str::to_owned).collect();
            state.commands.push(((*id).to_owned(), command));
            ("201 Created", json!({ "Id": (state.commands.len() - 1).to_string() }))
        }
        ("exec end", _) => ("200 OK", json!({ "ExitCode": 0 })),
        _ => missing(),
    }
}

/// Runs a command in a container: how much a folder holds, or emptying it. Answers what it writes.
fn run(state: &mut State, number: &str) -> String {
    let asked = number.parse::<usize>().ok().and_then(|number| state.commands.get(number).cloned());
    let Some((id, command)) = asked else { return String::new() };
    let cached = state.cached;
    let Some(container) = state.containers.get_mut(&id) else { return String::new() };
    match command.first().map(String::as_str) {
        Some("du") => {
            let bytes = if container.has_empty_cache { 0 } else { cached };
            format!("{bytes}\t{}\n", command.last().map_or("", String::as_str))
        }
        Some("rm") => {
            container.has_empty_cache = true;
            String::new()
        }
        _ => String::new(),
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
        "State": if container.is_running { "running" } else { "created" },
        "Labels": container.labels, "Ports": ports.collect::<Vec<_>>(),
        "NetworkSettings": { "Networks": { "bridge": { "IPAddress": "" } } },
    })
}
