//! A connection between requests: reads a head, answers what a shard answers itself, hands on the rest.

use super::{Shard, hls, play};
use crate::client::hls::Token;
use crate::client::{PlayRequest, answer, health, play_request, stream_status, totals};
use crate::handover::age;
use crate::http::proxied::{ProxyParsed, client_address, parse_proxy};
use crate::http::request::HeadReader;
use crate::http::{HEAD_BYTES_MAX, HeadError, Method, Parsed, RequestHead, write};
use crate::uring::{Socket, keep_alive, send_now, set_player_options};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use monoio::time::timeout;
use serde::{Deserialize, Serialize};
use slab::Slab;
use sluice_contract::{Connection, Guard, Refusal, RefusalCode, ToControl, ToShard};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a kept-alive connection may stay without a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long, and for how many bytes, a refused peer is listened to so that it can read the answer before the reset.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1 << 20;
/// First probe of a peer that says nothing: finds half-open ones before anything is sent to them.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How a connection came to this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Accepted here.
    Fresh,
    /// Handed over with a complete request.
    Handed,
}

/// A connection being served. What is known of it is in reach of whoever hands it over while its task waits.
pub(super) struct Line {
    pub socket: Socket,
    /// Begins with the request at hand.
    pub unread: RefCell<Vec<u8>>,
    /// What came while the request at hand was waited on: it follows `unread`.
    pub heard: RefCell<Vec<u8>>,
    pub peer: SocketAddr,
    pub client: Cell<IpAddr>,
    pub accepted_at: Instant,
    /// No request has been read yet.
    is_first: Cell<bool>,
    /// The proxy in front of it has said its word, if one is expected.
    is_introduced: Cell<bool>,
    /// The answer that is on its way.
    pub sending: RefCell<Option<Sending>>,
}

/// An answer on its way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sending {
    /// Bytes that are not out yet.
    pub rest: Vec<u8>,
    /// Media that follows them.
    pub media: Option<MediaLeft>,
    /// The length of the request it answers.
    pub consumed: usize,
    /// The connection ends with it.
    pub closes: bool,
}

/// A range of a window that is being sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct MediaLeft {
    /// Whose stream.
    pub token: Token,
    pub cursor: u64,
    pub end: u64,
}

/// A connection as another process is told of it, its socket aside.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LineTold {
    unread: Vec<u8>,
    peer: SocketAddr,
    client: IpAddr,
    #[serde(with = "age")]
    accepted_at: Instant,
    is_first: bool,
    is_introduced: bool,
    sending: Option<Sending>,
}

impl LineTold {
    /// One that travels between threads at the moment: its request has been read by somebody.
    pub(super) fn of(connection: &Connection) -> Self {
        Self {
            unread: connection.unread.clone(),
            peer: connection.peer,
            client: connection.client,
            accepted_at: connection.accepted_at,
            is_first: false,
            is_introduced: true,
            sending: None,
        }
    }
}

/// All connections of a shard that have a task.
#[derive(Clone, Default)]
pub(super) struct Lines(Rc<RefCell<Slab<Rc<Line>>>>);

impl Lines {
    /// Every one of them.
    pub(super) fn all(&self) -> Vec<Rc<Line>> {
        self.0.borrow().iter().map(|(_, line)| line.clone()).collect()
    }
}

/// A place among [`Lines`], given up when dropped.
struct Listed {
    lines: Lines,
    key: usize,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.lines.0.borrow_mut().remove(self.key);
    }
}

impl Line {
    /// What another process needs to go on with it.
    pub(super) fn state(&self) -> LineTold {
        LineTold {
            unread: [self.unread.borrow().as_slice(), self.heard.borrow().as_slice()].concat(),
            peer: self.peer,
            client: self.client.get(),
            accepted_at: self.accepted_at,
            is_first: self.is_first.get(),
            is_introduced: self.is_introduced.get(),
            sending: self.sending.borrow().clone(),
        }
    }
}

/// The task's own end of a connection.
pub(super) struct Served {
    line: Rc<Line>,
    listed: Listed,
    pub guard: Guard,
}

impl Deref for Served {
    type Target = Line;

    fn deref(&self) -> &Line {
        &self.line
    }
}

