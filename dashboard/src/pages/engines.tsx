// The pool: which engines there are, how they do, what they carry. What the API does not tell of an engine is not shown.
import { Fragment, useMemo, useRef } from "react";
import type { Engine } from "../api/model";
import type { Usage } from "../api/fleet";
import { useAnswer } from "../components/asking";
import { useLive, useServices } from "../components/context";
import { FleetPanel } from "../components/fleet";
import { Icon } from "../components/icon";
import { Age, Empty, Fresh, Title } from "../components/parts";
import { EngineMark } from "../components/state";
import { sorted, sortingOf, sortingText, Table, type Column } from "../components/table";
import { VpnPanel } from "../components/vpn";
import { plain } from "../format/text";
import { bytes, count, decimal, UNKNOWN } from "../format/units";
import { t } from "../messages";
import { Link, navigate, useHref, useParam } from "../router";
import { Chip, useSearchKey } from "./streams";

const ORDER = ["down", "unhealthy", "suspect", "unknown", "healthy"] as const;

const load = (engine: Engine) => engine.leases ?? engine.streams;

function columns(known: Set<string>, usage: ReadonlyMap<string, Usage>): Column<Engine>[] {
  const all: Column<Engine>[] = [
    { key: "state", head: t("col.state"), width: "minmax(7.5rem, 9rem)", card: "head", sort: (engine) => ORDER.indexOf(engine.state), cell: (engine) => <EngineMark state={engine.state} /> },
    {
      key: "engine",
      head: t("engines.col.engine"),
      width: "minmax(11rem, 1.4fr)",
      card: "head",
      sort: (engine) => engine.authority ?? engine.id,
      cell: (engine) => (
        <span className="stream-name" title={engine.fault ?? engine.name ?? engine.id}>
          <Link to={enginePath(engine)} className="row-link" tabIndex={-1}>
            {plain(engine.authority ?? engine.id)}
          </Link>
          {engine.isDrained && <span className="tag">{t("engine.drained")}</span>}
          {engine.isFallback && <span className="tag">{t("engines.fallback")}</span>}
          {engine.forwarded && <span className="tag">{t("engines.forwarded", { port: String(engine.forwardedPort ?? UNKNOWN) })}</span>}
          {engine.fault && <span className="bad small fault">{engine.fault}</span>}
        </span>
      ),
    },
    {
      key: "leases",
      head: t("engines.col.leases"),
      width: "6rem",
      isNumber: true,
      largestFirst: true,
      sort: load,
      cell: (engine) => (load(engine) ? <Link to={`streams?q=${encodeURIComponent(engine.authority ?? engine.id)}`}>{count(load(engine))}</Link> : count(load(engine))),
    },
    { key: "starts", head: t("engines.col.starts"), width: "6rem", from: 1310, card: "none", isNumber: true, largestFirst: true, sort: (engine) => engine.starts, cell: (engine) => count(engine.starts) },
    { key: "cpu", head: t("engines.col.cpu"), width: "5rem", isNumber: true, largestFirst: true, from: 640, card: "none", sort: (engine) => usage.get(engine.id)?.cpu ?? null, cell: (engine) => { const cpu = usage.get(engine.id)?.cpu ?? null; return cpu === null ? UNKNOWN : `${decimal(cpu, 0)} %`; } },
    { key: "memory", head: t("engines.col.memory"), width: "6.5rem", isNumber: true, largestFirst: true, from: 700, card: "none", sort: (engine) => usage.get(engine.id)?.memory ?? null, cell: (engine) => bytes(usage.get(engine.id)?.memory ?? null) },
    { key: "cache", head: t("engine.cache"), width: "6.5rem", isNumber: true, largestFirst: true, from: 1210, card: "none", sort: (engine) => engine.cacheBytes, cell: (engine) => bytes(engine.cacheBytes) },
    { key: "version", head: t("engines.col.version"), width: "minmax(7rem, 1fr)", from: 920, card: "none", sort: (engine) => engine.version, cell: (engine) => [engine.version, engine.platform].filter(Boolean).join(" · ") || UNKNOWN },
    { key: "vpn", head: t("engines.col.vpn"), width: "minmax(6rem, 1fr)", from: 1010, card: "none", sort: (engine) => engine.vpn, cell: (engine) => engine.vpn ?? UNKNOWN },
    { key: "checked", head: t("engines.col.checked"), width: "7rem", isNumber: true, from: 800, card: "none", sort: (engine) => engine.checkedAt, cell: (engine) => <Age at={engine.checkedAt} /> },
    { key: "used", head: t("engines.col.used"), width: "7rem", isNumber: true, from: 1110, card: "none", sort: (engine) => engine.usedAt, cell: (engine) => <Age at={engine.usedAt} /> },
  ];
  return all.filter((column) => known.has(column.key));
}

