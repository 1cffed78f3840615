//! The appliance: reads settings and binds as the supervisor; starts shards and control, waits and drains as `serve`.

#![deny(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to the person who started it")]

mod appliance;
mod log;

use anyhow::{Context, bail};
use appliance::{Appliance, Beginning, Parts, static_engine, yard_options};
use arc_swap::ArcSwap;
use clap::{Parser, Subcommand};
use crossbeam::channel::{Receiver, Sender, bounded};
use log::Log;
use sluice::handover::cord::{FromServe, ToServe, hear, say};
use sluice::handover::wire::Wire;
use sluice::settings::{Channels, InForce, Settings, Tick, Watched, help};
use sluice::shard::Order;
use sluice::upgrade::{Paused, Takeover, Took};
use sluice::{shard, supervisor, upgrade, uring};
use sluice_bench::demo::Demo;
use sluice_contract::link::{self, link};
use sluice_contract::snapshot::Board;
use sluice_contract::{Dial, Directory, ShardId, ToControl, ToShard};
use sluice_control::doctor;
use std::io;
use std::net::SocketAddr;
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
    /// Look at what engines in Docker need and at the host's settings, and say of each what to do. Exits with 0, or the number of
    /// the first that failed.
    Doctor {
        /// Look at the host's settings alone, and exit with the number of the first that is off.
        #[arg(long)]
        host: bool,
    },
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
    /// Control is to be built from other settings than it was.
    Rebuild,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.action {
        Some(Action::Doctor { host }) => examine(host),
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
    let settings = Beginning::read(true)?.loaded.settings;
    Log::start(settings.log_level.as_str(), settings.is_log_json);
    let count = settings.shards.count;
    // An address that is listened on already keeps its sockets, and whoever waits there.
    let listeners = move |had: &[supervisor::Listener]| {
        let settings = Beginning::read(true)?.loaded.settings;
        let addresses = &settings.listen.addresses;
        let sockets = |(at, address): (usize, &SocketAddr)| {
            let address = *address;
            // Two may be alike, with ports of the kernel's choice.
            let alike = addresses[..at].iter().filter(|before| **before == address).count();
            let kept = had.iter().filter(|listener| listener.address == address).nth(alike);
            let sockets = kept.map(|kept| Ok(kept.sockets.clone()));
            let sockets = sockets.unwrap_or_else(|| bind(&address, count).map(Into::into))?;
            Ok(supervisor::Listener { address, sockets })
        };
        addresses.iter().enumerate().map(sockets).collect::<anyhow::Result<Vec<_>>>()
    };
    let options = supervisor::Options {
        program: std::env::current_exe().context("cannot tell which program this is")?,
        listeners: listeners(&[])?,
        relisten: Box::new(move |had| listeners(had).map_err(|error| format!("{error:#}"))),
        notify: std::env::var_os("NOTIFY_SOCKET"),
        data_dir: settings.data_dir.clone(),
        settled: forget_startup_code,
    };
    Ok(supervisor::run(options)?)
}

