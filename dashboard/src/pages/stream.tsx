// One stream: its window and who is where in it, its players, its source, how it began; after its end, what is known of that.
import { useEffect, useMemo, useRef, useState } from "react";
import type { ClientList } from "../api/api";
import type { Sample } from "../api/log";
import type { Channel, Client, EndedClient, Stream } from "../api/model";
import { success, type Fault } from "../api/outcome";
import type { Start as StartTrace, Timeline as Timings } from "../api/past";
import { Question, type Asked } from "../components/actions";
import { Area } from "../components/area";
import { useAnswer, useChange } from "../components/asking";
import { useLive, useOperations, useServices, useTheirNow } from "../components/context";
import { Icon } from "../components/icon";
import { Age, Button, CopyButton, Empty, Fact, Fresh, Id, Moment, Since, Title } from "../components/parts";
import { reasonText } from "../components/reason";
import { useTitle } from "../components/stream-name";
import { StreamMark } from "../components/state";
import { faultText } from "../components/status";
import { sorted, Table, type Column, type Sorting } from "../components/table";
import { Timeline } from "../components/timeline";
import { Waterfall } from "../components/waterfall";
import { short } from "../format/text";
import { moment } from "../format/time";
import { bitrate, bytes, count, duration, span, UNKNOWN } from "../format/units";
import { isMessage, t } from "../messages";
import { Link } from "../router";
import { Entries } from "./log";
import { STOP } from "./streams";

/** Its players and what lies where in its window, asked for each time the streams came anew. */
function useDetail(key: string): { list: ClientList | null; timeline: Timings | null; fault: Fault | null } {
  const { api } = useServices();
  const at = useLive((state) => state.streams.at);
  const [list, setList] = useState<ClientList | null>(null);
  const [timeline, setTimeline] = useState<Timings | null>(null);
  const [fault, setFault] = useState<Fault | null>(null);
  const isAsking = useRef(false);
  useEffect(() => {
    if (isAsking.current) return;
    isAsking.current = true;
    const stop = new AbortController();
    void Promise.all([api.clients(key, stop.signal), api.timeline(key, stop.signal)]).then(([clients, timings]) => {
      isAsking.current = false;
      if (clients.status === "success") setList(clients.value);
      if (clients.status !== "aborted") setFault(clients.status === "error" ? clients.fault : null);
      // A stream that ended has no window; how it started is told as long as the page is open.
      if (timings.status === "success") setTimeline(timings.value);
    });
    return () => {
      stop.abort();
      isAsking.current = false;
    };
  }, [api, key, at]);
  return { list, timeline, fault };
}

const NONE: never[] = [];

function named(streams: readonly Stream[], id: string): Stream | null {
  const wanted = id.toLowerCase();
  return streams.find((stream) => stream.key === id) ?? streams.find((stream) => stream.id === wanted || stream.infohash === wanted) ?? null;
}

