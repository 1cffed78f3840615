// The ten slots for templates: what is in each, and what can be done with it.
import { useRef, useState } from "react";
import type { Slot, Slots } from "../api/variant";
import { t } from "../messages";
import { notify } from "../stores/notices";
import { saveFile, useAct } from "./asking";
import { useServices } from "./context";
import { Dialog } from "./dialog";
import { Button } from "./parts";
import { Mark } from "./state";

/** Larger files are no templates. */
const FILE_BYTES_MAX = 256 * 1024;

type Asked = { what: "activate" | "remove" | "rename" | "leave" | "export"; slot: Slot | null } | null;

export function SlotGrid({ slots, edited, isTouched, onEdit, onChanged }: { slots: Slots; edited: number | null; isTouched: boolean; onEdit: (slot: number | null) => void; onChanged: () => void }) {
  const { api } = useServices();
  const act = useAct();
  const [asked, setAsked] = useState<Asked>(null);
  const [name, setName] = useState("");
  const [isBusy, setBusy] = useState(false);
  const chooser = useRef<HTMLInputElement>(null);
  const [importTo, setImportTo] = useState<number | null>(null);
  const nameOf = (slot: Slot) => (slot.exists ? slot.name : t("variant.slot", { n: slot.slot }));
  const go = (slot: Slot | null) => (isTouched ? setAsked({ what: "leave", slot }) : onEdit(slot?.slot ?? null));
  const during = async (call: () => Promise<unknown>) => {
    setBusy(true);
    await call();
    setBusy(false);
    setAsked(null);
    onChanged();
  };
  /** Removes a template and keeps it here, so that it can be put back. */
  const remove = async ({ slot, name }: Slot) => {
    const held = await api.template(slot, new AbortController().signal);
    const found = await act(() => api.removeTemplate(slot), t("slot.remove.failed"));
    if (!found || !("value" in found)) return;
    const back = async () => {
      if (held.status !== "success") return;
      const saved = await act(() => api.saveTemplate(slot, held.value), t("slot.back.failed"));
      if (saved && "value" in saved) notify("done", t("slot.back", { name }));
      onChanged();
    };
    notify("done", t("slot.removed", { name }), null, held.status === "success" ? () => void back() : null);
  };
  const confirm = () => {
    if (!asked) return;
    const { what, slot } = asked;
    if (what === "leave" || slot === null) {
      setAsked(null);
      return onEdit(slot?.slot ?? null);
    }
    const tell = (done: string) => (found: { value: unknown } | { fault: unknown } | null) => found && "value" in found && notify("done", done);
    if (what === "activate") void during(() => act(() => api.activateTemplate(slot.slot), t("slot.activate.failed")).then(tell(t("slot.activated", { name: slot.name }))));
    if (what === "remove") void during(() => remove(slot));
    if (what === "rename") void during(() => act(() => api.renameTemplate(slot.slot, name), t("slot.rename.failed")).then(tell(t("slot.renamed", { name }))));
    if (what === "export") {
      const save = async () => {
        const found = await act(() => api.exportTemplate(slot.slot), t("slot.export.failed"));
        if (found && "value" in found) saveFile(found.value, `template_${slot.slot}.json`);
      };
      void during(save);
    }
  };
  const take = async (file: File | undefined) => {
    const slot = importTo;
    setImportTo(null);
    if (!file || slot === null) return;
    if (file.size > FILE_BYTES_MAX) return notify("failed", t("slot.import.failed"), t("slot.import.large"));
    const text = await file.text();
    await during(() => act(() => api.importTemplate(slot, text), t("slot.import.failed")).then((found) => found && "value" in found && notify("done", t("slot.imported", { n: slot }))));
  };
  return (
    <section className="panel" aria-label={t("slot.title")}>
      <div className="panel-head">
        <h2>{t("slot.title")}</h2>
        {edited !== null && <Button onClick={() => go(null)}>{t("slot.force")}</Button>}
      </div>
      <ul className="slots">
        {slots.slots.map((slot) => {
          const isActive = slots.active === slot.slot;
          const about = nameOf(slot);
          return (
            <li key={slot.slot} className={`slot ${slot.exists ? "" : "slot-empty"} ${edited === slot.slot ? "slot-edited" : ""}`}>
              <p className="slot-name">
                <span className="dim">{slot.slot}</span> <strong>{slot.exists ? <bdi>{slot.name}</bdi> : t("slot.empty")}</strong>
              </p>
              {isActive && (
                <Mark tone="good" icon="check">
                  {t("slot.active")}
                </Mark>
              )}
              <div className="row">
                <Button tone="bare" aria-label={`${t(slot.exists ? "slot.edit" : "slot.new")}: ${about}`} onClick={() => go(slot)}>
                  {t(slot.exists ? "slot.edit" : "slot.new")}
                </Button>
                {slot.exists ? (
                  <>
                    {!isActive && (
                      <Button tone="bare" aria-label={`${t("slot.activate")}: ${about}`} onClick={() => setAsked({ what: "activate", slot })}>
                        {t("slot.activate")}
                      </Button>
                    )}
                    <Button
                      tone="bare"
                      aria-label={`${t("slot.rename")}: ${about}`}
                      onClick={() => {
                        setName(slot.name);
                        setAsked({ what: "rename", slot });
                      }}
                    >
                      {t("slot.rename")}
                    </Button>
                    <Button tone="bare" aria-label={`${t("slot.export")}: ${about}`} onClick={() => setAsked({ what: "export", slot })}>
                      {t("slot.export")}
                    </Button>
                    {!isActive && (
                      <Button tone="bare" aria-label={`${t("slot.remove")}: ${about}`} onClick={() => setAsked({ what: "remove", slot })}>
                        {t("slot.remove")}
                      </Button>
                    )}
                  </>
                ) : (
                  <Button
                    tone="bare"
                    aria-label={`${t("slot.import")}: ${about}`}
                    onClick={() => {
                      setImportTo(slot.slot);
                      chooser.current?.click();
                    }}
                  >
                    {t("slot.import")}
                  </Button>
                )}
              </div>
            </li>
          );
        })}
      </ul>
      <input
        ref={chooser}
        type="file"
        accept=".json,application/json"
        className="visually-hidden"
        tabIndex={-1}
        aria-label={t("slot.file")}
        onChange={(event) => {
          void take(event.target.files?.[0]);
          event.target.value = "";
        }}
      />
      {asked && (
        <Dialog title={t(`slot.ask.${asked.what}`, { name: asked.slot ? nameOf(asked.slot) : t("slot.force") })} tone={asked.what === "remove" || asked.what === "leave" ? "danger" : "main"} confirm={t(`slot.do.${asked.what}`)} isBusy={isBusy} onConfirm={confirm} onClose={() => setAsked(null)}>
          <p>{t(`slot.text.${asked.what}`)}</p>
          {asked.what === "rename" && (
            <label className="field-column">
              <span>{t("variant.name")}</span>
              <input value={name} required onChange={(event) => setName(event.target.value)} />
            </label>
          )}
        </Dialog>
      )}
    </section>
  );
}