impl Served {
    /// Takes a connection into this shard's driver; counts it as refused when descriptors are short.
    fn take(shard: &Shard, connection: Connection) -> Option<Self> {
        let Connection { fd, unread, peer, client, accepted_at, guard } = connection;
        let Ok(socket) = Socket::new(fd) else {
            shard.refused(RefusalCode::Descriptors);
            return None;
        };
        let line = Rc::new(Line {
            socket,
            unread: RefCell::new(unread),
            heard: RefCell::default(),
            peer,
            client: Cell::new(client),
            accepted_at,
            is_first: Cell::new(false),
            is_introduced: Cell::new(true),
            sending: RefCell::default(),
        });
        let key = shard.lines.0.borrow_mut().insert(line.clone());
        Some(Self { line, listed: Listed { lines: shard.lines.clone(), key }, guard })
    }

    fn into_parts(self) -> (Line, Guard) {
        let Self { line, listed, guard } = self;
        drop(listed);
        (
            Rc::into_inner(line).expect("the list gave its own up, and nobody else keeps one across a wait"),
            guard,
        )
    }

    /// The socket and its place in the admission count.
    pub(super) fn into_socket(self) -> (OwnedFd, Guard) {
        let (line, guard) = self.into_parts();
        (line.socket.into_fd(), guard)
    }

    /// Ends the connection at once.
    pub(super) fn finish(self) {
        crate::uring::finish(self.into_socket().0);
    }

    /// The value that travels to another thread.
    pub(super) fn into_connection(self) -> Connection {
        let (line, guard) = self.into_parts();
        Connection {
            fd: line.socket.into_fd(),
            unread: [line.unread.into_inner(), line.heard.into_inner()].concat(),
            peer: line.peer,
            client: line.client.get(),
            accepted_at: line.accepted_at,
            guard,
        }
    }

    /// The first `consumed` bytes were a request that has been answered.
    pub(super) fn consume(&self, consumed: usize) {
        let mut unread = self.unread.borrow_mut();
        let consumed = consumed.min(unread.len());
        unread.drain(..consumed);
        unread.append(&mut self.heard.borrow_mut());
        *self.sending.borrow_mut() = None;
        if unread.is_empty() {
            // Between two requests nothing is kept of the first.
            *unread = Vec::new();
            *self.heard.borrow_mut() = Vec::new();
        }
    }

    /// Sends what is left of the answer before its media. What is not out yet is in its place whenever this waits.
    pub(super) async fn send_rest(&self) -> io::Result<()> {
        while !self.try_send_rest()? {
            self.socket.writable().await?;
        }
        Ok(())
    }

