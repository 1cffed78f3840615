// Figures over time as the appliance remembers them, and the whole exposition.
import { useMemo, useState } from "react";
import type { Figures } from "../api/exposition";
import type { PastFigure } from "../api/past";
import { useAnswer } from "../components/asking";
import { Chart, type Line } from "../components/chart";
import { useLive, useServices } from "../components/context";
import { Icon } from "../components/icon";
import { Fact, Fresh, Title } from "../components/parts";
import { faultText } from "../components/status";
import { exact } from "../format/time";
import { bitrate, bytes, count } from "../format/units";
import { t, type Message } from "../messages";
import { useParam } from "../router";

const LINES_MAX = 2000;
const WINDOWS_S = [300, 900, 3600, 21_600, 86_400] as const;
const WINDOW_S = 900;
/** Between two looks: as often as there is a new point, and seldom where there are many. */
const everyMs = (window: number) => (window <= 3600 ? 5000 : 30_000);

interface Drawing {
  title: Message;
  format: (value: number | null) => string;
  lines: { name: Message; figure: PastFigure; colour: Line["colour"] }[];
}

const DRAWINGS: Drawing[] = [
  {
    title: "metrics.players",
    format: (value) => count(value === null ? null : Math.round(value)),
    lines: [
      { name: "metrics.players", figure: "players", colour: "one" },
      { name: "metrics.waiting", figure: "waiting", colour: "two" },
    ],
  },
  {
    title: "metrics.rates",
    format: bitrate,
    lines: [
      { name: "metrics.out", figure: "egress_bps", colour: "one" },
      { name: "metrics.in", figure: "ingress_bps", colour: "two" },
    ],
  },
  {
    title: "metrics.streams",
    format: (value) => count(value === null ? null : Math.round(value)),
    lines: [
      { name: "metrics.streams", figure: "streams", colour: "one" },
      { name: "metrics.engines.used", figure: "engines_used", colour: "two" },
    ],
  },
  {
    title: "metrics.p2p",
    format: bitrate,
    lines: [
      { name: "metrics.down", figure: "download_bps", colour: "one" },
      { name: "metrics.up", figure: "upload_bps", colour: "two" },
    ],
  },
  { title: "metrics.peers", format: (value) => count(value === null ? null : Math.round(value)), lines: [{ name: "metrics.peers", figure: "peers", colour: "one" }] },
];

export default function MetricsPage() {
  const { api, live } = useServices();
  const [chosen, setChosen] = useParam("window");
  const window = WINDOWS_S.find((known) => String(known) === chosen) ?? WINDOW_S;
  const figures = useLive((state) => state.figures);
  const past = useAnswer((signal) => api.past(window, signal), [window], everyMs(window)).reading;
  const points = past.value?.points ?? [];
  const offset = live.state.get().clockOffset;
  const times = useMemo(() => points.map((point) => point.at - offset), [points, offset]);
  const newest = points.at(-1);
  const first = times[0];
  return (
    <>
      <Title
        title={t("metrics.title")}
        actions={
          <label className="field-row">
            <span>{t("metrics.window")}</span>
            <select value={String(window)} onChange={(event) => setChosen(event.target.value === String(WINDOW_S) ? "" : event.target.value)}>
              {WINDOWS_S.map((seconds) => (
                <option key={seconds} value={seconds}>
                  {t(`metrics.window.${seconds}`)}
                </option>
              ))}
            </select>
          </label>
        }
      />
      {past.fault && <p className="bad">{faultText(past.fault)}</p>}
      {first !== undefined && past.at !== null && <p className="dim">{t(past.at - first < window * 1000 - 120_000 ? "metrics.text.short" : "metrics.text", { every: past.value?.everyS ?? 0, time: exact(first) })}</p>}
      {past.value !== null && points.length < 2 ? (
        <p className="dim">{t("metrics.few")}</p>
      ) : (
        <Fresh reading={figures} className="charts">
          {DRAWINGS.map(({ title, format, lines }) => (
            <section key={title} className="panel">
              <h2>{t(title)}</h2>
              <Chart
                label={t("chart.label", { name: t(title), value: format(newest && lines[0] ? newest[lines[0].figure] : null) })}
                times={times}
                format={format}
                lines={lines.map(({ name, figure, colour }) => ({ name: t(name), colour, values: points.map((point) => point[figure]) }))}
              />
            </section>
          ))}
          <Totals figures={figures.value} />
        </Fresh>
      )}
      {figures.value && (
        <Fresh reading={figures} as="section" className="panel">
          <Raw text={figures.value.text} />
        </Fresh>
      )}
    </>
  );
}

/** Everything moved since the appliance started, and since when that is. */
function Totals({ figures }: { figures: Figures | null }) {
  if (!figures) return null;
  const started = figures.sum("process_start_time_seconds");
  const total = (name: string) => bytes(figures.sum(name));
  return (
    <section className="panel">
      <h2>{t("metrics.totals")}</h2>
      <p className="dim small">{t("metrics.totals.text", { time: started === null ? "–" : exact(started * 1000) })}</p>
      <dl className="facts">
        <Fact name={t("metrics.out")}>{total("sluice_client_bytes_total")}</Fact>
        <Fact name={t("metrics.in")}>{total("sluice_engine_bytes_total")}</Fact>
        <Fact name={t("metrics.down")}>{total("orch_downloaded_bytes_total")}</Fact>
        <Fact name={t("metrics.up")}>{total("orch_uploaded_bytes_total")}</Fact>
      </dl>
    </section>
  );
}

function Raw({ text }: { text: string }) {
  const [search, setSearch] = useParam("q");
  const [isOpen, setOpen] = useState(search !== "");
  const lines = useMemo(() => {
    const wanted = search.toLowerCase();
    return isOpen ? text.split("\n").filter((line) => line !== "" && line.toLowerCase().includes(wanted)) : [];
  }, [text, search, isOpen]);
  return (
    <details open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{t("metrics.raw")}</summary>
      <label className="search">
        <Icon name="search" />
        <input type="search" value={search} placeholder={t("metrics.raw.search")} aria-label={t("metrics.raw.search")} onChange={(event) => setSearch(event.target.value)} />
      </label>
      <p className="dim small">{t("metrics.raw.lines", { n: lines.length })}</p>
      <pre className="raw" tabIndex={0}>
        {lines.slice(0, LINES_MAX).join("\n")}
      </pre>
    </details>
  );
}
