//! One connection, two planes: whatever is asked in whatever order and pieces, every request is served by whom it
//! belongs to, no byte is lost and no answer comes out of order.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests are threads of their own: they connect, wait and lock"
)]

mod common;

use common::http::{is_ended, read_answer};
use common::{Bench, eventually, options};
use sluice_contract::link::{Receiver, Sender};
use sluice_contract::snapshot::SessionState;
use sluice_contract::{Connection, ToControl, ToShard};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A shard that serves `/ace/*` with the target as the body, and hands everything else to control. Blocking and
/// strict: it reads whole heads, and forgets nothing it has read.
struct Server {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Receiver<ToShard>>>,
}

impl Server {
    fn start(bench: &mut Bench) -> Self {
        let shard = bench.shards.remove(0);
        let (mut inbox, to_control) = (shard.inbox, shard.to_control);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                match common::wait(inbox.recv(), Duration::from_millis(50)).flatten() {
                    Some(ToShard::Connection(connection)) => {
                        let to_control = to_control.clone();
                        std::thread::spawn(move || serve(connection, &to_control));
                    }
                    Some(other) => panic!("unexpected {other:?}"),
                    None => {}
                }
            }
            inbox
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(connection: Connection, to_control: &Sender<ToControl>) {
    let Connection { fd, mut unread, peer, client, accepted_at, guard } = connection;
    let mut socket = TcpStream::from(fd);
    socket.set_nonblocking(false).unwrap();
    loop {
        let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
            let mut more = [0; 4096];
            match socket.read(&mut more) {
                Ok(0) | Err(_) => return,
                Ok(read) => unread.extend_from_slice(&more[..read]),
            }
            continue;
        };
        let head = String::from_utf8(unread[..end].to_vec()).unwrap();
        let target = head.split(' ').nth(1).unwrap().to_owned();
        let fields = head.to_ascii_lowercase();
        let has_body = fields.contains("\r\ncontent-length:") || fields.contains("\r\ntransfer-encoding:");
        if has_body || !target.starts_with("/ace/") {
            socket.set_nonblocking(true).unwrap();
            let back = Connection { fd: socket.into(), unread, peer, client, accepted_at, guard };
            assert!(to_control.send(ToControl::Connection(back)).is_ok());
            return;
        }
        assert!(fields.contains("\r\nx-mark: kept\r\n"), "a field was lost: {head}");
        unread.drain(..end);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}", target.len());
        if socket.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: sluice\r\nX-Mark: kept\r\n\r\n")
}

/// What belongs to whom, told by the answer.
fn check(answer: &common::http::Answer, target: &str) {
    assert_eq!(answer.status, 200, "{target}: {}", answer.head);
    if target.starts_with("/ace/") {
        assert_eq!(answer.text(), target);
    } else {
        assert_eq!(answer.json()["title"], "Sluice", "{target}");
    }
}

fn mixed(count: usize) -> Vec<String> {
    // Runs of different lengths on either side.
    (0..count)
        .map(|n| if n * 7 % 5 < 2 { format!("/ace/getstream?id={n}") } else { "/version".to_owned() })
        .collect()
}

#[test]
fn requests_alternate_between_the_planes_on_one_connection() {
    let mut bench = Bench::start(options(&[]), 1);
    let _server = Server::start(&mut bench);
    let mut player = bench.hand_over(b"");
    for target in mixed(500) {
        player.write_all(request(&target).as_bytes()).unwrap();
        check(&read_answer(&mut player, false), &target);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_by_whom_they_belong_to() {
    let mut bench = Bench::start(options(&[]), 1);
    let _server = Server::start(&mut bench);
    let targets = mixed(400);
    let mut player = bench.hand_over(b"");
    let mut writer = player.try_clone().unwrap();
    let all: String = targets.iter().map(|target| request(target)).collect();
    let writing = std::thread::spawn(move || writer.write_all(all.as_bytes()).unwrap());
    for target in &targets {
        check(&read_answer(&mut player, false), target);
    }
    writing.join().unwrap();
}

#[test]
fn everything_that_came_with_the_connection_goes_on_with_it() {
    let mut bench = Bench::start(options(&[]), 1);
    let _server = Server::start(&mut bench);
    // More than hyper takes in one read, so that some of it is still in front of the socket at the first hand-back.
    let mut targets = mixed(1000);
    targets.insert(0, "/version".to_owned());
    let all: String = targets.iter().map(|target| request(target)).collect();
    let mut player = bench.hand_over(all.as_bytes());
    for target in &targets {
        check(&read_answer(&mut player, false), target);
    }
}

#[test]
fn heads_in_pieces_of_any_size_change_nothing() {
    let mut bench = Bench::start(options(&[]), 1);
    let _server = Server::start(&mut bench);
    let targets = mixed(40);
    let all: String = targets.iter().map(|target| request(target)).collect();
    let mut player = bench.hand_over(b"");
    player.set_nodelay(true).unwrap();
    let mut writer = player.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        let (mut rest, mut size) = (all.as_bytes(), 1);
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(size.min(rest.len()));
            writer.write_all(piece).unwrap();
            rest = later;
            size = size % 97 + 13;
            std::thread::yield_now();
        }
    });
    for target in &targets {
        check(&read_answer(&mut player, false), target);
    }
    writing.join().unwrap();
}