export function StreamPage({ id }: { id: string }) {
  const { live } = useServices();
  const reading = useLive((state) => state.streams);
  const now = useTheirNow();
  const canStop = useOperations()?.has(STOP) ?? false;
  const current = useMemo(() => (reading.value ? named(reading.value, id) : null), [reading.value, id]);
  const past = live.ended.list.get().find(({ stream }) => stream.key === id || stream.id === id)?.stream ?? null;
  const stream = current ?? past;
  const { list, timeline, fault } = useDetail(stream?.key ?? id);
  const title = useTitle(stream);
  const [asked, setAsked] = useState<Asked>(null);
  const [highlighted, setHighlighted] = useState<string | null>(null);

  if (!stream) {
    return (
      <>
        <Title title={short(id)} />
        {reading.value && (
          <Empty title={t("stream.gone")}>
            <p>{t("stream.gone.text")}</p>
            <Link to="streams">{t("overview.all")}</Link>
          </Empty>
        )}
        <Past stream={null} id={id} now={now} />
        {list && list.ended.length > 0 && <EndedPlayers ended={list.ended} now={now} />}
      </>
    );
  }
  const isOver = current === null;
  return (
    <>
      <Title
        title={title ?? short(stream.id)}
        actions={
          <>
            <Link to={`watch/${stream.id}`} className="button button-main">
              <Icon name="watch" />
              <span>{t("action.watch")}</span>
            </Link>
            <Button icon="move" disabled={isOver} onClick={() => setAsked({ what: "move", streams: [stream] })}>
              {t("action.move")}
            </Button>
            {canStop && (
              <Button icon="stop" tone="danger" disabled={isOver} onClick={() => setAsked({ what: "stop", streams: [stream] })}>
                {t("action.stop")}
              </Button>
            )}
          </>
        }
      >
        <Link to="streams" className="crumb">
          {t("nav.streams")}
        </Link>
        <span aria-hidden="true"> / </span>
        {title === null ? <code className="id">{short(stream.id)}</code> : <bdi>{title}</bdi>}
      </Title>
      <p className="stream-line">
        <StreamMark state={isOver ? "ended" : stream.state} silentFor={stream.silentMs} />
        <span>{t("players.shown", { n: stream.players ?? 0 })}</span>
        <span>{bitrate(stream.bitrate)}</span>
        <span className="dim">{stream.formats.join(" · ")}</span>
      </p>
      {isOver && reading.value && <p className="note">{t("stream.gone.text")}</p>}
      <Fresh reading={reading} as="section" className="panel">
        <h2>{t("stream.window")}</h2>
        <p className="dim small">{t("stream.window.text")}</p>
        <Timeline stream={stream} clients={isOver ? NONE : (list?.clients ?? NONE)} access={isOver ? NONE : (timeline?.access ?? NONE)} marks={isOver ? NONE : (timeline?.marks ?? NONE)} highlighted={highlighted} onHighlight={setHighlighted} />
      </Fresh>
      <div className="columns">
        <Facts stream={stream} title={title} />
        <div className="stack">
          {stream.channel && <Ids channel={stream.channel} />}
          <Start stream={stream} start={timeline?.start ?? null} now={now} isOver={isOver} />
          <Swarm stream={stream} isOver={isOver} />
        </div>
      </div>
      <section className="panel">
        <h2>{t("players.title")}</h2>
        {fault && <p className="bad">{faultText(fault)}</p>}
        {list && <Players clients={isOver ? NONE : list.clients} highlighted={highlighted} onHighlight={setHighlighted} />}
      </section>
      <Past stream={stream} id={id} now={now} />
      {list && list.ended.length > 0 && <EndedPlayers ended={list.ended} now={now} />}
      {asked && <Question asked={asked} onDone={() => setAsked(null)} />}
    </>
  );
}

/** The ids of a channel: which one plays, what was left and why, how a race at the start went. */
function Ids({ channel }: { channel: Channel }) {
  const { last, race } = channel;
  const known = `channel.race.${race ?? ""}`;
  return (
    <section className="panel" aria-label={t("channel.title")}>
      <h2>{t("channel.title")}</h2>
      <dl className="facts facts-two">
        <Fact name={t("channel.name")}>
          <bdi>{channel.name}</bdi>
        </Fact>
        {race !== null && <Fact name={t("channel.race")}>{isMessage(known) ? t(known) : race}</Fact>}
        <Fact name={t("channel.fallbacks")}>{t("channel.fallbacks.value", { n: channel.fallbacks })}</Fact>
      </dl>
      <ol className="plain-list channel-ids">
        {channel.ids.map((id) => (
          <li key={id} className="row">
            <Id value={id} /> {id === channel.id && <span className="tag">{t("channel.present")}</span>}
          </li>
        ))}
      </ol>
      {last && (
        <p>
          {t("channel.last", { time: moment(last.at), from: short(last.from), to: short(last.to) })} <strong>{reasonText(last.code)}</strong>
          {last.detail && (
            <>
              {" "}
              <bdi className="dim">{last.detail}</bdi>
            </>
          )}
        </p>
      )}
    </section>
  );
}

