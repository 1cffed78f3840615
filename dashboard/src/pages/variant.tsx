// The custom variant of engines: ten slots, every parameter, and how what is typed differs from what is in force.
import { useMemo, useState } from "react";
import type { Parameter, Slots, Template, Variant } from "../api/variant";
import type { Fault as CallFault } from "../api/outcome";
import { useAct, useAnswer } from "../components/asking";
import { useLive, useServices } from "../components/context";
import { Dialog } from "../components/dialog";
import { Icon } from "../components/icon";
import { Button, Empty, Title } from "../components/parts";
import { SlotGrid } from "../components/slots";
import { faultText } from "../components/status";
import { isMessage, t, type Message } from "../messages";
import { Link } from "../router";
import { notify } from "../stores/notices";
import { useStore } from "../stores/store";
import { edit, isTouched, listed, made, NOTHING, typeMember, typeParameter, type Made, type Member } from "./variant-draft";
import { differences, knownOf, SECTIONS, typedOf, type Difference, type Section, type Typed } from "./variant-table";

const helpOf = (name: string): string => {
  const key = `param.${name.replace(/^--/, "")}`;
  return isMessage(key) ? t(key as Message) : t("param.other");
};

export default function VariantPage() {
  const { api, work } = useServices();
  const act = useAct();
  const current = useStore(edit);
  const force = useAnswer((signal) => api.variant(signal), []);
  const slots = useAnswer((signal) => api.slots(signal), []);
  const platform = useAnswer((signal) => api.platform(signal), []);
  const { slot } = current;
  const template = useAnswer(async (signal) => (slot === null ? { status: "aborted" as const } : api.template(slot, signal)), [slot]);
  const [isAsking, setAsking] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<CallFault | null>(null);
  const [isOvertaken, setOvertaken] = useState(false);
  const inForce = force.reading.value;
  const isEmpty = slot !== null && template.reading.fault?.kind === "not_found";
  // A slot that is empty begins with what is in force.
  const saved = slot === null || isEmpty ? inForce : (template.reading.value?.variant ?? null);
  const savedName = slot === null ? null : isEmpty ? t("variant.slot", { n: slot }) : (template.reading.value?.name ?? null);
  const draft = useMemo(() => (saved ? made(saved, current) : null), [saved, current]);
  const changed = useMemo(() => (draft && inForce ? differences(inForce, { ...draft.variant, enabled: slot === null ? draft.variant.enabled : inForce.enabled }) : []), [draft, inForce, slot]);
  const isActive = slot !== null && slots.reading.value?.active === slot;
  const reaches = slot === null || isActive;
  const hasFaults = draft !== null && Object.keys(draft.faults).length > 0;

  const again = () => {
    force.again();
    slots.again();
    template.again();
  };
  /** Whether somebody else has saved it since this page read it. */
  const isSavedByOthers = async (): Promise<boolean> => {
    const signal = new AbortController().signal;
    const fresh = slot === null ? await api.variant(signal) : await api.template(slot, signal);
    if (fresh.status !== "success") return false;
    const held = "variant" in fresh.value ? fresh.value.variant : fresh.value;
    return isEmpty || JSON.stringify(held) !== JSON.stringify(saved);
  };
  /** Saves; engines are replaced only after that went well. */
  const save = async (andReplace: boolean) => {
    if (!draft) return;
    setBusy(true);
    setRefusal(null);
    setOvertaken(false);
    if (await isSavedByOthers()) {
      setOvertaken(true);
      setBusy(false);
      setAsking(false);
      return again();
    }
    const name = current.name ?? savedName ?? "";
    const found = await act(() => (slot === null ? api.saveVariant(draft.variant) : api.saveTemplate(slot, { name, variant: draft.variant })), t("variant.save.failed"));
    if (found && "value" in found) {
      edit.set(slot === null ? NOTHING : { ...NOTHING, slot });
      notify("done", t(slot === null ? "variant.saved" : "variant.saved.slot", { name }));
      if (slot !== null && slots.reading.value && slots.reading.value.active === null) await act(() => api.activateTemplate(slot), t("slot.activate.failed"));
      if (andReplace) {
        const begun = await act(() => api.reprovision(), t("fleet.renew.failed"));
        if (begun && "fault" in begun) setRefusal(begun.fault);
        work.look();
      } else if (reaches) notify("done", t("variant.old"));
    } else if (found) setRefusal(found.fault);
    setBusy(false);
    setAsking(false);
    again();
  };
  return (
    <>
      <Title title={t("variant.title")}>
        <Link to="engines" className="crumb">
          {t("nav.engines")}
        </Link>
        <span aria-hidden="true"> / </span>
        {t("variant.title")}
      </Title>
      <p className="dim">{t("variant.text")}</p>
      {force.reading.fault && (
        <p className="note bad" role="alert">
          {t("variant.unread")}: {faultText(force.reading.fault)}
        </p>
      )}
      {slots.reading.value && <SlotGrid slots={slots.reading.value} edited={slot} onEdit={(next) => edit.set({ ...NOTHING, slot: next })} onChanged={again} isTouched={isTouched(current)} />}
      {saved === null || draft === null ? (
        !force.reading.fault && <Empty title={t("variant.wait")} />
      ) : (
        <Form saved={saved} draft={draft} slot={slot} savedName={savedName} slots={slots.reading.value} platform={platform.reading.value} />
      )}
      {saved !== null && draft !== null && (
        <section className="panel" aria-label={t("variant.diff")}>
          <h2>{t("variant.diff")}</h2>
          <p className="dim small">{t(slot === null ? "variant.diff.text" : "variant.diff.slot")}</p>
          <Differences list={changed} />
        </section>
      )}
      {isTouched(current) && draft !== null && (
        <div className="save-bar" role="region" aria-label={t("variant.unsaved")}>
          <div className="save-what">
            <strong>{t("variant.unsaved")}</strong>
            <span className="dim">{slot === null ? t("variant.target.force") : t(isActive ? "variant.target.active" : "variant.target.slot", { n: slot })}</span>
            {hasFaults && <span className="bad">{t("variant.faults", { n: Object.keys(draft.faults).length })}</span>}
            {isOvertaken && (
              <span className="bad" role="alert">
                {t("variant.overtaken")}
              </span>
            )}
            {refusal && (
              <span className="bad" role="alert">
                {faultText(refusal)}
              </span>
            )}
          </div>
          <Button disabled={isBusy} onClick={() => edit.set({ ...NOTHING, slot })}>
            {t("settings.discard")}
          </Button>
          <Button icon="save" tone={reaches ? "plain" : "main"} disabled={isBusy || hasFaults} onClick={() => void save(false)}>
            {slot === null ? t("variant.save") : t("variant.save.slot", { n: slot })}
          </Button>
          {reaches && (
            <Button icon="recovering" tone="main" disabled={isBusy || hasFaults} onClick={() => setAsking(true)}>
              {t("variant.replace")}
            </Button>
          )}
        </div>
      )}
      {isAsking && <Replace list={changed} isBusy={isBusy} isUsed={draft?.variant.enabled ?? false} onConfirm={() => void save(true)} onClose={() => setAsking(false)} />}
    </>
  );
}