#[test]
fn large_answers_behind_a_slow_reader_are_complete_before_the_connection_goes_back() {
    let mut bench = Bench::start(options(&[]), 1);
    let _server = Server::start(&mut bench);
    publish_large(&bench);
    let length = bench.get("/proxy/sessions").body.len();
    assert!(length > 4 << 20, "only {length} bytes");
    for ahead in 1..=3 {
        let mut player = bench.hand_over_narrow(b"");
        let mut all = request("/proxy/sessions").repeat(ahead);
        all.push_str(&request("/ace/getstream?id=1"));
        all.push_str(&request("/version"));
        player.write_all(all.as_bytes()).unwrap();
        let mut slow = Slow(&mut player);
        for _ in 0..ahead {
            let answer = read_answer(&mut slow, false);
            assert_eq!((answer.status, answer.body.len()), (200, length));
            assert!(answer.text().ends_with("]}"));
        }
        check(&read_answer(&mut slow, false), "/ace/getstream?id=1");
        check(&read_answer(&mut slow, false), "/version");
    }
}

#[test]
fn a_large_last_answer_reaches_a_slow_reader_whole() {
    let bench = Bench::start(options(&[]), 1);
    publish_large(&bench);
    let length = bench.get("/proxy/sessions").body.len();
    let mut player = bench.hand_over_narrow(b"");
    let last = "GET /proxy/sessions HTTP/1.1\r\nhost: sluice\r\nconnection: close\r\n\r\n";
    player.write_all(last.as_bytes()).unwrap();
    let answer = read_answer(&mut Slow(&mut player), false);
    assert_eq!(answer.body.len(), length);
    assert!(is_ended(&mut player));
}

#[test]
fn a_peer_that_shut_its_sending_side_down_gets_its_answers() {
    let mut bench = Bench::start(options(&[]), 1);
    let _server = Server::start(&mut bench);
    let mut player = bench.hand_over(b"");
    let targets = ["/version", "/ace/getstream?id=1", "/version"];
    let all: String = targets.iter().map(|target| request(target)).collect();
    player.write_all(all.as_bytes()).unwrap();
    player.shutdown(Shutdown::Write).unwrap();
    for target in targets {
        check(&read_answer(&mut player, false), target);
    }
    assert!(is_ended(&mut player));
    eventually("the place is free", || bench.places.load(Ordering::SeqCst) == 0);
}

#[test]
fn what_goes_back_is_the_same_connection_with_everything_read() {
    let mut bench = Bench::start(options(&[]), 1);
    let mut player = bench.hand_over(request("/version").as_bytes());
    read_answer(&mut player, false);
    let asked = Instant::now();
    player.write_all(request("/ace/getstream?id=1").as_bytes()).unwrap();
    let connection = bench.shards[0].connection();
    assert_eq!(connection.peer, player.local_addr().unwrap());
    assert_eq!(connection.client, connection.peer.ip());
    assert!(connection.accepted_at >= asked, "the shard's clocks would start in the past");
    let head = String::from_utf8(connection.unread).unwrap();
    assert_eq!(head, "GET /ace/getstream?id=1 HTTP/1.1\r\nhost: sluice\r\nx-mark: kept\r\n\r\n");
    let socket = TcpStream::from(connection.fd);
    let error = (&socket).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "the socket is not non-blocking any more");
    assert_eq!(bench.places.load(Ordering::SeqCst), 1);
    drop(connection.guard);
    assert_eq!(bench.places.load(Ordering::SeqCst), 0);
}

#[test]
fn health_goes_back_too_and_shards_take_turns() {
    let mut bench = Bench::start(options(&[]), 2);
    let mut players = Vec::new();
    for target in ["/health", "/proxy/health", "/ace/status", "/health?x"] {
        let mut player = bench.hand_over(b"");
        player.write_all(request(target).as_bytes()).unwrap();
        players.push(player);
    }
    for shard in &mut bench.shards {
        shard.connection();
        shard.connection();
    }
}

