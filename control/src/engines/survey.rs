//! Where this process is in relation to Docker, and what follows for engines: recipe, network, how they are reached.
//!
//! Own container, if any, is found by its id in the process's own cgroup and mounts; only when Docker knows a container
//! of that id is it believed.

use super::fleet::{Ground, Reach};
use super::recipe::{Custom, Recipe, Site, Tags, Variant};
use crate::docker::{Details, Docker, Error, Folder, Host, Label, Network};
use std::net::{IpAddr, Ipv4Addr};

/// What the operator said about engines in Docker.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// Where Docker is.
    pub host: Host,
    /// Which recipe; by the daemon's architecture when nobody said.
    pub variant: Option<Variant>,
    /// A recipe of the operator's own, which beats every variant.
    pub custom: Option<Custom>,
    /// Tags of images.
    pub tags: Tags,
    /// Marks containers as managed.
    pub label: Label,
    /// Marks them as this appliance's.
    pub instance: String,
    /// Where engines are attached; found out when nobody said.
    pub network: Option<Network>,
    /// Address of Docker's host ports are published on; found out when nobody said.
    pub publish: Option<IpAddr>,
    /// Whether HTTPS is published too.
    pub has_https_mapped: bool,
    /// Memory limit of an engine.
    pub memory_bytes: Option<u64>,
    /// Folders of the host every engine sees.
    pub folders: Vec<Folder>,
}

/// Looks at Docker and at this process.
///
/// # Errors
/// Docker cannot be used.
pub(crate) async fn survey(docker: &dyn Docker, setup: &Setup) -> Result<Ground, Error> {
    let version = docker.version().await?;
    let own = own_container(docker, setup).await?;
    let ground = ground(setup, &version.architecture, own.as_ref());
    tracing::info!(
        docker = version.release,
        api = version.api,
        architecture = version.architecture,
        variant = ground.recipe.name,
        network = ?ground.site.network,
        reach = ?ground.reach,
        "engines are kept in Docker"
    );
    Ok(ground)
}

