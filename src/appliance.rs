//! The appliance's settings at work: what control is built from, what shards go by, and what becomes of a change of the
//! environment's variables while everything runs.
//!
//! A change is read the way a start reads the environment ([`Origin`]). What shards go by is then replaced as a whole. When
//! control would be built from something else than it was, the main thread builds it anew under shards that play on. What
//! only a process can take up, its driver and its listening sockets, the next one takes up: it is handed everything, as
//! in an upgrade.

use crate::log::Log;
use crate::{Event, supervisor};
use anyhow::{Context, bail};
use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam::channel::Sender;
use sluice::listen::{Admission, Bounds, PlayRate};
use sluice::settings::live::{self, Takes};
use sluice::settings::{
    ApiKey, Changes, Docker as DockerSettings, Driver, EngineNetwork, InForce, JoinBehind, Loaded, Origin,
    Selection, Settings, names,
};
use sluice::window::Budget;
use sluice_bench::demo::Demo;
use sluice_contract::Tuning;
use sluice_control::variables::{Base, Changed, Variable, Variables};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// What a process begins with.
pub(crate) struct Beginning {
    /// Where settings come from.
    pub(crate) origin: Origin,
    /// What they come to with what was stored of changes.
    pub(crate) loaded: Loaded,
}

impl Beginning {
    /// Reads the settings and what was changed of them, or says everything that is wrong with them.
    pub(crate) fn read(is_kept: bool) -> anyhow::Result<Self> {
        let origin = Origin::of_process().map_err(faults)?;
        let loaded = origin.load().map_err(faults)?;
        if !is_kept || loaded.settings.is_pinned {
            return Ok(Self { origin, loaded });
        }
        let (changes, mut told) = stored(&loaded);
        match origin.load_with(&changes) {
            Ok(mut loaded) => {
                loaded.warnings.append(&mut told);
                Ok(Self { origin, loaded })
            }
            Err(wrong) => {
                let text = format!("what was changed through the API does not hold: {}", lines(&wrong));
                told.push(text);
                let warnings = [loaded.warnings, told].concat();
                Ok(Self { origin, loaded: Loaded { warnings, ..loaded } })
            }
        }
    }
}

/// The changes that are stored and not overruled by the environment since.
fn stored(loaded: &Loaded) -> (Changes, Vec<String>) {
    let rows = match sluice_control::variables::stored(&loaded.settings.data_dir) {
        Ok(rows) => rows,
        // Control says what it makes of such a file when it starts.
        Err(error) => return (Changes::new(), vec![format!("changed settings cannot be read: {error}")]),
    };
    let holds = |row: &sluice_control::variables::Stored| {
        live::variable(&row.name).is_some_and(|variable| {
            !matches!(live::takes(variable), Takes::Fixed(_))
                && live::given(&loaded.environment, variable) == row.environment
        })
    };
    (rows.into_iter().filter(holds).map(|row| (row.name, row.value)).collect(), Vec::new())
}

fn lines(faults: &[sluice::settings::Error]) -> String {
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

fn faults(faults: Vec<sluice::settings::Error>) -> anyhow::Error {
    let lines: Vec<String> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    anyhow::anyhow!("settings are not usable:{}", lines.concat())
}

/// What a change acts on.
pub(crate) struct Appliance {
    origin: Origin,
    demo: Option<Arc<Demo>>,
    /// What shards go by.
    in_force: InForce,
    admission: Arc<Admission>,
    budget: Arc<Budget>,
    log: Log,
    /// What variables come to without what settings of groups say of them: what control is built from.
    base: ArcSwap<Loaded>,
    /// What control was built from.
    built: ArcSwapOption<sluice_control::Options>,
    /// The key this process generated: the one that was shown goes on being accepted, whatever became of where its hash
    /// is kept.
    generated_key: ArcSwapOption<String>,
    /// What this process cannot change of itself.
    process: (Driver, Vec<SocketAddr>),
    is_supervised: bool,
    events: Sender<Event>,
}

impl fmt::Debug for Appliance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appliance").finish_non_exhaustive()
    }
}

/// What an appliance is made of.
pub(crate) struct Parts {
    pub(crate) beginning: Beginning,
    pub(crate) demo: Option<Arc<Demo>>,
    pub(crate) log: Log,
    pub(crate) is_supervised: bool,
    pub(crate) events: Sender<Event>,
}

