//! What a run comes to: per player, per engine, for the process; and what of it must not be.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::engines::Books;
use super::plan::Trouble;
use crate::play::Usage;
use crate::player::{Snapshot, check};
use crate::report::{Machine, Plot, Report, Table};

/// Descriptors the appliance may have more at the end than before the first trouble.
const FDS_GROWTH_MAX: u64 = 32;
/// Memory it may have more, in bytes and as a share.
const RSS_GROWTH_MAX: u64 = 48 << 20;
/// Players shown one by one in the table.
const SHOWN_MAX: usize = 20;

/// What one player met.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PlayerVerdict {
    /// Counts up from 0.
    pub player: usize,
    /// The channel it plays.
    pub channel: u32,
    /// Whether it reads at the stream's rate instead of at once.
    pub is_paced: bool,
    /// How often it was cut; it came back each time.
    pub disconnects: u64,
    /// How it was cut.
    pub ends: Vec<String>,
    /// Bytes received.
    pub bytes: u64,
    /// Bytes of the broadcast it never got.
    pub lost_bytes: u64,
    /// Bytes it got again.
    pub repeated_bytes: u64,
    /// Packets whose counter does not follow, with nothing flagged.
    pub continuity_errors: u64,
    /// Flagged discontinuities.
    pub discontinuities: u64,
    /// Longest time without any byte, in milliseconds.
    pub longest_gap_ms: u64,
    /// Everything else a player must never see.
    pub faults: Vec<String>,
}

impl PlayerVerdict {
    /// Adds what one connection of the player brought.
    pub(super) fn add(&mut self, snapshot: &Snapshot) {
        let packets = |count: u64| count * check::PACKET_LEN as u64;
        let report = &snapshot.check;
        self.bytes += snapshot.bytes;
        self.lost_bytes += packets(report.order.lost);
        self.repeated_bytes += packets(report.order.duplicated);
        self.continuity_errors += report.continuity_errors;
        self.discontinuities += report.discontinuities;
        let gap = snapshot.longest_gap.as_millis();
        self.longest_gap_ms = self.longest_gap_ms.max(u64::try_from(gap).unwrap_or(u64::MAX));
        self.faults.extend(report.faults());
    }

    fn is_clean(&self) -> bool {
        self.disconnects == 0 && self.lost_bytes == 0 && self.discontinuities == 0 && self.faults.is_empty()
    }
}

/// Everything a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The seed it follows from.
    pub seed: u64,
    /// How long things went wrong.
    pub duration: Duration,
    /// The machine.
    pub machine: Machine,
    /// What drives the appliance's I/O.
    pub driver: Option<String>,
    /// What went wrong, how often.
    pub troubles: BTreeMap<Trouble, u64>,
    /// Moves that the appliance did not take.
    pub moves_refused: u64,
    /// Upgrades after which the process from before still served, or both.
    pub upgrades_failed: u64,
    /// Players.
    pub players: Vec<PlayerVerdict>,
    /// Players that got nothing any more once everything was well again.
    pub stuck: Vec<usize>,
    /// The engines' books.
    pub engines: Books,
    /// What the appliance used before the first trouble and after the last.
    pub usage: Option<(Usage, Usage)>,
    /// Whether losses are faults.
    pub is_strict: bool,
}

impl Verdict {
    /// What must not be, in words; empty when all is well.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let sum = |of: fn(&PlayerVerdict) -> u64| self.players.iter().map(of).sum::<u64>();
        let mut fault = |count: u64, what: &str| {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        };
        fault(sum(|player| player.disconnects), "disconnects");
        fault(self.stuck.len() as u64, "players got nothing any more");
        fault(sum(|player| player.continuity_errors), "continuity errors");
        fault(sum(|player| player.repeated_bytes), "bytes repeated");
        fault(sum(|player| u64::from(!player.faults.is_empty())), "players saw a broken stream");
        if self.is_strict {
            fault(sum(|player| player.lost_bytes), "bytes lost");
        }
        fault(self.upgrades_failed, "upgrades failed");
        fault(self.engines.left_open, "engine sessions left open");
        fault(self.engines.stopped_twice, "engine sessions stopped twice");
        if let Some((before, after)) = &self.usage {
            fault(after.fds.saturating_sub(before.fds + FDS_GROWTH_MAX), "descriptors too many at the end");
            let allowed = before.rss + RSS_GROWTH_MAX.max(before.rss / 2);
            fault(after.rss.saturating_sub(allowed) >> 20, "MiB of memory too much at the end");
        }
        faults
    }
}

impl Report for Verdict {
    fn faults(&self) -> Vec<String> {
        self.faults()
    }

    fn driver(&self) -> Option<String> {
        self.driver.clone()
    }

