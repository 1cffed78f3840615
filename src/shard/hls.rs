//! Requests of HLS players: over one connection as many as the player likes, one after the other.
//!
//! A playlist or a refusal is answered like any other small request; a segment is sent from the window by the task of its
//! connection, in quanta between which the others run. What the walk is to continuous players, [`run`] is to these: it
//! looks at every stream that is played over HLS ten times a second, publishes what is new, and lets players go that
//! have not asked for anything for a while. Nothing runs while no session is played over HLS.

use super::Shard;
use super::bus::QUANTUM;
use super::lanes::Lanes;
use super::play::{self, Failure, Found, Story, Trail};
use super::serve::{MediaLeft, Next, Sending, Served, answer_and_go_on, hand_to_shard};
use crate::client::hls::{
    Hold, Piece, Reload, Stream, StreamTold, Target, Token, Viewer, ViewerTold, Viewers, target,
};
use crate::client::{Identity, PlayRequest, answer, play_request};
use crate::http::proxied::client_address;
use crate::http::range::{Wanted, wanted};
use crate::http::{Method, RequestHead, write};
use crate::media::hls::Segmenter;
use crate::media::hls::playlist::Kind;
use crate::session::{Phase, Session};
use crate::uring::{Signal, reset};
use crate::window::Sent;
use monoio::time::{sleep, timeout};
use sluice_contract::{Alias, EndReason, Guard, Options, Refusal, RefusalCode, Selector, StreamKey};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
/// Between two looks at all streams: how late a segment or part may be published.
const LOOK: Duration = Duration::from_millis(100);
/// Between two looks for players that have left.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a first playlist is waited for once media flows.
const FIRST_PLAYLIST_WAIT: Duration = Duration::from_secs(30);
/// A reload may ask for what lies so many segments ahead (RFC 8216's successor, 6.2.5.2).
const RELOAD_AHEAD_MAX: u64 = 2;
/// And is answered after so many target durations at the latest.
const RELOAD_TARGETS_MAX: u32 = 3;
/// Unsent bytes a connection that takes a segment may have in the kernel: few wake-ups per megabyte.
const UNSENT_BYTES: u32 = 512 << 10;

/// The HLS side of a shard.
#[derive(Default)]
pub(super) struct Hls {
    /// Streams by the serial of their session.
    streams: RefCell<HashMap<u64, Rc<Stream>>>,
    viewers: RefCell<Viewers<Rc<Stream>>>,
    lanes: Lanes,
    begun: Signal,
}

impl Hls {
    /// Viewers of a session.
    pub(super) fn viewers_of(&self, serial: u64) -> usize {
        self.viewers.borrow().iter().filter(|viewer| viewer.stream.session().serial() == serial).count()
    }

    /// Viewers in all.
    pub(super) fn viewers(&self) -> usize {
        self.viewers.borrow().iter().len()
    }

    /// What is shown of all viewers, with the serials of their sessions.
    pub(super) fn snapshots(&self) -> Vec<(u64, sluice_contract::snapshot::Client)> {
        self.viewers.borrow().iter().map(|viewer| (viewer.stream.session().serial(), show(viewer))).collect()
    }

    /// What all viewers take, bytes per second.
    pub(super) fn demand(&self) -> u64 {
        let rate = |viewer: &Viewer<Rc<Stream>>| viewer.stream.session().feed().rate().unwrap_or(0);
        self.viewers.borrow().iter().map(rate).sum()
    }

    /// A session is over.
    pub(super) fn forget(&self, serial: u64) {
        self.streams.borrow_mut().remove(&serial);
    }

    /// What another process needs of a session's HLS, if it has any.
    pub(super) fn stream_at(&self, serial: u64) -> Option<Rc<Stream>> {
        self.streams.borrow().get(&serial).cloned()
    }

    /// What another process needs of a session's viewers.
    pub(super) fn tell_viewers(&self, serial: u64) -> Vec<ViewerTold> {
        self.viewers.borrow().tell(|stream| stream.session().serial() == serial)
    }