function Facts({ stream, title }: { stream: Stream; title: string | null }) {
  const { splices } = stream;
  const kind = stream.isLive === null ? UNKNOWN : t(stream.isLive ? "stream.kind.live" : "stream.kind.file");
  return (
    <section className="panel">
      <h2>{t("stream.facts")}</h2>
      <dl className="facts">
        <Fact name={t("stream.title")}>{title === null ? UNKNOWN : <bdi>{title}</bdi>}</Fact>
        <Fact name={t("stream.id")}>
          <Id value={stream.id} whole />
        </Fact>
        <Fact name={t("stream.infohash")}>{stream.infohash ? <Id value={stream.infohash} whole /> : UNKNOWN}</Fact>
        <Fact name={t("stream.engine")}>{stream.engineId ? <Link to={`engine/${encodeURIComponent(stream.engineId)}`}>{stream.engine ?? stream.engineId}</Link> : (stream.engine ?? UNKNOWN)}</Fact>
        <Fact name={t("stream.engine.says")}>{stream.engineStatus ?? UNKNOWN}</Fact>
        <Fact name={t("stream.kind")}>
          {kind}
          {stream.isEncrypted && ` · ${t("stream.encrypted")}`}
        </Fact>
        <Fact name={t("stream.shard")}>{count(stream.shard)}</Fact>
        <Fact name={t("stream.held")}>{t("stream.held.value", { seconds: span(stream.windowSeconds), bytes: bytes(stream.windowBytes) })}</Fact>
        <Fact name={t("stream.received")}>{bytes(stream.bytesIn)}</Fact>
        <Fact name={t("stream.downloaded")}>{bytes(stream.downloaded)}</Fact>
        <Fact name={t("stream.uploaded")}>{bytes(stream.uploaded)}</Fact>
        <Fact name={t("col.position")}>
          <Moment at={stream.positionAt} />
        </Fact>
        <Fact name={t("col.behind")}>{span(stream.behindSeconds)}</Fact>
        <Fact name={t("stream.buffer")}>{stream.bufferPieces === null ? UNKNOWN : t("stream.pieces", { n: stream.bufferPieces })}</Fact>
        <Fact name={t("stream.failovers")}>{stream.failovers === null ? UNKNOWN : t("stream.failovers.value", { n: stream.failovers })}</Fact>
        <Fact name={t("stream.splices")}>{splices ? t("stream.splices.value", { exact: splices.exact, clock: splices.clock, random: splices.randomAccess }) : UNKNOWN}</Fact>
        <Fact name={t("stream.discontinuities")}>{count(stream.discontinuities)}</Fact>
        <Fact name={t("stream.errors")}>{t("stream.errors.value", { continuity: count(stream.continuityErrors), garbage: bytes(stream.garbageBytes) })}</Fact>
        <Fact name={t("stream.links")}>
          <span className="row">
            {stream.statUrl && <CopyButton value={stream.statUrl} label={t("stream.link.stat")} words={t("stream.link.stat")} />}
            {stream.commandUrl && <CopyButton value={stream.commandUrl} label={t("stream.link.command")} words={t("stream.link.command")} />}
            {!stream.statUrl && !stream.commandUrl && UNKNOWN}
          </span>
        </Fact>
      </dl>
    </section>
  );
}

function Start({ stream, start, now, isOver }: { stream: Stream; start: StartTrace | null; now: number; isOver: boolean }) {
  const { createdAt, startedAt } = stream;
  const took = createdAt !== null && startedAt !== null ? (startedAt - createdAt) / 1000 : null;
  return (
    <section className="panel">
      <h2>{t("stream.start")}</h2>
      <dl className="facts facts-two">
        <Fact name={t("stream.start.asked")}>
          <Moment at={createdAt} />
        </Fact>
        <Fact name={t("stream.start.media")}>
          <Moment at={startedAt} />
        </Fact>
      </dl>
      {took !== null ? (
        <p>{t("stream.start.wait", { span: span(took) })}</p>
      ) : (
        createdAt !== null && !isOver && <p className="warn">{t("stream.start.waiting", { span: duration(now - createdAt) })}</p>
      )}
      {start && <Waterfall start={start} />}
    </section>
  );
}

