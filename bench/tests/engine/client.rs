//! A blocking HTTP client that hides nothing: it shows bytes as they came.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_bench::channel::Id;

/// Longest any read may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    pub(crate) buffer: Vec<u8>,
}

/// What a read may end with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Eof,
    Reset,
    Silent,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the engine accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a positive timeout");
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, request: &str) {
        self.stream.write_all(request.as_bytes()).expect("the engine reads");
    }

    /// Sends a GET with a host of its own, so that returned URLs can be told to follow it.
    pub(crate) fn get(&mut self, target: &str) {
        self.send(&format!(
            "GET {target} HTTP/1.1\r\nHost: engine.test:1\r\nAccept-Encoding: identity\r\n\r\n"
        ));
    }

    /// Reads at least `bytes` more, or says how the body ended before.
    pub(crate) fn read(&mut self, bytes: usize) -> Result<Vec<u8>, Ended> {
        while self.buffer.len() < bytes {
            self.fill()?;
        }
        Ok(self.buffer.drain(..bytes).collect())
    }

    fn fill(&mut self) -> Result<(), Ended> {
        let mut chunk = [0; 65536];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Ended::Eof),
            Ok(read) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Ended::Silent)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(Ended::Reset),
            Err(error) => panic!("unexpected: {error}"),
        }
    }

    /// Reads until the end.
    pub(crate) fn read_to_end(&mut self) -> (Vec<u8>, Ended) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Err(ended) = self.fill() {
                return (std::mem::take(&mut self.buffer), ended);
            }
            assert!(Instant::now() < deadline, "the body never ends");
        }
    }

    /// Whether nothing comes for `span`.
    pub(crate) fn is_silent_for(&mut self, span: Duration) -> bool {
        self.stream.set_read_timeout(Some(span)).expect("a positive timeout");
        let ended = self.fill();
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a positive timeout");
        ended == Err(Ended::Silent)
    }

    /// Reads a head up to and including the empty line.
    pub(crate) fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = self.buffer.drain(..at + 4).collect();
                return String::from_utf8(head).expect("heads are ASCII");
            }
            self.fill().unwrap_or_else(|ended| {
                panic!("no head but {ended:?}: {:?}", self.buffer.escape_ascii().to_string())
            });
        }
    }

    /// Reads a response that announces its length.
    pub(crate) fn response(&mut self) -> (String, String) {
        let head = self.head();
        let length = header(&head, "Content-Length").expect("a length").parse().expect("a number");
        let body = self.read(length).expect("the whole body");
        (head, String::from_utf8(body).expect("text"))
    }

    /// Sends a GET and reads the JSON answer.
    pub(crate) fn json(&mut self, target: &str) -> Value {
        self.get(target);
        let (head, body) = self.response();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// One request on a connection of its own.
pub(crate) fn json(address: SocketAddr, target: &str) -> Value {
    Client::connect(address).json(target)
}

/// Path and query of a URL.
pub(crate) fn target(url: &str) -> String {
    let rest = url.strip_prefix("http://").expect("absolute URLs");
    rest[rest.find('/').expect("a path")..].to_owned()
}

/// The targets of an open session.
pub(crate) struct Session {
    pub(crate) playback: String,
    pub(crate) stat: String,
    pub(crate) command: String,
    pub(crate) answer: Value,
}

/// Opens a channel by infohash.
pub(crate) fn open(address: SocketAddr, infohash: Id, pid: &str) -> Session {
    let pid = if pid.is_empty() { String::new() } else { format!("&pid={pid}") };
    open_target(address, &format!("/ace/getstream?infohash={infohash}&format=json{pid}"))
}

pub(crate) fn open_target(address: SocketAddr, request: &str) -> Session {
    let answer = json(address, request);
    let url = |name: &str| target(answer["response"][name].as_str().unwrap_or_else(|| panic!("{answer}")));
    Session {
        playback: url("playback_url"),
        stat: url("stat_url"),
        command: url("command_url"),
        answer: answer.clone(),
    }
}

/// Requests a playback URL and follows redirects; gives the head that was not a redirect.
pub(crate) fn play(address: SocketAddr, first: &str) -> (Client, String) {
    let mut at = first.to_owned();
    for _ in 0..4 {
        let mut client = Client::connect(address);
        client.get(&at);
        let head = client.head();
        match header(&head, "Location") {
            Some(location) => at = target(location),
            None => return (client, head),
        }
    }
    panic!("too many redirects");
}

/// Plays and insists on media.
pub(crate) fn play_media(address: SocketAddr, first: &str) -> Client {
    let (client, head) = play(address, first);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("video/mp2t"), "{head}");
    client
}

/// Waits for a condition.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
