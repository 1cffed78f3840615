//! `sluice-bench fleet`: what keeping engines in Docker costs, and how fast it is.
//!
//! `reconcile` needs no Docker: it answers as a daemon with many containers would, and reads the CPU of the appliance's control
//! threads. `docker` uses a real daemon whose images are there, and removes every container with the appliance's label. What the
//! daemon itself takes to start as many of the same containers is measured beside it: that is the part nobody but Docker can
//! make shorter.

#![allow(clippy::print_stdout, reason = "a measurement's result is what it prints")]

use crate::channel::nth;
use crate::chaos::Appliance;
use crate::engine::{ChannelSpec, Engine, Options};
use crate::player::{Player, check, http};
use crate::sys;
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Everything that is waited for is there by then, or the measurement has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// What an engine that is ready answers.
const READY: &str = "/webui/api/service?method=get_version";
/// Marks the appliance's containers.
const LABEL: &str = "sluice.bench=fleet";

/// Options of `fleet`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The appliance's binary.
    #[arg(long, default_value = "target/release/sluice")]
    appliance: PathBuf,
    #[command(subcommand)]
    figure: Figure,
}

#[derive(clap::Subcommand, Debug)]
enum Figure {
    /// CPU of one pass over many containers, against a simulated Docker.
    Reconcile {
        /// Containers of the simulated Docker.
        #[arg(long, default_value_t = 1000)]
        containers: usize,
        /// Seconds that are measured, once with and once without passes.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Starting many engines against starting one, and losing one that plays, on a real Docker.
    Docker {
        /// Where it is.
        #[arg(long, env = "DOCKER_HOST", default_value = "unix:///var/run/docker.sock")]
        host: String,
        /// What engines are made from; its image has to be there.
        #[arg(long, default_value = "krinkuto11-amd64")]
        variant: String,
        /// Engines that are started from nothing.
        #[arg(long, default_value_t = 20)]
        engines: usize,
        /// Bytes per second of each channel of the images.
        #[arg(long, default_value_t = 250_000)]
        rate: u64,
    },
}

/// Measures and prints.
///
/// # Errors
/// Something needed is missing, or nothing comes of it in time.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.figure {
        Figure::Reconcile { containers, seconds } => reconcile(&args.appliance, containers, seconds),
        Figure::Docker { ref host, ref variant, engines, rate } => {
            let docker = Docker { appliance: &args.appliance, host, variant };
            docker.start_many(engines)?;
            docker.lose_one(rate)
        }
    }
}

/// A directory that is gone when dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The appliance with what the measurement needs set, and everything else as it is by default.
fn command(appliance: &PathBuf, variables: &[(&str, &str)]) -> anyhow::Result<(Command, Scratch)> {
    let data = std::env::temp_dir().join(format!("sluice-bench-fleet-{}", std::process::id()));
    std::fs::create_dir_all(&data).context("cannot make a directory")?;
    let mut command = Command::new(appliance);
    command.env("DATA_DIR", &data).env("ENGINE_PROVISIONING", "on").env("CONTAINER_LABEL", LABEL);
    command.envs(variables.iter().copied());
    Ok((command, Scratch(data)))
}

