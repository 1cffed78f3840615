// A small line over time, drawn as it was measured: a hole stays a hole, nothing is smoothed.
import { useLayoutEffect, useRef, useState } from "react";

export interface Series {
  at: number;
  value: number | null;
}

export function Area({ points, from, to, label, height = 56, maximum }: { points: readonly Series[]; from: number; to: number; label: string; height?: number; maximum?: number }) {
  const box = useRef<SVGSVGElement>(null);
  const [width, setWidth] = useState(240);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setWidth(Math.max(40, element.clientWidth)));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const top = maximum ?? Math.max(1e-9, ...points.map((point) => point.value ?? 0));
  const x = (at: number) => ((at - from) / (to - from)) * width;
  const y = (value: number) => height - 2 - (value / top) * (height - 6);
  const runs = runsOf(points.filter((point) => point.at >= from));
  return (
    <svg ref={box} className="area" height={height} viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label={label}>
      <line className="area-base" x1="0" x2={width} y1={height - 1.5} y2={height - 1.5} />
      {runs.map((run) => {
        const line = run.map(({ at, value }) => `${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
        const first = run[0];
        const end = run.at(-1);
        if (!first || !end) return null;
        return (
          <g key={first.at}>
            <path className="area-fill" d={`M${x(first.at).toFixed(1)} ${height - 2}L${line}L${x(end.at).toFixed(1)} ${height - 2}Z`} />
            <path className="area-line" d={run.length === 1 ? `M${x(first.at) - 1} ${y(first.value)}h2` : `M${line}`} />
          </g>
        );
      })}
    </svg>
  );
}

/** Stretches without a hole. */
function runsOf(points: readonly Series[]): { at: number; value: number }[][] {
  const runs: { at: number; value: number }[][] = [];
  let run: { at: number; value: number }[] = [];
  for (const { at, value } of points) {
    const before = run.at(-1);
    const isHole = value === null || (before !== undefined && at - before.at > 90_000);
    if (isHole && run.length > 0) {
      runs.push(run);
      run = [];
    }
    if (value !== null) run.push({ at, value });
  }
  if (run.length > 0) runs.push(run);
  return runs;
}
