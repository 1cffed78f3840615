//! Behaviour of the whole room: what a set of variables comes to.

use super::*;
use std::num::NonZeroU32;

/// A comfortable host: 4 cores, 8 GiB, 65,536 descriptors.
const HOST: Host = Host { cores: 4, memory_bytes: Some(8 << 30), descriptors: Some(65_536) };

fn load_on(host: &Host, vars: &[(&str, &str)], dotenv: Option<&str>) -> Result<Loaded, Vec<Error>> {
    Settings::from_env_on(
        host,
        vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        dotenv,
    )
}

fn loaded(vars: &[(&str, &str)]) -> Loaded {
    load_on(&HOST, vars, None).unwrap_or_else(|errors| panic!("{vars:?} was refused: {errors:?}"))
}

fn settings(vars: &[(&str, &str)]) -> Settings {
    loaded(vars).settings
}

fn faults(vars: &[(&str, &str)]) -> Vec<String> {
    load_on(&HOST, vars, None).expect_err("it was taken").iter().map(ToString::to_string).collect()
}

fn warning(vars: &[(&str, &str)]) -> String {
    let warnings = loaded(vars).warnings;
    assert_eq!(warnings.len(), 1, "{vars:?}: {warnings:?}");
    warnings[0].clone()
}

fn shown(engines: &[NamedEngine]) -> Vec<String> {
    engines.iter().map(ToString::to_string).collect()
}

fn some(count: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(count)
}

#[test]
fn with_nothing_set_everything_has_its_documented_default() {
    let Loaded { settings, warnings, .. } = loaded(&[]);
    assert_eq!(warnings, Vec::<String>::new());
    let seconds = Duration::from_secs;
    assert_eq!(
        settings,
        Settings {
            listen: Listen {
                addresses: vec!["0.0.0.0:8000".parse().unwrap()],
                trusted_proxies: vec![],
                proxy_protocol: false
            },
            shards: Shards {
                count: 4,
                driver: Driver::Auto,
                tick: Tick::Adaptive,
                hot_session_clients: None,
            },
            window: Window { total_bytes: 4 << 30, join_behind: JoinBehind::Media(seconds(10)) },
            warm: Warm { channels: 3, time: seconds(20) },
            slow_clients: SlowClients { action: SlowClient::Skip, lag_max: None, lag_bytes_max: None },
            limits: Limits {
                clients_max: None,
                stream_clients_max: None,
                address_clients_max: None,
                address_plays: None,
                connections_max: 65_536 - 8_192,
                descriptors: 65_536,
            },
            timeouts: Timeouts {
                grace: seconds(5),
                start: seconds(45),
                start_max: seconds(180),
                no_response: seconds(10),
                empty: seconds(60),
                write: seconds(30),
                head: seconds(5),
                shutdown: seconds(5),
                keepalive_after: Duration::from_millis(1500),
                keepalive_interval: Duration::from_millis(500),
            },
            engines: Engines {
                static_engines: vec![],
                fallback_engine: None,
                assumed_engine: EngineAddress::new("localhost", 6878).ok(),
                streams_per_engine_max: None,
                wait: seconds(45),
                selection: Selection::Score { forwarded_bonus: 1000, stream_cost: 10 },
                spare_clients_min: None,
                user_agent: "VLC/3.0.21 LibVLC/3.0.21".to_owned(),
            },
            // The room of these settings checks its own defaults.
            docker: settings.docker.clone(),
            is_vpn_asked: false,
            channels: ChannelsFile::default(),
            strict_pid: false,
            hls: Hls { by_default: false, idle: Duration::from_secs(15) },
            data_dir: "./data".into(),
            api_key: ApiKey::Generated,
            reads_need_key: false,
            cors_origin: "*".to_owned(),
            streams: Streams {
                collect_interval: Duration::from_secs(1),
                history_max: 720,
                finds_loops: false,
                loop_threshold: Duration::from_secs(3600),
                loop_check_interval: Duration::from_secs(10),
                loop_retention: Duration::ZERO,
            },
            is_pinned: false,
            log_level: LogLevel::Info,
            is_log_json: false,
            debug_log_dir: None,
        }
    );
}