const HOUR_MS = 3_600_000;
const SWARM_MS = 10_000;

/** The last hour of what the engine said of the swarm, kept by the appliance. */
function Swarm({ stream, isOver }: { stream: Stream; isOver: boolean }) {
  const { api, live } = useServices();
  const id = stream.streamId;
  const { reading } = useAnswer(async (signal) => (id === null ? success([]) : api.samples(id, signal)), [id], isOver ? null : SWARM_MS);
  const samples = reading.value ?? [];
  const now = (reading.at ?? Date.now()) + live.state.get().clockOffset;
  const to = samples.at(-1)?.at ?? now;
  const from = Math.max(to - HOUR_MS, Math.min(samples[0]?.at ?? to, to - 60_000));
  const line = (name: string, value: string, pick: (sample: Sample) => number | null) => (
    <div className="swarm-line">
      <div>
        <span className="dim">{name}</span> <strong>{value}</strong>
      </div>
      <Area points={samples.map((sample) => ({ at: sample.at, value: pick(sample) }))} from={from} to={to} label={t("chart.label", { name, value })} height={44} />
    </div>
  );
  return (
    <section className="panel">
      <h2>{t("stream.p2p")}</h2>
      <p className="dim small">{t("stream.p2p.text")}</p>
      {reading.fault && <p className="bad">{faultText(reading.fault)}</p>}
      {reading.value !== null && samples.length < 2 && <p className="dim">{t("stream.p2p.few")}</p>}
      {line(t("col.down"), bitrate(stream.down), (sample) => sample.down)}
      {line(t("col.up"), bitrate(stream.up), (sample) => sample.up)}
      {line(t("col.peers"), count(stream.peers), (sample) => sample.peers)}
    </section>
  );
}

/** What the log says of this stream, and why it ended. */
function Past({ stream, id, now }: { stream: Stream | null; id: string; now: number }) {
  const { api } = useServices();
  const content = stream?.id ?? id;
  const about = (key: string) => key === content || key === stream?.infohash || key === id;
  const ended = useAnswer((signal) => api.ended(signal), []);
  const streamId = stream?.streamId ?? ended.reading.value?.find(({ key }) => about(key))?.id ?? "";
  const log = useAnswer(async (signal) => (streamId === "" ? success([]) : api.log({ type: "", since: null, engine: "", stream: streamId, limit: 50, offset: 0 }, signal)), [streamId]);
  useChange((state) => state.streams, () => {
    ended.again();
    log.again();
  });
  const past = (ended.reading.value ?? []).filter(({ key }) => about(key));
  const entries = log.reading.value ?? [];
  if (past.length === 0 && entries.length === 0) return null;
  return (
    <section className="panel">
      <h2>{t("stream.past")}</h2>
      {past.slice(0, 5).map((one) => (
        <p key={one.id} className="row">
          <Moment at={one.endedAt} />
          <strong>{reasonText(one.reason)}</strong>
          {one.reason && <code className="dim">{one.reason}</code>}
          <span className="dim">{one.startedAt !== null && one.endedAt !== null && t("stream.past.lasted", { span: duration(one.endedAt - one.startedAt) })}</span>
        </p>
      ))}
      <Entries entries={entries} now={now} />
    </section>
  );
}

