// A question in front of the page. The browser's own dialog keeps the focus inside and closes with Escape.
import { useEffect, useId, useRef, type ReactNode } from "react";
import { t } from "../messages";
import { Button } from "./parts";

export function Dialog({
  title,
  children,
  confirm,
  tone = "main",
  isBusy = false,
  onConfirm,
  onClose,
}: {
  title: string;
  children: ReactNode;
  confirm: string;
  tone?: "main" | "danger";
  isBusy?: boolean;
  onConfirm: () => void;
  onClose: () => void;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog ref={dialog} className="dialog" aria-labelledby={titleId} onCancel={(event) => { event.preventDefault(); onClose(); }}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onConfirm();
        }}
      >
        <h2 id={titleId}>{title}</h2>
        <div className="dialog-body">{children}</div>
        <div className="dialog-actions">
          <Button onClick={onClose} autoFocus={tone === "danger"}>{t("action.cancel")}</Button>
          <Button type="submit" tone={tone} disabled={isBusy}>{confirm}</Button>
        </div>
      </form>
    </dialog>
  );
}
