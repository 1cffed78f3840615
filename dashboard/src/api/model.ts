// What the panel knows of the things the API speaks about. The shapes of the answers are generated (`schema.ts`); the readers
// here take any JSON, because a proxy in between or another version may answer too. `null` always means: not known.
import type { components } from "./schema";
import * as read from "./read";

type Schemas = components["schemas"];
/** Keys of a generated shape; a field that is renamed in the API no longer compiles here. */
type KeysOf<T> = { [K in keyof T]?: unknown };

export type StreamState = "starting" | "playing" | "stalled" | "recovering" | "grace" | "stopping" | "unknown";

export interface Splices {
  exact: number;
  clock: number;
  randomAccess: number;
  lostSeconds: number;
}

/** A channel with several ids. */
export interface Channel {
  name: string;
  ids: string[];
  /** The one that plays. */
  id: string | null;
  fallbacks: number;
  last: { from: string; to: string; code: string | null; detail: string | null; at: number | null } | null;
  race: string | null;
}

export interface Stream {
  key: string;
  /** The id first asked for. */
  id: string;
  infohash: string | null;
  streamId: string | null;
  state: StreamState;
  /** `host:port`. */
  engine: string | null;
  engineId: string | null;
  shard: number | null;
  players: number | null;
  waiting: number | null;
  /** When the first player asked; milliseconds since 1970, as all times. */
  createdAt: number | null;
  startedAt: number | null;
  idleSince: number | null;
  lastMediaAt: number | null;
  /** How long nothing had come when this was read, milliseconds: by its own clock, so that an old reading claims no silence. */
  silentMs: number | null;
  /** bit/s. */
  bitrate: number | null;
  windowSeconds: number | null;
  windowBytes: number | null;
  bytesIn: number | null;
  peers: number | null;
  /** bit/s. */
  down: number | null;
  up: number | null;
  downloaded: number | null;
  uploaded: number | null;
  engineStatus: string | null;
  /** What the engine plays, on the broadcaster's clock; milliseconds since 1970. */
  positionAt: number | null;
  /** Seconds the engine is behind the broadcaster's newest piece. */
  behindSeconds: number | null;
  bufferPieces: number | null;
  failovers: number | null;
  splices: Splices | null;
  discontinuities: number | null;
  continuityErrors: number | null;
  garbageBytes: number | null;
  formats: string[];
  channel: Channel | null;
  isLive: boolean | null;
  isEncrypted: boolean | null;
  options: string;
  statUrl: string | null;
  commandUrl: string | null;
}

export interface Client {
  id: string;
  address: string | null;
  agent: string | null;
  connectedAt: number | null;
  lastActive: number | null;
  bytesSent: number | null;
  behindSeconds: number | null;
  /** bit/s. */
  rate: number | null;
  skips: number | null;
  shard: number | null;
}

export interface EndedClient extends Client {
  endedAt: number | null;
  reason: string | null;
}

export type EngineState = "unknown" | "healthy" | "suspect" | "down" | "unhealthy";

export interface Engine {
  id: string;
  name: string | null;
  /** `host:port`. */
  authority: string | null;
  state: EngineState;
  fault: string | null;
  streams: number | null;
  leases: number | null;
  starts: number | null;
  version: string | null;
  platform: string | null;
  variant: string | null;
  vpn: string | null;
  forwarded: boolean | null;
  forwardedPort: number | null;
  checkedAt: number | null;
  usedAt: number | null;
  firstSeen: number | null;
  cacheBytes: number | null;
  isFallback: boolean | null;
  /** Whether somebody drained it. */
  isDrained: boolean | null;
}

export interface Health {
  status: string | null;
  shards: { shard: number; driver: string | null }[];
}

export interface Version {
  version: string | null;
  title: string | null;
}

/** Media that is late by more than this is a stall, milliseconds. Engines pause for a second and more as a habit. */
export const STALL_MS = 3000;
/** Engines speak of KB/s and mean 1024 bytes. */
const KB_BITS = 1024 * 8;

/** States the API has, and what is shown for them. */
const STATES: Record<string, StreamState> = {
  starting: "starting",
  playing: "playing",
  recovering: "recovering",
  grace: "grace",
  stopping: "stopping",
};

/** What players see decides: a stream that says it plays while nothing comes is stalled. */
function stateOf(said: string | null, lastMediaAt: number | null, now: number): StreamState {
  const state = STATES[said ?? ""] ?? "unknown";
  const isLate = lastMediaAt !== null && now - lastMediaAt > STALL_MS;
  return state === "playing" && isLate ? "stalled" : state;
}

