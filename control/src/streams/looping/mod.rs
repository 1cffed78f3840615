//! Live streams that do not go on: finding them ([`detector`]) and not playing them for a while ([`list`]). Pure.

mod detector;
mod list;

pub(crate) use detector::{Detector, Found};
pub(crate) use list::{Entry, List};

use crate::store::SettingRow;
use std::time::{Duration, SystemTime};

/// Names of the settings, which are those of the environment, and the order of [`Settings::texts`].
const NAMES: [&str; 4] = [
    "STREAM_LOOP_DETECTION_ENABLED",
    "STREAM_LOOP_DETECTION_THRESHOLD_S",
    "STREAM_LOOP_CHECK_INTERVAL_S",
    "STREAM_LOOP_RETENTION_MINUTES",
];

/// How loops are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether they are looked for at all.
    pub is_enabled: bool,
    /// How long nothing new may come.
    pub threshold: Duration,
    /// Between two checks.
    pub check_interval: Duration,
    /// How long a broadcast stays on the list after it was last found; zero is for ever.
    pub retention: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_enabled: false,
            threshold: Duration::from_secs(3600),
            check_interval: Duration::from_secs(10),
            retention: Duration::ZERO,
        }
    }
}

impl Settings {
    fn texts(&self) -> [String; 4] {
        [
            self.is_enabled.to_string(),
            self.threshold.as_secs().to_string(),
            self.check_interval.as_secs().to_string(),
            (self.retention.as_secs() / 60).to_string(),
        ]
    }

    /// These settings as they are stored, beside what the environment says at this moment.
    pub(super) fn to_rows(self, environment: &Self, changed_at: SystemTime) -> Vec<SettingRow> {
        let values = NAMES.into_iter().zip(self.texts()).zip(environment.texts());
        let row = |((key, value), environment): ((&str, _), _)| SettingRow {
            key: key.to_owned(),
            value,
            environment: Some(environment),
            changed_at,
        };
        values.map(row).collect()
    }

    /// What the environment says, except where it was changed since and the environment still says the same.
    pub(super) fn with_stored(self, stored: impl Fn(&str) -> Option<SettingRow>) -> Self {
        let mut texts = self.texts();
        for (key, text) in NAMES.into_iter().zip(&mut texts) {
            if let Some(row) = stored(key).filter(|row| row.environment.as_ref() == Some(text)) {
                *text = row.value;
            }
        }
        let [is_enabled, threshold, check_interval, retention] = &texts;
        let seconds = |text: &str| text.parse().ok().map(Duration::from_secs);
        Self {
            is_enabled: is_enabled.parse().unwrap_or(self.is_enabled),
            threshold: seconds(threshold).unwrap_or(self.threshold),
            // Nothing is looked for all the time, whatever somebody wrote into the file.
            check_interval: seconds(check_interval)
                .unwrap_or(self.check_interval)
                .max(Duration::from_secs(1)),
            retention: seconds(retention).map_or(self.retention, |minutes| minutes.saturating_mul(60)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Guards: what was changed holds at the next start, until the environment says something new about it; a row that is
    /// not understood changes nothing.
    #[test]
    fn a_change_holds_until_the_environment_changes() {
        let environment = Settings::default();
        let changed = Settings {
            is_enabled: true,
            threshold: Duration::from_secs(90),
            check_interval: Duration::from_secs(7),
            retention: Duration::from_secs(120),
        };
        let rows = changed.to_rows(&environment, SystemTime::UNIX_EPOCH);
        let mut stored: HashMap<String, SettingRow> =
            rows.into_iter().map(|row| (row.key.clone(), row)).collect();
        assert_eq!(environment.with_stored(|key| stored.get(key).cloned()), changed);
        let new = Settings { threshold: Duration::from_secs(1000), ..environment };
        assert_eq!(
            new.with_stored(|key| stored.get(key).cloned()),
            Settings { threshold: Duration::from_secs(1000), ..changed }
        );
        stored.values_mut().for_each(|row| row.value = "x".into());
        assert_eq!(environment.with_stored(|key| stored.get(key).cloned()), environment);
    }
}
