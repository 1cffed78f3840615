//! One engine session as a task: start, read, report, stop. Content that an engine gives only as a playlist is started a
//! second time, as one, after the first engine session was stopped.
//!
//! The task reports to its session and is told only one thing: to close. Whatever happens, it ends by stopping the
//! engine session exactly once if there is one, and by reporting that it closed. It holds no borrow of the session
//! across a wait.

use super::buffers::{Buffer, READ_BYTES};
use super::machine::{Ask, Event, SourceFault, SourceId};
use super::{Session, Timing};
use crate::engine::{self, Came, Endpoint, Error, Form, Media, Started};
use crate::media::ts::{Aligner, SYNC, Verdict};
use crate::uring::Socket;
use futures_util::future::{Either, select};
use monoio::time::sleep;
use serde::{Deserialize, Serialize};
use sluice_contract::snapshot::SessionEngine;
use sluice_contract::{EngineFault, Lease, Refusal, RefusalCode, Selector};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Reads that took all there was, in a row, before the others of the shard get their turn for sure.
const UNPARKED_MAX: u32 = 8;
/// Bytes out of sync after which a source is given up.
const UNSYNCED_BYTES_MAX: u64 = 4 << 20;
/// How often an engine is asked for its figures.
const STAT_INTERVAL: Duration = Duration::from_secs(1);
/// Sessions of a shard whose figures are asked for in each of those; with more of them, those that play well take turns.
const STATS_AT_ONCE: usize = 100;
/// How often the reader looks whether a full window has drained.
const FULL_WAIT: Duration = Duration::from_millis(20);

/// Tells a source to close, once, and shows how far its reading has come.
#[derive(Default)]
pub(super) struct Closing {
    asked: Cell<bool>,
    signal: crate::uring::Signal,
    /// What the engine answered to the start.
    started: RefCell<Option<Started>>,
    /// What is being read, while the task waits; the task has it while it works.
    reader: RefCell<Option<Reader>>,
}

/// A source as another process is told of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    started: Started,
    /// `None` when its media has to be asked for anew, on the same engine session.
    reading: Option<Reading>,
}

impl State {
    /// Whether a connection comes with it.
    pub(super) fn has_connection(&self) -> bool {
        self.reading.is_some()
    }
}

/// What has been read and not been taken, and where reading stands.
#[derive(Debug, Serialize, Deserialize)]
struct Reading {
    body: engine::BodyState,
    rest: Vec<u8>,
    aligner: Aligner,
}

/// Media being read: the connection, and what is left of the last read.
struct Reader {
    media: Media,
    rest: Vec<u8>,
    aligner: Aligner,
}

impl Reader {
    fn new(media: Media) -> Self {
        Self { media, rest: Vec::new(), aligner: Aligner::default() }
    }
}

impl Closing {
    pub(super) fn ask(&self) {
        self.asked.set(true);
        self.signal.notify();
    }

    /// Whether the last read took all there was, so that the next one begins with a wait.
    fn is_drained(&self) -> bool {
        let reader = self.reader.borrow();
        matches!(reader.as_ref(), Some(Reader { media: Media::Progressive(body), .. }) if body.is_drained())
    }

    fn is_asked(&self) -> bool {
        self.asked.get()
    }

    /// What another process needs to go on with this source, and its connection; a playlist's connections are its own
    /// business. `None` while there is nothing to go on with.
    pub(super) fn state(&self) -> Option<(State, Option<Rc<Socket>>)> {
        let started = self.started.borrow().clone()?;
        let reader = self.reader.borrow();
        Some(match reader.as_ref() {
            Some(Reader { media: Media::Progressive(body), rest, aligner }) => {
                let reading = Reading { body: body.state(), rest: rest.clone(), aligner: aligner.clone() };
                (State { started, reading: Some(reading) }, Some(body.socket()))
            }
            _ => (State { started, reading: None }, None),
        })
    }

    /// Waits until closing is asked for. Cancel safe.
    async fn asked(&self) {
        while !self.asked.get() {
            self.signal.after(self.signal.count()).await;
        }
    }
}

