//! `sluice-bench fleet`: what keeping engines in Docker costs, and how fast it is.
//!
//! `reconcile` needs no Docker: it answers as a daemon with many containers would, and reads the CPU of the appliance's control
//! threads. `docker` uses a real daemon whose images are there, and removes every container with the appliance's label. What the
//! daemon itself takes to start as many of the same containers is measured beside it: that is the part nobody but Docker can
//! make shorter.

use super::output::Output;
use crate::channel::nth;
use crate::chaos::Appliance;
use crate::engine::{ChannelSpec, Engine, Options};
use crate::player::{Player, check, http};
use crate::report::{Machine, Report};
use crate::sys;
use anyhow::{Context, bail, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Everything that is waited for is there by then, or the measurement has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a player's media.
const LOOK: Duration = Duration::from_millis(5);
/// Between two looks at whether engines are ready: more of them would take the CPU that the start needs.
const READY_LOOK: Duration = Duration::from_millis(50);
/// So many containers are asked for at a time when Docker is measured by itself: the daemon is not quickest with all of them.
const AT_ONCE: [usize; 3] = [2, 5, 20];
/// Marks the appliance's containers.
const LABEL: &str = "sluice.bench=fleet";

/// Options of `fleet`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The appliance's binary.
    #[arg(long, default_value = "target/release/sluice")]
    appliance: PathBuf,
    #[command(flatten)]
    output: Output,
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
        Figure::Reconcile { containers, seconds } => {
            args.output.give("the fleet", &reconcile(&args.appliance, containers, seconds)?)
        }
        Figure::Docker { ref host, ref variant, engines, rate } => {
            let docker = Docker { appliance: &args.appliance, host, variant };
            let (started, lost) = (docker.start_many(engines)?, docker.lose_one(rate)?);
            args.output.give("the fleet", &InDocker { machine: Machine::here(), started, lost })
        }
    }
}

/// What looking after many containers costs.
#[derive(Serialize)]
struct Passes {
    machine: Machine,
    containers: usize,
    seconds: u64,
    /// Passes, and CPU seconds of control, with passes and without.
    passes: u64,
    cpu_s: f64,
    passes_without: u64,
    cpu_without_s: f64,
    /// CPU of one.
    cpu_per_pass_ms: f64,
}

impl Report for Passes {}

impl fmt::Display for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, containers, seconds, passes, cpu_s, passes_without, cpu_without_s, .. } = self;
        writeln!(f, "machine            {machine}")?;
        writeln!(f, "containers         {containers}")?;
        writeln!(f, "passes             {passes} in {seconds} s, {cpu_s:.2} s of CPU in control")?;
        writeln!(
            f,
            "without            {passes_without} in {seconds} s, {cpu_without_s:.2} s of CPU in control (checks of the engines)"
        )?;
        writeln!(f, "CPU of one pass    {:.1} ms", self.cpu_per_pass_ms)
    }
}

/// What starting engines takes.
#[derive(Serialize)]
struct Started {
    engines: usize,
    one_s: f64,
    many_s: f64,
    ratio: f64,
    /// From the appliance's start until Docker had made the first of many, and until the last of them ran.
    first_made_s: f64,
    last_running_s: f64,
    /// Until Docker runs one by itself, and many.
    docker_one_s: f64,
    docker_many: Vec<Alone>,
    /// What the ratio would be if many took no longer than the quickest of those.
    least_ratio: f64,
}

/// What as many of the same containers take without an appliance.
#[derive(Clone, Copy, Serialize)]
struct Alone {
    /// So many are asked for at a time.
    at_once: usize,
    /// Until the last one ran.
    running_s: f64,
}

/// What losing one that plays takes.
#[derive(Serialize)]
struct Lost {
    without_media_s: f64,
    whole_again_s: f64,
    faults: Vec<String>,
}

/// A real Docker.
#[derive(Serialize)]
struct InDocker {
    machine: Machine,
    started: Started,
    lost: Lost,
}

impl Report for InDocker {}

impl fmt::Display for InDocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Started { engines, one_s, many_s, ratio, first_made_s, last_running_s, .. } = self.started;
        let Started { docker_one_s, docker_many, least_ratio, .. } = &self.started;
        let Lost { without_media_s, whole_again_s, faults } = &self.lost;
        writeln!(f, "machine            {}", self.machine)?;
        writeln!(f, "one engine         {one_s:.2} s from nothing to ready")?;
        writeln!(f, "{engines} engines         {many_s:.2} s, {ratio:.2} times as long")?;
        writeln!(
            f,
            "                   the first made after {first_made_s:.2} s, the last running after {last_running_s:.2} s"
        )?;
        writeln!(f, "Docker alone       {docker_one_s:.2} s until one runs")?;
        for Alone { at_once, running_s } in docker_many {
            writeln!(f, "                   {running_s:.2} s until {engines} run, {at_once} at a time")?;
        }
        writeln!(
            f,
            "                   {least_ratio:.2} times as long as one engine, if nothing else took time"
        )?;
        writeln!(
            f,
            "docker kill        {without_media_s:.2} s without media on the same socket, faults: {faults:?}"
        )?;
        writeln!(
            f,
            "replaced           {whole_again_s:.2} s after the kill, where one start takes {one_s:.2} s"
        )
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
        thread::sleep(READY_LOOK);
    }
    bail!("{count} engines are not ready within {PATIENCE:?}")
}

