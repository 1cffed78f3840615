// All settings as a file, and back from one: what is to be taken is chosen first, what was taken is told.
import { useState } from "react";
import type { Fault } from "../api/outcome";
import { PARTS, type Imported, type Part } from "../api/settings";
import type { Slots } from "../api/variant";
import { t } from "../messages";
import { notify } from "../stores/notices";
import { saveFile, useAct } from "./asking";
import { useServices } from "./context";
import { Button } from "./parts";
import { faultText } from "./status";

interface Before {
  all: Blob;
  /** Slots that hold a template. */
  slots: readonly number[];
}

const filled = ({ slots }: Slots) => slots.filter(({ exists }) => exists).map(({ slot }) => slot);

export function Backup({ onTaken }: { onTaken: () => void }) {
  const { api } = useServices();
  const act = useAct();
  const [file, setFile] = useState<File | null>(null);
  const [parts, setParts] = useState<readonly Part[]>(PARTS);
  const [isBusy, setBusy] = useState(false);
  const [result, setResult] = useState<{ value: Imported } | { fault: Fault } | null>(null);
  const save = async () => {
    const found = await act(() => api.exportSettings(), t("backup.export.failed"));
    if (found && "value" in found) saveFile(found.value, `sluice-settings-${new Date().toISOString().slice(0, 10)}.zip`);
  };
  const take = async () => {
    if (!file) return;
    setBusy(true);
    const before = await kept();
    const found = await act(() => api.importSettings(file, parts), t("backup.import.failed"));
    setResult(found);
    setBusy(false);
    if (found && "value" in found && found.value.taken.length > 0) notify("done", t("backup.done"), null, before && (() => void back(before, found.value.taken)));
    onTaken();
  };
  /** What a backup is about to replace; without it that cannot be taken back. */
  const kept = async (): Promise<Before | null> => {
    const { signal } = new AbortController();
    const [all, slots] = await Promise.all([api.exportSettings(), api.slots(signal)]);
    return all.status === "success" && slots.status === "success" ? { all: all.value, slots: filled(slots.value) } : null;
  };
  const back = async ({ all, slots }: Before, taken: readonly Part[]) => {
    const found = await act(() => api.importSettings(all, taken), t("backup.undo.failed"));
    const now = await api.slots(new AbortController().signal);
    // What lay in no slot before is not in the file either.
    const more = now.status === "success" && taken.includes("templates") ? filled(now.value).filter((slot) => !slots.includes(slot)) : [];
    for (const slot of more) await act(() => api.removeTemplate(slot), t("backup.undo.failed"));
    if (found && "value" in found) notify("done", t("backup.undone"));
    setResult(null);
    onTaken();
  };
  return (
    <section className="panel" aria-label={t("backup.title")}>
      <h2>{t("backup.title")}</h2>
      <p className="dim small">{t("backup.text")}</p>
      <p className="row">
        <Button icon="save" onClick={() => void save()}>
          {t("backup.export")}
        </Button>
      </p>
      <fieldset className="backup">
        <legend>{t("backup.import")}</legend>
        <label className="field-column">
          <span>{t("backup.file")}</span>
          <input type="file" accept=".zip,application/zip" onChange={(event) => (setFile(event.target.files?.[0] ?? null), setResult(null))} />
        </label>
        <div className="row">
          {PARTS.map((part) => (
            <label key={part} className="check-label">
              <input type="checkbox" checked={parts.includes(part)} onChange={(event) => setParts(event.target.checked ? [...parts, part] : parts.filter((other) => other !== part))} />
              <span>{t(`backup.part.${part}`)}</span>
            </label>
          ))}
        </div>
        <Button disabled={file === null || parts.length === 0 || isBusy} onClick={() => void take()}>
          {t("backup.take")}
        </Button>
        {result && (
          <div role="status">
            {"fault" in result ? (
              <p className="bad">{faultText(result.fault)}</p>
            ) : (
              <>
                {result.value.errors.map((error) => (
                  <p key={error} className="bad">
                    {error}
                  </p>
                ))}
                <p>{result.value.taken.length === 0 ? t("backup.took.none") : t("backup.took", { parts: result.value.taken.map((part) => t(`backup.part.${part}`)).join(", ") })}</p>
              </>
            )}
          </div>
        )}
      </fieldset>
    </section>
  );
}