    /// Goes on with the HLS of a session of another process.
    pub(super) fn take_over(
        &self,
        session: &Rc<Session>,
        stream: StreamTold<Segmenter>,
        viewers: Vec<(ViewerTold, Guard)>,
    ) {
        let stream = Stream::going_on(session.clone(), stream);
        self.streams.borrow_mut().insert(session.serial(), stream.clone());
        for (viewer, guard) in viewers {
            self.viewers.borrow_mut().take_over(viewer, stream.clone(), guard);
        }
        self.begun.notify();
    }

    /// The stream of a session, which is made on the first request.
    fn stream_of(&self, session: &Rc<Session>) -> Rc<Stream> {
        let mut streams = self.streams.borrow_mut();
        let stream = streams.entry(session.serial()).or_insert_with(|| Stream::new(session.clone()));
        self.begun.notify();
        stream.clone()
    }
}

fn show(viewer: &Viewer<Rc<Stream>>) -> sluice_contract::snapshot::Client {
    let feed = viewer.stream.session().feed();
    let window = feed.window();
    // Nothing was sent yet: it is as far behind as it can be.
    let cursor = viewer.cursor.max(window.tail());
    sluice_contract::snapshot::Client {
        id: viewer.identity.id,
        address: viewer.identity.address,
        user_agent: viewer.identity.user_agent.clone(),
        connected_at: viewer.identity.connected_at,
        last_active: viewer.last_active,
        bytes_sent: viewer.bytes_sent,
        behind_bytes: window.head().saturating_sub(cursor),
        behind_s: window.access().behind(cursor).as_secs_f64(),
        rate: viewer.rate(),
        skips: 0,
        skipped_bytes: 0,
    }
}

/// Publishes what is new and lets go who has left, for the life of the shard.
pub(super) async fn run(shard: Rc<Shard>) {
    let mut swept = Instant::now();
    loop {
        let seen = shard.hls.begun.count();
        let streams: Vec<Rc<Stream>> = shard.hls.streams.borrow().values().cloned().collect();
        if streams.is_empty() {
            shard.hls.begun.after(seen).await;
            continue;
        }
        let now = Instant::now();
        streams.iter().for_each(|stream| stream.advance(now, SystemTime::now()));
        if now - swept >= SWEEP {
            swept = now;
            shard.hls.viewers.borrow_mut().take_rates(now);
            let idle = shard.settings().hls.idle;
            let gone = shard.hls.viewers.borrow_mut().expire(now, |stream| stream.idle(idle));
            let_go(&shard, gone, EndReason::ClientLeft);
            let viewers = shard.hls.viewers.borrow();
            let watched: Vec<u64> = viewers.iter().map(|viewer| viewer.stream.session().serial()).collect();
            streams
                .iter()
                .for_each(|stream| stream.set_watched(watched.contains(&stream.session().serial())));
        }
        sleep(LOOK).await;
    }
}

/// Ends all viewers of a session.
pub(super) fn end_viewers(shard: &Shard, serial: u64, reason: EndReason) {
    let gone = shard.hls.viewers.borrow_mut().end(|stream| stream.session().serial() == serial);
    let_go(shard, gone, reason);
}

fn let_go(shard: &Shard, gone: Vec<Viewer<Rc<Stream>>>, reason: EndReason) {
    for viewer in gone {
        shard.counters.client_ended(reason);
        let session = viewer.stream.session().clone();
        shard.ended.borrow_mut().remember(session.title(), show(&viewer), reason, Instant::now());
        tracing::debug!(
            stream = %session.key(), client = %viewer.identity.id, address = %viewer.identity.address,
            bytes = viewer.bytes_sent, reason = reason.as_str(), "client ended"
        );
        // Its places are free before the session hears of it, which may end the session.
        drop(viewer);
        session.leave();
        shard.news.notify();
    }
}

/// What became of a request that is not answered yet.
enum Outcome {
    /// The player is told this.
    Answer(Vec<u8>),
    /// Whoever asked went away.
    Left,
    /// Another shard knows.
    Elsewhere(usize),
}

impl Outcome {
    fn refused(shard: &Shard, refusal: &Refusal, head: &RequestHead) -> Self {
        shard.refused(refusal.code);
        Self::Answer(answer(refusal, !head.keep_alive(), head.method == Method::Head))
    }
}

