//! The appliance: reads settings, binds, starts shards and control, waits, drains.

#![deny(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to the person who started it")]

use anyhow::{Context, bail};
use clap::Parser;
use crossbeam::channel::{Receiver, Sender, bounded};
use sluice::listen::{Admission, Bounds, PlayRate};
use sluice::settings::{ApiKey, Docker as DockerSettings, EngineNetwork, Selection, Settings, help};
use sluice::window::Budget;
use sluice::{shard, uring};
use sluice_bench::demo::Demo;
use sluice_contract::link::{self, link};
use sluice_contract::snapshot::Board;
use sluice_contract::{Dial, Directory, ShardId, ToShard, Tuning};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Messages a shard may be behind before its senders are told to come back later.
const SHARD_INBOX: usize = 4096;
/// The same for control.
const CONTROL_INBOX: usize = 16_384;
/// Between two looks at whether control still runs.
const CONTROL_LOOK: Duration = Duration::from_secs(1);
/// What the planes are given beyond the players' own deadline before the process ends anyway.
const FAREWELL: Duration = Duration::from_millis(500);

/// One AceStream in, thousands of players out.
#[derive(Parser)]
#[command(version, after_long_help = help::text())]
struct Arguments {
    /// Serve built-in simulated engines with real channels: plays at once, no Docker, no engine.
    #[arg(long)]
    demo: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What else the program does.
#[derive(clap::Subcommand)]
enum Command {
    /// Look at what engines in Docker need, and say of each what to do. Exits with 0, or the number of the first that failed.
    Doctor,
}

/// What the main thread waits for.
enum Event {
    /// The operator wants it to stop.
    Signal,
    /// A shard's thread ended.
    ShardEnded(ShardId, io::Result<()>),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::Doctor) => examine(),
        None => run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sluice: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load() -> anyhow::Result<sluice::settings::Loaded> {
    Settings::load().map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        anyhow::anyhow!("settings are not usable:{}", lines.concat())
    })
}

