//! What players experience and report, against a server in a thread.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::testing::{HEAD, bytes, server};
use super::*;

const SOON: Duration = Duration::from_secs(10);

/// Writes without end until the player is gone.
fn flood(stream: &mut TcpStream) {
    let piece = bytes(0..1000);
    while stream.write_all(&piece).is_ok() {}
}

/// Guards the plain case: request as planned, clean stream, all times in their order, end of file.
#[test]
fn a_drained_stream_is_timed_checked_and_ended() {
    let (seen, requests) = mpsc::channel();
    let (address, _server) = server(1, move |mut stream, request| {
        seen.send((request, stream.peer_addr().expect("connected"))).expect("the test waits");
        stream.write_all(HEAD).expect("player reads");
        stream.write_all(&bytes(0..2000)).expect("player reads");
    });
    let player = Player::get(address, "/ace/getstream?id=1")
        .version(Version::Http10)
        .header("User-Agent", "test")
        .source("127.0.0.9".parse().expect("address"))
        .keep_first(376)
        .keep_last(188)
        .start();
    assert_eq!(player.wait_head(SOON).expect("head").header("content-type"), Some("video/mp2t"));
    player.wait_packets(2000, SOON).expect("all packets");
    assert_eq!(player.wait_end(SOON).expect("end"), End::Eof);
    let (request, from) = requests.recv_timeout(SOON).expect("request");
    assert!(request.starts_with("GET /ace/getstream?id=1 HTTP/1.0\r\nHost: 127.0.0.1:"), "{request}");
    assert!(request.contains("\r\nUser-Agent: test\r\n"), "{request}");
    assert_eq!(from.ip().to_string(), "127.0.0.9");
    let seen = player.snapshot();
    assert_eq!((seen.status(), seen.bytes), (Some(200), 2000 * 188));
    assert_eq!(seen.check.faults_or_losses(), Vec::<String>::new());
    let times = [seen.connected_after, seen.head_after, seen.first_byte_after, seen.decodable_after];
    assert!(times.iter().all(Option::is_some) && times.is_sorted(), "{times:?}");
    assert_eq!(player.first_bytes(), bytes(0..2));
    assert_eq!(player.last_bytes(), bytes(1999..2000));
}

/// Guards that an error body is kept and not judged as a stream.
#[test]
fn an_error_body_is_kept() {
    let (address, _server) = server(1, |mut stream, _| {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nRetry-After: 3\r\n\r\n{}";
        stream.write_all(answer).expect("player reads");
        // Kept open: the player knows from the length that this was all.
        let _closed = stream.read(&mut [0; 16]);
    });
    let player = Player::get(address, "/").start();
    assert_eq!(player.wait_end(SOON).expect("end"), End::Complete);
    let seen = player.snapshot();
    assert_eq!((seen.status(), seen.check.packets), (Some(503), 0));
    assert_eq!(player.first_bytes(), b"{}");
}

/// Guards that a silence shows as a gap and that forgetting it works.
#[test]
fn a_silence_is_a_gap() {
    const SILENCE: Duration = Duration::from_millis(300);
    let (go, going) = mpsc::channel::<()>();
    let going = std::sync::Mutex::new(going);
    let (address, _server) = server(1, move |mut stream, _| {
        stream.write_all(HEAD).expect("player reads");
        stream.write_all(&bytes(0..10)).expect("player reads");
        thread::sleep(SILENCE);
        stream.write_all(&bytes(10..20)).expect("player reads");
        going.lock().expect("one thread").recv().expect("the test goes on");
        stream.write_all(&bytes(20..30)).expect("player reads");
    });
    let player = Player::get(address, "/").start();
    player.wait_packets(20, SOON).expect("both pieces");
    let longest = player.longest_gap();
    assert!(longest >= SILENCE.mul_f64(0.9), "{longest:?}");
    assert!(player.gaps().max() >= 270_000);
    player.forget_gaps();
    go.send(()).expect("server waits");
    player.wait_end(SOON).expect("end");
    assert!(player.snapshot().longest_gap < longest && player.gaps().len() == 1);
}

