//! Upgrading under players that check every byte, to a binary that works and to some that do not.

use crate::common::{Appliance, SOON, Setup, until};
use crate::hls::{Viewer, assert_media};
use crate::scene::{RATE, checked, engine, stopped_once_each};
use crate::sys;
use sluice::handover::exchange::STATE_VERSION;
use sluice_bench::channel::nth;
use sluice_bench::engine::{ChannelSpec, Engine};
use sluice_bench::player::Player;
use sluice_bench::player::http::{Connection, encode};
use socket2::{Domain, Socket, Type};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The appliance's program at a place of its own, where another one can take its place.
struct Program {
    directory: TempDir,
}

impl Program {
    fn new() -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let program = Self { directory };
        std::fs::hard_link(env!("CARGO_BIN_EXE_sluice"), program.path()).expect("a link");
        program
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("sluice")
    }

    /// Replaces it as an installation does: by a rename.
    fn replace_by(&self, text: &str) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn restore(&self) {
        std::fs::remove_file(self.path()).unwrap();
        std::fs::hard_link(env!("CARGO_BIN_EXE_sluice"), self.path()).unwrap();
    }
}

/// Asks the appliance of a `DATA_DIR` to upgrade.
pub fn upgrade(data: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.env_clear().current_dir(data).arg("upgrade").env("DATA_DIR", data).output().expect("it runs")
}

fn two_channels() -> Engine {
    engine((0..2).map(|n| ChannelSpec::synthetic(n, RATE)).collect())
}

fn opens(engine: &Engine, n: u32) -> u64 {
    engine.control().counters(nth(n).1).expect("the channel exists").opens
}

/// So many players of each of the two channels, once all have media.
fn playing(count: usize, appliance: &Appliance, engine: &Engine) -> Vec<Player> {
    let one = |n| checked(appliance, engine, n).start();
    let players: Vec<Player> = (0..2).flat_map(|n| std::iter::repeat_n(n, count)).map(one).collect();
    players.iter().for_each(|player| player.wait_decodable(SOON).expect("it plays"));
    players
}

fn unharmed(players: &[Player]) {
    let marks: Vec<u64> = players.iter().map(Player::bytes).collect();
    until("everybody plays on", || {
        players
            .iter()
            .zip(&marks)
            .all(|(player, mark)| player.bytes() >= mark + RATE / 4 || player.end().is_some())
    });
    for player in players {
        assert_eq!(player.end(), None, "somebody was cut");
        assert_eq!(player.report().faults_or_losses(), Vec::<String>::new(), "{}", player.snapshot());
    }
}

/// Guards the promise: an upgrade under players on two channels, continuous ones and some over HLS, cuts nobody, loses and
/// repeats no byte and opens nothing anew; media sequence, tokens and connections of HLS players go on; state is written by
/// the new process, and a second upgrade works as well.
#[test]
fn an_upgrade_cuts_nobody() {
    let engine = two_channels();
    let mut appliance = Setup::with_engines(&[&engine]).start();
    let players = playing(20, &appliance, &engine);
    let mut viewer = Viewer::enter(&appliance, &format!("id={}", nth(0).0));
    let before = viewer.playlist();
    until("all are shown", || self::ids(&appliance).len() == 41);
    let ids = ids(&appliance);
    let mut serving = appliance.pid();
    for _ in 0..2 {
        let outcome = upgrade(appliance.data());
        assert!(outcome.status.success(), "{outcome:?}");
        until("the old process is gone", || sys::children(appliance.supervisor()).len() == 1);
        assert_ne!(std::mem::replace(&mut serving, appliance.pid()), appliance.pid());
        unharmed(&players);
    }
    let after = viewer.playlist();
    assert!(after.first >= before.first && after.end() >= before.end(), "{} {}", before.text, after.text);
    let known = before.segments.last().expect("a segment").clone();
    assert!(after.first >= before.end() || after.text.contains(&known), "{} {}", before.text, after.text);
    assert_media(&viewer.get(after.segments.last().expect("a segment")).body);
    until("the same players are shown", || self::ids(&appliance) == ids);
    for n in 0..2 {
        assert_eq!(opens(&engine, n), 1, "a source was opened anew");
    }
    drop(players);
    let status = appliance.terminate(SOON);
    assert!(status.success(), "{status}");
    for n in 0..2 {
        stopped_once_each(&engine, nth(n).1);
    }
}

