//! A control plane under test, with the shards' ends of its links in the test's hands, and a tiny engine.

#![allow(dead_code, unreachable_pub, reason = "each test file is a crate of its own and uses its own part")]

pub mod docker;
pub mod engine;
pub mod http;

use sluice_contract::link::{Receiver, Sender, link};
use sluice_contract::snapshot::{self, Board, Session, SessionEngine, SessionState};
use sluice_contract::{
    Alias, Connection, Dial, Directory, Epoch, Guard, Hex40, Holdings, Lease, LeaseRequest, Options, Refusal,
    ResolveRequest, Selector, ShardId, StreamKey, StreamName, Ticket, ToControl, ToShard,
};
use sluice_control::variables::Variables;
use sluice_control::{Handle, StaticEngine, Wiring};
use std::future::Future;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};

/// Longer than anything here takes on a busy machine; only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn number(n: u8) -> Hex40 {
    Hex40::from_bytes([n; 20])
}

pub fn stream(n: u8) -> StreamKey {
    StreamKey { name: StreamName::Infohash(number(n)), options: Options::default() }
}

pub fn by_id(n: u8) -> Alias {
    Alias { selector: Selector::ContentId(number(n)), options: Options::default() }
}

/// Runs control and plays its shards.
pub struct Bench {
    pub control: Option<Handle>,
    pub to_control: Sender<ToControl>,
    pub shards: Vec<Shard>,
    pub directory: Arc<Directory>,
    pub board: Arc<Board>,
    pub dial: Arc<Dial>,
    pub places: Arc<AtomicUsize>,
}

/// One shard played by the test.
pub struct Shard {
    pub id: ShardId,
    pub inbox: Receiver<ToShard>,
    pub to_control: Sender<ToControl>,
    pub epoch: Epoch,
    next_ticket: u64,
}

/// What a connection's guard is in these tests: counts open places.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub fn options(engines: &[String]) -> sluice_control::Options {
    sluice_control::Options {
        static_engines: engines
            .iter()
            .map(|authority| StaticEngine { authority: authority.clone(), group: None })
            .collect(),
        worker_threads: 1,
        api_key: sluice_control::ApiKey::Open,
        ..sluice_control::Options::default()
    }
}

impl Bench {
    /// Starts control and lets every shard report that it holds nothing.
    pub fn start(options: sluice_control::Options, shards: u16) -> Self {
        let mut bench = Self::start_unreported(options, shards, 64);
        for shard in &mut bench.shards {
            shard.report(Holdings::default());
        }
        bench
    }

    /// Starts control with inboxes of this bound; no shard has reported.
    pub fn start_unreported(options: sluice_control::Options, shards: u16, inbox_bound: usize) -> Self {
        Self::start_beside(options, shards, inbox_bound, None)
    }

