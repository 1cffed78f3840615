//! Recipes: which image an engine is made from, and how its arguments, labels and ports are passed. Pure.
//!
//! A [`Recipe`] is what the operator chose, a [`Site`] what holds for every engine of this appliance, an [`Order`] what
//! is particular to one. [`container`] puts them together; it is the one place that knows the labels.

use crate::docker::{ContainerSpec, Folder, Label, Network, Protocol, Published};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

mod custom;

pub use super::caches::Cache;
pub use custom::{Custom, Platform};

/// Label of the HTTP port inside.
pub const LABEL_HTTP: &str = "acestream.http_port";
/// Label of the HTTPS port inside.
pub const LABEL_HTTPS: &str = "acestream.https_port";
/// Label of the control API's port inside.
pub const LABEL_API: &str = "acestream.api_port";
/// Label of the HTTP port callers use.
pub const LABEL_HOST_HTTP: &str = "host.http_port";
/// Label of the published HTTPS port.
pub const LABEL_HOST_HTTPS: &str = "host.https_port";
/// Label of the published control API's port.
pub const LABEL_HOST_API: &str = "host.api_port";
/// Label of the P2P port, when the engine has one of its own.
pub const LABEL_P2P: &str = "acestream.p2p_port";
/// Label of the variant.
pub const LABEL_VARIANT: &str = "acestream.engine_variant";
/// Label of the VPN container an engine is joined to.
pub const LABEL_VPN: &str = "acestream.vpn_container";
/// Label of the engine that owns a VPN's forwarded port.
pub const LABEL_FORWARDED: &str = "acestream.forwarded";
/// Label of the appliance an engine belongs to.
pub const LABEL_INSTANCE: &str = "sluice.instance";
/// Label of what the engine was made by; another value means it is out of date.
pub const LABEL_RECIPE: &str = "sluice.recipe";

/// The base arguments of `jopsis-amd64`, in order. The flag that stands twice does so in the original.
const JOPSIS_AMD64: &str = "--client-console --bind-all --service-remote-access --access-token acestream \
    --service-access-token root --stats-report-peers --live-cache-type memory --live-cache-size 209715200 \
    --vod-cache-type memory --cache-dir /acestream/.ACEStream --vod-drop-max-age 120 --max-file-size 2147483648 \
    --live-buffer 25 --vod-buffer 10 --max-connections 500 --max-peers 50 --max-upload-slots 50 --auto-slots 0 \
    --download-limit 0 --upload-limit 0 --stats-report-interval 2 --stats-report-peers \
    --slots-manager-use-cpu-limit 1 --core-skip-have-before-playback-pos 1 --core-dlr-periodic-check-interval 5 \
    --check-live-pos-interval 5 --refill-buffer-interval 1 --webrtc-allow-outgoing-connections 1 \
    --allow-user-config --log-debug 0 --log-max-size 15000000 --log-backup-count 1";
/// The base command of the images derived from Android builds.
const ANDROID: &str = "python main.py --bind-all --client-console --live-cache-type memory";
const ANDROID_END: &str = "--disable-sentry --log-stdout";

/// A recipe by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// AceStream on Ubuntu behind one environment variable for each argument.
    KrinkutoAmd64,
    /// All arguments in one environment variable.
    JopsisAmd64,
    /// Android build, arguments as the command.
    JopsisArm32,
    /// Android build, arguments as the command.
    JopsisArm64,
    /// Android build with a control API.
    AceServeAmd64,
    /// Android build with a control API.
    AceServeArm32,
    /// Android build with a control API.
    AceServeArm64,
}

impl Variant {
    /// Every variant.
    pub const ALL: [Self; 7] = [
        Self::KrinkutoAmd64,
        Self::JopsisAmd64,
        Self::JopsisArm32,
        Self::JopsisArm64,
        Self::AceServeAmd64,
        Self::AceServeArm32,
        Self::AceServeArm64,
    ];

