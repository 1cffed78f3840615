//! The event loop of one thread's players: thousands of sockets.
//!
//! Players that are joining wait in an epoll set of their own which is looked at all the time, so that join times are
//! exact. Players whose stream runs are looked at every 5 ms, all that are ready at once, and their bytes are discarded
//! in the kernel: the cost per player is that of the floor's players. The clock is read once per batch of events.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::churn::Churn;
use super::client::{Client, Gone, Kind, State};
use crate::floor::{DISCARD_LEN_MAX, EVENTS_MAX, PLAYERS_PAUSE};
use crate::report::Times;
use crate::sys::{self, Epoll, Interest};

/// Connections begun in one go before joining players get their turn again.
const CONNECTS_MAX: usize = 32;
/// How often a paced player reads.
const PACE_STEP: Duration = Duration::from_millis(50);
/// What a paced player may make up for after a silence.
const PACE_CREDIT: Duration = Duration::from_secs(1);
/// How often players that wait for an answer are looked through.
const TIMEOUT_STEP: Duration = Duration::from_millis(250);
/// Bytes read at once where they are looked at.
const READ_LEN: usize = 256 * 1024;
/// Addresses of 127.0.0.0/8 that players can come from.
pub(super) const SOURCES_MAX: u32 = 65_000;

/// How all players of a crowd are.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    pub(super) target: SocketAddr,
    /// The request of each channel.
    pub(super) requests: Vec<Vec<u8>>,
    /// How many loopback addresses players come from; 1 leaves the choice to the kernel.
    pub(super) sources: u32,
    /// Bytes per second of the stream.
    pub(super) rate: f64,
    /// Bytes after which a stalled player stops reading.
    pub(super) stalled_after: u64,
    /// How long a player waits for its stream to begin.
    pub(super) answer_timeout: Duration,
}

/// The players of one thread.
pub(super) struct Crowd {
    habits: Habits,
    pub(super) clients: Vec<Client>,
    due: VecDeque<usize>,
    /// Those that pass, when there are any.
    pub(super) churn: Option<Churn>,
    joining: Epoll,
    flowing: Epoll,
    paced: Vec<usize>,
    ready: Vec<u64>,
    sink: Vec<u8>,
    next_batch: Instant,
    next_timeouts: Instant,
    /// Times between reads of players that drain, and of those that pace.
    pub(super) gaps_drained: Times,
    pub(super) gaps_paced: Times,
    /// Longest gap since it was last taken.
    gap: Duration,
    /// CPU used since the measurement began.
    pub(super) cpu: Duration,
}

