// One engine: how it does, what it uses, what plays on it, what it wrote, what happened to it; emptied and removed from here.
import { useState } from "react";
import { useAnswer, useChange } from "../components/asking";
import { useLive, useServices, useTheirNow } from "../components/context";
import { DrainButton, FleetQuestion, type Wanted } from "../components/fleet";
import { Button, CopyButton, Empty, Fact, Fresh, Id, Moment, Since, Title } from "../components/parts";
import { EngineMark, StreamMark } from "../components/state";
import { StreamName } from "../components/stream-name";
import { faultText } from "../components/status";
import { plain, short } from "../format/text";
import { bitrate, bytes, count, decimal, UNKNOWN } from "../format/units";
import { t } from "../messages";
import { Link } from "../router";
import { Entries } from "./log";
import { streamPath } from "./streams";

const USAGE_MS = 3000;

export default function EnginePage({ id }: { id: string }) {
  const { api } = useServices();
  const reading = useLive((state) => state.engines);
  const streams = useLive((state) => state.streams.value);
  const now = useTheirNow();
  const [wanted, setWanted] = useState<Wanted>(null);
  const engine = reading.value?.find((candidate) => candidate.id === id || candidate.authority === id || candidate.id.startsWith(id)) ?? null;
  const usage = useAnswer((signal) => api.usage(signal), [], USAGE_MS);
  const events = useAnswer((signal) => api.log({ type: "", since: null, engine: engine?.id ?? id, stream: "", limit: 50, offset: 0 }, signal), [engine?.id ?? id]);
  useChange((state) => state.entries[0]?.id ?? 0, events.again);
  const used = engine ? usage.reading.value?.get(engine.id) : undefined;
  const on = (streams ?? []).filter((stream) => engine !== null && stream.engineId === engine.id);
  const name = engine?.authority ?? engine?.name ?? id;
  return (
    <>
      <Title
        title={plain(short(name))}
        actions={
          engine && (
            <>
              <DrainButton engine={engine} onAsk={() => setWanted({ drain: engine })} />
              <Button icon="close" tone="danger" onClick={() => setWanted({ remove: engine })}>
                {t("fleet.remove")}
              </Button>
            </>
          )
        }
      >
        <Link to="engines" className="crumb">
          {t("nav.engines")}
        </Link>
        <span aria-hidden="true"> / </span>
        <code className="id">{plain(short(name))}</code>
      </Title>
      {engine === null ? (
        reading.value && <Empty title={t("engine.gone")}>{t("engine.gone.text")}</Empty>
      ) : (
        <div className="columns">
          <Fresh reading={reading} as="section" className="panel">
            <h2>{t("stream.facts")}</h2>
            <dl className="facts">
              <Fact name={t("col.state")}>
                <EngineMark state={engine.state} /> {engine.isDrained && <span className="tag">{t("engine.drained")}</span>} {engine.fault && <bdi className="bad">{engine.fault}</bdi>}
              </Fact>
              <Fact name={t("engine.name")}>{engine.name ?? UNKNOWN}</Fact>
              <Fact name={t("players.id")}>
                <Id value={engine.id} whole />
              </Fact>
              <Fact name={t("players.address")}>{engine.authority ? <span className="row">{engine.authority}<CopyButton value={engine.authority} label={engine.authority} compact /></span> : UNKNOWN}</Fact>
              <Fact name={t("engines.col.version")}>{[engine.version, engine.platform].filter(Boolean).join(" · ") || UNKNOWN}</Fact>
              <Fact name={t("engine.variant")}>{engine.variant ?? UNKNOWN}</Fact>
              <Fact name={t("engines.col.vpn")}>{engine.vpn ?? UNKNOWN}</Fact>
              <Fact name={t("vpn.port")}>{engine.forwarded ? String(engine.forwardedPort ?? UNKNOWN) : t("engine.unforwarded")}</Fact>
              <Fact name={t("engine.cache")}>{bytes(engine.cacheBytes)}</Fact>
              <Fact name={t("engines.col.leases")}>{count(engine.leases ?? engine.streams)}</Fact>
              <Fact name={t("engines.col.checked")}>
                <Since at={engine.checkedAt} now={now} />
              </Fact>
              <Fact name={t("engines.col.used")}>
                <Since at={engine.usedAt} now={now} />
              </Fact>
              <Fact name={t("engine.since")}>
                <Moment at={engine.firstSeen} />
              </Fact>
            </dl>
          </Fresh>
          <div className="stack">
            <section className="panel">
              <h2>{t("engine.uses")}</h2>
              {usage.reading.fault && <p className="bad">{faultText(usage.reading.fault)}</p>}
              {used === undefined ? (
                <p className="dim">{t("engine.uses.none")}</p>
              ) : (
                <dl className="facts">
                  <Fact name={t("engine.cpu")}>{used.cpu === null ? UNKNOWN : t("engine.cpu.value", { n: decimal(used.cpu, 1) })}</Fact>
                  <Fact name={t("engine.memory")}>{used.memoryMax === null ? bytes(used.memory) : t("engine.memory.value", { used: bytes(used.memory), max: bytes(used.memoryMax) })}</Fact>
                  <Fact name={t("engine.network")}>{t("engine.network.value", { in: bytes(used.received), out: bytes(used.sent) })}</Fact>
                  <Fact name={t("engine.disk")}>{t("engine.disk.value", { read: bytes(used.read), written: bytes(used.written) })}</Fact>
                </dl>
              )}
            </section>
            <section className="panel">
              <h2>{t("engine.streams")}</h2>
              {on.length === 0 ? (
                <p className="dim">{t("engine.streams.none")}</p>
              ) : (
                <ul className="plain-list">
                  {on.slice(0, 50).map((stream) => (
                    <li key={stream.key} className="row">
                      <StreamMark state={stream.state} silentFor={stream.silentMs} />
                      <Link to={streamPath(stream)}>
                        <StreamName stream={stream} />
                      </Link>
                      <span>{t("players.shown", { n: stream.players ?? 0 })}</span>
                      <span className="dim">{bitrate(stream.bitrate)}</span>
                    </li>
                  ))}
                </ul>
              )}
            </section>
          </div>
        </div>
      )}
      {engine && <Written id={engine.id} />}
      {(events.reading.value?.length ?? 0) > 0 && (
        <section className="panel">
          <h2>{t("log.title")}</h2>
          <Entries entries={events.reading.value ?? []} now={now} />
        </section>
      )}
      <FleetQuestion wanted={wanted} total={null} onDone={() => setWanted(null)} />
    </>
  );
}

/** What the engine wrote, when somebody wants to see it. */
function Written({ id }: { id: string }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <section className="panel">
      <div className="panel-head">
        <h2>{t("engine.log")}</h2>
        <Button onClick={() => setOpen(!isOpen)} aria-expanded={isOpen}>
          {t(isOpen ? "action.close" : "engine.log.show")}
        </Button>
      </div>
      {isOpen && <Lines id={id} />}
    </section>
  );
}

function Lines({ id }: { id: string }) {
  const { api } = useServices();
  const { reading, again } = useAnswer((signal) => api.engineLog(id, signal), [id]);
  const lines = reading.value;
  return (
    <>
      {reading.fault && <p className="bad" role="alert">{faultText(reading.fault)}</p>}
      {lines !== null && lines.length === 0 && <p className="dim">{t("engine.log.none")}</p>}
      {lines !== null && lines.length > 0 && (
        <pre className="raw" tabIndex={0} role="region" aria-label={t("engine.log")}>
          {lines.map(plain).join("\n")}
        </pre>
      )}
      <Button icon="recovering" onClick={again}>
        {t("live.refresh")}
      </Button>
    </>
  );
}
