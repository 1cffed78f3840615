//! The service with engines that are named, assumed, or kept in a simulated Docker.

use super::*;
use crate::docker::{Client, Host};
use crate::engines::health::State;
use crate::engines::ports::PortRange;
use crate::engines::recipe::{Cache, Custom, Platform};
use crate::engines::simulated::{self, Simulated};
use sluice_contract::DockerState;

/// Guards: before the service has run at all, engines are shown as not checked yet. Shown as none, the first look-up
/// gave up and the first player's broadcast got a second session.
#[tokio::test]
async fn engines_are_shown_before_the_service_has_run() {
    let options = Options {
        pool: vec!["127.0.0.1:6878".parse::<Authority>().expect("an authority").into()],
        fallback: None,
        epoch: Epoch(1),
        live: watch::channel(Live::default()).1,
        selection: Selection::default(),
        engine_starts_max: 1,
        no_response_timeout: std::time::Duration::from_secs(1),
        engine_wait: std::time::Duration::from_secs(1),
        diagnosis: diagnosis::Handle::deaf(),
        events: events::Handle::forgetful(),
        source: Source::Named,
    };
    let mut tasks = JoinSet::new();
    let shards = Arc::new(Shards::new(Vec::new()));
    let handle = start(options, shards, Arc::default(), Arc::new(Board::new(0)), &mut tasks);
    // Nothing was awaited: on one thread the service has not run yet.
    let states: Vec<State> = handle.standing().engines.iter().map(|engine| engine.state).collect();
    assert_eq!(states, [State::Unknown]);
}

