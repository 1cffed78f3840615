use super::*;
use crate::store::record::{from_micros, to_micros};
use sluice_contract::Hex40;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory for the test")
}

fn in_directory(path: &Path) -> Options {
    Options { directory: Some(path.to_owned()), pages_max: None }
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_769_941_230_000 + second * 1000)
}

fn event(id: i64) -> EventRow {
    EventRow {
        id,
        at: at(1),
        event_type: "stream".into(),
        category: "started".into(),
        message: format!("event {id}"),
        details: r#"{"key":"x"}"#.into(),
        container_id: Some("engine".into()),
        stream_id: None,
    }
}

fn stream(id: &str, serial: i64) -> StreamRow {
    StreamRow {
        id: id.into(),
        serial,
        source: "reported".into(),
        key_type: "infohash".into(),
        key: "k".into(),
        infohash: Some(Hex40::from_bytes([7; 20])),
        container_id: "engine".into(),
        engine_host: "h".into(),
        engine_port: 6878,
        reporter: None,
        playback_session_id: "p".into(),
        stat_url: "http://h/stat".into(),
        command_url: "http://h/cmd".into(),
        is_live: true,
        started_at: at(0),
        ended_at: Some(at(9)),
        end_reason: Some("normal".into()),
        downloaded: Some(1),
        uploaded: None,
        labels: "{}".into(),
    }
}

fn sample(stream_id: &str, second: u64) -> SampleRow {
    SampleRow {
        stream_id: stream_id.into(),
        at: at(second),
        count: 10,
        peers: Some(3),
        speed_down: Some(400),
        speed_up: None,
        downloaded: Some(1 << 40),
        uploaded: Some(0),
        status: Some("dl".into()),
    }
}

fn setting(key: &str, value: &str) -> SettingRow {
    SettingRow { key: key.into(), value: value.into(), environment: Some("env".into()), changed_at: at(2) }
}

async fn stop(store: &Handle) {
    store.stop(Instant::now() + PATIENCE).await;
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Guards: every kind of record is found again by the next start, as it was put, and what was removed is not.
#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let directory = directory();
    let (store, loaded) = open(&in_directory(directory.path())).unwrap();
    assert!(loaded.events.is_empty() && loaded.streams.is_empty() && loaded.aliases.is_empty());
    assert_eq!(store.standing(), Standing::Sound);
    let (number, infohash) = (Hex40::from_bytes([1; 20]), Hex40::from_bytes([2; 20]));
    let looping = LoopingRow {
        key: "abc".into(),
        infohash: Some(infohash),
        detected_at: at(4),
        evidence: "frozen".into(),
    };
    let template = TemplateRow { slot: 3, name: "mine".into(), config: "{}".into() };
    for record in [
        Record::Event(event(1)),
        Record::Event(event(2)),
        Record::Event(event(3)),
        Record::EventsGone { up_to: 1 },
        Record::Stream(Box::new(stream("late", 2))),
        Record::Stream(Box::new(stream("early", 1))),
        Record::Stream(Box::new(stream("gone", 3))),
        Record::Samples(vec![(Resolution::TenSeconds, sample("early", 10))]),
        Record::Samples(vec![(Resolution::TenSeconds, sample("early", 20))]),
        Record::Samples(vec![(Resolution::TenSeconds, sample("early", 30))]),
        Record::Samples(vec![(Resolution::Minute, sample("gone", 0))]),
        Record::StreamGone { id: "gone".into() },
        Record::Alias { number, infohash, at: at(3) },
        Record::Looping(looping.clone()),
        Record::Looping(LoopingRow { key: "def".into(), infohash: None, ..looping.clone() }),
        Record::LoopingGone { key: "def".into() },
        Record::Template(template.clone()),
        Record::Template(TemplateRow { slot: 4, ..template.clone() }),
        Record::TemplateGone { slot: 4 },
        Record::Setting(setting("dropped", "1")),
        Record::SettingGone { key: "dropped".into() },
    ] {
        store.put(record);
    }
    store.save(vec![Record::Setting(setting("loop", "on"))]).await.unwrap();
    stop(&store).await;
    assert!(!directory.path().join("state.db-wal").exists(), "closed in order");

    let (store, loaded) = open(&in_directory(directory.path())).unwrap();
    assert_eq!(loaded.events, [event(2), event(3)]);
    assert_eq!(loaded.streams, [stream("early", 1), stream("late", 2)]);
    assert_eq!(loaded.aliases, [(number, infohash)]);
    assert_eq!(loaded.looping, [looping]);
    assert_eq!(store.setting("loop"), Some(setting("loop", "on")));
    assert_eq!(store.setting("dropped"), None);
    assert_eq!(store.templates().into_values().collect::<Vec<_>>(), [template]);
    let found = store.samples(Resolution::TenSeconds, "early", at(15), 1).await.unwrap();
    assert_eq!(found, [sample("early", 30)], "the newest of those that are new enough");
    assert_eq!(store.samples(Resolution::TenSeconds, "early", at(15), 9).await.unwrap().len(), 2);
    assert!(store.samples(Resolution::Minute, "gone", at(0), 9).await.unwrap().is_empty());
    stop(&store).await;
}