    /// Its name in settings, labels and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KrinkutoAmd64 => "krinkuto11-amd64",
            Self::JopsisAmd64 => "jopsis-amd64",
            Self::JopsisArm32 => "jopsis-arm32",
            Self::JopsisArm64 => "jopsis-arm64",
            Self::AceServeAmd64 => "AceServe-amd64",
            Self::AceServeArm32 => "AceServe-arm32",
            Self::AceServeArm64 => "AceServe-arm64",
        }
    }

    /// The variant of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.as_str().eq_ignore_ascii_case(name))
    }

    /// What runs on a daemon of this architecture when nobody chose.
    pub fn of_architecture(architecture: &str) -> Self {
        match architecture {
            "arm64" | "aarch64" => Self::JopsisArm64,
            arm if arm.starts_with("arm") => Self::JopsisArm32,
            _ => Self::KrinkutoAmd64,
        }
    }

    /// Whether its image is made for a daemon of this architecture.
    pub fn runs_on(self, architecture: &str) -> bool {
        let is_made_for = |other: Self| other.as_str().rsplit('-').next() == self.as_str().rsplit('-').next();
        is_made_for(Self::of_architecture(architecture))
    }

    /// Where engines of it keep what they have received: all but one are told to keep it in memory.
    pub fn cache(self) -> Cache {
        match self {
            Self::KrinkutoAmd64 => Cache::Folder("/home/appuser/.ACEStream/.acestream_cache".into()),
            _ => Cache::Memory,
        }
    }

    /// Whether the second port is the control API's rather than HTTPS.
    pub const fn has_api_port(self) -> bool {
        matches!(self, Self::AceServeAmd64 | Self::AceServeArm32 | Self::AceServeArm64)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an image takes its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Style {
    /// One environment variable each, and the same as lines in `CONF` for another generation of the image.
    Variables,
    /// All in `ACESTREAM_ARGS`.
    ArgumentsVariable(String),
    /// The container's command.
    Command(Vec<String>),
}

/// What an engine is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The name shown and labelled: a variant's, or a template's.
    pub name: String,
    /// The image.
    pub image: String,
    /// Base arguments and how they are passed.
    pub style: Style,
    /// Whether the second port is the control API's rather than HTTPS.
    pub has_api_port: bool,
    /// Where engines keep what they have received.
    pub cache: Cache,
}

/// Image tags an operator may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags {
    /// Of `jopsis-arm32`.
    pub arm32: String,
    /// Of `jopsis-arm64`.
    pub arm64: String,
}

impl Default for Tags {
    fn default() -> Self {
        Self { arm32: "arm32-v3.2.13".to_owned(), arm64: "arm64-v3.2.13".to_owned() }
    }
}

impl Recipe {
    /// The recipe of a variant.
    pub fn of(variant: Variant, tags: &Tags) -> Self {
        let words = |text: &str| Style::Command(text.split_whitespace().map(str::to_owned).collect());
        let android = |cache: &str, more: &str| words(&format!("{ANDROID} {cache} {ANDROID_END} {more}"));
        let small = "--live-mem-cache-size 52428800";
        let large = "--live-mem-cache-size 104857600";
        let (image, style) = match variant {
            Variant::KrinkutoAmd64 => {
                ("ghcr.io/krinkuto11/acestream-http-proxy:latest".to_owned(), Style::Variables)
            }
            Variant::JopsisAmd64 => {
                ("jopsis/acestream:x64".to_owned(), Style::ArgumentsVariable(JOPSIS_AMD64.to_owned()))
            }
            Variant::JopsisArm32 => (format!("jopsis/acestream:{}", tags.arm32), android(large, "")),
            Variant::JopsisArm64 => (format!("jopsis/acestream:{}", tags.arm64), android(large, "")),
            Variant::AceServeAmd64 => (
                "ghcr.io/krinkuto11/acestream:latest-amd64".to_owned(),
                android(small, "--live-buffer 25 --disable-upnp"),
            ),
            Variant::AceServeArm32 => {
                ("ghcr.io/krinkuto11/acestream:latest-arm32".to_owned(), android(large, ""))
            }
            Variant::AceServeArm64 => {
                ("ghcr.io/krinkuto11/acestream:latest-arm64".to_owned(), android(large, ""))
            }
        };
        Self {
            name: variant.as_str().to_owned(),
            image,
            style,
            has_api_port: variant.has_api_port(),
            cache: variant.cache(),
        }
    }
}