impl Appliance {
    /// The appliance as it begins.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { beginning, demo, log, is_supervised, events } = parts;
        let Beginning { origin, loaded } = beginning;
        let settings = loaded.settings.clone();
        Arc::new(Self {
            origin,
            demo,
            admission: Admission::new(bounds(&settings)),
            budget: Budget::new(settings.window.total_bytes),
            log,
            built: ArcSwapOption::empty(),
            generated_key: ArcSwapOption::empty(),
            process: of_process(&settings),
            is_supervised,
            in_force: Arc::new(ArcSwap::from_pointee(settings)),
            base: ArcSwap::from_pointee(loaded),
            events,
        })
    }

    /// What shards go by.
    pub(crate) fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Limits over all shards.
    pub(crate) fn admission(&self) -> Arc<Admission> {
        self.admission.clone()
    }

    /// Window memory of all shards.
    pub(crate) fn budget(&self) -> Arc<Budget> {
        self.budget.clone()
    }

    /// Remembers the key that this process generated.
    pub(crate) fn keep_generated_key(&self, key: Option<String>) {
        self.generated_key.store(key.map(Arc::new));
    }

    /// What control is to be built from now.
    pub(crate) fn build(&self) -> anyhow::Result<sluice_control::Options> {
        let options = self.options(&self.base.load())?;
        self.built.store(Some(Arc::new(options.clone())));
        Ok(options)
    }

    fn options(&self, loaded: &Loaded) -> anyhow::Result<sluice_control::Options> {
        let mut options = control_options(loaded, self.demo.as_deref())?;
        if let Some(key) = self.generated_key.load().as_deref()
            && options.api_key == sluice_control::ApiKey::Generated
        {
            options.api_key = sluice_control::ApiKey::Given(key.clone());
        }
        Ok(options)
    }

    /// What changes come to. The list of channels is watched by itself: a file that has become unusable since is told in
    /// the log and must not stand in the way of other changes.
    fn read(&self, changes: &Changes) -> Result<Loaded, String> {
        const CHANNELS_FILE: &str = "CHANNELS_FILE";
        let had = self.in_force.load();
        let given =
            || live::variable(CHANNELS_FILE).and_then(|it| live::given(&self.base.load().environment, it));
        let wanted = changes.get(CHANNELS_FILE).cloned().or_else(given).filter(|path| !path.is_empty());
        let is_same = wanted.as_deref().map(Path::new) == had.channels.path.as_deref();
        let mut changes = changes.clone();
        if is_same {
            changes.insert(CHANNELS_FILE.to_owned(), String::new());
        }
        let mut loaded = self.origin.load_with(&changes).map_err(|faults| lines(&faults))?;
        if is_same {
            loaded.settings.channels = had.channels.clone();
        }
        Ok(loaded)
    }

    /// Has another process take over, which begins with what holds now.
    fn hand_over(&self) {
        let directory = self.in_force.load().data_dir.clone();
        let ask = move || match supervisor::ask(&directory) {
            Ok(outcome) => tracing::info!("a changed setting has taken effect: {outcome}"),
            Err(error) => tracing::error!(%error, "a changed setting has no effect yet"),
        };
        if let Err(error) = thread::Builder::new().name("changeover".into()).spawn(ask) {
            tracing::error!(%error, "a changed setting has no effect yet");
        }
    }
}