/// Guards: without a directory everything works until the end, statistics included, and nothing is written anywhere.
#[tokio::test]
async fn memory_alone_serves_as_well() {
    let (store, _) = open(&Options { directory: None, pages_max: None }).unwrap();
    assert_eq!(store.standing(), Standing::Memory);
    store.put(Record::Samples(vec![(Resolution::Minute, sample("s", 0))]));
    assert_eq!(store.samples(Resolution::Minute, "s", at(0), 9).await.unwrap(), [sample("s", 0)]);
    store.save(vec![Record::Setting(setting("a", "b"))]).await.unwrap();
    assert_eq!(store.setting("a").unwrap().value, "b");
    store.save(vec![Record::SettingGone { key: "a".into() }]).await.unwrap();
    assert_eq!(store.setting("a"), None);
    stop(&store).await;
}

/// Guards: two instances on one directory are refused with a text that names the directory and the other process, and
/// the directory is free again when the first has stopped.
#[tokio::test]
async fn a_directory_has_one_instance() {
    let directory = directory();
    let (store, _) = open(&in_directory(directory.path())).unwrap();
    let refusal = open(&in_directory(directory.path())).err().expect("refused");
    assert!(refusal.is_fatal());
    let text = refusal.to_string();
    assert!(text.contains(&directory.path().display().to_string()), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    stop(&store).await;
    let (store, _) = open(&in_directory(directory.path())).unwrap();
    stop(&store).await;
}

/// Guards: a file of a newer version, or of another program, is refused and left as it is.
#[tokio::test]
async fn a_file_that_is_not_ours_to_write_is_refused() {
    for (pragma, value, expected) in
        [("user_version", schema::LAYOUT + 1, "newer version"), ("application_id", 77, "another program")]
    {
        let directory = directory();
        let (store, _) = open(&in_directory(directory.path())).unwrap();
        stop(&store).await;
        let path = directory.path().join("state.db");
        let raw = rusqlite::Connection::open(&path).unwrap();
        raw.pragma_update(None, pragma, value).unwrap();
        raw.close().unwrap();
        let before = std::fs::read(&path).unwrap();
        let refusal = open(&in_directory(directory.path())).err().expect("refused");
        assert!(refusal.is_fatal(), "{refusal}");
        assert!(refusal.to_string().contains(expected), "{refusal}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "the file was touched");
    }
}

/// Guards: an older layout is brought forward with what it holds.
#[tokio::test]
async fn an_empty_file_becomes_the_present_layout() {
    let directory = directory();
    drop(rusqlite::Connection::open(directory.path().join("state.db")).unwrap());
    let (store, _) = open(&in_directory(directory.path())).unwrap();
    store.save(vec![Record::Event(event(1))]).await.unwrap();
    stop(&store).await;
    let raw = rusqlite::Connection::open(directory.path().join("state.db")).unwrap();
    let layout: i64 = raw.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(layout, schema::LAYOUT);
}

/// Guards: a directory that cannot be used leaves a store that says why and takes nothing, instead of no appliance.
#[tokio::test]
async fn an_unusable_directory_is_a_fault_that_is_shown() {
    let directory = directory();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let (store, loaded) = open(&in_directory(&file.join("below"))).unwrap();
    assert!(loaded.events.is_empty());
    let Standing::Unavailable { fault } = store.standing() else { panic!("{:?}", store.standing()) };
    assert!(fault.contains("file/below"), "{fault}");
    store.put(Record::Event(event(1)));
    store.put(Record::Samples(vec![(Resolution::Minute, sample("s", 0))]));
    let refusal = store.save(vec![Record::Setting(setting("a", "b"))]).await.unwrap_err();
    assert!(matches!(refusal, Error::Unavailable(_)), "{refusal}");
    assert_eq!(store.setting("a"), None, "what was not stored does not hold");
    let dropped: u64 = store.counts().dropped().iter().map(|(_, count)| count).sum();
    assert_eq!(dropped, 2);
    assert!(store.samples(Resolution::Minute, "s", at(0), 1).await.is_err());
    stop(&store).await;
}

/// Guards: a garbled file is a fault that is shown, and is not written to.
#[tokio::test]
async fn a_garbled_file_is_left_alone() {
    let directory = directory();
    let path = directory.path().join("state.db");
    let garbage = vec![b'g'; 8192];
    std::fs::write(&path, &garbage).unwrap();
    let (store, _) = open(&in_directory(directory.path())).unwrap();
    assert_eq!(store.standing().as_str(), "unavailable");
    assert_eq!(std::fs::read(&path).unwrap(), garbage);
}

/// Guards: on a full disk nobody waits, statistics go first, promises are answered, and the fault is shown.
#[tokio::test]
async fn a_full_disk_drops_statistics_and_says_so() {
    let directory = directory();
    let options = Options { pages_max: Some(40), ..in_directory(directory.path()) };
    let (store, _) = open(&options).unwrap();
    let large = EventRow { message: "x".repeat(200_000), ..event(1) };
    store.put(Record::Samples(vec![(Resolution::Minute, sample("s", 0))]));
    store.put(Record::Event(large));
    let refusal = store.save(vec![Record::Setting(setting("a", "b"))]).await.unwrap_err();
    assert!(refusal.to_string().contains("full"), "{refusal}");
    let Standing::Failing { fault, .. } = store.standing() else { panic!("{:?}", store.standing()) };
    assert!(fault.contains("full"), "{fault}");
    assert!(store.counts().dropped().contains(&("statistics_not_stored", 1)));
    assert!(store.counts().dropped().contains(&("not_stored", 0)), "what matters is kept for later");
    assert_eq!(store.setting("a"), None);
    stop(&store).await;
}

/// Guards: after a time in which nothing could be stored, everything that matters is stored and the fault is gone.
#[tokio::test]
async fn what_could_not_be_stored_is_stored_later() {
    let directory = directory();
    let (store, _) = open(&in_directory(directory.path())).unwrap();
    let raw = rusqlite::Connection::open(directory.path().join("state.db")).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.put(Record::Event(event(1)));
    store.flush().await;
    assert_eq!(store.standing().as_str(), "failing");
    assert!(store.counts().failures() > 0);
    raw.execute_batch("COMMIT").unwrap();
    // Nobody asks for it: the writer tries again by itself.
    eventually("the fault is gone", || store.standing() == Standing::Sound).await;
    assert_eq!(store.counts().stored(), 1);
    stop(&store).await;
}

/// Guards: when the writer is stuck, statistics are dropped and counted while there is still room for what matters.
#[tokio::test]
async fn a_stuck_writer_costs_statistics_first() {
    let directory = directory();
    let (store, _) = open(&in_directory(directory.path())).unwrap();
    let raw = rusqlite::Connection::open(directory.path().join("state.db")).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let stuck = store.clone();
    let promise = tokio::spawn(async move { stuck.save(vec![Record::Event(event(1))]).await });
    eventually("the writer took the promise", || promise.is_finished() || store.backlog() == 0).await;
    let dropped = |reason: &str| {
        let counts = store.counts().dropped();
        counts.iter().find(|(name, _)| *name == reason).map_or(0, |(_, count)| *count)
    };
    let mut put = 0;
    while dropped("statistics_queue_full") == 0 {
        store.put(Record::Samples(vec![(Resolution::Minute, sample("s", put))]));
        put += 1;
        assert!(put < 1_000_000, "the queue has no bound");
    }
    store.put(Record::Event(event(2)));
    assert_eq!(dropped("queue_full"), 0);
    raw.execute_batch("COMMIT").unwrap();
    let _ = promise.await;
    stop(&store).await;
    let (store, loaded) = open(&in_directory(directory.path())).unwrap();
    assert!(loaded.events.iter().any(|found| found.id == 2), "the event had room");
    stop(&store).await;
}

/// Guards: tables that only grow are cut back to their newest rows.
#[tokio::test]
async fn old_statistics_go() {
    let directory = directory();
    let (store, _) = open(&in_directory(directory.path())).unwrap();
    for second in 0..50 {
        store.put(Record::Samples(vec![(Resolution::TenSeconds, sample("s", second))]));
    }
    stop(&store).await;
    let raw = rusqlite::Connection::open(directory.path().join("state.db")).unwrap();
    apply::prune(&raw, 20).unwrap();
    let found = load::samples(&raw, Resolution::TenSeconds, "s", at(0), 99).unwrap();
    assert_eq!((found.len(), found[0].at), (20, at(30)));
}

/// Guards: stored times come back to the microsecond, and odd ones do no harm.
#[test]
fn times_survive() {
    let time = at(1) + Duration::from_micros(123_456);
    assert_eq!(from_micros(to_micros(time)), time);
    assert_eq!(from_micros(-5), SystemTime::UNIX_EPOCH);
    assert_eq!(to_micros(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), 0);
}

const CHILD: &str = "SLUICE_TEST_STORE_CHILD";

/// Guards nothing by itself: it is the process the next test kills. It stores events as fast as it can, and says
/// which one was promised to be on disk.
#[tokio::test]
async fn child_that_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let (store, loaded) = open(&in_directory(Path::new(&path))).unwrap();
    let mut id = loaded.events.last().map_or(0, |event| event.id);
    loop {
        for _ in 0..20 {
            id += 1;
            store.put(Record::Event(event(id)));
            store.put(Record::Samples(vec![(Resolution::TenSeconds, sample("s", id.unsigned_abs()))]));
        }
        id += 1;
        store.save(vec![Record::Event(event(id))]).await.unwrap();
        writeln!(std::io::stdout(), "\nstored {id}").unwrap();
    }
}

/// Guards: a process killed at any moment leaves a whole file with everything it was promised, and the next one goes
/// on from there.
#[tokio::test]
async fn a_kill_costs_nothing_that_was_promised() {
    let directory = directory();
    let mut promised = 0;
    for round in 0..4u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::child_that_is_killed", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("stored ")?.trim().parse::<i64>().ok());
        let before = promised;
        for _ in 0..=round * 3 {
            promised = said.next().expect("the child stores");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts as well.
        promised = said.last().unwrap_or(promised);
        assert!(promised > before, "the child went on where the last one was cut off");

        let raw = rusqlite::Connection::open(directory.path().join("state.db")).unwrap();
        let verdict: String = raw.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
        let (count, newest): (i64, i64) = raw
            .query_row("SELECT count(*), max(id) FROM events", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert!(newest >= promised, "{promised} was promised, {newest} is there");
        assert_eq!(count, newest, "an entry is missing in between");
    }
}
