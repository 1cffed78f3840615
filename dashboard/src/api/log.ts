// The event log, and streams that ended.
import type { components } from "./schema";
import * as read from "./read";

type Schemas = components["schemas"];
type KeysOf<T> = { [K in keyof T]?: unknown };

export const EVENT_TYPES = ["engine", "stream", "vpn", "health", "system"] as const;
export type EventType = (typeof EVENT_TYPES)[number];

export interface LogEntry {
  id: number;
  at: number | null;
  type: string;
  category: string;
  message: string;
  details: read.Fields;
  engine: string | null;
  stream: string | null;
}

/** Which entries; empty means any. */
export interface LogFilter {
  type: string;
  since: number | null;
  engine: string;
  stream: string;
  limit: number;
  offset: number;
}

export interface LogCounts {
  total: number | null;
  byType: Record<string, number | null>;
}

/** A stream that ended, as the appliance remembers it. */
export interface EndedStream {
  id: string;
  /** The content id or infohash it was asked for by. */
  key: string;
  engine: string | null;
  startedAt: number | null;
  endedAt: number | null;
  reason: string | null;
  downloaded: number | null;
  uploaded: number | null;
}

/** One of the figures of a stream over time. */
export interface Sample {
  at: number;
  /** bit/s. */
  down: number | null;
  up: number | null;
  peers: number | null;
}

export function readEntry(value: unknown): LogEntry {
  const raw = read.demanded(value, "event") as KeysOf<Schemas["EventLog"]>;
  const id = read.count(raw.id);
  if (id === null) throw new Error("event: no id");
  return {
    id,
    at: read.time(raw.timestamp),
    type: read.label(raw.event_type) ?? "",
    category: read.label(raw.category) ?? "",
    message: read.label(raw.message) ?? "",
    details: read.fields(raw.details) ?? {},
    engine: read.text(raw.container_id),
    stream: read.text(raw.stream_id),
  };
}

export function readCounts(value: unknown): LogCounts {
  const raw = read.demanded(value, "counts") as KeysOf<Schemas["Counted"]>;
  const by = read.fields(raw.by_type) ?? {};
  return { total: read.count(raw.total), byType: Object.fromEntries(Object.entries(by).map(([type, count]) => [type, read.count(count)])) };
}

export function readEnded(value: unknown): EndedStream {
  const raw = read.demanded(value, "stream") as KeysOf<Schemas["StreamState"]>;
  const id = read.text(raw.id);
  if (id === null) throw new Error("stream: no id");
  return {
    id,
    key: read.text(raw.key) ?? id,
    engine: read.label(raw.container_id),
    startedAt: read.time(raw.started_at),
    endedAt: read.time(raw.ended_at),
    reason: read.label(raw.end_reason),
    downloaded: read.count(raw.downloaded),
    uploaded: read.count(raw.uploaded),
  };
}

/** Engines speak of KB/s and mean 1024 bytes. */
const KB_BITS = 1024 * 8;

export function readSample(value: unknown): Sample {
  const raw = read.demanded(value, "sample") as KeysOf<Schemas["StreamStatSnapshot"]>;
  const at = read.time(raw.ts);
  if (at === null) throw new Error("sample: no time");
  const rate = (kb: unknown) => {
    const found = read.count(kb);
    return found === null ? null : found * KB_BITS;
  };
  return { at, down: rate(raw.speed_down), up: rate(raw.speed_up), peers: read.count(raw.peers) };
}
