//! Every metric of the data plane: names, plain counters of one shard, and their snapshot. No exposition format.
//!
//! A shard owns its counters and touches them without atomics; what leaves the shard is a list of samples inside its
//! published snapshot.

mod names;

use hdrhistogram::Histogram as Hdr;
use sluice_contract::metric::{Histogram, Name, Sample, Value};
use sluice_contract::snapshot::SpliceKind;
use sluice_contract::{EndReason, MoveReason, RefusalCode};
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.set(self.0.get().wrapping_add(count));
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Durations, recorded in microseconds with two significant digits up to twice the last bound.
#[derive(Debug)]
pub struct Durations {
    histogram: RefCell<Hdr<u64>>,
    sum: Cell<f64>,
    /// Upper bounds shown to Prometheus, seconds.
    bounds: &'static [f64],
}

const BOUNDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// For lives of sessions: from a glance to a day.
const LIFE_BOUNDS: &[f64] = &[10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0];

impl Default for Durations {
    fn default() -> Self {
        Self::new(BOUNDS)
    }
}

impl Durations {
    fn new(bounds: &'static [f64]) -> Self {
        let micros_max = (bounds.last().copied().unwrap_or(1.0) * 2e6) as u64;
        let histogram = Hdr::new_with_bounds(1, micros_max, 2).expect("constant bounds are valid");
        Self { histogram: RefCell::new(histogram), sum: Cell::new(0.0), bounds }
    }

    /// Records one.
    pub fn record(&self, duration: Duration) {
        self.histogram.borrow_mut().saturating_record((duration.as_micros() as u64).max(1));
        self.sum.set(self.sum.get() + duration.as_secs_f64());
    }

    /// The value that this share of all recorded ones does not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.histogram.borrow().value_at_quantile(share))
    }

    fn sample(&self) -> Histogram {
        let histogram = self.histogram.borrow();
        let mut counts = vec![0; self.bounds.len() + 1];
        for recorded in histogram.iter_recorded() {
            // The histogram's own steps are not ours: each counts where it begins, so that none counts twice.
            let seconds = histogram.lowest_equivalent(recorded.value_iterated_to()) as f64 / 1e6;
            counts[self.bounds.partition_point(|bound| *bound < seconds)] += recorded.count_at_value();
        }
        let mut below = 0;
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets = bounds
            .zip(counts)
            .map(|(bound, count)| {
                below += count;
                (bound, below)
            })
            .collect();
        Histogram { buckets, sum: self.sum.get(), count: histogram.len() }
    }
}

/// Lives of sessions, from the first player's request to the end.
#[derive(Debug)]
pub struct Lives(Durations);

impl Default for Lives {
    fn default() -> Self {
        Self(Durations::new(LIFE_BOUNDS))
    }
}