    /// The same beside somebody who knows variables of the environment.
    pub fn start_beside(
        options: sluice_control::Options,
        shards: u16,
        inbox_bound: usize,
        variables: Option<Arc<dyn Variables>>,
    ) -> Self {
        let (to_control, inbox) = link(1024);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| link(inbox_bound)).unzip();
        let directory = Arc::new(Directory::default());
        let board = Arc::new(Board::new(shards));
        let dial = Arc::new(Dial::new(options.tuning));
        let wiring = Wiring {
            inbox,
            shards: senders,
            directory: directory.clone(),
            board: board.clone(),
            dial: dial.clone(),
            variables,
            panel: Default::default(),
            past: Default::default(),
        };
        let control = sluice_control::start(options, wiring).expect("control starts");
        let shards = receivers.into_iter().zip(0..).map(|(inbox, id)| Shard {
            id: ShardId(id),
            inbox,
            to_control: to_control.clone(),
            epoch: Epoch(0),
            next_ticket: 0,
        });
        Self {
            control: Some(control),
            to_control: to_control.clone(),
            shards: shards.collect(),
            directory,
            board,
            dial,
            places: Arc::default(),
        }
    }

    /// Hands a connection over as a shard does, and gives the player's end back.
    pub fn hand_over(&self, unread: &[u8]) -> TcpStream {
        let (player, connection) = self.connection(unread);
        self.to_control.send(ToControl::Connection(connection)).expect("control takes connections");
        player
    }

    /// Hands over a connection whose socket buffers hold so little that a writer really blocks.
    pub fn hand_over_narrow(&self, unread: &[u8]) -> TcpStream {
        const BYTES: usize = 32 * 1024;
        let (player, connection) = self.connection(unread);
        socket2::SockRef::from(&player).set_recv_buffer_size(BYTES).expect("the buffer is set");
        socket2::SockRef::from(&connection.fd).set_send_buffer_size(BYTES).expect("the buffer is set");
        self.to_control.send(ToControl::Connection(connection)).expect("control takes connections");
        player
    }

    /// A connection and the player's end of it.
    pub fn connection(&self, unread: &[u8]) -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let player = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        player.set_read_timeout(Some(PATIENCE)).unwrap();
        player.set_write_timeout(Some(PATIENCE)).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        self.places.fetch_add(1, Ordering::SeqCst);
        let connection = Connection {
            fd: OwnedFd::from(socket),
            unread: unread.to_vec(),
            peer,
            client: peer.ip(),
            accepted_at: Instant::now(),
            guard: Guard::new(Place(self.places.clone())),
        };
        (player, connection)
    }

    pub fn stop(&mut self) -> Wiring {
        self.control
            .take()
            .expect("control runs")
            .stop(Instant::now() + PATIENCE)
            .expect("control stops in order")
    }

    /// Puts sessions on the first shard's place on the board.
    pub fn publish(&self, sessions: Vec<Session>) {
        self.board.publish(snapshot::Shard {
            id: ShardId(0),
            driver: None,
            taken_at: SystemTime::now(),
            sessions: sessions.into_iter().map(Arc::new).collect(),
            replicas: Vec::new(),
            demand: 0,
            ended: Vec::new(),
            ended_sessions: Vec::new(),
            metrics: Vec::new(),
        });
    }

    /// Waits until so many engines have been found healthy, so that choices between them mean something.
    pub fn wait_healthy(&self, engines: usize) {
        eventually("the engines are healthy", || {
            let text = self.get("/metrics").text();
            text.lines().filter(|line| line.ends_with(r#"state="healthy"} 1.0"#)).count() >= engines
        });
    }

    /// One request with a JSON body on a connection of its own; `line` is method and target.
    pub fn send(&self, line: &str, body: &serde_json::Value) -> http::Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request =
            format!("{line} HTTP/1.1\r\nhost: sluice\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let mut player = self.hand_over(request.as_bytes());
        http::read_answer(&mut player, false)
    }

    /// One GET on a connection of its own.
    pub fn get(&self, path: &str) -> http::Answer {
        let mut player = self.hand_over(format!("GET {path} HTTP/1.1\r\nhost: sluice\r\n\r\n").as_bytes());
        http::read_answer(&mut player, false)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(control) = self.control.take() {
            let stopped = control.stop(Instant::now() + PATIENCE);
            if !std::thread::panicking() {
                stopped.expect("control stops in order");
            }
        }
    }
}

impl Shard {
    /// The next message, or a failed test.
    pub fn next(&mut self) -> ToShard {
        self.try_next(PATIENCE).expect("a message from control")
    }

    /// The next message, if one comes in time.
    pub fn try_next(&mut self, patience: Duration) -> Option<ToShard> {
        wait(self.inbox.recv(), patience).flatten()
    }

    /// Waits for the new generation and reports.
    pub fn report(&mut self, holdings: Holdings) {
        match self.next() {
            ToShard::Connected { epoch } => self.epoch = epoch,
            other => panic!("expected Connected, got {other:?}"),
        }
        self.tell(ToControl::Holdings { shard: self.id, epoch: self.epoch, holdings });
    }

    pub fn tell(&self, message: ToControl) {
        assert!(self.to_control.send(message).is_ok(), "control's inbox is full or gone");
    }

    pub fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// Asks for an engine.
    pub fn ask(&mut self, stream: StreamKey, patience: Duration) -> Ticket {
        let ticket = self.ticket();
        let deadline = Instant::now() + patience;
        self.tell(ToControl::Lease(LeaseRequest {
            ticket,
            shard: self.id,
            stream,
            avoid: Vec::new(),
            wanted: None,
            deadline,
        }));
        ticket
    }

    /// Expects the answer to a request as the next message.
    pub fn answer(&mut self, expected: Ticket) -> Result<Lease, Refusal> {
        match self.next() {
            ToShard::Lease { ticket, answer } if ticket == expected => answer,
            other => panic!("expected the answer to {expected:?}, got {other:?}"),
        }
    }

    /// Asks and expects a grant.
    pub fn lease(&mut self, stream: StreamKey) -> Lease {
        let ticket = self.ask(stream, PATIENCE);
        self.answer(ticket).expect("a grant")
    }

    /// Asks which broadcast an alias names.
    pub fn resolve(&mut self, alias: Alias, patience: Duration) -> Ticket {
        let ticket = self.ticket();
        let deadline = Instant::now() + patience;
        self.tell(ToControl::Resolve(ResolveRequest { ticket, shard: self.id, alias, deadline }));
        ticket
    }

    /// Expects the answer to a resolve as the next message.
    pub fn resolved(&mut self, expected: Ticket) -> StreamKey {
        match self.next() {
            ToShard::Resolved { ticket, answer: Ok(resolution) } if ticket == expected => resolution.key,
            other => panic!("expected the answer to {expected:?}, got {other:?}"),
        }
    }

    /// Expects a connection as the next message.
    pub fn connection(&mut self) -> Connection {
        match self.next() {
            ToShard::Connection(connection) => connection,
            other => panic!("expected a connection, got {other:?}"),
        }
    }
}

/// A session without clients as a shard shows it.
pub fn session(n: u8, state: SessionState, lease: Option<&Lease>) -> Session {
    Session {
        state,
        engine: lease.map(|lease| SessionEngine {
            id: lease.engine.clone(),
            authority: lease.authority.clone(),
            playback_session_id: None,
            stat_url: None,
            command_url: None,
            is_live: 1,
            is_encrypted: false,
        }),
        ..Session::begun(stream(n), Selector::ContentId(number(n)), ShardId(0), SystemTime::UNIX_EPOCH)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread for a while.
pub fn wait<T>(future: impl Future<Output = T>, patience: Duration) -> Option<T> {
    let deadline = Instant::now() + patience;
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        std::thread::park_timeout(deadline.checked_duration_since(Instant::now())?);
    }
}

/// Waits until a condition holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