impl Crowd {
    pub(super) fn new(habits: Habits) -> io::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            habits,
            clients: Vec::new(),
            due: VecDeque::new(),
            churn: None,
            joining: Epoll::new(EVENTS_MAX)?,
            flowing: Epoll::new(EVENTS_MAX)?,
            paced: Vec::new(),
            ready: Vec::with_capacity(EVENTS_MAX),
            sink: vec![0; DISCARD_LEN_MAX],
            next_batch: now,
            next_timeouts: now,
            gaps_drained: Times::default(),
            gaps_paced: Times::default(),
            gap: Duration::ZERO,
            cpu: Duration::ZERO,
        })
    }

    /// Adds a player; it connects when it is due, which is not before the one that was added last.
    pub(super) fn add(&mut self, kind: Kind, place: usize, due: Instant) {
        self.due.push_back(self.clients.len());
        self.clients.push(Client::new(kind, place, due));
    }

    /// Lets the players that stall go, at once. They are forgotten as far as they are the last that were added.
    pub(super) fn dismiss_stalled(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.kind == Kind::Stalled) {
            client.state = State::Gone(Gone::Dismissed);
            client.stream = None;
        }
        while self.clients.pop_if(|client| client.state == State::Gone(Gone::Dismissed)).is_some() {}
        let clients = &self.clients;
        self.due.retain(|number| clients.get(*number).is_some_and(|client| client.state == State::Due));
    }

    /// Lets the players from this one on go, and forgets them. None of them reads at the stream's rate.
    pub(super) fn dismiss_from(&mut self, first: usize) {
        self.clients.truncate(first);
        self.due.retain(|number| *number < first);
    }

    /// The longest gap that ended since this was last asked.
    pub(super) fn take_gap(&mut self) -> Duration {
        std::mem::take(&mut self.gap)
    }

    /// Every player has joined, stalled or gone; those that pass are always on the way.
    pub(super) fn has_joined(&self) -> bool {
        let is_on_its_way =
            |client: &Client| matches!(client.state, State::Due | State::Connecting | State::Joining);
        !self.clients.iter().any(|client| client.kind != Kind::Passing && is_on_its_way(client))
    }

    /// Bytes of all players since the measurement began, of those who left, too.
    pub(super) fn measured(&self) -> u64 {
        let there: u64 = self.clients.iter().map(|client| client.measured).sum();
        there + self.churn.as_ref().map_or(0, Churn::measured)
    }

    /// Starts counting anew.
    pub(super) fn begin_interval(&mut self) {
        let now = Instant::now();
        (self.gap, self.cpu) = Default::default();
        self.gaps_drained.clear();
        self.gaps_paced.clear();
        self.churn.iter_mut().for_each(Churn::begin_interval);
        self.clients.iter_mut().for_each(|client| client.begin_interval(now));
    }

    /// Counts the silence that lasts at this moment, too: who receives nothing any more has no next read.
    pub(super) fn end_interval(&mut self) {
        let now = Instant::now();
        for client in self.clients.iter_mut().filter(|client| client.is_served()) {
            client.longest_gap = client.longest_gap.max(now.saturating_duration_since(client.last));
        }
    }

    /// Plays until the given instant.
    ///
    /// # Errors
    /// The kernel refuses an epoll call, which would be a mistake of ours.
    pub(super) fn run(&mut self, until: Instant) -> io::Result<()> {
        let before = sys::thread_cpu();
        let played = self.play(until);
        self.cpu += sys::thread_cpu().saturating_sub(before);
        played
    }

    fn play(&mut self, until: Instant) -> io::Result<()> {
        loop {
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            self.pass(now);
            self.connect_due(now)?;
            let next_due = self.due.front().map(|number| self.clients[*number].started);
            let next_leaving = self.churn.as_ref().and_then(Churn::next);
            let wake =
                [Some(self.next_batch), next_due, next_leaving, Some(until)].into_iter().flatten().min();
            let pause = wake.map_or(Duration::ZERO, |wake| wake.saturating_duration_since(Instant::now()));
            self.join_ready(pause)?;
            if Instant::now() >= self.next_batch {
                self.flow_ready()?;
                self.pace();
                self.give_up();
                self.next_batch = Instant::now() + PLAYERS_PAUSE;
            }
        }
    }

    fn connect_due(&mut self, now: Instant) -> io::Result<()> {
        for _ in 0..CONNECTS_MAX {
            let Some(&number) = self.due.front().filter(|number| self.clients[**number].started <= now)
            else {
                break;
            };
            self.due.pop_front();
            let client = &mut self.clients[number];
            let source = client.place as u32 % self.habits.sources;
            client.started = Instant::now();
            match connect(self.habits.target, (self.habits.sources > 1).then_some(source)) {
                Ok(stream) => {
                    self.joining.add(&stream, Interest::Write, number as u64)?;
                    client.stream = Some(stream);
                    client.state = State::Connecting;
                }
                Err(error) => client.state = State::Gone(Gone::NoConnection(error.kind())),
            }
            if let Some(churn) = self.churn.as_mut().filter(|_| client.kind == Kind::Passing) {
                churn.came(number, client.started);
            }
        }
        Ok(())
    }

    /// Lets players go whose stay is over, and come again at once.
    fn pass(&mut self, now: Instant) {
        let Some(churn) = &mut self.churn else { return };
        while let Some(number) = churn.leaves(now) {
            let client = &mut self.clients[number];
            churn.left(client);
            *client = Client::new(Kind::Passing, client.place, now);
            self.due.push_back(number);
        }
    }

    fn join_ready(&mut self, pause: Duration) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        self.joining.wait(&mut ready, pause)?;
        for number in &ready {
            let number = *number as usize;
            let step = match self.clients[number].state {
                State::Connecting => self.ask(number),
                State::Joining => self.join(number),
                State::Flowing | State::Stalled => self.fail(number),
                State::Due | State::Gone(_) => Ok(()),
            };
            if let Err(gone) = step {
                self.end(number, gone);
            }
        }
        self.ready = ready;
        Ok(())
    }

    /// The connection stands or has failed.
    fn ask(&mut self, number: usize) -> Result<(), Gone> {
        let client = &mut self.clients[number];
        let Some(stream) = &mut client.stream else { return Ok(()) };
        if let Ok(Some(error)) = stream.take_error() {
            return Err(Gone::NoConnection(error.kind()));
        }
        let request = &self.habits.requests[client.place % self.habits.requests.len()];
        // A new socket has room for a request; if it had not, that would be a failure worth seeing.
        stream.write_all(request).map_err(|error| Gone::Failed(error.kind()))?;
        self.joining
            .modify(&*stream, Interest::Read, number as u64)
            .map_err(|error| Gone::Failed(error.kind()))?;
        client.state = State::Joining;
        Ok(())
    }

    fn join(&mut self, number: usize) -> Result<(), Gone> {
        let client = &mut self.clients[number];
        let Some(stream) = &mut client.stream else { return Ok(()) };
        let length = match stream.read(&mut self.sink[..READ_LEN]) {
            Ok(0) => return Err(Gone::Eof),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(Gone::Failed(error.kind())),
        };
        if client.join(&self.sink[..length], Instant::now())? {
            self.joined(number).map_err(|error| Gone::Failed(error.kind()))?;
        }
        Ok(())
    }

    /// Moves a player to where its kind is read.
    fn joined(&mut self, number: usize) -> io::Result<()> {
        let client = &mut self.clients[number];
        let Some(stream) = &client.stream else { return Ok(()) };
        client.state = State::Flowing;
        match client.kind {
            Kind::Paced => {
                self.joining.modify(stream, Interest::Failure, number as u64)?;
                (client.next, client.spent) = (client.last, client.last);
                self.paced.push(number);
            }
            Kind::Stalled if client.bytes >= self.habits.stalled_after => {
                self.joining.modify(stream, Interest::Failure, number as u64)?;
                client.state = State::Stalled;
            }
            _ => {
                self.joining.remove(stream)?;
                self.flowing.add(stream, Interest::Read, number as u64)?;
            }
        }
        Ok(())
    }

    /// A player that waits for no bytes was told of a failure.
    fn fail(&mut self, number: usize) -> Result<(), Gone> {
        let Some(stream) = &self.clients[number].stream else { return Ok(()) };
        match stream.take_error() {
            Ok(Some(error)) | Err(error) => Err(Gone::Failed(error.kind())),
            Ok(None) => Err(Gone::Eof),
        }
    }

    fn flow_ready(&mut self) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        // Bounded, so that a server that fills sockets as fast as they are emptied does not stop the loop.
        for _ in 0..self.clients.len() / EVENTS_MAX + 2 {
            self.flowing.wait(&mut ready, Duration::ZERO)?;
            if ready.is_empty() {
                break;
            }
            let now = Instant::now();
            for number in &ready {
                let number = *number as usize;
                let step = match self.clients[number].state {
                    State::Stalled => self.fail(number),
                    _ => self.flow(number, now),
                };
                if let Err(gone) = step {
                    self.end(number, gone);
                }
            }
        }
        self.ready = ready;
        Ok(())
    }

    fn flow(&mut self, number: usize, now: Instant) -> Result<(), Gone> {
        let client = &mut self.clients[number];
        let Some(stream) = &mut client.stream else { return Ok(()) };
        let read = match client.kind {
            Kind::Checked => stream.read(&mut self.sink[..READ_LEN]),
            Kind::Stalled => {
                let most = self.habits.stalled_after.saturating_sub(client.bytes).max(1);
                sys::discard(stream.as_fd(), &mut self.sink, most as usize)
            }
            Kind::Drained | Kind::Paced | Kind::Passing => {
                sys::discard(stream.as_fd(), &mut self.sink, DISCARD_LEN_MAX)
            }
        };
        let Some(length) = received(read)? else { return Ok(()) };
        let gap = client.flow(length, now);
        match client.kind {
            Kind::Stalled if client.bytes >= self.habits.stalled_after => {
                client.state = State::Stalled;
                let told = client
                    .stream
                    .as_ref()
                    .map(|stream| self.flowing.modify(stream, Interest::Failure, number as u64));
                told.transpose().map_err(|error| Gone::Failed(error.kind()))?;
            }
            Kind::Stalled | Kind::Passing => {}
            _ => {
                self.gap = self.gap.max(gap);
                self.gaps_drained.add(gap);
            }
        }
        match &mut client.sample {
            Some(sample) => sample.feed(&self.sink[..length]),
            None => Ok(()),
        }
    }

    fn pace(&mut self) {
        let now = Instant::now();
        for place in 0..self.paced.len() {
            let number = self.paced[place];
            let client = &mut self.clients[number];
            if client.next > now || client.state != State::Flowing {
                continue;
            }
            let Some(stream) = &client.stream else { continue };
            client.next = now + PACE_STEP;
            let oldest = now.checked_sub(PACE_CREDIT).unwrap_or(client.spent);
            client.spent = client.spent.max(oldest);
            let quota = now.saturating_duration_since(client.spent).as_secs_f64() * self.habits.rate;
            if quota < 1.0 {
                continue;
            }
            let read = received(sys::discard(stream.as_fd(), &mut self.sink, quota as usize));
            match read {
                Ok(Some(length)) => {
                    client.spent += Duration::from_secs_f64(length as f64 / self.habits.rate);
                    let gap = client.flow(length, now);
                    self.gap = self.gap.max(gap);
                    self.gaps_paced.add(gap);
                }
                Ok(None) => {}
                Err(gone) => self.end(number, gone),
            }
        }
        let clients = &self.clients;
        self.paced.retain(|number| clients[*number].state == State::Flowing);
    }

    /// Ends players whose stream did not begin in time.
    fn give_up(&mut self) {
        let now = Instant::now();
        if now < self.next_timeouts {
            return;
        }
        self.next_timeouts = now + TIMEOUT_STEP;
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            let waits = matches!(client.state, State::Connecting | State::Joining);
            if waits && now.saturating_duration_since(client.started) > self.habits.answer_timeout {
                self.end(number, Gone::NoAnswer);
            }
        }
    }

    fn end(&mut self, number: usize, gone: Gone) {
        let client = &mut self.clients[number];
        client.state = State::Gone(gone);
        // Closing takes it out of its epoll set as well.
        client.stream = None;
    }
}

/// `None` when there was nothing to read.
pub(super) fn received(read: io::Result<usize>) -> Result<Option<usize>, Gone> {
    match read {
        Ok(0) => Err(Gone::Eof),
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(Gone::Failed(error.kind())),
    }
}

pub(super) fn connect(target: SocketAddr, source: Option<u32>) -> io::Result<TcpStream> {
    /// `EINPROGRESS` has no name in the standard library.
    const IN_PROGRESS: i32 = libc::EINPROGRESS;
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 1)) + source);
        socket.bind(&SocketAddr::from((address, 0)).into())?;
    }
    match socket.connect(&target.into()) {
        Ok(()) => Ok(socket.into()),
        Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => Ok(socket.into()),
        Err(error) => Err(error),
    }
}
