// What each shard did between two scrapes.
import type { Figures } from "../api/exposition";

export interface ShardRate {
  /** bit/s. */
  egress: number | null;
  /** Share of the time spent walking over players, 0 to 1. */
  load: number | null;
}

interface Totals {
  out: Map<string, number>;
  walking: Map<string, number>;
}

export class Shards {
  private before: { at: number; totals: Totals } | null = null;
  private now: { at: number; totals: Totals } | null = null;

  /** Rates by shard; asking twice about one scrape answers the same. */
  rates(at: number, figures: Figures): Map<string, ShardRate> {
    if (this.now?.at !== at) {
      this.before = this.now;
      const out = figures.by("sluice_client_bytes_total", "shard");
      this.now = { at, totals: { out, walking: figures.by("sluice_walk_busy_seconds_sum", "shard") } };
    }
    const { before, now } = this;
    const rates = new Map<string, ShardRate>();
    if (!now) return rates;
    const seconds = before ? (now.at - before.at) / 1000 : 0;
    const per = (name: keyof Totals, shard: string) => {
      const [earlier, later] = [before?.totals[name].get(shard), now.totals[name].get(shard)];
      return earlier === undefined || later === undefined || later < earlier || seconds <= 0 ? null : (later - earlier) / seconds;
    };
    for (const shard of now.totals.out.keys()) {
      const bytes = per("out", shard);
      rates.set(shard, { egress: bytes === null ? null : bytes * 8, load: per("walking", shard) });
    }
    return rates;
  }
}
