//! Accepting connections and finding the handler for each request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::http::{self, Reader, Request};
use super::world::World;
use super::{hls, open, playback, service, session};
use crate::channel::Id;

/// What happens to the connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    KeepAlive,
    Close,
}

/// One connection with the request that is being answered.
pub(super) struct Exchange<'a> {
    pub(super) world: &'a Arc<World>,
    pub(super) stream: &'a mut TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) request: Request,
}

impl Exchange<'_> {
    /// Sends an answer that delimits itself; a HEAD gets its head only.
    pub(super) async fn answer(&mut self, response: &[u8]) -> io::Result<Next> {
        let head =
            response.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(response.len(), |at| at + 4);
        let sent = if self.request.is_head() { &response[..head] } else { response };
        self.stream.write_all(sent).await?;
        Ok(if self.request.wants_close { Next::Close } else { Next::KeepAlive })
    }

    /// Sends an answer that ends with the connection.
    pub(super) async fn answer_and_close(&mut self, response: &[u8]) -> io::Result<Next> {
        self.answer(response).await?;
        Ok(Next::Close)
    }

    /// Scheme and authority of every URL the engine returns: what the client called the engine.
    pub(super) fn base(&self) -> String {
        let host = self.request.header("host").filter(|host| !host.is_empty());
        format!("http://{}", host.unwrap_or("127.0.0.1:6878"))
    }

    /// Waits until `done` says so after a change of the engine's state, or the client is gone.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) async fn wait_for(&mut self, mut done: impl FnMut(&World) -> bool) -> io::Result<()> {
        let mut pulse = self.world.pulse.subscribe();
        while !done(self.world) {
            tokio::select! {
                // The sender lives in the world, which this task keeps alive.
                _ = pulse.changed() => {}
                () = gone(self.stream) => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(())
    }

    /// Waits for a span of engine time, or until the client is gone.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) async fn pause(&mut self, span: Duration) -> io::Result<()> {
        tokio::select! {
            () = self.world.clock.sleep(span) => Ok(()),
            () = gone(self.stream) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// Waits for the remainder of a real engine's delay, which is `millis` at full latency.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) async fn latency(&mut self, millis: u64) -> io::Result<()> {
        let scale = u64::from(self.world.options.latency_scale_permille);
        self.pause(Duration::from_millis(millis * scale / 1000)).await
    }
}

