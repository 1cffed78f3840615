// Engines as a whole: how many there may be, whether one can be made, what they use, how replacing them goes; and the VPN.
import type { components } from "./schema";
import * as read from "./read";

type Schemas = components["schemas"];
type KeysOf<T> = { [K in keyof T]?: unknown };

export interface Fleet {
  total: number | null;
  used: number | null;
  available: number | null;
  min: number | null;
  max: number | null;
  /** `null` while it is not known. */
  canProvision: boolean | null;
  blockedCode: string | null;
  blockedText: string | null;
  /** Seconds until it may be tried again, where that is known. */
  blockedFor: number | null;
  docker: string | null;
  pull: { image: string; done: number | null; total: number | null } | null;
}

export interface Breaker {
  name: "general" | "replacement";
  state: string | null;
  failures: number | null;
  threshold: number | null;
  lastFailureAt: number | null;
}

/** What one container uses. */
export interface Usage {
  /** Percent of one core. */
  cpu: number | null;
  memory: number | null;
  memoryMax: number | null;
  received: number | null;
  sent: number | null;
  read: number | null;
  written: number | null;
}

export interface Reprovision {
  isRunning: boolean;
  /** `idle`, `in_progress`, `success` or `error`. */
  status: string;
  phase: string | null;
  message: string | null;
  startedAt: number | null;
  /** When it last went on. */
  at: number | null;
  /** What is being stopped, by the first digits of its id. */
  current: string | null;
  total: number | null;
  stopped: number | null;
  provisioned: number | null;
}

export interface Vpn {
  name: string;
  status: string | null;
  health: string | null;
  isConnected: boolean | null;
  forwardedPort: number | null;
  address: string | null;
  provider: string | null;
  country: string | null;
  city: string | null;
  checkedAt: number | null;
}

export interface VpnState {
  mode: string | null;
  nodes: Vpn[];
  emergency: { failed: string | null; healthy: string | null; seconds: number | null } | null;
}

export function readFleet(value: unknown): Fleet {
  const raw = read.demanded(value, "status") as KeysOf<Schemas["OrchestratorStatus"]>;
  const capacity = (read.fields(raw.capacity) ?? {}) as KeysOf<Schemas["Capacity"]>;
  const provisioning = (read.fields(raw.provisioning) ?? {}) as KeysOf<Schemas["Provisioning"]>;
  const blocked = (read.fields(provisioning.blocked_reason_details) ?? {}) as KeysOf<Schemas["BlockedDetails"]>;
  const pull = read.fields(provisioning.image_pull) as KeysOf<Schemas["ImagePull"]> | null;
  return {
    total: read.count(capacity.total),
    used: read.count(capacity.used),
    available: read.count(capacity.available),
    min: read.count(capacity.min_replicas),
    max: read.count(capacity.max_replicas),
    canProvision: read.flag(provisioning.can_provision),
    blockedCode: read.label(blocked.code),
    blockedText: read.label(blocked.message) ?? read.label(provisioning.blocked_reason),
    blockedFor: read.count(blocked.recovery_eta_seconds),
    docker: read.label(provisioning.docker),
    pull: pull && { image: read.label(pull.image) ?? "", done: read.count(pull.bytes), total: read.count(pull.bytes_total) },
  };
}

export function readBreakers(value: unknown): Breaker[] {
  const raw = read.fields((read.demanded(value, "health") as KeysOf<Schemas["HealthStatus"]>).circuit_breakers) ?? {};
  return (["general", "replacement"] as const).flatMap((name) => {
    const one = read.fields(raw[name]) as KeysOf<Schemas["Breaker"]> | null;
    if (!one) return [];
    return [{ name, state: read.text(one.state), failures: read.count(one.failure_count), threshold: read.count(one.failure_threshold), lastFailureAt: read.time(one.last_failure_time) }];
  });
}

export function readUsage(value: unknown): Usage {
  const raw = read.demanded(value, "usage") as KeysOf<Schemas["UsageView"]>;
  return {
    cpu: read.count(raw.cpu_percent),
    memory: read.count(raw.memory_usage),
    memoryMax: read.count(raw.memory_limit) || null,
    received: read.count(raw.network_rx_bytes),
    sent: read.count(raw.network_tx_bytes),
    read: read.count(raw.block_read_bytes),
    written: read.count(raw.block_write_bytes),
  };
}

export function readReprovision(value: unknown): Reprovision {
  const raw = read.demanded(value, "progress") as KeysOf<Schemas["ReprovisionStatus"]>;
  return {
    isRunning: raw.in_progress === true,
    status: read.text(raw.status) ?? "",
    phase: read.text(raw.current_phase),
    message: read.label(raw.message),
    startedAt: read.time(raw.started_at),
    at: read.time(raw.timestamp),
    current: read.label(raw.current_engine_id),
    total: read.count(raw.total_engines),
    stopped: read.count(raw.engines_stopped),
    provisioned: read.count(raw.engines_provisioned),
  };
}

function readNode(value: unknown, fallback: string): Vpn {
  const raw = (read.fields(value) ?? {}) as KeysOf<Schemas["VpnStatus"]>;
  return {
    name: read.label(raw.container_name) ?? read.label(raw.container) ?? fallback,
    status: read.label(raw.status),
    health: read.label(raw.health),
    isConnected: read.flag(raw.connected),
    forwardedPort: read.count(raw.forwarded_port),
    address: read.label(raw.public_ip),
    provider: read.label(raw.provider),
    country: read.label(raw.country),
    city: read.label(raw.city),
    checkedAt: read.time(raw.last_check),
  };
}

export function readVpn(value: unknown): VpnState {
  const raw = read.demanded(value, "vpn") as KeysOf<Schemas["VpnStatus"]>;
  const emergency = read.fields(raw.emergency_mode) as KeysOf<Schemas["EmergencyMode"]> | null;
  const nodes = [raw.vpn1, raw.vpn2].flatMap((node, at) => (read.fields(node) ? [readNode(node, `VPN ${at + 1}`)] : []));
  const isOn = emergency?.active === true;
  return {
    mode: read.text(raw.mode),
    nodes: nodes.length === 0 && raw.enabled === true ? [readNode(raw, "VPN")] : nodes,
    emergency: isOn ? { failed: read.label(emergency.failed_vpn), healthy: read.label(emergency.healthy_vpn), seconds: read.count(emergency.duration_seconds) } : null,
  };
}
