//! The custom variant of engines: platform, memory, a mounted folder and the engine's own parameters. Pure.

use crate::docker::Folder;
use crate::engines::recipe::{Cache, Custom, Platform};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

/// Parameters in one variant, and characters of each text.
const PARAMETERS_MAX: usize = 100;
const CHARS_MAX: usize = 4096;
const MIB: u64 = 1 << 20;
/// What is shown in place of a secret.
const MASK: &str = "********";

/// What engines are made from when the custom variant is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CustomVariantConfig)]
pub(crate) struct Variant {
    /// Whether it is used.
    #[serde(default)]
    pub(crate) enabled: bool,
    /// `amd64`, `arm32` or `arm64`.
    pub(crate) platform: String,
    /// `3.2.13` or `3.2.14`.
    #[serde(default = "arm_version")]
    pub(crate) arm_version: String,
    /// Number with `b`, `k`, `m` or `g`; `0` is unlimited.
    #[serde(default)]
    pub(crate) memory_limit: Option<String>,
    /// The engine's own.
    #[serde(default)]
    pub(crate) parameters: Vec<Parameter>,
    /// Whether the folder is mounted.
    #[serde(default)]
    pub(crate) torrent_folder_mount_enabled: bool,
    /// Folder on the host.
    #[serde(default)]
    pub(crate) torrent_folder_host_path: Option<String>,
    /// Folder in the container.
    #[serde(default = "container_path")]
    pub(crate) torrent_folder_container_path: String,
}

/// One parameter of an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = EngineParameter)]
pub(crate) struct Parameter {
    /// `--live-buffer`, …
    pub(crate) name: String,
    /// `flag`, `string`, `int`, `bytes` or `path`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Of that type.
    #[schema(value_type = serde_json::Value)]
    pub(crate) value: Value,
    /// Whether it is passed to engines.
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
}

fn arm_version() -> String {
    "3.2.13".to_owned()
}

fn container_path() -> String {
    "/root/.ACEStream/collected_torrent_files".to_owned()
}

const fn yes() -> bool {
    true
}

/// The parameters a new configuration begins with: name, type, value as JSON, whether it is passed.
const DEFAULTS: [(&str, &str, &str, bool); 35] = [
    ("--client-console", "flag", "true", true),
    ("--bind-all", "flag", "true", true),
    ("--service-remote-access", "flag", "false", false),
    ("--allow-user-config", "flag", "false", false),
    ("--stats-report-peers", "flag", "false", false),
    ("--access-token", "string", "\"\"", false),
    ("--service-access-token", "string", "\"\"", false),
    ("--cache-dir", "path", "\"~/.ACEStream\"", false),
    ("--log-file", "path", "\"\"", false),
    ("--live-cache-type", "string", "\"memory\"", true),
    ("--live-cache-size", "bytes", "268435456", true),
    ("--vod-cache-type", "string", "\"disk\"", true),
    ("--vod-cache-size", "bytes", "536870912", true),
    ("--vod-drop-max-age", "int", "0", false),
    ("--max-file-size", "bytes", "2147483648", true),
    ("--live-buffer", "int", "10", true),
    ("--vod-buffer", "int", "5", true),
    ("--refill-buffer-interval", "int", "5", true),
    ("--max-connections", "int", "200", true),
    ("--max-peers", "int", "40", true),
    ("--max-upload-slots", "int", "4", true),
    ("--auto-slots", "int", "1", true),
    ("--download-limit", "int", "0", false),
    ("--upload-limit", "int", "0", false),
    ("--port", "int", "8621", false),
    ("--webrtc-allow-outgoing-connections", "int", "0", false),
    ("--webrtc-allow-incoming-connections", "int", "0", false),
    ("--stats-report-interval", "int", "60", true),
    ("--slots-manager-use-cpu-limit", "int", "0", false),
    ("--core-skip-have-before-playback-pos", "int", "0", false),
    ("--core-dlr-periodic-check-interval", "int", "10", true),
    ("--check-live-pos-interval", "int", "10", true),
    ("--log-debug", "int", "0", false),
    ("--log-max-size", "bytes", "10485760", true),
    ("--log-backup-count", "int", "3", true),
];