/// All counters of one shard.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections handed to another shard.
    pub handed_over: Counter,
    /// Connections handed to control.
    pub to_control: Counter,
    /// Bytes received from engines.
    pub bytes_in: Counter,
    /// Reads that brought them.
    pub engine_reads: Counter,
    /// Bytes of media taken by players' sockets.
    pub bytes_out: Counter,
    /// Bytes from engines that belonged to no packet.
    pub garbage_bytes: Counter,
    /// Null packets sent to keep players of a silent stream.
    pub keepalive_packets: Counter,
    /// Players admitted.
    pub clients_started: Counter,
    /// Times a player was moved forward because it was too far behind.
    pub skips: Counter,
    /// Bytes of media players missed by that.
    pub skipped_bytes: Counter,
    /// Engine sessions asked for.
    pub engine_starts: Counter,
    /// Engine sessions given back.
    pub engine_stops: Counter,
    /// Segments that an engine listed and could not give.
    pub segments_missed: Counter,
    /// Sources joined to a stream where another one had stopped, by how.
    pub splices: [Counter; SpliceKind::ALL.len()],
    /// Bytes of media that players missed at such joints, as far as the clock tells.
    pub splice_lost_bytes: Counter,
    /// Bytes of media that they were given twice.
    pub splice_repeated_bytes: Counter,
    /// Sessions asked to move to another engine while they played, by reason.
    pub moves_asked: [Counter; MoveReason::ALL.len()],
    /// Moves of sessions that were done.
    pub moves_done: Counter,
    /// Moves that came to nothing.
    pub moves_failed: Counter,
    /// Channels that went on with another of their ids.
    pub channel_fallbacks: Counter,
    /// Starts of channels with two ids at once.
    pub channel_races: Counter,
    /// The same that had no second engine.
    pub channel_races_alone: Counter,
    /// Sessions begun.
    pub sessions_started: Counter,
    /// Playlists given to HLS players.
    pub hls_playlists: Counter,
    /// Segments and parts that were begun to be sent.
    pub hls_segments: Counter,
    /// Segments and parts that were not sent to their end.
    pub hls_cut: Counter,
    /// Plays of which control was not told.
    pub plays_untold: Counter,
    /// Tasks that failed: our bugs.
    pub panics: Counter,
    /// Copies of sessions begun for other shards.
    pub replicas_opened: Counter,
    /// Copies that could not be made.
    pub replicas_refused: Counter,
    /// Copies that are no more, by why.
    pub replicas_ended: [Counter; ReplicaEnd::ALL.len()],
    /// Players given to another shard.
    pub clients_moved: Counter,
    /// Words to another shard that had to wait for room in its inbox.
    pub words_held: Counter,
    /// Clients that ended, by reason.
    pub clients_ended: [Counter; EndReason::ALL.len()],
    /// Sessions that ended, by reason.
    pub sessions_ended: [Counter; EndReason::ALL.len()],
    /// Requests refused, by code.
    pub refused: [Counter; RefusalCode::ALL.len()],
    /// Time from the request to the first media in the player's socket, joins to running streams only.
    pub join_time: Durations,
    /// Time between two deliveries to one player.
    pub delivery_gap: Durations,
    /// Time a whole walk over the clients took.
    pub tick_length: Durations,
    /// How much of that was spent on them: a walk is spread over the tick.
    pub walk_busy: Durations,
    /// Time from accept to arrival at the owner shard.
    pub hand_over: Durations,
    /// How late a 10 ms timer of a busy shard fires.
    pub canary_delay: Durations,
    /// How long sessions lived.
    pub session_lives: Lives,
}

/// Why another shard serves a session no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaEnd {
    /// The session has ended.
    SessionEnded,
    /// Too few players for more than one shard.
    NotNeeded,
    /// It was switched off.
    Off,
    /// Memory is short.
    Memory,
    /// The other shard did not say for too long how it stands.
    Behind,
    /// The other shard could not take it.
    NotTaken,
    /// Another process is to take over.
    HandOver,
}

impl ReplicaEnd {
    /// Every one, for metrics that show zeros.
    pub const ALL: [Self; 7] = [
        Self::SessionEnded,
        Self::NotNeeded,
        Self::Off,
        Self::Memory,
        Self::Behind,
        Self::NotTaken,
        Self::HandOver,
    ];

    /// Stable machine-readable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SessionEnded => "session_ended",
            Self::NotNeeded => "not_needed",
            Self::Off => "off",
            Self::Memory => "memory",
            Self::Behind => "behind",
            Self::NotTaken => "not_taken",
            Self::HandOver => "hand_over",
        }
    }
}

/// What a shard is at the moment, beside its counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Players.
    pub clients: usize,
    /// Players that wait for a start.
    pub waiting: usize,
    /// Sessions.
    pub sessions: usize,
    /// Sessions of other shards that it serves too.
    pub replicas: usize,
    /// Bytes of memory in windows.
    pub window_bytes: u64,
    /// The present tick.
    pub tick: Duration,
    /// Messages waiting in the shard's inbox.
    pub inbox: usize,
    /// Whether the shard runs on io_uring.
    pub is_uring: bool,
}