/// Answers a request for a new playlist: the player is sent to one of its own.
pub(super) async fn manifest(
    shard: &Rc<Shard>,
    served: Served,
    head: RequestHead,
    consumed: usize,
) -> Option<Served> {
    let peer = served.client.get();
    served.client.set(address(shard, &served, &head));
    let is_strict = shard.settings().strict_pid;
    let outcome = match play_request(head.query.as_deref(), is_strict) {
        Err(refusal) => Outcome::refused(shard, &refusal, &head),
        Ok(_) if head.method == Method::Head => {
            Outcome::Answer(small(200, &[("Content-Type", PLAYLIST_TYPE)], "", &head))
        }
        Ok(request) => enter(shard, &served, &request, &head).await,
    };
    served.client.set(peer);
    conclude(shard, served, &head, consumed, outcome).await
}

/// Sends a player that asked for a continuous stream to its playlist.
pub(super) async fn redirect(
    shard: &Rc<Shard>,
    served: Served,
    head: RequestHead,
    consumed: usize,
) -> Option<Served> {
    let up = if head.path.ends_with('/') { "../" } else { "" };
    let query = head.query.as_deref().map_or(String::new(), |query| format!("?{query}"));
    let place = format!("{up}manifest.m3u8{query}");
    let outcome = Outcome::Answer(small(302, &[("Location", &place)], "", &head));
    conclude(shard, served, &head, consumed, outcome).await
}

/// Joins the stream and makes a viewer of the player.
async fn enter(shard: &Rc<Shard>, served: &Served, request: &PlayRequest, head: &RequestHead) -> Outcome {
    let room = shard.hls.viewers.borrow().has_room(served.client.get());
    if let Err(refusal) = room {
        return Outcome::refused(shard, &refusal, head);
    }
    let (asked, asked_as) = (Instant::now(), request.asked_as());
    let story = |trail| Story { asked, asked_as, trail };
    let trail = Trail::default();
    // What finding it needs is not kept by those who then wait for a first playlist.
    let found = Box::pin(play::find(shard, served, request, &trail)).await;
    let (session, guard) = match found {
        Ok(Found::Here { session, guard, .. }) => (session, guard),
        Ok(Found::Elsewhere(owner)) => return Outcome::Elsewhere(owner),
        Err(Failure::Left) => {
            shard.counters.client_ended(EndReason::ClientLeft);
            story(trail).told(shard, None, Err(EndReason::ClientLeft.as_str()));
            return Outcome::Left;
        }
        Err(failure) => {
            let refusal = match failure {
                Failure::Refused(refusal) => refusal,
                Failure::Left | Failure::Merged => play::keeps_moving(),
            };
            story(trail).told(shard, None, Err(refusal.code.as_str()));
            return Outcome::refused(shard, &refusal, head);
        }
    };
    let membership = Joined(Some(session.clone()));
    let stream = shard.hls.stream_of(&session);
    match play::until_left(served, Box::pin(first_playlist(shard, &stream))).await {
        Some(Ok(())) => {}
        Some(Err(refusal)) => {
            story(trail).told(shard, None, Err(refusal.code.as_str()));
            return Outcome::refused(shard, &refusal, head);
        }
        None => {
            shard.counters.client_ended(EndReason::ClientLeft);
            story(trail).told(shard, None, Err(EndReason::ClientLeft.as_str()));
            return Outcome::Left;
        }
    }
    let identity = play::identity(served.client.get(), head);
    // Its first byte is that of the playlist's address, which goes out now.
    story(trail).told(shard, Some((identity.id, session.key().clone())), Ok(Instant::now()));
    let token = admit(shard, &stream, identity, guard);
    membership.keep();
    let up = if head.path.ends_with('/') { "../" } else { "" };
    let file = if asks_for_low_latency(head) { "low.m3u8" } else { "index.m3u8" };
    let place = format!("{up}hls/{}/{token}/{file}", name_of(session.key()));
    Outcome::Answer(small(302, &[("Location", &place), ("Content-Type", PLAYLIST_TYPE)], "", head))
}

/// Ends a membership on every path that does not make a viewer of it.
struct Joined(Option<Rc<Session>>);

impl Joined {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            session.leave();
        }
    }
}