/// The container this process runs in, if it is one of this Docker.
async fn own_container(docker: &dyn Docker, setup: &Setup) -> Result<Option<Details>, Error> {
    if setup.host.remote().is_some() {
        return Ok(None);
    }
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    for id in candidates(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo")) {
        match docker.inspect(&id).await {
            Ok(details) => return Ok(Some(details)),
            Err(Error::NoContainer { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Ids of 64 hexadecimal digits in this process's cgroup and in the mounts Docker makes for every container.
fn candidates(cgroup: &str, mountinfo: &str) -> Vec<String> {
    let is_id = |text: &&str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mounts =
        mountinfo.lines().filter(|line| line.contains(" /etc/hostname ") || line.contains(" /etc/hosts "));
    let pieces = cgroup.lines().chain(mounts).flat_map(|line| line.split(['/', '-', '.', ' ', ':']));
    let mut ids: Vec<String> = Vec::new();
    for id in pieces.filter(is_id) {
        if !ids.iter().any(|known| known == id) {
            ids.push(id.to_owned());
        }
    }
    ids
}

/// What follows for engines. Pure.
fn ground(setup: &Setup, architecture: &str, own: Option<&Details>) -> Ground {
    let variant = setup.variant.unwrap_or_else(|| Variant::of_architecture(architecture));
    let is_on_host = own.is_none_or(|own| own.network_mode == "host");
    // Among the networks this container is in, one made for the purpose is preferred: names resolve there.
    let own_network = own.filter(|_| !is_on_host).and_then(|own| {
        let named = own.container.addresses.keys().find(|name| *name != "bridge");
        named.or_else(|| own.container.addresses.keys().next()).cloned()
    });
    let named = |name: &String| if name == "bridge" { Network::Bridge } else { Network::Named(name.clone()) };
    let network =
        setup.network.clone().or_else(|| own_network.as_ref().map(named)).unwrap_or(Network::Bridge);
    let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
    let everywhere: IpAddr = Ipv4Addr::UNSPECIFIED.into();
    let remote = setup.host.remote();
    let publish = setup.publish.unwrap_or(if remote.is_some() { everywhere } else { loopback });
    let reach = match (&network, remote) {
        (_, Some(remote)) => Reach::Published(remote.to_owned()),
        (Network::Bridge, None) if !is_on_host => Reach::Network("bridge".to_owned()),
        (Network::Named(name), None) if !is_on_host => Reach::Network(name.clone()),
        _ if publish.is_unspecified() => Reach::Published(loopback.to_string()),
        _ => Reach::Published(publish.to_string()),
    };
    let custom = setup.custom.as_ref();
    let folder = custom.and_then(|custom| custom.folder.clone());
    Ground {
        recipe: match custom {
            // The operator's own arguments are taken as they are.
            Some(custom) => custom.recipe(),
            None if network == Network::Host => Recipe::of(variant, &setup.tags).with_upnp(),
            None => Recipe::of(variant, &setup.tags),
        },
        site: Site {
            label: setup.label.clone(),
            instance: setup.instance.clone(),
            network,
            publish,
            has_https_mapped: setup.has_https_mapped,
            memory_bytes: custom.and_then(|custom| custom.memory_bytes).unwrap_or(setup.memory_bytes),
            folders: setup.folders.iter().cloned().chain(folder).collect(),
        },
        reach,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::{Container, ContainerId, State};
    use std::collections::BTreeMap;

    const ID: &str = "4f1c0a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7";

    /// Guards finding one's own id under both generations of cgroups, and not taking any long word for one.
    #[test]
    fn the_own_id_is_found() {
        let v1 = format!("12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n");
        assert_eq!(candidates(&v1, ""), [ID]);
        let systemd = format!("0::/system.slice/docker-{ID}.scope\n");
        assert_eq!(candidates(&systemd, ""), [ID]);
        let mounts = format!(
            "700 680 254:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw\n\
             701 680 254:1 /var/lib/docker/containers/{}/x /elsewhere rw - ext4 /dev/vda rw\n",
            ID.replace('4', "5")
        );
        assert_eq!(candidates("0::/\n", &mounts), [ID]);
        assert!(candidates("0::/user.slice/session-3.scope\n", "").is_empty());
    }

    fn setup(docker_host: Option<&str>) -> Setup {
        Setup {
            host: Host::new(docker_host, None).unwrap(),
            variant: None,
            custom: None,
            tags: Tags::default(),
            label: "a=b".parse().unwrap(),
            instance: "one".to_owned(),
            network: None,
            publish: None,
            has_https_mapped: false,
            memory_bytes: None,
            folders: Vec::new(),
        }
    }

    fn own(mode: &str, networks: &[&str]) -> Details {
        let addresses = networks.iter().map(|name| ((*name).to_owned(), [172, 18, 0, 2].into()));
        Details {
            container: Container {
                id: ContainerId(ID.into()),
                name: "sluice".to_owned(),
                image: "sluice".to_owned(),
                state: State::Running,
                labels: BTreeMap::new(),
                addresses: addresses.collect(),
                host_ports: Vec::new(),
            },
            created: String::new(),
            started: String::new(),
            exit_code: 0,
            is_oom_killed: false,
            error: String::new(),
            network_mode: mode.to_owned(),
            bindings: BTreeMap::new(),
        }
    }

    /// Guards every placement: where engines are attached, published and reached.
    #[test]
    fn every_placement_reaches_its_engines() {
        let published = |host: &str| Reach::Published(host.to_owned());
        let network = |name: &str| Reach::Network(name.to_owned());
        let named = |name: &str| Network::Named(name.to_owned());
        for (what, docker_host, chosen, container, expected_network, publish, reach) in [
            ("host", None, None, None, Network::Bridge, "127.0.0.1", published("127.0.0.1")),
            (
                "host, named",
                None,
                Some(named("ace")),
                None,
                named("ace"),
                "127.0.0.1",
                published("127.0.0.1"),
            ),
            (
                "host, host",
                None,
                Some(Network::Host),
                None,
                Network::Host,
                "127.0.0.1",
                published("127.0.0.1"),
            ),
            (
                "bridge",
                None,
                None,
                Some(own("default", &["bridge"])),
                Network::Bridge,
                "127.0.0.1",
                network("bridge"),
            ),
            ("named", None, None, Some(own("ace", &["ace"])), named("ace"), "127.0.0.1", network("ace")),
            (
                "both",
                None,
                None,
                Some(own("bridge", &["bridge", "zoo"])),
                named("zoo"),
                "127.0.0.1",
                network("zoo"),
            ),
            (
                "--network host",
                None,
                None,
                Some(own("host", &["host"])),
                Network::Bridge,
                "127.0.0.1",
                published("127.0.0.1"),
            ),
            ("remote", Some("tcp://dind:2375"), None, None, Network::Bridge, "0.0.0.0", published("dind")),
        ] {
            let setup = Setup { network: chosen, ..setup(docker_host) };
            let ground = ground(&setup, "amd64", container.as_ref());
            assert_eq!(ground.site.network, expected_network, "{what}");
            assert_eq!(ground.site.publish.to_string(), publish, "{what}");
            assert_eq!(ground.reach, reach, "{what}");
        }
        let everywhere = Setup { publish: Some([0, 0, 0, 0].into()), ..setup(None) };
        assert_eq!(ground(&everywhere, "amd64", None).reach, published("127.0.0.1"));
        let one = Setup { publish: Some([10, 0, 0, 7].into()), ..setup(None) };
        assert_eq!(ground(&one, "arm64", None).reach, published("10.0.0.7"));
        assert_eq!(ground(&one, "arm64", None).recipe.name, "jopsis-arm64");
    }

    /// Guards UPnP, which only engines on the host's own network may use: elsewhere a recipe's word against it stays, and so
    /// does the operator's own everywhere.
    #[test]
    fn upnp_is_for_the_hosts_network() {
        let custom = Custom {
            name: "mine".to_owned(),
            platform: crate::engines::recipe::Platform::Arm64,
            arm_version: "3.2.13".to_owned(),
            arguments: vec!["--disable-upnp".to_owned()],
            memory_bytes: None,
            folder: None,
            cache: crate::engines::recipe::Cache::Memory,
        };
        for (network, custom, is_refused) in [
            (None, None, true),
            (Some(Network::Host), None, false),
            (Some(Network::Host), Some(custom), true),
        ] {
            let setup = Setup { network, custom, variant: Some(Variant::AceServeAmd64), ..setup(None) };
            let crate::engines::recipe::Style::Command(words) = ground(&setup, "amd64", None).recipe.style
            else {
                panic!("it takes a command")
            };
            assert_eq!(words.iter().any(|word| word == "--disable-upnp"), is_refused, "{words:?}");
            assert!(words.iter().any(|word| word == "--bind-all") || setup.custom.is_some());
        }
    }

    /// Guards a recipe of the operator's own: it beats the variant, its memory limit the general one, and its folder is
    /// seen beside the others.
    #[test]
    fn an_own_recipe_beats_every_variant() {
        let folder = |name: &str| Folder { host: name.into(), container: name.into() };
        let custom = Custom {
            name: "mine".to_owned(),
            platform: crate::engines::recipe::Platform::Amd64,
            arm_version: "3.2.13".to_owned(),
            arguments: vec!["--bind-all".to_owned()],
            memory_bytes: None,
            folder: Some(folder("/torrents")),
            cache: crate::engines::recipe::Cache::Memory,
        };
        let with = |custom: Custom| {
            let folders = vec![folder("/all")];
            let memory_bytes = Some(1 << 30);
            let variant = Some(Variant::JopsisArm64);
            ground(
                &Setup { custom: Some(custom), variant, memory_bytes, folders, ..setup(None) },
                "amd64",
                None,
            )
        };
        let made = with(custom.clone());
        assert_eq!((made.recipe.name.as_str(), made.site.memory_bytes), ("mine", Some(1 << 30)));
        assert_eq!(made.site.folders, [folder("/all"), folder("/torrents")]);
        let limited = Custom { memory_bytes: Some(Some(64 << 20)), ..custom.clone() };
        assert_eq!(with(limited).site.memory_bytes, Some(64 << 20));
        assert_eq!(with(Custom { memory_bytes: Some(None), ..custom }).site.memory_bytes, None);
    }
}