impl Default for Variant {
    fn default() -> Self {
        let parameter = |(name, kind, value, enabled): (&str, &str, &str, bool)| Parameter {
            name: name.to_owned(),
            kind: kind.to_owned(),
            value: serde_json::from_str(value).unwrap_or_default(),
            enabled,
        };
        Self {
            enabled: false,
            platform: platform().to_owned(),
            arm_version: arm_version(),
            memory_limit: None,
            parameters: DEFAULTS.map(parameter).into(),
            torrent_folder_mount_enabled: false,
            torrent_folder_host_path: None,
            torrent_folder_container_path: container_path(),
        }
    }
}

/// The platforms there are images for.
pub(crate) const PLATFORMS: [&str; 3] = ["amd64", "arm32", "arm64"];

/// The platform of this machine, in the words of the images.
pub(crate) const fn platform() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else if cfg!(target_arch = "arm") {
        "arm32"
    } else {
        "amd64"
    }
}

impl Variant {
    /// A configuration from JSON; the member at fault and why.
    pub(crate) fn read(value: &Value) -> Result<Self, String> {
        let mut variant = Self::deserialize(value).map_err(|error| error.to_string())?;
        if variant.memory_limit.as_ref().is_some_and(|limit| limit.trim().is_empty()) {
            variant.memory_limit = None;
        }
        Ok(variant)
    }

    /// What of its own members is not allowed: name of the member and why.
    pub(crate) fn fault(&self) -> Option<(&'static str, String)> {
        if !PLATFORMS.contains(&self.platform.as_str()) {
            return Some(("platform", "platform must be one of: amd64, arm32, arm64".to_owned()));
        }
        if !["3.2.13", "3.2.14"].contains(&self.arm_version.as_str()) {
            return Some(("arm_version", "arm_version must be one of: 3.2.13, 3.2.14".to_owned()));
        }
        if let Some(limit) = &self.memory_limit
            && !is_memory_limit(limit)
        {
            let text = "memory_limit must be a number with b, k, m or g between 32m and 128g, or 0";
            return Some(("memory_limit", text.to_owned()));
        }
        let is_absolute =
            |path: &str| path.starts_with('/') && path.len() <= CHARS_MAX && !path.contains('\0');
        let host = self.torrent_folder_host_path.as_deref();
        if host.is_some_and(|path| !is_absolute(path))
            || (self.torrent_folder_mount_enabled && host.is_none())
        {
            let text = "torrent_folder_host_path must be an absolute path when the mount is enabled";
            return Some(("torrent_folder_host_path", text.to_owned()));
        }
        if !is_absolute(&self.torrent_folder_container_path) {
            let text = "torrent_folder_container_path must be an absolute path";
            return Some(("torrent_folder_container_path", text.to_owned()));
        }
        if self.parameters.len() > PARAMETERS_MAX {
            return Some(("parameters", format!("there may be at most {PARAMETERS_MAX} parameters")));
        }
        None
    }

    /// Whether its parameters have values of their types.
    pub(crate) fn check_parameters(&self) -> Result<(), String> {
        for parameter in &self.parameters {
            parameter.check()?;
            // There all arguments are one text, which is split again at each space.
            let is_split = self.platform == "amd64" && parameter.enabled;
            let words = || parameter.words().into_iter().flat_map(|word| word.chars().collect::<Vec<_>>());
            if is_split && words().any(char::is_whitespace) {
                return Err(format!("Parameter {} may have no spaces on amd64", parameter.name));
            }
        }
        Ok(())
    }