#[test]
fn a_request_with_a_body_stays_and_the_connection_goes_on() {
    let mut bench = Bench::start(options(&[]), 1);
    let _server = Server::start(&mut bench);
    let mut player = bench.hand_over(b"");
    let body = "POST /ace/getstream?id=1 HTTP/1.1\r\nhost: sluice\r\ncontent-length: 5\r\n\r\nhello";
    let chunked = "GET /ace/getstream HTTP/1.1\r\nhost: sluice\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for (text, status) in [(body, 405), (chunked, 400)] {
        player.write_all(text.as_bytes()).unwrap();
        player.write_all(request("/ace/getstream?id=2").as_bytes()).unwrap();
        assert_eq!(read_answer(&mut player, false).status, status);
        check(&read_answer(&mut player, false), "/ace/getstream?id=2");
    }
}

#[test]
fn a_client_that_waits_for_100_continue_is_told_at_once() {
    let bench = Bench::start(options(&[]), 1);
    let mut player = bench.hand_over(b"");
    player
        .write_all(
            b"POST /version HTTP/1.1\r\nhost: sluice\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n",
        )
        .unwrap();
    assert_eq!(read_answer(&mut player, false).status, 405);
}

/// Guards: whoever sends a whole body before it looks for an answer is told that it was too large, and not cut off.
#[test]
fn a_body_that_is_too_large_is_refused_behind_it() {
    const LENGTH: usize = 24 << 20;
    let bench = Bench::start(options(&[]), 1);
    let mut player = bench.hand_over(b"");
    let head = format!(
        "POST /settings/import HTTP/1.1\r\nhost: sluice\r\ncontent-type: application/zip\r\ncontent-length: {LENGTH}\r\n\r\n"
    );
    player.write_all(head.as_bytes()).unwrap();
    let piece = vec![0; 1 << 20];
    for _ in 0..LENGTH / piece.len() {
        player.write_all(&piece).expect("nobody cuts it off");
    }
    assert_eq!(read_answer(&mut player, false).status, 413);
}

#[test]
fn a_full_shard_means_503_and_not_a_lost_connection() {
    let mut bench = Bench::start_unreported(options(&[]), 1, 1);
    bench.shards[0].report(Default::default());
    let mut first = bench.hand_over(b"");
    first.write_all(request("/ace/getstream?id=1").as_bytes()).unwrap();
    eventually("the inbox is full", || {
        bench
            .get("/metrics")
            .text()
            .lines()
            .any(|line| line == r#"sluice_shard_inbox_messages{shard="0"} 1.0"#)
    });
    let mut second = bench.hand_over(b"");
    second.write_all(request("/ace/getstream?id=2").as_bytes()).unwrap();
    let answer = read_answer(&mut second, false);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(
        (&answer.json()["code"], &answer.json()["retry_after"]),
        (&"control_unavailable".into(), &1.into())
    );
    assert!(is_ended(&mut second));
    bench.shards[0].connection();
}

#[test]
fn connections_over_the_limit_are_refused_and_counted() {
    let options = sluice_control::Options { connections_max: 2, ..options(&[]) };
    let bench = Bench::start(options, 1);
    let mut kept: Vec<TcpStream> = (0..2).map(|_| bench.hand_over(request("/version").as_bytes())).collect();
    kept.iter_mut().for_each(|player| check(&read_answer(player, false), "/version"));
    let mut refused = bench.hand_over(request("/version").as_bytes());
    let answer = read_answer(&mut refused, false);
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
    assert!(is_ended(&mut refused));
    drop(kept.pop());
    eventually("the place is free again", || bench.get("/version").status == 200);
    kept[0].write_all(request("/metrics").as_bytes()).unwrap();
    let text = read_answer(&mut kept[0], false).text();
    assert!(
        text.lines().any(|line| line.starts_with(r#"sluice_http_connections_total{reason="refused"} "#)),
        "{text}"
    );
    assert!(!text.contains(r#"sluice_http_connections_total{reason="refused"} 0"#), "{text}");
}

#[test]
fn silent_and_stalled_peers_are_ended() {
    let patience = Duration::from_millis(300);
    let options = sluice_control::Options { head_timeout: patience, idle_timeout: patience, ..options(&[]) };
    let bench = Bench::start(options, 1);
    publish_large(&bench);
    let mut silent = bench.hand_over(b"");
    let mut slow_head = bench.hand_over(b"GET /version HTTP/1.1\r\nhost: slu");
    let stalled = bench.hand_over_narrow(request("/proxy/sessions").as_bytes());
    assert!(is_ended(&mut silent));
    assert!(is_ended(&mut slow_head));
    eventually("the peer that does not read is gone", || bench.places.load(Ordering::SeqCst) == 0);
    drop(stalled);
}

/// Puts so many sessions on the board that listing them takes over 4 MiB.
fn publish_large(bench: &Bench) {
    bench.publish((0..7000u32).map(|n| common::session(n as u8, SessionState::Starting, None)).collect());
}

/// Reads in small pieces, giving way in between.
struct Slow<'a>(&'a mut TcpStream);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        std::thread::yield_now();
        let most = buffer.len().min(16 * 1024);
        self.0.read(&mut buffer[..most])
    }
}
