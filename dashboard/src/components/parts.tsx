// Small parts that pages are put together from.
import { useEffect, useRef, useState, type ReactNode } from "react";
import { exact, moment } from "../format/time";
import { plain, short } from "../format/text";
import { duration } from "../format/units";
import { t } from "../messages";
import { notify } from "../stores/notices";
import type { Reading } from "../stores/live";
import { isStale, useLive, useNow, useTheirNow } from "./context";
import { Icon, type IconName } from "./icon";

export function Button({
  icon,
  tone = "plain",
  children,
  ...rest
}: React.ComponentProps<"button"> & { icon?: IconName; tone?: "plain" | "main" | "danger" | "bare" }) {
  return (
    <button type="button" {...rest} className={`button button-${tone} ${rest.className ?? ""}`}>
      {icon && <Icon name={icon} />}
      {children && <span>{children}</span>}
    </button>
  );
}

/** Copies a text and says so on the button itself. */
export function CopyButton({ value, label, words: shown, compact = false }: { value: string; label: string; words?: string; compact?: boolean }) {
  const [isDone, setDone] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    if (!(await copyText(value))) return notify("failed", t("action.copy.failed"));
    setDone(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setDone(false), 1500);
  };
  const words = isDone ? t("action.copied") : t("action.copy");
  return (
    <Button tone={compact ? "bare" : "plain"} icon={isDone ? "check" : "copy"} onClick={() => void copy()} aria-label={`${words}: ${label}`} title={`${t("action.copy")}: ${label}`}>
      {compact ? undefined : isDone ? words : (shown ?? words)}
    </Button>
  );
}

async function copyText(value: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(value);
    return true;
  } catch {
    // Plain HTTP has no clipboard but the old command.
    const field = document.createElement("textarea");
    field.value = value;
    field.className = "off-screen";
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const isDone = document.execCommand("copy");
    field.remove();
    return isDone;
  }
}

/** An id, short to look at, whole to copy and on hover. */
export function Id({ value, whole = false }: { value: string; whole?: boolean }) {
  return (
    <span className="id-field">
      <code className="id" title={plain(value)} dir="ltr">
        {whole ? plain(value) : short(value)}
      </code>
      <CopyButton value={value} label={short(value)} compact />
    </span>
  );
}

/** A moment as time of day, all of it on hover. */
export function Moment({ at }: { at: number | null }) {
  return at === null ? <span>–</span> : <time dateTime={new Date(at).toISOString()} title={exact(at)}>{moment(at)}</time>;
}

/** How long ago a moment was by the appliance's clock; the moment on hover. */
export function Since({ at, now }: { at: number | null; now: number }) {
  return at === null ? <span>–</span> : <time dateTime={new Date(at).toISOString()} title={exact(at)}>{duration(now - at)}</time>;
}

/** The same, by the clock of the page: a list is not drawn anew because a second went by. */
export function Age({ at }: { at: number | null }) {
  return <Since at={at} now={useTheirNow()} />;
}

/** Greys what is no longer fresh, and says how old it is. */
export function Fresh({ reading, children, as: Tag = "div", className = "" }: { reading: Reading<unknown>; children: ReactNode; as?: "div" | "section"; className?: string }) {
  const state = useLive((all) => all);
  const now = useNow();
  const stale = reading.at !== null && isStale(reading, state, now);
  return (
    <Tag className={`${className} ${stale ? "stale" : ""}`} title={stale ? t("live.age", { age: duration(now - (reading.at ?? now)) }) : undefined}>
      {children}
    </Tag>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <p className="empty-title">{title}</p>
      {children && <div className="empty-text">{children}</div>}
    </div>
  );
}

/** A name and its value in a list of facts. */
export function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="fact">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** The title of a page, in the page and in the browser. */
export function Title({ children, title, actions }: { children?: ReactNode; title: string; actions?: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · ${t("app.name")}`;
  }, [title]);
  return (
    <div className="title">
      <h1>{children ?? title}</h1>
      {actions && <div className="title-actions">{actions}</div>}
    </div>
  );
}