fn admit(shard: &Rc<Shard>, stream: &Rc<Stream>, identity: Identity, guard: Guard) -> Token {
    let token = Token::new(shard.id.0, uuid::Uuid::new_v4().as_u128());
    tracing::debug!(
        stream = %stream.session().key(), client = %identity.id, address = %identity.address, "client joined over HLS"
    );
    stream.set_watched(true);
    shard.hls.viewers.borrow_mut().admit(token, identity, stream.clone(), guard, Instant::now());
    shard.counters.clients_started.add(1);
    shard.news.notify();
    token
}

async fn first_playlist(shard: &Shard, stream: &Rc<Stream>) -> Result<(), Refusal> {
    let deadline = Instant::now() + FIRST_PLAYLIST_WAIT.min(shard.settings().timeouts.start_max);
    stream.advance(Instant::now(), SystemTime::now());
    loop {
        let seen = stream.changed().count();
        if stream.session().phase() == Phase::Ending {
            let detail = "the session is ending, retry shortly";
            return Err(Refusal::new(RefusalCode::SessionEnding, detail).retry_after(1));
        }
        if stream.is_ready() {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let detail = "no segment was complete in time";
            return Err(Refusal::new(RefusalCode::StartTimeout, detail).retry_after(5));
        }
        // A session that ends says nothing here: look now and then.
        let _ = timeout(left.min(Duration::from_millis(500)), stream.changed().after(seen)).await;
    }
}

/// Answers a request for anything below `/ace/hls/`.
pub(super) async fn resource(shard: &Rc<Shard>, served: Served, head: RequestHead, consumed: usize) -> Next {
    let outcome = match target(&head.path) {
        None => Outcome::refused(shard, &Refusal::new(RefusalCode::NotFound, "no such route"), &head),
        Some(Target::Playlist { stream, token, kind }) => match viewed(shard, token, stream) {
            Ok(Viewed::Here(stream)) => reload(shard, &served, &stream, kind, &head).await,
            Ok(Viewed::Elsewhere(owner)) => Outcome::Elsewhere(owner),
            Err(refusal) => Outcome::refused(shard, &refusal, &head),
        },
        Some(Target::Media { stream, token, sequence, part }) => match viewed(shard, token, stream) {
            Ok(Viewed::Here(stream)) => match await_piece(&served, &stream, sequence, part).await {
                Some(Ok(piece)) => return send(shard, served, &head, consumed, (token, stream, piece)).await,
                Some(Err(refusal)) => Outcome::refused(shard, &refusal, &head),
                None => Outcome::Left,
            },
            Ok(Viewed::Elsewhere(owner)) => Outcome::Elsewhere(owner),
            Err(refusal) => Outcome::refused(shard, &refusal, &head),
        },
        Some(Target::Bare { stream, sequence }) => match bare(shard, &served, &head, stream, sequence) {
            Ok(Bare::Here(token, stream, piece)) => {
                return send(shard, served, &head, consumed, (token, stream, piece)).await;
            }
            Ok(Bare::Elsewhere(owner)) => Outcome::Elsewhere(owner),
            Err(refusal) => Outcome::refused(shard, &refusal, &head),
        },
    };
    conclude(shard, served, &head, consumed, outcome).await.into()
}

enum Viewed {
    Here(Rc<Stream>),
    Elsewhere(usize),
}

/// The stream a token plays, if it is the one its address names.
fn viewed(shard: &Shard, token: Token, name: sluice_contract::Hex40) -> Result<Viewed, Refusal> {
    if token.shard() != shard.id.0 {
        let owner = usize::from(token.shard());
        return if owner < shard.shards.len() { Ok(Viewed::Elsewhere(owner)) } else { Err(unknown()) };
    }
    let mut viewers = shard.hls.viewers.borrow_mut();
    let viewer = viewers.touch(token, Instant::now()).ok_or_else(unknown)?;
    if name_of(viewer.stream.session().key()) != name {
        return Err(unknown());
    }
    Ok(Viewed::Here(viewer.stream.clone()))
}

fn unknown() -> Refusal {
    Refusal::new(RefusalCode::NotFound, "nobody plays under this address any more, ask for a new playlist")
}

fn not_kept() -> Refusal {
    Refusal::new(RefusalCode::NotFound, "no such segment: it is not there yet or not kept any more")
}

