// A chart by uPlot; loaded only with the pages that draw one.
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { locale } from "../messages";
import { prefs } from "../stores/prefs";
import { useStore } from "../stores/store";

export interface Line {
  name: string;
  /** Name of a colour of the theme. */
  colour: "one" | "two";
  values: (number | null)[];
}

/** Over more than this nobody looks for seconds. */
const LONG_S = 1200;

/** Where nobody points the legend tells the newest values. */
function newest(plot: uPlot): void {
  const last = plot.data[0].length - 1;
  const isPointedAt = (plot.cursor.left ?? -1) >= 0;
  if (!isPointedAt && last >= 0) plot.setLegend({ idx: last });
}

/** `times` in milliseconds. */
export function Chart({ label, times, lines, format, height = 200 }: { label: string; times: number[]; lines: Line[]; format: (value: number | null) => string; height?: number }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const theme = useStore(prefs, (all) => all.theme);
  const names = lines.map((line) => line.name).join("\u0000");
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const clock = new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    const day = new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit" });
    const of = (seconds: number[]) => ((seconds.at(-1) ?? 0) - (seconds[0] ?? 0) > LONG_S ? day : clock);
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const made = new uPlot(
      {
        width: element.clientWidth || 400,
        height,
        cursor: { drag: { setScale: false } },
        hooks: { setCursor: [newest] },
        scales: { x: { time: true }, y: { range: (_plot, _low, high) => [0, Math.max(high * 1.1, 1e-9)] } },
        axes: [{ ...axis, values: (_plot, at) => at.map((second) => of(at).format(second * 1000)), space: 90, size: 32 }, { ...axis, values: (_plot, at) => at.map((value) => format(value)), size: 74 }],
        series: [
          { value: (_plot, at) => (at === null || at === undefined ? "–" : clock.format(at * 1000)) },
          ...lines.map((line) => ({ label: line.name, stroke: colour(`--chart-${line.colour}`), width: 1.5, points: { show: false }, value: (_plot: uPlot, value: number | null) => format(value ?? null) })),
        ],
      },
      [[], ...lines.map(() => [])],
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
    // Made anew when what is drawn changes, not when its values do.
  }, [names, height, theme]);
  useEffect(() => {
    const made = plot.current;
    if (!made) return;
    made.setData([times.map((at) => at / 1000), ...lines.map((line) => line.values)]);
    newest(made);
  }, [times, lines, theme]);
  return <div ref={box} className="chart" role="img" aria-label={label} />;
}
