//! A client that is too far behind: off the window, or further back than it may be.
//!
//! It finishes the packet it stands in, and as soon as its socket takes more it goes on at a random access point, behind
//! the tables in force there and a flagged discontinuity for every packet id. Or it is closed, if that is wanted.

use super::{Client, Prefix, Rules};
use crate::media::ts::{PACKET, stitch};
use crate::metrics::Counters;
use crate::window::AccessPoint;
use sluice_contract::EndReason;
use std::io;

/// How much of the window is looked at to find the counters of packet ids that follow a skip.
const LOOK_AHEAD_BYTES: usize = 128 << 10;

impl Client {
    /// Whether it stands further back than it may although there is a place to go on at.
    pub(super) fn is_too_far_behind(&self) -> bool {
        if self.cursor >= self.watched.lag_floor() {
            return false;
        }
        let window = self.watched.window();
        let access = window.access();
        access.is_empty() || access.newest().is_some_and(|point| point.offset > self.cursor)
    }

    /// Finishes its packet before it goes on elsewhere, or ends here.
    pub(super) fn fall_behind(&mut self, rules: &Rules) -> io::Result<Option<EndReason>> {
        if !rules.skips {
            return Ok(Some(EndReason::TooSlow));
        }
        let rest = self.watched.window().rest_of_packet(self.cursor)?;
        let Some(rest) = rest else { return Ok(Some(EndReason::Overrun)) };
        self.prefix = Prefix::Owned(rest.into(), 0);
        self.fell_behind = true;
        Ok(None)
    }

    /// Goes on at a random access point, behind tables and a flagged discontinuity.
    pub(super) fn skip(&mut self, rules: &Rules, counters: &Counters) -> io::Result<()> {
        let window = self.watched.window();
        let least = self.watched.lag_floor().max(self.cursor + 1);
        let (cursor, prefix) = match window.access().landing(rules.join_behind, window.head(), least) {
            Some(point) if point.offset > self.cursor => {
                let AccessPoint { offset, tables, continuity, .. } = point;
                let length = (window.head() - offset).min(LOOK_AHEAD_BYTES as u64) as usize;
                let mut ahead = vec![0; length - length % PACKET];
                window.read(*offset, &mut ahead)?;
                (*offset, stitch::skip_prefix(tables, &continuity.looking_ahead(&ahead)))
            }
            // Without a point to go on at, the oldest packet it may have is as good as any.
            _ => {
                let least = self.watched.lag_floor().max(window.tail());
                (least.next_multiple_of(PACKET as u64).min(window.head()), Vec::new())
            }
        };
        drop(window);
        let missed = cursor.saturating_sub(self.cursor);
        self.fell_behind = false;
        self.skips += 1;
        self.skipped_bytes += missed;
        counters.skips.add(1);
        counters.skipped_bytes.add(missed);
        self.cursor = cursor;
        self.prefix = Prefix::Owned(prefix.into(), 0);
        Ok(())
    }
}
