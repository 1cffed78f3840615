// The settings that matter, each with what it is, does, and where its value comes from; changed together, and undone.
import { useMemo, useRef, useState } from "react";
import { flushSync } from "react-dom";
import type { Setting, Value } from "../api/settings";
import type { Fault } from "../api/outcome";
import { Backup } from "../components/backup";
import { useAct, useAnswer } from "../components/asking";
import { useServices } from "../components/context";
import { Icon } from "../components/icon";
import { Loops } from "../components/loops";
import { Button, Empty, Title } from "../components/parts";
import { faultText } from "../components/status";
import { isMessage, t, type Message } from "../messages";
import { useParam } from "../router";
import { notify } from "../stores/notices";
import { useStore } from "../stores/store";
import { byGroup, changesOf, drafts, keyOf, textOf, type, type Change } from "./settings-draft";
import { useSearchKey } from "./streams";

const SECTIONS = [
  { id: "play", names: ["join_behind_s", "channel_shutdown_delay", "stream_mode", "no_data_timeout_checks", "no_data_check_interval"] },
  { id: "engines", names: ["max_streams_per_engine", "min_replicas", "max_replicas", "auto_delete", "engine_variant", "use_custom_variant"] },
  { id: "loops", names: ["enabled", "threshold_seconds", "check_interval_seconds", "retention_minutes"] },
  { id: "appliance", names: ["debug_mode", "otlp_endpoint"] },
] as const;

function words(setting: Setting, part: "name" | "help" | "unit" | "effect"): string {
  const name = `setting.${setting.name}${part === "name" ? "" : `.${part}`}`;
  return isMessage(name) ? t(name as Message) : part === "name" ? setting.name : "";
}

const shownValue = (value: Value): string => (typeof value === "boolean" ? t(value ? "value.on" : "value.off") : String(value));

function withUnit(setting: Setting, value: Value): string {
  const unit = words(setting, "unit");
  return unit ? `${shownValue(value)} ${unit}` : shownValue(value);
}

function faultWords(change: Change): string {
  if (!change.fault) return "";
  return t(`setting.fault.${change.fault.why}`, { bound: change.fault.bound ?? "" });
}