/// The number in a stream's addresses.
fn name_of(key: &StreamKey) -> sluice_contract::Hex40 {
    key.number()
}

async fn reload(
    shard: &Shard,
    served: &Served,
    stream: &Rc<Stream>,
    kind: Kind,
    head: &RequestHead,
) -> Outcome {
    match Reload::from_query(head.query.as_deref()) {
        Err(refusal) => return Outcome::refused(shard, &refusal, head),
        Ok(Some(reload)) if reload.sequence > stream.next_sequence() + RELOAD_AHEAD_MAX => {
            let detail = format!("segment {} is too far ahead", reload.sequence);
            return Outcome::refused(shard, &Refusal::new(RefusalCode::BadRequest, detail), head);
        }
        Ok(Some(reload)) if head.method == Method::Get => {
            match play::until_left(served, Box::pin(published(stream, reload.sequence, reload.part))).await {
                Some(true) => {}
                Some(false) => {
                    let detail = "the stream has not gone on, retry shortly";
                    let refusal = Refusal::new(RefusalCode::StartTimeout, detail).retry_after(1);
                    return Outcome::refused(shard, &refusal, head);
                }
                None => return Outcome::Left,
            }
        }
        Ok(_) => {}
    }
    shard.counters.hls_playlists.add(1);
    Outcome::Answer(small(200, &[("Content-Type", PLAYLIST_TYPE)], &stream.playlist(kind), head))
}

/// Waits until something is published; whether it was in time.
async fn published(stream: &Rc<Stream>, sequence: u64, part: Option<usize>) -> bool {
    let deadline = Instant::now() + stream.target() * RELOAD_TARGETS_MAX;
    loop {
        let seen = stream.changed().count();
        if stream.is_there(sequence, part) {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || timeout(left, stream.changed().after(seen)).await.is_err() {
            return stream.is_there(sequence, part);
        }
    }
}

/// A segment or part; one that a playlist announces is waited for. `None` when the player left meanwhile.
async fn await_piece(
    served: &Served,
    stream: &Rc<Stream>,
    sequence: u64,
    part: Option<usize>,
) -> Option<Result<Piece, Refusal>> {
    if let Some(part) = part.filter(|part| stream.is_next(sequence, *part)) {
        play::until_left(served, Box::pin(published(stream, sequence, Some(part)))).await?;
    }
    Some(stream.piece(sequence, part).ok_or_else(not_kept))
}

enum Bare {
    Here(Token, Rc<Stream>, Piece),
    Elsewhere(usize),
}

/// A segment of a stream that plays, for somebody without a token: known by address and program.
fn bare(
    shard: &Rc<Shard>,
    served: &Served,
    head: &RequestHead,
    name: sluice_contract::Hex40,
    sequence: u64,
) -> Result<Bare, Refusal> {
    let alias = Alias { selector: Selector::ContentId(name), options: Options::default() };
    let other = Alias { selector: Selector::Infohash(name), options: Options::default() };
    let key = shard.directory.find(&alias).or_else(|| shard.directory.find(&other)).ok_or_else(not_kept)?;
    let owner = key.owner(shard.shard_count());
    if owner != shard.id {
        return Ok(Bare::Elsewhere(usize::from(owner.0)));
    }
    let session = shard.sessions.borrow().get(&key).cloned();
    let session = session.filter(|session| session.phase() != Phase::Ending).ok_or_else(not_kept)?;
    let stream = shard.hls.streams.borrow().get(&session.serial()).cloned().ok_or_else(not_kept)?;
    let piece = stream.piece(sequence, None).ok_or_else(not_kept)?;
    let address = address(shard, served, head);
    let identity = play::identity(address, head);
    let is_same = |known: &Rc<Stream>| known.session().serial() == session.serial();
    let known = shard.hls.viewers.borrow().alike(&identity, is_same);
    let token = match known {
        Some(token) => token,
        None => {
            shard.hls.viewers.borrow().has_room(address)?;
            let guard = shard.admission.client(address, Instant::now())?;
            play::check_stream_limit(shard, &session)?;
            session.join();
            admit(shard, &stream, identity, guard)
        }
    };
    shard.hls.viewers.borrow_mut().touch(token, Instant::now());
    Ok(Bare::Here(token, stream, piece))
}

/// Begins the answer with a piece, all of it or the range that was asked for.
async fn send(
    shard: &Rc<Shard>,
    served: Served,
    head: &RequestHead,
    consumed: usize,
    (token, stream, piece): (Token, Rc<Stream>, Piece),
) -> Next {
    let length = piece.length();
    let (status, range) = match wanted(head.header("range"), length) {
        Wanted::Whole => (200, 0..length),
        Wanted::Part(range) => (206, range),
        Wanted::Unsatisfiable => {
            let refusal =
                Refusal::new(RefusalCode::RangeNotSatisfiable, format!("the segment has {length} bytes"));
            let outcome = Outcome::refused(shard, &refusal, head);
            return conclude(shard, served, head, consumed, outcome).await.into();
        }
    };
    let count = (range.end - range.start).to_string();
    let place = format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1));
    let lifetime = format!("max-age={}", piece.lifetime.as_secs());
    let mut fields = vec![
        ("Content-Type", "video/mp2t"),
        ("Content-Length", &*count),
        ("Cache-Control", &lifetime),
        ("Accept-Ranges", "bytes"),
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Expose-Headers", "Content-Length, Content-Range"),
    ];
    if status == 206 {
        fields.push(("Content-Range", &place));
    }
    let mut prefix = write::answer_head(status, &fields, !head.keep_alive());
    if head.method == Method::Head {
        return answer_and_go_on(served, head, consumed, |_| prefix).await.into();
    }
    let opening = piece.opening.len() as u64;
    prefix.extend_from_slice(
        &piece.opening[range.start.min(opening) as usize..range.end.min(opening) as usize],
    );
    let media = |at: u64| piece.start + at.saturating_sub(opening);
    let hold = stream.hold(piece.start, Instant::now());
    let media = MediaLeft { token, cursor: media(range.start), end: media(range.end) };
    let closes = !head.keep_alive();
    *served.sending.borrow_mut() = Some(Sending { rest: prefix, media: Some(media), consumed, closes });
    shard.counters.hls_segments.add(1);
    Next::Send(served, Delivery { token, stream, hold, stays: !closes, consumed })
}

