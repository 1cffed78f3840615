// Moving and stopping streams: a question that names what it does, one answer per stream.
import { useState } from "react";
import type { Stream } from "../api/model";
import type { Fault } from "../api/outcome";
import { short } from "../format/text";
import { t } from "../messages";
import { notify } from "../stores/notices";
import { useLive, useServices } from "./context";
import { Dialog } from "./dialog";
import { faultText } from "./status";
import { StreamName } from "./stream-name";

export type Asked = { what: "move" | "stop"; streams: Stream[] } | null;

/** Calls at once; a shard's inbox is bounded too. */
const AT_ONCE = 8;

async function each(streams: Stream[], call: (stream: Stream) => Promise<Fault | null>): Promise<{ stream: Stream; fault: Fault | null }[]> {
  const results: { stream: Stream; fault: Fault | null }[] = [];
  const left = [...streams];
  const worker = async () => {
    for (let stream = left.shift(); stream; stream = left.shift()) results.push({ stream, fault: await call(stream) });
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, streams.length) }, worker));
  return results;
}

export function Question({ asked, onDone }: { asked: NonNullable<Asked>; onDone: () => void }) {
  return asked.what === "move" ? <MoveQuestion streams={asked.streams} onDone={onDone} /> : <StopQuestion streams={asked.streams} onDone={onDone} />;
}

function names(streams: Stream[]): string {
  const [first] = streams;
  return streams.length === 1 && first ? short(first.id) : t("streams.shown", { n: streams.length });
}

function MoveQuestion({ streams, onDone }: { streams: Stream[]; onDone: () => void }) {
  const { api, live, session } = useServices();
  const engines = useLive((state) => state.engines.value);
  const [target, setTarget] = useState("");
  const [isBusy, setBusy] = useState(false);
  const only = streams.length === 1 ? streams[0] : undefined;
  const others = (engines ?? []).filter((engine) => engine.id !== only?.engineId && engine.state !== "down");
  const go = async () => {
    setBusy(true);
    const results = await each(streams, async (stream) => {
      const outcome = await api.move(stream.key, target || null);
      return outcome.status === "error" ? outcome.fault : null;
    });
    const moved = results.filter(({ fault }) => !fault);
    if (only && moved.length === 1) notify("done", t("move.done", { name: short(only.id) }));
    else if (moved.length > 0) notify("done", t("move.all.done", { n: moved.length }));
    for (const { fault } of results.slice(0, 1)) if (fault) session.refused(fault);
    for (const { stream, fault } of results) if (fault) notify("failed", t("move.failed", { name: short(stream.id) }), faultText(fault));
    live.refresh();
    onDone();
  };
  return (
    <Dialog title={t("move.title", { name: names(streams) })} confirm={t("action.move")} isBusy={isBusy} onConfirm={() => void go()} onClose={onDone}>
      <p>{t("move.text")}</p>
      <label className="field-row">
        <span>{t("move.target")}</span>
        <select value={target} onChange={(event) => setTarget(event.target.value)}>
          <option value="">{t("move.any")}</option>
          {others.map((engine) => (
            <option key={engine.id} value={engine.id}>
              {engine.authority ?? engine.id} · {t(`engine.${engine.state}`)} · {t("streams.shown", { n: engine.leases ?? engine.streams ?? 0 })}
            </option>
          ))}
        </select>
      </label>
    </Dialog>
  );
}

function StopQuestion({ streams, onDone }: { streams: Stream[]; onDone: () => void }) {
  const { api, live, session } = useServices();
  const [isBusy, setBusy] = useState(false);
  const players = streams.reduce((sum, stream) => sum + (stream.players ?? 0), 0);
  const go = async () => {
    setBusy(true);
    const results = await each(streams, async (stream) => {
      const outcome = await api.stop(stream);
      return outcome.status === "error" ? outcome.fault : null;
    });
    for (const { fault } of results.slice(0, 1)) if (fault) session.refused(fault);
    for (const { stream, fault } of results) {
      if (fault) notify("failed", t("stop.failed", { name: short(stream.id) }), faultText(fault));
      else notify("done", t("stop.done", { name: short(stream.id) }));
    }
    live.refresh();
    onDone();
  };
  return (
    <Dialog title={t("stop.title", { n: streams.length })} tone="danger" confirm={t("action.stop")} isBusy={isBusy} onConfirm={() => void go()} onClose={onDone}>
      <ul className="plain-list">
        {streams.slice(0, 5).map((stream) => (
          <li key={stream.key}>
            <StreamName stream={stream} />
          </li>
        ))}
        {streams.length > 5 && <li>…</li>}
      </ul>
      <p>{players === 0 ? t("stop.cuts.none") : <strong>{t("stop.cuts", { n: players })}</strong>}</p>
      <p className="dim">{t("stop.again")}</p>
    </Dialog>
  );
}