/// What a source is opened with.
pub(super) struct Order {
    pub id: SourceId,
    pub lease: Lease,
    /// What is asked for, and in which of two ways.
    pub selector: Selector,
    pub ask: Ask,
    pub closing: Rc<Closing>,
}

/// Runs a source from its opening to its end, and reports `Closed`.
pub(super) async fn run(session: Rc<Session>, order: Order) {
    let endpoint = endpoint_of(&session, &order);
    // Boxed, like whatever else is awaited for a moment only: the task is kept for as long as the broadcast goes on.
    if let Some(started) = Box::pin(open(&session, &order, &endpoint)).await {
        play(&session, &order, &endpoint, &started).await;
        order.closing.asked().await;
        Box::pin(stop(&session, &endpoint, &started)).await;
    }
    session.handle(Event::Closed(order.id));
}

/// Goes on with a source of another process, to its end.
pub(super) async fn go_on(session: Rc<Session>, order: Order) {
    let endpoint = endpoint_of(&session, &order);
    let started = order.closing.started.borrow().clone();
    if let Some(started) = started {
        play(&session, &order, &endpoint, &started).await;
        order.closing.asked().await;
        Box::pin(stop(&session, &endpoint, &started)).await;
    }
    session.handle(Event::Closed(order.id));
}

/// Where a source of another process stands, to be gone on with.
///
/// # Errors
/// When descriptors are short, or its connection was not handed over.
pub(super) fn going_on(state: State, connection: Option<OwnedFd>) -> io::Result<Rc<Closing>> {
    let closing = Closing::default();
    if let Some(Reading { body, rest, aligner }) = state.reading {
        let connection = connection.ok_or_else(|| io::Error::other("the engine's connection is missing"))?;
        let mut reader = Reader::new(Media::Progressive(engine::Body::going_on(connection, body)?));
        if rest.len() >= READ_BYTES {
            return Err(io::Error::other("more is left of a read than one brings"));
        }
        (reader.rest, reader.aligner) = (rest, aligner);
        *closing.reader.borrow_mut() = Some(reader);
    }
    *closing.started.borrow_mut() = Some(state.started);
    Ok(Rc::new(closing))
}

fn endpoint_of(session: &Session, order: &Order) -> Endpoint {
    Endpoint {
        address: order.lease.address,
        authority: order.lease.authority.clone(),
        user_agent: session.timing().user_agent.clone(),
    }
}

async fn stop(session: &Session, endpoint: &Endpoint, started: &Started) {
    if let Err(error) = engine::stop(endpoint, started).await {
        tracing::debug!(engine = %endpoint.authority, %error, "the engine did not confirm a stop");
    }
    session.host().counters().engine_stops.add(1);
}

/// Starts the engine session. `None` when there is none to stop.
async fn open(session: &Rc<Session>, order: &Order, endpoint: &Endpoint) -> Option<Started> {
    let mut answer = start(session, order, endpoint).await;
    if let Ok(started) = &answer
        && started.is_encrypted
        && session.form() == Form::Progressive
    {
        tracing::info!(stream = %session.key(), "encrypted: the engine gives it as a playlist only");
        session.set_form(Form::Playlist);
        // An engine has one session per broadcast: the second would end the first in its own way.
        stop(session, endpoint, started).await;
        if order.closing.is_asked() {
            return None;
        }
        answer = start(session, order, endpoint).await;
    }
    match answer {
        Ok(started) => {
            session.engine_opened(order, endpoint, &started);
            session.handle(Event::Opened(order.id));
            *order.closing.started.borrow_mut() = Some(started.clone());
            Some(started)
        }
        Err(error) => {
            let unknown = matches!(error, Error::Unknown(_));
            let fault = describe(&error);
            let event =
                if unknown { Event::Unknown(order.id, fault) } else { Event::Failed(order.id, fault) };
            tracing::debug!(engine = %endpoint.authority, %error, "start failed");
            session.handle(event);
            order.closing.asked().await;
            None
        }
    }
}