    /// Sends of it what the socket takes; whether nothing is left.
    fn try_send_rest(&self) -> io::Result<bool> {
        let mut sending = self.sending.borrow_mut();
        let Some(Sending { rest, media, .. }) = sending.as_mut() else { return Ok(true) };
        while !rest.is_empty() {
            match send_now(self.socket.as_fd(), rest, media.is_some()) {
                Ok(count) => drop(rest.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        // Nothing is kept of it while its media is on the way.
        *rest = Vec::new();
        Ok(true)
    }

    /// Answers and ends the connection.
    pub(super) fn close_with(
        self,
        shard: &Shard,
        refusal: &Refusal,
        head_only: bool,
    ) -> LocalBoxFuture<'static, ()> {
        shard.refused(refusal.code);
        self.close_after(answer(refusal, true, head_only))
    }

    /// Sends a last answer and ends the connection with FIN, listening for a moment: closing over bytes that are still
    /// arriving would destroy the answer on its way. Boxed: every task can come to this, and few are there at any time.
    pub(super) fn close_after(self, bytes: Vec<u8>) -> LocalBoxFuture<'static, ()> {
        *self.sending.borrow_mut() = Some(Sending { rest: bytes, closes: true, ..Sending::default() });
        async move {
            // A peer that does not take its answer in time has had its chance.
            let _ = timeout(LINGER, self.farewell()).await;
            self.finish();
        }
        .boxed_local()
    }

    async fn farewell(&self) -> io::Result<()> {
        self.send_rest().await?;
        socket2::SockRef::from(&self.socket.as_fd()).shutdown(std::net::Shutdown::Write)?;
        let mut scrap = vec![0; 4096];
        let mut heard = 0;
        while heard < LINGER_BYTES_MAX {
            match self.socket.recv(&mut scrap).await? {
                0 => break,
                count => heard += count,
            }
        }
        Ok(())
    }
}

/// What becomes of a connection after a request.
pub(super) enum Next {
    /// It serves another one.
    Stay(Served),
    /// It is over, or somebody else's.
    Over,
    /// The answer comes from the window.
    Send(Served, hls::Delivery),
}

impl From<Option<Served>> for Next {
    fn from(served: Option<Served>) -> Self {
        served.map_or(Self::Over, Self::Stay)
    }
}

/// Serves a connection until it plays, is handed on, or ends.
pub(super) async fn run(shard: Rc<Shard>, connection: Connection, arrival: Arrival) {
    let Some(served) = Served::take(&shard, connection) else { return };
    let _ = set_player_options(served.socket.as_fd(), shard.settings().timeouts.write);
    let _ = keep_alive(served.socket.as_fd(), KEEP_ALIVE);
    if arrival == Arrival::Handed {
        shard.counters.hand_over.record(served.accepted_at.elapsed());
    } else {
        served.is_first.set(true);
        served.is_introduced.set(!expects_proxy_head(&shard, served.peer.ip()));
    }
    converse(shard, served).await;
}

/// Goes on with a connection of another process: finishes its answer, then serves it like any other.
pub(super) async fn go_on(shard: Rc<Shard>, fd: OwnedFd, told: LineTold) {
    let guard = shard.admission.adopt_connection();
    let LineTold { unread, peer, client, accepted_at, .. } = told;
    let connection = Connection { fd, unread, peer, client, accepted_at, guard };
    let Some(served) = Served::take(&shard, connection) else { return };
    served.is_first.set(told.is_first);
    served.is_introduced.set(told.is_introduced);
    let served = match told.sending {
        Some(sending) => finish_answer(&shard, served, sending).await,
        None => Some(served),
    };
    if let Some(served) = served {
        converse(shard, served).await;
    }
}

/// Sends what is left of an answer; the connection comes back if it stays.
async fn finish_answer(shard: &Rc<Shard>, served: Served, sending: Sending) -> Option<Served> {
    let Sending { media, consumed, closes, .. } = sending;
    if let Some(media) = media {
        *served.sending.borrow_mut() = Some(sending);
        return hls::go_on(shard, served, media, (consumed, !closes)).await;
    }
    if closes {
        served.close_after(sending.rest).await;
        return None;
    }
    *served.sending.borrow_mut() = Some(sending);
    match timeout(IDLE_TIMEOUT, served.send_rest()).await {
        Ok(Ok(())) => {
            served.consume(consumed);
            Some(served)
        }
        _ => None,
    }
}

/// Reads requests and answers them.
async fn converse(shard: Rc<Shard>, mut served: Served) {
    if !served.is_introduced.get() {
        let limit = shard.settings().timeouts.head;
        match timeout(limit, read_proxy_head(&served)).await {
            Ok(Ok(())) => served.is_introduced.set(true),
            _ => {
                let refusal = Refusal::new(RefusalCode::BadRequest, "malformed PROXY protocol head");
                return served.close_with(&shard, &refusal, false).await;
            }
        }
    }
    loop {
        let is_first = served.is_first.get();
        let limit = if is_first { shard.settings().timeouts.head } else { IDLE_TIMEOUT };
        let read = timeout(limit, read_head(&served)).await;
        let (head, consumed) = match read {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None)) => return served.finish(),
            Ok(Err(fault)) => return served.close_with(&shard, &refusal_of(&fault), false).await,
            Err(_) if served.unread.borrow().is_empty() && !is_first => return served.finish(),
            Err(_) => {
                let refusal =
                    Refusal::new(RefusalCode::HeadTimeout, "the request head did not arrive in time");
                return served.close_with(&shard, &refusal, false).await;
            }
        };
        served.is_first.set(false);
        // What a request needs is on the heap for as long as it is served, and what little a segment needs for as long
        // as it is sent.
        let next = Box::pin(serve_one(&shard, served, head, consumed)).await;
        served = match next {
            Next::Stay(served) => served,
            Next::Over => return,
            Next::Send(served, delivery) => match Box::pin(hls::deliver(&shard, served, delivery)).await {
                Some(served) => served,
                None => return,
            },
        };
    }
}