export default function SettingsPage() {
  const { api } = useServices();
  const { reading, again, take } = useAnswer((signal) => api.settings(signal), []);
  const [search, setSearch] = useParam("q");
  const typed = useStore(drafts);
  const act = useAct();
  const field = useRef<HTMLInputElement>(null);
  const [isBusy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<Fault | null>(null);
  const [saved, setSaved] = useState<readonly { setting: Setting; before: Value }[]>([]);
  useSearchKey(field);
  const all = reading.value?.all ?? [];
  const changes = useMemo(() => changesOf(all, typed), [all, typed]);
  const faulty = changes.filter(({ fault }) => fault !== null);

  /** Each group as a whole; what was refused stays as it was typed. */
  const send = async (wanted: readonly Change[]): Promise<boolean> => {
    setBusy(true);
    setRefusal(null);
    const done: { setting: Setting; before: Value }[] = [];
    for (const [group, values] of byGroup(wanted, all)) {
      const found = await act(() => api.changeSettings(group, values), t("settings.failed"));
      if (!found || "fault" in found) {
        if (found) setRefusal(found.fault);
        continue;
      }
      for (const { setting } of wanted) if (setting.group === group) done.push({ setting, before: setting.value });
    }
    // What was typed stays in its field until what holds now is known: no field shows the value of before for a moment.
    const now = await api.settings(new AbortController().signal);
    if (now.status === "success") flushSync(() => take(now.value));
    else again();
    const kept = { ...drafts.get() };
    for (const { setting } of done) delete kept[keyOf(setting)];
    if (Object.keys(kept).length === 0) drafts.clear();
    else drafts.set(kept);
    setBusy(false);
    if (done.length > 0) {
      setSaved(done);
      notify("done", t("settings.saved", { n: done.length }));
    }
    return done.length > 0;
  };
  const save = async () => {
    // Somebody else may have changed something since this page read it.
    const fresh = await api.settings(new AbortController().signal);
    if (fresh.status === "success") {
      const conflicts = changesOf(fresh.value.all, typed).filter(({ isConflict }) => isConflict);
      const isNew = conflicts.some(({ setting }) => !changes.some((change) => change.setting.name === setting.name && change.isConflict));
      if (isNew) return again();
    }
    await send(changes);
  };
  const undo = async () => {
    const back = saved.map(({ setting, before }): Change => ({ setting, text: textOf(before), value: before, fault: null, isConflict: false }));
    if (await send(back)) setSaved([]);
  };

  const wanted = search.toLowerCase();
  const matches = (setting: Setting) => `${setting.name} ${words(setting, "name")} ${words(setting, "help")} ${setting.variables.join(" ")}`.toLowerCase().includes(wanted);
  const row = (setting: Setting) => <Row key={keyOf(setting)} setting={setting} change={changes.find((change) => keyOf(change.setting) === keyOf(setting))} refusal={refusal} isPinned={reading.value?.isPinned ?? false} />;
  const inert = all.filter((setting) => !setting.acts && matches(setting));
  const sections = SECTIONS.map(({ id, names }) => ({ id, settings: names.flatMap((name) => all.find((setting) => setting.name === name && setting.acts) ?? []).filter(matches) }));
  const isNothing = inert.length === 0 && sections.every(({ settings }) => settings.length === 0);
  return (
    <>
      <Title title={t("settings.title")} />
      <div className="toolbar">
        <label className="search">
          <Icon name="search" />
          <input ref={field} type="search" value={search} placeholder={t("settings.search")} aria-label={t("settings.search")} onChange={(event) => setSearch(event.target.value)} />
        </label>
      </div>
      {reading.fault && (
        <p className="note bad" role="alert">
          {t("settings.unread")}: {faultText(reading.fault)}
        </p>
      )}
      {reading.value?.isPinned && <p className="note">{t("settings.pinned")}</p>}
      {reading.value !== null && isNothing && <Empty title={t("settings.nothing")} />}
      {sections.map(
        ({ id, settings }) =>
          settings.length > 0 && (
            <section key={id} className="panel settings" aria-label={t(`settings.${id}`)}>
              <h2>{t(`settings.${id}`)}</h2>
              <p className="dim small">{t(`settings.${id}.text`)}</p>
              {settings.map(row)}
            </section>
          ),
      )}
      {wanted === "" && reading.value !== null && <Loops />}
      {inert.length > 0 && (
        <details className="panel settings">
          <summary>
            <h2>{t("settings.inert", { n: inert.length })}</h2>
          </summary>
          <p className="dim small">{t("settings.inert.text")}</p>
          {inert.map(row)}
        </details>
      )}
      {wanted === "" && <Backup onTaken={again} />}
      {(changes.length > 0 || saved.length > 0) && (
        <div className="save-bar" role="region" aria-label={t("settings.unsaved", { n: changes.length })}>
          {changes.length > 0 ? (
            <>
              <div className="save-what">
                <strong>{t("settings.unsaved", { n: changes.length })}</strong>
                <span className="dim">
                  {changes.slice(0, 3).map(({ setting, text }) => `${words(setting, "name")}: ${shownValue(setting.value)} → ${setting.kind === "boolean" ? shownValue(text === "true") : text}`).join(" · ")}
                  {changes.length > 3 && " …"}
                </span>
                {refusal && (
                  <span className="bad" role="alert">
                    {faultText(refusal)}
                  </span>
                )}
              </div>
              <Button onClick={drafts.clear} disabled={isBusy}>
                {t("settings.discard")}
              </Button>
              <Button tone="main" icon="save" disabled={isBusy || faulty.length > 0} onClick={() => void save()}>
                {t("settings.save")}
              </Button>
            </>
          ) : (
            <>
              <div className="save-what">
                <strong>{t("settings.saved", { n: saved.length })}</strong>
                <span className="dim">{saved.slice(0, 3).map(({ setting, before }) => `${words(setting, "name")}: ${t("settings.was", { value: withUnit(setting, before) })}`).join(" · ")}</span>
              </div>
              <Button onClick={() => setSaved([])}>{t("action.close")}</Button>
              <Button disabled={isBusy} onClick={() => void undo()}>
                {t("settings.undo")}
              </Button>
            </>
          )}
        </div>
      )}
    </>
  );
}

function Row({ setting, change, refusal, isPinned }: { setting: Setting; change: Change | undefined; refusal: Fault | null; isPinned: boolean }) {
  const text = change?.text ?? textOf(setting.value);
  const id = `setting-${keyOf(setting).replace(".", "-")}`;
  const isRefused = change !== undefined && refusal !== null && (refusal.message.includes(setting.name) || refusal.fields?.[setting.name] !== undefined);
  const fault = change?.fault ? faultWords(change) : isRefused ? (refusal.fields?.[setting.name] ?? refusal.message) : "";
  const isDefault = setting.default !== null && text === textOf(setting.default);
  const help = setting.acts ? words(setting, "help") : "";
  const effect = words(setting, "effect");
  return (
    <div className={`setting ${change ? "setting-changed" : ""}`}>
      <div className="setting-words">
        <label htmlFor={id}>{words(setting, "name")}</label>
        {help && <p className="dim small">{help}</p>}
        <p className="dim small">
          {setting.default !== null && <span>{t("setting.default", { value: withUnit(setting, setting.default) })}</span>}
          {setting.min !== null && setting.max !== null && <span> · {t("setting.range", { min: setting.min, max: setting.max })}</span>}
          {setting.min !== null && setting.max === null && <span> · {t("setting.least", { min: setting.min })}</span>}
          {effect && <span> · {effect}</span>}
        </p>
      </div>
      <div className="setting-value">
        <div className="row">
          <Control id={id} setting={setting} text={text} isFaulty={fault !== ""} isPinned={isPinned} />
          <span className="dim">{words(setting, "unit")}</span>
          <span className={`tag source-${setting.source}`} title={setting.variables.join(", ")}>
            {t(setting.source === "api" ? "setting.source.api" : setting.source === "environment" ? "setting.source.environment" : "setting.source.default")}
          </span>
          {change && (
            <Button tone="bare" onClick={() => type(setting, textOf(setting.value))}>
              {t("setting.back")}
            </Button>
          )}
          {!isDefault && !isPinned && setting.default !== null && (
            <Button tone="bare" onClick={() => type(setting, textOf(setting.default as Value))}>
              {t("setting.reset")}
            </Button>
          )}
        </div>
        <p id={`${id}-fault`} className="bad small" role={fault ? "alert" : undefined}>
          {fault}
        </p>
        {change?.isConflict && <p className="warn small">{t("setting.conflict", { value: withUnit(setting, setting.value) })}</p>}
      </div>
    </div>
  );
}

function Control({ id, setting, text, isFaulty, isPinned }: { id: string; setting: Setting; text: string; isFaulty: boolean; isPinned: boolean }) {
  const common = { id, disabled: isPinned, "aria-invalid": isFaulty, "aria-describedby": `${id}-fault` };
  if (setting.kind === "boolean") {
    return <input type="checkbox" role="switch" {...common} checked={text === "true"} onChange={(event) => type(setting, String(event.target.checked))} />;
  }
  if (setting.kind === "choice") {
    return (
      <select {...common} value={text} onChange={(event) => type(setting, event.target.value)}>
        {setting.choices.map((choice) => (
          <option key={choice}>{choice}</option>
        ))}
      </select>
    );
  }
  if (setting.kind === "text") {
    return <input {...common} size={28} spellCheck={false} value={text} onChange={(event) => type(setting, event.target.value)} />;
  }
  return <input {...common} inputMode="decimal" size={8} value={text} onChange={(event) => type(setting, event.target.value)} />;
}