/// An answer that is sent from the window, where [`Line::sending`](super::serve::Line) says. It is all that is kept of its
/// request while it is on its way, which is most of the time for a player on a slow line.
pub(super) struct Delivery {
    token: Token,
    stream: Rc<Stream>,
    hold: Hold,
    /// Whether the connection serves further requests.
    stays: bool,
    /// Bytes of the request.
    consumed: usize,
}

/// Goes on with a piece that another process has begun to send.
pub(super) async fn go_on(
    shard: &Rc<Shard>,
    served: Served,
    media: MediaLeft,
    (consumed, stays): (usize, bool),
) -> Option<Served> {
    let known = shard.hls.viewers.borrow_mut().touch(media.token, Instant::now()).map(|it| it.stream.clone());
    let Some(stream) = known else {
        // Its player is gone, and nobody says what its media was.
        reset(served.into_socket().0);
        return None;
    };
    let hold = stream.hold(media.cursor, Instant::now());
    deliver(shard, served, Delivery { token: media.token, stream, hold, stays, consumed }).await
}

/// Sends it; the connection comes back if it stays.
pub(super) async fn deliver(shard: &Rc<Shard>, served: Served, delivery: Delivery) -> Option<Served> {
    let Delivery { token, stream, hold, stays, consumed } = delivery;
    let _ = crate::uring::set_buffered_bytes_max(served.socket.as_fd(), UNSENT_BYTES);
    let transfer = Transfer { shard, token, stream: &stream };
    if let Err(fault) = transfer.run(&served).await {
        tracing::debug!(stream = %stream.session().key(), %fault, "a segment was not sent to its end");
        shard.counters.hls_cut.add(1);
        reset(served.into_socket().0);
        return None;
    }
    drop(hold);
    if !stays {
        served.close_after(Vec::new()).await;
        return None;
    }
    served.consume(consumed);
    Some(served)
}

/// One segment on its way.
struct Transfer<'a> {
    shard: &'a Rc<Shard>,
    token: Token,
    stream: &'a Rc<Stream>,
}