/// Tells an engine to leave routers alone: behind Docker's own translation of addresses a port it had opened leads nowhere.
const WITHOUT_UPNP: &str = "--disable-upnp";

impl Recipe {
    /// The same recipe on the host's own network, where a port that a router opens leads to the engine.
    pub fn with_upnp(mut self) -> Self {
        if let Style::Command(words) = &mut self.style {
            words.retain(|word| word != WITHOUT_UPNP);
        }
        self
    }
}

/// What holds for every engine of this appliance.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Marks containers as managed.
    pub label: Label,
    /// Marks them as this appliance's.
    pub instance: String,
    /// Where engines are attached.
    pub network: Network,
    /// Address of the host published ports are bound to.
    pub publish: IpAddr,
    /// Whether HTTPS is published too.
    pub has_https_mapped: bool,
    /// Memory limit of an engine.
    pub memory_bytes: Option<u64>,
    /// Folders of the host every engine sees.
    pub folders: Vec<Folder>,
}

/// Ports of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// HTTP port: the same number inside and outside.
    pub http: u16,
    /// HTTPS port inside; the control API's, inside and outside, where the recipe has one.
    pub second: u16,
    /// Published HTTPS port.
    pub host_https: Option<u16>,
    /// P2P port of its own, inside and outside.
    pub p2p: Option<u16>,
}

/// What is particular to one engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Its container's name.
    pub name: String,
    /// Its ports.
    pub ports: Ports,
    /// Environment a caller asked for; what the recipe sets wins, except for `CONF`.
    pub env: BTreeMap<String, String>,
    /// Labels a caller asked for; the reserved ones win.
    pub labels: BTreeMap<String, String>,
}

/// The container of one engine.
pub fn container(recipe: &Recipe, site: &Site, order: &Order) -> ContainerSpec {
    let (env, command) = arguments(recipe, order);
    ContainerSpec {
        name: order.name.clone(),
        image: recipe.image.clone(),
        env: env.into_iter().collect(),
        command,
        labels: labels(recipe, site, order),
        network: site.network.clone(),
        ports: published(recipe, site, &order.ports),
        memory_bytes: site.memory_bytes,
        folders: site.folders.clone(),
    }
}

/// Ports as arguments, in the order every recipe has them. The P2P port is last, so that it beats one among the base
/// arguments.
fn port_arguments(recipe: &Recipe, ports: &Ports) -> Vec<String> {
    let second = if recipe.has_api_port { "--api-port" } else { "--https-port" };
    let mut words =
        vec!["--http-port".to_owned(), ports.http.to_string(), second.to_owned(), ports.second.to_string()];
    words.extend(ports.p2p.into_iter().flat_map(|port| ["--port".to_owned(), port.to_string()]));
    words
}