fn expects_proxy_head(shard: &Shard, peer: IpAddr) -> bool {
    let settings = shard.settings();
    let listen = &settings.listen;
    let peer = peer.to_canonical();
    listen.proxy_protocol && listen.trusted_proxies.iter().any(|network| network.contains(&peer))
}

async fn read_proxy_head(served: &Served) -> io::Result<()> {
    loop {
        let parsed = parse_proxy(&served.unread.borrow()).map_err(io::Error::other)?;
        match parsed {
            ProxyParsed::Complete { source, consumed } => {
                served.unread.borrow_mut().drain(..consumed);
                if let Some(source) = source {
                    served.client.set(source.ip());
                }
                return Ok(());
            }
            ProxyParsed::None if !served.unread.borrow().is_empty() => return Ok(()),
            ProxyParsed::None | ProxyParsed::Partial => {}
        }
        if receive(served).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn receive(served: &Served) -> io::Result<usize> {
    loop {
        served.socket.readable().await?;
        // No buffer is held while nothing comes: thousands of HLS players wait here most of the time.
        let mut chunk = [0u8; 4096];
        let mut unread = served.unread.borrow_mut();
        let room = (HEAD_BYTES_MAX + 1).saturating_sub(unread.len()).clamp(1, chunk.len());
        match served.socket.try_recv(&mut chunk[..room]) {
            Ok(count) => {
                unread.extend_from_slice(&chunk[..count]);
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads until there is a whole head; `None` when the peer ended the connection before one.
async fn read_head(served: &Served) -> Result<Option<(RequestHead, usize)>, HeadError> {
    let mut reader = HeadReader::default();
    loop {
        let parsed = reader.parse(&served.unread.borrow())?;
        if let Parsed::Complete { head, consumed } = parsed {
            return Ok(Some((head, consumed)));
        }
        match receive(served).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
    }
}

fn refusal_of(fault: &HeadError) -> Refusal {
    let code = match fault {
        HeadError::TooLarge | HeadError::TooManyHeaders => RefusalCode::HeadTooLarge,
        HeadError::Malformed { .. } | HeadError::Version => RefusalCode::BadRequest,
    };
    Refusal::new(code, fault.to_string())
}

/// Serves one request.
async fn serve_one(shard: &Rc<Shard>, served: Served, head: RequestHead, consumed: usize) -> Next {
    let path = head.path.as_str();
    let is_ours = path == "/ace" || path.starts_with("/ace/") || path == "/health" || path == "/proxy/health";
    if !is_ours {
        hand_to_control(shard, served).await;
        return Next::Over;
    }
    let head_only = head.method == Method::Head;
    if shard.draining.get().is_some() {
        let refusal = Refusal::new(RefusalCode::Shutdown, "the appliance is shutting down").retry_after(5);
        served.close_with(shard, &refusal, head_only).await;
        return Next::Over;
    }
    match head.method {
        Method::Options => {
            return answer_and_go_on(served, &head, consumed, write::preflight).await.into();
        }
        Method::Get | Method::Head if head.has_body() => {
            let refusal = Refusal::new(RefusalCode::BadRequest, "this route takes no request body");
            served.close_with(shard, &refusal, head_only).await;
            return Next::Over;
        }
        Method::Get | Method::Head => {}
        _ => {
            let refusal = Refusal::new(RefusalCode::MethodNotAllowed, "Method not allowed");
            served.close_with(shard, &refusal, false).await;
            return Next::Over;
        }
    }
    let reply = match path.trim_end_matches('/') {
        "/ace/getstream" if shard.dial.read().is_hls_default => {
            return hls::redirect(shard, served, head, consumed).await.into();
        }
        "/ace/getstream" => {
            served.client.set(client_address(
                served.client.get(),
                head.headers_named("x-forwarded-for"),
                &shard.settings().listen.trusted_proxies,
            ));
            Box::pin(play::run(shard.clone(), served, head)).await;
            return Next::Over;
        }
        "/ace/manifest.m3u8" => return hls::manifest(shard, served, head, consumed).await.into(),
        "/ace/status" => status(shard, head.query.as_deref()),
        "/health" | "/proxy/health" => {
            let board = &shard.board;
            Ok(health(&board.read(), &board.control(), &board.supply()))
        }
        path if path.starts_with("/ace/hls/") => return hls::resource(shard, served, head, consumed).await,
        _ => Err(Refusal::new(RefusalCode::NotFound, "no such route")),
    };
    if let Err(refusal) = &reply {
        shard.refused(refusal.code);
    }
    answer_and_go_on(served, &head, consumed, |close| match &reply {
        Ok(body) => write::json(200, &body.to_string(), &[], close, head_only),
        Err(refusal) => answer(refusal, close, head_only),
    })
    .await
    .into()
}

/// Answers; the connection comes back if it stays. Boxed: an answer is on its way for a moment, and every request has
/// one.
pub(super) fn answer_and_go_on(
    served: Served,
    head: &RequestHead,
    consumed: usize,
    reply: impl FnOnce(bool) -> Vec<u8>,
) -> LocalBoxFuture<'static, Option<Served>> {
    let stays = head.keep_alive() && !head.has_body();
    let bytes = reply(!stays);
    if !stays {
        return served.close_after(bytes).map(|()| None).boxed_local();
    }
    async move {
        // An answer of ours fits any socket buffer; a peer that does not read it loses its place.
        *served.sending.borrow_mut() = Some(Sending { rest: bytes, consumed, ..Sending::default() });
        match timeout(IDLE_TIMEOUT, served.send_rest()).await {
            Ok(Ok(())) => {
                served.consume(consumed);
                Some(served)
            }
            _ => None,
        }
    }
    .boxed_local()
}

fn status(shard: &Shard, query: Option<&str>) -> Result<serde_json::Value, Refusal> {
    let shown = shard.board.read();
    let request = match play_request(query, false) {
        Err(refusal) if refusal.code == RefusalCode::MissingId => return Ok(totals(&shown)),
        request => request?,
    };
    let (key, number) = match request {
        PlayRequest::Channel { key, .. } => (Some(key), None),
        PlayRequest::Stream(alias) => (shard.directory.find(&alias), Some(alias.selector.value())),
    };
    let session = shown.iter().flat_map(|shard| &shard.sessions).find(|session| {
        Some(&session.key) == key.as_ref()
            || number.is_some_and(|number| session.asked_as.value() == number)
            || number.is_some() && session.infohash == number
    });
    session
        .map(|session| stream_status(session))
        .ok_or_else(|| Refusal::new(RefusalCode::NotFound, "Stream not found"))
}

async fn hand_to_control(shard: &Rc<Shard>, served: Served) {
    shard.counters.to_control.add(1);
    let message = ToControl::Connection(served.into_connection());
    if let Err(rejected) = shard.control.send(message)
        && let ToControl::Connection(connection) = rejected.into_inner()
    {
        refuse_handed(shard, connection).await;
    }
}

/// Hands a connection to the shard that owns its stream.
pub(super) async fn hand_to_shard(shard: &Rc<Shard>, owner: usize, served: Served) {
    shard.counters.handed_over.add(1);
    if let Err(rejected) = shard.shards[owner].send(ToShard::Connection(served.into_connection()))
        && let ToShard::Connection(connection) = rejected.into_inner()
    {
        refuse_handed(shard, connection).await;
    }
}

async fn refuse_handed(shard: &Rc<Shard>, connection: Connection) {
    let refusal = Refusal::new(RefusalCode::ControlUnavailable, "busy, retry shortly").retry_after(2);
    let Some(served) = Served::take(shard, connection) else { return };
    served.close_with(shard, &refusal, false).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;

    fn task<F: Future>(_: impl FnOnce(Rc<Shard>, Connection, Arrival) -> F) -> usize {
        size_of::<F>()
    }

    fn request<F: Future>(_: impl FnOnce(&'static Rc<Shard>, Served, RequestHead, usize) -> F) -> usize {
        size_of::<F>()
    }

    fn delivery<F: Future>(_: impl FnOnce(&'static Rc<Shard>, Served, hls::Delivery) -> F) -> usize {
        size_of::<F>()
    }

    /// Guards: what a connection holds that waits for its next request, and what it holds on top while one is served
    /// and while a segment is sent: an HLS player has one for as long as it plays.
    #[test]
    fn a_waiting_connection_is_small() {
        let (waiting, serving, sending) = (task(run), request(serve_one), delivery(hls::deliver));
        assert!(waiting <= 2 << 10, "{waiting} bytes");
        assert!(serving <= 3 << 10, "{serving} bytes");
        assert!(sending <= 3 << 9, "{sending} bytes");
    }
}