impl Counters {
    /// Counts an ended client.
    pub fn client_ended(&self, reason: EndReason) {
        count_in(&self.clients_ended, &EndReason::ALL, reason);
    }

    /// Counts an ended session that lived for so long.
    pub fn session_ended(&self, reason: EndReason, life: Duration) {
        self.session_lives.0.record(life);
        count_in(&self.sessions_ended, &EndReason::ALL, reason);
    }

    /// Counts a source that carries on for another one.
    pub fn spliced(&self, kind: SpliceKind) {
        count_in(&self.splices, &SpliceKind::ALL, kind);
    }

    /// Counts a move that is asked for.
    pub fn move_asked(&self, reason: MoveReason) {
        count_in(&self.moves_asked, &MoveReason::ALL, reason);
    }

    /// Counts a move that is over.
    pub fn moved(&self, is_done: bool) {
        if is_done { &self.moves_done } else { &self.moves_failed }.add(1);
    }

    /// Counts a copy for another shard that is no more.
    pub fn replica_ended(&self, why: ReplicaEnd) {
        count_in(&self.replicas_ended, &ReplicaEnd::ALL, why);
    }

    /// Counts a refusal.
    pub fn refusal(&self, code: RefusalCode) {
        count_in(&self.refused, &RefusalCode::ALL, code);
    }

    /// All metrics as samples.
    pub fn samples(&self, gauges: Gauges) -> Vec<Sample> {
        let counters = [
            (names::ACCEPTED, &self.accepted),
            (names::HANDED_OVER, &self.handed_over),
            (names::TO_CONTROL, &self.to_control),
            (names::BYTES_IN, &self.bytes_in),
            (names::ENGINE_READS, &self.engine_reads),
            (names::BYTES_OUT, &self.bytes_out),
            (names::GARBAGE_BYTES, &self.garbage_bytes),
            (names::KEEPALIVE_PACKETS, &self.keepalive_packets),
            (names::CLIENTS_STARTED, &self.clients_started),
            (names::SKIPS, &self.skips),
            (names::SKIPPED_BYTES, &self.skipped_bytes),
            (names::ENGINE_STARTS, &self.engine_starts),
            (names::ENGINE_STOPS, &self.engine_stops),
            (names::SEGMENTS_MISSED, &self.segments_missed),
            (names::SPLICE_LOST_BYTES, &self.splice_lost_bytes),
            (names::SPLICE_REPEATED_BYTES, &self.splice_repeated_bytes),
            (names::MOVES_DONE, &self.moves_done),
            (names::MOVES_FAILED, &self.moves_failed),
            (names::CHANNEL_FALLBACKS, &self.channel_fallbacks),
            (names::CHANNEL_RACES, &self.channel_races),
            (names::CHANNEL_RACES_ALONE, &self.channel_races_alone),
            (names::SESSIONS_STARTED, &self.sessions_started),
            (names::HLS_PLAYLISTS, &self.hls_playlists),
            (names::HLS_SEGMENTS, &self.hls_segments),
            (names::HLS_CUT, &self.hls_cut),
            (names::PLAYS_UNTOLD, &self.plays_untold),
            (names::PANICS, &self.panics),
            (names::REPLICAS_OPENED, &self.replicas_opened),
            (names::REPLICAS_REFUSED, &self.replicas_refused),
            (names::CLIENTS_MOVED, &self.clients_moved),
            (names::WORDS_HELD, &self.words_held),
        ];
        let gauges = [
            (names::CLIENTS, gauges.clients as f64),
            (names::WAITING, gauges.waiting as f64),
            (names::SESSIONS, gauges.sessions as f64),
            (names::REPLICAS, gauges.replicas as f64),
            (names::WINDOW_BYTES, gauges.window_bytes as f64),
            (names::TICK_SECONDS, gauges.tick.as_secs_f64()),
            (names::INBOX, gauges.inbox as f64),
            (names::IO_URING, f64::from(u8::from(gauges.is_uring))),
        ];
        let durations = [
            (names::JOIN_SECONDS, &self.join_time),
            (names::DELIVERY_GAP_SECONDS, &self.delivery_gap),
            (names::TICK_LENGTH_SECONDS, &self.tick_length),
            (names::WALK_BUSY_SECONDS, &self.walk_busy),
            (names::HAND_OVER_SECONDS, &self.hand_over),
            (names::CANARY_SECONDS, &self.canary_delay),
            (names::SESSION_SECONDS, &self.session_lives.0),
        ];
        let mut samples: Vec<Sample> = Vec::with_capacity(128);
        let plain = |name: Name, value: Value| Sample { name, label: None, value };
        samples.extend(counters.map(|(name, counter)| plain(name, Value::Counter(counter.get()))));
        samples.extend(gauges.map(|(name, value)| plain(name, Value::Gauge(value))));
        samples.extend(durations.map(|(name, value)| plain(name, Value::Histogram(value.sample()))));
        labelled(
            &mut samples,
            names::SPLICES,
            "kind",
            &SpliceKind::ALL.map(SpliceKind::as_str),
            &self.splices,
        );
        let reasons = MoveReason::ALL.map(MoveReason::as_str);
        labelled(&mut samples, names::MOVES_ASKED, "reason", &reasons, &self.moves_asked);
        let reasons = ReplicaEnd::ALL.map(ReplicaEnd::as_str);
        labelled(&mut samples, names::REPLICAS_ENDED, "reason", &reasons, &self.replicas_ended);
        let reasons = EndReason::ALL.map(EndReason::as_str);
        labelled(&mut samples, names::CLIENTS_ENDED, "reason", &reasons, &self.clients_ended);
        labelled(&mut samples, names::SESSIONS_ENDED, "reason", &reasons, &self.sessions_ended);
        labelled(
            &mut samples,
            names::REFUSED,
            "code",
            &RefusalCode::ALL.map(RefusalCode::as_str),
            &self.refused,
        );
        samples
    }
}