/// Asks the supervisor that serves on our `DATA_DIR`, and waits for the outcome.
fn ask_for_upgrade() -> anyhow::Result<()> {
    let settings = Beginning::read(false)?.loaded.settings;
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

/// One listening socket per shard.
fn bind(address: &SocketAddr, shards: u16) -> anyhow::Result<Vec<OwnedFd>> {
    uring::bind(*address, shards).with_context(|| format!("cannot listen on {address}"))
}

/// Looks at what engines need and at the host, or at the host alone, and prints what is found.
fn examine(is_host_only: bool) -> anyhow::Result<u8> {
    let loaded = Beginning::read(true)?.loaded;
    loaded.warnings.iter().for_each(|warning| println!("note    settings  {warning}"));
    let settings = &loaded.settings;
    let mut findings = Vec::new();
    if !is_host_only {
        let docker = settings.docker.as_ref().map(|docker| yard_options(settings, docker)).transpose()?;
        let engines: Vec<_> = settings.engines.named().map(|engine| static_engine(engine, None)).collect();
        findings = doctor::examine(docker.as_ref(), &engines).context("cannot start a thread")?;
    }
    findings.extend(doctor::host::examine(&surroundings(settings)));
    for finding in &findings {
        println!("{:7} {:9} {}", finding.state.as_str(), finding.subject.to_string(), finding.text);
        let remedy = finding.remedy.iter().flat_map(|remedy| remedy.lines());
        remedy.for_each(|line| println!("        -> {line}"));
    }
    Ok(if is_host_only { doctor::first_off(&findings) } else { doctor::exit_code(&findings) })
}

/// What the checks of the host have to know of the settings.
fn surroundings(settings: &Settings) -> doctor::host::Surroundings {
    let cores = uring::usable_cores().unwrap_or_default().len();
    doctor::host::Surroundings {
        root: "/".into(),
        port: settings.listen.addresses.first().map_or(8000, SocketAddr::port),
        tick_ms: match settings.shards.tick {
            Tick::Adaptive => None,
            Tick::Fixed(tick) => Some(tick.as_millis()),
        },
        is_pinned: usize::from(settings.shards.count) <= cores,
    }
}

/// Removes the engines this appliance has in Docker and says which.
fn remove_engines() -> anyhow::Result<()> {
    let loaded = Beginning::read(true)?.loaded;
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
    // A demo keeps nothing, so nothing was kept.
    let beginning = Beginning::read(!is_demo)?;
    let settings = beginning.loaded.settings.clone();
    let log = Log::start(settings.log_level.as_str(), settings.is_log_json);
    beginning.loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    uring::raise_descriptor_limit().context("cannot read the limit of open files")?;
    warn_of_socket_memory(&settings);
    let demo = is_demo.then(sluice_bench::demo::start).transpose().context("cannot start the demo")?;
    let demo = demo.map(Arc::new);

    let (wire, by_address, old) = match cord {
        Some(Cord { wire, listeners, old }) => (Some(wire), listeners, old),
        None => {
            let addresses = settings.listen.addresses.iter();
            let bound = addresses.map(|address| bind(address, settings.shards.count));
            (None, bound.collect::<anyhow::Result<Vec<_>>>()?, None)
        }
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
    let dial = Arc::new(Dial::new(appliance::tuning(&settings)));
    let channels = Arc::new(ArcSwap::from_pointee(settings.channels.list.clone()));
    let (events, waiting) = bounded(usize::from(count) + 8);
    watch_signals(events.clone()).context("cannot watch signals")?;
    let takeover =
        old.map(|old| Takeover::begin(old, count)).transpose().context("nothing was handed over")?;
    let is_supervised = wire.is_some();
    let events_of_changes = events.clone();
    let appliance = Appliance::new(Parts {
        beginning,
        demo: demo.clone(),
        log,
        is_supervised,
        events: events_of_changes,
    });
    let mut options = appliance.build()?;
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
            variables: Some(appliance.clone()),
            panel: sluice_control::PanelSessions::default(),
            past: sluice_control::Past::default(),
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
    appliance.keep_generated_key(generated_key);
    let cores = uring::usable_cores().unwrap_or_default();
    let mut peers = shard::peers(count);
    let of_shards = inboxes.into_iter().zip(listeners).zip(to_orders.drain(..).zip(taken.drain(..)));
    for (id, ((inbox, listeners), (orders, taken))) in (0..count).zip(of_shards) {
        let wiring = shard::Wiring {
            id: ShardId(id),
            core: (usize::from(count) <= cores.len()).then(|| cores[usize::from(id)]),
            listeners,
            inbox,
            shards: senders.clone(),
            peers: peers[usize::from(id)].take(),
            control: to_control.clone(),
            directory: directory.clone(),
            board: board.clone(),
            channels: channels.clone(),
            dial: dial.clone(),
            admission: appliance.admission(),
            budget: appliance.budget(),
            settings: appliance.in_force().clone(),
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
        let options = sluice_control::Options { lock_wait: LOCK_WAIT, ..appliance.build()? };
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
    serve(appliance.in_force(), restart, (&waiting, &mut channels), &shards, &mut control, cord.as_deref())
}

/// The channels that shards know, and the file they stand in.
struct ChannelList {
    file: Option<Watched>,
    list: Arc<ArcSwap<Channels>>,
}

impl ChannelList {
    /// Takes the list anew if its file has changed, or is another one; one with a fault changes nothing.
    fn refresh(&mut self, settings: &Settings) {
        let path = &settings.channels.path;
        if self.file.as_ref().map(Watched::path) != path.as_deref() {
            self.file = path.clone().map(Watched::new);
            if settings.channels.list != **self.list.load() {
                self.list.store(Arc::new(settings.channels.list.clone()));
            }
        }
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
    settings: &InForce,
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
            Ok(Event::Rebuild) => rebuild(&restart, control)?,
            Ok(Event::ShardEnded(id, Ok(()))) => bail!("shard {} ended by itself", id.0),
            Ok(Event::ShardEnded(id, Err(error))) => {
                return Err(error).with_context(|| format!("shard {} cannot run", id.0));
            }
            Err(_) => {}
        }
        channels.refresh(&settings.load());
        if control.as_ref().is_some_and(|control| !control.is_running())
            && let Some(failed) = control.take()
        {
            tracing::error!("control failed; starting it anew while streams play on");
            let wiring = failed.stop(Instant::now() + Duration::from_secs(2))?;
            *control = Some(restart(wiring)?);
        }
    }
    let deadline = Instant::now() + settings.load().timeouts.shutdown;
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
            Ok(Event::HandOver(_) | Event::Rebuild) => {}
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

/// Builds control from what holds now, while streams play on.
fn rebuild(
    restart: impl Fn(sluice_control::Wiring) -> anyhow::Result<sluice_control::Handle>,
    control: &mut Option<sluice_control::Handle>,
) -> anyhow::Result<()> {
    if let Some(running) = control.take() {
        tracing::info!("settings of control were changed; starting it anew while streams play on");
        let wiring = running.pause(Instant::now() + CONTROL_STOP)?;
        *control = Some(restart(wiring)?);
    }
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

fn forget_startup_code() {
    if let Err(error) = uring::forget_startup_code() {
        tracing::debug!(%error, "the code of the start stays in memory");
    }
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
