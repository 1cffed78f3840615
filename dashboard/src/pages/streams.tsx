// Every stream there is, live: found, sorted, filtered, moved, stopped. The search, filter and order are in the address.
import { useCallback, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import type { Stream, StreamState } from "../api/model";
import { Question, type Asked } from "../components/actions";
import { useAnswer, useChange } from "../components/asking";
import { useLive, useOperations, useServices } from "../components/context";
import { Icon } from "../components/icon";
import { Age, Button, Empty, Fresh, Moment, Title } from "../components/parts";
import { StreamName } from "../components/stream-name";
import { StreamMark } from "../components/state";
import { sorted, sortingOf, sortingText, Table, type Column, type Selection } from "../components/table";
import { short } from "../format/text";
import { bitrate, bytes, count, span, UNKNOWN } from "../format/units";
import { t } from "../messages";
import { Link, navigate, useHref, useParam } from "../router";
import { EndedStreams } from "./ended";

const FILTERS: readonly StreamState[] = ["playing", "starting", "recovering", "stalled", "grace", "stopping"];
/** Offered by the API under this name. */
export const STOP = "DELETE /streams/{stream_id}";

export const streamPath = (stream: Stream): string => `streams/${encodeURIComponent(stream.key)}`;

export function splicesOf(stream: Stream): number | null {
  const { splices, failovers } = stream;
  return splices ? splices.exact + splices.clock + splices.randomAccess : failovers;
}

function columns(ask: (asked: Asked) => void, canStop: boolean, titleOf: (stream: Stream) => string | null): Column<Stream>[] {
  return [
    {
      key: "state",
      head: t("col.state"),
      width: "minmax(8.5rem, 10rem)",
      card: "head",
      sort: (stream) => FILTERS.indexOf(stream.state),
      cell: (stream) => <StreamMark state={stream.state} silentFor={stream.silentMs} />,
    },
    {
      key: "stream",
      head: t("col.stream"),
      width: "minmax(12rem, 1.4fr)",
      card: "head",
      sort: (stream) => titleOf(stream) ?? stream.id,
      cell: (stream) => (
        <span className="stream-name">
          <Link to={streamPath(stream)} className="row-link" tabIndex={-1} title={stream.id}>
            <StreamName stream={stream} />
          </Link>
          <span className="formats">{stream.formats.join(" ")}</span>
        </span>
      ),
    },
    { key: "players", head: t("col.players"), width: "5.5rem", isNumber: true, largestFirst: true, sort: (stream) => stream.players, cell: (stream) => <Players stream={stream} /> },
    { key: "bitrate", head: t("col.bitrate"), width: "7rem", isNumber: true, largestFirst: true, from: 620, sort: (stream) => stream.bitrate, cell: (stream) => bitrate(stream.bitrate) },
    { key: "engine", head: t("col.engine"), width: "minmax(9rem, 1fr)", from: 850, sort: (stream) => stream.engine, card: "none", cell: (stream) => stream.engine ?? UNKNOWN },
    { key: "peers", head: t("col.peers"), width: "4.5rem", isNumber: true, largestFirst: true, from: 920, card: "none", sort: (stream) => stream.peers, cell: (stream) => count(stream.peers) },
    { key: "down", head: t("col.down"), width: "7rem", isNumber: true, largestFirst: true, from: 1020, card: "none", sort: (stream) => stream.down, cell: (stream) => bitrate(stream.down) },
    { key: "up", head: t("col.up"), width: "7rem", isNumber: true, largestFirst: true, from: 1400, card: "none", sort: (stream) => stream.up, cell: (stream) => bitrate(stream.up) },
    { key: "behind", head: t("col.behind"), width: "6.5rem", isNumber: true, largestFirst: true, from: 1120, card: "none", sort: (stream) => stream.behindSeconds, cell: (stream) => span(stream.behindSeconds) },
    { key: "position", head: t("col.position"), width: "7.5rem", isNumber: true, from: 1790, card: "none", sort: (stream) => stream.positionAt, largestFirst: true, cell: (stream) => <Moment at={stream.positionAt} /> },
    { key: "received", head: t("stream.downloaded"), width: "6.5rem", isNumber: true, largestFirst: true, from: 1560, card: "none", sort: (stream) => stream.downloaded, cell: (stream) => bytes(stream.downloaded) },
    { key: "sent", head: t("stream.uploaded"), width: "6.5rem", isNumber: true, largestFirst: true, from: 1670, card: "none", sort: (stream) => stream.uploaded, cell: (stream) => bytes(stream.uploaded) },
    { key: "window", head: t("col.window"), width: "5.5rem", isNumber: true, largestFirst: true, from: 1300, card: "none", sort: (stream) => stream.windowSeconds, cell: (stream) => span(stream.windowSeconds) },
    { key: "splices", head: t("col.splices"), width: "5.5rem", isNumber: true, largestFirst: true, from: 1210, card: "none", sort: splicesOf, cell: (stream) => count(splicesOf(stream)) },
    { key: "uptime", head: t("col.uptime"), width: "6.5rem", isNumber: true, from: 720, sort: (stream) => (stream.startedAt === null ? null : -stream.startedAt), largestFirst: true, cell: (stream) => <Age at={stream.startedAt} /> },
    {
      key: "actions",
      head: t("col.actions"),
      width: canStop ? "5.5rem" : "3.5rem",
      from: 640,
      card: "none",
      cell: (stream) => (
        <span className="row-actions">
          <Link to={`watch/${stream.id}`} className="icon-button" aria-label={`${t("action.watch")}: ${short(stream.id)}`} title={t("action.watch")}>
            <Icon name="watch" />
          </Link>
          {canStop && (
            <button type="button" className="icon-button" aria-label={`${t("action.stop")}: ${short(stream.id)}`} title={t("action.stop")} onClick={() => ask({ what: "stop", streams: [stream] })}>
              <Icon name="stop" />
            </button>
          )}
        </span>
      ),
    },
  ];
}

function Players({ stream }: { stream: Stream }) {
  return (
    <>
      {count(stream.players)}
      {stream.waiting ? <span className="dim" title={t("overview.waiting", { n: stream.waiting })}> +{stream.waiting}</span> : null}
    </>
  );
}

function matches(stream: Stream, title: string | null, words: string[]): boolean {
  const text = `${title ?? ""} ${stream.id} ${stream.infohash ?? ""} ${stream.engine ?? ""} ${stream.formats.join(" ")} ${stream.key}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

export function StreamsPage() {
  const { api, titles } = useServices();
  // As of the last look: a title that was just learned moves its row with the next one.
  const titleOf = useCallback((stream: Stream) => stream.channel?.name ?? titles.known.get().get(stream.streamId ?? "") ?? null, [titles]);
  const reading = useLive((state) => state.streams);
  const operations = useOperations();
  const canStop = operations?.has(STOP) ?? false;
  const [search, setSearch] = useParam("q");
  const [filter, setFilter] = useParam("state");
  const [order, setOrder] = useParam("sort");
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const [asked, setAsked] = useState<Asked>(null);
  const field = useRef<HTMLInputElement>(null);
  const href = useHref();
  useSearchKey(field);
  const ended = useAnswer((signal) => api.ended(signal), []);
  useChange((state) => state.streams, ended.again);

  const wanted = useDeferredValue(search);
  const all = reading.value;
  const sorting = sortingOf(order, { key: "players", isDescending: true });
  const shape = useMemo(() => columns(setAsked, canStop, titleOf), [canStop, titleOf]);
  const isEnded = filter === "ended";
  const shown = useMemo(() => {
    const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
    const found = (all ?? []).filter((stream) => (filter === "" || stream.state === filter) && (words.length === 0 || matches(stream, titleOf(stream), words)));
    return sorted(found, shape, sorting, (stream) => stream.key);
  }, [all, wanted, filter, shape, titleOf, sorting.key, sorting.isDescending]);
  const counts = useMemo(() => {
    const found = new Map<string, number>();
    for (const stream of all ?? []) found.set(stream.state, (found.get(stream.state) ?? 0) + 1);
    return found;
  }, [all]);

  const chosen = shown.filter((stream) => selected.has(stream.key));
  const selection: Selection = {
    has: (key) => selected.has(key),
    toggle: (key) => setSelected((before) => toggled(before, key)),
    all: shown.length > 0 && chosen.length === shown.length,
    toggleAll: () => setSelected(chosen.length === shown.length ? new Set() : new Set(shown.map((stream) => stream.key))),
    label: (key) => t("streams.select", { name: short(key) }),
  };

  return (
    <>
      <Title title={t("streams.title")} />
      <div className="toolbar">
        <label className="search">
          <Icon name="search" />
          <input ref={field} type="search" value={search} placeholder={t("streams.search")} aria-label={t("streams.search")} onChange={(event) => setSearch(event.target.value)} />
        </label>
        <div className="chips" role="group" aria-label={t("col.state")}>
          <Chip isOn={filter === ""} onClick={() => setFilter("")} n={all?.length ?? null}>
            {t("streams.all")}
          </Chip>
          {FILTERS.filter((state) => state === filter || counts.has(state)).map((state) => (
            <Chip key={state} isOn={filter === state} onClick={() => setFilter(state)} n={counts.get(state) ?? 0}>
              {t(`state.${state}`)}
            </Chip>
          ))}
          <Chip isOn={isEnded} onClick={() => setFilter("ended")} n={ended.reading.value?.length ?? null}>
            {t("streams.ended")}
          </Chip>
        </div>
      </div>
      {isEnded ? (
        <EndedStreams reading={ended.reading} search={wanted} />
      ) : (
        <Fresh reading={reading} as="section">
          {all === null ? (
            <Empty title={t("streams.unread")} />
          ) : all.length === 0 ? (
            <Empty title={t("streams.none")}>{t("streams.none.text")}</Empty>
          ) : shown.length === 0 ? (
            <Empty title={t("streams.nothing")}>
              <p>{t("streams.nothing.text")}</p>
              <Button onClick={() => navigate(href("streams"))}>{t("streams.reset")}</Button>
            </Empty>
          ) : (
            <Table label={t("streams.title")} rows={shown} rowKey={(stream) => stream.key} columns={shape} sorting={sorting} onSort={(next) => setOrder(sortingText(next))} onOpen={(stream) => navigate(href(streamPath(stream)))} selection={selection} />
          )}
        </Fresh>
      )}
      {chosen.length > 0 && !isEnded && (
        <div className="selection-bar" role="region" aria-label={t("streams.selected", { n: chosen.length })}>
          <strong>{t("streams.selected", { n: chosen.length })}</strong>
          <Button icon="move" onClick={() => setAsked({ what: "move", streams: chosen })}>
            {t("action.move")}
          </Button>
          {canStop && (
            <Button icon="stop" tone="danger" onClick={() => setAsked({ what: "stop", streams: chosen })}>
              {t("action.stop")}
            </Button>
          )}
          <Button tone="bare" onClick={() => setSelected(new Set())}>
            {t("streams.clear")}
          </Button>
        </div>
      )}
      {asked && (
        <Question
          asked={asked}
          onDone={() => {
            setAsked(null);
            setSelected(new Set());
          }}
        />
      )}
    </>
  );
}

function toggled(before: ReadonlySet<string>, key: string): ReadonlySet<string> {
  const next = new Set(before);
  if (!next.delete(key)) next.add(key);
  return next;
}

export function Chip({ isOn, onClick, n, children }: { isOn: boolean; onClick: () => void; n: number | null; children: React.ReactNode }) {
  return (
    <button type="button" className="chip" aria-pressed={isOn} onClick={onClick}>
      {children} <span className="chip-count">{count(n)}</span>
    </button>
  );
}

/** A slash goes to the search, as in many lists; not while something is typed. */
export function useSearchKey(field: React.RefObject<HTMLInputElement | null>): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const isTyping = (event.target as HTMLElement).closest("input, select, textarea, dialog");
      if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      field.current?.focus();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, [field]);
}