/** Says what engines will get otherwise, and that players stay. */
function Replace({ list, isBusy, isUsed, onConfirm, onClose }: { list: Difference[]; isBusy: boolean; isUsed: boolean; onConfirm: () => void; onClose: () => void }) {
  const players = useLive((state) => (state.streams.value ?? []).reduce((sum, stream) => sum + (stream.players ?? 0), 0));
  return (
    <Dialog title={t("variant.replace.title")} confirm={t("variant.replace")} isBusy={isBusy} onConfirm={onConfirm} onClose={onClose}>
      <Differences list={list} />
      {!isUsed && <p className="warn">{t("variant.unused")}</p>}
      <p>{t("fleet.renew.text")}</p>
      <p>
        <strong>{t("fleet.moves", { n: players })}</strong>
      </p>
    </Dialog>
  );
}

function differenceName(name: string): string {
  const key = `variant.member.${name}`;
  return isMessage(key) ? t(key as Message) : name;
}

function Differences({ list }: { list: readonly Difference[] }) {
  if (list.length === 0) return <p className="dim">{t("variant.diff.none")}</p>;
  const shown = (name: string, value: string | null) => (value === null ? t("variant.diff.off") : value === "" ? t("value.on") : knownOf({ name, type: "string" }).isSecret ? "••••" : value === "true" ? t("value.on") : value === "false" ? t("value.off") : value);
  return (
    <div className="scroll-x" tabIndex={0} role="region" aria-label={t("variant.diff")}>
      <table className="plain-table">
        <thead>
          <tr>
            <th scope="col">{t("variant.diff.name")}</th>
            <th scope="col">{t("variant.diff.before")}</th>
            <th scope="col">{t("variant.diff.after")}</th>
          </tr>
        </thead>
        <tbody>
          {list.map(({ name, before, after }) => (
            <tr key={name}>
              <th scope="row">{name.startsWith("--") ? <code>{name}</code> : differenceName(name)}</th>
              <td>{shown(name, before)}</td>
              <td>
                <strong>{shown(name, after)}</strong>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Form({ saved, draft, slot, savedName, slots, platform }: { saved: Variant; draft: Made; slot: number | null; savedName: Template["name"] | null; slots: Slots | null; platform: string | null }) {
  const [search, setSearch] = useState("");
  const current = useStore(edit);
  const rows = listed(saved);
  const added = Object.entries(current.parameters).filter(([name]) => !rows.some((row) => row.name === name)).map(([name, { type }]): Parameter => ({ name, type, value: "", enabled: false }));
  const wanted = search.toLowerCase();
  const matching = [...rows, ...added].filter(({ name }) => `${name} ${helpOf(name)}`.toLowerCase().includes(wanted));
  const activeName = slots?.slots.find(({ slot: number }) => number === slots.active)?.name ?? null;
  const sections: Section[] = [...SECTIONS, "other"];
  return (
    <>
      <section className="panel settings" aria-label={t("variant.general")}>
        <h2>{slot === null ? t("variant.edit.force", { name: activeName ?? "–" }) : t("variant.edit.slot", { n: slot, name: current.name ?? savedName ?? "" })}</h2>
        {slot === null ? (
          <Switch label={t("variant.member.enabled")} help={t("variant.enabled.text")} member="enabled" held={saved.enabled} value={draft.variant.enabled} />
        ) : (
          <Text label={t("variant.name")} help="" value={current.name ?? savedName ?? ""} onChange={(name) => edit.update((all) => ({ ...all, name: name === savedName ? null : name }))} />
        )}
        <Choice label={t("variant.member.platform")} help={t("variant.platform.text", { platform: platform ?? "–" })} member="platform" held={saved.platform} value={draft.variant.platform} choices={["amd64", "arm32", "arm64"]} />
        {draft.variant.platform !== "amd64" && <Choice label={t("variant.member.arm_version")} help="" member="armVersion" held={saved.armVersion} value={draft.variant.armVersion} choices={["3.2.13", "3.2.14"]} />}
        <MemberText label={t("variant.member.memory_limit")} help={t("variant.memory.text")} member="memoryLimit" held={saved.memoryLimit} />
        <Switch label={t("variant.member.mount")} help={t("variant.mount.text")} member="isMounted" held={saved.isMounted} value={draft.variant.isMounted} />
        {draft.variant.isMounted && (
          <>
            <MemberText label={t("variant.host")} help="" member="hostPath" held={saved.hostPath} />
            <MemberText label={t("variant.container")} help="" member="containerPath" held={saved.containerPath} />
          </>
        )}
      </section>
      <div className="toolbar">
        <label className="search">
          <Icon name="search" />
          <input type="search" value={search} placeholder={t("variant.search")} aria-label={t("variant.search")} onChange={(event) => setSearch(event.target.value)} />
        </label>
      </div>
      {sections.map((section) => {
        const mine = matching.filter((parameter) => knownOf(parameter).section === section);
        if (mine.length === 0 && (section !== "other" || wanted !== "")) return null;
        return (
          <section key={section} className="panel settings" aria-label={t(`variant.section.${section}`)}>
            <h2>{t(`variant.section.${section}`)}</h2>
            {mine.map((parameter) => (
              <ParameterRow key={parameter.name} parameter={parameter} typed={current.parameters[parameter.name]} fault={draft.faults[parameter.name]} />
            ))}
            {section === "other" && <AddArgument taken={[...rows, ...added].map(({ name }) => name)} />}
          </section>
        );
      })}
    </>
  );
}

function ParameterRow({ parameter, typed, fault }: { parameter: Parameter; typed: Typed | undefined; fault: string | undefined }) {
  const known = knownOf(parameter);
  const value = typed ?? typedOf(parameter);
  const id = `param${parameter.name}`;
  const usual = typedOf({ name: parameter.name, type: parameter.type, value: known.default, enabled: known.isOn });
  const isUsual = value.enabled === usual.enabled && (!value.enabled || value.text === usual.text);
  const set = (change: Partial<Typed>) => typeParameter(parameter, change);
  const isFlag = parameter.type === "flag";
  return (
    <div className={`setting ${typed ? "setting-changed" : ""}`}>
      <div className="setting-words">
        <label htmlFor={isFlag ? `${id}-on` : id}>
          <code>{parameter.name}</code>
        </label>
        <p className="dim small">{helpOf(parameter.name)}</p>
        <p className="dim small">{usual.enabled ? t("setting.default", { value: isFlag ? t("value.on") : usual.text }) : t("variant.default.off", { value: isFlag || usual.text === "" ? "–" : usual.text })}</p>
      </div>
      <div className="setting-value">
        <div className="row">
          <input id={`${id}-on`} type="checkbox" role="switch" checked={value.enabled} aria-label={isFlag ? undefined : t("variant.emit", { name: parameter.name })} title={t("variant.emit", { name: parameter.name })} onChange={(event) => set({ enabled: event.target.checked })} />
          {!isFlag &&
            (known.choices ? (
              <select id={id} disabled={!value.enabled} value={value.text} onChange={(event) => set({ text: event.target.value })}>
                {known.choices.map((choice) => (
                  <option key={choice} value={String(choice)}>
                    {known.choices?.length === 2 ? t(choice === 1 ? "value.on" : "value.off") : choice}
                  </option>
                ))}
                {!known.choices.some((choice) => String(choice) === value.text) && <option>{value.text}</option>}
              </select>
            ) : (
              <input id={id} type={known.isSecret ? "password" : "text"} autoComplete="off" disabled={!value.enabled} size={known.type === "path" || known.type === "string" ? 18 : 9} value={value.text} aria-invalid={fault !== undefined} aria-describedby={`${id}-fault`} onChange={(event) => set({ text: event.target.value })} />
            ))}
          {known.unit && known.unit !== "bytes" && <span className="dim">{known.unit === "s" ? "s" : "KB/s"}</span>}
          {typed && (
            <Button tone="bare" onClick={() => set(typedOf(parameter))}>
              {t("setting.back")}
            </Button>
          )}
          {!isUsual && (
            <Button tone="bare" onClick={() => set({ text: usual.text, enabled: usual.enabled })}>
              {t("setting.reset")}
            </Button>
          )}
        </div>
        <p id={`${id}-fault`} className="bad small" role={fault ? "alert" : undefined}>
          {fault ? t(`param.fault.${fault}` as Message) : ""}
        </p>
      </div>
    </div>
  );
}

const TYPES = ["string", "int", "bytes", "path", "flag"] as const;

/** Arguments of engines that nobody here knows yet. */
function AddArgument({ taken }: { taken: readonly string[] }) {
  const [name, setName] = useState("");
  const [type, setType] = useState<string>("string");
  const trimmed = name.trim();
  const isRight = /^--[a-z0-9][a-z0-9-]*$/i.test(trimmed) && !taken.includes(trimmed);
  const add = () => {
    edit.update((all) => ({ ...all, parameters: { ...all.parameters, [trimmed]: { type, text: type === "int" ? "0" : "", enabled: type === "flag" } } }));
    setName("");
  };
  return (
    <form
      className="row"
      onSubmit={(event) => {
        event.preventDefault();
        if (isRight) add();
      }}
    >
      <label className="field-row">
        <span>{t("variant.other.name")}</span>
        <input value={name} placeholder="--argument" onChange={(event) => setName(event.target.value)} aria-invalid={trimmed !== "" && !isRight} />
      </label>
      <label className="field-row">
        <span>{t("variant.other.type")}</span>
        <select value={type} onChange={(event) => setType(event.target.value)}>
          {TYPES.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
      </label>
      <Button type="submit" disabled={!isRight}>
        {t("variant.other.add")}
      </Button>
    </form>
  );
}

function Field({ id, label, help, children }: { id: string; label: string; help: string; children: React.ReactNode }) {
  return (
    <div className="setting">
      <div className="setting-words">
        <label htmlFor={id}>{label}</label>
        {help && <p className="dim small">{help}</p>}
      </div>
      <div className="setting-value">{children}</div>
    </div>
  );
}

function Text({ label, help, value, onChange }: { label: string; help: string; value: string; onChange: (value: string) => void }) {
  return (
    <Field id="variant-name" label={label} help={help}>
      <input id="variant-name" value={value} onChange={(event) => onChange(event.target.value)} />
    </Field>
  );
}

function MemberText({ label, help, member, held }: { label: string; help: string; member: Member; held: string }) {
  const typed = useStore(edit).members[member];
  const id = `variant-${member}`;
  return (
    <Field id={id} label={label} help={help}>
      <input id={id} value={typeof typed === "string" ? typed : held} onChange={(event) => typeMember(member, event.target.value, held)} />
    </Field>
  );
}

function Switch({ label, help, member, held, value }: { label: string; help: string; member: Member; held: boolean; value: boolean }) {
  const id = `variant-${member}`;
  return (
    <Field id={id} label={label} help={help}>
      <input id={id} type="checkbox" role="switch" checked={value} onChange={(event) => typeMember(member, event.target.checked, held)} />
    </Field>
  );
}

function Choice({ label, help, member, held, value, choices }: { label: string; help: string; member: Member; held: string; value: string; choices: string[] }) {
  const id = `variant-${member}`;
  return (
    <Field id={id} label={label} help={help}>
      <select id={id} value={value} onChange={(event) => typeMember(member, event.target.value, held)}>
        {choices.map((choice) => (
          <option key={choice}>{choice}</option>
        ))}
      </select>
    </Field>
  );
}
