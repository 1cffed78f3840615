//! One engine session as a task: start, read, report, stop. Content that an engine gives only as a playlist is started a
//! second time, as one, after the first engine session was stopped.
//!
//! The task reports to its session and is told only one thing: to close. Whatever happens, it ends by stopping the
//! engine session exactly once if there is one, and by reporting that it closed. It holds no borrow of the session
//! across a wait.

use super::machine::{Ask, Event, SourceFault, SourceId};
use super::{Session, Timing};
use crate::engine::{self, Came, Endpoint, Error, Form, Media, Started};
use crate::media::ts::{Aligner, SYNC, Verdict};
use futures_util::future::{Either, select};
use monoio::time::sleep;
use sluice_contract::snapshot::SessionEngine;
use sluice_contract::{EngineFault, Lease, Refusal, RefusalCode};
use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One read from the engine; bounds what is parsed in one go.
pub(super) const READ_BYTES: usize = 256 << 10;
/// Bytes out of sync after which a source is given up.
const UNSYNCED_BYTES_MAX: u64 = 4 << 20;
/// How often an engine is asked for its figures.
const STAT_INTERVAL: Duration = Duration::from_secs(1);
/// How often the reader looks whether a full window has drained.
const FULL_WAIT: Duration = Duration::from_millis(20);

/// Tells a source to close, once.
#[derive(Debug, Default)]
pub(super) struct Closing {
    asked: Cell<bool>,
    signal: crate::uring::Signal,
}

impl Closing {
    pub(super) fn ask(&self) {
        self.asked.set(true);
        self.signal.notify();
    }

    fn is_asked(&self) -> bool {
        self.asked.get()
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
    pub ask: Ask,
    pub closing: Rc<Closing>,
}

/// Runs a source from its opening to its end, and reports `Closed`.
pub(super) async fn run(session: Rc<Session>, order: Order) {
    let endpoint = Endpoint {
        address: order.lease.address,
        authority: order.lease.authority.clone(),
        user_agent: session.timing().user_agent.clone(),
    };
    if let Some(started) = open(&session, &order, &endpoint).await {
        play(&session, &order, &endpoint, &started).await;
        order.closing.asked().await;
        stop(&session, &endpoint, &started).await;
    }
    session.handle(Event::Closed(order.id));
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
    let ask = (order.ask.selector(session.key().selector()), session.form());
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
    let mut media = {
        let opening = pin!(Media::open(endpoint, started, begun + timing.start_max));
        match select(opening, pin!(no_progress(watch, begun, &timing))).await {
            Either::Left((media, _)) => media.map_err(|error| describe(&error))?,
            Either::Right((waited, _)) => return Err(describe(&Error::NoMedia(waited))),
        }
    };
    watch.last_progress.set(Instant::now());
    let mut buffer = vec![0u8; READ_BYTES];
    let mut filled = 0;
    let mut aligner = Aligner::default();
    session.handle(Event::Pauses(order.id, media.pause()));
    session.media_begins(order.id);
    loop {
        while session.holds_up(order.id) {
            sleep(FULL_WAIT).await;
        }
        let came = if watch.flowing.get() {
            media.read(&mut buffer[filled..]).await
        } else {
            first_bytes(&mut media, &mut buffer[filled..], watch, begun, &timing).await
        };
        let (count, continues, ended) = match came {
            Ok(Came::Bytes { count, continues }) => (count, continues, None),
            Ok(Came::Missed(count)) => {
                session.host().counters().segments_missed.add(count);
                continue;
            }
            Ok(Came::End) => (0, true, Some(None)),
            Err(error) => (0, true, Some(Some(error))),
        };
        if !continues {
            // What is left of a packet has no other half any more.
            buffer.copy_within(filled..filled + count, 0);
            filled = 0;
            aligner = Aligner::default();
            session.media_begins(order.id);
        }
        filled += count;
        session.received(count as u64);
        let mut start = 0;
        loop {
            let found = if ended.is_some() {
                aligner.finish(&buffer[start..filled])
            } else {
                aligner.push(&buffer[start..filled])
            };
            let packets = &buffer[start + found.packets.start..start + found.packets.end];
            if !packets.is_empty() {
                watch.flowing.set(true);
                session.media(order.id, packets).map_err(|error| local_fault(&error))?;
            }
            start += found.consumed;
            if found.consumed == 0 || ended.is_some() {
                break;
            }
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
        if let Verdict::NotTs { prefix } = aligner.verdict() {
            // A body that broke off before it could be judged failed for the reason it broke off, unless it says why.
            let says_nothing = prefix.first().is_none_or(|first| *first == SYNC);
            match &ended {
                Some(Some(error)) if says_nothing => return Err(describe(error)),
                Some(None) if says_nothing => return Err(end_of_stream()),
                _ => return Err(not_ts(prefix)),
            }
        }
        if aligner.unsynced_bytes() > UNSYNCED_BYTES_MAX {
            return Err(not_ts(&[]));
        }
        session.garbage(order.id, aligner.skipped_bytes());
        if let Some(error) = ended {
            return Err(match error {
                None => end_of_stream(),
                Some(error) => describe(&error),
            });
        }
        // A burst keeps the socket readable for seconds: the others of this shard get their turn after every read.
        session.host().turns().park_once().await;
    }
}

/// Reads with an eye on progress: headers may come long before the first media.
async fn first_bytes(
    media: &mut Media,
    buffer: &mut [u8],
    watch: &Watch,
    begun: Instant,
    timing: &Timing,
) -> Result<Came, Error> {
    let reading = pin!(media.read(buffer));
    match select(reading, pin!(no_progress(watch, begun, timing))).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right((waited, _)) => Err(Error::NoMedia(waited)),
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
    loop {
        sleep(STAT_INTERVAL).await;
        match engine::fetch_stat(endpoint, path).await {
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
