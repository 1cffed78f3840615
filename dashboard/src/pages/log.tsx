// What happened and why: the log, found by kind, time and text, and going on by itself while the page follows.
import { useMemo, useRef, useState } from "react";
import { EVENT_TYPES, type LogEntry } from "../api/log";
import { useAct, useAnswer, useChange } from "../components/asking";
import { useServices, useTheirNow } from "../components/context";
import { Icon } from "../components/icon";
import { Button, Empty, Since, Title } from "../components/parts";
import { reasonText } from "../components/reason";
import { faultText } from "../components/status";
import { plain, short } from "../format/text";
import { isMessage, t, type Message } from "../messages";
import { Link, useParam } from "../router";
import { useStore } from "../stores/store";
import { Chip, useSearchKey } from "./streams";

const LENGTHS = [50, 100, 200, 500];
const PERIODS = ["15", "60", "1440"] as const;

/** An event in the reader's words; the appliance's own where there are none. */
export function eventText(entry: LogEntry): string {
  const name = `event.${entry.type}.${entry.category}`;
  const reason = entry.details["reason"];
  const why = typeof reason === "string" ? reasonText(plain(reason)) : null;
  const text = isMessage(name) ? t(name as Message) : entry.message;
  return why ? `${text}: ${why}` : text;
}

export function Entries({ entries, now }: { entries: readonly LogEntry[]; now: number }) {
  return (
    <ul className="log">
      {entries.map((entry) => (
        <Entry key={entry.id} entry={entry} now={now} />
      ))}
    </ul>
  );
}

function Entry({ entry, now }: { entry: LogEntry; now: number }) {
  const isBad = ["failed", "unhealthy", "storage_failed"].includes(entry.category);
  const name = `log.type.${entry.type}`;
  const key = entry.details["key"];
  const stream = entry.stream ?? (typeof key === "string" ? key : null);
  return (
    <li className={`log-entry ${isBad ? "log-bad" : ""}`}>
      <span className="log-when">
        <Since at={entry.at} now={now} />
      </span>
      <span className="tag">{isMessage(name) ? t(name) : entry.type}</span>
      <div className="log-what">
        <p>
          <bdi>{eventText(entry)}</bdi>
        </p>
        <div className="log-about">
          {stream && (
            <Link to={`streams/${encodeURIComponent(stream.split("|")[0] ?? stream)}`}>
              <code>{short(stream.split("|")[0] ?? stream)}</code>
            </Link>
          )}
          {entry.engine && (
            <Link to={`engine/${encodeURIComponent(entry.engine)}`}>
              <code>{plain(entry.engine).slice(0, 24)}</code>
            </Link>
          )}
          <details>
            <summary>{t("log.details")}</summary>
            <p>
              <bdi>{entry.message}</bdi>
            </p>
            <pre>{plain(JSON.stringify({ id: entry.id, category: entry.category, ...entry.details }))}</pre>
          </details>
        </div>
      </div>
    </li>
  );
}

export default function LogPage() {
  const { api, live } = useServices();
  const act = useAct();
  const now = useTheirNow(5000);
  const [type, setType] = useParam("type");
  const [search, setSearch] = useParam("q");
  const [period, setPeriod] = useParam("within");
  const [length, setLength] = useParam("n");
  const field = useRef<HTMLInputElement>(null);
  useSearchKey(field);
  const limit = LENGTHS.find((known) => String(known) === length) ?? 100;
  const within = PERIODS.find((known) => known === period);
  const subject = [type, within, limit];
  const since = () => (within === undefined ? null : Date.now() + live.state.get().clockOffset - Number(within) * 60_000);
  const filter = { type, engine: "", stream: "", limit };
  const { reading, again } = useAnswer((signal) => api.log({ ...filter, since: since(), offset: 0 }, signal), subject);
  const counts = useAnswer((signal) => api.logCounts(signal), []);
  const [older, setOlder] = useState<{ of: readonly LogEntry[]; entries: LogEntry[]; isEnd: boolean } | null>(null);
  const fresh = useStore(live.changes.state, (state) => state.entries);
  const first = reading.value;
  const late = older !== null && older.of === first ? older : null;
  const seen = useMemo(() => {
    const all = [...(first ?? []), ...(late?.entries ?? [])];
    const newest = all[0]?.id ?? -1;
    const came = first === null ? [] : fresh.filter((entry) => entry.id > newest && (type === "" || entry.type === type));
    const wanted = search.toLowerCase();
    return [...came, ...all].filter((entry) => `${eventText(entry)} ${entry.message} ${entry.category} ${entry.engine} ${entry.stream} ${JSON.stringify(entry.details)}`.toLowerCase().includes(wanted));
  }, [first, late, fresh, type, search]);
  useChange((state) => state.missed, again);
  useChange((state) => state.entries[0]?.id ?? 0, counts.again);
  const onOlder = async () => {
    if (!first) return;
    const before = late?.entries ?? [];
    const came = fresh.filter((entry) => entry.id > (first[0]?.id ?? -1) && (type === "" || entry.type === type)).length;
    const found = await act(() => api.log({ ...filter, since: since(), offset: first.length + before.length + came }, new AbortController().signal), t("log.older.failed"));
    if (found && "value" in found) setOlder({ of: first, entries: [...before, ...found.value], isEnd: found.value.length < limit });
  };
  const hasOlder = first !== null && first.length === limit && !late?.isEnd;
  return (
    <>
      <Title title={t("log.title")} />
      <div className="toolbar">
        <label className="search">
          <Icon name="search" />
          <input ref={field} type="search" value={search} placeholder={t("log.search")} aria-label={t("log.search")} onChange={(event) => setSearch(event.target.value)} />
        </label>
        <div className="chips" role="group" aria-label={t("log.type")}>
          <Chip isOn={type === ""} onClick={() => setType("")} n={counts.reading.value?.total ?? null}>
            {t("streams.all")}
          </Chip>
          {EVENT_TYPES.map((one) => (
            <Chip key={one} isOn={type === one} onClick={() => setType(type === one ? "" : one)} n={counts.reading.value?.byType[one] ?? null}>
              {t(`log.type.${one}`)}
            </Chip>
          ))}
        </div>
        <label className="field-row">
          <span>{t("log.within")}</span>
          <select value={within ?? ""} onChange={(event) => setPeriod(event.target.value)}>
            <option value="">{t("log.within.any")}</option>
            {PERIODS.map((minutes) => (
              <option key={minutes} value={minutes}>
                {t(`log.within.${minutes}`)}
              </option>
            ))}
          </select>
        </label>
        <label className="field-row">
          <span>{t("log.length")}</span>
          <select value={limit} onChange={(event) => setLength(event.target.value)}>
            {LENGTHS.map((one) => (
              <option key={one} value={one}>
                {one}
              </option>
            ))}
          </select>
        </label>
        <Button icon="recovering" onClick={again}>
          {t("live.refresh")}
        </Button>
      </div>
      {reading.fault && (
        <p className="note bad" role="alert">
          {t("log.unread")}: {faultText(reading.fault)}
        </p>
      )}
      {first === null ? (
        !reading.fault && <div className="loading" />
      ) : seen.length === 0 ? (
        <Empty title={t("log.none")} />
      ) : (
        <section className="panel">
          <Entries entries={seen} now={now} />
        </section>
      )}
      {hasOlder && (
        <p className="row">
          <Button onClick={() => void onOlder()}>{t("log.older")}</Button>
        </p>
      )}
    </>
  );
}
