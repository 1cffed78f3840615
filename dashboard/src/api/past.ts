// What an appliance remembers: figures over time, what lies where in a stream's window, and how the stream started.
import type { Histogram } from "./exposition";
import * as read from "./read";

/** How often something had taken how long by a moment. */
export interface ObservedPoint {
  at: number;
  histogram: Histogram;
}

/** Figures over time, oldest first; `null` is what the appliance does not know. Rates are bit/s. */
export interface Past {
  everyS: number;
  points: PastPoint[];
  /** Minute by minute, of at most an hour. */
  join: ObservedPoint[];
  gap: ObservedPoint[];
}

export const PAST_FIGURES = ["players", "waiting", "streams", "engines", "engines_used", "peers", "egress_bps", "ingress_bps", "download_bps", "upload_bps"] as const;
export type PastFigure = (typeof PAST_FIGURES)[number];
export type PastPoint = { at: number } & Record<PastFigure, number | null>;

export function readPast(value: unknown): Past {
  const raw = read.demanded(value, "history");
  const at = read.list(raw["at"], "history");
  const columns = PAST_FIGURES.map((name) => [name, Array.isArray(raw[name]) ? (raw[name] as unknown[]) : []] as const);
  const points = at.flatMap((moment, place) => {
    const time = read.count(moment);
    if (time === null) return [];
    return [{ at: time, ...Object.fromEntries(columns.map(([name, column]) => [name, read.count(column[place])])) } as PastPoint];
  });
  return { everyS: read.count(raw["every_seconds"]) ?? 0, points, join: readObserved(raw["join"]), gap: readObserved(raw["gap"]) };
}

/** Rows that are not whole are left out. */
function readObserved(value: unknown): ObservedPoint[] {
  const raw = read.fields(value);
  const listed = (name: string): unknown[] => (Array.isArray(raw?.[name]) ? (raw[name] as unknown[]) : []);
  const bounds = [...listed("bounds").map(read.number), Number.POSITIVE_INFINITY];
  const rows = listed("counts");
  return listed("at").flatMap((moment, place) => {
    const [at, row] = [read.count(moment), rows[place]];
    if (at === null || !Array.isArray(row) || row.length !== bounds.length) return [];
    const histogram = bounds.flatMap((bound, column) => {
      const count = read.count(row[column]);
      return bound === null || count === null ? [] : [{ bound, count }];
    });
    return histogram.length === bounds.length ? [{ at, histogram }] : [];
  });
}

export interface Mark {
  kind: "splice" | "silence";
  /** Seconds of media behind the newest. */
  behindSeconds: number;
  at: number | null;
  silentSeconds: number | null;
  splice: string | null;
  lostSeconds: number | null;
}

export interface Span {
  name: string;
  /** Milliseconds after the player asked. */
  from: number;
  took: number;
}

export interface Start {
  askedAt: number | null;
  tookMs: number | null;
  tries: number | null;
  engine: string | null;
  fault: string | null;
  spans: Span[];
}

export interface Timeline {
  /** Where decoding can begin, seconds behind the newest media. */
  access: number[];
  marks: Mark[];
  start: Start | null;
}

export function readTimeline(value: unknown): Timeline {
  const raw = read.demanded(value, "timeline");
  const access = Array.isArray(raw["access_points"]) ? raw["access_points"] : [];
  const marks = Array.isArray(raw["marks"]) ? raw["marks"] : [];
  return {
    access: access.flatMap((behind) => read.count(behind) ?? []),
    marks: marks.flatMap((mark) => readMark(read.fields(mark)) ?? []),
    start: readStart(read.fields(raw["start"])),
  };
}

function readMark(raw: read.Fields | null): Mark | null {
  const [kind, behindSeconds] = [raw?.["kind"], read.count(raw?.["behind_seconds"])];
  if (raw === null || (kind !== "splice" && kind !== "silence") || behindSeconds === null) return null;
  return { kind, behindSeconds, at: read.time(raw["at"]), silentSeconds: read.count(raw["silent_seconds"]), splice: read.label(raw["splice"]), lostSeconds: read.count(raw["lost_seconds"]) };
}

function readStart(raw: read.Fields | null): Start | null {
  if (raw === null) return null;
  const spans = Array.isArray(raw["spans"]) ? raw["spans"].map(read.fields) : [];
  return {
    askedAt: read.time(raw["asked_at"]),
    tookMs: read.count(raw["took_ms"]),
    tries: read.count(raw["tries"]),
    engine: read.label(raw["engine"]),
    fault: read.label(raw["fault"]),
    spans: spans.flatMap((span) => {
      const [name, from, took] = [read.label(span?.["name"]), read.count(span?.["from_ms"]), read.count(span?.["took_ms"])];
      return name === null || from === null || took === null ? [] : [{ name, from, took }];
    }),
  };
}
