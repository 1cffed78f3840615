//! The appliance: reads settings and binds as the supervisor; starts shards and control, waits and drains as `serve`.

#![deny(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to the person who started it")]

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use clap::{Parser, Subcommand};
use crossbeam::channel::{Receiver, Sender, bounded};
use sluice::handover::cord::{FromServe, ToServe, hear, say};
use sluice::handover::wire::Wire;
use sluice::listen::{Admission, Bounds, PlayRate};
use sluice::settings::{
    ApiKey, Channels, Docker as DockerSettings, EngineNetwork, JoinBehind, Loaded, Selection, Settings,
    Watched, help,
};
use sluice::shard::Order;
use sluice::upgrade::{Paused, Takeover, Took};
use sluice::window::Budget;
use sluice::{shard, supervisor, upgrade, uring};
use sluice_bench::demo::Demo;
use sluice_contract::link::{self, link};
use sluice_contract::snapshot::Board;
use sluice_contract::{Dial, Directory, ShardId, ToControl, ToShard, Tuning};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
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
/// Between two looks at whether control still runs, and whether the list of channels has changed.
const CONTROL_LOOK: Duration = Duration::from_secs(1);
/// A start has done everything it does only once after this.
const SETTLES_IN: Duration = Duration::from_secs(3);
/// What the planes are given beyond the players' own deadline before the process ends anyway.
const FAREWELL: Duration = Duration::from_millis(500);
/// A second signal that comes so soon is the first one again: systemd tells every process of a unit, and the supervisor
/// passes on what it was told.
const ECHO: Duration = Duration::from_millis(500);

/// Orders about handing over that may wait: they come one after the other.
const ORDERS: usize = 8;
/// How long a process that is ending may hold on to `DATA_DIR`.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// What control is given to finish what it answers before everything is handed over.
const CONTROL_STOP: Duration = Duration::from_secs(3);
/// What the supervisor is given to say its first word.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// What it is given to take ours.
const WORD_TIMEOUT: Duration = Duration::from_secs(5);

