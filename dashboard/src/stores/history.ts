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
/** A hole that is worth asking the appliance what it remembers. */
const WORTH_ASKING_MS = 15_000;

interface Totals {
  at: number;
  out: number | null;
  in: number | null;
}

interface Scrape {
  at: number;
  join: Histogram | null;
  gap: Histogram | null;
}

export class History {
  private points: readonly Point[] = [];
  private totals: Totals | null = null;
  private scrapes: Scrape[] = [];

  /** Takes what came; answers whether the appliance should be asked for what came before. */
  add(at: number, figures: Figures): boolean {
    const totals = { at, out: figures.sum("sluice_client_bytes_total"), in: figures.sum("sluice_engine_bytes_total") };
    const before = this.totals;
    this.totals = totals;
    const point: Point = {
      at,
      players: figures.sum("sluice_clients"),
      streams: figures.sum("sluice_sessions"),
      egress: before && rate(before.at, before.out, at, totals.out),
      ingress: before && rate(before.at, before.in, at, totals.in),
    };
    const isHole = before === null || at - before.at > WORTH_ASKING_MS;
    this.points = [...this.points.filter((old) => at - old.at <= HISTORY_MS), point].slice(-POINTS_MAX);
    const isNew = this.scrapes.length === 0 || at - (this.scrapes.at(-1)?.at ?? 0) >= 15_000;
    if (isNew) {
      this.scrapes = this.scrapes.filter((old) => at - old.at <= HISTORY_MS);
      this.scrapes.push({
        at,
        join: figures.histogram("sluice_join_seconds"),
        gap: figures.histogram("sluice_delivery_gap_seconds"),
      });
    }
    return isHole;
  }

  /** Takes what the appliance remembers; `offset` is what its clock says more than this browser's, milliseconds. */
  recall({ points }: Past, offset: number): void {
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

  /** What was observed since the oldest scrape at hand, and when that was. */
  recent(name: "join" | "gap", now: Histogram | null): { histogram: Histogram; since: number | null } | null {
    if (!now) return null;
    const oldest = this.scrapes[0];
    const earlier = oldest?.[name] ?? null;
    return { histogram: since(now, earlier), since: earlier ? (oldest?.at ?? null) : null };
  }
}

/** bit/s between two totals; `null` over a hole, or when counting began anew. */
function rate(from: number, before: number | null, to: number, after: number | null): number | null {
  if (before === null || after === null || after < before || to <= from || to - from > HOLE_MS) return null;
  return ((after - before) * 8 * 1000) / (to - from);
}