/// Guards the engine that is assumed where nobody named one and there is no Docker: it is used and shown, and who asks
/// is told so; where Docker was asked for its absence is shown instead.
#[tokio::test]
async fn without_docker_an_engine_is_assumed_only_when_nothing_was_said() {
    let closed = closed().await.to_string();
    for assumed in [Some(closed.as_str()), None] {
        let host = Host::new(Some("unix:///nonexistent/docker.sock"), None).expect("an address");
        let options = Options {
            pool: Vec::new(),
            fallback: None,
            epoch: Epoch(1),
            live: watch::channel(Live::default()).1,
            selection: Selection::default(),
            engine_starts_max: 1,
            no_response_timeout: Duration::from_secs(1),
            engine_wait: Duration::from_secs(1),
            diagnosis: diagnosis::Handle::deaf(),
            events: events::Handle::forgetful(),
            source: Source::Docker {
                yard: Box::new(yard(host.clone())),
                docker: Arc::new(Client::new(host)),
                assumed: assumed.map(|engine| engine.parse().expect("an authority")),
            },
        };
        let mut tasks = JoinSet::new();
        let board = Arc::new(Board::new(0));
        let shards = Arc::new(Shards::new(Vec::new()));
        let handle = start(options, shards, Arc::default(), board.clone(), &mut tasks);
        let told = async {
            loop {
                let supply = board.supply();
                if let DockerState::Away(text) = &supply.docker {
                    break (supply.clone(), text.clone());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (supply, text) =
            tokio::time::timeout(Duration::from_secs(20), told).await.expect("the absence is told");
        assert!(text.contains("/nonexistent/docker.sock"), "{text}");
        let engines: Vec<EngineId> =
            handle.standing().engines.iter().map(|engine| engine.id.clone()).collect();
        let blocked = supply.blocked.as_ref().map(|refusal| refusal.code);
        let short = || board.supply().shortfalls.iter().map(|shortfall| shortfall.code).collect::<Vec<_>>();
        match assumed {
            Some(assumed) => {
                assert_eq!((supply.source, blocked), (EngineSource::Assumed, None));
                assert_eq!(supply.assumed.as_deref(), Some(assumed));
                assert_eq!(engines, [EngineId(assumed.into())]);
                // Docker is not missed, the engine is.
                until("it is looked for", || short() == ["no_engine"]).await;
                assert!(board.supply().shortfalls[0].detail.contains(assumed));
            }
            None => {
                let no_docker = Some(RefusalCode::NoDocker);
                assert_eq!((supply.source, blocked), (EngineSource::Docker, no_docker));
                assert_eq!(engines, []);
                assert_eq!(short(), ["no_docker"]);
            }
        }
    }
}

/// An address nobody listens on.
async fn closed() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

fn yard(host: Host) -> YardOptions {
    let mut options = simulated::yard();
    options.setup.host = host;
    options
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The service over a simulated Docker, and where settings are changed.
fn started(
    docker: Simulated,
    change: impl FnOnce(&mut YardOptions),
    tasks: &mut JoinSet<&'static str>,
) -> (Handle, Arc<Simulated>, watch::Sender<Live>, Arc<Board>) {
    let docker = Arc::new(docker);
    let mut yard = yard(Host::new(None, None).expect("an address"));
    change(&mut yard);
    let (settings, live) = watch::channel(Live::default());
    let options = Options {
        pool: Vec::new(),
        fallback: None,
        epoch: Epoch(1),
        live,
        selection: Selection::default(),
        engine_starts_max: 1,
        no_response_timeout: Duration::from_secs(1),
        engine_wait: Duration::from_secs(1),
        diagnosis: diagnosis::Handle::deaf(),
        events: events::Handle::forgetful(),
        source: Source::Docker { yard: Box::new(yard), docker: docker.clone(), assumed: None },
    };
    let board = Arc::new(Board::new(0));
    let shards = Arc::new(Shards::new(Vec::new()));
    (start(options, shards, Arc::default(), board.clone(), tasks), docker, settings, board)
}

/// Guards settings changed while it runs: bounds hold at once, and whoever changes what engines are made from and then has
/// them all made anew gets new ones of the new recipe, under the template's name, beside the old ones.
#[tokio::test]
async fn what_is_changed_while_it_runs_holds_for_what_is_asked_next() {
    let mut tasks = JoinSet::new();
    let (handle, docker, settings, _board) = started(Simulated::default(), |_| {}, &mut tasks);
    until("the minimum is there", || docker.count() == 1).await;
    settings.send_replace(Live { replicas_min: Some(3), replicas_max: Some(6), ..Live::default() });
    until("the new minimum is there", || docker.count() == 3).await;
    assert!(docker.made().iter().all(|spec| spec.image.contains("krinkuto11")));
    let custom = Custom {
        name: "Living room".to_owned(),
        platform: Platform::Amd64,
        arm_version: "3.2.13".to_owned(),
        arguments: vec!["--bind-all".to_owned()],
        memory_bytes: Some(Some(64 << 20)),
        folder: None,
        cache: Cache::Folder("/root/.ACEStream/.acestream_cache".into()),
    };
    let live = Live { replicas_min: Some(3), replicas_max: Some(6), custom: Some(custom), ..Live::default() };
    settings.send_replace(live);
    assert_eq!(handle.rework().await, Ok(3));
    until("new ones were made", || docker.made().len() == 6).await;
    let made = docker.made();
    for spec in &made[3..] {
        assert_eq!((spec.image.as_str(), spec.memory_bytes), ("jopsis/acestream:x64", Some(64 << 20)));
        assert_eq!(spec.labels["acestream.engine_variant"], "Living room");
    }
    assert_eq!(docker.count(), 6, "an old one went before a new one was ready");
    let progress = handle.fleet().and_then(|fleet| fleet.progress.clone()).expect("it is under way");
    assert_eq!((progress.rework.total, progress.stopped, progress.rework.is_over), (3, 0, false));
    // Bounds that contradict each other, each from another source: the upper one holds.
    settings.send_replace(Live { replicas_min: Some(9), replicas_max: Some(2), ..Live::default() });
    until("it is heeded", || handle.fleet().is_some_and(|fleet| fleet.limits.max == 2)).await;
    assert_eq!(handle.fleet().map(|fleet| fleet.limits.min), Some(2));
}

/// Guards a container that was made and cannot be started, such as for a port another program has or a full disk: it is removed
/// again, each time, and what was wrong is told with its remedy.
#[tokio::test]
async fn a_container_that_cannot_be_started_is_removed() {
    for (fault, code) in [
        (crate::docker::Error::DiskFull { reason: "no space left on device".to_owned() }, "disk_full"),
        (crate::docker::Error::PortTaken { reason: "port is already allocated".to_owned() }, "port_taken"),
    ] {
        let mut tasks = JoinSet::new();
        let docker = Simulated { start_fault: Some(fault), ..Simulated::default() };
        let (handle, docker, _settings, _board) = started(docker, |yard| yard.limits.max = 1, &mut tasks);
        let trouble = || handle.fleet().and_then(|fleet| fleet.trouble.clone());
        until("it is told", || trouble().is_some_and(|trouble| trouble.code == code)).await;
        assert!(trouble().is_some_and(|trouble| !trouble.remedy.is_empty()));
        until("it is tried again", || docker.made().len() > 1).await;
        until("nothing is left", || docker.count() == 0).await;
    }
}

/// Guards stops: containers are stopped beside each other, so that ten of them take no longer than one.
#[tokio::test]
async fn containers_are_stopped_beside_each_other() {
    let mut tasks = JoinSet::new();
    let docker = Simulated { stops: Some(tokio::sync::Barrier::new(4)), ..Simulated::default() };
    let limits = |yard: &mut YardOptions| (yard.limits.min, yard.limits.max) = (4, 4);
    let (handle, docker, _settings, _board) = started(docker, limits, &mut tasks);
    until("all are there", || {
        docker.count() == 4
            && handle.fleet().is_some_and(|fleet| fleet.members.iter().all(|m| m.id.is_some()))
    })
    .await;
    let names: Vec<String> = (1..=4).map(|n| format!("acestream-{n}")).collect();
    // Each stop waits for the three others.
    let removed = futures_util::future::join_all(names.into_iter().map(|name| handle.remove(name)));
    let removed = tokio::time::timeout(Duration::from_secs(20), removed)
        .await
        .expect("they do not wait for each other");
    assert!(removed.iter().all(Result::is_ok), "{removed:?}");
}

/// Guards the pull of an image: one for all who need it, shown while it lasts, ended after its own time with a fault that
/// names the image, and nothing left behind.
#[tokio::test]
async fn a_pull_is_shown_and_has_its_own_end() {
    let mut tasks = JoinSet::new();
    let line = |bytes| crate::docker::Pull {
        status: "Downloading".to_owned(),
        layer: Some("one".to_owned()),
        bytes,
        bytes_total: 100,
    };
    let docker = Simulated { pull: Some(vec![line(10), line(40)]), ..Simulated::default() };
    let limits = |yard: &mut YardOptions| {
        (yard.limits.min, yard.limits.max) = (2, 2);
        yard.limits.breaker.threshold = 2;
        yard.pull_timeout = Duration::from_millis(300);
    };
    let (handle, docker, _settings, _board) = started(docker, limits, &mut tasks);
    let shown = || handle.fleet().and_then(|fleet| fleet.pulling.clone());
    until("it is shown", || shown().is_some_and(|pull| pull.image.contains("krinkuto11"))).await;
    assert_eq!(docker.pulls(), 1, "an image is pulled twice at the same time");
    let trouble = || handle.fleet().and_then(|fleet| fleet.trouble.clone());
    until("it is given up", || trouble().is_some_and(|trouble| trouble.code == "pull_refused")).await;
    let text = trouble().expect("it was there").text;
    assert!(text.contains("krinkuto11") && text.contains("300ms"), "{text}");
    until("nothing is left", || handle.fleet().is_some_and(|fleet| fleet.members.is_empty())).await;
    until("it is no longer shown", || shown().is_none()).await;
    assert_eq!(docker.count(), 0);
}

/// Guards what whoever asks a shard is told: which engine is not well, and why.
#[tokio::test]
async fn engines_that_are_not_well_are_told() {
    let mut tasks = JoinSet::new();
    let closed = closed().await;
    let options = Options {
        pool: vec![closed.to_string().parse::<Authority>().expect("an authority").into()],
        fallback: None,
        epoch: Epoch(1),
        live: watch::channel(Live::default()).1,
        selection: Selection::default(),
        engine_starts_max: 1,
        no_response_timeout: Duration::from_secs(1),
        engine_wait: Duration::from_secs(1),
        diagnosis: diagnosis::Handle::deaf(),
        events: events::Handle::forgetful(),
        source: Source::Named,
    };
    let board = Arc::new(Board::new(0));
    let _handle =
        start(options, Arc::new(Shards::new(Vec::new())), Arc::default(), board.clone(), &mut tasks);
    until("it is told", || board.supply().unwell_total == 1).await;
    let supply = board.supply();
    assert_eq!(
        (&*supply.unwell[0].engine, supply.unwell[0].condition),
        (closed.to_string().as_str(), "dead")
    );
    assert!(supply.unwell[0].reason.contains("refuses"), "{}", supply.unwell[0].reason);
    let [shortfall] = &supply.shortfalls[..] else { panic!("{:?}", supply.shortfalls) };
    assert!(shortfall.code == "no_engine" && shortfall.detail.contains(&closed.to_string()), "{shortfall:?}");
}

/// Guards the cache of an idle engine: measured, emptied when it is too large, and the engine there for everybody
/// afterwards.
#[tokio::test]
async fn a_cache_that_is_too_large_is_emptied() {
    let mut tasks = JoinSet::new();
    // An engine that answers, so that the fleet's container counts as ready.
    let engine = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = engine.local_addr().expect("an address").port();
    let answers = axum::Router::new().fallback(|| async { r#"{"result":{"version":"3.2.3"}}"# });
    tokio::spawn(async move { axum::serve(engine, answers).await });
    let docker = Simulated { cache_bytes: 5000.into(), ..Simulated::default() };
    let ranges = |yard: &mut YardOptions| yard.ranges.host = PortRange::new(port, port).expect("a range");
    let (handle, docker, _settings, _board) = started(docker, ranges, &mut tasks);
    let cache =
        || handle.fleet().and_then(|fleet| fleet.members.first().and_then(|member| member.cache.clone()));
    until("it was emptied", || cache().is_some_and(|cache| cache.purged_at.is_some())).await;
    let told = cache().expect("it is known");
    assert_eq!((told.bytes, told.freed_bytes), (Some(0), 5000));
    assert_eq!(docker.count(), 1);
}