fn arguments(recipe: &Recipe, order: &Order) -> (BTreeMap<String, String>, Option<Vec<String>>) {
    let mut env = order.env.clone();
    let ports = &order.ports;
    match &recipe.style {
        Style::Variables => {
            let lines = format!("--http-port={}\n--https-port={}\n--bind-all", ports.http, ports.second);
            // A caller's own text is taken to the letter, even an empty one.
            env.entry("CONF".to_owned()).or_insert(lines);
            let own = [
                ("HTTP_PORT", ports.http.to_string()),
                ("HTTPS_PORT", ports.second.to_string()),
                ("BIND_ALL", "true".to_owned()),
                ("INTERNAL_BUFFERING", "60".to_owned()),
                ("CACHE_LIMIT", "1".to_owned()),
            ];
            env.extend(own.map(|(name, value)| (name.to_owned(), value)));
            env.extend(ports.p2p.map(|port| ("P2P_PORT".to_owned(), port.to_string())));
            (env, None)
        }
        Style::ArgumentsVariable(base) => {
            let words = port_arguments(recipe, ports).join(" ");
            let all = if base.is_empty() { words } else { format!("{base} {words}") };
            env.insert("ACESTREAM_ARGS".to_owned(), all);
            (env, None)
        }
        Style::Command(base) => {
            (env, Some(base.iter().cloned().chain(port_arguments(recipe, ports)).collect()))
        }
    }
}

fn labels(recipe: &Recipe, site: &Site, order: &Order) -> BTreeMap<String, String> {
    let ports = &order.ports;
    let mut labels = order.labels.clone();
    let mut set = |key: &str, value: String| {
        labels.insert(key.to_owned(), value);
    };
    set(LABEL_HTTP, ports.http.to_string());
    set(LABEL_HOST_HTTP, ports.http.to_string());
    if recipe.has_api_port {
        set(LABEL_API, ports.second.to_string());
        set(LABEL_HOST_API, ports.second.to_string());
    } else {
        set(LABEL_HTTPS, ports.second.to_string());
        ports.host_https.into_iter().for_each(|port| set(LABEL_HOST_HTTPS, port.to_string()));
    }
    ports.p2p.into_iter().for_each(|port| set(LABEL_P2P, port.to_string()));
    set(LABEL_VARIANT, recipe.name.clone());
    set(LABEL_INSTANCE, site.instance.clone());
    set(LABEL_RECIPE, fingerprint(recipe, site));
    set(&site.label.key, site.label.value.clone());
    labels
}

fn published(recipe: &Recipe, site: &Site, ports: &Ports) -> Vec<Published> {
    // On the host's own network every port is the host's already, and Docker refuses mappings.
    if site.network == Network::Host {
        return Vec::new();
    }
    let tcp = |container_port, host_port| Published {
        container_port,
        protocol: Protocol::Tcp,
        address: site.publish,
        host_port,
    };
    let mut published = vec![tcp(ports.http, ports.http)];
    if recipe.has_api_port {
        published.push(tcp(ports.second, ports.second));
    } else if site.has_https_mapped {
        published.extend(ports.host_https.map(|host_https| tcp(ports.second, host_https)));
    }
    // Peers come from everywhere, whatever address the API is published on.
    let everywhere: IpAddr = if site.publish.is_ipv6() {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    };
    for (port, protocol) in
        ports.p2p.into_iter().flat_map(|port| [(port, Protocol::Tcp), (port, Protocol::Udp)])
    {
        published.push(Published { container_port: port, protocol, address: everywhere, host_port: port });
    }
    published
}

/// A short text that changes when engines of this recipe would be made differently.
pub fn fingerprint(recipe: &Recipe, site: &Site) -> String {
    let base = match &recipe.style {
        Style::Variables => String::new(),
        Style::ArgumentsVariable(text) => text.clone(),
        Style::Command(words) => words.join(" "),
    };
    let network = match &site.network {
        Network::Bridge => "",
        Network::Named(name) => name,
        Network::Host => "host",
    };
    let folders: Vec<String> = site
        .folders
        .iter()
        .map(|folder| format!("{}:{}", folder.host.display(), folder.container.display()))
        .collect();
    let memory = site.memory_bytes.unwrap_or_default();
    let all = format!("{}\n{base}\n{network}\n{memory}\n{}", recipe.image, folders.join("\n"));
    // FNV-1a: the same in every process and version, unlike std's hasher.
    let hash = all
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests;
