// Asking for the API key, and the place from which one signs in and out.
import { useEffect, useRef, useState } from "react";
import { t } from "../messages";
import { useStore } from "../stores/store";
import { useServices } from "./context";
import { Dialog } from "./dialog";
import { Button } from "./parts";
import { faultText } from "./status";

/** Stands in the bar while something may not be done here. */
export function SignInButton() {
  const { session } = useServices();
  const standing = useStore(session.state, (state) => state.standing);
  useEffect(() => void session.look(), [session]);
  if (!standing?.needsKey || standing.isSignedIn) return null;
  return (
    <Button icon="key" onClick={session.ask}>
      {t("session.in")}
    </Button>
  );
}

export function SignOutButton() {
  const { session } = useServices();
  const standing = useStore(session.state, (state) => state.standing);
  if (!standing?.needsKey || !standing.isSignedIn) return null;
  return <Button onClick={() => void session.signOut()}>{t("session.out")}</Button>;
}

export function SignIn() {
  const { session, live } = useServices();
  const isAsking = useStore(session.state, (state) => state.isAsking);
  const [fault, setFault] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  if (!isAsking) return null;
  const close = () => {
    setFault(null);
    session.dismiss();
  };
  const go = async () => {
    setBusy(true);
    const found = await session.signIn(field.current?.value ?? "");
    setBusy(false);
    setFault(found && faultText(found));
    if (found) field.current?.select();
    else live.refresh();
  };
  return (
    <Dialog title={t("session.title")} confirm={t("session.in")} isBusy={isBusy} onConfirm={() => void go()} onClose={close}>
      <p>{t("session.text")}</p>
      <label className="field-column">
        <span>{t("session.key")}</span>
        <input ref={field} type="password" autoComplete="current-password" required aria-invalid={fault !== null} aria-describedby="session-fault" />
      </label>
      <p id="session-fault" className="bad" role="alert">
        {fault ?? ""}
      </p>
    </Dialog>
  );
}