#[test]
fn every_fault_is_reported_at_once_with_variable_value_and_remedy() {
    let faults = faults(&[
        ("APP_PORT", "80000"),
        ("BIND_ADDR", "here"),
        ("SHARDS", "0"),
        ("DRIVER", "kqueue"),
        ("JOIN_BEHIND_S", "26"),
        ("STRICT_PID", "yes"),
        ("ACEXY_EMPTY_TIMEOUT", "1 minute"),
        ("STATIC_ENGINES", "a:1,http://b:2"),
        ("MAX_PLAYS_PER_IP_PER_S", "-1"),
        ("WINDOW_TOTAL_MIB", "4"),
        ("ACEXY_BUFFER", "2GiB"),
    ]);
    assert_eq!(faults.len(), 11, "{faults:#?}");
    for (name, value, remedy) in [
        ("APP_PORT", "80000", "0 to 65535"),
        ("BIND_ADDR", "here", "an IPv4 or IPv6 address"),
        ("SHARDS", "0", "1 to 1024"),
        ("DRIVER", "kqueue", "auto, io_uring, epoll"),
        ("JOIN_BEHIND_S", "26", "0 to 25s"),
        ("STRICT_PID", "yes", "true or false"),
        ("ACEXY_EMPTY_TIMEOUT", "1 minute", "1m30s"),
        ("STATIC_ENGINES", "http://b:2", "without a scheme"),
        ("MAX_PLAYS_PER_IP_PER_S", "-1", "0 to 1000"),
        ("WINDOW_TOTAL_MIB", "4", "8 to"),
        ("ACEXY_BUFFER", "2GiB", "at most 1024 MiB"),
    ] {
        let fault = faults
            .iter()
            .find(|fault| fault.starts_with(name))
            .unwrap_or_else(|| panic!("{name}: {faults:?}"));
        assert!(fault.contains(value) && fault.contains(remedy), "{fault}");
    }
}

#[test]
fn the_process_wins_over_the_file_and_an_empty_value_unsets() {
    let file = "APP_PORT=9000 # ours\nSHARDS=2\nDATA_DIR='/srv/a b'\nJOIN_BEHIND_S=3";
    let loaded = load_on(&HOST, &[("APP_PORT", "7000"), ("JOIN_BEHIND_S", "")], Some(file)).unwrap();
    let settings = loaded.settings;
    assert_eq!(settings.listen.addresses[0].port(), 7000);
    assert_eq!(settings.shards.count, 2);
    assert_eq!(settings.data_dir, Path::new("/srv/a b"));
    assert_eq!(settings.window.join_behind, JoinBehind::Media(Duration::from_secs(10)));
}

#[test]
fn quotes_and_comments_that_an_env_file_of_docker_run_hands_over_are_stripped() {
    let settings = settings(&[("APP_PORT", "9000 # ours"), ("DATA_DIR", "\"/srv/x\"")]);
    assert_eq!(settings.listen.addresses[0].port(), 9000);
    assert_eq!(settings.data_dir, Path::new("/srv/x"));
}