impl Transfer<'_> {
    /// Whenever this waits, what is left stands in its place.
    async fn run(&self, served: &Served) -> io::Result<()> {
        loop {
            let rest = served.sending.borrow().as_ref().map_or(0, |sending| sending.rest.len());
            if rest == 0 {
                break;
            }
            match timeout(self.write_timeout(), served.send_rest()).await {
                Ok(outcome) => outcome?,
                // What it took meanwhile counts.
                Err(_) if served.sending.borrow().as_ref().is_some_and(|it| it.rest.len() < rest) => {}
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        loop {
            let left = served.sending.borrow().as_ref().and_then(|sending| sending.media);
            let Some(MediaLeft { cursor, end, .. }) = left.filter(|left| left.cursor < left.end) else {
                return Ok(());
            };
            let lane = self.shard.hls.lanes.enter().await;
            let sent = {
                let feed = self.stream.session().feed();
                feed.window().send_kept(served.socket.as_fd(), cursor, QUANTUM.min(end - cursor))?
            };
            match sent {
                Sent::Bytes(count) if count > 0 => {
                    let cursor = cursor + count;
                    if let Some(left) = served.sending.borrow_mut().as_mut().and_then(|it| it.media.as_mut())
                    {
                        left.cursor = cursor;
                    }
                    self.delivered(cursor, count);
                    self.shard.turns.park_once().await;
                }
                Sent::Blocked => {
                    drop(lane);
                    self.writable(served).await?;
                }
                // The range is in the window or was released: it is never padded.
                Sent::Behind | Sent::Overrun | Sent::AtHead | Sent::Bytes(_) => {
                    return Err(io::Error::other("its media was released"));
                }
            }
        }
    }

    fn write_timeout(&self) -> Duration {
        self.shard.settings().timeouts.write
    }

    async fn writable(&self, served: &Served) -> io::Result<()> {
        // A timer takes most of a kilobyte: only those who wait have one.
        match Box::pin(timeout(self.write_timeout(), served.socket.writable())).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn delivered(&self, cursor: u64, count: u64) {
        self.shard.counters.bytes_out.add(count);
        if let Some(viewer) = self.shard.hls.viewers.borrow_mut().touch(self.token, Instant::now()) {
            viewer.bytes_sent += count;
            viewer.cursor = viewer.cursor.max(cursor);
        }
    }
}

/// The player's address behind trusted proxies, judged anew for each request.
fn address(shard: &Shard, served: &Served, head: &RequestHead) -> std::net::IpAddr {
    let forwarded = head.headers_named("x-forwarded-for");
    client_address(served.client.get(), forwarded, &shard.settings().listen.trusted_proxies)
}

fn asks_for_low_latency(head: &RequestHead) -> bool {
    let pairs = crate::http::query::pairs(head.query.as_deref().unwrap_or_default());
    pairs.into_iter().any(|(name, value)| name == "low_latency" && matches!(&*value, "1" | "true" | "yes"))
}

/// A small answer that nobody may keep.
fn small(status: u16, extra: &[write::Field<'_>], body: &str, head: &RequestHead) -> Vec<u8> {
    let length = body.len().to_string();
    let mut fields = extra.to_vec();
    // A head stands for the answer to a request that would begin something: it has no length to tell.
    if head.method == Method::Get || !body.is_empty() {
        fields.push(("Content-Length", &length));
    }
    fields.extend([("Cache-Control", "no-store"), ("Access-Control-Allow-Origin", "*")]);
    let mut answer = write::answer_head(status, &fields, !head.keep_alive());
    if head.method == Method::Get {
        answer.extend_from_slice(body.as_bytes());
    }
    answer
}

async fn conclude(
    shard: &Rc<Shard>,
    served: Served,
    head: &RequestHead,
    consumed: usize,
    outcome: Outcome,
) -> Option<Served> {
    match outcome {
        Outcome::Answer(bytes) => answer_and_go_on(served, head, consumed, |_| bytes).await,
        Outcome::Left => {
            served.finish();
            None
        }
        Outcome::Elsewhere(owner) => {
            hand_to_shard(shard, owner, served).await;
            None
        }
    }
}