    /// Everything.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.fault() {
            Some((_, text)) => Err(text),
            None => self.check_parameters(),
        }
    }

    /// What engines are made from, under the name of its template.
    pub(crate) fn recipe(&self, template: Option<String>) -> Custom {
        let folder = || Folder {
            host: self.torrent_folder_host_path.clone().unwrap_or_default().into(),
            container: self.torrent_folder().into(),
        };
        Custom {
            name: template.unwrap_or_else(|| self.platform.clone()),
            platform: match self.platform.as_str() {
                "arm32" => Platform::Arm32,
                "arm64" => Platform::Arm64,
                _ => Platform::Amd64,
            },
            arm_version: self.arm_version.clone(),
            arguments: self.parameters.iter().flat_map(Parameter::words).collect(),
            // No limit here and an unlimited one are different: only the latter beats the general limit.
            memory_bytes: self
                .memory_limit
                .as_deref()
                .and_then(memory_bytes)
                .map(|bytes| Some(bytes).filter(|bytes| *bytes > 0)),
            folder: self.torrent_folder_mount_enabled.then(folder),
            cache: self.cache(),
        }
    }

    /// The text of a parameter that is passed to engines.
    fn passed(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|parameter| parameter.enabled && parameter.name == name);
        found.and_then(|parameter| parameter.value.as_str()).filter(|text| !text.is_empty())
    }

    /// The cache directory engines are given, as it is seen inside.
    fn cache_directory(&self) -> Option<String> {
        let path = self.passed("--cache-dir")?;
        // Engines of this image run as root.
        let path = path.strip_prefix('~').map_or_else(|| path.to_owned(), |rest| format!("/root{rest}"));
        Some(path.trim_end_matches('/').to_owned())
    }

    /// Where engines keep torrent files: beside their cache where one is named.
    fn torrent_folder(&self) -> String {
        self.cache_directory().map_or_else(
            || self.torrent_folder_container_path.clone(),
            |path| format!("{path}/collected_torrent_files"),
        )
    }

    /// Where engines keep what they have received: on disk as soon as one of their two caches may be there.
    fn cache(&self) -> Cache {
        let is_memory = |name: &str| self.passed(name) == Some("memory");
        if is_memory("--live-cache-type") && is_memory("--vod-cache-type") {
            return Cache::Memory;
        }
        let directory = self.cache_directory().unwrap_or_else(|| "/root/.ACEStream".to_owned());
        Cache::Folder(format!("{directory}/.acestream_cache").into())
    }

    /// The same with secrets masked, for those who have not shown the key.
    pub(crate) fn masked(mut self) -> Self {
        let tokens = self.parameters.iter_mut().filter(|parameter| parameter.is_secret());
        for parameter in tokens.filter(|parameter| parameter.value != "") {
            parameter.value = json!(MASK);
        }
        self
    }

    /// Whoever writes back what was shown masked means the secret that is there.
    pub(crate) fn unmask(&mut self, known: &Self) {
        for parameter in self.parameters.iter_mut().filter(|p| p.is_secret() && p.value == MASK) {
            let before = known.parameters.iter().find(|before| before.name == parameter.name);
            parameter.value = before.map_or_else(|| json!(""), |before| before.value.clone());
        }
    }
}

impl Parameter {
    fn is_secret(&self) -> bool {
        self.name.ends_with("token")
    }