    fn plots(&self) -> Vec<Plot> {
        let line = |is_paced: bool| {
            let players = self.players.iter().filter(|player| player.is_paced == is_paced);
            let mut gaps: Vec<f64> = players.map(|player| player.longest_gap_ms as f64).collect();
            gaps.sort_by(f64::total_cmp);
            let name = if is_paced { "paced" } else { "drained" };
            (name.to_owned(), gaps.into_iter().enumerate().map(|(n, gap)| (n as f64 + 1.0, gap)).collect())
        };
        vec![Plot {
            title: "Longest gap of each player, in order".to_owned(),
            across: "players".to_owned(),
            up: "ms".to_owned(),
            lines: vec![line(false), line(true)],
        }]
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::default();
        let sum = |of: fn(&PlayerVerdict) -> u64| self.players.iter().map(of).sum::<u64>();
        let most = |of: fn(&PlayerVerdict) -> u64| self.players.iter().map(of).max().unwrap_or(0);
        table.line("seed", self.seed);
        table.line("time", format_args!("{:.0} s", self.duration.as_secs_f64()));
        let troubles: Vec<String> =
            self.troubles.iter().map(|(trouble, count)| format!("{trouble} {count}")).collect();
        table.line("troubles", troubles.join(", "));
        if self.moves_refused > 0 {
            table.line("moves not taken", self.moves_refused);
        }
        table.line("players", self.players.len());
        table.line("disconnects", sum(|player| player.disconnects));
        table.line("bytes", sum(|player| player.bytes));
        table.line("bytes lost", sum(|player| player.lost_bytes));
        table.line("bytes repeated", sum(|player| player.repeated_bytes));
        table.line("continuity errors", sum(|player| player.continuity_errors));
        table.line("flagged discontinuities", sum(|player| player.discontinuities));
        table.line("longest gap", format_args!("{} ms", most(|player| player.longest_gap_ms)));
        let Books { opens, stops, stopped_twice, left_open } = self.engines;
        table.line(
            "engine sessions",
            format_args!("{opens} opened, {stops} stopped, {stopped_twice} twice, {left_open} left open"),
        );
        if let Some((before, after)) = &self.usage {
            table.line("descriptors", format_args!("{} before, {} after", before.fds, after.fds));
            let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
            table.line(
                "resident memory",
                format_args!("{:.1} MiB before, {:.1} MiB after", mib(before.rss), mib(after.rss)),
            );
        }
        table.line("machine", &self.machine);
        write!(f, "{table}")?;
        for player in self.players.iter().filter(|player| !player.is_clean()).take(SHOWN_MAX) {
            let PlayerVerdict { player, channel, disconnects, lost_bytes, longest_gap_ms, .. } = player;
            let found: Vec<String> = player_words(&self.players[*player]);
            writeln!(
                f,
                "player {player} on channel {channel}: {disconnects} disconnects, {lost_bytes} bytes lost, gap \
                 {longest_gap_ms} ms{}{}",
                if found.is_empty() { "" } else { ": " },
                found.join("; ")
            )?;
        }
        Ok(())
    }
}

fn player_words(player: &PlayerVerdict) -> Vec<String> {
    player.ends.iter().chain(&player.faults).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(player: PlayerVerdict) -> Verdict {
        Verdict {
            seed: 1,
            duration: Duration::from_secs(1),
            machine: Machine::here(),
            driver: None,
            troubles: BTreeMap::from([(Trouble::Kill, 2)]),
            moves_refused: 0,
            upgrades_failed: 0,
            players: vec![player],
            stuck: Vec::new(),
            engines: Books { opens: 3, stops: 3, ..Books::default() },
            usage: None,
            is_strict: false,
        }
    }

    /// Guards what fails a run: cuts, broken streams and sessions left behind always, losses when asked for.
    #[test]
    fn only_what_must_not_be_fails_a_run() {
        let lossy =
            verdict(PlayerVerdict { lost_bytes: 188, discontinuities: 1, ..PlayerVerdict::default() });
        assert_eq!(lossy.faults(), Vec::<String>::new());
        assert_eq!(Verdict { is_strict: true, ..lossy.clone() }.faults(), ["188 bytes lost"]);
        assert!(lossy.to_string().contains("player 0 on channel 0"), "{lossy}");
        let cut = verdict(PlayerVerdict { disconnects: 2, ..PlayerVerdict::default() });
        assert_eq!(cut.faults(), ["2 disconnects"]);
        let engines = Books { left_open: 1, stopped_twice: 1, ..Books::default() };
        let left =
            Verdict { engines, stuck: vec![0], upgrades_failed: 1, ..verdict(PlayerVerdict::default()) };
        assert_eq!(left.faults().len(), 4);
        let usage = |fds, mib: u64| Usage { fds, rss: mib << 20, ..Usage::default() };
        let grown =
            |after| Verdict { usage: Some((usage(50, 30), after)), ..verdict(PlayerVerdict::default()) };
        assert_eq!(grown(usage(82, 78)).faults(), Vec::<String>::new());
        assert_eq!(grown(usage(83, 79)).faults().len(), 2);
    }
}