/// One AceStream in, thousands of players out.
#[derive(Parser)]
#[command(version, after_long_help = help::text())]
struct Arguments {
    /// Serve built-in simulated engines with real channels: plays at once, no Docker, no engine.
    #[arg(long)]
    demo: bool,
    /// Stop and remove this appliance's engines in Docker, and exit: no start and no stop does that. Stop the appliance first.
    #[arg(long, exclusive = true)]
    remove_engines: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

/// What else the program does.
#[derive(Subcommand)]
enum Action {
    /// Look at what engines in Docker need, and say of each what to do. Exits with 0, or the number of the first that failed.
    Doctor,
    /// Serve without a supervisor: one process, which cannot be upgraded.
    Serve {
        /// A supervisor is at the other end of standard input.
        #[arg(long, hide = true)]
        supervised: bool,
    },
    /// Have everything that plays handed over to the binary that is on disk now; nobody is cut.
    Upgrade,
}

/// What the main thread waits for.
enum Event {
    /// The operator wants it to stop.
    Signal,
    /// A shard's thread ended.
    ShardEnded(ShardId, io::Result<()>),
    /// Everything is to be handed over to the process at the other end.
    HandOver(Wire),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.action {
        Some(Action::Doctor) => examine(),
        Some(Action::Upgrade) => ask_for_upgrade().map(|()| 0),
        None if arguments.remove_engines => remove_engines().map(|()| 0),
        // The demo's engines live in its process and would not survive it.
        None if arguments.demo => run(true, None).map(|()| 0),
        None => supervise(),
        Some(Action::Serve { supervised }) => {
            supervised.then(Cord::take).transpose().and_then(|cord| run(arguments.demo, cord)).map(|()| 0)
        }
    };
    match outcome {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("sluice: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Holds the listening sockets and lets another process serve.
fn supervise() -> anyhow::Result<u8> {
    let settings = load()?.settings;
    start_log(&settings);
    let options = supervisor::Options {
        program: std::env::current_exe().context("cannot tell which program this is")?,
        listeners: bind(&settings)?,
        notify: std::env::var_os("NOTIFY_SOCKET"),
        data_dir: settings.data_dir.clone(),
        settled: forget_startup_code,
    };
    Ok(supervisor::run(options)?)
}

/// Asks the supervisor that serves on our `DATA_DIR`, and waits for the outcome.
fn ask_for_upgrade() -> anyhow::Result<()> {
    let settings = load()?.settings;
    println!("{}", supervisor::ask(&settings.data_dir)?);
    Ok(())
}

/// The way to the supervisor, and the listening sockets that came over it.
struct Cord {
    wire: Wire,
    listeners: Vec<Vec<OwnedFd>>,
    /// The way to the process that serves now.
    old: Option<Wire>,
}

impl Cord {
    /// The supervisor is at the other end of standard input, which becomes empty.
    fn take() -> anyhow::Result<Self> {
        let wire = Wire::from_fd(io::stdin().as_fd().try_clone_to_owned()?);
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        let first = hear(&wire, Instant::now() + FIRST_WORD).context("the supervisor cannot be heard")?;
        let (ToServe::Begin { shards, takes_over }, mut parcel) = first.context("the supervisor is gone")?
        else {
            bail!("the supervisor begins with another word");
        };
        let old = if takes_over { parcel.fds.pop().map(Wire::from_fd) } else { None };
        if shards == 0 || parcel.fds.is_empty() || !parcel.fds.len().is_multiple_of(usize::from(shards)) {
            bail!("the supervisor gave {} listening sockets for {shards} shards", parcel.fds.len());
        }
        let mut listeners: Vec<Vec<OwnedFd>> = Vec::new();
        for (at, fd) in parcel.fds.into_iter().enumerate() {
            if at % usize::from(shards) == 0 {
                listeners.push(Vec::new());
            }
            listeners.last_mut().expect("the first one was just made").push(fd);
        }
        Ok(Self { wire, listeners, old })
    }
}

/// Reads the settings, or says everything that is wrong with them.
fn load() -> anyhow::Result<Loaded> {
    Settings::load().map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        anyhow::anyhow!("settings are not usable:{}", lines.concat())
    })
}

/// For each address one listening socket per shard.
fn bind(settings: &Settings) -> anyhow::Result<Vec<Vec<OwnedFd>>> {
    let bound = |address: &SocketAddr| {
        uring::bind(*address, settings.shards.count).with_context(|| format!("cannot listen on {address}"))
    };
    settings.listen.addresses.iter().map(bound).collect()
}

/// Looks at what engines need and prints what is found.
fn examine() -> anyhow::Result<u8> {
    let loaded = load()?;
    loaded.warnings.iter().for_each(|warning| println!("note    settings  {warning}"));
    let settings = &loaded.settings;
    let docker = settings.docker.as_ref().map(|docker| yard_options(settings, docker)).transpose()?;
    let engines: Vec<_> = settings.engines.named().map(|engine| static_engine(engine, None)).collect();
    let findings =
        sluice_control::doctor::examine(docker.as_ref(), &engines).context("cannot start a thread")?;
    for finding in &findings {
        println!("{:7} {:9} {}", finding.state.as_str(), finding.subject.to_string(), finding.text);
        finding.remedy.iter().for_each(|remedy| println!("        -> {remedy}"));
    }
    Ok(sluice_control::doctor::exit_code(&findings))
}

/// Removes the engines this appliance has in Docker and says which.
fn remove_engines() -> anyhow::Result<()> {
    let loaded = load()?;
    let settings = &loaded.settings;
    let docker = settings.docker.as_ref();
    let docker =
        docker.context("no engines are kept in Docker here (ENGINE_PROVISIONING, STATIC_ENGINES)")?;
    let removals = sluice_control::remove_engines(&yard_options(settings, docker)?.setup)?;
    let mut left = 0;
    for removal in &removals {
        match &removal.outcome {
            Ok(()) => println!("removed {}", removal.name),
            Err(error) => {
                left += 1;
                println!("left {}: {error}; {}", removal.name, error.remedy());
            }
        }
    }
    if left > 0 {
        bail!("{left} of {} engines could not be removed", removals.len());
    }
    println!("{} engines removed", removals.len());
    Ok(())
}

fn run(is_demo: bool, cord: Option<Cord>) -> anyhow::Result<()> {
    let loaded = load()?;
    start_log(&loaded.settings);
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let environment = loaded.environment.of(sluice_control::variables());
    let settings = Arc::new(loaded.settings);
    uring::raise_descriptor_limit().context("cannot read the limit of open files")?;
    warn_of_socket_memory(&settings);
    let demo = is_demo.then(sluice_bench::demo::start).transpose().context("cannot start the demo")?;

    let (wire, by_address, old) = match cord {
        Some(Cord { wire, listeners, old }) => (Some(wire), listeners, old),
        None => (None, bind(&settings)?, None),
    };
    // As many as there are sockets: a supervisor keeps its own while programs come and go.
    let count = u16::try_from(by_address.first().map_or(0, Vec::len)).context("too many shards")?;
    let bound: Vec<SocketAddr> =
        by_address.iter().map(|made| uring::local_address(&made[0])).collect::<io::Result<_>>()?;
    let mut listeners: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
    for made in by_address {
        listeners.iter_mut().zip(made).for_each(|(of_shard, listener)| of_shard.push(listener));
    }

    // The kernel takes connections from here on. Said before the shards say that they run, so that whoever reads the log
    // to learn the ports has them all by then.
    for address in &bound {
        tracing::info!(address = %address.ip(), port = address.port(), shards = count, "listening");
    }

    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| link::<ToShard>(SHARD_INBOX)).unzip();
    let (to_control, control_inbox) = link(CONTROL_INBOX);
    let directory = Arc::new(Directory::default());
    let board = Arc::new(Board::new(count));
    let dial = Arc::new(Dial::new(tuning(&settings)));
    let channels = Arc::new(ArcSwap::from_pointee(settings.channels.list.clone()));
    let (events, waiting) = bounded(usize::from(count) + 8);
    watch_signals(events.clone()).context("cannot watch signals")?;
    let takeover =
        old.map(|old| Takeover::begin(old, count)).transpose().context("nothing was handed over")?;
    let mut options = control_options(&settings, &environment, demo.as_ref())?;
    if let Some(takeover) = &takeover {
        (options.epoch_before, options.lock_wait) = (takeover.epoch, LOCK_WAIT);
    }
    let started = sluice_control::start(
        options,
        sluice_control::Wiring {
            inbox: control_inbox,
            shards: senders.clone(),
            directory: directory.clone(),
            board: board.clone(),
            dial: dial.clone(),
        },
    );
    if let (Err(error), Some(takeover)) = (&started, &takeover) {
        takeover.refuse(&error.to_string());
    }
    let mut control = Some(started?);
    let (took, mut taken): (Option<Took>, Vec<_>) = match takeover.map(|it| it.receive(count)).transpose() {
        Ok(Some((took, taken))) => (Some(took), taken.into_iter().map(Some).collect()),
        Ok(None) => (None, (0..count).map(|_| None).collect()),
        Err(error) => return Err(error).context("nothing was handed over"),
    };
    let (orders, mut to_orders): (Vec<_>, Vec<_>) = (0..count).map(|_| link::<Order>(ORDERS)).unzip();
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
    let of_shards = inboxes.into_iter().zip(listeners).zip(to_orders.drain(..).zip(taken.drain(..)));
    for (id, ((inbox, listeners), (orders, taken))) in (0..count).zip(of_shards) {
        let wiring = shard::Wiring {
            id: ShardId(id),
            core: (usize::from(count) <= cores.len()).then(|| cores[usize::from(id)]),
            listeners,
            inbox,
            shards: senders.clone(),
            control: to_control.clone(),
            directory: directory.clone(),
            board: board.clone(),
            channels: channels.clone(),
            dial: dial.clone(),
            admission: admission.clone(),
            budget: budget.clone(),
            settings: settings.clone(),
            orders,
            taken,
        };
        let events = events.clone();
        let name = format!("shard-{id}");
        let body = move || {
            let _ = events.send(Event::ShardEnded(ShardId(id), shard::run(wiring)));
        };
        thread::Builder::new().name(name).spawn(body).context("cannot start a shard")?;
    }
    if let Some(demo) = &demo {
        print_demo(demo, bound[0].port());
    }
    let restart = |wiring| {
        let mut options = control_options(&settings, &environment, demo.as_ref())?;
        options.lock_wait = LOCK_WAIT;
        if let Some(key) = generated_key.clone() {
            // The one that was shown goes on being accepted, whatever became of where its hash is kept.
            options.api_key = sluice_control::ApiKey::Given(key);
        }
        Ok(sluice_control::start(options, wiring)?)
    };
    if let Some(took) = took {
        let (sessions, players) = took.counts;
        took.finish().context("nothing was handed over")?;
        tracing::info!(sessions, players, "took over");
    }
    let cord = wire.map(Arc::new);
    if let Some(cord) = &cord {
        watch_supervisor(cord.clone(), events.clone())?;
    }
    let shards = ShardLinks { inboxes: &senders, orders: &orders, to_control: &to_control };
    let mut channels = ChannelList { file: settings.channels.path.clone().map(Watched::new), list: channels };
    serve(&settings, restart, (&waiting, &mut channels), &shards, &mut control, cord.as_deref())
}

/// The channels that shards know, and the file they stand in.
struct ChannelList {
    file: Option<Watched>,
    list: Arc<ArcSwap<Channels>>,
}

impl ChannelList {
    /// Takes the list anew if its file has changed; one with a fault changes nothing.
    fn refresh(&mut self) {
        match self.file.as_mut().and_then(Watched::reread) {
            Some(Ok(list)) if list != **self.list.load() => {
                let channels = list.len();
                self.list.store(Arc::new(list));
                // Said once it is true: whoever reads it may ask for a new channel.
                tracing::info!(channels, "the list of channels has changed");
            }
            Some(Err(fault)) => {
                tracing::warn!(%fault, "CHANNELS_FILE is not usable; the channels stay as they were");
            }
            _ => {}
        }
    }
}

/// The ways to the shards, and theirs to control.
struct ShardLinks<'a> {
    inboxes: &'a [link::Sender<ToShard>],
    orders: &'a [link::Sender<Order>],
    to_control: &'a link::Sender<ToControl>,
}

