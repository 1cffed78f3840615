//! Whatever arrives at the port gets a clear status or a close, costs nothing that lasts, and disturbs no player.

use crate::common::{Appliance, SOON, Setup, until};
use crate::stage::{RATE, Raw, checked, engine, plays, refusals};
use sluice_bench::channel::nth;
use sluice_bench::player::Player;
use std::time::{Duration, Instant};

/// An appliance that waits one second for a head, and a player to watch over. Judged by [`Watched::unharmed`].
struct Watched {
    engine: sluice_bench::engine::Engine,
    appliance: Appliance,
    player: Player,
    descriptors: usize,
}

impl Watched {
    fn start() -> Self {
        let engine = engine(2);
        let appliance = Setup::with_engines(&[&engine]).env("HEAD_TIMEOUT_S", "1").start();
        let player = checked(&appliance, &engine, 0).start();
        plays(&player);
        // Whatever opens with the first request of each kind is open now.
        for path in ["/ace/status", "/proxy/status", "/metrics"] {
            assert_eq!(appliance.get(path).status(), 200);
        }
        let mut descriptors = 0;
        until("nothing but the player is open", || {
            let now = appliance.descriptors();
            std::mem::replace(&mut descriptors, now) == now
        });
        Self { engine, appliance, player, descriptors }
    }

    /// No descriptor, connection or player is left behind, no task failed, and the player missed nothing.
    fn unharmed(self) {
        until("no descriptor is left behind", || self.appliance.descriptors() <= self.descriptors);
        assert_eq!(self.appliance.metric("sluice_task_panics_total"), 0.0);
        until("nobody else is left", || self.appliance.metric("sluice_clients") == 1.0);
        assert_eq!(self.appliance.metric("sluice_clients_waiting"), 0.0);
        self.player.wait_more(RATE, SOON).unwrap();
        self.player.stop();
        assert_eq!(self.player.report().faults_or_losses(), Vec::<String>::new());
        assert_eq!(self.engine.control().counters(nth(0).0).unwrap().opens, 1);
    }
}

fn answer(to: &Appliance, bytes: &[u8]) -> String {
    let mut raw = Raw::open(to.addr());
    raw.send(bytes);
    raw.read_to_end(SOON)
}

