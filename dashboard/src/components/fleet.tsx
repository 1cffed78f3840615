// The fleet as a whole: room for more, what stands in the way, and what changes it.
import { useState, type ReactNode } from "react";
import type { Fleet } from "../api/fleet";
import type { Engine, Stream } from "../api/model";
import { bytes, count, duration } from "../format/units";
import { t } from "../messages";
import { Link } from "../router";
import { notify } from "../stores/notices";
import { useAct, useAnswer, useChange } from "./asking";
import { useLive, useServices } from "./context";
import { Dialog } from "./dialog";
import { Icon } from "./icon";
import { Button, Fact } from "./parts";
import { Mark } from "./state";
import { faultText } from "./status";

const FLEET_MS = 5000;

export type Wanted = "add" | "scale" | "renew" | { remove: Engine } | { drain: Engine } | null;

export function FleetPanel() {
  const { api } = useServices();
  const { reading, again } = useAnswer((signal) => api.fleet(signal), [], FLEET_MS);
  const breakers = useAnswer((signal) => api.breakers(signal), [], FLEET_MS);
  useChange((state) => state.engines, again);
  const [wanted, setWanted] = useState<Wanted>(null);
  const act = useAct();
  const fleet = reading.value;
  const reset = async () => {
    const done = await act(() => api.resetBreakers(), t("breaker.reset.failed"));
    if (done && "value" in done) notify("done", t("breaker.reset.done"));
    breakers.again();
  };
  const open = (breakers.reading.value ?? []).filter(({ state }) => state !== "closed");
  return (
    <section className="panel fleet" aria-label={t("fleet.title")}>
      <div className="panel-head">
        <h2>{t("fleet.title")}</h2>
        <div className="row">
          <Button icon="add" tone="main" onClick={() => setWanted("add")}>
            {t("fleet.add")}
          </Button>
          <Button onClick={() => setWanted("scale")}>{t("fleet.scale")}</Button>
          <Button icon="recovering" onClick={() => setWanted("renew")}>
            {t("fleet.renew")}
          </Button>
          <Link to="variant" className="button">
            {t("variant.title")}
          </Link>
        </div>
      </div>
      {reading.fault && <p className="bad">{faultText(reading.fault)}</p>}
      <dl className="facts facts-row">
        <Fact name={t("fleet.used")}>{fleet && fleet.used !== null ? t("fleet.used.value", { used: fleet.used, total: fleet.total ?? "–" }) : "–"}</Fact>
        <Fact name={t("fleet.available")}>{count(fleet?.available ?? null)}</Fact>
        <Fact name={t("fleet.bounds")}>
          {fleet && fleet.min !== null && fleet.max !== null ? t("fleet.bounds.value", { min: fleet.min, max: fleet.max }) : "–"} <Link to="settings?q=replicas">{t("fleet.bounds.change")}</Link>
        </Fact>
        <Fact name={t("fleet.can")}>
          <CanMake fleet={fleet} />
        </Fact>
        {(breakers.reading.value ?? []).map((breaker) => (
          <Fact key={breaker.name} name={t(`breaker.${breaker.name}`)}>
            <Mark tone={breaker.state === "closed" ? "good" : "bad"} icon={breaker.state === "closed" ? "check" : "stalled"}>
              {t(breaker.state === "closed" ? "breaker.closed" : breaker.state === "half_open" ? "breaker.trial" : "breaker.open")}
            </Mark>{" "}
            <span className="dim">{t("breaker.failures", { n: breaker.failures ?? 0, max: breaker.threshold ?? "–" })}</span>
          </Fact>
        ))}
      </dl>
      {open.length > 0 && (
        <p className="row">
          <Button onClick={() => void reset()}>{t("breaker.reset")}</Button>
          <span className="dim small">{t("breaker.text")}</span>
        </p>
      )}
      {fleet?.pull && (
        <p role="status">
          {t("fleet.pull", { image: fleet.pull.image, done: bytes(fleet.pull.done), total: bytes(fleet.pull.total) })}
          {fleet.pull.total !== null && fleet.pull.total > 0 && <progress max={fleet.pull.total} value={fleet.pull.done ?? 0} aria-label={fleet.pull.image} />}
        </p>
      )}
      <FleetQuestion wanted={wanted} total={fleet?.total ?? null} onDone={() => (setWanted(null), again())} />
    </section>
  );
}

