// What each shard did between two scrapes.
import type { Figures } from "../api/exposition";
import { elapsed } from "./history";

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

interface Taken {
  at: number;
  exact: number | null;
  totals: Totals;
}

export class Shards {
  private before: Taken | null = null;
  private now: Taken | null = null;

  /** Rates by shard; asking twice about one scrape answers the same. `exact` is the appliance's clock. */
  rates(at: number, figures: Figures, exact: number | null): Map<string, ShardRate> {
    if (this.now?.at !== at) {
      this.before = this.now;
      const out = figures.by("sluice_client_bytes_total", "shard");
      this.now = { at, exact, totals: { out, walking: figures.by("sluice_walk_busy_seconds_sum", "shard") } };
    }
    const { before, now } = this;
    const rates = new Map<string, ShardRate>();
    if (!now) return rates;
    const seconds = before ? elapsed(before, now) / 1000 : 0;
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
