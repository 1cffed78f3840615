//! The names that dashboards of earlier programs know: `orch_*` gauges and `proxy_*`, computed from the board.
//!
//! Their units are kept where names mislead (`_mbps` are MiB/s, byte sums are gauges); beside each such name stands a
//! twin whose name is right.

use super::history::{Latencies, Reading};
use super::transfer::Transfer;
use super::writer::{Labels, Writer, plain};
use crate::api::health_status;
use crate::engines;
use crate::streams::{self, Moved, Reported, Sums};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use sluice_contract::metric::{Histogram, Value, published};
use sluice_contract::snapshot::{Board, EngineStat, Session, Shard};
use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

const MIB: f64 = 1_048_576.0;
/// What an engine's speeds are in.
const KIB: f64 = 1024.0;
const VPN_STATES: [&str; 5] = ["healthy", "unhealthy", "unknown", "disabled", "starting"];

/// Reads the board at each scrape, and in between with [`Published::observe`].
#[derive(Clone)]
pub(crate) struct Published {
    board: Arc<Board>,
    engines: engines::Handle,
    streams: streams::Handle,
    transfer: Arc<Mutex<Transfer>>,
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Published")
    }
}

impl Published {
    /// Reads from these.
    pub(super) fn new(board: Arc<Board>, engines: engines::Handle, streams: streams::Handle) -> Self {
        Self { board, engines, streams, transfer: Arc::default() }
    }

    /// Looks at the figures of every session, so that one that ends between two scrapes has counted.
    pub(crate) fn observe(&self) -> Moved {
        self.observe_in(&self.board.read(), &self.streams.recent_sums().reported)
    }

    /// The figures charts show over time.
    pub(super) fn reading(&self) -> Reading {
        let (shards, reported) = (self.board.read(), self.streams.recent_sums().reported);
        let mut reading = Reading {
            bytes_out: sum(&shards, published::CLIENT_BYTES),
            bytes_in: sum(&shards, published::ENGINE_BYTES),
            ..Reading::default()
        };
        let speed = |kib: i128| kib as f64 * KIB * 8.0;
        for session in shards.iter().flat_map(|shard| &shard.sessions) {
            reading.players += session.clients.len() as f64;
            reading.waiting += session.waiting as f64;
            reading.streams += 1.0;
            if let Some(stat) = &session.stat {
                reading.peers += stat.peers as f64;
                reading.download += speed(stat.speed_down.into());
                reading.upload += speed(stat.speed_up.into());
            }
        }
        reading.peers += reported.peers as f64;
        reading.download += speed(reported.speed_down);
        reading.upload += speed(reported.speed_up);
        let standing = self.engines.standing();
        reading.engines = standing.engines.len() as f64;
        reading.engines_used = standing.engines.iter().filter(|engine| engine.leases > 0).count() as f64;
        reading
    }

    /// How long joins and gaps have taken since shards began.
    pub(super) fn latencies(&self) -> Latencies {
        let shards = self.board.read();
        Latencies {
            join: whole(&shards, published::JOIN_SECONDS),
            gap: whole(&shards, published::DELIVERY_GAP_SECONDS),
        }
    }

    fn observe_in(&self, shards: &[Arc<Shard>], reported: &Reported) -> Moved {
        let figures = |session: &Arc<Session>| {
            let (engine, stat) = (session.engine.as_ref()?, session.stat.as_ref()?);
            let name = format!("{}|{}", engine.id, engine.playback_session_id.as_deref()?);
            Some((name, Moved { downloaded: number(stat.downloaded), uploaded: number(stat.uploaded) }))
        };
        let shown = shards.iter().flat_map(|shard| &shard.sessions).filter_map(figures);
        // A panic cannot leave sums half made.
        let ours = self.transfer.lock().unwrap_or_else(PoisonError::into_inner).observe(shown);
        Moved {
            downloaded: ours.downloaded.saturating_add(reported.moved.downloaded),
            uploaded: ours.uploaded.saturating_add(reported.moved.uploaded),
        }
    }
}

