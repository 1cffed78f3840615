// Prometheus text, read once per answer into samples by name.

export interface Sample {
  labels: Record<string, string>;
  value: number;
}

/** Parsed figures of one scrape. */
export class Figures {
  constructor(
    readonly samples: ReadonlyMap<string, Sample[]>,
    /** The text itself, for the page that shows it. */
    readonly text: string,
  ) {}

  all(name: string): readonly Sample[] {
    return this.samples.get(name) ?? [];
  }

  /** The sum over all samples that have these labels; `null` when there is none. */
  sum(name: string, labels: Record<string, string> = {}): number | null {
    const found = this.all(name).filter((sample) => has(sample, labels));
    return found.length === 0 ? null : found.reduce((sum, sample) => sum + sample.value, 0);
  }

  /** Values by one label, summed over the others. */
  by(name: string, label: string): Map<string, number> {
    const found = new Map<string, number>();
    for (const { labels, value } of this.all(name)) {
      const of = labels[label];
      if (of !== undefined) found.set(of, (found.get(of) ?? 0) + value);
    }
    return found;
  }

  /** A histogram summed over its series: cumulative counts by upper bound, in rising order. */
  histogram(name: string, labels: Record<string, string> = {}): Histogram | null {
    const counts = new Map<number, number>();
    for (const sample of this.all(`${name}_bucket`)) {
      if (!has(sample, labels)) continue;
      const text = sample.labels["le"];
      const bound = text === "+Inf" ? Number.POSITIVE_INFINITY : Number(text);
      counts.set(bound, (counts.get(bound) ?? 0) + sample.value);
    }
    if (counts.size === 0) return null;
    return [...counts].sort(([one], [other]) => one - other).map(([bound, count]) => ({ bound, count }));
  }
}

export type Histogram = { bound: number; count: number }[];

function has(sample: Sample, labels: Record<string, string>): boolean {
  return Object.entries(labels).every(([name, value]) => sample.labels[name] === value);
}

/** What came between two scrapes; the later one alone if counting began anew in between. */
export function since(later: Histogram, earlier: Histogram | null): Histogram {
  if (!earlier || earlier.length !== later.length) return later;
  const difference = later.map(({ bound, count }, at) => ({ bound, count: count - (earlier[at]?.count ?? 0) }));
  return difference.some(({ count }) => count < 0) ? later : difference;
}

export function observations(histogram: Histogram): number {
  return histogram.at(-1)?.count ?? 0;
}

/** An upper bound for the share `quantile` of observations, or `null` without any. What lies beyond the last bound is infinite. */
export function quantile(histogram: Histogram, share: number): number | null {
  const total = observations(histogram);
  if (total <= 0) return null;
  const rank = share * total;
  let below = { bound: 0, count: 0 };
  for (const bucket of histogram) {
    if (bucket.count >= rank) {
      if (!Number.isFinite(bucket.bound)) return Number.POSITIVE_INFINITY;
      const inside = bucket.count - below.count;
      const part = inside > 0 ? (rank - below.count) / inside : 1;
      return below.bound + (bucket.bound - below.bound) * part;
    }
    below = bucket;
  }
  return null;
}

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES: Record<string, string> = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

/** Reads an exposition; lines that are none are passed over. */
export function parse(text: string): Figures {
  const samples = new Map<string, Sample[]>();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const match = LINE.exec(line);
    if (!match) continue;
    const [, name = "", labelled = "", written = ""] = match;
    const value = written === "+Inf" ? Number.POSITIVE_INFINITY : Number(written);
    if (Number.isNaN(value)) continue;
    const labels: Record<string, string> = {};
    for (const [, label = "", raw = ""] of labelled.matchAll(LABEL)) {
      labels[label] = raw.replace(/\\[n"\\]/g, (escape) => ESCAPES[escape] ?? escape);
    }
    const list = samples.get(name);
    if (list) list.push({ labels, value });
    else samples.set(name, [{ labels, value }]);
  }
  return new Figures(samples, text);
}
