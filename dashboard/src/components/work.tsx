// How far replacing all engines is, above every page while it goes on and until its outcome was read.
import { t } from "../messages";
import { useStore } from "../stores/store";
import { useServices, useTheirNow } from "./context";
import { Icon } from "./icon";
import { Button, Since } from "./parts";

export function WorkStrip() {
  const { work: store } = useServices();
  const { work, seenRunning, isDismissed } = useStore(store.state);
  const now = useTheirNow();
  if (!work || isDismissed || (!work.isRunning && !seenRunning)) return null;
  const total = work.total ?? 0;
  const done = (work.provisioned ?? 0) + (work.stopped ?? 0);
  const isFailed = work.status === "error";
  return (
    <div className={`strip ${isFailed ? "strip-bad" : ""}`} role="status" aria-label={t("work.title")}>
      <Icon name={isFailed ? "stalled" : work.isRunning ? "recovering" : "check"} />
      <div className="strip-text">
        <strong>{t(work.isRunning ? "work.title" : isFailed ? "work.failed" : "work.done")}</strong>{" "}
        <span>{t("work.counts", { made: work.provisioned ?? 0, gone: work.stopped ?? 0, total })}</span>{" "}
        <span className="dim">
          {work.isRunning && (work.current === null ? t("work.starting") : t("work.stopping", { name: work.current }))} <Since at={work.startedAt} now={work.isRunning ? now : (work.at ?? now)} />
        </span>
        {isFailed && work.message && <span> {work.message}</span>}
        <progress max={Math.max(1, 2 * total)} value={done} aria-label={t("work.title")} />
      </div>
      {!work.isRunning && <Button onClick={store.dismiss}>{t("action.close")}</Button>}
    </div>
  );
}
