//! A tiny engine: answers the two API calls control makes, well or badly.

use super::{eventually, number};
use sluice_contract::Hex40;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How the engine behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Answers at once.
    Well,
    /// Takes connections and never answers.
    Hung,
    /// Answers a version, and nothing else.
    VersionOnly,
    /// Answers HTML.
    Html,
    /// Answers more JSON than anybody should read.
    Endless,
    /// Closes in the middle of an answer.
    Broken,
}

struct State {
    mood: Mutex<Mood>,
    /// (parameter, number) → infohash; anything else is unknown.
    known: Mutex<HashMap<(String, String), Hex40>>,
    /// What is answered to targets that begin so.
    answers: Mutex<HashMap<String, String>>,
    requests: Mutex<Vec<String>>,
    delay: Mutex<Duration>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
    is_over: AtomicBool,
}

/// A running engine; dropping it ends it and closes its port.
pub struct Engine {
    state: Arc<State>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap())
    }

    pub fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            mood: Mutex::new(Mood::Well),
            known: Mutex::default(),
            answers: Mutex::default(),
            requests: Mutex::default(),
            delay: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            in_flight_max: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let served = state.clone();
        let thread = std::thread::spawn(move || {
            // Hung connections are kept open until the engine ends.
            let mut hung = Vec::new();
            for socket in listener.incoming() {
                if served.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(socket) = socket else { continue };
                if *served.mood.lock().unwrap() == Mood::Hung {
                    hung.push(socket);
                } else {
                    let served = served.clone();
                    std::thread::spawn(move || drop(serve(&served, socket)));
                }
            }
        });
        Self { state, address, thread: Some(thread) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    pub fn set_mood(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// Every answer to a media list comes this late.
    pub fn set_delay(&self, delay: Duration) {
        *self.state.delay.lock().unwrap() = delay;
    }

    /// `parameter=number` names `infohash` from now on.
    pub fn know(&self, parameter: &str, n: u8, infohash: u8) {
        let key = (parameter.to_owned(), number(n).to_string());
        self.state.known.lock().unwrap().insert(key, number(infohash));
    }

    /// Targets that begin so are answered with this from now on.
    pub fn answer(&self, target: &str, body: &str) {
        self.state.answers.lock().unwrap().insert(target.to_owned(), body.to_owned());
    }

    /// Targets of the media list requests so far.
    pub fn lookups(&self) -> Vec<String> {
        let requests = self.state.requests.lock().unwrap();
        requests.iter().filter(|head| head.contains("get_media_files")).cloned().collect()
    }

    /// Whole heads of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    pub fn in_flight_max(&self) -> usize {
        self.state.in_flight_max.load(Ordering::SeqCst)
    }

    pub fn wait_for_lookups(&self, count: usize) {
        eventually("the engine is asked", || self.lookups().len() >= count);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        // Wakes the accept loop; a failure means it is already gone.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(state: &State, mut socket: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    state.requests.lock().unwrap().push(head.clone());
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let is_version = target.contains("get_version");
    let mood = *state.mood.lock().unwrap();
    let body = match (mood, is_version) {
        (Mood::Html, _) => "<html>no</html>".to_owned(),
        (Mood::Endless, _) => return endless(socket),
        (Mood::Broken, _) => return write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{{\"res"),
        (_, true) => {
            r#"{"result":{"code":3021100,"platform":"linux","version":"3.2.11"},"error":null}"#.to_owned()
        }
        (Mood::VersionOnly, false) => {
            let mut rest = Vec::new();
            return socket.read_to_end(&mut rest).map(drop);
        }
        _ if target.contains("get_network_connection_status") => {
            told(state, &target).unwrap_or_else(|| r#"{"result":{"connected":true}}"#.to_owned())
        }
        _ => told(state, &target).unwrap_or_else(|| media_list(state, &target)),
    };
    write!(
        socket,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn told(state: &State, target: &str) -> Option<String> {
    let answers = state.answers.lock().unwrap();
    answers.iter().find(|(begin, _)| target.starts_with(begin.as_str())).map(|(_, body)| body.clone())
}

fn media_list(state: &State, target: &str) -> String {
    let now = state.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
    state.in_flight_max.fetch_max(now, Ordering::SeqCst);
    let delay = *state.delay.lock().unwrap();
    std::thread::sleep(delay);
    state.in_flight.fetch_sub(1, Ordering::SeqCst);
    let last = target.rsplit('&').next().unwrap_or_default();
    let (parameter, value) = last.split_once('=').unwrap_or_default();
    match state.known.lock().unwrap().get(&(parameter.to_owned(), value.to_owned())) {
        Some(infohash) => format!(r#"{{"result":{{"infohash":"{infohash}","type":"live"}}}}"#),
        None => r#"{"error":{"message":"cannot get transport file","code":0}}"#.to_owned(),
    }
}

fn endless(mut socket: TcpStream) -> std::io::Result<()> {
    write!(socket, "HTTP/1.1 200 OK\r\n\r\n[")?;
    loop {
        socket.write_all(&[b' '; 4096])?;
    }
}
