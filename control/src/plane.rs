//! Starting, running and stopping the plane. One task reads the inbox and passes each message to its room; it is
//! also the one that notices when a room fails and takes the plane down in order, so that `main` can build a new one.

use crate::key::{self, KeyHash};
use crate::settings::variables::{Base, Variables};
use crate::shards::Shards;
use crate::store::{self, Record};
use crate::{
    ApiKey, Error, LoopDetection, Options, PanelSessions, Past, Wiring, api, diagnosis, engines, events,
    metrics, priority, resolve, settings, streams,
};
use sluice_contract::link::Receiver;
use sluice_contract::{Dial, Directory, Epoch, ToControl};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Messages taken from the inbox before other tasks of the thread get their turn.
const BATCH_MAX: usize = 64;
/// Threads for name look-ups, which block.
const BLOCKING_THREADS_MAX: usize = 4;
/// What the store is given for its last commit, whatever is left until the deadline.
const STORE_GRACE: Duration = Duration::from_secs(2);
/// What the other rooms are given to stop in when the plane is to be started anew.
const PAUSE_GRACE: Duration = Duration::from_secs(5);
const THREAD_STACK_BYTES: usize = 1024 * 1024;
/// Threads that answer callers and do nothing else. One keeps a core busy with gigabits of answers.
const API_THREADS: usize = 1;

/// Under which name the store keeps the hash of a generated key; no setting has such a name.
const KEY_SETTING: &str = "api_key_sha256";

/// The generation of the newest control in this process; each start makes the next.
static EPOCH: AtomicU64 = AtomicU64::new(0);

/// A running control plane. Dropping it ends the plane at once and loses the wiring; use [`Handle::stop`].
pub struct Handle {
    runtime: Option<Runtime>,
    api_runtime: Option<Runtime>,
    main: Option<JoinHandle<Receiver<ToControl>>>,
    stop: Option<oneshot::Sender<Instant>>,
    generated_key: Option<String>,
    epoch: Epoch,
    shards: Arc<Shards>,
    directory: Arc<Directory>,
    board: Arc<sluice_contract::snapshot::Board>,
    dial: Arc<Dial>,
    variables: Option<Arc<dyn Variables>>,
    panel: PanelSessions,
    past: Past,
}

/// Whether a plane could be started with these options, without starting one.
///
/// # Errors
/// When an option cannot work.
pub fn examine(options: &Options) -> Result<(), Error> {
    check(options)?;
    let engines =
        options.static_engines.iter().chain(&options.fallback_engine).chain(&options.assumed_engine);
    for engine in engines {
        engine.authority.parse::<engines::Authority>()?;
    }
    Ok(())
}

