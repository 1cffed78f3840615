//! Times as the API writes them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// UTC with microseconds: `2026-02-01T10:20:30.123456Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(time.max(UNIX_EPOCH)).to_string()
}

/// What the clock on the wall showed at an instant.
pub(crate) fn wall(at: Instant) -> SystemTime {
    SystemTime::now().checked_sub(at.elapsed()).unwrap_or(UNIX_EPOCH)
}

/// Seconds since 1970 with a fraction, as client records have them.
pub(crate) fn epoch_s(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Milliseconds since 1970, as a browser counts.
pub(crate) fn epoch_ms(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

/// Seconds from one time to another; 0 when the clock was set back in between.
pub(crate) fn seconds_between(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_utc_with_microseconds() {
        let time = UNIX_EPOCH + Duration::new(1_769_941_230, 123_456_789);
        assert_eq!(rfc3339(time), "2026-02-01T10:20:30.123456Z");
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(seconds_between(time, time - Duration::from_secs(9)), 0.0);
    }
}