impl Variables for Appliance {
    fn table(&self) -> Vec<Variable> {
        let row = |variable: &&'static names::Variable| {
            let (takes, default) = live::described(variable);
            let (needs, fixed) = match live::takes(variable) {
                Takes::Nothing => ("nothing", None),
                Takes::Handover if self.is_supervised => ("handover", None),
                Takes::Handover | Takes::Restart => ("restart", None),
                Takes::Fixed(why) => ("restart", Some(why)),
            };
            Variable {
                name: variable.name,
                aliases: variable.aliases,
                group: variable.group.title(),
                takes,
                default,
                meaning: variable.meaning,
                is_secret: variable.is_secret(),
                needs,
                fixed,
            }
        };
        names::ALL.iter().map(row).collect()
    }

    fn check(&self, changed: &Changed) -> Result<Base, String> {
        let whole = self.read(&union(changed))?;
        let base = self.read(&changed.variables)?;
        let options = self.options(&base).map_err(|error| format!("{error:#}"))?;
        sluice_control::examine(&options).map_err(|error| error.to_string())?;
        Ok(Base { tuning: tuning(&base.settings), join_behind_max: whole.settings.slow_clients.lag_max })
    }

    fn apply(&self, changed: &Changed) {
        let (whole, base) = match (self.read(&union(changed)), self.read(&changed.variables)) {
            (Ok(whole), Ok(base)) => (whole, base),
            // They were checked before they were stored; the environment may have changed since.
            (Err(error), _) | (_, Err(error)) => {
                return tracing::error!(error, "changed settings do not hold");
            }
        };
        let settings = whole.settings;
        self.admission.set_bounds(bounds(&settings));
        self.budget.set_total(settings.window.total_bytes);
        self.log.set(settings.log_level.as_str(), settings.is_log_json);
        let wanted = of_process(&settings);
        let had = self.in_force.swap(Arc::new(settings));
        let options = self.options(&base);
        self.base.store(Arc::new(base));
        match options {
            Ok(options) => {
                let built = self.built.load();
                // The key is changed by itself.
                let is_other = |built: &sluice_control::Options| {
                    *built != sluice_control::Options { api_key: built.api_key.clone(), ..options }
                };
                if built.as_deref().is_some_and(is_other) {
                    // Without room for the word it is on its way already, or everything ends.
                    let _ = self.events.try_send(Event::Rebuild);
                }
            }
            Err(error) => tracing::error!(error = format!("{error:#}"), "changed settings do not hold"),
        }
        if of_process(&had) != wanted && self.process != wanted && self.is_supervised {
            self.hand_over();
        }
    }
}

/// What a process cannot change of itself, and the next one takes up. The first address is not among it: whoever moves
/// that wants to choose the moment.
fn of_process(settings: &Settings) -> (Driver, Vec<SocketAddr>) {
    (settings.shards.driver, settings.listen.addresses.iter().skip(1).copied().collect())
}