/// Starts the plane on threads of its own and tells every shard of the new link generation.
///
/// # Errors
/// When an option cannot work or the threads cannot be started. The wiring is lost then: nothing was using it.
pub fn start(options: Options, wiring: Wiring) -> Result<Handle, Error> {
    check(&options)?;
    let parse = |engine: &crate::StaticEngine| engine.authority.parse::<engines::Authority>();
    let pooled = |engine: &crate::StaticEngine| {
        let group = engine.group.as_deref().map(Arc::from);
        parse(engine).map(|authority| engines::Pooled { authority, group })
    };
    let pool = options.static_engines.iter().map(pooled).collect::<Result<Vec<_>, _>>()?;
    let fallback = options.fallback_engine.as_ref().map(parse).transpose()?;
    let assumed = options.assumed_engine.as_ref().map(parse).transpose()?;
    let (store, loaded) = open_store(&options)?;
    EPOCH.fetch_max(options.epoch_before, Ordering::Relaxed);
    let epoch = Epoch(EPOCH.fetch_add(1, Ordering::Relaxed) + 1);
    let runtime = threads("control", options.worker_threads, priority::lower)?;
    let api_runtime = threads("control-api", API_THREADS, priority::lower_with_short_turns)?;
    let (key, generated_key) = key(&options.api_key, &store, &runtime)?;

    let Wiring { inbox, shards, directory, board, dial, variables, panel, past } = wiring;
    let shards = Arc::new(Shards::new(shards));
    for (number, infohash) in loaded.aliases {
        directory.learn(number, infohash);
    }
    let settings = settings::start(
        settings::Options {
            environment: options.environment.clone(),
            base: Base { tuning: options.tuning, join_behind_max: options.join_behind_max },
            streams_per_engine: options.streams_per_engine,
            fleet: options.docker.as_ref().map(settings::Fleet::of),
            looping: options.loop_detection,
            is_pinned: options.is_pinned,
        },
        store.clone(),
        dial.clone(),
        variables.clone(),
    );
    runtime.block_on(settings.choose_template());
    let (stop, stopped) = oneshot::channel();
    let entered = runtime.enter();
    let mut tasks = JoinSet::new();
    let diagnosis = diagnosis::start(settings.watch_diagnosis(), options.debug_dir.clone(), &mut tasks);
    let events = events::Handle::new(loaded.events, store.clone());
    let engines = engines::start(
        engines::Options {
            pool,
            fallback,
            epoch,
            live: settings.watch(),
            selection: options.selection,
            engine_starts_max: options.engine_starts_max,
            no_response_timeout: options.no_response_timeout,
            engine_wait: options.engine_wait,
            source: source(&options, assumed),
            diagnosis: diagnosis.clone(),
            events: events.clone(),
        },
        shards.clone(),
        directory.clone(),
        board.clone(),
        &mut tasks,
    );
    let resolve = resolve::start(
        resolve::Options { timeout: options.resolve_timeout },
        engines.clone(),
        shards.clone(),
        directory.clone(),
        store.clone(),
        &mut tasks,
    );
    let watch = events::watch(events.clone(), engines.clone(), store.clone(), board.clone());
    tasks.spawn(async move {
        watch.await;
        "events"
    });
    let looping = settings.watch_looping();
    let streams = streams::start(
        streams::Settings {
            collect_interval: options.collect_interval,
            history_max: options.stats_history_max,
            stale_after: options.stale_after,
            unheard_after: options.unheard_after,
            looping: *looping.borrow(),
        },
        streams::Sources {
            board: board.clone(),
            directory: directory.clone(),
            shards: shards.clone(),
            engines: engines.clone(),
            events: events.clone(),
            store: store.clone(),
        },
        loaded.streams,
        loaded.looping,
        &mut tasks,
    );
    let measured = metrics::Sources {
        board: board.clone(),
        directory: directory.clone(),
        shards: shards.clone(),
        engines: engines.clone(),
        resolve: resolve.counts(),
        store: store.clone(),
        streams: streams.clone(),
        events: events.clone(),
        diagnosis: diagnosis.clone(),
    };
    let metrics = Arc::new(metrics::Metrics::new(measured, past.0.clone()));
    tasks.spawn(diagnosis::watch(
        diagnosis.clone(),
        diagnosis::Sources {
            events: events.clone(),
            board: board.clone(),
            shards: shards.clone(),
            store: store.clone(),
        },
    ));
    tasks.spawn(metrics::observe(metrics.clone()));
    #[cfg(feature = "faults")]
    tasks.spawn(api::faults::fail());
    tasks.spawn(follow(looping, streams.clone()));
    let access = api::Access::new(key, options.reads_need_key, panel.0.clone());
    access.set_key(settings.changed_key());
    let sources = api::Sources {
        board: board.clone(),
        directory: directory.clone(),
        shards: shards.clone(),
        engines: engines.clone(),
        settings,
        metrics,
        access: Arc::new(access),
        body_bytes_max: options.body_bytes_max,
        streams: streams.clone(),
        events: events.clone(),
        diagnosis: diagnosis.clone(),
        idle_timeout: options.idle_timeout,
        looks: Arc::new(api::Looks::new()),
        bodies: Arc::default(),
        work: runtime.handle().clone(),
    };
    tasks.spawn(api::Bodies::tend(sources.clone()));
    let api = api::start(api_options(&options), sources, api_runtime.handle().clone());
    let plane = Plane {
        inbox,
        engines,
        resolve,
        api,
        directory: directory.clone(),
        events,
        streams,
        store,
        diagnosis,
        tasks,
    };
    let main = runtime.spawn(plane.run(stopped));
    drop(entered);
    tracing::info!(epoch = epoch.0, threads = options.worker_threads, "control started");
    Ok(Handle {
        runtime: Some(runtime),
        api_runtime: Some(api_runtime),
        main: Some(main),
        stop: Some(stop),
        generated_key,
        epoch,
        shards,
        directory,
        board,
        dial,
        variables,
        panel,
        past,
    })
}

/// Threads of their own for one part of the plane. A thread that is busy gets its turns late on a busy machine, so what has to
/// answer soon shares none with what has much to do.
fn threads(name: &'static str, count: usize, begin: fn()) -> Result<Runtime, Error> {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(count)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name(name)
        .thread_stack_size(THREAD_STACK_BYTES)
        .on_thread_start(begin)
        .enable_io()
        .enable_time();
    builder.build().map_err(Error::Threads)
}

/// Opens the store, as soon as nobody else holds its directory.
fn open_store(options: &Options) -> Result<(store::Handle, store::Loaded), store::Error> {
    /// Between two looks.
    const LOOK: Duration = Duration::from_millis(20);
    let until = Instant::now() + options.lock_wait;
    loop {
        match store::open(&store::Options { directory: options.data_dir.clone(), pages_max: None }) {
            Err(store::Error::InUse { .. }) if Instant::now() < until => {
                #[allow(
                    clippy::disallowed_methods,
                    reason = "there is no runtime yet, only the thread that starts it"
                )]
                std::thread::sleep(LOOK);
            }
            opened => return opened,
        }
    }
}

