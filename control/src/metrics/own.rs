//! What this plane shows of itself: leases, resolves, queues. Each engine's own metrics are in [`super::each`].

use super::Sources;
use super::writer::{Labels, Writer};
use crate::engines::breaker::BreakerState;
use crate::engines::fleet::Phase;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;

/// Reads the rooms' snapshots at each scrape.
pub(crate) struct Plane(pub(crate) Sources);

impl fmt::Debug for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plane")
    }
}

impl Collector for Plane {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        self.engines(&mut writer)?;
        self.streams(&mut writer)?;
        self.fleet(&mut writer)?;
        self.store(&mut writer)?;
        self.diagnosis(&mut writer)?;
        self.queues(&mut writer)
    }
}

impl Plane {
    fn engines(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let standing = self.0.engines.standing();
        writer.gauges(
            "sluice_engine_group_silent",
            "1 for each group of engines, such as a VPN node's, that is silent as a whole",
            standing.silent_groups.iter().map(|group| (vec![("group", group.to_string())], 1.0)),
        )?;
        let counts = &standing.counts;
        let plain = |value: u64| [(Labels::new(), value)];
        writer.gauges(
            "sluice_lease_requests_waiting",
            "Requests that wait for an engine",
            [(Labels::new(), standing.waiting as f64)],
        )?;
        writer.counters("sluice_leases_granted", "Leases granted", plain(counts.granted))?;
        writer.counters("sluice_source_silences", "Times a source fell silent", plain(counts.silences))?;
        writer.counters("sluice_leases_returned", "Leases given back", plain(counts.returned))?;
        writer.counters(
            "sluice_lease_requests_abandoned",
            "Requests for an engine that the shard gave up",
            plain(counts.abandoned),
        )?;
        let labelled = |name: &'static str, value: &str| vec![(name, value.to_owned())];
        writer.counters(
            "sluice_lease_refusals",
            "Requests for an engine that were refused, by code",
            counts.refused.iter().map(|(code, count)| (labelled("code", code), *count)),
        )?;
        writer.counters(
            "sluice_engine_faults",
            "Faults of engines that shards reported, by kind",
            counts.faults.iter().map(|(kind, count)| (labelled("kind", kind), *count)),
        )?;
        writer.counters(
            "sluice_resolves",
            "Requests for the broadcast behind an id, by outcome",
            self.0.resolve.read().map(|(outcome, count)| (labelled("outcome", outcome), count)),
        )
    }

    fn streams(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let (streams, events) = (&self.0.streams, &self.0.events);
        let sums = streams.recent_sums();
        let state = |state: &str| vec![("state", state.to_owned())];
        let ended = sums.listed.saturating_sub(sums.active);
        writer.gauges(
            "sluice_streams",
            "Streams that are listed, ours and those other proxies report, by state",
            [(state("started"), sums.active as f64), (state("ended"), ended as f64)],
        )?;
        let plain = |value: f64| [(Labels::new(), value)];
        writer.gauges(
            "sluice_stream_samples",
            "Samples of streams held in memory",
            plain(sums.samples_held as f64),
        )?;
        writer.gauges(
            "sluice_looping_streams",
            "Streams that are not played because they loop",
            plain(streams.looping().len() as f64),
        )?;
        writer.counters(
            "sluice_stream_polls_late",
            "Rounds of asking engines about reported streams in which not every stream had its turn",
            [(Labels::new(), streams.late_rounds())],
        )?;
        writer.gauges(
            "sluice_event_subscribers",
            "Clients that follow changes",
            plain(events.subscribers() as f64),
        )
    }