/// Looks at what engines need and prints what is found.
fn examine() -> anyhow::Result<ExitCode> {
    let loaded = load()?;
    loaded.warnings.iter().for_each(|warning| println!("note    settings  {warning}"));
    let settings = &loaded.settings;
    let docker = settings.docker.as_ref().map(|docker| yard_options(settings, docker)).transpose()?;
    let engines = settings.engines.static_engines.iter().chain(&settings.engines.fallback_engine);
    let engines: Vec<_> =
        engines.map(|engine| sluice_control::StaticEngine { authority: engine.to_string() }).collect();
    let findings =
        sluice_control::doctor::examine(docker.as_ref(), &engines).context("cannot start a thread")?;
    for finding in &findings {
        println!("{:7} {:9} {}", finding.state.as_str(), finding.subject.to_string(), finding.text);
        finding.remedy.iter().for_each(|remedy| println!("        -> {remedy}"));
    }
    Ok(ExitCode::from(sluice_control::doctor::exit_code(&findings)))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = load()?;
    start_log(loaded.settings.log_level.as_str());
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let environment = loaded.environment.of(sluice_control::variables());
    let settings = Arc::new(loaded.settings);
    uring::raise_descriptor_limit().context("cannot read the limit of open files")?;
    warn_of_socket_memory(&settings);
    let demo = arguments.demo.then(sluice_bench::demo::start).transpose().context("cannot start the demo")?;

    let count = settings.shards.count;
    let addresses = &settings.listen.addresses;
    let mut listeners: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
    let mut ports = Vec::new();
    for address in addresses {
        let made = uring::bind(*address, count).with_context(|| format!("cannot listen on {address}"))?;
        ports.push(uring::local_port(&made[0])?);
        listeners.iter_mut().zip(made).for_each(|(of_shard, listener)| of_shard.push(listener));
    }

    // The kernel takes connections from here on. Said before the shards say that they run, so that whoever reads the log
    // to learn the ports has them all by then.
    for (address, port) in addresses.iter().zip(&ports) {
        tracing::info!(address = %address.ip(), port, shards = count, "listening");
    }

    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| link::<ToShard>(SHARD_INBOX)).unzip();
    let (to_control, control_inbox) = link(CONTROL_INBOX);
    let directory = Arc::new(Directory::default());
    let board = Arc::new(Board::new(count));
    let dial = Arc::new(Dial::new(tuning(&settings)));
    let (events, waiting) = bounded(usize::from(count) + 8);
    watch_signals(events.clone()).context("cannot watch signals")?;
    let mut control = Some(sluice_control::start(
        control_options(&settings, &environment, demo.as_ref())?,
        sluice_control::Wiring {
            inbox: control_inbox,
            shards: senders.clone(),
            directory: directory.clone(),
            board: board.clone(),
            dial: dial.clone(),
        },
    )?);
    let generated_key = control.as_mut().and_then(sluice_control::Handle::take_generated_key);
    if let Some(key) = &generated_key {
        // Not through the log, which may be set to say less: nobody can be told it later.
        eprintln!(
            "sluice: no API_KEY was given, so this one was generated; it is shown only once and kept as a hash: {key}"
        );
    }
    let admission = Admission::new(bounds(&settings));
    let budget = Budget::new(settings.window.total_bytes);
    let cores = uring::usable_cores().unwrap_or_default();
    for ((id, inbox), listeners) in (0..count).zip(inboxes).zip(listeners) {
        let wiring = shard::Wiring {
            id: ShardId(id),
            core: (usize::from(count) <= cores.len()).then(|| cores[usize::from(id)]),
            listeners,
            inbox,
            shards: senders.clone(),
            control: to_control.clone(),
            directory: directory.clone(),
            board: board.clone(),
            dial: dial.clone(),
            admission: admission.clone(),
            budget: budget.clone(),
            settings: settings.clone(),
        };
        let events = events.clone();
        let name = format!("shard-{id}");
        let body = move || {
            let _ = events.send(Event::ShardEnded(ShardId(id), shard::run(wiring)));
        };
        thread::Builder::new().name(name).spawn(body).context("cannot start a shard")?;
    }
    if let Some(demo) = &demo {
        print_demo(demo, ports[0]);
    }
    let restart = |wiring| {
        let mut options = control_options(&settings, &environment, demo.as_ref())?;
        if let Some(key) = generated_key.clone() {
            // The one that was shown goes on being accepted, whatever became of where its hash is kept.
            options.api_key = sluice_control::ApiKey::Given(key);
        }
        Ok(sluice_control::start(options, wiring)?)
    };
    serve(&settings, restart, &waiting, &senders, &mut control)
}

/// Waits for the end, keeping control alive meanwhile; then drains.
fn serve(
    settings: &Settings,
    restart: impl Fn(sluice_control::Wiring) -> anyhow::Result<sluice_control::Handle>,
    waiting: &Receiver<Event>,
    shards: &[link::Sender<ToShard>],
    control: &mut Option<sluice_control::Handle>,
) -> anyhow::Result<()> {
    loop {
        match waiting.recv_timeout(CONTROL_LOOK) {
            Ok(Event::Signal) => break,
            Ok(Event::ShardEnded(id, Ok(()))) => bail!("shard {} ended by itself", id.0),
            Ok(Event::ShardEnded(id, Err(error))) => {
                return Err(error).with_context(|| format!("shard {} cannot run", id.0));
            }
            Err(_) => {}
        }
        if control.as_ref().is_some_and(|control| !control.is_running())
            && let Some(failed) = control.take()
        {
            tracing::error!("control failed; starting it anew while streams play on");
            let wiring = failed.stop(Instant::now() + Duration::from_secs(2))?;
            *control = Some(restart(wiring)?);
        }
    }
    let deadline = Instant::now() + settings.timeouts.shutdown;
    tracing::info!("stopping; a second signal stops at once");
    for shard in shards {
        let _ = shard.send(ToShard::Drain { deadline });
    }
    let mut left = shards.len();
    while left > 0 {
        match waiting.recv_deadline(deadline + FAREWELL) {
            Ok(Event::ShardEnded(..)) => left -= 1,
            Ok(Event::Signal) => bail!("stopped at once, {left} shards had not drained"),
            Err(_) => bail!("{left} shards did not drain in time"),
        }
    }
    if let Some(control) = control.take() {
        control.stop(deadline.max(Instant::now()) + FAREWELL)?;
    }
    tracing::info!("stopped");
    Ok(())
}

