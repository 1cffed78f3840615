//! A connection between requests: reads a head, answers what a shard answers itself, hands on the rest.

use super::{Shard, play};
use crate::client::{answer, health, stream_status, totals};
use crate::http::proxied::{ProxyParsed, client_address, parse_proxy};
use crate::http::request::HeadReader;
use crate::http::{HEAD_BYTES_MAX, HeadError, Method, Parsed, RequestHead, write};
use crate::uring::{Socket, keep_alive, set_player_options};
use monoio::time::timeout;
use sluice_contract::{Connection, Guard, Refusal, RefusalCode, ToControl, ToShard};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
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

/// A connection being served.
pub(super) struct Served {
    pub socket: Socket,
    pub unread: Vec<u8>,
    pub peer: SocketAddr,
    pub client: IpAddr,
    pub accepted_at: Instant,
    pub sources_tried: u8,
    pub guard: Guard,
}

impl Served {
    /// Takes a connection into this shard's driver; counts it as refused when descriptors are short.
    fn take(shard: &Shard, connection: Connection) -> Option<Self> {
        let Connection { fd, unread, peer, client, accepted_at, sources_tried, guard } = connection;
        let Ok(socket) = Socket::new(fd) else {
            shard.refused(RefusalCode::Descriptors);
            return None;
        };
        Some(Self { socket, unread, peer, client, accepted_at, sources_tried, guard })
    }

    /// The value that travels to another thread.
    pub(super) fn into_connection(self) -> Connection {
        Connection {
            fd: self.socket.into_fd(),
            unread: self.unread,
            peer: self.peer,
            client: self.client,
            accepted_at: self.accepted_at,
            sources_tried: self.sources_tried,
            guard: self.guard,
        }
    }

    /// Answers and ends the connection.
    pub(super) async fn close_with(self, shard: &Shard, refusal: &Refusal, head_only: bool) {
        shard.refused(refusal.code);
        self.close_after(&answer(refusal, true, head_only)).await;
    }

    /// Sends a last answer and ends the connection with FIN, listening for a moment: closing over bytes that are still
    /// arriving would destroy the answer on its way.
    pub(super) async fn close_after(self, bytes: &[u8]) {
        let farewell = async {
            self.socket.send_all(bytes).await?;
            socket2::SockRef::from(&self.socket.as_fd()).shutdown(std::net::Shutdown::Write)?;
            let mut scrap = [0; 4096];
            let mut heard = 0;
            while heard < LINGER_BYTES_MAX {
                match self.socket.recv(&mut scrap).await? {
                    0 => break,
                    count => heard += count,
                }
            }
            io::Result::Ok(())
        };
        // A peer that does not take its answer in time has had its chance.
        let _ = timeout(LINGER, farewell).await;
        crate::uring::finish(self.socket.into_fd());
    }
}

/// Serves a connection until it plays, is handed on, or ends.
pub(super) async fn run(shard: Rc<Shard>, connection: Connection, arrival: Arrival) {
    let Some(mut served) = Served::take(&shard, connection) else { return };
    let _ = set_player_options(served.socket.as_fd(), shard.rules.write_timeout);
    let _ = keep_alive(served.socket.as_fd(), KEEP_ALIVE);
    if arrival == Arrival::Handed {
        shard.counters.hand_over.record(served.accepted_at.elapsed());
    }
    let mut is_first = arrival == Arrival::Fresh;
    if is_first && expects_proxy_head(&shard, served.peer.ip()) {
        match timeout(shard.settings.timeouts.head, read_proxy_head(&mut served)).await {
            Ok(Ok(())) => {}
            _ => {
                let refusal = Refusal::new(RefusalCode::BadRequest, "malformed PROXY protocol head");
                return served.close_with(&shard, &refusal, false).await;
            }
        }
    }
    loop {
        let limit = if is_first { shard.settings.timeouts.head } else { IDLE_TIMEOUT };
        let read = timeout(limit, read_head(&mut served)).await;
        let (head, consumed) = match read {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None)) => return crate::uring::finish(served.socket.into_fd()),
            Ok(Err(fault)) => return served.close_with(&shard, &refusal_of(&fault), false).await,
            Err(_) if served.unread.is_empty() && !is_first => {
                return crate::uring::finish(served.socket.into_fd());
            }
            Err(_) => {
                let refusal =
                    Refusal::new(RefusalCode::HeadTimeout, "the request head did not arrive in time");
                return served.close_with(&shard, &refusal, false).await;
            }
        };
        is_first = false;
        served = match serve_one(&shard, served, head, consumed).await {
            Some(served) => served,
            None => return,
        };
    }
}