/// Returns when the peer has closed its side or the connection broke. Bytes it sends are left alone: a client that
/// pipelines while it waits is noticed as gone only later.
pub(super) async fn gone(stream: &TcpStream) {
    let mut byte = [0];
    loop {
        match stream.peek(&mut byte).await {
            Ok(0) | Err(_) => return,
            // More requests are waiting: look again later instead of spinning.
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Accepts connections until the engine ends; closes and reopens the port as the `refuse` fault says.
pub(super) async fn listen(world: Arc<World>, listener: TcpListener, address: SocketAddr) {
    let mut faults = world.engine_faults.subscribe();
    let mut listener = Some(listener);
    loop {
        let refuse = faults.borrow_and_update().refuse;
        if refuse {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        tokio::select! {
            _ = faults.changed() => {}
            accepted = accept(listener.as_ref()), if !refuse => {
                if let Ok((stream, peer)) = accepted {
                    tokio::spawn(connection(world.clone(), stream, peer));
                }
            }
        }
    }
}

/// The next connection; without a listener, an error after a moment, so that the port is tried again.
async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    let accepted = match listener {
        Some(listener) => listener.accept().await,
        None => Err(io::ErrorKind::AddrInUse.into()),
    };
    if accepted.is_err() {
        // Out of descriptors, or the port is still taken: neither gets better by hurrying.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    accepted
}

/// Ends idle sessions for as long as the engine lives.
pub(super) async fn reap(world: Arc<World>) {
    let step = world.clock.real(world.options.idle_timeout / 4);
    let step = step.clamp(Duration::from_millis(10), Duration::from_secs(1));
    loop {
        tokio::time::sleep(step).await;
        world.expire_idle();
    }
}

/// Lets connections that are being reset finish, for a moment at most.
pub(super) async fn settle(world: &World) {
    let refused = world.engine_faults.borrow().refuse;
    for _ in 0..if refused { 50 } else { 0 } {
        if world.lock().ledger.engine.connections_open == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Counts an open connection for as long as it lives.
struct OpenConnection(Arc<World>);

impl OpenConnection {
    fn new(world: &Arc<World>) -> Self {
        let engine = &mut world.lock().ledger.engine;
        engine.connections += 1;
        engine.connections_open += 1;
        engine.connections_open_max = engine.connections_open_max.max(engine.connections_open);
        Self(world.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let engine = &mut self.0.lock().ledger.engine;
        engine.connections_open = engine.connections_open.saturating_sub(1);
    }
}

async fn connection(world: Arc<World>, mut stream: TcpStream, peer: SocketAddr) {
    let _open = OpenConnection::new(&world);
    let mut reset = world.reset.subscribe();
    if world.engine_faults.borrow().deny {
        return;
    }
    // A media write must leave at once, however small: its timing is part of the profile.
    let _ = stream.set_nodelay(true);
    let is_reset = tokio::select! {
        _ = reset.changed() => true,
        outcome = exchanges(&world, &mut stream, peer) => matches!(outcome, Ok(After::Reset)),
    };
    if is_reset {
        let _ = stream.set_zero_linger();
    } else {
        // End with FIN even when the client sent something that nobody read.
        let _ = stream.shutdown().await;
        let mut rest = [0; 4096];
        while matches!(stream.try_read(&mut rest), Ok(read) if read > 0) {}
    }
}

/// How a connection is closed.
enum After {
    Close,
    Reset,
}

async fn exchanges(world: &Arc<World>, stream: &mut TcpStream, peer: SocketAddr) -> io::Result<After> {
    let mut reader = Reader::default();
    loop {
        let request = match reader.next(stream).await {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(After::Close),
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    world.lock().ledger.engine.malformed += 1;
                }
                return Err(error);
            }
        };
        world.lock().ledger.note_request(&request, peer.to_string(), world.at_ms());
        let mut exchange = Exchange { world, stream, peer, request };
        exchange.wait_for(|world| !world.engine_faults.borrow().hang).await?;
        let delay = world.engine_faults.borrow().api_delay_ms;
        if delay > 0 {
            exchange.pause(Duration::from_millis(delay)).await?;
        }
        match route(&mut exchange).await {
            Ok(Next::KeepAlive) => {}
            Ok(Next::Close) => return Ok(After::Close),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(After::Reset),
            Err(error) => return Err(error),
        }
    }
}

async fn route(exchange: &mut Exchange<'_>) -> io::Result<Next> {
    let path = exchange.request.path.clone();
    let mut parts = path.trim_start_matches('/').splitn(4, '/');
    let place = [parts.next(), parts.next(), parts.next(), parts.next()].map(Option::unwrap_or_default);
    if exchange.request.is_head() {
        note_head(exchange, &place);
    }
    match place {
        ["ace", "getstream", "", ""] => open::start(exchange, false).await,
        ["ace", "manifest.m3u8", "", ""] => open::start(exchange, true).await,
        ["ace", "m", infohash, file] => hls::playlist(exchange, infohash, file).await,
        ["ace", "c", infohash, file] => hls::segment(exchange, infohash, file).await,
        ["ace", "r", infohash, key] => playback::by_key(exchange, infohash, key).await,
        ["content", infohash, token, ""] => playback::by_token(exchange, infohash, token).await,
        ["ace", "stat", infohash, key] => session::stat(exchange, infohash, key).await,
        ["ace", "cmd", infohash, key] => session::command(exchange, infohash, key).await,
        ["ace", "event", infohash, key] => session::event(exchange, infohash, key).await,
        ["webui", "api", "service", ""] => service::webui(exchange).await,
        ["server", "api", "", ""] => service::server(exchange).await,
        _ => exchange.answer(&http::error("Internal Server Error, couldn't find resource")).await,
    }
}

/// Counts a HEAD with the channel it names, be it in the path or in the query.
fn note_head(exchange: &Exchange<'_>, place: &[&str; 4]) {
    let named = ["content_id", "id", "infohash"].iter().filter_map(|name| exchange.request.parameter(name));
    let id = named.chain(place.iter().copied()).find_map(|text| text.parse::<Id>().ok());
    if let Some(channel) = id.and_then(|id| exchange.world.channel_by_either(id)) {
        exchange.world.lock().channels[channel].counters.heads += 1;
    }
}