impl Collector for Published {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        let (shards, sums) = (self.board.read(), self.streams.recent_sums());
        self.transfers(&mut writer, &shards, &sums.reported)?;
        self.engines(&mut writer, &shards, &sums)?;
        self.happened(&mut writer)?;
        vpn(&mut writer)?;
        proxy(&mut writer, &shards)
    }
}

impl Published {
    fn transfers(&self, writer: &mut Writer<'_>, shards: &[Arc<Shard>], reported: &Reported) -> fmt::Result {
        let total = self.observe_in(shards, reported);
        let sum = |figure: fn(&EngineStat) -> i64, of_others: i128| -> f64 {
            let sessions = shards.iter().flat_map(|shard| &shard.sessions);
            let ours = sessions.filter_map(|session| session.stat.as_ref()).map(figure).map(i128::from);
            (ours.sum::<i128>() + of_others) as f64
        };
        let down = sum(|stat| stat.speed_down, reported.speed_down);
        let up = sum(|stat| stat.speed_up, reported.speed_up);
        let peers = sum(|stat| stat.peers, reported.peers);
        for (name, help, bytes) in [
            ("orch_total_uploaded_bytes", "Uploaded by engines since the start, bytes", total.uploaded),
            ("orch_total_downloaded_bytes", "Downloaded by engines since the start, bytes", total.downloaded),
        ] {
            writer.gauges(name, help, plain(bytes as f64))?;
        }
        for (name, help, bytes) in [
            ("orch_uploaded_bytes", "Uploaded by engines since the start", total.uploaded),
            ("orch_downloaded_bytes", "Downloaded by engines since the start", total.downloaded),
        ] {
            writer.counters(name, help, plain(bytes))?;
        }
        for (name, help, value) in [
            ("orch_total_uploaded_mb", "The same in MiB", total.uploaded as f64 / MIB),
            ("orch_total_downloaded_mb", "The same in MiB", total.downloaded as f64 / MIB),
            (
                "orch_total_upload_speed_mbps",
                "Upload of all engines now, MiB/s in spite of the name",
                up * KIB / MIB,
            ),
            (
                "orch_total_download_speed_mbps",
                "Download of all engines now, MiB/s in spite of the name",
                down * KIB / MIB,
            ),
        ] {
            writer.gauges(name, help, plain((value * 100.0).round() / 100.0))?;
        }
        for (name, help, value) in [
            ("orch_upload_bytes_per_second", "Upload of all engines now", up * KIB),
            ("orch_download_bytes_per_second", "Download of all engines now", down * KIB),
            ("orch_total_peers", "Peers of all active streams", peers),
        ] {
            writer.gauges(name, help, plain(value))?;
        }
        Ok(())
    }

    fn engines(&self, writer: &mut Writer<'_>, shards: &[Arc<Shard>], sums: &Sums) -> fmt::Result {
        let opened = || {
            let engines = shards.iter().flat_map(|shard| &shard.sessions).filter_map(|s| s.engine.as_ref());
            engines.filter(|engine| engine.playback_session_id.is_some())
        };
        let standing = self.engines.standing();
        let healthy = |wanted| {
            let found = standing.engines.iter().filter(|engine| health_status(engine) == wanted);
            found.count() as f64
        };
        let ours: HashSet<_> = opened().map(|engine| &engine.id.0).collect();
        let used =
            sums.engines_used.len() + ours.iter().filter(|id| !sums.engines_used.contains(**id)).count();
        let active = (opened().count() + sums.reported.streams) as f64;
        // Nobody keeps a least number of engines that were named.
        let least = self.engines.fleet().map_or(usize::MAX, |fleet| fleet.limits.min);
        let extra = standing.engines.len().saturating_sub(least) as f64;
        for (name, help, value) in [
            ("orch_total_streams", "Active streams", active),
            ("orch_streams_active", "Active streams", active),
            ("orch_healthy_engines", "Engines whose last probe was answered", healthy("healthy")),
            ("orch_unhealthy_engines", "Engines whose last probe was not answered", healthy("unhealthy")),
            ("orch_used_engines", "Engines with an active stream", used as f64),
            ("orch_extra_engines", "Engines beyond the least that are kept", extra),
            ("orch_vpn1_engines", "Engines behind the first VPN", 0.0),
            ("orch_vpn2_engines", "Engines behind the second VPN", 0.0),
        ] {
            writer.gauges(name, help, plain(value))?;
        }
        Ok(())
    }
}