function CanMake({ fleet }: { fleet: Fleet | null }) {
  if (!fleet || fleet.canProvision === null) return <>–</>;
  if (fleet.canProvision) return <Mark tone="good" icon="check">{t("fleet.can.yes")}</Mark>;
  return (
    <span>
      <Mark tone="warn" icon="stalled">{t("fleet.can.no")}</Mark> <bdi>{fleet.blockedText}</bdi>
      {fleet.blockedFor !== null && <span className="dim"> {t("fleet.can.in", { span: duration(fleet.blockedFor * 1000) })}</span>}
    </span>
  );
}

/** Asks before anything is made, removed or replaced, and says what that does to players. */
export function FleetQuestion({ wanted, total, onDone }: { wanted: Wanted; total: number | null; onDone: () => void }) {
  const { api, live, work } = useServices();
  const act = useAct();
  const [isBusy, setBusy] = useState(false);
  const [number, setNumber] = useState("");
  const streams = useLive((state) => state.streams.value);
  const [problem, setProblem] = useState<string | null>(null);
  if (wanted === null) return null;
  const during = async (doing: () => Promise<string | null>) => {
    setBusy(true);
    setProblem(null);
    const refused = await doing();
    setBusy(false);
    live.refresh();
    if (refused === null) onDone();
    else setProblem(refused);
  };
  const tell = (found: { value: unknown } | { fault: Parameters<typeof faultText>[0] } | null, done: string): string | null => {
    if (found && "fault" in found) return faultText(found.fault);
    if (found) notify("done", done);
    return null;
  };
  const trouble = problem && (
    <p className="bad" role="alert">
      {problem}
    </p>
  );
  if (wanted === "add") {
    const go = async () => {
      const found = await act(() => api.addEngine(), t("fleet.add.failed"));
      return tell(found, found && "value" in found ? t("fleet.add.done", { name: found.value }) : "");
    };
    return (
      <Dialog title={t("fleet.add.title")} confirm={t("fleet.add")} isBusy={isBusy} onConfirm={() => void during(go)} onClose={onDone}>
        <p>{t("fleet.add.text")}</p>
        {isBusy && <p role="status">{t("fleet.add.busy")}</p>}
        {trouble}
      </Dialog>
    );
  }
  if (wanted === "scale") {
    const text = number.trim();
    const isRight = /^\d{1,4}$/.test(text) && Number(text) <= 1000;
    const go = async () => {
      if (!isRight) return t("fleet.scale.wrong");
      const found = await act(() => api.scale(Number(text)), t("fleet.scale.failed"));
      return tell(found, found && "value" in found ? t("fleet.scale.done", { n: found.value ?? Number(text) }) : "");
    };
    return (
      <Dialog title={t("fleet.scale.title")} confirm={t("fleet.scale")} isBusy={isBusy} onConfirm={() => void during(go)} onClose={onDone}>
        <p>{t("fleet.scale.text", { n: total ?? "–" })}</p>
        <label className="field-row">
          <span>{t("fleet.scale.number")}</span>
          <input inputMode="numeric" value={number} onChange={(event) => setNumber(event.target.value)} aria-invalid={text !== "" && !isRight} />
        </label>
        {trouble}
      </Dialog>
    );
  }
  if (wanted === "renew") {
    const players = (streams ?? []).reduce((sum, stream) => sum + (stream.players ?? 0), 0);
    const go = async () => {
      const found = await act(() => api.reprovision(), t("fleet.renew.failed"));
      work.look();
      return tell(found, t("fleet.renew.done"));
    };
    return (
      <Dialog title={t("fleet.renew.title")} confirm={t("fleet.renew")} isBusy={isBusy} onConfirm={() => void during(go)} onClose={onDone}>
        <p>{t("fleet.renew.text")}</p>
        <p>
          <strong>{t("fleet.moves", { n: players })}</strong>
        </p>
        {trouble}
      </Dialog>
    );
  }
  if ("drain" in wanted) return <DrainQuestion engine={wanted.drain} streams={streams ?? []} isBusy={isBusy} trouble={trouble} onGo={(go) => void during(go)} tell={tell} onDone={onDone} />;
  const { remove: engine } = wanted;
  const on = (streams ?? []).filter((stream) => stream.engineId === engine.id);
  const players = on.reduce((sum, stream) => sum + (stream.players ?? 0), 0);
  const name = engine.name ?? engine.authority ?? engine.id;
  const go = async () => tell(await act(() => api.removeEngine(engine.id), t("fleet.remove.failed", { name })), t("fleet.remove.done", { name }));
  return (
    <Dialog title={t("fleet.remove.title", { name })} tone="danger" confirm={t("fleet.remove")} isBusy={isBusy} onConfirm={() => void during(go)} onClose={onDone}>
      <p>{t("fleet.remove.text")}</p>
      <p>
        <strong>{on.length === 0 ? t("fleet.remove.idle") : t("fleet.remove.streams", { n: on.length, players: t("players.shown", { n: players }) })}</strong>
      </p>
      {isBusy && <p role="status">{t("fleet.remove.busy")}</p>}
      {trouble}
      <p className="dim">
        <Icon name="info" /> {t("fleet.remove.again")}
      </p>
    </Dialog>
  );
}

