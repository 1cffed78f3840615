//! The load against a small server in threads, which sends a self-checking broadcast at its rate.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::compare::{self, Side};
use crate::player::testing::{self, HEAD, PERIOD};
use crate::report::Report;

/// The test broadcast has ten packets in 10 ms.
const PERIODS_PER_S: u64 = 100;
const MBIT: f64 = 1.504;

/// What the server does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Misbehaviour {
    None,
    /// Answers every second connection with 503.
    RefusesHalf,
    /// Closes every second connection after half a second.
    ClosesHalf,
    /// Sends at half the rate.
    IsSlow,
    /// Leaves a packet out once.
    LosesPacket,
    /// Is silent for this long once, a second after the connection stood.
    IsSilent(Duration),
}

/// Serves every connection in a thread of its own until it is closed or the server is dropped.
struct TestServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl TestServer {
    fn start(misbehaviour: Misbehaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
        let server = Self { address, stop: Arc::clone(&stop) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let number = accepted.fetch_add(1, Ordering::Relaxed);
                let stop = Arc::clone(&stop);
                thread::spawn(move || serve(stream, misbehaviour, number, &stop));
            }
        });
        server
    }

    fn options(&self) -> Options {
        Options {
            clients: 12,
            checked: 3,
            mbit: MBIT,
            ramp: Duration::from_millis(100),
            duration: Duration::from_secs(2),
            settle: (Duration::from_millis(100), Duration::from_secs(5)),
            answer_timeout: Duration::from_secs(5),
            ..Options::new(self.address, vec!["/ace/getstream?id=1".to_owned()])
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the acceptor.
        let _woken = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, misbehaviour: Misbehaviour, number: usize, stop: &AtomicBool) {
    // Closing with the request unread would be a reset.
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
        request.push(byte[0]);
    }
    let is_second = number % 2 == 1;
    if misbehaviour == Misbehaviour::RefusesHalf && is_second {
        let _gone = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    // A player that does not read would block this thread for ever.
    stream.set_write_timeout(Some(Duration::from_secs(1))).expect("timeout");
    let start = Instant::now();
    let mut sent = stream.write_all(HEAD);
    let mut period = 0;
    let speed = if misbehaviour == Misbehaviour::IsSlow { 2 } else { 1 };
    while sent.is_ok() && !stop.load(Ordering::Relaxed) {
        thread::sleep(
            (start + Duration::from_secs(period * speed) / PERIODS_PER_S as u32)
                .saturating_duration_since(Instant::now()),
        );
        match misbehaviour {
            Misbehaviour::ClosesHalf if is_second && period == 50 => return,
            Misbehaviour::IsSilent(time) if period == 100 => thread::sleep(time),
            _ => {}
        }
        let mut bytes = testing::bytes(period * PERIOD..(period + 1) * PERIOD);
        if misbehaviour == Misbehaviour::LosesPacket && period == 20 {
            bytes.drain(4 * 188..5 * 188);
        }
        sent = stream.write_all(&bytes);
        period += 1;
    }
}

fn play(server: &TestServer, change: impl FnOnce(&mut Options)) -> Figures {
    let mut options = server.options();
    change(&mut options);
    run(&options, |_| {}).expect("the run goes through")
}

/// The core that every machine has: twice, for two threads.
const CORES: [&[usize]; 2] = [&[], &[0, 0]];

/// Guards the plain case, with one thread and with two: everybody joins and gets the rate, the sample is clean, and the server's
/// use is read.
#[test]
fn a_good_server_has_no_fault() {
    for cores in CORES {
        a_good_server(cores);
    }
}

fn a_good_server(cores: &[usize]) {
    let server = TestServer::start(Misbehaviour::None);
    let figures = play(&server, |options| {
        options.paced_share = 0.5;
        options.stalled = 2;
        options.stalled_after = 10_000;
        options.sources = 4;
        options.cores = cores.to_vec();
        options.server = Some(Server::listening_on(server.address).expect("this process"));
    });
    assert_eq!(figures.faults(), Vec::<String>::new(), "{figures}");
    // The stalled players' sockets are large enough for what they were sent.
    assert_eq!((figures.stalled, figures.stalled_connected), (2, 2));
    assert_eq!((figures.drained.players, figures.paced.players), (8, 4));
    let sample = figures.sample.as_ref().expect("checked players");
    assert_eq!((sample.players, sample.clean, sample.lost), (3, 3, 0));
    assert_eq!(sample.mbit, Some(MBIT));
    assert_eq!(figures.joins.decodable.expect("checked players").count, 3);
    assert_eq!(figures.joins.first_byte.expect("all players").count, 14);
    // Twelve players at the rate; the stalled ones count no longer.
    let expected = 12.0 * MBIT / 1e3;
    assert!((figures.gbit_s / expected - 1.0).abs() < 0.2, "{figures}");
    let used = figures.server.as_ref().expect("watched");
    assert!(used.after.fds >= 14 && used.before.rss > 0, "{figures}");
    assert!(used.cpu_s_per_gb >= 0.0 && figures.seconds >= 2.0);
    let table = figures.to_string();
    assert!(table.contains("join, decodable") && table.contains("server CPU"), "{table}");
    assert!(serde_json::to_string(&figures).expect("plain data").contains("\"cpu_s_per_gb\":"));
    let Figures { player_cpu, player_cpu_busiest, .. } = figures;
    assert!(
        player_cpu_busiest > 0.0 && player_cpu_busiest <= player_cpu,
        "{player_cpu} {player_cpu_busiest}"
    );
}

/// Guards that refusals and early ends are counted by their reason.
#[test]
fn players_that_are_gone_are_counted_by_reason() {
    let server = TestServer::start(Misbehaviour::RefusesHalf);
    let figures = play(&server, |options| options.checked = 0);
    assert_eq!(figures.gone.get("status 503"), Some(&6), "{figures}");
    let server = TestServer::start(Misbehaviour::ClosesHalf);
    let figures = play(&server, |options| options.paced_share = 1.0);
    assert_eq!(figures.gone.get("closed by the server"), Some(&6), "{figures}");
    assert!(figures.faults().iter().any(|fault| fault.contains("closed by the server")));
}

/// Guards that players who pass come again and again and are counted for themselves, served or not.
#[test]
fn players_pass_beside_those_who_stay() {
    let passing = |options: &mut Options| options.churn = Some((20.0, Duration::from_millis(500)));
    for cores in CORES {
        let server = TestServer::start(Misbehaviour::None);
        let figures = play(&server, |options| {
            passing(options);
            options.cores = cores.to_vec();
        });
        assert_eq!(figures.faults(), Vec::<String>::new(), "{figures}");
        let passed = figures.passed.as_ref().expect("there were some");
        // Twenty a second for two seconds, of which the last ten are still there; a slow machine lets fewer come.
        assert!((15..=31).contains(&passed.served), "{figures}");
        assert_eq!(passed.first_byte.expect("served").count as usize, passed.served);
        assert_eq!(figures.joins.first_byte.expect("those who stay").count, 12);
        assert!(figures.gbit_s > 15.0 * MBIT / 1e3, "what those who left received counts: {figures}");
        assert!(figures.to_string().contains("passed, first byte"), "{figures}");
    }

    let server = TestServer::start(Misbehaviour::RefusesHalf);
    let figures = play(&server, |options| {
        passing(options);
        options.checked = 0;
    });
    let passed = figures.passed.as_ref().expect("there were some");
    assert!(
        passed.served > 0 && passed.failed.get("status 503").is_some_and(|count| *count > 5),
        "{figures}"
    );
    assert!(figures.faults().iter().any(|fault| fault.contains("that passed were not served")), "{figures}");
    let unbounded = Options { churn: Some((1e9, Duration::from_secs(1))), ..server.options() };
    assert!(matches!(run(&unbounded, |_| {}), Err(Error::Options(_))));
    let elsewhere = Options { churn: Some((1.0, Duration::from_secs(1))), ..server.options() };
    let refused = storms(&elsewhere, (1, 0, Duration::ZERO), 1, |_| {});
    assert!(matches!(refused, Err(Error::Options(text)) if text.contains("--churn")));
}

/// Guards that players which get less than the stream's rate are counted as short, paced or not.
#[test]
fn a_slow_server_leaves_players_short() {
    let server = TestServer::start(Misbehaviour::IsSlow);
    let figures = play(&server, |options| {
        options.paced_share = 0.5;
        options.duration = Duration::from_secs(4);
    });
    assert_eq!(figures.drained.short + figures.paced.short, 12, "{figures}");
    assert!(figures.drained.mbit_min.is_some_and(|rate| rate < MBIT * 0.6), "{figures}");
}

/// Guards that a packet lost on the way is found by every checked player.
#[test]
fn a_lost_packet_is_found_by_the_sample() {
    let server = TestServer::start(Misbehaviour::LosesPacket);
    let figures = play(&server, |options| options.checked = 2);
    let sample = figures.sample.as_ref().expect("checked players");
    assert_eq!((sample.clean, sample.lost), (0, 2), "{figures}");
    assert!(figures.faults().iter().any(|fault| fault.contains("continuity")), "{figures}");
}

/// Guards that a silence shows in the longest gap of drained and paced players alike, with about its length.
#[test]
fn a_silence_is_everybodys_longest_gap() {
    let silence = Duration::from_millis(400);
    let server = TestServer::start(Misbehaviour::IsSilent(silence));
    let figures = play(&server, |options| options.paced_share = 0.5);
    for service in [&figures.drained, &figures.paced] {
        let gap = service.longest_gap.expect("players");
        assert!(gap.p50_ms >= 300.0, "{figures}");
        assert!(service.gap.is_some_and(|all| all.count > gap.count && all.p50_ms < 300.0), "{figures}");
    }
}

/// Guards that a silence which outlasts the measurement counts, though no read ever ends it.
#[test]
fn a_silence_that_never_ends_counts() {
    let server = TestServer::start(Misbehaviour::IsSilent(Duration::from_secs(20)));
    let figures = play(&server, |options| options.paced_share = 0.5);
    for service in [&figures.drained, &figures.paced] {
        assert!(service.longest_gap.is_some_and(|gap| gap.p50_ms >= 1000.0), "{figures}");
        assert!(service.gap.is_some_and(|all| all.max_ms < 1000.0), "{figures}");
    }
}

/// Guards that phases alternate, that stalled players come and go, and that medians are of all phases.
#[test]
fn interleaved_phases_compare_medians() {
    let server = TestServer::start(Misbehaviour::None);
    let mut options = server.options();
    options.stalled = 3;
    options.stalled_after = 2000;
    options.duration = Duration::from_millis(300);
    let compared = interleave(&options, 2, |_| {}).expect("the run goes through");
    let sorts: Vec<bool> = compared.phases.iter().map(|phase| phase.with_stalled).collect();
    assert_eq!(sorts, [false, true, true, false]);
    for phase in &compared.phases {
        assert_eq!(phase.figures.stalled_connected, if phase.with_stalled { 3 } else { 0 });
        assert_eq!(phase.figures.drained.players, 12);
    }
    assert!(compared.with.worst_ms > 0.0 && compared.without.worst_ms >= compared.without.typical_ms);
    assert!(compared.to_string().contains("difference"));
}

/// Guards that nothing is loaded that was not meant to be, and that bad options are named.
#[test]
fn bad_options_are_refused_before_anything_is_sent() {
    let good = Options::new("127.0.0.1:1".parse().expect("address"), vec!["/".to_owned()]);
    let refused = |change: &dyn Fn(&mut Options)| {
        let mut options = good.clone();
        change(&mut options);
        run(&options, |_| {}).expect_err("refused").to_string()
    };
    assert!(refused(&|it| it.target = "192.0.2.1:80".parse().expect("address")).contains("--allow-remote"));
    assert!(refused(&|it| it.clients = 50_000_000).contains("open files"));
    assert!(refused(&|it| it.clients = 0).contains("0 clients"));
    assert!(refused(&|it| it.paths.clear()).contains("no channel"));
    assert!(refused(&|it| it.paced_share = 1.5).contains("paced share"));
    assert!(refused(&|it| it.mbit = f64::NAN).contains("Mbit/s"));
    assert!(refused(&|it| it.sources = 0).contains("source addresses"));
    assert!(refused(&|it| it.cores = vec![100_000]).contains("core"));
    let nobody = refused(&|it| (it.clients, it.settle) = (3, (Duration::ZERO, Duration::ZERO)));
    assert!(nobody.contains("3 × no connection"), "{nobody}");
}

/// Guards that kinds are spread evenly and in the numbers asked for.
#[test]
fn kinds_are_spread_evenly() {
    let mut options = Options::new("127.0.0.1:1".parse().expect("address"), vec!["/".to_owned()]);
    (options.clients, options.checked, options.paced_share) = (1000, 5, 0.5);
    let kinds = options.kinds();
    let count = |kind: Kind| kinds.iter().filter(|it| **it == kind).count();
    assert_eq!((count(Kind::Checked), count(Kind::Paced), kinds.len()), (5, 497, 1000));
    let places: Vec<usize> = (0..1000).filter(|place| kinds[*place] == Kind::Checked).collect();
    assert_eq!(places, [0, 200, 400, 600, 800]);
}

/// Guards: storms come and go while others watch, each is told, those who were turned away are counted, and nobody of an earlier storm is left.
#[test]
fn storms_come_and_go() {
    let crowd = (6, 2, Duration::from_millis(50));
    for cores in CORES {
        let server = TestServer::start(Misbehaviour::None);
        let options = Options { clients: 3, checked: 1, cores: cores.to_vec(), ..server.options() };
        let storms = storms(&options, crowd, 2, |_| {}).expect("the run goes through");
        assert_eq!(storms.faults(), Vec::<String>::new(), "{storms}");
        for storm in &storms.storms {
            assert_eq!((storm.players, storm.joined, storm.watchers_gone), (6, 6, 0), "{storms}");
            assert_eq!(storm.joins.first_byte.map(|times| times.count), Some(6));
            assert_eq!(storm.joins.decodable.map(|times| times.count), Some(2));
        }
        assert_eq!(storms.joins.first_byte.map(|times| times.count), Some(12));
    }
    let turned_away = TestServer::start(Misbehaviour::RefusesHalf);
    let options = Options { clients: 3, ..turned_away.options() };
    let storms = play_storms(&options, crowd);
    assert_eq!(storms.storms[0].gone.values().sum::<usize>(), 3, "{storms}");
    assert!(!storms.faults().is_empty());
}

fn play_storms(options: &Options, crowd: (usize, usize, Duration)) -> Storms {
    storms(options, crowd, 1, |_| {}).expect("the run goes through")
}

/// Guards: two servers are measured in turn, each as often, and told apart pair by pair; every second of a measurement is told.
#[test]
fn two_servers_are_compared() {
    let (first, second) = (TestServer::start(Misbehaviour::None), TestServer::start(Misbehaviour::None));
    let side = |server: &TestServer| {
        let options = Options { duration: Duration::from_millis(1200), ..server.options() };
        Side::Running { name: server.address.to_string(), options: Box::new(options) }
    };
    let sides = [side(&first), side(&second)];
    let mut told = Vec::new();
    let comparison =
        compare::run(&sides, 1, None, |text| told.push(text.to_owned())).expect("it goes through");
    assert_eq!((comparison.first.len(), comparison.second.len()), (1, 1));
    let names: Vec<&str> = comparison.pairs.iter().map(|pairs| pairs.name.as_str()).collect();
    assert_eq!(names, ["gap_p999_ms", "longest_gap_ms", "first_byte_p50_ms", "first_byte_p99_ms"]);
    assert_eq!(comparison.faults(), Vec::<String>::new());
    let moments = &comparison.first[0].moments;
    assert_eq!(moments.iter().map(|moment| moment.players).collect::<Vec<_>>(), [12, 12]);
    assert!(moments.iter().all(|moment| moment.gbit_s > 0.0 && moment.gap_ms > 0.0), "{moments:?}");
    assert!(told.iter().filter(|text| text.starts_with("  ")).count() == 4, "{told:?}");
}
