// What is alive, what is wrong, and the last quarter of an hour, on one screen.
import { useMemo } from "react";
import { observations, quantile, type Figures, type Histogram } from "../api/exposition";
import type { Engine, Stream } from "../api/model";
import { Area, type Series } from "../components/area";
import { CopyButton, Fresh, Since, Title } from "../components/parts";
import { isStale, useLive, useNow, useServices, useTheirNow } from "../components/context";
import { LevelMark, StreamMark } from "../components/state";
import { StreamName } from "../components/stream-name";
import { short } from "../format/text";
import { moment } from "../format/time";
import { atMost, bitrate, bitrateParts, count, decimal, span, UNKNOWN } from "../format/units";
import { t } from "../messages";
import { Link } from "../router";
import { checks } from "../stores/checks";
import { HISTORY_MS, type Point } from "../stores/history";
import type { ShardRate } from "../stores/shards";

/** The shortest time a line is drawn over. */
const SHOWN_MS_MIN = 60_000;

export function OverviewPage() {
  return (
    <>
      <Title title={t("nav.overview")} />
      <div className="overview">
        <RightNow />
        <Numbers />
        <div className="columns">
          <Shards />
          <Latency />
        </div>
        <Top />
      </div>
    </>
  );
}

function RightNow() {
  const { live } = useServices();
  const state = useLive((all) => all);
  const now = useNow();
  if (!state.isSettled) return <section className="now" aria-busy="true" />;
  const wrong = checks(state, live.history, now).filter(({ level }) => level === "bad" || level === "warn" || level === "unknown");
  const engines = state.engines.value?.length ?? 0;
  // Old figures prove neither that something is wrong nor that nothing is.
  if (isStale(state.streams, state, now)) return null;
  return (
    <section className="now" aria-label={t("overview.now")}>
      {wrong.length === 0 ? (
        <p className="now-fine">
          <LevelMark level="ok" />
          <span>
            {t("overview.fine")} <span className="dim">{t("overview.fine.text", { n: engines })}</span>
          </span>
        </p>
      ) : (
        <ul className="checks">
          {wrong.map((check) => (
            <li key={check.id} className={`check check-${check.level}`}>
              <LevelMark level={check.level} />
              <div>
                <p>{check.to ? <Link to={check.to}>{t(check.text, check.params)}</Link> : t(check.text, check.params)}</p>
                {check.remedy && <p className="dim small">{t(check.remedy)}</p>}
              </div>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Numbers() {
  const { live } = useServices();
  const figures = useLive((state) => state.figures);
  const streams = useLive((state) => state.streams);
  const engines = useLive((state) => state.engines);
  const points = live.history.all();
  const newest = live.history.newest();
  const to = figures.at ?? Date.now();
  const first = points[0]?.at;
  // Before there is a quarter of an hour, what there is fills the width; the note says since when.
  const from = Math.max(to - HISTORY_MS, Math.min(first ?? to, to - SHOWN_MS_MIN));
  const watched = streams.value?.filter((stream) => (stream.players ?? 0) > 0).length ?? null;
  const waiting = figures.value?.sum("sluice_clients_waiting") ?? null;
  const [egress, egressUnit] = bitrateParts(newest?.egress ?? null);
  const factor = newest?.egress && newest.ingress ? newest.egress / newest.ingress : null;
  const series = (pick: (point: Point) => number | null): Series[] => points.map((point) => ({ at: point.at, value: pick(point) }));
  const players = figures.value?.sum("sluice_clients") ?? null;
  const channels = streams.value?.length ?? null;
  return (
    <section className="numbers" aria-label={t("overview.history")}>
      <Fresh reading={figures} className="number">
        <h2>{t("overview.players")}</h2>
        <p className="big">{count(players)}</p>
        <p className="dim small">{waiting ? t("overview.waiting", { n: waiting }) : "\u00a0"}</p>
        <Area points={series((point) => point.players)} from={from} to={to} label={t("chart.label", { name: t("overview.players"), value: count(players) })} />
      </Fresh>
      <Fresh reading={streams} className="number">
        <h2>{t("overview.channels")}</h2>
        <p className="big">{count(channels)}</p>
        <p className="dim small">{watched === null ? "\u00a0" : t("overview.watched", { n: watched })}</p>
        <Area points={series((point) => point.streams)} from={from} to={to} label={t("chart.label", { name: t("overview.channels"), value: count(channels) })} />
      </Fresh>
      <Fresh reading={figures} className="number">
        <h2>{t("overview.egress")}</h2>
        <p className="big">
          {egress}
          <span className="unit"> {egressUnit}</span>
        </p>
        <p className="dim small">{factor === null ? "\u00a0" : t("overview.amplification", { factor: decimal(factor, factor < 10 ? 1 : 0) })}</p>
        <Area points={series((point) => point.egress)} from={from} to={to} label={t("chart.label", { name: t("overview.egress"), value: bitrate(newest?.egress ?? null) })} />
      </Fresh>
      <Fresh reading={engines} className="number">
        <h2>{t("overview.engines")}</h2>
        <p className="big">{count(engines.value?.length ?? null)}</p>
        <EngineSplit engines={engines.value} />
      </Fresh>
      <p className="numbers-note dim small">
        {t("overview.history")}
        {first !== undefined && to - first < HISTORY_MS - 60_000 && <> · {t("overview.history.since", { time: moment(first) })}</>}
      </p>
    </section>
  );
}

function EngineSplit({ engines }: { engines: Engine[] | null }) {
  if (!engines) return <p className="dim small">{UNKNOWN}</p>;
  const usable = engines.filter((engine) => engine.state === "healthy" || engine.state === "suspect");
  const busy = usable.filter((engine) => (engine.leases ?? engine.streams ?? 0) > 0).length;
  const starting = engines.reduce((sum, engine) => sum + (engine.starts ?? 0), 0);
  const down = engines.filter((engine) => engine.state === "down" || engine.state === "unhealthy").length;
  const unknown = engines.length - usable.length - down;
  const parts = [
    { tone: "good", share: busy },
    { tone: "ready", share: usable.length - busy },
    { tone: "quiet", share: unknown },
    { tone: "bad", share: down },
  ];
  return (
    <>
      <p className="dim small">
        {t("overview.engines.split", { ready: usable.length - busy, busy, starting })}
        {down > 0 && <span className="bad"> · {t("overview.down", { n: down })}</span>}
      </p>
      <div className="split" aria-hidden="true">
        {parts.map(({ tone, share }) => share > 0 && <span key={tone} className={`split-${tone}`} style={{ flexGrow: share }} />)}
      </div>
    </>
  );
}

function Shards() {
  const figures = useLive((state) => state.figures);
  const health = useLive((state) => state.health);
  const rates = useShardRates(figures.value, figures.at);
  const value = figures.value;
  const ids = useMemo(() => {
    const known = new Set([...(value?.by("sluice_clients", "shard").keys() ?? []), ...(health.value?.shards.map(({ shard }) => String(shard)) ?? [])]);
    return [...known].sort((one, other) => Number(one) - Number(other));
  }, [value, health.value]);
  return (
    <Fresh reading={figures} as="section" className="panel">
      <h2>{t("overview.shards")}</h2>
      <p className="dim small">{t("overview.shards.text")}</p>
      <div className="scroll-x" tabIndex={0} role="region" aria-label={t("overview.shards")}>
        <table className="plain-table">
          <thead>
            <tr>
              <th scope="col">{t("shard.name")}</th>
              <th scope="col">{t("shard.driver")}</th>
              <th scope="col" className="cell-number">{t("shard.players")}</th>
              <th scope="col" className="cell-number wide">{t("shard.egress")}</th>
              <th scope="col" className="cell-number">{t("shard.tick")}</th>
              <th scope="col" className="cell-load">{t("shard.load")}</th>
              <th scope="col" className="cell-number wide">{t("shard.inbox")}</th>
            </tr>
          </thead>
          <tbody>
            {ids.map((id) => {
              const labels = { shard: id };
              const driver = health.value?.shards.find(({ shard }) => String(shard) === id)?.driver ?? null;
              const load = rates.get(id)?.load ?? null;
              return (
                <tr key={id}>
                  <th scope="row">{id}</th>
                  <td>{driver ?? UNKNOWN}</td>
                  <td className="cell-number">{count(value?.sum("sluice_clients", labels) ?? null)}</td>
                  <td className="cell-number wide">{bitrate(rates.get(id)?.egress ?? null)}</td>
                  <td className="cell-number">{span(value?.sum("sluice_tick_seconds", labels) ?? null)}</td>
                  <td className="cell-load">
                    <Load share={load} />
                  </td>
                  <td className="cell-number wide">{count(value?.sum("sluice_inbox_messages", labels) ?? null)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </Fresh>
  );
}

function Load({ share }: { share: number | null }) {
  if (share === null) return <span>{UNKNOWN}</span>;
  const percent = Math.min(100, share * 100);
  const tone = percent > 85 ? "bad" : percent > 60 ? "warn" : "good";
  return (
    <span className="load">
      <span className="load-track" aria-hidden="true">
        <span className={`load-fill load-${tone}`} style={{ width: `${percent}%` }} />
      </span>
      <span className="load-text">{decimal(share * 100, percent < 10 ? 1 : 0)} %</span>
    </span>
  );
}

/** What each shard did between the last two looks. */
function useShardRates(figures: Figures | null, at: number | null): Map<string, ShardRate> {
  const { live } = useServices();
  const exact = useLive((state) => state.figuresExact);
  return useMemo(() => (figures && at !== null ? live.shards.rates(at, figures, exact) : new Map()), [live, figures, at, exact]);
}

function Latency() {
  const { live } = useServices();
  const figures = useLive((state) => state.figures);
  const value = figures.value;
  const join = live.history.recent("join", value?.histogram("sluice_join_seconds") ?? null);
  const gap = live.history.recent("gap", value?.histogram("sluice_delivery_gap_seconds") ?? null);
  return (
    <Fresh reading={figures} as="section" className="panel">
      <h2>{t("overview.latency")}</h2>
      <Percentiles name={t("latency.join")} text={t("latency.join.text")} of={join} />
      <Percentiles name={t("latency.gap")} text={t("latency.gap.text")} of={gap} />
    </Fresh>
  );
}

const SHARES = [0.5, 0.95, 0.99, 0.999] as const;

function Percentiles({ name, text, of }: { name: string; text: string; of: { histogram: Histogram; since: number | null } | null }) {
  const total = of ? observations(of.histogram) : 0;
  return (
    <div className="percentiles">
      <h3>
        {name} <span className="dim">{text}</span>
      </h3>
      {!of || total === 0 ? (
        <p className="dim">{of ? t("latency.none") : UNKNOWN}</p>
      ) : (
        <>
          <dl className="percentile-row">
            {SHARES.map((share) => (
              <div key={share}>
                <dt>p{decimal(share * 100, share === 0.999 ? 1 : 0)}</dt>
                <dd>{atMost(quantile(of.histogram, share))}</dd>
              </div>
            ))}
          </dl>
          <p className="dim small">
            {t("latency.observed", { n: total })} · {of.since === null ? t("latency.all") : t("latency.since", { time: moment(of.since) })}
          </p>
        </>
      )}
    </div>
  );
}

const TOP = 8;

function Top() {
  const reading = useLive((state) => state.streams);
  const now = useTheirNow(5000);
  const top = useMemo(() => [...(reading.value ?? [])].sort((one, other) => (other.players ?? -1) - (one.players ?? -1) || one.key.localeCompare(other.key)).slice(0, TOP), [reading.value]);
  if (!reading.value) return null;
  return (
    <Fresh reading={reading} as="section" className="panel">
      <div className="panel-head">
        <h2>{t("overview.top")}</h2>
        <Link to="streams">{t("overview.all")}</Link>
      </div>
      {top.length === 0 ? (
        <p className="dim">{t("overview.quiet")}</p>
      ) : (
        <div className="scroll-x" tabIndex={0} role="region" aria-label={t("overview.top")}>
          <table className="plain-table">
            <thead>
              <tr>
                <th scope="col">{t("col.state")}</th>
                <th scope="col">{t("col.stream")}</th>
                <th scope="col" className="cell-number">{t("col.players")}</th>
                <th scope="col" className="cell-number">{t("col.bitrate")}</th>
                <th scope="col" className="cell-number wide">{t("col.peers")}</th>
                <th scope="col" className="wide">{t("col.engine")}</th>
                <th scope="col" className="cell-number wide">{t("col.uptime")}</th>
              </tr>
            </thead>
            <tbody>
              {top.map((stream) => (
                <TopRow key={stream.key} stream={stream} now={now} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Fresh>
  );
}

function TopRow({ stream, now }: { stream: Stream; now: number }) {
  return (
    <tr>
      <td>
        <StreamMark state={stream.state} silentFor={stream.silentMs} />
      </td>
      <td>
        <Link to={`streams/${encodeURIComponent(stream.key)}`} title={stream.id}>
          <StreamName stream={stream} />
        </Link>{" "}
        <CopyButton value={stream.id} label={short(stream.id)} compact />
      </td>
      <td className="cell-number">{count(stream.players)}</td>
      <td className="cell-number">{bitrate(stream.bitrate)}</td>
      <td className="cell-number wide">{count(stream.peers)}</td>
      <td className="wide">{stream.engine ?? UNKNOWN}</td>
      <td className="cell-number wide">
        <Since at={stream.startedAt} now={now} />
      </td>
    </tr>
  );
}
