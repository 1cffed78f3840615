// Engines, as `/engines` has them, or as far as the figures tell when that route is not there.
import type { Figures } from "./exposition";
import type { Engine, EngineState } from "./model";
import * as read from "./read";

const STATES: ReadonlySet<string> = new Set(["unknown", "healthy", "suspect", "down", "unhealthy"]);

function stateOf(text: string | null): EngineState {
  return text !== null && STATES.has(text) ? (text as EngineState) : "unknown";
}

export function readEngine(value: unknown): Engine {
  const raw = read.demanded(value, "engine");
  const id = read.text(raw["container_id"]);
  if (id === null) throw new Error("engine: no container_id");
  const host = read.label(raw["host"]);
  const streams = raw["streams"];
  return {
    id,
    name: read.label(raw["container_name"]),
    authority: host === null ? null : `${host}:${read.count(raw["port"]) ?? "?"}`,
    state: stateOf(read.text(raw["state"]) ?? read.text(raw["health_status"])),
    fault: read.label(raw["fault"]),
    streams: Array.isArray(streams) ? streams.length : null,
    leases: read.count(raw["leases"]),
    starts: null,
    version: read.label(raw["version"]),
    platform: read.label(raw["platform"]),
    variant: read.label(raw["engine_variant"]),
    vpn: read.label(raw["vpn_container"]),
    forwarded: read.flag(raw["forwarded"]),
    forwardedPort: read.count(raw["forwarded_port"]),
    checkedAt: read.time(raw["last_health_check"]),
    usedAt: read.time(raw["last_stream_usage"]),
    firstSeen: read.time(raw["first_seen"]),
    cacheBytes: read.count(raw["cache_size_bytes"]),
    isFallback: read.flag(raw["is_fallback"]),
    isDrained: read.flag(raw["is_drained"]),
  };
}

/** Every engine the figures name. */
export function enginesOf(figures: Figures): Engine[] {
  const leases = figures.by("sluice_engine_leases", "engine");
  const starts = figures.by("sluice_engine_starts", "engine");
  const states = new Map<string, string>();
  for (const { labels, value } of figures.all("sluice_engine_health")) {
    if (value === 1 && labels["engine"] && labels["state"]) states.set(labels["engine"], labels["state"]);
  }
  const ids = new Set([...leases.keys(), ...states.keys()]);
  return [...ids].map((id) => ({
    id,
    name: null,
    authority: id,
    state: stateOf(states.get(id) ?? null),
    fault: null,
    streams: null,
    leases: leases.get(id) ?? null,
    starts: starts.get(id) ?? null,
    version: null,
    platform: null,
    variant: null,
    vpn: null,
    forwarded: null,
    forwardedPort: null,
    checkedAt: null,
    usedAt: null,
    firstSeen: null,
    cacheBytes: null,
    isFallback: null,
    isDrained: null,
  }));
}
