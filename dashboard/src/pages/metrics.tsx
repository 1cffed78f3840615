// Figures over time, and the exposition itself, searchable.
import { useMemo, useState } from "react";
import { Chart } from "../components/chart";
import { useLive, useServices } from "../components/context";
import { Icon } from "../components/icon";
import { Fresh, Title } from "../components/parts";
import { moment } from "../format/time";
import { bitrate, count } from "../format/units";
import { t } from "../messages";
import { useParam } from "../router";

const LINES_MAX = 2000;

export default function MetricsPage() {
  const { live } = useServices();
  const figures = useLive((state) => state.figures);
  const points = live.history.all();
  const times = useMemo(() => points.map((point) => point.at), [points]);
  const first = points[0];
  const newest = points.at(-1);
  return (
    <>
      <Title title={t("metrics.title")} />
      {first && <p className="dim">{t("metrics.text", { time: moment(first.at) })}</p>}
      {points.length < 2 ? (
        <p className="dim">{t("metrics.few")}</p>
      ) : (
        <Fresh reading={figures} className="charts">
          <section className="panel">
            <h2>{t("metrics.players")}</h2>
            <Chart label={t("chart.label", { name: t("metrics.players"), value: count(newest?.players ?? null) })} times={times} format={count} lines={[{ name: t("metrics.players"), colour: "one", values: points.map((point) => point.players) }]} />
          </section>
          <section className="panel">
            <h2>{t("metrics.rates")}</h2>
            <Chart
              label={t("chart.label", { name: t("metrics.rates"), value: bitrate(newest?.egress ?? null) })}
              times={times}
              format={bitrate}
              lines={[
                { name: t("metrics.out"), colour: "one", values: points.map((point) => point.egress) },
                { name: t("metrics.in"), colour: "two", values: points.map((point) => point.ingress) },
              ]}
            />
          </section>
          <section className="panel">
            <h2>{t("metrics.streams")}</h2>
            <Chart label={t("chart.label", { name: t("metrics.streams"), value: count(newest?.streams ?? null) })} times={times} format={count} lines={[{ name: t("metrics.streams"), colour: "one", values: points.map((point) => point.streams) }]} />
          </section>
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