impl Published {
    fn happened(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let happened = self.streams.happened();
        for (name, help, count) in [
            (
                "orch_events_started",
                "Streams that started, ours and those other proxies report",
                happened.started,
            ),
            ("orch_events_ended", "Streams that ended, ours and those other proxies report", happened.ended),
            (
                "orch_collect_errors",
                "Engines that did not give the figures of a reported stream when they were asked",
                happened.collect_errors,
            ),
        ] {
            writer.counters(name, help, plain(count))?;
        }
        Ok(())
    }
}

/// Figures that make no sense count as nothing.
fn number(figure: i64) -> u64 {
    u64::try_from(figure).unwrap_or(0)
}

fn vpn(writer: &mut Writer<'_>) -> fmt::Result {
    for (name, help) in [
        ("orch_vpn_health", "1 for the state the VPN is in"),
        ("orch_vpn1_health", "1 for the state the first VPN is in"),
        ("orch_vpn2_health", "1 for the state the second VPN is in"),
    ] {
        // The label repeats the metric's name: that is what dashboards ask for.
        let samples = VPN_STATES.map(|state| {
            let labels: Labels = vec![(name, state.to_owned())];
            (labels, f64::from(u8::from(state == "disabled")))
        });
        writer.gauges(name, help, samples)?;
    }
    Ok(())
}

fn proxy(writer: &mut Writer<'_>, shards: &[Arc<Shard>]) -> fmt::Result {
    for (name, of, help) in [
        ("proxy_sessions", published::SESSIONS_STARTED, "Sessions begun"),
        ("proxy_clients", published::CLIENTS_STARTED, "Players admitted"),
        ("proxy_bytes_streamed", published::CLIENT_BYTES, "Bytes taken by players"),
    ] {
        writer.counters(name, help, plain(sum(shards, of)))?;
    }
    let sessions = || shards.iter().flat_map(|shard| &shard.sessions);
    let active = sessions().filter(|session| !session.clients.is_empty()).count();
    let clients: usize = sessions().map(|session| session.clients.len()).sum();
    writer.gauges("proxy_sessions_active", "Sessions somebody watches", plain(active as f64))?;
    writer.gauges("proxy_clients_active", "Players connected", plain(clients as f64))?;
    writer.histogram(
        "proxy_session_duration_seconds",
        "From the first request for a stream to the end of its session",
        &whole(shards, published::SESSION_SECONDS),
    )
}

fn sum(shards: &[Arc<Shard>], name: &str) -> u64 {
    let samples = shards.iter().flat_map(|shard| &shard.metrics).filter(|sample| sample.name.name == name);
    let values = samples.filter_map(|sample| match sample.value {
        Value::Counter(value) => Some(value),
        _ => None,
    });
    values.sum()
}

/// The shards' histograms as one; they share their bounds.
fn whole(shards: &[Arc<Shard>], name: &str) -> Histogram {
    let mut whole = Histogram::default();
    for sample in shards.iter().flat_map(|shard| &shard.metrics) {
        let Value::Histogram(histogram) = &sample.value else { continue };
        if sample.name.name != name {
            continue;
        }
        if whole.buckets.is_empty() {
            whole.buckets = histogram.buckets.iter().map(|(bound, _)| (*bound, 0)).collect();
        }
        for ((_, count), (_, more)) in whole.buckets.iter_mut().zip(&histogram.buckets) {
            *count += more;
        }
        whole.sum += histogram.sum;
        whole.count += histogram.count;
    }
    whole
}