    /// Engines in Docker; nothing when none are kept there.
    fn fleet(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let Some(fleet) = self.0.engines.fleet() else { return Ok(()) };
        let flag = |is_so: bool| [(Labels::new(), f64::from(u8::from(is_so)))];
        writer.gauges("sluice_docker_up", "1 while Docker answers", flag(fleet.has_docker))?;
        writer.gauges(
            "sluice_fleet_engines",
            "Engines in Docker, by where they are in their life",
            Phase::NAMES.map(|phase| {
                let count = fleet.members.iter().filter(|member| member.phase.as_str() == phase).count();
                (vec![("phase", phase.to_owned())], count as f64)
            }),
        )?;
        writer.gauges(
            "sluice_fleet_breaker",
            "1 for the state of the circuit breaker of starts, 0 for the others",
            BreakerState::ALL.map(|state| {
                (
                    vec![("state", state.as_str().to_owned())],
                    f64::from(u8::from(state == fleet.breaker.state)),
                )
            }),
        )?;
        let cached = || fleet.members.iter().filter_map(|member| Some((member, member.cache.as_ref()?)));
        writer.gauges(
            "sluice_engine_cache_bytes",
            "Size of an engine's cache on disk, as last measured",
            cached().filter_map(|(member, cache)| {
                Some((vec![("engine", member.name.to_string())], cache.bytes? as f64))
            }),
        )?;
        writer.gauges(
            "sluice_engine_cache_freed_bytes",
            "Bytes freed by emptying an engine's cache, as long as the engine is there",
            cached()
                .map(|(member, cache)| (vec![("engine", member.name.to_string())], cache.freed_bytes as f64)),
        )?;
        writer.counters(
            "sluice_fleet_events",
            "What happened to engines in Docker",
            fleet.counts.all().map(|(event, count)| (vec![("event", event.to_owned())], count)),
        )
    }

    fn store(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let (store, counts) = (&self.0.store, self.0.store.counts());
        let standing = store.standing().as_str();
        let plain = |value: u64| [(Labels::new(), value)];
        writer.gauges(
            "sluice_store_state",
            "1 for how storing what survives a restart goes, 0 for the others",
            ["ok", "memory", "failing", "unavailable"]
                .map(|state| (vec![("state", state.to_owned())], f64::from(u8::from(state == standing)))),
        )?;
        writer.gauges(
            "sluice_store_queue",
            "Changes that wait to be stored",
            [(Labels::new(), store.backlog() as f64)],
        )?;
        writer.counters("sluice_store_records", "Records stored", plain(counts.stored()))?;
        writer.counters("sluice_store_commit_failures", "Commits that failed", plain(counts.failures()))?;
        writer.counters(
            "sluice_store_records_dropped",
            "Records that were not stored, by reason",
            counts.dropped().map(|(reason, count)| (vec![("reason", reason.to_owned())], count)),
        )
    }

    fn diagnosis(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let counts = self.0.diagnosis.counts();
        let sent = [(Labels::new(), counts.traces_sent())];
        writer.counters("sluice_traces_sent", "Traces of plays the collector took", sent)?;
        writer.counters(
            "sluice_traces_dropped",
            "Traces of plays that were lost, by reason",
            counts.traces_dropped().map(|(reason, count)| (vec![("reason", reason.to_owned())], count)),
        )?;
        let kept = [(Labels::new(), counts.lines_kept())];
        writer.counters("sluice_debug_lines", "Lines written to the debug log", kept)?;
        writer.counters(
            "sluice_debug_lines_dropped",
            "Lines missing in the debug log, by reason",
            counts.lines_dropped().map(|(reason, count)| (vec![("reason", reason.to_owned())], count)),
        )
    }

    fn queues(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let shards = self.0.board.read();
        writer.gauges(
            "sluice_shard_inbox_messages",
            "Messages that wait for a shard",
            self.0
                .shards
                .inboxes()
                .iter()
                .enumerate()
                .map(|(shard, inbox)| (vec![("shard", shard.to_string())], inbox.backlog() as f64)),
        )?;
        writer.counters(
            "sluice_shard_messages_undelivered",
            "Messages that found a shard's inbox full",
            [(Labels::new(), self.0.shards.undelivered())],
        )?;
        writer.gauges(
            "sluice_directory_aliases",
            "Names of streams known",
            [(Labels::new(), self.0.directory.len() as f64)],
        )?;
        writer.gauges(
            "sluice_shard_driver",
            "1 for the driver a shard runs on",
            shards.iter().filter_map(|shard| {
                let labels = vec![("shard", shard.id.0.to_string()), ("driver", shard.driver?.to_owned())];
                Some((labels, 1.0))
            }),
        )
    }
}