fn expects_proxy_head(shard: &Shard, peer: IpAddr) -> bool {
    let listen = &shard.settings.listen;
    let peer = peer.to_canonical();
    listen.proxy_protocol && listen.trusted_proxies.iter().any(|network| network.contains(&peer))
}

async fn read_proxy_head(served: &mut Served) -> io::Result<()> {
    loop {
        match parse_proxy(&served.unread).map_err(io::Error::other)? {
            ProxyParsed::Complete { source, consumed } => {
                served.unread.drain(..consumed);
                if let Some(source) = source {
                    served.client = source.ip();
                }
                return Ok(());
            }
            ProxyParsed::None if !served.unread.is_empty() => return Ok(()),
            ProxyParsed::None | ProxyParsed::Partial => {}
        }
        if receive(served).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn receive(served: &mut Served) -> io::Result<usize> {
    let mut chunk = [0u8; 4096];
    let room = (HEAD_BYTES_MAX + 1).saturating_sub(served.unread.len()).clamp(1, chunk.len());
    let count = served.socket.recv(&mut chunk[..room]).await?;
    served.unread.extend_from_slice(&chunk[..count]);
    Ok(count)
}

/// Reads until there is a whole head; `None` when the peer ended the connection before one.
async fn read_head(served: &mut Served) -> Result<Option<(RequestHead, usize)>, HeadError> {
    let mut reader = HeadReader::default();
    loop {
        if let Parsed::Complete { head, consumed } = reader.parse(&served.unread)? {
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

/// Serves one request; the connection comes back if it stays.
async fn serve_one(
    shard: &Rc<Shard>,
    mut served: Served,
    head: RequestHead,
    consumed: usize,
) -> Option<Served> {
    let path = head.path.as_str();
    let is_ours = path == "/ace" || path.starts_with("/ace/") || path == "/health" || path == "/proxy/health";
    if !is_ours {
        hand_to_control(shard, served).await;
        return None;
    }
    let head_only = head.method == Method::Head;
    if shard.draining.get().is_some() {
        let refusal = Refusal::new(RefusalCode::Shutdown, "the appliance is shutting down").retry_after(5);
        served.close_with(shard, &refusal, head_only).await;
        return None;
    }
    match head.method {
        Method::Options => {
            return answer_and_go_on(served, &head, consumed, write::preflight).await;
        }
        Method::Get | Method::Head if head.has_body() => {
            let refusal = Refusal::new(RefusalCode::BadRequest, "this route takes no request body");
            served.close_with(shard, &refusal, head_only).await;
            return None;
        }
        Method::Get | Method::Head => {}
        _ => {
            let refusal = Refusal::new(RefusalCode::MethodNotAllowed, "Method not allowed");
            served.close_with(shard, &refusal, false).await;
            return None;
        }
    }
    let reply = match path.trim_end_matches('/') {
        "/ace/getstream" => {
            served.client = client_address(
                served.client,
                head.headers_named("x-forwarded-for"),
                &shard.settings.listen.trusted_proxies,
            );
            play::run(shard.clone(), served, head).await;
            return None;
        }
        "/ace/status" => status(shard, head.query.as_deref()),
        "/health" | "/proxy/health" => Ok(health(&shard.board.read())),
        "/ace/manifest.m3u8" => {
            Err(Refusal::new(RefusalCode::NotImplemented, "HLS is not available, use /ace/getstream"))
        }
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
}

async fn answer_and_go_on(
    mut served: Served,
    head: &RequestHead,
    consumed: usize,
    reply: impl FnOnce(bool) -> Vec<u8>,
) -> Option<Served> {
    let stays = head.keep_alive() && !head.has_body();
    let bytes = reply(!stays);
    if !stays {
        served.close_after(&bytes).await;
        return None;
    }
    // An answer of ours fits any socket buffer; a peer that does not read it loses its place.
    match timeout(IDLE_TIMEOUT, served.socket.send_all(&bytes)).await {
        Ok(Ok(())) => {
            served.unread.drain(..consumed);
            Some(served)
        }
        _ => None,
    }
}

fn status(shard: &Shard, query: Option<&str>) -> Result<serde_json::Value, Refusal> {
    let shown = shard.board.read();
    let request = match crate::client::play_request(query, false, &shard.settings.channels) {
        Err(refusal) if refusal.code == RefusalCode::MissingId => return Ok(totals(&shown)),
        request => request?,
    };
    let sessions = || shown.iter().flat_map(|shard| &shard.sessions);
    let session = request.sources.iter().find_map(|alias| {
        let number = alias.selector.value();
        let key = shard.directory.find(alias);
        sessions().find(|session| {
            Some(&session.key) == key.as_ref()
                || session.asked_as.value() == number
                || session.infohash == Some(number)
        })
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