fn count_in<T: PartialEq>(counters: &[Counter], all: &[T], which: T) {
    if let Some(at) = all.iter().position(|one| *one == which) {
        counters[at].add(1);
    }
}

fn labelled(
    to: &mut Vec<Sample>,
    name: Name,
    label: &'static str,
    values: &[&'static str],
    counters: &[Counter],
) {
    to.extend(values.iter().zip(counters).map(|(value, counter)| Sample {
        name,
        label: Some((label, value)),
        value: Value::Counter(counter.get()),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_complete() {
        let durations = Durations::default();
        for millis in [1, 3, 30, 30, 700, 200_000] {
            durations.record(Duration::from_millis(millis));
        }
        let sample = durations.sample();
        assert!(sample.buckets.is_sorted_by(|a, b| a.1 <= b.1), "{:?}", sample.buckets);
        assert_eq!(sample.buckets.last(), Some(&(f64::INFINITY, 6)));
        let at = |bound: f64| sample.buckets.iter().find(|bucket| bucket.0 == bound).unwrap().1;
        assert_eq!((at(0.02), at(0.05), at(1.0), at(60.0)), (2, 4, 5, 5));
    }

    /// Guards: a session of a day is told apart from one of an hour.
    #[test]
    fn lives_have_bounds_of_their_own() {
        let counters = Counters::default();
        for seconds in [5, 3000, 80_000, 300_000] {
            counters.session_ended(EndReason::ClientLeft, Duration::from_secs(seconds));
        }
        let sample = counters.session_lives.0.sample();
        let counts: Vec<u64> = sample.buckets.iter().map(|bucket| bucket.1).collect();
        assert_eq!(counts, [1, 1, 1, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn every_reason_and_code_has_its_counter() {
        let counters = Counters::default();
        EndReason::ALL.into_iter().for_each(|reason| counters.client_ended(reason));
        RefusalCode::ALL.into_iter().for_each(|code| counters.refusal(code));
        assert!(counters.clients_ended.iter().chain(&counters.refused).all(|counter| counter.get() == 1));
    }
}
