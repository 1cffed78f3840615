// The window of a stream as a channel of water: the newest media at the right, what is held to the left of it, and each player at
// the place it has been sent to. Players close to each other are stacked; nothing is drawn that was not read.
import { memo, useEffect, useLayoutEffect, useRef, useState } from "react";
import { STALL_MS, type Client, type Stream } from "../api/model";
import type { Mark } from "../api/past";
import { moment } from "../format/time";
import { span } from "../format/units";
import { t } from "../messages";

const HEIGHT = 148;
const TOP = 26;
const BOTTOM = HEIGHT - 26;
const EDGE = 14;
const DOT = 4;
const DRAWN_MAX = 1500;

/** Seconds between marks of the scale, so that their texts have room. */
function step(seconds: number, width: number): number {
  const marks = Math.max(3, Math.min(8, width / 90));
  return [1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((candidate) => seconds / candidate <= marks) ?? 1200;
}

interface Dot {
  client: Client;
  behind: number;
  x: number;
  row: number;
}

function placed(clients: readonly Client[], x: (behind: number) => number): Dot[] {
  const rows = new Map<number, number>();
  // Where there are more than can be told apart, those that are farthest behind are drawn: they are looked for.
  const drawn = clients.length <= DRAWN_MAX ? clients : [...clients].sort((one, other) => (other.behindSeconds ?? 0) - (one.behindSeconds ?? 0)).slice(0, DRAWN_MAX);
  return drawn.flatMap((client) => {
    if (client.behindSeconds === null) return [];
    const at = x(client.behindSeconds);
    const slot = Math.round(at / (DOT * 2 + 1));
    const row = rows.get(slot) ?? 0;
    rows.set(slot, row + 1);
    return [{ client, behind: client.behindSeconds, x: slot * (DOT * 2 + 1), row }];
  });
}

/** What a mark says when it is pointed at, and in the list for those who do not see it. */
function told({ kind, at, behindSeconds, silentSeconds, splice, lostSeconds }: Mark): string {
  const what =
    kind === "silence"
      ? t("mark.silence", { span: span(silentSeconds) })
      : t(splice === "exact" ? "mark.splice.exact" : splice === "clock" ? "mark.splice.clock" : "mark.splice.random", { lost: span(lostSeconds) });
  return `${what} · ${moment(at)} · ${t("stream.behind", { span: span(behindSeconds) })}`;
}

interface Shown {
  stream: Stream;
  clients: readonly Client[];
  access: readonly number[];
  marks: readonly Mark[];
  highlighted: string | null;
  onHighlight: (id: string | null) => void;
}

/** Thousands of dots take their time: they stay as they are while nobody sees them. */
export function Timeline(shown: Shown) {
  const box = useRef<HTMLDivElement>(null);
  const [isSeen, setSeen] = useState(true);
  useEffect(() => {
    const element = box.current;
    if (!element || typeof IntersectionObserver === "undefined") return;
    const observer = new IntersectionObserver((entries) => setSeen(entries.at(-1)?.isIntersecting ?? true));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const last = useRef(shown);
  if (isSeen) last.current = shown;
  return (
    <div ref={box}>
      <Drawn {...last.current} />
    </div>
  );
}

const Drawn = memo(function Drawn({ stream, clients, access, marks, highlighted, onHighlight }: Shown) {
  const box = useRef<SVGSVGElement>(null);
  const [width, setWidth] = useState(800);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setWidth(Math.max(240, element.clientWidth)));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const held = stream.windowSeconds;
  if (held === null || held === 0) return <p className="dim">{t("stream.window.empty")}</p>;
  const farthest = clients.reduce((most, { behindSeconds }) => Math.max(most, behindSeconds ?? 0), held);
  const scale = Math.max(5, farthest * 1.04);
  const x = (behind: number) => width - EDGE - (Math.min(behind, scale) / scale) * (width - 2 * EDGE);
  const every = step(scale, width);
  const scaleMarks = Array.from({ length: Math.floor(scale / every) + 1 }, (_, at) => at * every);
  const dots = placed(clients, x);
  const room = Math.floor((BOTTOM - TOP - 8) / (DOT * 2 + 1));
  const silentMs = stream.silentMs ?? 0;
  const slowest = dots.reduce<Dot | null>((found, dot) => (found === null || dot.behind > found.behind ? dot : found), null);
  const shownMarks = marks.filter(({ behindSeconds }) => behindSeconds <= scale);
  const label = `${t("stream.window")}: ${span(held)}. ${t("players.shown", { n: clients.length })}${slowest ? `, ${t("stream.behind", { span: span(slowest.behind) })}` : ""}`;
  return (
    <>
    <svg ref={box} className="timeline" height={HEIGHT} viewBox={`0 0 ${width} ${HEIGHT}`} role="img" aria-label={label}>
      <rect className="timeline-water" x={x(held)} y={TOP} width={x(0) - x(held)} height={BOTTOM - TOP} rx="2" />
      {scaleMarks.map((seconds) => (
        <g key={seconds}>
          <line className="timeline-mark" x1={x(seconds)} x2={x(seconds)} y1={TOP} y2={BOTTOM} />
          <text className="timeline-text" x={x(seconds)} y={HEIGHT - 8} textAnchor={seconds === 0 ? "end" : "middle"}>
            {seconds === 0 ? t("stream.live") : `−${seconds} s`}
          </text>
        </g>
      ))}
      {access.map((behind, at) => (
        <line key={at} className="timeline-access" x1={x(behind)} x2={x(behind)} y1={BOTTOM - 5} y2={BOTTOM} />
      ))}
      {shownMarks.map((mark) => (
        <g key={`${mark.kind}-${mark.at}`} className={`timeline-${mark.kind} ${mark.splice === "exact" ? "timeline-exact" : ""}`}>
          <line x1={x(mark.behindSeconds)} x2={x(mark.behindSeconds)} y1={TOP} y2={BOTTOM} />
          {mark.kind === "silence" ? (
            <rect x={x(mark.behindSeconds) - 4} y={TOP - 4} width="8" height="8" />
          ) : (
            <path d={`M${x(mark.behindSeconds)} ${TOP - 6}l6 6l-6 6l-6 -6z`} />
          )}
          <title>{told(mark)}</title>
        </g>
      ))}
      <line className="timeline-edge" x1={x(0)} x2={x(0)} y1={TOP - 8} y2={BOTTOM + 4} />
      <line className="timeline-tail" x1={x(held)} x2={x(held)} y1={TOP - 4} y2={BOTTOM} />
      <text className="timeline-text" x={x(held)} y={TOP - 10} textAnchor={x(held) < 90 ? "start" : "middle"}>
        {t("stream.window")} {span(held)}
      </text>
      {silentMs > STALL_MS && (
        <text className="timeline-silent" x={x(0) - 4} y={TOP - 10} textAnchor="end">
          {t("stream.silent", { span: span(silentMs / 1000) })}
        </text>
      )}
      {dots.map(({ client, behind, x: at, row }) => (
        <circle
          key={client.id}
          className={`timeline-player ${client.id === highlighted ? "timeline-player-on" : ""}`}
          cx={Math.min(at, x(0))}
          cy={BOTTOM - 6 - (row % room) * (DOT * 2 + 1)}
          r={client.id === highlighted ? DOT + 2 : DOT}
          onPointerEnter={() => onHighlight(client.id)}
          onPointerLeave={() => onHighlight(null)}
        >
          <title>{`${client.address ?? ""} ${client.agent ?? ""} · ${t("stream.behind", { span: span(behind) })}`}</title>
        </circle>
      ))}
    </svg>
      <p className="timeline-legend dim small">
        {access.length > 0 && (
          <span>
            <i className="legend-access" /> {t("mark.access", { n: access.length })}
          </span>
        )}
        {clients.length > DRAWN_MAX && <span>{t("mark.drawn", { n: DRAWN_MAX, total: clients.length })}</span>}
        <span>
          <i className="legend-splice" /> {t("mark.splices", { n: shownMarks.filter(({ kind }) => kind === "splice").length })}
        </span>
        <span>
          <i className="legend-silence" /> {t("mark.silences", { n: shownMarks.filter(({ kind }) => kind === "silence").length })}
        </span>
      </p>
      {shownMarks.length > 0 && (
        <ul className="visually-hidden">
          {shownMarks.map((mark) => (
            <li key={`${mark.kind}-${mark.at}`}>{told(mark)}</li>
          ))}
        </ul>
      )}
    </>
  );
});