/// Guards that a stalled player reads nothing beyond its byte, notices a reset, and reads on when told to.
#[test]
fn a_stalled_player_stops_and_can_go_on() {
    let (address, _server) = server(1, |mut stream, _| {
        stream.write_all(HEAD).expect("player reads");
        stream.write_all(&bytes(0..100_000)).expect("player reads in the end");
    });
    let player = Player::get(address, "/").receive_buffer(4096).reading(Reading::Stalled(5000)).start();
    player.wait_bytes(5000, SOON).expect("the first bytes");
    assert!(player.wait_bytes(5001, Duration::from_millis(200)).is_err());
    assert_eq!(player.bytes(), 5000);
    player.read(Reading::Drain);
    assert_eq!(player.wait_end(SOON).expect("end"), End::Eof);
    assert_eq!(player.report().faults_or_losses(), Vec::<String>::new());

    let (address, _server) = server(1, |mut stream, _| {
        stream.write_all(HEAD).expect("player reads");
        stream.write_all(&bytes(0..100)).expect("fits the socket buffer");
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
    });
    let player = Player::get(address, "/").reading(Reading::Stalled(188)).start();
    assert_eq!(player.wait_end(SOON).expect("end"), End::Reset);
}

/// Guards that a paced player takes about its rate from a server that would give more.
#[test]
fn a_paced_player_keeps_its_rate() {
    let (address, _server) = server(1, |mut stream, _| {
        stream.write_all(HEAD).expect("player reads");
        flood(&mut stream);
    });
    let started = Instant::now();
    let player = Player::get(address, "/").reading(Reading::Paced(1_000_000)).start();
    player.wait_bytes(500_000, SOON).expect("half a second's bytes");
    // The upper bound is that of the clock; a slow machine may only make it longer.
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
    assert_eq!(player.reset().end, Some(End::LeftAbruptly));
}

/// Guards the two ways to leave: the server sees FIN or RST.
#[test]
fn the_server_sees_how_a_player_leaves() {
    let (tell, told) = mpsc::channel();
    let (address, _server) = server(2, move |mut stream, _| {
        stream.write_all(HEAD).expect("player reads");
        stream.write_all(&bytes(0..10)).expect("player reads");
        stream.set_read_timeout(Some(SOON)).expect("timeout");
        let seen = stream.read(&mut [0; 16]).map_err(|error| error.kind());
        tell.send(seen).expect("the test waits");
    });
    let leave = |leave: &dyn Fn(&Player) -> Snapshot| {
        let player = Player::get(address, "/").start();
        player.wait_packets(10, SOON).expect("the stream runs");
        let end = leave(&player).end;
        (end, told.recv_timeout(SOON).expect("the server noticed"))
    };
    assert_eq!(leave(&Player::stop), (Some(End::Left), Ok(0)));
    let abruptly = (Some(End::LeftAbruptly), Err(ErrorKind::ConnectionReset));
    assert_eq!(leave(&Player::reset), abruptly);
}

