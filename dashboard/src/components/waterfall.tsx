// The start of a stream as a waterfall: each part of it a bar at the time it took, below the one before it.
import type { Start } from "../api/past";
import { span } from "../format/units";
import { isMessage, t } from "../messages";
import { reasonText } from "./reason";

function named(name: string): string {
  const known = `start.${name}`;
  return isMessage(known) ? t(known) : name;
}

export function Waterfall({ start }: { start: Start }) {
  const whole = Math.max(1, start.tookMs ?? 0, ...start.spans.map(({ from, took }) => from + took));
  const share = (milliseconds: number) => `${((milliseconds / whole) * 100).toFixed(2)}%`;
  return (
    <>
      <ol className="waterfall" aria-label={t("start.title")}>
        {start.spans.map(({ name, from, took }) => (
          <li key={name} className={name === "select" ? "waterfall-inner" : undefined}>
            <span className="waterfall-name">{named(name)}</span>
            <span className="waterfall-track" aria-hidden="true">
              <span className={`waterfall-bar waterfall-${name}`} style={{ marginLeft: share(from), width: `max(2px, ${share(took)})` }} />
            </span>
            <span className="waterfall-took">{span(took / 1000)}</span>
          </li>
        ))}
      </ol>
      {start.fault !== null && <p className="bad">{reasonText(start.fault)}</p>}
      {start.tries !== null && start.tries > 1 && <p className="dim small">{t("start.tries", { n: start.tries })}</p>}
    </>
  );
}