fn source(options: &Options, assumed: Option<engines::Authority>) -> engines::Source {
    match &options.docker {
        _ if options.is_vpn_asked => engines::Source::VpnRefused,
        Some(yard) => {
            let client = crate::docker::Client::new(yard.setup.host.clone());
            engines::Source::Docker { yard: Box::new(yard.clone()), docker: Arc::new(client), assumed }
        }
        None => engines::Source::Named,
    }
}

fn check(options: &Options) -> Result<(), Error> {
    let bounds: [(&'static str, usize, std::ops::RangeInclusive<usize>, &'static str); 6] = [
        ("worker_threads", options.worker_threads, 1..=64, "1 to 64"),
        ("engine_starts_max", options.engine_starts_max, 1..=usize::MAX, "at least 1"),
        ("connections_max", options.connections_max, 1..=tokio::sync::Semaphore::MAX_PERMITS, "at least 1"),
        ("head_bytes_max", options.head_bytes_max, 8192..=1 << 20, "8192 to 1048576"),
        ("headers_max", options.headers_max, 1..=4096, "1 to 4096"),
        (
            "streams_per_engine",
            options.streams_per_engine.unwrap_or(1) as usize,
            1..=usize::MAX,
            "at least 1",
        ),
    ];
    for (name, value, range, allowed) in bounds {
        if !range.contains(&value) {
            return Err(Error::Option { name, value: value.to_string(), allowed });
        }
    }
    for name in ["OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"] {
        let Some(text) = options.environment.get(name) else { continue };
        if text.parse::<diagnosis::Endpoint>().is_err() {
            return Err(Error::Option { name, value: text.clone(), allowed: "http://host:port" });
        }
    }
    if http::HeaderValue::from_str(&options.cors_origin).is_err() {
        return Err(Error::Option {
            name: "cors_origin",
            value: options.cors_origin.clone(),
            allowed: "* or one origin",
        });
    }
    Ok(())
}

/// What callers' keys are compared with, and the key itself if it was generated just now: nobody can be told it later.
fn key(
    wanted: &ApiKey,
    store: &store::Handle,
    runtime: &Runtime,
) -> Result<(Option<KeyHash>, Option<String>), Error> {
    match wanted {
        ApiKey::Open => {
            tracing::warn!("no API key: everybody who reaches the port may change everything");
            return Ok((None, None));
        }
        ApiKey::Given(key) => return Ok((Some(KeyHash::of(key.as_bytes())), None)),
        ApiKey::Generated => {}
    }
    let stored = store.setting(KEY_SETTING).and_then(|row| KeyHash::from_hex(&row.value));
    if let Some(hash) = stored {
        tracing::info!("the API key is the one generated at the first start; API_KEY sets another one");
        return Ok((Some(hash), None));
    }
    let key = key::generate()?;
    let hash = KeyHash::of(key.as_bytes());
    let row = store::SettingRow {
        key: KEY_SETTING.to_owned(),
        value: hash.to_hex(),
        environment: None,
        changed_at: SystemTime::now(),
    };
    if let Err(error) = runtime.block_on(store.save(vec![Record::Setting(row)])) {
        tracing::warn!(%error, "the API key will be another one after a restart");
    }
    Ok((Some(hash), Some(key)))
}

fn api_options(options: &Options) -> api::Options {
    api::Options {
        cors_origin: options.cors_origin.clone(),
        connections_max: options.connections_max,
        head_bytes_max: options.head_bytes_max,
        headers_max: options.headers_max,
        body_bytes_max: options.body_bytes_max,
        head_timeout: options.head_timeout,
        idle_timeout: options.idle_timeout,
    }
}

impl Handle {
    /// Whether the plane still runs. It ends by itself only when one of its rooms fails, which is a bug; then stop it
    /// and start a new one with the wiring.
    pub fn is_running(&self) -> bool {
        self.main.as_ref().is_some_and(|main| !main.is_finished())
    }

    /// The link generation of this control.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The API key, if this start generated it; it can be had once, because only a hash of it is kept.
    pub fn take_generated_key(&mut self) -> Option<String> {
        self.generated_key.take()
    }

    /// Stops in order: reads no more messages, finishes responses under way, answers everybody who waits, and gives the
    /// wiring back. Leases stay with the shards, which go on playing.
    ///
    /// Blocks until the deadline at most; must not be called on a thread of an async runtime of its own.
    ///
    /// # Errors
    /// [`Error::Late`] or [`Error::Internal`]; the wiring is lost then.
    pub fn stop(self, deadline: Instant) -> Result<Wiring, Error> {
        self.end(deadline, deadline)
    }

