// How fresh the page is: one word on every page, the sources behind it, and the choice how often to look.
import { useEffect, useRef, useState } from "react";
import type { Fault } from "../api/outcome";
import { duration } from "../format/units";
import { t, type Message } from "../messages";
import type { LiveState, Reading } from "../stores/live";
import { INTERVALS_S, prefs } from "../stores/prefs";
import { useStore } from "../stores/store";
import { isStale, useLive, useNow, useServices } from "./context";
import { Icon } from "./icon";
import { Button } from "./parts";

export const SOURCES = ["streams", "figures", "health", "engines"] as const;
type Source = (typeof SOURCES)[number];

export function faultText(fault: Fault): string {
  const words = fault.kind === "broken" && fault.status !== undefined ? t("fault.failed") : t(`fault.${fault.kind}` as Message);
  const isTold = fault.kind === "refused" || fault.kind === "broken" || fault.kind === "not_found";
  return isTold && fault.message ? `${words}: ${fault.message}` : words;
}

function age(reading: Reading<unknown>, now: number): string {
  if (reading.at === null) return t("live.never");
  return now - reading.at < 1500 ? t("live.now") : t("live.age", { age: duration(now - reading.at) });
}

type Liveness = "live" | "asking" | "paused" | "connecting" | "stale";

function liveness(state: LiveState, now: number): Liveness {
  if (state.isPaused) return "paused";
  if (!state.isSettled) return "connecting";
  if (isStale(state.streams, state, now)) return "stale";
  return state.isFollowing ? "live" : "asking";
}

/** The word, and behind it the sources. */
export function LiveStatus() {
  const { live } = useServices();
  const state = useLive((all) => all);
  const now = useNow();
  const intervalS = useStore(prefs, (all) => all.intervalS);
  const how = liveness(state, now);
  const { isOpen, setOpen, box } = usePopover();
  return (
    <div className="popover-anchor" ref={box}>
      <button type="button" className={`live live-${how}`} aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <span className="live-dot" aria-hidden="true" />
        <span>{t(`live.${how}`)}</span>
        <span className="live-age">{state.streams.at === null ? "" : age(state.streams, now)}</span>
      </button>
      {isOpen && (
        <div className="popover" role="dialog" aria-label={t("live.details")}>
          <table className="plain-table">
            <thead>
              <tr>
                <th scope="col">{t("live.source")}</th>
                <th scope="col">{t("live.came")}</th>
              </tr>
            </thead>
            <tbody>
              {SOURCES.map((source) => (
                <tr key={source}>
                  <th scope="row">{t(`source.${source}`)}</th>
                  <td>
                    {age(state[source], now)}
                    {state[source].fault && <span className="bad"> · {faultText(state[source].fault)}</span>}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
          <p className="small dim">{state.isFollowing ? t("live.follows") : state.cut ? t("live.cut", { why: faultText(state.cut) }) : ""}</p>
          <label className="field-row">
            <span>{t("live.interval")}</span>
            <select value={intervalS} onChange={(event) => prefs.update((all) => ({ ...all, intervalS: Number(event.target.value) }))}>
              {INTERVALS_S.map((seconds) => (
                <option key={seconds} value={seconds}>
                  {t("live.seconds", { n: seconds })}
                </option>
              ))}
            </select>
          </label>
          <div className="row">
            <Button icon={state.isPaused ? "watch" : "pause"} onClick={() => live.setPaused(!state.isPaused)}>
              {t(state.isPaused ? "live.resume" : "live.pause")}
            </Button>
            <Button icon="recovering" onClick={live.refresh}>
              {t("live.refresh")}
            </Button>
          </div>
        </div>
      )}
    </div>
  );
}

/** Closes with Escape and with a click elsewhere. */
export function usePopover() {
  const [isOpen, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!isOpen) return;
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      box.current?.querySelector("button")?.focus();
    };
    const onDown = (event: PointerEvent) => {
      if (!box.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("keydown", onKey);
    document.addEventListener("pointerdown", onDown);
    return () => {
      document.removeEventListener("keydown", onKey);
      document.removeEventListener("pointerdown", onDown);
    };
  }, [isOpen]);
  return { isOpen, setOpen, box };
}

/** One line above every page when something it shows does not come. */
export function Banner() {
  const { live, session } = useServices();
  const state = useLive((all) => all);
  const now = useNow();
  if (!state.isSettled) return null;
  const failed: Source[] = SOURCES.filter((source) => state[source].fault !== null);
  const first = failed[0];
  if (first === undefined) return null;
  const isDown = failed.length === SOURCES.length;
  const fault = state[first].fault;
  const newest = Math.max(0, ...SOURCES.map((source) => state[source].at ?? 0));
  const needsKey = fault?.kind === "key_missing" || fault?.kind === "key_wrong";
  const text = isDown
    ? newest > 0
      ? t("banner.down.text", { age: duration(now - newest) })
      : t("banner.down.never")
    : t("banner.partly.text", {
        sources: failed.map((source) => t(`source.${source}`)).join(", "),
        message: fault ? faultText(fault) : "",
      });
  return (
    <div className="banner" role="alert">
      <Icon name="stalled" />
      <div className="banner-text">
        <strong>{t(needsKey ? "banner.key" : isDown ? "banner.down" : "banner.partly")}</strong> <span>{text}</span>
        {isDown && fault && <span className="dim"> ({faultText(fault)})</span>}
      </div>
      {needsKey ? (
        <Button icon="key" tone="main" onClick={session.ask}>
          {t("session.in")}
        </Button>
      ) : (
        <Button onClick={live.refresh}>{t("banner.retry")}</Button>
      )}
    </div>
  );
}
