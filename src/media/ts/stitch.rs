//! The packets this appliance adds to a stream: null packets, flagged discontinuities, and the tables in front of a
//! random access point.
//!
//! Continuity counters are chosen so that the source packet that follows is the expected one. ffmpeg then counts no
//! continuity error: it takes a flagged packet's counter for granted and expects the next one to follow it.

use super::{
    continuity::Continuity,
    packet::{NULL_PID, PACKET, SYNC},
    psi::Tables,
};

/// The PID of the program association table.
const PAT_PID: u16 = 0;

/// A packet that players discard: it keeps a silent connection alive.
pub const fn null_packet() -> [u8; PACKET] {
    let mut packet = [0xff; PACKET];
    packet[0] = SYNC;
    packet[1] = (NULL_PID >> 8) as u8;
    packet[2] = (NULL_PID & 0xff) as u8;
    packet[3] = 0x10;
    packet
}

/// A packet of this PID without payload whose discontinuity indicator is set. The PID's next payload packet is
/// expected to carry `continuity` + 1.
pub fn discontinuity(pid: u16, continuity: u8) -> [u8; PACKET] {
    let mut packet = [0xff; PACKET];
    packet[0] = SYNC;
    packet[1] = (pid >> 8) as u8 & 0x1f;
    packet[2] = pid as u8;
    packet[3] = 0x20 | (continuity & 0x0f);
    packet[4] = (PACKET - 5) as u8;
    packet[5] = 0x80;
    packet
}

/// What a joining player receives before the random access point: PAT and PMT packets, restamped so that the next
/// ones in the stream follow on. `continuity` is the snapshot of that point.
pub fn join_prefix(tables: &Tables, continuity: &Continuity) -> Vec<u8> {
    let mut prefix = Vec::with_capacity((tables.pat.len() + tables.pmt.len()) * PACKET);
    for (pid, packets) in table_pids(tables) {
        restamp(&mut prefix, packets, first_stamp(continuity, pid, packets.len()));
    }
    prefix
}

/// What goes between two parts of a stream that do not follow on: each table behind a flagged discontinuity of its
/// PID, then one flagged discontinuity for every other PID. `continuity` is the snapshot of the point that follows.
pub fn skip_prefix(tables: &Tables, continuity: &Continuity) -> Vec<u8> {
    let mut prefix = Vec::new();
    for (pid, packets) in table_pids(tables) {
        let first = first_stamp(continuity, pid, packets.len());
        prefix.extend_from_slice(&discontinuity(pid, first.wrapping_sub(1)));
        restamp(&mut prefix, packets, first);
    }
    for counter in continuity.iter() {
        if counter.pid != PAT_PID && counter.pid != tables.pmt_pid {
            prefix.extend_from_slice(&discontinuity(counter.pid, counter.last));
        }
    }
    prefix
}

fn table_pids(tables: &Tables) -> [(u16, &[[u8; PACKET]]); 2] {
    [(PAT_PID, &tables.pat), (tables.pmt_pid, &tables.pmt)]
}

/// The counter of the first of `count` packets when the last one carries what the stream carried last. A PID the
/// snapshot does not know starts at 0: nothing can be promised about what follows.
fn first_stamp(continuity: &Continuity, pid: u16, count: usize) -> u8 {
    match continuity.last(pid) {
        Some(last) => last.wrapping_sub(count.saturating_sub(1) as u8) & 0x0f,
        None => 0,
    }
}

fn restamp(prefix: &mut Vec<u8>, packets: &[[u8; PACKET]], first: u8) {
    for (index, packet) in packets.iter().enumerate() {
        let start = prefix.len();
        prefix.extend_from_slice(packet);
        let stamp = &mut prefix[start + 3];
        *stamp = *stamp & 0xf0 | first.wrapping_add(index as u8) & 0x0f;
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            packet::{Packet, packets},
            scanner::{Event, Rap, Scanner},
            testing::{AUDIO_PID, PMT_PID, VIDEO_PID, seconds},
        },
        *,
    };

    fn raps(bytes: &[u8]) -> Vec<Rap> {
        let mut found = Vec::new();
        Scanner::new().scan(0, bytes, &mut |event| {
            if let Event::RandomAccess(rap) = event {
                found.push(rap);
            }
        });
        found
    }

    /// Continuity errors a fresh receiver counts.
    fn errors(bytes: &[u8]) -> u64 {
        let mut scanner = Scanner::new();
        scanner.scan(0, bytes, &mut |_| ());
        scanner.counters().continuity_errors
    }

    #[test]
    fn a_null_packet_is_one() {
        let bytes = null_packet();
        let packet = Packet::new(&bytes);
        assert!(packet.in_sync() && packet.is_null() && packet.has_payload() && !packet.has_adaptation());
    }

    #[test]
    fn a_discontinuity_packet_has_no_payload_and_the_flag_only() {
        let bytes = discontinuity(0x1234, 9);
        let packet = Packet::new(&bytes);
        assert!(
            packet.in_sync() && packet.discontinuity() && !packet.has_payload() && !packet.random_access()
        );
        assert_eq!((packet.pid(), packet.continuity(), packet.pcr()), (0x1234, 9, None));
        assert_eq!(packet.adaptation().len(), PACKET - 5);
    }

    #[test]
    fn a_join_begins_with_the_tables_and_goes_on_without_a_gap() {
        let stream = seconds(5, 0);
        for rap in raps(&stream) {
            let prefix = join_prefix(&rap.tables, &rap.continuity);
            assert_eq!(packets(&prefix).map(Packet::pid).collect::<Vec<_>>(), [0, PMT_PID]);
            let received = [&prefix, &stream[rap.offset as usize..]].concat();
            assert_eq!(errors(&received), 0, "joined at {}", rap.offset);
            let first = raps(&received)[0].offset;
            assert_eq!(first, prefix.len() as u64, "joined at {}", rap.offset);
        }
    }

    #[test]
    fn a_skip_is_flagged_once_per_pid_and_goes_on_without_an_error() {
        let stream = seconds(5, 0);
        let rap = raps(&stream).pop().expect("five points");
        let prefix = skip_prefix(&rap.tables, &rap.continuity);
        let flagged: Vec<u16> = packets(&prefix).filter(|p| p.discontinuity()).map(Packet::pid).collect();
        assert_eq!(flagged, [0, PMT_PID, VIDEO_PID, AUDIO_PID]);
        // Cut somewhere in the first second.
        let received = [&stream[..PACKET * 77], &prefix, &stream[rap.offset as usize..]].concat();
        assert_eq!(errors(&received), 0);
        let unflagged = [&stream[..PACKET * 77], &stream[rap.offset as usize..]].concat();
        assert!(errors(&unflagged) > 0, "the cut must be one that receivers notice");
    }
}