async fn start(session: &Session, order: &Order, endpoint: &Endpoint) -> Result<Started, Error> {
    let timing = session.timing();
    session.host().counters().engine_starts.add(1);
    // From here on the request may have reached the engine, so it is seen to its end even when nobody wants it any
    // more: only its answer tells how to stop what it opened.
    let ask = (order.ask.selector(order.selector), session.form());
    let pid = uuid::Uuid::new_v4().to_string();
    engine::start(endpoint, ask, &session.key().options, &pid, timing.start, timing.no_response).await
}

/// Reads the media until it ends, fails, or closing is asked for; polls the engine's figures meanwhile.
async fn play(session: &Rc<Session>, order: &Order, endpoint: &Endpoint, started: &Started) {
    let watch = Watch { last_progress: Cell::new(Instant::now()), flowing: Cell::new(false) };
    let media = async {
        let fault = match read(session, order, endpoint, started, &watch).await {
            Ok(never) => match never {},
            Err(fault) => fault,
        };
        session.handle(Event::Failed(order.id, fault));
    };
    let side = async {
        match &started.stat {
            Some(path) => poll_stat(session, order, endpoint, path, &watch).await,
            None => std::future::pending().await,
        }
    };
    let (media, side) = (pin!(media), pin!(side));
    let _ = select(select(media, side), pin!(order.closing.asked())).await;
    // The connection ends before the engine session is stopped.
    *order.closing.reader.borrow_mut() = None;
}

/// What the reader and the poller of one source tell each other.
struct Watch {
    last_progress: Cell<Instant>,
    flowing: Cell<bool>,
}

enum Never {}

async fn read(
    session: &Rc<Session>,
    order: &Order,
    endpoint: &Endpoint,
    started: &Started,
    watch: &Watch,
) -> Result<Never, SourceFault> {
    let timing = session.timing().clone();
    let begun = Instant::now();
    let mut unparked = 0;
    if order.closing.reader.borrow().is_some() {
        // Another process has read so far.
        watch.flowing.set(true);
    } else {
        let media = {
            let opening = Box::pin(Media::open(endpoint, started, begun + timing.start_max));
            match select(opening, pin!(no_progress(watch, begun, &timing))).await {
                Either::Left((media, _)) => media.map_err(|error| describe(&error))?,
                Either::Right((waited, _)) => return Err(describe(&Error::NoMedia(waited))),
            }
        };
        watch.last_progress.set(Instant::now());
        session.handle(Event::Pauses(order.id, media.pause()));
        session.media_begins(order.id);
        *order.closing.reader.borrow_mut() = Some(Reader::new(media));
    }
    loop {
        while session.holds_up(order.id) {
            sleep(FULL_WAIT).await;
        }
        let came = if watch.flowing.get() {
            next(session, order).await
        } else {
            match select(pin!(next(session, order)), pin!(no_progress(watch, begun, &timing))).await {
                Either::Left((came, _)) => came,
                Either::Right((waited, _)) => Err(Error::NoMedia(waited)),
            }
        };
        take(session, order, watch, came)?;
        // A burst keeps the socket readable for seconds: the others of this shard get their turn after every read that
        // left something. One that did not is followed by a wait, which is a turn; but a peer that writes as fast as it is
        // read makes that wait short.
        unparked += 1;
        if unparked == UNPARKED_MAX || !order.closing.is_drained() {
            unparked = 0;
            session.host().turns().park_once().await;
        }
    }
}