function Players({ clients, highlighted, onHighlight }: { clients: readonly Client[]; highlighted: string | null; onHighlight: (id: string | null) => void }) {
  const [sorting, setSorting] = useState<Sorting>({ key: "behind", isDescending: true });
  const [search, setSearch] = useState("");
  const columns = useMemo((): Column<Client>[] => [
    {
      key: "address",
      head: t("players.address"),
      width: "minmax(9rem, 1fr)",
      card: "head",
      sort: (client) => client.address,
      cell: (client) => (
        <span className={client.id === highlighted ? "highlighted" : ""} onPointerEnter={() => onHighlight(client.id)} onPointerLeave={() => onHighlight(null)}>
          {client.address ?? UNKNOWN}
        </span>
      ),
    },
    { key: "agent", head: t("players.agent"), width: "minmax(10rem, 2fr)", card: "head", sort: (client) => client.agent, cell: (client) => <bdi title={client.agent ?? ""}>{client.agent ?? UNKNOWN}</bdi> },
    { key: "behind", head: t("players.behind"), width: "6.5rem", isNumber: true, largestFirst: true, sort: (client) => client.behindSeconds, cell: (client) => span(client.behindSeconds) },
    { key: "rate", head: t("players.rate"), width: "7.5rem", isNumber: true, largestFirst: true, sort: (client) => client.rate, cell: (client) => bitrate(client.rate) },
    { key: "skips", head: t("players.skips"), width: "5rem", isNumber: true, largestFirst: true, from: 700, sort: (client) => client.skips, cell: (client) => count(client.skips) },
    { key: "sent", head: t("players.sent"), width: "7rem", isNumber: true, largestFirst: true, from: 880, card: "none", sort: (client) => client.bytesSent, cell: (client) => bytes(client.bytesSent) },
    { key: "since", head: t("players.since"), width: "7rem", isNumber: true, from: 760, card: "none", sort: (client) => client.connectedAt, cell: (client) => <Age at={client.connectedAt} /> },
    { key: "id", head: t("players.id"), width: "8rem", from: 1080, card: "none", cell: (client) => <Id value={client.id} /> },
  ], [highlighted, onHighlight]);
  const shown = useMemo(() => {
    const wanted = search.toLowerCase();
    const found = wanted === "" ? clients : clients.filter((client) => `${client.address} ${client.agent} ${client.id}`.toLowerCase().includes(wanted));
    return sorted(found, columns, sorting, (client) => client.id);
  }, [clients, columns, search, sorting]);
  if (clients.length === 0) return <p className="dim">{t("players.none")}</p>;
  return (
    <>
      {clients.length > 8 && (
        <label className="search">
          <Icon name="search" />
          <input type="search" value={search} placeholder={t("players.search")} aria-label={t("players.search")} onChange={(event) => setSearch(event.target.value)} />
        </label>
      )}
      <Table label={t("players.title")} rows={shown} rowKey={(client) => client.id} columns={columns} sorting={sorting} onSort={setSorting} />
    </>
  );
}

function EndedPlayers({ ended, now }: { ended: readonly EndedClient[]; now: number }) {
  const newest = useMemo(() => [...ended].reverse().slice(0, 100), [ended]);
  return (
    <section className="panel">
      <h2>{t("players.ended")}</h2>
      <div className="scroll-x" tabIndex={0} role="region" aria-label={t("players.ended")}>
        <table className="plain-table">
          <thead>
            <tr>
              <th scope="col">{t("players.at")}</th>
              <th scope="col">{t("players.reason")}</th>
              <th scope="col">{t("players.address")}</th>
              <th scope="col">{t("players.agent")}</th>
              <th scope="col" className="cell-number">{t("players.stayed")}</th>
              <th scope="col" className="cell-number">{t("players.sent")}</th>
            </tr>
          </thead>
          <tbody>
            {newest.map((client) => (
              <tr key={client.id}>
                <td>
                  <Since at={client.endedAt} now={now} />
                </td>
                <td>
                  {reasonText(client.reason)} {client.reason && <code className="dim">{client.reason}</code>}
                </td>
                <td>{client.address ?? UNKNOWN}</td>
                <td className="cell-agent">
                  <bdi>{client.agent ?? UNKNOWN}</bdi>
                </td>
                <td className="cell-number">{client.endedAt !== null && client.connectedAt !== null ? duration(client.endedAt - client.connectedAt) : UNKNOWN}</td>
                <td className="cell-number">{bytes(client.bytesSent)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