#[test]
fn of_two_spellings_the_process_then_the_preferred_name_wins_and_the_loser_is_named() {
    let vars = [("EMPTY_TIMEOUT", "20s"), ("ACEXY_EMPTY_TIMEOUT", "30s")];
    assert_eq!(settings(&vars).timeouts.empty, Duration::from_secs(20));
    assert_eq!(warning(&vars), "ACEXY_EMPTY_TIMEOUT=30s is ignored: EMPTY_TIMEOUT is set too and wins");
    let loaded = load_on(&HOST, &[vars[1]], Some("EMPTY_TIMEOUT=20s")).unwrap();
    assert_eq!(loaded.settings.timeouts.empty, Duration::from_secs(30));
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn a_second_listener_comes_from_either_name_of_acexy_and_never_twice() {
    let addresses = |vars: &[(&str, &str)]| -> Vec<String> {
        settings(vars).listen.addresses.iter().map(ToString::to_string).collect()
    };
    assert_eq!(addresses(&[("ACEXY_LISTEN_ADDR", ":8080")]), ["0.0.0.0:8000", "0.0.0.0:8080"]);
    assert_eq!(addresses(&[("ACEXY_ADDR", "127.0.0.1:6878")]), ["0.0.0.0:8000", "127.0.0.1:6878"]);
    assert_eq!(addresses(&[("ACEXY_LISTEN_ADDR", ":8000")]), ["0.0.0.0:8000"]);
    assert_eq!(addresses(&[("ACEXY_ADDR", "127.0.0.1:8000")]), ["0.0.0.0:8000"]);
    assert_eq!(addresses(&[("BIND_ADDR", "::1"), ("ACEXY_ADDR", ":8080")]), ["[::1]:8000", "[::1]:8080"]);
    assert_eq!(addresses(&[("APP_PORT", "0"), ("ACEXY_ADDR", ":0")]), ["0.0.0.0:0", "0.0.0.0:0"]);
    assert!(faults(&[("ACEXY_LISTEN_ADDR", "8080")])[0].contains("port is missing"));
}

#[test]
fn acexy_host_and_port_name_one_engine_kept_apart_from_the_others() {
    let engines = |vars: &[(&str, &str)]| {
        let engines = settings(vars).engines;
        let named: Vec<String> = engines.named().map(ToString::to_string).collect();
        (shown(&engines.static_engines), engines.fallback_engine.map(|engine| engine.to_string()), named)
    };
    let (statics, fallback, _) = engines(&[("ACEXY_HOST", "ace"), ("ACEXY_PORT", "7000")]);
    assert_eq!((statics.len(), fallback.as_deref()), (0, Some("ace:7000")));
    assert_eq!(engines(&[("ACEXY_HOST", "ace")]).1.as_deref(), Some("ace:6878"));
    assert_eq!(engines(&[("ACEXY_PORT", "7000")]).1.as_deref(), Some("localhost:7000"));
    let (statics, fallback, _) = engines(&[("STATIC_ENGINES", "a:1,b:2")]);
    assert_eq!((statics, fallback), (vec!["a:1".to_owned(), "b:2".to_owned()], None));
    let (_, _, named) = engines(&[("STATIC_ENGINES", "a:1,b:2"), ("ACEXY_HOST", "c"), ("ACEXY_PORT", "3")]);
    assert_eq!(named, ["a:1", "b:2", "c:3"]);
    let (_, _, named) = engines(&[("STATIC_ENGINES", "a:1,b:2"), ("ACEXY_HOST", "A"), ("ACEXY_PORT", "1")]);
    assert_eq!(named, ["a:1", "b:2"]);
    for host in ["http://ace", "ace:6878", "a b"] {
        assert_eq!(faults(&[("ACEXY_HOST", host)]).len(), 1, "{host}");
    }
    assert!(faults(&[("ACEXY_HOST", "ace:6878")])[0].contains("ACEXY_PORT"));
}

#[test]
fn capacity_is_unknown_unless_somebody_said_it() {
    assert_eq!(settings(&[]).engines.streams_per_engine_max, None);
    assert_eq!(settings(&[("ACEXY_MAX_STREAMS_PER_ENGINE", "2")]).engines.streams_per_engine_max, some(2));
    assert_eq!(settings(&[("MAX_STREAMS_PER_ENGINE", "3")]).engines.streams_per_engine_max, some(3));
    assert_eq!(faults(&[("ACEXY_MAX_STREAMS_PER_ENGINE", "0")]).len(), 1);
}

#[test]
fn another_scheme_and_an_orchestrator_are_refused_with_what_to_set_instead() {
    assert_eq!(settings(&[("ACEXY_SCHEME", "HTTP")]), settings(&[]));
    assert!(faults(&[("ACEXY_SCHEME", "https")])[0].contains("set ACEXY_SCHEME=http"));
    for name in ["ACEXY_ORCH_URL", "ORCH_URL"] {
        let faults = faults(&[(name, "http://orchestrator:8000")]);
        assert!(faults[0].starts_with(name) && faults[0].contains("STATIC_ENGINES"), "{faults:?}");
    }
    for name in ["ACEXY_ORCH_APIKEY", "ORCH_APIKEY"] {
        let faults = faults(&[(name, "hunter2")]);
        assert!(faults[0].starts_with(name) && faults[0].contains("API_KEY"), "{faults:?}");
        assert!(!faults[0].contains("hunter2"), "a secret was shown: {faults:?}");
    }
}

#[test]
fn timeouts_of_acexy_have_their_meaning() {
    let timeouts = |name: &str, value: &str| settings(&[(name, value)]).timeouts;
    assert_eq!(timeouts("ACEXY_EMPTY_TIMEOUT", "1m").empty, Duration::from_secs(60));
    assert_eq!(timeouts("ACEXY_NO_RESPONSE_TIMEOUT", "20s").no_response, Duration::from_secs(20));
    assert_eq!(timeouts("ACEXY_STREAM_GRACE_PERIOD", "7s").grace, Duration::from_secs(7));
    assert_eq!(timeouts("CHANNEL_SHUTDOWN_DELAY_S", "8").grace, Duration::from_secs(8));
    assert_eq!(timeouts("PROXY_GRACE_PERIOD", "0").grace, Duration::ZERO);
    assert_eq!(timeouts("KEEPALIVE_INTERVAL_MS", "250").keepalive_interval, Duration::from_millis(250));
}

#[test]
fn a_buffer_size_is_the_join_distance_in_bytes() {
    let join = |vars: &[(&str, &str)]| settings(vars).window.join_behind;
    assert_eq!(join(&[("ACEXY_BUFFER", "4.2MiB")]), JoinBehind::Bytes(4_404_019));
    assert_eq!(join(&[("ACEXY_BUFFER_SIZE", "4MiB")]), JoinBehind::Bytes(4 << 20));
    assert_eq!(join(&[("JOIN_BEHIND_S", "2.5")]), JoinBehind::Media(Duration::from_millis(2500)));
    let both = [("JOIN_BEHIND_S", "0"), ("ACEXY_BUFFER", "1M")];
    assert_eq!(join(&both), JoinBehind::Media(Duration::ZERO));
    assert!(warning(&both).contains("ACEXY_BUFFER is ignored"));
}

#[test]
fn names_of_acexy_without_effect_say_so() {
    let (name, value) = ("ACEXY_CONTAINER_ID", "0123456789ab");
    assert!(warning(&[(name, value)]).starts_with(&format!("{name} has no effect: ")));
    assert_eq!(settings(&[(name, value)]), settings(&[]));
    assert_eq!(faults(&[("ACEXY_M3U8", "1"), ("ACEXY_TIMEOUT", "soon")]).len(), 2);
}

/// What did nothing in the orchestrator either: the value that was documented, the same in other words, and one that somebody
/// must have meant.
const INERT: &[(&str, &str, &str, &str)] = &[
    ("IDLE_TTL_S", "600", "10m", "900"),
    ("MAX_ACTIVE_REPLICAS", "20", "20", "12"),
    ("ACE_HTTP_RANGE", "40000-44999", "40000-44999", "50000-50999"),
    ("PROXY_MODE", "lightweight", "Lightweight", "ffmpeg"),
    ("ORCHESTRATOR_URL", "http://orchestrator:8000", "http://localhost:8000/", "http://other:8000"),
    ("PROXY_CLIENT_WAIT_TIMEOUT", "30", "30s", "60"),
    ("PROXY_STREAM_TIMEOUT", "60", "1m", "90"),
    ("PROXY_CHUNK_TIMEOUT", "5", "5s", "4"),
    ("PROXY_INITIAL_BEHIND_CHUNKS", "4", "4", "0"),
    ("PROXY_CLEANUP_CHECK_INTERVAL", "3", "3s", "1"),
    ("PROXY_KEEPALIVE_INTERVAL", "0.5", "500ms", "1"),
    ("PROXY_MAX_RETRIES", "3", "3", "10"),
    ("PROXY_RETRY_WAIT_INTERVAL", "0.5", "500ms", "2.5"),
    ("PROXY_HEALTH_CHECK_INTERVAL", "5", "5s", "30"),
];

/// Guards: a setting that did nothing in the orchestrator is taken without a word where it is what was documented, and refused
/// where somebody meant something by it, with what to do instead; whoever mistyped it is told that alone.
#[test]
fn what_never_did_anything_is_refused_unless_it_was_copied() {
    for (name, documented, same, meant) in INERT {
        for value in [documented, same] {
            let loaded = loaded(&[(name, value)]);
            assert_eq!((loaded.settings, loaded.warnings), (settings(&[]), vec![]), "{name}={value}");
        }
        let refused = faults(&[(name, meant)]);
        let begin = format!("{name}={meant} cannot be honoured: ");
        assert!(refused.len() == 1 && refused[0].starts_with(&begin), "{refused:?}");
        assert!(refused[0].ends_with("remove this"), "no remedy: {refused:?}");
    }
    for (name, value) in [("IDLE_TTL_S", "soon"), ("MAX_ACTIVE_REPLICAS", "-1"), ("PROXY_MODE", "fast")] {
        let refused = faults(&[(name, value)]);
        assert!(refused.len() == 1 && refused[0].contains("; give "), "{refused:?}");
    }
    let inert = names::ALL.iter().filter(|variable| matches!(variable.effect, names::Effect::Inert { .. }));
    let inert: Vec<&str> = inert.map(|variable| variable.name).collect();
    assert_eq!(inert, INERT.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
}

/// Guards: the sample settings that came with the orchestrator start as they stand.
#[test]
fn the_sample_of_the_orchestrator_starts() {
    let sample = "APP_PORT=8000\nDOCKER_NETWORK=\"aceserver\"\nMIN_REPLICAS=10\nMAX_REPLICAS=50\n\
                  CONTAINER_LABEL=orchestrator.managed=acestream\nSTARTUP_TIMEOUT_S=25\nIDLE_TTL_S=600\n\
                  COLLECT_INTERVAL_S=1\nSTATS_HISTORY_MAX=720\nMONITOR_INTERVAL_S=10\nENGINE_GRACE_PERIOD_S=30\n\
                  AUTOSCALE_INTERVAL_S=30\n# VPN_MODE=single\nMAX_CONCURRENT_PROVISIONS=5\nMIN_PROVISION_INTERVAL_S=0.5\n\
                  PORT_RANGE_HOST=19000-19999\nACE_HTTP_RANGE=40000-44999\nACE_HTTPS_RANGE=45000-49999\nACE_MAP_HTTPS=false\n\
                  API_KEY=defaultpassword\nDB_URL=sqlite:///./orchestrator.db\nAUTO_DELETE=true\n\
                  MAX_CONCURRENT_PROVISIONS=10\nMAX_ACTIVE_REPLICAS=20 # engines\nTZ=Europe/Madrid\n\
                  ENGINE_VARIANT=krinkuto11-amd64\nDEBUG_MODE=false\nDEBUG_LOG_DIR=/debug_logs\nPROXY_MODE=lightweight\n\
                  ORCHESTRATOR_URL=http://localhost:8000\nPROXY_BUFFER_CHUNK_SIZE=1061472\nPROXY_NO_DATA_TIMEOUT_CHECKS=30\n\
                  PROXY_NO_DATA_CHECK_INTERVAL=0.1\nPROXY_STREAM_TIMEOUT=60\nPROXY_KEEPALIVE_INTERVAL=0.5\n";
    let loaded = load_on(&HOST, &[], Some(sample)).unwrap_or_else(|faults| panic!("{faults:?}"));
    let docker = loaded.settings.docker.expect("engines are kept in Docker");
    assert_eq!((docker.replicas_min, docker.replicas_max, docker.provisions_max), (10, 50, 10));
    let told = loaded.warnings.concat();
    assert!(INERT.iter().all(|(name, ..)| !told.contains(name)), "{told}");
}

/// Guards: both programs' names for HLS players act.
#[test]
fn hls_has_the_names_of_both_programs() {
    let hls = |vars: &[(&str, &str)]| settings(vars).hls;
    for (name, value) in [("PROXY_STREAM_MODE", "hls"), ("STREAM_MODE", "HLS"), ("ACEXY_M3U8", "true")] {
        assert!(hls(&[(name, value)]).by_default, "{name}");
    }
    assert!(!hls(&[("PROXY_STREAM_MODE", "TS"), ("ACEXY_M3U8", "false")]).by_default);
    for name in ["ACEXY_TIMEOUT", "ACEXY_M3U8_STREAM_TIMEOUT"] {
        assert_eq!(hls(&[(name, "60s")]).idle, Duration::from_secs(60), "{name}");
    }
    assert_eq!(faults(&[("PROXY_STREAM_MODE", "DASH")]).len(), 1);
}

/// Guards: what was set is told by name to whoever asks for it, the process before the file, and never printed.
#[test]
fn what_was_set_can_be_asked_for() {
    let file = "PROXY_CONNECTION_TIMEOUT=20 # seconds\nHLS_WINDOW_SIZE=7\nEMPTY=\n";
    let loaded = load_on(&HOST, &[("PROXY_CONNECTION_TIMEOUT", "30")], Some(file)).unwrap();
    let names = ["PROXY_CONNECTION_TIMEOUT", "HLS_WINDOW_SIZE", "EMPTY", "NOTHING"];
    let told = loaded.environment.of(names.into_iter());
    assert_eq!(told.values().collect::<Vec<_>>(), ["7", "30"]);
    assert!(!format!("{:?}", loaded.environment).contains("30"));
    assert!(settings(&[("SETTINGS", "env")]).is_pinned && !settings(&[]).is_pinned);
}

#[test]
fn log_levels_come_from_three_names() {
    let level = |vars: &[(&str, &str)]| settings(vars).log_level;
    assert_eq!(level(&[("ACEXY_LOG_LEVEL", "INFO"), ("DEBUG_MODE", "True")]), LogLevel::Info);
    assert_eq!(level(&[("DEBUG_MODE", "true")]), LogLevel::Debug);
    for (text, expected) in [("error", LogLevel::Error), ("WARN", LogLevel::Warn), ("trace", LogLevel::Trace)]
    {
        assert_eq!(level(&[("LOG_LEVEL", text)]), expected);
        assert_eq!(expected.as_str(), text.to_ascii_lowercase());
    }
}

/// Guards: the form of the log, where debug mode writes, and where traces go are read, and what cannot work is refused.
#[test]
fn what_is_told_of_its_work_is_settable() {
    let set = settings(&[("LOG_FORMAT", "JSON"), ("DEBUG_LOG_DIR", "/var/log/sluice")]);
    assert!(set.is_log_json);
    assert_eq!(set.debug_log_dir.as_deref(), Some(std::path::Path::new("/var/log/sluice")));
    for name in ["OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"] {
        let loaded = loaded(&[(name, "http://collector:4318")]);
        assert_eq!(
            loaded.environment.of([name].into_iter()).values().next().unwrap(),
            "http://collector:4318"
        );
        for wrong in ["collector:4318", "https://collector", "http://"] {
            assert_eq!(faults(&[(name, wrong)]).len(), 1, "{wrong}");
        }
    }
    assert_eq!(faults(&[("LOG_FORMAT", "xml")]).len(), 1);
}

/// The names acexy and its fork read, all versions; each is a spelling of a variable in the table.
#[test]
fn every_name_of_acexy_is_known() {
    for name in [
        "ACEXY_ADDR",
        "ACEXY_LISTEN_ADDR",
        "ACEXY_SCHEME",
        "ACEXY_HOST",
        "ACEXY_PORT",
        "ACEXY_TIMEOUT",
        "ACEXY_M3U8_STREAM_TIMEOUT",
        "ACEXY_M3U8",
        "ACEXY_EMPTY_TIMEOUT",
        "ACEXY_NO_RESPONSE_TIMEOUT",
        "ACEXY_BUFFER",
        "ACEXY_BUFFER_SIZE",
        "ACEXY_MAX_STREAMS_PER_ENGINE",
        "ACEXY_ORCH_URL",
        "ACEXY_ORCH_APIKEY",
        "ACEXY_CONTAINER_ID",
        "ACEXY_LOG_LEVEL",
        "ACEXY_STREAM_GRACE_PERIOD",
        "DEBUG_MODE",
        "DEBUG_LOG_DIR",
    ] {
        assert!(names::every_name().any(|known| known == name), "{name} is unknown");
    }
}

#[test]
fn unknown_names_are_warned_of_with_the_nearest_known() {
    assert!(warning(&[("ACEXY_BUFER", "1M")]).ends_with("the nearest is ACEXY_BUFFER"));
    assert!(warning(&[("SLUICE_TICK_MS", "50")]).ends_with("the nearest is TICK_MS"));
    assert!(warning(&[("STATIC_ENGINE", "a:1")]).ends_with("the nearest is STATIC_ENGINES"));
    assert!(loaded(&[("PATH", "/bin"), ("SLUICE_TEST_DRIVER", "epoll"), ("TZ", "UTC")]).warnings.is_empty());
    let old = [("M3U_TIMEOUT", "10"), ("GLUETUN_API_PORT", "8001"), ("HLS_CLIENT_IDLE_TIMEOUT_S", "25")];
    let listed =
        "set, and without effect in this version: GLUETUN_API_PORT, HLS_CLIENT_IDLE_TIMEOUT_S, M3U_TIMEOUT";
    assert_eq!(warning(&old), listed);
}

#[test]
fn zero_is_no_limit_and_a_rate_needs_no_burst() {
    let limits = |vars: &[(&str, &str)]| settings(vars).limits;
    assert_eq!(limits(&[("MAX_CLIENTS", "0")]).clients_max, None);
    assert_eq!(limits(&[("MAX_CLIENTS", "9")]).clients_max, some(9));
    assert_eq!(limits(&[("MAX_CLIENTS_PER_STREAM", "9")]).stream_clients_max, some(9));
    assert_eq!(limits(&[("MAX_CLIENTS_PER_IP", "9")]).address_clients_max, some(9));
    let rate = |per_second, burst| Some(PlayRate { per_second, burst: some(burst).unwrap() });
    assert_eq!(limits(&[("MAX_PLAYS_PER_IP_PER_S", "0.5")]).address_plays, rate(0.5, 10));
    let both = [("MAX_PLAYS_PER_IP_PER_S", "2"), ("MAX_PLAYS_PER_IP_BURST", "1")];
    assert_eq!(limits(&both).address_plays, rate(2.0, 1));
}

#[test]
fn connections_fit_into_the_descriptors_of_the_host() {
    let connections = |descriptors, vars: &[(&str, &str)]| {
        let loaded = load_on(&Host { descriptors, ..HOST }, vars, None).unwrap();
        (loaded.settings.limits.connections_max, loaded.warnings.len())
    };
    assert_eq!(connections(Some(20_000), &[]), (17_500, 0));
    assert_eq!(connections(Some(1024), &[]), (768, 0));
    assert_eq!(connections(None, &[]), (768, 0));
    assert_eq!(connections(Some(64), &[]), (16, 0));
    assert_eq!(connections(Some(1024), &[("MAX_CONNECTIONS", "100")]), (100, 0));
    assert_eq!(connections(Some(1024), &[("MAX_CONNECTIONS", "5000")]), (768, 1));
    assert_eq!(connections(Some(1024), &[("MAX_CLIENTS", "5000")]), (768, 1));
}

#[test]
fn the_window_takes_half_of_what_there_is_and_never_all() {
    let total = |memory_bytes, vars: &[(&str, &str)]| {
        load_on(&Host { memory_bytes, ..HOST }, vars, None)
            .map(|loaded| (loaded.settings.window.total_bytes >> 20, loaded.warnings.len()))
    };
    assert_eq!(total(Some(256 << 20), &[]).unwrap(), (128, 0));
    assert_eq!(total(Some(8 << 20), &[]).unwrap(), (8, 0));
    assert_eq!(total(None, &[]).unwrap(), (512, 0));
    assert_eq!(total(Some(256 << 20), &[("WINDOW_TOTAL_MIB", "64")]).unwrap(), (64, 0));
    assert_eq!(total(Some(256 << 20), &[("WINDOW_TOTAL_MIB", "224")]).unwrap(), (224, 1));
    assert_eq!(total(Some(256 << 20), &[("WINDOW_TOTAL_MIB", "256")]).unwrap_err().len(), 1);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (vars, needle) in [
        (vec![("START_TIMEOUT_MAX_S", "30")], "START_TIMEOUT_S (45s)"),
        (vec![("KEEPALIVE_AFTER_MS", "20000"), ("EMPTY_TIMEOUT", "15s")], "EMPTY_TIMEOUT (15s)"),
        (vec![("PROXY_PROTOCOL", "true")], "TRUSTED_PROXIES"),
    ] {
        let faults = faults(&vars);
        assert!(faults.len() == 1 && faults[0].contains(needle), "{faults:?}");
    }
    // A default that a given value contradicts is named as such.
    assert!(faults(&[("START_TIMEOUT_S", "200")])[0].contains("(its default)"));
}

#[test]
fn risky_settings_are_warned_of() {
    assert!(warning(&[("EMPTY_TIMEOUT", "2s")]).contains("another engine"));
    assert!(warning(&[("TRUSTED_PROXIES", "0.0.0.0/0")]).contains("anybody"));
    assert!(warning(&[("SHARDS", "8")]).contains("4 usable cores"));
    assert!(warning(&[("API_KEY", "defaultpassword")]).contains("everybody knows"));
}

#[test]
fn an_api_key_is_given_open_or_generated_and_never_printed() {
    assert_eq!(settings(&[("API_KEY", "s3cret")]).api_key, ApiKey::Given(Secret("s3cret".to_owned())));
    assert!(!format!("{:?}", loaded(&[("API_KEY", "s3cret")])).contains("s3cret"));
    assert!(!faults(&[("API_KEY", "s3 cret")])[0].contains("s3 cret"));
    assert!(warning(&[("API_KEY", "")]).contains("everybody may change"));
    let from_file = load_on(&HOST, &[], Some("API_KEY=\n")).unwrap().settings.api_key;
    assert_eq!((settings(&[("API_KEY", "")]).api_key, from_file), (ApiKey::Open, ApiKey::Open));
}

#[test]
fn the_rest_reaches_its_field() {
    let settings = settings(&[
        ("SHARDS", "3"),
        ("DRIVER", "IO_URING"),
        ("TICK_MS", "20"),
        ("HOT_SESSION_CLIENTS", "12"),
        ("STRICT_PID", "true"),
        ("READS_NEED_KEY", "true"),
        ("CORS_ORIGIN", "https://tv.example:8443"),
        ("TRUSTED_PROXIES", "10.0.0.1"),
        ("PROXY_PROTOCOL", "true"),
        ("ENGINE_USER_AGENT", "x/1"),
        ("WRITE_TIMEOUT_S", "11"),
        ("HEAD_TIMEOUT_S", "12"),
        ("SHUTDOWN_TIMEOUT_S", "13"),
        ("START_TIMEOUT_S", "14"),
        ("START_TIMEOUT_MAX_S", "15"),
        ("KEEPALIVE_AFTER_MS", "1600"),
    ]);
    let tick = Tick::Fixed(Duration::from_millis(20));
    let hot_session_clients = NonZeroU32::new(12);
    assert_eq!(settings.shards, Shards { count: 3, driver: Driver::IoUring, tick, hot_session_clients });
    assert!(settings.strict_pid && settings.listen.proxy_protocol);
    assert!(settings.reads_need_key);
    assert_eq!(settings.cors_origin, "https://tv.example:8443");
    for wrong in ["tv.example", "https://", "https://tv.example/", "a\nb", "null"] {
        assert_eq!(faults(&[("CORS_ORIGIN", wrong)]).len(), 1, "{wrong}");
    }
    assert_eq!(settings.listen.trusted_proxies[0].to_string(), "10.0.0.1/32");
    assert_eq!(settings.engines.user_agent, "x/1");
    let timeouts = settings.timeouts;
    let seconds = [timeouts.write, timeouts.head, timeouts.shutdown, timeouts.start, timeouts.start_max];
    assert_eq!(seconds.map(|span| span.as_secs()), [11, 12, 13, 14, 15]);
    assert_eq!(timeouts.keepalive_after.as_millis(), 1600);
}

#[test]
fn an_env_file_that_cannot_be_read_or_is_none_is_a_fault_and_a_missing_one_is_not() {
    let directory = std::env::temp_dir().join(format!("sluice-dotenv-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join(".env");
    assert!(matches!(read_dotenv(&file), Ok(None)));
    std::fs::write(&file, "A=1\n").unwrap();
    assert_eq!(read_dotenv(&file).unwrap().as_deref(), Some("A=1\n"));
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    assert!(matches!(read_dotenv(&file), Err(Error::DotenvUnreadable { .. })));
    std::fs::write(&file, vec![b'#'; DOTENV_BYTES_MAX as usize + 1]).unwrap();
    assert!(matches!(read_dotenv(&file), Err(Error::DotenvTooLarge { .. })));
    assert!(matches!(read_dotenv(&directory), Err(Error::DotenvUnreadable { .. })));
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Guards: the bounds of slow players are read, and one that a player would be beyond from its first byte is refused.
#[test]
fn slow_players_have_bounds_behind_the_place_they_join_at() {
    let close =
        settings(&[("SLOW_CLIENT", "Close"), ("SLOW_CLIENT_LAG_S", "15"), ("SLOW_CLIENT_LAG_MIB", "8")]);
    let expected = SlowClients {
        action: SlowClient::Close,
        lag_max: Some(Duration::from_secs(15)),
        lag_bytes_max: Some(8 << 20),
    };
    assert_eq!(close.slow_clients, expected);
    for (name, value, other, remote) in [
        ("SLOW_CLIENT_LAG_S", "10", "JOIN_BEHIND_S", ("JOIN_BEHIND_S", "10")),
        ("SLOW_CLIENT_LAG_MIB", "1", "ACEXY_BUFFER", ("ACEXY_BUFFER", "2MiB")),
    ] {
        let fault = faults(&[(name, value), remote]).concat();
        assert!(fault.contains(name) && fault.contains(other), "{fault}");
    }
    assert!(faults(&[("SLOW_CLIENT", "drop")]).concat().contains("skip, close"));
}

/// Guards: a profile changes its defaults together, what is set itself wins over it, and a word that is none is refused.
#[test]
fn a_profile_chooses_defaults() {
    let chosen = |vars: &[(&str, &str)]| {
        let Settings { shards, window, timeouts, .. } = settings(vars);
        (shards.tick, window.join_behind, timeouts.grace, window.total_bytes)
    };
    let (seconds, media) = (Duration::from_secs, |time| JoinBehind::Media(Duration::from_secs(time)));
    let tick = |millis| Tick::Fixed(Duration::from_millis(millis));
    assert_eq!(chosen(&[("PROFILE", "balanced")]), chosen(&[]));
    assert_eq!(chosen(&[("PROFILE", "many-clients")]), (tick(100), media(5), seconds(15), 2 << 30));
    assert_eq!(chosen(&[("PROFILE", "low-latency")]), (tick(20), media(1), seconds(5), 2 << 30));
    let high = chosen(&[("PROFILE", "high-bandwidth")]);
    assert_eq!((high.0, high.1, high.2), (tick(100), media(10), seconds(5)));
    assert!(high.3 > 5 << 30);
    let own = [
        ("PROFILE", "low-latency"),
        ("TICK_MS", "70"),
        ("JOIN_BEHIND_S", "4"),
        ("ACEXY_STREAM_GRACE_PERIOD", "9"),
        ("WINDOW_TOTAL_MIB", "64"),
    ];
    assert_eq!(chosen(&own), (tick(70), media(4), seconds(9), 64 << 20));
    let bytes = [("PROFILE", "low-latency"), ("ACEXY_BUFFER", "1M")];
    assert_eq!(settings(&bytes).window.join_behind, JoinBehind::Bytes(1_000_000));
    assert!(faults(&[("PROFILE", "fast")])[0].contains("many-clients"));
}