/// Waits for the end, keeping control alive meanwhile; then drains.
fn serve(
    settings: &Settings,
    restart: impl Fn(sluice_control::Wiring) -> anyhow::Result<sluice_control::Handle>,
    (waiting, channels): (&Receiver<Event>, &mut ChannelList),
    shards: &ShardLinks<'_>,
    control: &mut Option<sluice_control::Handle>,
    cord: Option<&Wire>,
) -> anyhow::Result<()> {
    let mut settled_at = Some(Instant::now() + SETTLES_IN);
    loop {
        if settled_at.take_if(|at| Instant::now() >= *at).is_some() {
            forget_startup_code();
        }
        match waiting.recv_timeout(CONTROL_LOOK) {
            Ok(Event::Signal) => break,
            Ok(Event::HandOver(wire)) => hand_over(wire, &restart, shards, control, cord)?,
            Ok(Event::ShardEnded(id, Ok(()))) => bail!("shard {} ended by itself", id.0),
            Ok(Event::ShardEnded(id, Err(error))) => {
                return Err(error).with_context(|| format!("shard {} cannot run", id.0));
            }
            Err(_) => {}
        }
        channels.refresh();
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
    for shard in shards.inboxes {
        let _ = shard.send(ToShard::Drain { deadline });
    }
    let mut left = shards.inboxes.len();
    let begun = Instant::now();
    while left > 0 {
        match waiting.recv_deadline(deadline + FAREWELL) {
            Ok(Event::ShardEnded(..)) => left -= 1,
            // Whoever wanted it sees that we end.
            Ok(Event::HandOver(_)) => {}
            Ok(Event::Signal) if begun.elapsed() < ECHO => {}
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

/// Hands everything over and ends the process, or goes on as if nothing had been.
fn hand_over(
    wire: Wire,
    restart: impl Fn(sluice_control::Wiring) -> anyhow::Result<sluice_control::Handle>,
    shards: &ShardLinks<'_>,
    control: &mut Option<sluice_control::Handle>,
    cord: Option<&Wire>,
) -> anyhow::Result<()> {
    let (mut paused, mut wiring) = (None, None);
    let pause = || {
        let running = control.take().ok_or("it is not running")?;
        let epoch = running.epoch().0;
        let mut left = running.pause(Instant::now() + CONTROL_STOP).map_err(|error| error.to_string())?;
        let unheard = std::iter::from_fn(|| left.inbox.try_recv()).collect();
        wiring = Some(left);
        Ok(Paused { epoch, unheard })
    };
    let outcome = upgrade::give(wire, shards.orders, &mut paused, pause);
    let tell = |word: &FromServe| {
        if let Some(cord) = cord
            && let Err(error) = say(cord, word, &[], Instant::now() + WORD_TIMEOUT)
        {
            tracing::warn!(%error, "the supervisor is deaf");
        }
    };
    match outcome {
        Ok(_standing_still) => {
            tell(&FromServe::HandedOver);
            // At once: the shards stand still, and must not go on as the values that hold them are dropped.
            std::process::exit(0)
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "nothing was handed over; going on as before");
            tell(&FromServe::Kept { reason: error.to_string() });
        }
    }
    if let Some(wiring) = wiring {
        *control = Some(restart(wiring)?);
        for message in paused.into_iter().flat_map(|paused| paused.unheard) {
            let _ = shards.to_control.send(message);
        }
    } else if control.is_none() {
        bail!("control did not stop in time and is lost");
    }
    Ok(())
}

fn start_log(settings: &Settings) {
    let level = settings.log_level.as_str();
    let filter = tracing_subscriber::EnvFilter::try_new(level).unwrap_or_default();
    let is_terminal = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(io::stderr);
    if settings.is_log_json {
        log.json().init();
    } else {
        log.with_ansi(is_terminal).init();
    }
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

/// Tells the supervisor that we serve, and stops in order should it die.
fn watch_supervisor(wire: Arc<Wire>, events: Sender<Event>) -> anyhow::Result<()> {
    if let Err(error) = say(&wire, &FromServe::Serving, &[], Instant::now() + WORD_TIMEOUT) {
        // Should it be gone, whoever listens to it below hears that.
        tracing::warn!(%error, "the supervisor is deaf");
    }
    let listen = move || {
        let ever = Duration::from_secs(u64::from(u32::MAX));
        while let Ok(Some((word, mut parcel))) = hear::<ToServe>(&wire, Instant::now() + ever) {
            if let (ToServe::HandOver, Some(fd)) = (word, parcel.fds.pop()) {
                let _ = events.try_send(Event::HandOver(Wire::from_fd(fd)));
            }
        }
        tracing::warn!("the supervisor is gone");
        let _ = events.try_send(Event::Signal);
    };
    thread::Builder::new().name("supervisor".into()).spawn(listen).context("cannot watch the supervisor")?;
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
        join_behind: match settings.window.join_behind {
            JoinBehind::Media(time) => Some(time),
            JoinBehind::Bytes(_) => None,
        },
    }
}

fn forget_startup_code() {
    if let Err(error) = uring::forget_startup_code() {
        tracing::debug!(%error, "the code of the start stays in memory");
    }
}

fn static_engine(address: &impl ToString, group: Option<String>) -> sluice_control::StaticEngine {
    sluice_control::StaticEngine { authority: address.to_string(), group }
}

fn control_options(
    settings: &Settings,
    environment: &BTreeMap<String, String>,
    demo: Option<&Demo>,
) -> anyhow::Result<sluice_control::Options> {
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
        join_behind_max: settings.slow_clients.lag_max,
        environment: environment.clone(),
        is_pinned: settings.is_pinned,
        debug_dir: settings.debug_log_dir.clone(),
        ..sluice_control::Options::default()
    };
    if let Some(demo) = demo {
        let static_engines = demo.engines.iter().map(|address| static_engine(address, None)).collect();
        // The demo leaves nothing behind: its data directory is memory.
        return Ok(sluice_control::Options { static_engines, ..defaults });
    }
    let engines = &settings.engines;
    Ok(sluice_control::Options {
        static_engines: engines
            .static_engines
            .iter()
            .map(|engine| static_engine(&engine.address, engine.group.clone()))
            .collect(),
        fallback_engine: engines.fallback_engine.as_ref().map(|address| static_engine(address, None)),
        assumed_engine: engines.assumed_engine.as_ref().map(|address| static_engine(address, None)),
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
        debug_dir: Some(
            settings.debug_log_dir.clone().unwrap_or_else(|| settings.data_dir.join("debug_logs")),
        ),
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