export function readStream(value: unknown, now: number): Stream {
  const raw = read.demanded(value, "stream") as KeysOf<Schemas["ProxySession"]>;
  const key = read.text(raw.key) ?? read.text(raw.ace_id);
  if (key === null) throw new Error("stream: neither key nor ace_id");
  const stat = read.fields(raw.stat);
  const livepos = read.fields(stat?.["livepos"]);
  const newest = read.position(livepos?.["live_last"]) ?? read.position(livepos?.["last"]);
  const place = read.position(livepos?.["pos"]);
  const lastMediaAt = read.time(raw.last_media_at);
  const host = read.label(raw.engine_host);
  const splices = read.fields(raw.splices) as KeysOf<Schemas["ProxySplices"]> | null;
  const rate = (kb: unknown) => {
    const found = read.count(kb);
    return found === null ? null : found * KB_BITS;
  };
  return {
    key,
    id: read.text(raw.ace_id) ?? key,
    infohash: read.text(raw.infohash),
    streamId: read.text(raw.stream_id),
    state: stateOf(read.text(raw.state), lastMediaAt, now),
    engine: host === null ? null : `${host}:${read.count(raw.engine_port) ?? "?"}`,
    engineId: read.text(raw.container_id),
    shard: read.count(raw.shard),
    players: read.count(raw.client_count),
    waiting: read.count(raw.waiting_clients),
    createdAt: read.time(raw.created_at),
    startedAt: read.time(raw.started_at),
    idleSince: read.time(raw.idle_since),
    lastMediaAt,
    silentMs: lastMediaAt === null ? null : Math.max(0, now - lastMediaAt),
    // The rate is 0 until two clock references were seen.
    bitrate: read.count(raw.bitrate_bps) || null,
    windowSeconds: read.count(raw.window_seconds),
    windowBytes: read.count(raw.window_bytes),
    bytesIn: read.count(raw.bytes_in),
    peers: read.count(stat?.["peers"]),
    down: rate(stat?.["speed_down"]),
    up: rate(stat?.["speed_up"]),
    downloaded: read.count(stat?.["downloaded"]),
    uploaded: read.count(stat?.["uploaded"]),
    engineStatus: read.label(stat?.["status"]),
    positionAt: place === null ? null : place * 1000,
    behindSeconds: newest !== null && place !== null ? Math.max(0, newest - place) : null,
    bufferPieces: read.position(livepos?.["buffer_pieces"]),
    failovers: read.count(raw.failovers),
    splices: splices && {
      exact: read.count(splices.exact) ?? 0,
      clock: read.count(splices.clock) ?? 0,
      randomAccess: read.count(splices.random_access) ?? 0,
      lostSeconds: read.count(splices.lost_seconds) ?? 0,
    },
    discontinuities: read.count(raw.discontinuities),
    continuityErrors: read.count(raw.continuity_errors),
    garbageBytes: read.count(raw.garbage_bytes),
    formats: Array.isArray(raw.formats) ? raw.formats.flatMap((name) => read.label(name) ?? []) : [],
    channel: readChannel(read.fields(raw.channel)),
    isLive: read.flag(raw.is_live),
    isEncrypted: read.flag(raw.is_encrypted),
    options: read.text(raw.options) ?? "",
    statUrl: read.text(raw.stat_url),
    commandUrl: read.text(raw.command_url),
  };
}

function readChannel(raw: KeysOf<Schemas["ProxyChannel"]> | null): Channel | null {
  const name = read.label(raw?.name);
  if (raw === null || name === null) return null;
  const last = read.fields(raw.last_fallback) as KeysOf<Schemas["ProxyFallback"]> | null;
  return {
    name,
    ids: Array.isArray(raw.ids) ? raw.ids.flatMap((id) => read.label(id) ?? []) : [],
    id: read.label(raw.id),
    fallbacks: read.count(raw.fallbacks) ?? 0,
    last: last && { from: read.label(last.from) ?? "", to: read.label(last.to) ?? "", code: read.label(last.code), detail: read.label(last.detail), at: read.time(last.at) },
    race: read.text(raw.race),
  };
}

export function readClient(value: unknown): Client {
  const raw = read.demanded(value, "player") as KeysOf<Schemas["ProxyClient"]>;
  return {
    id: read.text(raw.client_id) ?? "?",
    address: read.label(raw.ip_address),
    agent: read.label(raw.user_agent),
    connectedAt: read.epoch(raw.connected_at),
    lastActive: read.epoch(raw.last_active),
    bytesSent: read.count(raw.bytes_sent),
    behindSeconds: read.count(raw.behind_seconds),
    rate: read.count(raw.rate_bps),
    skips: read.count(raw.skips),
    shard: read.count(raw.shard),
  };
}

export function readEndedClient(value: unknown): EndedClient {
  const raw = read.demanded(value, "player");
  return { ...readClient(raw), endedAt: read.epoch(raw["ended_at"]), reason: read.label(raw["reason"]) };
}

export function readHealth(value: unknown): Health {
  const raw = read.demanded(value, "health");
  const shards = Array.isArray(raw["shards"]) ? raw["shards"].map(read.fields) : [];
  return {
    status: read.text(raw["status"]),
    shards: shards.flatMap((shard) => {
      const id = read.count(shard?.["shard"]);
      return id === null ? [] : [{ shard: id, driver: read.text(shard?.["driver"]) }];
    }),
  };
}

export function readVersion(value: unknown): Version {
  const raw = read.demanded(value, "version") as KeysOf<Schemas["Version"]>;
  return { version: read.text(raw.version), title: read.text(raw.title) };
}
