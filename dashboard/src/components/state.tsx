// States as colour, sign and word together.
import type { EngineState, StreamState } from "../api/model";
import { duration } from "../format/units";
import { t } from "../messages";
import type { Level } from "../stores/checks";
import { Icon, type IconName } from "./icon";

export type Tone = "good" | "busy" | "warn" | "bad" | "quiet";

const STREAM: Record<StreamState | "ended", { tone: Tone; icon: IconName }> = {
  playing: { tone: "good", icon: "watch" },
  starting: { tone: "busy", icon: "starting" },
  recovering: { tone: "warn", icon: "recovering" },
  stalled: { tone: "bad", icon: "stalled" },
  grace: { tone: "quiet", icon: "grace" },
  stopping: { tone: "quiet", icon: "stop" },
  ended: { tone: "quiet", icon: "stop" },
  unknown: { tone: "quiet", icon: "unknown" },
};

const ENGINE: Record<EngineState, { tone: Tone; icon: IconName }> = {
  healthy: { tone: "good", icon: "check" },
  suspect: { tone: "warn", icon: "stalled" },
  down: { tone: "bad", icon: "close" },
  unhealthy: { tone: "bad", icon: "close" },
  unknown: { tone: "quiet", icon: "unknown" },
};

const LEVEL: Record<Level, { tone: Tone; icon: IconName }> = {
  bad: { tone: "bad", icon: "stalled" },
  warn: { tone: "warn", icon: "stalled" },
  info: { tone: "busy", icon: "info" },
  ok: { tone: "good", icon: "check" },
  unknown: { tone: "quiet", icon: "unknown" },
};

export function Mark({ tone, icon, children }: { tone: Tone; icon: IconName; children: React.ReactNode }) {
  return (
    <span className={`mark mark-${tone}`}>
      <Icon name={icon} />
      <span className="mark-word">{children}</span>
    </span>
  );
}

/** `silentFor` in milliseconds makes the word say how long a stall has lasted. */
export function StreamMark({ state, silentFor = null }: { state: StreamState | "ended"; silentFor?: number | null }) {
  const word = state === "stalled" && silentFor !== null ? t("state.stalled.for", { span: duration(silentFor) }) : t(`state.${state}`);
  return <Mark {...STREAM[state]}>{word}</Mark>;
}

export function EngineMark({ state }: { state: EngineState }) {
  return <Mark {...ENGINE[state]}>{t(`engine.${state}`)}</Mark>;
}

export function LevelMark({ level }: { level: Level }) {
  return <Mark {...LEVEL[level]}>{t(`level.${level}`)}</Mark>;
}