/// Guards: a segment that is half sent goes on from there, byte for byte, and its connection serves the next request.
#[test]
fn an_upgrade_goes_on_with_half_a_segment() {
    let engine = two_channels();
    let appliance = Setup::with_engines(&[&engine]).start();
    let mut viewer = Viewer::enter(&appliance, &format!("id={}", nth(0).0));
    let segment = viewer.playlist().segments.pop().expect("a segment");
    let whole = viewer.get(&segment).body;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(32 << 10).expect("a small buffer");
    socket.connect(&appliance.addr().into()).expect("the appliance listens");
    let mut slow = Connection::over(socket.into()).expect("a connection");
    let request = encode(appliance.addr(), "GET", &format!("{}/{segment}", viewer.directory), &[], b"");
    slow.send(&request).expect("it listens");
    let queued = || {
        let sockets = sys::sockets_of_port(appliance.addr().port());
        sockets.iter().map(|socket| socket.unsent_or_in_flight).max().unwrap_or(0) as usize
    };
    until("the kernel has as much as it is given", || queued() >= 500 << 10);
    assert!(queued() + (128 << 10) < whole.len(), "the kernel has all {} of it", whole.len());
    let outcome = upgrade(appliance.data());
    assert!(outcome.status.success(), "{outcome:?}");
    until("the old process is gone", || sys::children(appliance.supervisor()).len() == 1);
    let answer = slow.receive().expect("the rest comes");
    assert!(answer.status() == 200 && answer.body == whole, "{} of {}", answer.body.len(), whole.len());
    slow.send(&request).expect("the connection stays");
    assert!(slow.receive().expect("another answer").body == whole);
}

/// The ids of all players that are shown, sorted.
fn ids(appliance: &Appliance) -> Vec<String> {
    let mut found: Vec<String> = (0..2).flat_map(|n| client_ids(appliance, n)).collect();
    found.sort();
    found
}

/// The ids of the players that are shown with a channel, sorted.
pub fn client_ids(appliance: &Appliance, n: u32) -> Vec<String> {
    let shown = appliance.json(&format!("/proxy/sessions/{}/clients", nth(n).1));
    let clients = shown["clients"].as_array().expect("a list");
    let mut found: Vec<String> = clients.iter().map(|client| client["client_id"].to_string()).collect();
    found.sort();
    found
}

/// What a new program does that fails in its own way; `{state}` is the version it speaks.
const DOUBLE: &str = r#"#!/usr/bin/python3
import array, fcntl, json, os, socket, struct, sys, time
def receive(wire):
    header = wire.recv(64)
    if not header:
        sys.exit(1)
    mark, length, count = struct.unpack(">4sII", header)
    fds = array.array("i")
    while len(fds) < count:
        _, control, _, _ = wire.recvmsg(64, socket.CMSG_SPACE(256 * 4))
        for _, _, data in control:
            fds.frombytes(data)
    text = b""
    while len(text) < length:
        text += wire.recv(1 << 16)
    return json.loads(text), list(fds)
def say(wire, **word):
    text = json.dumps(word).encode()
    wire.send(struct.pack(">4sII", b"SLUP", len(text), 0))
    wire.send(text)
cord = socket.socket(fileno=os.dup(0))
cord.setblocking(True)
_, fds = receive(cord)
old = socket.socket(fileno=fds[-1])
old.setblocking(True)
say(old, say="hello", version="double", state={state})
receive(old)
lock = open(os.environ["DATA_DIR"] + "/lock")
fcntl.flock(lock, fcntl.LOCK_EX)
say(old, say="standing")
if "{end}" == "while it is told":
    old.recv(64)
    os._exit(1)
while True:
    word, _ = receive(old)
    if "End" in word and word["End"]["next_serial"] == 0:
        break
if "{end}" == "before it is ready":
    os._exit(1)
if "{end}" == "it lingers":
    say(old, say="refused", reason="it lingers")
    time.sleep(60)
say(old, say="ready")
receive(old)
os._exit(1)
"#;

/// Guards: a new program that does not come up, speaks another state, dies while it is told, before it is ready or after
/// everything was committed to it, or refuses and lingers with `DATA_DIR` in its hands, changes nothing: whoever asked is told why, the old process goes on without a byte lost or
/// repeated, and the next upgrade works. SIGUSR2 asks for one as well.
#[test]
fn a_new_program_that_fails_changes_nothing() {
    let engine = two_channels();
    let program = Program::new();
    let appliance = Setup::of(&program.path()).engines(&[&engine]).start();
    let players = playing(4, &appliance, &engine);
    let serving = appliance.pid();
    let state = STATE_VERSION.to_string();
    let double = |state: &str, end: &str| DOUBLE.replace("{state}", state).replace("{end}", end);
    let programs = [
        ("#!/bin/false\n".to_owned(), "gone"),
        (double("999", ""), "speaks state 999"),
        (double(&state, "while it is told"), "gone"),
        (double(&state, "before it is ready"), "gone"),
        (double(&state, "it lingers"), "it lingers"),
        (double(&state, "after the commit"), "gone"),
    ];
    for (text, reason) in programs {
        program.replace_by(&text);
        let outcome = upgrade(appliance.data());
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(!outcome.status.success() && said.contains(reason), "{reason}: {said}");
        until("only the old process is there", || sys::children(appliance.supervisor()) == [serving]);
        unharmed(&players);
        assert_eq!(appliance.get("/proxy/status").status(), 200, "control is back");
    }
    program.restore();
    sys::signal(appliance.supervisor(), libc::SIGUSR2);
    until("another process serves", || {
        let children = sys::children(appliance.supervisor());
        children.len() == 1 && children != [serving]
    });
    unharmed(&players);
    for n in 0..2 {
        assert_eq!(opens(&engine, n), 1, "a source was opened anew");
    }
}