/// Engines that have become ready so far.
fn ready_so_far(appliance: SocketAddr) -> anyhow::Result<f64> {
    const COUNTED: &str = "sluice_fleet_events_total{event=\"started\"} ";
    let text = http::get(appliance, "/metrics")?.text();
    let line = text.lines().find_map(|line| line.strip_prefix(COUNTED)).context("starts are not counted")?;
    Ok(line.trim().parse()?)
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

fn reconcile(appliance: &PathBuf, containers: usize, seconds: u64) -> anyhow::Result<Passes> {
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
    Ok(Passes {
        machine: Machine::here(),
        containers,
        seconds,
        passes,
        cpu_s: with,
        passes_without: few,
        cpu_without_s: without,
        cpu_per_pass_ms: (with - without) * 1000.0 / (passes - few) as f64,
    })
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

/// What a container is made from, with [`Spec::HOLES`] in the places of the ports that are others in each: its HTTP port and,
/// where its recipe has one, that of its control API.
struct Spec {
    body: String,
    ports: Vec<u16>,
}

impl Spec {
    const HOLES: [&str; 2] = ["<first>", "<second>"];

    /// The nth container's body.
    fn of(&self, n: usize) -> anyhow::Result<String> {
        let moved = u16::try_from(n * Self::HOLES.len())?;
        let holes = Self::HOLES.iter().zip(&self.ports);
        Ok(holes
            .fold(self.body.clone(), |body, (hole, port)| body.replace(hole, &(port + moved).to_string())))
    }
}

/// The second of its day of a moment as Docker writes it, `2026-01-31T23:59:59.999Z`.
fn second_of_day(time: &str) -> Option<f64> {
    let clock = time.split_once('T')?.1.trim_end_matches('Z');
    let mut parts = clock.split(':').map(|part| part.parse::<f64>().ok());
    Some(parts.next()?? * 3600.0 + parts.next()?? * 60.0 + parts.next()??)
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

    /// Starts the appliance and waits for so many engines, of at most `most`; tells how long that took from its start.
    fn started(&self, engines: usize, most: usize) -> anyhow::Result<(Appliance, Scratch, Duration)> {
        self.clear()?;
        let (count, most) = (engines.to_string(), most.to_string());
        let variables = [
            ("DOCKER_HOST", self.host),
            ("ENGINE_VARIANT", self.variant),
            ("MIN_REPLICAS", count.as_str()),
            ("MAX_REPLICAS", most.as_str()),
            ("MAX_STREAMS_PER_ENGINE", "1"),
        ];
        let (command, data) = command(self.appliance, &variables)?;
        let begun = Instant::now();
        let appliance = Appliance::start(command, &[])?;
        wait_ready(appliance.addr(), engines)?;
        Ok((appliance, data, begun.elapsed()))
    }

    fn start_many(&self, engines: usize) -> anyhow::Result<Started> {
        // The first start of all has the image read from disk.
        drop(self.started(1, 1)?);
        let (appliance, _data, one) = self.started(1, 1)?;
        let spec = self.spec()?;
        drop(appliance);
        let (appliance, _data, many) = self.started(engines, engines)?;
        let [first_made_s, last_running_s] = self.made_and_running(many)?;
        drop(appliance);
        // Other ports than before: those of containers that have just gone may not be free yet.
        let docker_one = self.alone(&spec, 1, 1, 100)?;
        let mut docker_many = Vec::new();
        for (run, at_once) in AT_ONCE.into_iter().enumerate() {
            docker_many.push(self.alone(&spec, engines, at_once, 200 + run * engines)?);
        }
        self.clear()?;
        let [one_s, many_s] = [one, many].map(|time| time.as_secs_f64());
        let best_s = docker_many.iter().map(|alone| alone.running_s).fold(f64::INFINITY, f64::min);
        Ok(Started {
            engines,
            one_s,
            many_s,
            ratio: many_s / one_s,
            first_made_s,
            last_running_s,
            docker_one_s: docker_one.running_s,
            docker_many,
            least_ratio: (one_s - docker_one.running_s + best_s) / one_s,
        })
    }

    /// Seconds from the beginning of what has just taken so long until the first of the containers there are was made, and until
    /// the last of them ran.
    fn made_and_running(&self, took: Duration) -> anyhow::Result<[f64; 2]> {
        const DAY: f64 = 86_400.0;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let begun = now.saturating_sub(took).as_secs_f64() % DAY;
        let ids = self.docker(&["ps", "--quiet", "--filter", &format!("label={LABEL}")])?;
        let mut inspect = vec!["inspect", "--format", "{{.Created}} {{.State.StartedAt}}"];
        inspect.extend(ids.lines());
        let times = self.docker(&inspect)?;
        // Docker's clock is this machine's, and so is its day.
        let after = |time: &str| second_of_day(time).map(|second| (second - begun).rem_euclid(DAY));
        let pairs = times.lines().filter_map(|line| {
            let (made, running) = line.split_once(' ')?;
            Some((after(made)?, after(running)?))
        });
        let ends = pairs.fold((f64::INFINITY, 0.0f64), |(first, last), (made, running)| {
            (first.min(made), last.max(running))
        });
        ensure!(ends.0.is_finite(), "Docker does not tell when containers were made: {times}");
        Ok([ends.0, ends.1])
    }

    /// What the engine there is was made from, as a request for another one of it.
    fn spec(&self) -> anyhow::Result<Spec> {
        let id = self.docker(&["ps", "--quiet", "--filter", &format!("label={LABEL}")])?;
        let shown: Value = serde_json::from_str(&self.docker(&["inspect", &id])?)?;
        let (config, host) = (&shown[0]["Config"], &shown[0]["HostConfig"]);
        let port = |label: &str| config["Labels"][label].as_str().and_then(|port| port.parse().ok());
        let ports: Vec<u16> = ["host.http_port", "host.api_port"].into_iter().filter_map(port).collect();
        let body = json!({
            "Image": config["Image"],
            "Env": config["Env"],
            "Cmd": config["Cmd"],
            "ExposedPorts": config["ExposedPorts"],
            "Labels": { "sluice.bench": "fleet" },
            "HostConfig": { "PortBindings": host["PortBindings"], "RestartPolicy": host["RestartPolicy"] },
        });
        let holes = Spec::HOLES.iter().zip(&ports);
        let body = holes.fold(body.to_string(), |body, (hole, port)| body.replace(&port.to_string(), hole));
        Ok(Spec { body, ports })
    }

    /// How long the daemon takes by itself from nothing to so many containers that run.
    fn alone(&self, spec: &Spec, engines: usize, at_once: usize, first: usize) -> anyhow::Result<Alone> {
        self.clear()?;
        let (begun, next) = (Instant::now(), AtomicUsize::new(0));
        let work = || -> anyhow::Result<()> {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= engines {
                    return Ok(());
                }
                self.start_one(spec, first + n)?;
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("it does not panic"))
        })?;
        Ok(Alone { at_once, running_s: begun.elapsed().as_secs_f64() })
    }

    fn start_one(&self, spec: &Spec, n: usize) -> anyhow::Result<()> {
        let created = self.post("/containers/create", &spec.of(n)?)?;
        let id = created["Id"].as_str().with_context(|| format!("no container was made: {created}"))?;
        self.post(&format!("/containers/{id}/start"), "").map(drop)
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

    fn lose_one(&self, rate: u64) -> anyhow::Result<Lost> {
        let (appliance, _data, _) = self.started(3, 4)?;
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
        let (before, begun) = (ready_so_far(appliance.addr())?, Instant::now());
        let (mut last, mut last_at, mut longest) = (media(), begun, Duration::ZERO);
        let (mut whole, mut look_at) = (None, begun);
        thread::scope(|scope| {
            // The client comes back some time after the engine is dead: media are looked at meanwhile.
            let killing = scope.spawn(|| self.docker(&["kill", &container]));
            while begun.elapsed() < Duration::from_secs(5) || whole.is_none() {
                ensure!(begun.elapsed() < PATIENCE, "what was killed is not replaced");
                if whole.is_none() && Instant::now() >= look_at {
                    look_at = Instant::now() + READY_LOOK;
                    whole = (ready_so_far(appliance.addr())? > before).then(|| begun.elapsed());
                }
                let now = media();
                if now > last {
                    longest = longest.max(last_at.elapsed());
                    (last, last_at) = (now, Instant::now());
                }
                thread::sleep(LOOK);
            }
            killing.join().expect("it does not panic").map(drop)
        })?;
        longest = longest.max(last_at.elapsed());
        let whole = whole.unwrap_or_default();
        let faults = player.report().faults();
        ensure!(player.end().is_none(), "the player was disconnected");
        self.clear()?;
        Ok(Lost { without_media_s: longest.as_secs_f64(), whole_again_s: whole.as_secs_f64(), faults })
    }
}