/// Waits until the appliance shows so many engines in a state that answers.
fn wait_ready(appliance: SocketAddr, count: usize) -> anyhow::Result<()> {
    let line = format!("sluice_fleet_engines{{phase=\"ready\"}} {count}");
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let is_so = http::get(appliance, "/metrics").is_ok_and(|answer| {
            answer.text().lines().any(|shown| shown.strip_suffix(".0").unwrap_or(shown) == line)
        });
        if is_so {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
    bail!("{count} engines are not ready within {PATIENCE:?}")
}

/// CPU seconds of the control threads of a process.
fn control_cpu(pid: u32) -> anyhow::Result<f64> {
    let mut ticks = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // A thread that has just ended used nothing since.
        let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else { continue };
        let Some((before, after)) = stat.rsplit_once(')') else { continue };
        if before.contains("(control") {
            let used = after.split_ascii_whitespace().skip(11).take(2);
            ticks += used.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Ok(ticks as f64 / sys::clock_ticks())
}

fn reconcile(appliance: &PathBuf, containers: usize, seconds: u64) -> anyhow::Result<()> {
    let engine = Engine::start(Options::default())?;
    let daemon = Daemon::start(containers, engine.addr().port())?;
    let most = containers.to_string();
    let mut measured = Vec::new();
    for interval in ["1", "600"] {
        let host = format!("tcp://{}", daemon.addr);
        let variables = [
            ("DOCKER_HOST", host.as_str()),
            ("INSTANCE_ID", "bench"),
            ("MIN_REPLICAS", "0"),
            ("MIN_FREE_REPLICAS", "0"),
            ("MAX_REPLICAS", &most),
            ("AUTO_DELETE", "false"),
            ("MONITOR_INTERVAL_S", interval),
        ];
        let (command, _data) = command(appliance, &variables)?;
        let appliance = Appliance::start(command, &[])?;
        wait_ready(appliance.addr(), containers)?;
        // What adopting them takes is over.
        thread::sleep(Duration::from_secs(5));
        let (lists, cpu) = (daemon.lists.load(Ordering::Relaxed), control_cpu(appliance.pid())?);
        thread::sleep(Duration::from_secs(seconds));
        let used = control_cpu(appliance.pid())? - cpu;
        measured.push((used, daemon.lists.load(Ordering::Relaxed) - lists));
    }
    let [(with, passes), (without, few)] = measured[..] else { bail!("nothing was measured") };
    ensure!(passes > few, "{passes} passes were made, and {few} when none were due");
    let per_pass = (with - without) * 1000.0 / (passes - few) as f64;
    println!("containers         {containers}");
    println!("passes             {passes} in {seconds} s, {with:.2} s of CPU in control");
    println!(
        "without            {few} in {seconds} s, {without:.2} s of CPU in control (checks of the engines)"
    );
    println!("CPU of one pass    {per_pass:.1} ms");
    Ok(())
}

/// Answers as Docker does, with containers of engines that are all the same simulated engine.
struct Daemon {
    addr: SocketAddr,
    lists: Arc<AtomicU64>,
}

impl Daemon {
    fn start(containers: usize, port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let lists = Arc::new(AtomicU64::new(0));
        let container = |n: usize| {
            json!({
                "Id": format!("{n:064x}"),
                "Names": [format!("/acestream-{n}")],
                "Image": "ghcr.io/krinkuto11/acestream-http-proxy:latest",
                "State": "running",
                "Labels": {
                    "sluice.bench": "fleet",
                    "sluice.instance": "bench",
                    "acestream.http_port": port.to_string(),
                    "host.http_port": port.to_string(),
                    "acestream.https_port": "45000",
                    "acestream.engine_variant": "krinkuto11-amd64",
                },
                "Ports": [{ "IP": "127.0.0.1", "PrivatePort": port, "PublicPort": port, "Type": "tcp" }],
                "NetworkSettings": { "Networks": { "bridge": { "IPAddress": "172.17.0.2" } } },
            })
        };
        let list: Arc<str> = Value::Array((1..=containers).map(container).collect()).to_string().into();
        let counted = lists.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (list, lists) = (list.clone(), counted.clone());
                // A connection that breaks is the appliance's to notice.
                let serve = move || drop(answer(stream, &list, &lists));
                if thread::Builder::new().stack_size(128 << 10).spawn(serve).is_err() {
                    break;
                }
            }
        });
        Ok(Self { addr, lists })
    }
}

