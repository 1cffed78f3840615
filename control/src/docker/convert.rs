//! bollard's models to our words and back. Whatever a daemon leaves out becomes empty; an entry without an id is dropped,
//! because nothing could be done with it.

use super::words::{
    Change, Container, ContainerId, ContainerSpec, Details, Event, Network, Pull, State, Usage,
};
use bollard::models::{
    ContainerBlkioStatEntry, ContainerCpuStats, ContainerCreateBody, ContainerInspectResponse,
    ContainerStateStatusEnum, ContainerStatsResponse, ContainerSummary, ContainerSummaryStateEnum,
    CreateImageInfo, EndpointSettings, EventMessage, HostConfig, PortBinding, PortMap, RestartPolicy,
    RestartPolicyNameEnum,
};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// A request to make a container.
pub(super) fn creation(spec: &ContainerSpec) -> ContainerCreateBody {
    let mut bindings = PortMap::new();
    for port in &spec.ports {
        let key = format!("{}/{}", port.container_port, port.protocol.as_str());
        let binding = PortBinding {
            host_ip: Some(port.address.to_string()),
            host_port: Some(port.host_port.to_string()),
        };
        bindings.entry(key).or_default().get_or_insert_default().push(binding);
    }
    let folders = spec.folders.iter();
    let binds = folders.map(|folder| format!("{}:{}:rw", folder.host.display(), folder.container.display()));
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        cmd: spec.command.clone(),
        labels: Some(spec.labels.clone().into_iter().collect()),
        exposed_ports: Some(bindings.keys().cloned().collect()),
        host_config: Some(HostConfig {
            network_mode: Some(match &spec.network {
                Network::Bridge => "bridge".to_owned(),
                Network::Named(name) => name.clone(),
                Network::Host => "host".to_owned(),
            }),
            port_bindings: Some(bindings),
            memory: spec.memory_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            binds: Some(binds.collect()),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                maximum_retry_count: None,
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// A container of a list.
pub(super) fn container(summary: ContainerSummary) -> Option<Container> {
    let state = match summary.state? {
        ContainerSummaryStateEnum::CREATED | ContainerSummaryStateEnum::EMPTY => State::Created,
        ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING => State::Running,
        ContainerSummaryStateEnum::PAUSED => State::Paused,
        ContainerSummaryStateEnum::RESTARTING => State::Restarting,
        ContainerSummaryStateEnum::REMOVING => State::Removing,
        ContainerSummaryStateEnum::EXITED => State::Exited,
        ContainerSummaryStateEnum::DEAD => State::Dead,
    };
    let name = summary.names.into_iter().flatten().next().unwrap_or_default();
    let networks = summary.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let mut host_ports: Vec<u16> =
        summary.ports.into_iter().flatten().filter_map(|port| port.public_port).collect();
    host_ports.sort_unstable();
    host_ports.dedup();
    Some(Container {
        id: ContainerId(summary.id?.into()),
        name: name.trim_start_matches('/').to_owned(),
        image: summary.image.unwrap_or_default(),
        state,
        labels: summary.labels.unwrap_or_default().into_iter().collect(),
        addresses: addresses(networks),
        host_ports,
    })
}

fn addresses(networks: HashMap<String, EndpointSettings>) -> BTreeMap<String, IpAddr> {
    let known = networks.into_iter().filter_map(|(name, endpoint)| {
        // A container that does not run has an empty address.
        let text = endpoint.ip_address.filter(|text| !text.is_empty()).or(endpoint.global_ipv6_address)?;
        Some((name, text.parse().ok()?))
    });
    known.collect()
}

/// An inspected container.
pub(super) fn details(inspected: ContainerInspectResponse) -> Option<Details> {
    let process = inspected.state.unwrap_or_default();
    let state = match process.status.unwrap_or(ContainerStateStatusEnum::CREATED) {
        ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY => State::Created,
        ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING => State::Running,
        ContainerStateStatusEnum::PAUSED => State::Paused,
        ContainerStateStatusEnum::RESTARTING => State::Restarting,
        ContainerStateStatusEnum::REMOVING => State::Removing,
        ContainerStateStatusEnum::EXITED => State::Exited,
        ContainerStateStatusEnum::DEAD => State::Dead,
    };
    let host = inspected.host_config.unwrap_or_default();
    let config = inspected.config.unwrap_or_default();
    let settings = inspected.network_settings.unwrap_or_default();
    let bindings: BTreeMap<String, Vec<(String, String)>> = host
        .port_bindings
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(port, bound)| {
            let bound: Vec<_> = bound?
                .into_iter()
                .map(|one| (one.host_ip.unwrap_or_default(), one.host_port.unwrap_or_default()))
                .collect();
            (!bound.is_empty()).then_some((port, bound))
        })
        .collect();
    let mut host_ports: Vec<u16> =
        bindings.values().flatten().filter_map(|(_, port)| port.parse().ok()).collect();
    host_ports.sort_unstable();
    host_ports.dedup();
    Some(Details {
        container: Container {
            id: ContainerId(inspected.id?.into()),
            name: inspected.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            image: config.image.unwrap_or_default(),
            state,
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            addresses: addresses(settings.networks.unwrap_or_default()),
            host_ports,
        },
        created: inspected.created.unwrap_or_default(),
        started: process.started_at.unwrap_or_default(),
        exit_code: process.exit_code.unwrap_or_default(),
        is_oom_killed: process.oom_killed.unwrap_or_default(),
        error: process.error.unwrap_or_default(),
        network_mode: host.network_mode.unwrap_or_default(),
        bindings,
    })
}

/// An event, when it is about a container.
pub(super) fn event(message: EventMessage) -> Option<Event> {
    let action = message.action?;
    let actor = message.actor?;
    let exit_code = || actor.attributes.as_ref()?.get("exitCode")?.parse().ok();
    let change = match action.as_str() {
        "create" => Change::Created,
        "start" | "unpause" => Change::Started,
        "die" => Change::Died(exit_code()),
        "oom" => Change::OomKilled,
        "destroy" => Change::Removed,
        // Commands run inside, and what a health check says, change nothing here.
        other if other.starts_with("exec_") || other.starts_with("health_status") || other == "top" => {
            return None;
        }
        _ => Change::Other,
    };
    Some(Event { id: ContainerId(actor.id?.into()), change })
}

/// Figures of a container; CPU is what it used since the figures before.
pub(super) fn usage(stats: ContainerStatsResponse) -> Usage {
    let total = |stats: &Option<ContainerCpuStats>| {
        let stats = stats.as_ref()?;
        Some((stats.cpu_usage.as_ref()?.total_usage?, stats.system_cpu_usage?))
    };
    let cores = stats.cpu_stats.as_ref().and_then(|cpu| cpu.online_cpus).unwrap_or(1).max(1);
    let cpu_percent = match (total(&stats.cpu_stats), total(&stats.precpu_stats)) {
        (Some((used, system)), Some((used_before, system_before))) if system > system_before => {
            let share = used.saturating_sub(used_before) as f64 / (system - system_before) as f64;
            share * f64::from(cores) * 100.0
        }
        _ => 0.0,
    };
    let memory = stats.memory_stats.unwrap_or_default();
    let details = memory.stats.unwrap_or_default();
    let reclaimable = ["inactive_file", "total_inactive_file"].iter().find_map(|key| details.get(*key));
    let networks = stats.networks.unwrap_or_default();
    let entries = stats.blkio_stats.and_then(|blkio| blkio.io_service_bytes_recursive).unwrap_or_default();
    let moved = |kind: &str| {
        let of_kind = |entry: &&ContainerBlkioStatEntry| {
            entry.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(kind))
        };
        entries.iter().filter(of_kind).filter_map(|entry| entry.value).sum()
    };
    Usage {
        cpu_percent,
        memory_bytes: memory
            .usage
            .unwrap_or_default()
            .saturating_sub(reclaimable.copied().unwrap_or_default()),
        memory_bytes_max: memory.limit.unwrap_or_default(),
        received_bytes: networks.values().filter_map(|network| network.rx_bytes).sum(),
        sent_bytes: networks.values().filter_map(|network| network.tx_bytes).sum(),
        read_bytes: moved("read"),
        written_bytes: moved("write"),
    }
}

/// One line of a pull.
pub(super) fn pull(info: CreateImageInfo) -> Pull {
    let bytes = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default();
    let progress = info.progress_detail.unwrap_or_default();
    Pull {
        status: info.status.unwrap_or_default(),
        layer: info.id,
        bytes: bytes(progress.current),
        bytes_total: bytes(progress.total),
    }
}