/// Guards that a ghost acknowledges nothing, unlike a player that merely does not read: what is sent to it times out.
#[test]
fn a_ghost_acknowledges_nothing() {
    let (go, going) = mpsc::channel::<()>();
    let going = std::sync::Mutex::new(going);
    let (tell, told) = mpsc::channel();
    let (address, _server) = server(2, move |mut stream, _| {
        stream.write_all(HEAD).expect("player reads");
        stream.write_all(&bytes(0..10)).expect("player reads");
        going.lock().expect("one thread at a time").recv().expect("the test goes on");
        let timeout = Some(Duration::from_millis(300));
        socket2::SockRef::from(&stream).set_tcp_user_timeout(timeout).expect("timeout");
        stream.write_all(&bytes(10..11)).expect("fits the socket buffer");
        stream.set_read_timeout(Some(Duration::from_secs(3))).expect("timeout");
        tell.send(stream.read(&mut [0; 16]).map_err(|error| error.kind())).expect("the test waits");
    });
    for (is_ghost, seen) in [(true, ErrorKind::TimedOut), (false, ErrorKind::WouldBlock)] {
        let player = Player::get(address, "/").start();
        player.wait_packets(10, SOON).expect("the stream runs");
        if is_ghost {
            player.vanish().expect("vanished");
        } else {
            player.read(Reading::Stalled(0));
        }
        go.send(()).expect("server waits");
        assert_eq!(told.recv_timeout(SOON).expect("the server gave up"), Err(seen));
        assert_eq!((player.snapshot().vanished, player.end()), (is_ghost, None));
    }
}

/// Guards that a wait ends with the player, not with its deadline, and that the message says what happened.
#[test]
fn a_wait_ends_early_with_the_player() {
    let (address, _server) = server(1, |mut stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nabc").expect("player reads");
    });
    let player = Player::get(address, "/").start();
    let missed = player.wait_bytes(500, Duration::from_secs(60)).expect_err("only three come");
    assert!(missed.waited < Duration::from_secs(30));
    assert!(missed.to_string().contains("3 bytes") && missed.to_string().contains("Truncated"), "{missed}");

    // A port of the kernel's choice that was given back may be somebody else's by now.
    let nobody = ([127, 0, 0, 1], 1).into();
    let player = Player::get(nobody, "/").start();
    assert!(matches!(player.wait_end(SOON), Ok(End::NoConnection(_))));
}

/// Guards that a player does not outlive its time limit.
#[test]
fn a_player_ends_at_its_time_limit() {
    let (address, _server) = server(1, |mut stream, _| {
        let _closed = stream.read(&mut [0; 16]);
    });
    let player = Player::get(address, "/").time_limit(Duration::from_millis(100)).start();
    assert_eq!(player.wait_end(SOON).expect("end"), End::TimeLimit);
}

/// Guards keep-alive, pipelining and raw bytes of the blocking client.
#[test]
fn the_blocking_client_pipelines_and_sends_raw_bytes() {
    let (address, _server) = server(1, |mut stream, request| {
        assert!(request.starts_with("GET /one "), "{request}");
        // Closing with something unread would reset the connection, and the answers with it.
        let (mut second, mut byte) = (Vec::new(), [0]);
        while !second.ends_with(b"\r\n\r\nx") {
            stream.read_exact(&mut byte).expect("the second request comes");
            second.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none").expect("client reads");
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n")
            .expect("client reads");
        stream.write_all(b"2\r\n{}\r\n0\r\n\r\n").expect("client reads");
    });
    let mut connection = http::Connection::open(address).expect("connects");
    let both =
        [http::encode(address, "GET", "/one", &[], b""), http::encode(address, "POST", "/two", &[], b"x")];
    connection.send(&both.concat()).expect("sends");
    let (one, two) = (connection.receive().expect("first"), connection.receive().expect("second"));
    assert_eq!((one.status(), &one.body[..]), (200, &b"one"[..]));
    assert_eq!((two.status(), two.json().expect("json")), (404, serde_json::json!({})));
    assert!(connection.is_closed_within(SOON).expect("closed"));

    let (address, _server) = server(1, |mut stream, request| {
        assert_eq!(request, "WHAT\r\n\r\n");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("client reads");
    });
    let answer = http::send_raw(address, b"WHAT\r\n\r\n").expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 400 "));

    let (address, _server) = server(1, |mut stream, _| {
        stream.write_all(b"HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nuntil close").expect("client reads");
    });
    let response = http::get(address, "/").expect("response");
    assert_eq!((response.text(), response.header("x-a")), ("until close".to_owned(), Some("b")));
}