/// Waits for what comes next, which lies in the buffer behind room for what is left of the last read.
///
/// While it waits for a body, everything that is known of it is in its place and nothing is under way: whoever hands the
/// source over may look at any moment. A playlist's reading is its own: it is begun anew by whoever goes on.
async fn next(session: &Session, order: &Order) -> Result<(Came, Option<Buffer>), Error> {
    let mut waits = order.closing.is_drained();
    loop {
        let mut taken = order.closing.reader.borrow_mut().take();
        let Some(Reader { media, rest, .. }) = taken.as_mut() else { return Ok((Came::End, None)) };
        let (came, socket) = match media {
            Media::Progressive(body) if waits => (None, Some(body.socket())),
            Media::Progressive(body) => {
                session.looks(order.id);
                let mut buffer = session.host().buffers().lend();
                match body.try_read(&mut buffer.bytes[rest.len()..]) {
                    Ok(None) => (None, Some(body.socket())),
                    Ok(Some(0)) => (Some(Ok((Came::End, None))), None),
                    Ok(Some(count)) => {
                        (Some(Ok((Came::Bytes { count, continues: true }, Some(buffer)))), None)
                    }
                    Err(error) => (Some(Err(error)), None),
                }
            }
            segmented => {
                let mut buffer = session.host().buffers().lend();
                let came = Box::pin(segmented.read(&mut buffer.bytes[rest.len()..])).await;
                (Some(came.map(|came| (came, Some(buffer)))), None)
            }
        };
        *order.closing.reader.borrow_mut() = taken;
        match (came, socket) {
            (Some(came), _) => return came,
            (None, Some(socket)) => match session.rest_of(order.id, &socket) {
                Some(longest) => session.rest.until_called(longest).await,
                None => socket.readable().await?,
            },
            (None, None) => {}
        }
        waits = false;
    }
}

/// Takes what came: packets go to the session, the rest stays for the next time.
fn take(
    session: &Rc<Session>,
    order: &Order,
    watch: &Watch,
    came: Result<(Came, Option<Buffer>), Error>,
) -> Result<(), SourceFault> {
    let mut place = order.closing.reader.borrow_mut();
    let Some(Reader { rest, aligner, .. }) = place.as_mut() else { return Err(end_of_stream()) };
    let (mut read, ended) = match came {
        Ok((Came::Bytes { count, continues }, Some(buffer))) => (Some((buffer, count, continues)), None),
        Ok((Came::Missed(count), _)) => {
            session.host().counters().segments_missed.add(count);
            return Ok(());
        }
        Ok(_) => (None, Some(None)),
        Err(error) => (None, Some(Some(error))),
    };
    let (count, is_read) = read.as_ref().map_or((0, false), |(_, count, _)| (*count, true));
    let bytes = match &mut read {
        Some((buffer, count, true)) => {
            buffer.bytes[..rest.len()].copy_from_slice(rest);
            &buffer.bytes[..rest.len() + *count]
        }
        // What is left of a packet has no other half any more.
        Some((buffer, count, false)) => {
            *aligner = Aligner::default();
            session.media_begins(order.id);
            &buffer.bytes[rest.len()..][..*count]
        }
        None => &rest[..],
    };
    session.received(order.id, count as u64);
    let mut start = 0;
    loop {
        let left = &bytes[start..];
        let found = if ended.is_some() { aligner.finish(left) } else { aligner.push(left) };
        let packets = &left[found.packets];
        if !packets.is_empty() {
            watch.flowing.set(true);
            session.media(order.id, packets).map_err(|error| local_fault(&error))?;
        }
        start += found.consumed;
        if found.consumed == 0 || ended.is_some() {
            break;
        }
    }
    if is_read {
        *rest = bytes[start..].to_vec();
    }
    if let Verdict::NotTs { prefix } = aligner.verdict() {
        // A body that broke off before it could be judged failed for the reason it broke off, unless it says why.
        let says_nothing = prefix.first().is_none_or(|first| *first == SYNC);
        return Err(match &ended {
            Some(Some(error)) if says_nothing => describe(error),
            Some(None) if says_nothing => end_of_stream(),
            _ => not_ts(prefix),
        });
    }
    if aligner.unsynced_bytes() > UNSYNCED_BYTES_MAX {
        return Err(not_ts(&[]));
    }
    session.garbage(order.id, aligner.skipped_bytes());
    match ended {
        None => Ok(()),
        Some(None) => Err(end_of_stream()),
        Some(Some(error)) => Err(describe(&error)),
    }
}

/// Ends when the start has made no progress for too long, or took too long altogether.
async fn no_progress(watch: &Watch, begun: Instant, timing: &Timing) -> Duration {
    loop {
        let now = Instant::now();
        let deadline = (watch.last_progress.get() + timing.start).min(begun + timing.start_max);
        if now >= deadline {
            return now - begun;
        }
        sleep(deadline - now).await;
    }
}