fn start_log(level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(level).unwrap_or_default();
    let is_terminal = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    log.with_ansi(is_terminal).with_writer(io::stderr).init();
}

fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            let _ = events.try_send(Event::Signal);
        }
    })?;
    Ok(())
}

fn bounds(settings: &Settings) -> Bounds {
    let limits = &settings.limits;
    Bounds {
        connections_max: limits.connections_max,
        clients_max: limits.clients_max.map(u32::from),
        address_clients_max: limits.address_clients_max.map(u32::from),
        address_plays: limits
            .address_plays
            .map(|rate| PlayRate { per_second: rate.per_second, burst: rate.burst.get() }),
    }
}

fn tuning(settings: &Settings) -> Tuning {
    Tuning {
        grace: settings.timeouts.grace,
        empty_timeout: settings.timeouts.empty,
        is_hls_default: settings.hls.by_default,
    }
}

fn control_options(
    settings: &Settings,
    environment: &BTreeMap<String, String>,
    demo: Option<&Demo>,
) -> anyhow::Result<sluice_control::Options> {
    let engine = |authority: String| sluice_control::StaticEngine { authority };
    let defaults = sluice_control::Options {
        api_key: match &settings.api_key {
            ApiKey::Generated => sluice_control::ApiKey::Generated,
            ApiKey::Open => sluice_control::ApiKey::Open,
            ApiKey::Given(key) => sluice_control::ApiKey::Given(key.expose().to_owned()),
        },
        reads_need_key: settings.reads_need_key,
        cors_origin: settings.cors_origin.clone(),
        collect_interval: settings.streams.collect_interval,
        stats_history_max: settings.streams.history_max,
        loop_detection: sluice_control::LoopDetection {
            is_enabled: settings.streams.finds_loops,
            threshold: settings.streams.loop_threshold,
            check_interval: settings.streams.loop_check_interval,
            retention: settings.streams.loop_retention,
        },
        tuning: tuning(settings),
        environment: environment.clone(),
        is_pinned: settings.is_pinned,
        ..sluice_control::Options::default()
    };
    if let Some(demo) = demo {
        let static_engines = demo.engines.iter().map(|address| engine(address.to_string())).collect();
        // The demo leaves nothing behind: its data directory is memory.
        return Ok(sluice_control::Options { static_engines, ..defaults });
    }
    let engines = &settings.engines;
    Ok(sluice_control::Options {
        static_engines: engines.static_engines.iter().map(|address| engine(address.to_string())).collect(),
        fallback_engine: engines.fallback_engine.as_ref().map(|address| engine(address.to_string())),
        assumed_engine: engines.assumed_engine.as_ref().map(|address| engine(address.to_string())),
        streams_per_engine: engines.streams_per_engine_max.map(u32::from),
        selection: match engines.selection {
            Selection::Score { forwarded_bonus, stream_cost } => {
                sluice_control::Selection::Score { forwarded_bonus, stream_cost }
            }
            Selection::Spread => sluice_control::Selection::Spread,
        },
        no_response_timeout: settings.timeouts.no_response,
        engine_wait: engines.wait,
        docker: settings.docker.as_ref().map(|docker| yard_options(settings, docker)).transpose()?,
        is_vpn_asked: settings.is_vpn_asked,
        data_dir: Some(settings.data_dir.clone()),
        ..defaults
    })
}