/** Columns that some engine has a value for. */
function knownColumns(engines: readonly Engine[], usage: ReadonlyMap<string, Usage>): Set<string> {
  const known = new Set(["state", "engine", "leases"]);
  const has = (pick: (engine: Engine) => unknown) => engines.some((engine) => pick(engine) !== null);
  if (has((engine) => engine.starts)) known.add("starts");
  if (usage.size > 0) known.add("cpu").add("memory");
  if (has((engine) => engine.cacheBytes)) known.add("cache");
  if (has((engine) => engine.version ?? engine.platform)) known.add("version");
  if (has((engine) => engine.vpn)) known.add("vpn");
  if (has((engine) => engine.checkedAt)) known.add("checked");
  if (has((engine) => engine.usedAt)) known.add("used");
  return known;
}

export const enginePath = (engine: Engine): string => `engine/${encodeURIComponent(engine.id)}`;

const USAGE_MS = 5000;
const NO_USAGE: ReadonlyMap<string, Usage> = new Map();

export function EnginesPage() {
  const { api } = useServices();
  const used = useAnswer((signal) => api.usage(signal), [], USAGE_MS);
  const usage = used.reading.value ?? NO_USAGE;
  const href = useHref();
  const reading = useLive((state) => state.engines);
  const [search, setSearch] = useParam("q");
  const [filter, setFilter] = useParam("state");
  const [order, setOrder] = useParam("sort");
  const field = useRef<HTMLInputElement>(null);
  useSearchKey(field);
  const all = reading.value;
  const sorting = sortingOf(order, { key: "state", isDescending: false });
  const known = useMemo(() => knownColumns(all ?? [], usage), [all, usage]);
  const shape = useMemo(() => columns(known, usage), [known, usage]);
  const shown = useMemo(() => {
    const wanted = search.toLowerCase();
    const found = (all ?? []).filter((engine) => (filter === "" || engine.state === filter) && `${engine.authority} ${engine.id} ${engine.name} ${engine.version} ${engine.vpn}`.toLowerCase().includes(wanted));
    return sorted(found, shape, sorting, (engine) => engine.id);
  }, [all, shape, search, filter, sorting.key, sorting.isDescending]);
  const groups = useMemo(() => byVpn(shown), [shown]);
  const counts = new Map<string, number>();
  for (const engine of all ?? []) counts.set(engine.state, (counts.get(engine.state) ?? 0) + 1);
  return (
    <>
      <Title title={t("engines.title")} />
      <FleetPanel />
      <div className="toolbar">
        <label className="search">
          <Icon name="search" />
          <input ref={field} type="search" value={search} placeholder={t("engines.search")} aria-label={t("engines.search")} onChange={(event) => setSearch(event.target.value)} />
        </label>
        <div className="chips" role="group" aria-label={t("col.state")}>
          <Chip isOn={filter === ""} onClick={() => setFilter("")} n={all?.length ?? null}>
            {t("streams.all")}
          </Chip>
          {ORDER.filter((state) => counts.has(state) || filter === state).map((state) => (
            <Chip key={state} isOn={filter === state} onClick={() => setFilter(state)} n={counts.get(state) ?? 0}>
              {t(`engine.${state}`)}
            </Chip>
          ))}
        </div>
      </div>
      <Fresh reading={reading} as="section">
        {all === null ? (
          <Empty title={t("engines.unread")} />
        ) : all.length === 0 ? (
          <Empty title={t("engines.none")}>{t("engines.none.text")}</Empty>
        ) : shown.length === 0 ? (
          <Empty title={t("engines.nothing")} />
        ) : (
          groups.map(({ name, engines }) => (
            <Fragment key={name ?? ""}>
              {groups.length > 1 && (
                <h2 className="group">
                  <bdi>{name ?? t("engines.vpn.none")}</bdi> <span className="chip-count">{t("engines.shown", { n: engines.length })}</span>
                </h2>
              )}
              <Table label={groups.length > 1 ? `${t("engines.title")}: ${name ?? t("engines.vpn.none")}` : t("engines.title")} rows={engines} rowKey={(engine) => engine.id} columns={shape} onOpen={(engine) => navigate(href(enginePath(engine)))} sorting={sorting} onSort={(next) => setOrder(sortingText(next))} />
            </Fragment>
          ))
        )}
      </Fresh>
      <Totals usage={usage} />
      <VpnPanel />
    </>
  );
}

/** One group for each VPN, those bound to none last; one alone where there is no VPN. */
function byVpn(engines: readonly Engine[]): { name: string | null; engines: Engine[] }[] {
  const groups = new Map<string | null, Engine[]>();
  for (const engine of engines) {
    const group = groups.get(engine.vpn);
    if (group) group.push(engine);
    else groups.set(engine.vpn, [engine]);
  }
  const order = [...groups].sort(([one], [other]) => (one === null ? 1 : other === null ? -1 : one.localeCompare(other)));
  return order.map(([name, found]) => ({ name, engines: found }));
}

/** What all containers use together, and how many they are. */
function Totals({ usage }: { usage: ReadonlyMap<string, Usage> }) {
  if (usage.size === 0) return null;
  const all = [...usage.values()];
  const sum = (pick: (one: Usage) => number | null) => all.reduce((total, one) => total + (pick(one) ?? 0), 0);
  return <p className="dim">{t("engines.totals", { n: usage.size, cpu: decimal(sum((one) => one.cpu), 0), memory: bytes(sum((one) => one.memory)) })}</p>;
}