/// Answers requests of one connection until it is closed. Streams are opened and stay silent.
fn answer(mut stream: TcpStream, list: &str, lists: &AtomicU64) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte)? == 0 {
                return Ok(());
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let (status, body) = match path {
            path if path.ends_with("/version") => {
                ("200 OK", r#"{"ApiVersion":"1.44","Version":"28.0.0","Arch":"amd64"}"#)
            }
            path if path.ends_with("/containers/json") => {
                lists.fetch_add(1, Ordering::Relaxed);
                ("200 OK", list)
            }
            path if path.ends_with("/events") || path.ends_with("/stats") => {
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                )?;
                return stream.read(&mut byte).map(drop);
            }
            _ => ("404 Not Found", r#"{"message":"page not found"}"#),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
    }
}

fn ask(mut stream: impl Read + Write, request: &str, answer: &mut String) -> std::io::Result<()> {
    stream.write_all(request.as_bytes())?;
    stream.read_to_string(answer).map(drop)
}

/// What a container is made from, and the port in it that is another one in each.
struct Spec {
    body: String,
    port: String,
}

/// A real daemon.
struct Docker<'a> {
    appliance: &'a PathBuf,
    host: &'a str,
    variant: &'a str,
}

impl Docker<'_> {
    fn docker(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("docker").args(["--host", self.host]).args(arguments).output()?;
        ensure!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn clear(&self) -> anyhow::Result<()> {
        let ids = self.docker(&["ps", "--all", "--quiet", "--filter", &format!("label={LABEL}")])?;
        let mut arguments = vec!["rm", "--force"];
        arguments.extend(ids.lines());
        if arguments.len() > 2 { self.docker(&arguments).map(drop) } else { Ok(()) }
    }

    /// Starts the appliance and waits for so many engines; tells how long that took from its start.
    fn started(&self, engines: usize) -> anyhow::Result<(Appliance, Scratch, Duration)> {
        self.clear()?;
        let count = engines.to_string();
        let variables = [
            ("DOCKER_HOST", self.host),
            ("ENGINE_VARIANT", self.variant),
            ("MIN_REPLICAS", count.as_str()),
            ("MAX_REPLICAS", count.as_str()),
            ("MAX_STREAMS_PER_ENGINE", "1"),
        ];
        let (command, data) = command(self.appliance, &variables)?;
        let begun = Instant::now();
        let appliance = Appliance::start(command, &[])?;
        wait_ready(appliance.addr(), engines)?;
        Ok((appliance, data, begun.elapsed()))
    }

    fn start_many(&self, engines: usize) -> anyhow::Result<()> {
        // The first start of all has the image read from disk.
        drop(self.started(1)?);
        let (appliance, _data, one) = self.started(1)?;
        let spec = self.spec()?;
        drop(appliance);
        let (.., many) = self.started(engines)?;
        let alone = (self.alone(&spec, 1)?, self.alone(&spec, engines)?);
        let times = |(one, many): (Duration, Duration)| many.as_secs_f64() / one.as_secs_f64();
        println!("one engine         {one:.2?} from nothing to ready");
        println!("{engines} engines         {many:.2?}, {:.2} times as long", times((one, many)));
        println!("Docker alone       {:.2?} and {:.2?}, {:.2} times as long", alone.0, alone.1, times(alone));
        self.clear()
    }

    /// What the engine there is was made from, as a request for another one of it.
    fn spec(&self) -> anyhow::Result<Spec> {
        let id = self.docker(&["ps", "--quiet", "--filter", &format!("label={LABEL}")])?;
        let shown: Value = serde_json::from_str(&self.docker(&["inspect", &id])?)?;
        let (config, host) = (&shown[0]["Config"], &shown[0]["HostConfig"]);
        let port = config["Labels"]["host.http_port"].as_str().context("it has no port")?.to_owned();
        let body = json!({
            "Image": config["Image"],
            "Env": config["Env"],
            "Cmd": config["Cmd"],
            "ExposedPorts": config["ExposedPorts"],
            "Labels": { "sluice.bench": "fleet" },
            "HostConfig": { "PortBindings": host["PortBindings"], "RestartPolicy": host["RestartPolicy"] },
        });
        Ok(Spec { body: body.to_string(), port })
    }

    /// How long the daemon takes by itself from nothing to so many engines that answer, all asked for at once.
    fn alone(&self, spec: &Spec, engines: usize) -> anyhow::Result<Duration> {
        self.clear()?;
        let begun = Instant::now();
        thread::scope(|scope| {
            let start = |n| scope.spawn(move || self.start_one(spec, n));
            let started: Vec<_> = (0..engines).map(start).collect();
            started.into_iter().try_for_each(|one| one.join().expect("it does not panic"))
        })?;
        Ok(begun.elapsed())
    }

    fn start_one(&self, spec: &Spec, n: usize) -> anyhow::Result<()> {
        let port = spec.port.parse::<u16>()? + u16::try_from(n)?;
        let body = spec.body.replace(&spec.port, &port.to_string());
        let created = self.post("/containers/create", &body)?;
        let id = created["Id"].as_str().with_context(|| format!("no container was made: {created}"))?;
        self.post(&format!("/containers/{id}/start"), "")?;
        let deadline = Instant::now() + PATIENCE;
        while !http::get(([127, 0, 0, 1], port).into(), READY).is_ok_and(|answer| answer.status() == 200) {
            ensure!(Instant::now() < deadline, "no engine answers on port {port}");
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// One request; what is answered, `null` when nothing is.
    fn post(&self, path: &str, body: &str) -> anyhow::Result<Value> {
        // As HTTP/1.0 the answer comes in one piece and ends with the connection.
        let request = format!(
            "POST /v1.41{path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut answer = String::new();
        match (self.host.strip_prefix("unix://"), self.host.strip_prefix("tcp://")) {
            (Some(path), _) => ask(UnixStream::connect(path)?, &request, &mut answer)?,
            (_, Some(at)) => ask(TcpStream::connect(at)?, &request, &mut answer)?,
            _ => bail!("{} is neither unix:// nor tcp://", self.host),
        }
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer broke off")?;
        ensure!(head.split(' ').nth(1).is_some_and(|status| status.starts_with('2')), "{path}: {answer}");
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_str(body)? })
    }

    fn lose_one(&self, rate: u64) -> anyhow::Result<()> {
        let (appliance, _data, _) = self.started(3)?;
        let reference =
            Engine::start(Options { channels: vec![ChannelSpec::synthetic(0, rate)], ..Options::default() })?;
        let (id, infohash) = nth(0);
        let reference = Some(reference.control().broadcast(infohash)?);
        let plan = Player::get(appliance.addr(), &format!("/ace/getstream?id={id}"))
            .check(check::Options { reference, ..check::Options::default() });
        let player = plan.start();
        player.wait_decodable(PATIENCE)?;
        player.wait_more(5 * rate, PATIENCE)?;
        let sessions = http::get(appliance.addr(), "/proxy/sessions")?.json()?;
        let container = sessions["sessions"][0]["container_id"].as_str().context("nothing plays")?.to_owned();
        let media = || {
            let report = player.report();
            report.packets - report.nulls - report.tables
        };
        let begun = Instant::now();
        self.docker(&["kill", &container])?;
        let (mut last, mut last_at, mut longest) = (media(), begun, Duration::ZERO);
        while begun.elapsed() < Duration::from_secs(5) {
            let now = media();
            if now > last {
                longest = longest.max(last_at.elapsed());
                (last, last_at) = (now, Instant::now());
            }
            thread::sleep(LOOK);
        }
        longest = longest.max(last_at.elapsed());
        wait_ready(appliance.addr(), 3)?;
        let whole = begun.elapsed();
        let faults = player.report().faults();
        println!("docker kill        {longest:.2?} without media on the same socket, faults: {faults:?}");
        println!("whole again        {whole:.2?} after the kill at the latest");
        ensure!(player.end().is_none(), "the player was disconnected");
        self.clear()
    }
}