async fn poll_stat(
    session: &Rc<Session>,
    order: &Order,
    endpoint: &Endpoint,
    path: &Arc<str>,
    watch: &Watch,
) {
    let mut last = None;
    let mut waited = 0;
    loop {
        sleep(STAT_INTERVAL).await;
        waited += 1;
        // What the figures of a source say that brings nothing decides how long it is borne: it does not wait its turn.
        if waited < session.host().sessions().div_ceil(STATS_AT_ONCE) && session.is_lively(order.id) {
            continue;
        }
        waited = 0;
        match Box::pin(engine::fetch_stat(endpoint, path)).await {
            Ok(stat) => {
                session.handle(Event::Answered(order.id));
                let progress = engine::progress(&stat);
                if last.replace(progress).is_some_and(|last| last != progress) {
                    watch.last_progress.set(Instant::now());
                    session.handle(Event::Progress(order.id));
                }
                session.figures(order.id, stat);
            }
            // Figures that fail say nothing about a body that flows.
            Err(error) => tracing::debug!(engine = %endpoint.authority, %error, "no figures"),
        }
    }
}

/// What the REST surface shows of the engine side.
pub(super) fn describe_engine(lease: &Lease, endpoint: &Endpoint, started: &Started) -> SessionEngine {
    let url = |path: &Option<Arc<str>>| {
        path.as_ref().map(|path| Arc::from(format!("http://{}{path}", endpoint.authority)))
    };
    SessionEngine {
        id: lease.engine.clone(),
        authority: lease.authority.clone(),
        playback_session_id: started.playback_session_id.clone(),
        stat_url: url(&started.stat),
        command_url: url(&started.command),
        is_live: started.is_live,
        is_encrypted: started.is_encrypted,
    }
}

fn end_of_stream() -> SourceFault {
    let refusal = Refusal::new(RefusalCode::EngineError, "the engine ended the stream").retry_after(2);
    SourceFault { fault: EngineFault::EndOfStream, refusal, elsewhere: true }
}

fn not_ts(prefix: &[u8]) -> SourceFault {
    let text = engine::clip(&String::from_utf8_lossy(prefix));
    let detail = format!("the engine sent something that is not MPEG-TS: {text:?}");
    let refusal = Refusal::new(RefusalCode::NotMpegTs, detail).retry_after(10);
    SourceFault { fault: EngineFault::NotMpegTs, refusal, elsewhere: true }
}

fn local_fault(error: &io::Error) -> SourceFault {
    let refusal = Refusal::new(RefusalCode::Memory, format!("cannot keep media: {error}")).retry_after(10);
    SourceFault { fault: EngineFault::Error, refusal, elsewhere: false }
}

/// What an engine error means for players and for the engine's standing.
fn describe(error: &Error) -> SourceFault {
    use EngineFault as Fault;
    use RefusalCode as Code;
    let (fault, code, elsewhere, retry) = match error {
        Error::Connect { .. } | Error::NoAnswer => {
            (Fault::Unreachable, Code::EngineUnreachable, true, Some(5))
        }
        Error::Hung(_) | Error::Timeout(_) => (Fault::Hung, Code::EngineUnreachable, true, Some(10)),
        Error::NoMedia(_) => (Fault::Silent, Code::StartTimeout, false, Some(10)),
        Error::Unknown(_) => (Fault::Error, Code::ContentNotFound, false, None),
        Error::Io(_) | Error::Truncated(_) => (Fault::EndOfStream, Code::EngineError, true, Some(2)),
        Error::Refused(_) | Error::Status { .. } => (Fault::Error, Code::EngineError, true, Some(5)),
        Error::Head(_)
        | Error::Chunks(_)
        | Error::TooLong(_)
        | Error::Redirect(_)
        | Error::Playlist(_)
        | Error::Link(_)
        | Error::Json(_) => (Fault::Protocol, Code::EngineError, true, Some(10)),
    };
    let mut refusal = Refusal::new(code, error.to_string());
    refusal.retry_after_s = retry;
    SourceFault { fault, refusal, elsewhere }
}