    /// The same for a plane that must not be lost: responses under way are cut at the deadline, and what follows takes the
    /// time it takes, within bounds.
    ///
    /// # Errors
    /// As for [`Handle::stop`].
    pub fn pause(self, deadline: Instant) -> Result<Wiring, Error> {
        self.end(deadline, deadline + 2 * STORE_GRACE + PAUSE_GRACE)
    }

    fn end(mut self, deadline: Instant, ended_by: Instant) -> Result<Wiring, Error> {
        if let Some(stop) = self.stop.take() {
            // A plane that ended by itself no longer listens; its inbox is collected just the same.
            let _ = stop.send(deadline);
        }
        let (Some(runtime), Some(main)) = (self.runtime.take(), self.main.take()) else {
            return Err(Error::Internal);
        };
        let outcome = runtime.block_on(async { tokio::time::timeout_at(ended_by.into(), main).await });
        // A name look-up may still block a thread; nothing waits for it.
        runtime.shutdown_background();
        self.api_runtime.take().into_iter().for_each(Runtime::shutdown_background);
        let inbox = outcome.map_err(|_| Error::Late)?.map_err(|_| Error::Internal)?;
        Ok(Wiring {
            inbox,
            shards: self.shards.inboxes().to_vec(),
            directory: self.directory.clone(),
            board: self.board.clone(),
            dial: self.dial.clone(),
            variables: self.variables.clone(),
            panel: self.panel.clone(),
            past: self.past.clone(),
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        for runtime in [self.runtime.take(), self.api_runtime.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}

/// Passes on to streams what settings say of them.
async fn follow(mut looping: watch::Receiver<LoopDetection>, streams: streams::Handle) -> &'static str {
    // The sender lives as long as anybody can change settings.
    while looping.changed().await.is_ok() {
        streams.set_looping(*looping.borrow_and_update());
    }
    "settings"
}

struct Plane {
    inbox: Receiver<ToControl>,
    engines: engines::Handle,
    resolve: resolve::Handle,
    api: api::Handle,
    directory: Arc<Directory>,
    events: events::Handle,
    streams: streams::Handle,
    store: store::Handle,
    diagnosis: diagnosis::Handle,
    tasks: JoinSet<&'static str>,
}

impl Plane {
    async fn run(mut self, mut stop: oneshot::Receiver<Instant>) -> Receiver<ToControl> {
        /// How long responses may finish when the plane goes down because a room failed.
        const FAILED_GRACE: Duration = Duration::from_millis(500);
        let mut taken = 0;
        let deadline = loop {
            tokio::select! {
                biased;
                asked = &mut stop => break asked.unwrap_or_else(|_| Instant::now()),
                Some(ended) = self.tasks.join_next() => {
                    match ended {
                        Ok(room) => tracing::error!(room, "a room ended by itself; control stops"),
                        Err(error) => tracing::error!(%error, "a room failed inside, this is a bug; control stops"),
                    }
                    break Instant::now() + FAILED_GRACE;
                }
                message = self.inbox.recv() => match message {
                    Some(message) => self.dispatch(message).await,
                    // No shard is left; what remains is to wait for the stop.
                    None => break (&mut stop).await.unwrap_or_else(|_| Instant::now()),
                },
            }
            taken += 1;
            if taken % BATCH_MAX == 0 {
                tokio::task::yield_now().await;
            }
        };
        // Whoever follows changes would otherwise keep its connection until the deadline.
        self.events.close();
        self.api.stop(deadline).await;
        self.resolve.stop().await;
        self.engines.stop().await;
        self.tasks.shutdown().await;
        self.streams.close();
        // Last, so that what the others did while they stopped is stored as well.
        self.store.stop(deadline.max(Instant::now() + STORE_GRACE)).await;
        tracing::info!("control stopped");
        self.inbox
    }

    async fn dispatch(&mut self, message: ToControl) {
        match message {
            ToControl::Holdings { shard, epoch, holdings } => {
                self.engines.holdings(shard, epoch, holdings).await
            }
            ToControl::Lease(request) => self.engines.request(request).await,
            ToControl::Abandon { shard, ticket } => self.engines.abandon(shard, ticket).await,
            ToControl::Return(lease) => self.engines.give_back(lease).await,
            ToControl::Silence { lease, is_silent } => self.engines.silence(lease, is_silent).await,
            ToControl::Resolve(request) => self.resolve.request(request),
            ToControl::Learned { selector, infohash, .. } => {
                self.directory.learn(selector.value(), infohash);
                self.store.put(Record::Alias { number: selector.value(), infohash, at: SystemTime::now() });
                self.engines.learned(selector.value(), infohash).await;
            }
            ToControl::Played(play) => self.diagnosis.played(&play),
            ToControl::Connection(connection) => self.api.serve(connection),
        }
    }
}