    /// What an engine is told: the flag, and its value unless it is a flag alone. One that is not enabled, off, or empty
    /// says nothing.
    fn words(&self) -> Vec<String> {
        let name = self.name.clone();
        match &self.value {
            _ if !self.enabled => Vec::new(),
            Value::Bool(is_on) => {
                if *is_on {
                    vec![name]
                } else {
                    Vec::new()
                }
            }
            Value::String(text) if text.is_empty() => Vec::new(),
            Value::String(text) => vec![name, text.clone()],
            value => vec![name, value.to_string()],
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || self.name.len() > CHARS_MAX {
            return Err("Parameter names must have 1 to 4096 characters".to_owned());
        }
        let name = &self.name;
        let (is_right, expected) = match self.kind.as_str() {
            "flag" => (self.value.is_boolean(), "boolean"),
            "int" | "bytes" => (self.value.is_i64(), "integer"),
            "string" | "path" => (self.value.as_str().is_some_and(|text| text.len() <= CHARS_MAX), "string"),
            _ => return Err(format!("Parameter {name} must be of type flag, string, int, bytes or path")),
        };
        if is_right || !self.enabled {
            Ok(())
        } else {
            Err(format!("Parameter {name} expects {expected} value"))
        }
    }
}

fn is_memory_limit(text: &str) -> bool {
    memory_bytes(text).is_some_and(|bytes| bytes == 0 || (32 * MIB..=128 * 1024 * MIB).contains(&bytes))
}

/// Docker's own form: digits and one letter, powers of 1024.
fn memory_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (digits, unit) = match text.strip_suffix(['b', 'k', 'm', 'g']) {
        Some(digits) => (digits, text.as_bytes()[text.len() - 1]),
        None => (text.as_str(), b'b'),
    };
    if digits.is_empty() || digits.len() > 15 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let shift = match unit {
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        _ => 0,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: what a new configuration holds is allowed by its own rules, and survives being written and read.
    #[test]
    fn the_default_is_allowed() {
        let variant = Variant::default();
        assert_eq!((variant.check(), variant.parameters.len()), (Ok(()), 35));
        assert_eq!(Variant::read(&json!(variant)), Ok(variant));
    }

    /// Guards: every rule of the configuration.
    #[test]
    fn what_is_not_allowed_is_told() {
        let fault = |change: Value| {
            let mut value = json!(Variant::default());
            value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            Variant::read(&value).unwrap().fault().map(|(member, _)| member)
        };
        for (change, expected) in [
            (json!({ "platform": "mips" }), Some("platform")),
            (json!({ "arm_version": "3" }), Some("arm_version")),
            (json!({ "memory_limit": "31m" }), Some("memory_limit")),
            (json!({ "memory_limit": "129g" }), Some("memory_limit")),
            (json!({ "memory_limit": "1.5g" }), Some("memory_limit")),
            (json!({ "memory_limit": "9999999999999999" }), Some("memory_limit")),
            (json!({ "memory_limit": "é" }), Some("memory_limit")),
            (json!({ "memory_limit": "512M" }), None),
            (json!({ "memory_limit": "0" }), None),
            (json!({ "memory_limit": "" }), None),
            (json!({ "torrent_folder_mount_enabled": true }), Some("torrent_folder_host_path")),
            (json!({ "torrent_folder_host_path": "relative" }), Some("torrent_folder_host_path")),
            (json!({ "torrent_folder_container_path": "x" }), Some("torrent_folder_container_path")),
        ] {
            assert_eq!(fault(change.clone()), expected, "{change}");
        }
        let parameter = |kind: &str, value: Value, enabled| Parameter {
            name: "--x".to_owned(),
            kind: kind.to_owned(),
            value,
            enabled,
        };
        for (kind, value, expected) in [
            ("flag", json!(1), "Parameter --x expects boolean value"),
            ("bytes", json!("1"), "Parameter --x expects integer value"),
            ("int", json!(1.5), "Parameter --x expects integer value"),
            ("path", json!(null), "Parameter --x expects string value"),
            ("float", json!(1), "Parameter --x must be of type flag, string, int, bytes or path"),
        ] {
            assert_eq!(parameter(kind, value, true).check(), Err(expected.to_owned()));
        }
        assert_eq!(parameter("int", json!("ignored"), false).check(), Ok(()));
    }

    /// Guards: tokens are shown to nobody without the key, and writing the shown form back keeps them.
    #[test]
    fn tokens_are_masked_and_come_back() {
        let mut variant = Variant::default();
        let token = variant.parameters.iter_mut().find(|p| p.name == "--access-token").unwrap();
        token.value = json!("hunter2");
        let mut shown = variant.clone().masked();
        assert!(!json!(shown).to_string().contains("hunter2") && json!(shown).to_string().contains(MASK));
        shown.unmask(&variant);
        assert_eq!(shown, variant);
    }

    /// Guards what engines are told: enabled parameters in their order, flags alone, nothing for what is off or empty.
    #[test]
    fn enabled_parameters_become_arguments() {
        let recipe = Variant::default().recipe(None);
        let expected = "--client-console --bind-all --live-cache-type memory --live-cache-size 268435456 --vod-cache-type disk \
                        --vod-cache-size 536870912 --max-file-size 2147483648 --live-buffer 10 --vod-buffer 5 \
                        --refill-buffer-interval 5 --max-connections 200 --max-peers 40 --max-upload-slots 4 \
                        --auto-slots 1 --stats-report-interval 60 --core-dlr-periodic-check-interval 10 \
                        --check-live-pos-interval 10 --log-max-size 10485760 --log-backup-count 3";
        assert_eq!(recipe.arguments.join(" "), expected);
        assert_eq!((recipe.name.as_str(), recipe.memory_bytes), (platform(), None));
        let mut variant = Variant::default();
        for parameter in &mut variant.parameters {
            parameter.enabled = ["--bind-all", "--allow-user-config", "--log-file", "--port"]
                .contains(&parameter.name.as_str());
        }
        let recipe = variant.recipe(Some("Living room".to_owned()));
        assert_eq!(recipe.arguments, ["--bind-all", "--port", "8621"]);
        assert_eq!(recipe.name, "Living room");
        assert_eq!(recipe.cache, Cache::Folder("/root/.ACEStream/.acestream_cache".into()));
        for parameter in
            variant.parameters.iter_mut().filter(|parameter| parameter.name.ends_with("-cache-type"))
        {
            (parameter.value, parameter.enabled) = (json!("memory"), true);
        }
        assert_eq!(variant.recipe(None).cache, Cache::Memory);
    }

    /// Guards values that would fall apart on their way to an engine.
    #[test]
    fn values_with_spaces_are_refused_where_they_are_split() {
        let mut variant = Variant::default();
        let file = variant.parameters.iter_mut().find(|p| p.name == "--log-file").unwrap();
        (file.value, file.enabled) = (json!("/var/log/my engine"), true);
        variant.platform = "amd64".to_owned();
        assert!(variant.check_parameters().unwrap_err().contains("--log-file"));
        variant.platform = "arm64".to_owned();
        assert_eq!(variant.check_parameters(), Ok(()));
    }

    /// Guards memory and the mounted folder: unlimited is not the same as nothing said, and the folder lies beside the
    /// cache where one is named.
    #[test]
    fn memory_and_folder_reach_the_recipe() {
        let mut variant = Variant::default();
        for (limit, expected) in [
            (None, None),
            (Some("0"), Some(None)),
            (Some("64m"), Some(Some(64 << 20))),
            (Some("1G"), Some(Some(1 << 30))),
        ] {
            variant.memory_limit = limit.map(str::to_owned);
            assert_eq!(variant.recipe(None).memory_bytes, expected, "{limit:?}");
        }
        assert_eq!(variant.recipe(None).folder, None);
        variant.torrent_folder_mount_enabled = true;
        variant.torrent_folder_host_path = Some("/srv/torrents".to_owned());
        let container = |variant: &Variant| variant.recipe(None).folder.unwrap().container;
        assert_eq!(container(&variant).to_str(), Some("/root/.ACEStream/collected_torrent_files"));
        let cache = variant.parameters.iter_mut().find(|p| p.name == "--cache-dir").unwrap();
        (cache.value, cache.enabled) = (json!("~/cache/"), true);
        assert_eq!(container(&variant).to_str(), Some("/root/cache/collected_torrent_files"));
    }
}