/// Everything that was changed; no variable is in both.
fn union(changed: &Changed) -> Changes {
    changed
        .variables
        .iter()
        .chain(&changed.settings)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
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

pub(crate) fn tuning(settings: &Settings) -> Tuning {
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

/// What the environment says of everything that can be changed; of a secret only its mark.
fn environment(loaded: &Loaded) -> BTreeMap<String, String> {
    let spellings = names::ALL.iter().flat_map(|variable| variable.spellings());
    let mut environment = loaded.environment.of(spellings.chain(sluice_control::setting_names()));
    for variable in names::ALL.iter().filter(|variable| variable.is_secret()) {
        for name in variable.spellings() {
            if let Some(value) = environment.get_mut(name) {
                *value = sluice_control::variables::mark_of(value);
            }
        }
    }
    environment
}

/// An engine that exists already.
pub(crate) fn static_engine(address: &impl ToString, group: Option<String>) -> sluice_control::StaticEngine {
    sluice_control::StaticEngine { authority: address.to_string(), group }
}

fn control_options(loaded: &Loaded, demo: Option<&Demo>) -> anyhow::Result<sluice_control::Options> {
    let settings = &loaded.settings;
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
        environment: environment(loaded),
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
pub(crate) fn yard_options(
    settings: &Settings,
    docker: &DockerSettings,
) -> anyhow::Result<sluice_control::YardOptions> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use sluice::settings::Host;

    /// Name, value, and names and values beside it.
    type Sample = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

    /// What control alone acts by, a value other than the default, and what else has to be said for it to matter.
    const SAMPLES: &[Sample] = &[
        ("ENGINE_SELECTION", "spread", &[]),
        ("ENGINE_FORWARDED_BONUS", "10", &[]),
        ("ENGINE_STREAM_COST", "11", &[]),
        ("ENGINE_WAIT_S", "20", &[]),
        ("NO_RESPONSE_TIMEOUT", "8", &[]),
        ("COLLECT_INTERVAL_S", "2", &[]),
        ("STATS_HISTORY_MAX", "100", &[]),
        ("READS_NEED_KEY", "true", &[]),
        ("CORS_ORIGIN", "https://tv.example", &[]),
        ("DEBUG_LOG_DIR", "/tmp/elsewhere", &[]),
        ("STATIC_ENGINES", "127.0.0.1:7000", &[]),
        ("ACEXY_HOST", "127.0.0.1", &[]),
        ("ACEXY_PORT", "7001", &[]),
        ("ENGINE_PROVISIONING", "off", &[]),
        ("DOCKER_HOST", "tcp://127.0.0.1:2375", &[]),
        (
            "DOCKER_TLS_VERIFY",
            "1",
            &[("DOCKER_HOST", "tcp://127.0.0.1:2376"), ("DOCKER_CERT_PATH", "/certificates")],
        ),
        (
            "DOCKER_CERT_PATH",
            "/others",
            &[
                ("DOCKER_HOST", "tcp://127.0.0.1:2376"),
                ("DOCKER_TLS_VERIFY", "1"),
                ("DOCKER_CERT_PATH", "/certificates"),
            ],
        ),
        ("ENGINE_NETWORK", "host", &[]),
        ("ENGINE_PUBLISH_ADDR", "0.0.0.0", &[]),
        ("CONTAINER_LABEL", "a=b", &[]),
        ("INSTANCE_ID", "other", &[]),
        ("ENGINE_VARIANT", "jopsis-amd64", &[]),
        ("ENGINE_ARM32_VERSION", "arm32-v3", &[]),
        ("ENGINE_ARM64_VERSION", "arm64-v3", &[]),
        ("ENGINE_MEMORY_LIMIT", "512m", &[]),
        ("IMAGE_PULL_TIMEOUT_S", "60", &[]),
        ("ENGINE_CACHE_MAX_MIB", "10", &[]),
        ("PORT_RANGE_HOST", "20000-20099", &[]),
        ("ACE_HTTPS_RANGE", "46000-46099", &[]),
        ("ACE_MAP_HTTPS", "true", &[]),
        ("P2P_PORT_RANGE", "30000-30099", &[]),
        ("STARTUP_TIMEOUT_S", "61", &[]),
        ("MONITOR_INTERVAL_S", "11", &[]),
        ("HEALTH_UNHEALTHY_GRACE_PERIOD_S", "61", &[]),
        ("HEALTH_REPLACEMENT_COOLDOWN_S", "61", &[]),
        ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "6", &[]),
        ("CIRCUIT_BREAKER_RECOVERY_TIMEOUT_S", "301", &[]),
        ("CIRCUIT_BREAKER_REPLACEMENT_THRESHOLD", "4", &[]),
        ("CIRCUIT_BREAKER_REPLACEMENT_TIMEOUT_S", "181", &[]),
        ("MAX_SURGE", "1", &[]),
        ("MIN_FREE_REPLICAS", "2", &[]),
        ("ENGINE_GRACE_PERIOD_S", "31", &[]),
        ("MAX_CONCURRENT_PROVISIONS", "4", &[]),
        ("MIN_PROVISION_INTERVAL_S", "1", &[]),
        ("GLUETUN_CONTAINER_NAME", "vpn", &[]),
        ("VPN_MODE", "redundant", &[]),
    ];

    /// Guards: a change of anything control acts by has it built from something else, so that it takes effect; what only
    /// shards act by leaves it alone.
    #[test]
    fn control_is_built_anew_for_what_it_acts_by() {
        let directory = tempfile::tempdir().unwrap();
        let of = |said: &[(&str, &str)], changes: &Changes| {
            let host = Host { cores: 2, memory_bytes: Some(8 << 30), descriptors: Some(65_536) };
            let data = directory.path().to_str().unwrap();
            let base = [("DATA_DIR", data), ("ENGINE_PROVISIONING", "on")];
            let vars = base.iter().chain(said).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let origin = Origin::new(host, vars, None);
            let loaded = origin.load_with(changes).unwrap_or_else(|faults| panic!("{changes:?}: {faults:?}"));
            control_options(&loaded, None).unwrap()
        };
        for (name, value, said) in SAMPLES {
            let changes = Changes::from([((*name).to_owned(), (*value).to_owned())]);
            assert!(of(said, &Changes::new()) != of(said, &changes), "{name}={value} makes no difference");
        }
        for (name, value) in
            [("MAX_CLIENTS", "5"), ("TICK_MS", "80"), ("WARM_CHANNELS", "1"), ("LOG_LEVEL", "warn")]
        {
            let changes = Changes::from([(name.to_owned(), value.to_owned())]);
            assert!(of(&[], &Changes::new()) == of(&[], &changes), "{name} is none of control's business");
        }
    }
}