type Told = Parameters<typeof faultText>[0];

/** Draining names what it moves; taking it back cuts nothing and is not asked about. */
function DrainQuestion({ engine, streams, isBusy, trouble, onGo, tell, onDone }: { engine: Engine; streams: readonly Stream[]; isBusy: boolean; trouble: ReactNode; onGo: (go: () => Promise<string | null>) => void; tell: (found: { value: unknown } | { fault: Told } | null, done: string) => string | null; onDone: () => void }) {
  const { api } = useServices();
  const act = useAct();
  const on = streams.filter((stream) => stream.engineId === engine.id);
  const players = on.reduce((sum, stream) => sum + (stream.players ?? 0), 0);
  const name = engine.name ?? engine.authority ?? engine.id;
  const go = async () => tell(await act(() => api.drainEngine(engine.id, true), t("fleet.drain.failed", { name })), t("fleet.drain.done", { name }));
  return (
    <Dialog title={t("fleet.drain.title", { name })} confirm={t("fleet.drain")} isBusy={isBusy} onConfirm={() => onGo(go)} onClose={onDone}>
      <p>{t("fleet.drain.text")}</p>
      <p>
        <strong>{on.length === 0 ? t("fleet.remove.idle") : t("fleet.drain.streams", { n: on.length, players: t("players.shown", { n: players }) })}</strong>
      </p>
      {trouble}
      <p className="dim">
        <Icon name="info" /> {t("fleet.drain.again")}
      </p>
    </Dialog>
  );
}

/** Drains an engine, or takes that back. */
export function DrainButton({ engine, onAsk }: { engine: Engine; onAsk: () => void }) {
  const { api, live } = useServices();
  const act = useAct();
  const [isBusy, setBusy] = useState(false);
  if (engine.isDrained !== true) return <Button onClick={onAsk}>{t("fleet.drain")}</Button>;
  const name = engine.name ?? engine.authority ?? engine.id;
  const back = async () => {
    setBusy(true);
    const found = await act(() => api.drainEngine(engine.id, false), t("fleet.undrain.failed", { name }));
    if (found && "value" in found) notify("done", t("fleet.undrain.done", { name }));
    setBusy(false);
    live.refresh();
  };
  return (
    <Button tone="main" disabled={isBusy} onClick={() => void back()}>
      {t("fleet.undrain")}
    </Button>
  );
}