/// How engines are kept in Docker.
fn yard_options(settings: &Settings, docker: &DockerSettings) -> anyhow::Result<sluice_control::YardOptions> {
    use sluice_control::docker::{Host, Label, Network, Tls};
    use sluice_control::recipe::{Tags, Variant};
    use sluice_control::{BreakerLimits, FleetLimits, Ranges, Setup, YardOptions, ports::PortRange};
    /// Streams an engine in Docker carries when nobody set a limit: what the orchestrator's default was.
    const STREAMS_PER_ENGINE: u32 = 3;
    let tls = docker.certificates.clone().map(|directory| Tls { directory });
    let host = Host::new(docker.host.as_deref(), tls)?;
    if let (Some(remote), Some(publish)) = (host.remote(), docker.publish.filter(IpAddr::is_loopback)) {
        bail!(
            "ENGINE_PUBLISH_ADDR={publish} is not reachable from here: Docker is on {remote}; leave it out, or name an \
             address of that machine which this one reaches"
        );
    }
    let instance = match &docker.instance {
        Some(instance) => instance.clone(),
        None => sluice_control::instance(&settings.data_dir).with_context(|| {
            format!("cannot keep the mark of this appliance in DATA_DIR {}", settings.data_dir.display())
        })?,
    };
    let count = |count: u32| count as usize;
    let range = |(first, last): (u16, u16)| PortRange::new(first, last);
    let breaker = |(threshold, recovery)| BreakerLimits { threshold, recovery };
    Ok(YardOptions {
        setup: Setup {
            host,
            variant: docker.variant.and_then(Variant::named),
            custom: None,
            tags: Tags { arm32: docker.arm_tags.0.clone(), arm64: docker.arm_tags.1.clone() },
            label: Label { key: docker.label.0.clone(), value: docker.label.1.clone() },
            instance,
            network: docker.network.as_ref().map(|network| match network {
                EngineNetwork::Host => Network::Host,
                EngineNetwork::Bridge => Network::Bridge,
                EngineNetwork::Named(name) => Network::Named(name.clone()),
            }),
            publish: docker.publish,
            has_https_mapped: docker.has_https_mapped,
            memory_bytes: docker.memory_bytes,
            folders: Vec::new(),
        },
        limits: FleetLimits {
            min: count(docker.replicas_min),
            max: count(docker.replicas_max),
            surge: count(docker.surge_max),
            min_free: count(docker.replicas_free_min),
            streams_per_engine: settings.engines.streams_per_engine_max.map_or(STREAMS_PER_ENGINE, u32::from),
            is_auto_delete: docker.is_auto_delete,
            grace: docker.grace,
            startup: docker.startup_timeout,
            concurrent_max: count(docker.provisions_max),
            interval: docker.provision_interval,
            unhealthy_grace: docker.unhealthy_grace,
            cooldown: docker.replacement_cooldown,
            list_interval: docker.monitor_interval,
            breaker: breaker(docker.breaker),
            replacement_breaker: breaker(docker.replacement_breaker),
        },
        ranges: Ranges {
            host: range(docker.host_ports)?,
            https: range(docker.https_ports)?,
            p2p: docker.p2p_ports.map(range).transpose()?,
        },
        pull_timeout: docker.pull_timeout,
        cache_bytes_max: docker.cache_bytes_max,
    })
}

/// Players the host's TCP memory cannot hold are better announced now than found out under load.
fn warn_of_socket_memory(settings: &Settings) {
    const PER_PLAYER: u64 = (512 + 64) << 10;
    let (Some(clients), Some(pool)) = (settings.limits.clients_max, uring::tcp_memory_bytes()) else {
        return;
    };
    let needed = u64::from(clients.get()) * PER_PLAYER;
    if needed > pool {
        tracing::warn!(
            needed_mib = needed >> 20,
            tcp_mem_mib = pool >> 20,
            "MAX_CLIENTS stalled players would need more socket memory than the host allows; raise net.ipv4.tcp_mem"
        );
    }
}

fn print_demo(demo: &Demo, port: u16) {
    println!("\nThe demo is playing. Open any of these in VLC, mpv or ffplay:\n");
    for channel in &demo.channels {
        println!("  http://localhost:{port}/ace/getstream?id={}   {}", channel.content_id, channel.name);
    }
    println!(
        "\nWho watches what: http://localhost:{port}/proxy/status   Figures: http://localhost:{port}/metrics"
    );
    println!("Ctrl-C ends it.\n");
}
