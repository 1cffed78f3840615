// A quarter of an hour of figures: what the appliance remembers of it, and what came since. Points are kept in order and forgotten
// by age; memory is bounded whatever the interval.
import { since, type Figures, type Histogram } from "../api/exposition";
import type { Past } from "../api/past";

export interface Point {
  at: number;
  players: number | null;
  streams: number | null;
  /** bit/s. */
  egress: number | null;
  ingress: number | null;
}

export const HISTORY_MS = 15 * 60_000;
const POINTS_MAX = 900;
/** Rates over a longer hole than this would hide it. */
const HOLE_MS = 90_000;
/** Between two moments whose counts are kept: as far apart as those the appliance keeps. */
const OBSERVED_MS = 60_000;
/** A hole that is worth asking the appliance what it remembers. */
const WORTH_ASKING_MS = 15_000;

interface Totals {
  at: number;
  /** The appliance's clock when they were taken, where it says so to the millisecond. */
  exact: number | null;
  out: number | null;
  in: number | null;
}

/** How often something had taken how long, by moments of this browser's clock, oldest first. */
type Observed = readonly { at: number; histogram: Histogram }[];
export type Observable = "join" | "gap";
const NAMES: Record<Observable, string> = { join: "sluice_join_seconds", gap: "sluice_delivery_gap_seconds" };

export class History {
  private points: readonly Point[] = [];
  private totals: Totals | null = null;
  private readonly observed: Record<Observable, Observed> = { join: [], gap: [] };

  /** Takes what came; answers whether the appliance should be asked for what came before. `exact` is the appliance's clock. */
  add(at: number, figures: Figures, exact: number | null = null): boolean {
    const totals = { at, exact, out: figures.sum("sluice_client_bytes_total"), in: figures.sum("sluice_engine_bytes_total") };
    const before = this.totals;
    this.totals = totals;
    const point: Point = {
      at,
      players: figures.sum("sluice_clients"),
      streams: figures.sum("sluice_sessions"),
      egress: before && rate(elapsed(before, totals), before.out, totals.out),
      ingress: before && rate(elapsed(before, totals), before.in, totals.in),
    };
    const isHole = before === null || at - before.at > WORTH_ASKING_MS;
    this.points = [...this.points.filter((old) => at - old.at <= HISTORY_MS), point].slice(-POINTS_MAX);
    for (const name of ["join", "gap"] as const) {
      const recent = this.observed[name].filter((old) => at - old.at <= HISTORY_MS);
      const histogram = at - (recent.at(-1)?.at ?? 0) >= OBSERVED_MS ? figures.histogram(NAMES[name]) : null;
      this.observed[name] = histogram ? [...recent, { at, histogram }] : recent;
    }
    return isHole;
  }

  /** Takes what the appliance remembers; `offset` is what its clock says more than this browser's, milliseconds. */
  recall({ points, join, gap }: Past, offset: number): void {
    for (const [name, told] of [["join", join], ["gap", gap]] as const) {
      const last = told.at(-1)?.at ?? 0;
      this.observed[name] = [...told.map(({ at, histogram }) => ({ at: at - offset, histogram })), ...this.observed[name].filter(({ at }) => at > last - offset)];
    }
    const known = points.map(({ at, players, streams, egress_bps, ingress_bps }): Point => ({ at: at - offset, players, streams, egress: egress_bps, ingress: ingress_bps }));
    const newest = known.at(-1)?.at;
    if (newest === undefined) return;
    // The first look of a page knows no rate yet; what is remembered is hardly older.
    const isKnown = ({ at, egress }: Point) => at > newest && (egress !== null || at - newest > WORTH_ASKING_MS);
    this.points = [...known, ...this.points.filter(isKnown)].slice(-POINTS_MAX);
  }

  all(): readonly Point[] {
    return this.points;
  }

  newest(): Point | null {
    return this.points.at(-1) ?? null;
  }

  /** What was observed since the oldest moment at hand from which on counting went on, and when that was. */
  recent(name: Observable, now: Histogram | null): { histogram: Histogram; since: number | null } | null {
    if (!now) return null;
    const oldest = this.observed[name].find(({ histogram }) => isBefore(histogram, now));
    return { histogram: oldest ? since(now, oldest.histogram) : now, since: oldest?.at ?? null };
  }
}

/** Whether one is counted on from the other: not where a shard began anew in between. */
function isBefore(earlier: Histogram, later: Histogram): boolean {
  return earlier.length === later.length && earlier.every(({ count }, at) => count <= (later[at]?.count ?? 0));
}

/** Milliseconds between two takings. What was held up on its way may come right before the next; only the clock of whoever took them knows. */
export function elapsed(before: { at: number; exact: number | null }, after: { at: number; exact: number | null }): number {
  return before.exact !== null && after.exact !== null ? after.exact - before.exact : after.at - before.at;
}

/** bit/s between two totals; `null` over a hole, or when counting began anew. */
function rate(ms: number, before: number | null, after: number | null): number | null {
  if (before === null || after === null || after < before || ms <= 0 || ms > HOLE_MS) return null;
  return ((after - before) * 8 * 1000) / ms;
}
