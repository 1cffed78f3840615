//! Instants for another process of this machine: how long ago, or how soon.
//!
//! The clock is the same there, but an [`Instant`] cannot be told. What passes while it is on its way makes it that much
//! younger, which no deadline minds.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::{Duration, Instant};

/// Writes an instant.
///
/// # Errors
/// The writer's.
pub fn serialize<S: Serializer>(instant: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    told(*instant, Instant::now()).serialize(serializer)
}

/// Reads an instant.
///
/// # Errors
/// The reader's.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
    i64::deserialize(deserializer).map(|micros| heard(micros, Instant::now()))
}

/// The same for an instant that may not be.
pub mod option {
    use super::{Deserialize, Deserializer, Instant, Serialize, Serializer, heard, told};

    /// Writes it.
    ///
    /// # Errors
    /// The writer's.
    pub fn serialize<S: Serializer>(instant: &Option<Instant>, serializer: S) -> Result<S::Ok, S::Error> {
        instant.map(|instant| told(instant, Instant::now())).serialize(serializer)
    }

    /// Reads it.
    ///
    /// # Errors
    /// The reader's.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Instant>, D::Error> {
        let micros = Option::<i64>::deserialize(deserializer)?;
        Ok(micros.map(|micros| heard(micros, Instant::now())))
    }
}

/// Microseconds from now on, negative for what was.
fn told(instant: Instant, now: Instant) -> i64 {
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    match now.checked_duration_since(instant) {
        Some(ago) => -micros(ago),
        None => micros(instant.saturating_duration_since(now)),
    }
}

fn heard(micros: i64, now: Instant) -> Instant {
    let time = Duration::from_micros(micros.unsigned_abs());
    // Further away than the clock reaches is as good as now.
    if micros <= 0 { now.checked_sub(time) } else { now.checked_add(time) }.unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: past and future instants come out where they were, and nonsense is no panic.
    #[test]
    fn instants_come_out_where_they_were() {
        let now = Instant::now();
        for instant in [now, now - Duration::from_secs(3), now + Duration::from_millis(7)] {
            assert_eq!(heard(told(instant, now), now), instant);
        }
        for nonsense in [i64::MIN, i64::MAX] {
            let _ = heard(nonsense, now);
        }
    }
}