/// Guards: heads that break the grammar or the bounds are answered with the status that says so.
#[test]
fn malformed_heads_get_a_status() {
    let watched = Watched::start();
    let long_name = format!("GET / HTTP/1.1\r\n{}: 1\r\n\r\n", "n".repeat(66_000));
    let endless = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(200_000));
    let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    let target = format!("GET /ace/getstream?id={} HTTP/1.1\r\n\r\n", "a".repeat(20_000));
    let cases: [(&str, &[u8], u16); 16] = [
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        ("zeros", &[0; 64], 400),
        ("no HTTP", b"HELO example.com\r\n\r\n", 400),
        ("another version", b"GET /ace/status HTTP/2.0\r\n\r\n", 400),
        ("no target", b"GET\r\n\r\n", 400),
        ("a CONNECT target", b"CONNECT host:443 HTTP/1.1\r\n\r\n", 400),
        ("a name with a blank", b"GET / HTTP/1.1\r\na b: c\r\n\r\n", 400),
        ("a control byte", b"GET / HTTP/1.1\r\na: b\0c\r\n\r\n", 400),
        ("two lengths", b"GET /ace/status HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("no number", b"GET /ace/status HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        ("two framings", b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("an oversized name", long_name.as_bytes(), 431),
        ("an endless head", endless.as_bytes(), 431),
        ("too many fields", fields.as_bytes(), 431),
        ("an oversized target", target.as_bytes(), 431),
        ("empty lines for ever", &b"\r\n".repeat(20_000), 431),
    ];
    for (what, bytes, status) in cases {
        let said = answer(&watched.appliance, bytes);
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {said:?}");
        assert!(said.contains(r#""code":""#), "{what}: {said:?}");
    }
    until("all are counted", || {
        refusals(&watched.appliance, "bad_request") == 11.0
            && refusals(&watched.appliance, "head_too_large") == 5.0
    });
    watched.unharmed();
}

/// Guards: heads whose lines end in LF alone are understood, for both planes.
#[test]
fn bare_line_feeds_are_understood() {
    let watched = Watched::start();
    for path in ["/ace/status", "/proxy/status"] {
        let said =
            answer(&watched.appliance, format!("GET {path} HTTP/1.1\nConnection: close\n\n").as_bytes());
        assert!(said.starts_with("HTTP/1.1 200 "), "{path}: {said:?}");
    }
    watched.unharmed();
}

/// Guards: a head that does not arrive, or dribbles in, is given up after `HEAD_TIMEOUT_S`, and says why.
#[test]
fn slow_heads_are_given_up() {
    let watched = Watched::start();
    let began = Instant::now();
    let mut silent: Vec<Raw> = (0..20).map(|_| Raw::open(watched.appliance.addr())).collect();
    let mut started = Raw::open(watched.appliance.addr());
    started.send(b"GET /ace/status HTTP/1.1\r\nHost");
    let mut dribbling = Raw::open(watched.appliance.addr());
    for byte in b"GET /ace/status HTTP/1.1\r\nHost: x" {
        dribbling.send(&[*byte]);
        // The point is the pace: a byte at a time renews no deadline.
        std::thread::sleep(Duration::from_millis(50));
    }
    for raw in silent.iter_mut().chain([&mut started, &mut dribbling]) {
        let said = raw.read_to_end(SOON);
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("head_timeout"), "{said:?}");
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "given up too early");
    until("all are counted", || refusals(&watched.appliance, "head_timeout") == 22.0);
    watched.unharmed();
}

/// Guards: garbage behind good requests spoils only itself, on either plane.
#[test]
fn garbage_behind_requests_is_refused_after_their_answers() {
    let watched = Watched::start();
    for path in ["/ace/status", "/proxy/status"] {
        let bytes = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n\0\x01garbage\r\n\r\n");
        let said = answer(&watched.appliance, bytes.as_bytes());
        assert!(said.starts_with("HTTP/1.1 200 "), "{path}: {said:?}");
        assert!(said.contains("HTTP/1.1 400 "), "{path}: {said:?}");
    }
    // What follows the request for a stream is nobody's: the stream plays.
    let mut raw = Raw::open(watched.appliance.addr());
    raw.send(
        format!("GET /ace/getstream?id={} HTTP/1.1\r\n\r\n\0\x01\r\n\r\nGET / HTTP/1.1\r\n\r\n", nth(1).0)
            .as_bytes(),
    );
    raw.read_until("media", SOON, |received| received.len() > 100_000);
    assert!(raw.received.starts_with(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n"));
    drop(raw);
    watched.unharmed();
}

/// Guards: peers that shut their sending side down are answered if they asked for something, and have left if they
/// asked for a stream.
#[test]
fn half_open_peers_do_not_stay() {
    let watched = Watched::start();
    for path in ["/ace/status", "/proxy/status"] {
        let mut raw = Raw::open(watched.appliance.addr());
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        raw.half_close();
        let said = raw.read_to_end(SOON);
        assert!(said.starts_with("HTTP/1.1 200 "), "{path}: {said:?}");
    }
    let mut raw = Raw::open(watched.appliance.addr());
    raw.half_close();
    raw.read_to_end(SOON);
    let mut raw = Raw::open(watched.appliance.addr());
    raw.send(format!("GET /ace/getstream?id={} HTTP/1.1\r\n\r\n", nth(1).0).as_bytes());
    raw.read_until("media", SOON, |received| received.len() > 1000);
    raw.half_close();
    raw.read_to_end(SOON);
    watched.unharmed();
}

/// Guards: thousands of connections that come and go, with nothing, half a request or a whole one sent, leave nothing
/// behind and harm nobody.
#[test]
fn connects_and_drops_leave_nothing_behind() {
    let watched = Watched::start();
    let play = format!("GET /ace/getstream?id={} HTTP/1.1\r\n\r\n", nth(0).0);
    let rest = b"GET /proxy/status HTTP/1.1\r\nHost: x\r\n\r\n";
    for n in 0..3000 {
        let mut raw = Raw::open(watched.appliance.addr());
        match n % 6 {
            0 => {}
            1 => raw.send(&play.as_bytes()[..20]),
            2 => raw.send(play.as_bytes()),
            3 => raw.send(rest),
            4 => raw.send(b"\0"),
            _ => raw.half_close(),
        }
    }
    assert_eq!(watched.appliance.get("/ace/status").status(), 200);
    watched.unharmed();
}
