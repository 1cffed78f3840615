// The pool: which engines there are, how they do, what they carry. What the API does not tell of an engine is not shown.
import { useMemo, useRef } from "react";
import type { Engine } from "../api/model";
import { useLive, useTheirNow } from "../components/context";
import { Icon } from "../components/icon";
import { Empty, Fresh, Since, Title } from "../components/parts";
import { EngineMark } from "../components/state";
import { sorted, sortingOf, sortingText, Table, type Column } from "../components/table";
import { plain } from "../format/text";
import { count, UNKNOWN } from "../format/units";
import { t } from "../messages";
import { Link, useParam } from "../router";
import { Chip, useSearchKey } from "./streams";

const ORDER = ["down", "unhealthy", "suspect", "unknown", "healthy"] as const;

const load = (engine: Engine) => engine.leases ?? engine.streams;

function columns(now: number, known: Set<string>): Column<Engine>[] {
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
          <span>{plain(engine.authority ?? engine.id)}</span>
          {engine.isFallback && <span className="tag">{t("engines.fallback")}</span>}
          {engine.forwarded && <span className="tag">{t("engines.forwarded", { port: engine.forwardedPort ?? UNKNOWN })}</span>}
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
    { key: "starts", head: t("engines.col.starts"), width: "6rem", card: "none", isNumber: true, largestFirst: true, sort: (engine) => engine.starts, cell: (engine) => count(engine.starts) },
    { key: "version", head: t("engines.col.version"), width: "minmax(7rem, 1fr)", from: 760, card: "none", sort: (engine) => engine.version, cell: (engine) => [engine.version, engine.platform].filter(Boolean).join(" · ") || UNKNOWN },
    { key: "vpn", head: t("engines.col.vpn"), width: "minmax(6rem, 1fr)", from: 900, card: "none", sort: (engine) => engine.vpn, cell: (engine) => engine.vpn ?? UNKNOWN },
    { key: "checked", head: t("engines.col.checked"), width: "7rem", isNumber: true, from: 700, card: "none", sort: (engine) => engine.checkedAt, cell: (engine) => <Since at={engine.checkedAt} now={now} /> },
    { key: "used", head: t("engines.col.used"), width: "7rem", isNumber: true, from: 1000, card: "none", sort: (engine) => engine.usedAt, cell: (engine) => <Since at={engine.usedAt} now={now} /> },
  ];
  return all.filter((column) => known.has(column.key));
}

/** Columns that some engine has a value for. */
function knownColumns(engines: readonly Engine[]): Set<string> {
  const known = new Set(["state", "engine", "leases"]);
  const has = (pick: (engine: Engine) => unknown) => engines.some((engine) => pick(engine) !== null);
  if (has((engine) => engine.starts)) known.add("starts");
  if (has((engine) => engine.version ?? engine.platform)) known.add("version");
  if (has((engine) => engine.vpn)) known.add("vpn");
  if (has((engine) => engine.checkedAt)) known.add("checked");
  if (has((engine) => engine.usedAt)) known.add("used");
  return known;
}

export function EnginesPage() {
  const reading = useLive((state) => state.engines);
  const now = useTheirNow();
  const [search, setSearch] = useParam("q");
  const [filter, setFilter] = useParam("state");
  const [order, setOrder] = useParam("sort");
  const field = useRef<HTMLInputElement>(null);
  useSearchKey(field);
  const all = reading.value;
  const sorting = sortingOf(order, { key: "state", isDescending: false });
  const known = useMemo(() => knownColumns(all ?? []), [all]);
  const shown = useMemo(() => {
    const wanted = search.toLowerCase();
    const found = (all ?? []).filter((engine) => (filter === "" || engine.state === filter) && `${engine.authority} ${engine.id} ${engine.name} ${engine.version} ${engine.vpn}`.toLowerCase().includes(wanted));
    return sorted(found, columns(0, known), sorting, (engine) => engine.id);
  }, [all, known, search, filter, sorting.key, sorting.isDescending]);
  const counts = new Map<string, number>();
  for (const engine of all ?? []) counts.set(engine.state, (counts.get(engine.state) ?? 0) + 1);
  return (
    <>
      <Title title={t("engines.title")} />
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
          <Table label={t("engines.title")} rows={shown} rowKey={(engine) => engine.id} columns={columns(now, known)} sorting={sorting} onSort={(next) => setOrder(sortingText(next))} />
        )}
      </Fresh>
    </>
  );
}
