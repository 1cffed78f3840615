// Streams that are not played because they loop: who they are, and letting them play again.
import { short } from "../format/text";
import { t } from "../messages";
import { useAct, useAnswer, useChange } from "./asking";
import { useServices } from "./context";
import { Button, Id, Moment } from "./parts";
import { faultText } from "./status";

export function Loops() {
  const { api } = useServices();
  const { reading, again } = useAnswer((signal) => api.looping(signal), []);
  useChange((state) => state.looping, again);
  const act = useAct();
  const list = reading.value ?? [];
  const unblock = async (id: string | null) => {
    await act(() => api.unblock(id), t("loops.failed"));
    again();
  };
  return (
    <section className="panel" aria-label={t("loops.title")}>
      <div className="panel-head">
        <h2>{t("loops.title")}</h2>
        {list.length > 0 && <Button onClick={() => void unblock(null)}>{t("loops.clear")}</Button>}
      </div>
      {reading.fault && <p className="bad">{faultText(reading.fault)}</p>}
      {reading.value !== null && list.length === 0 && <p className="dim">{t("loops.none")}</p>}
      <ul className="plain-list">
        {list.map(({ id, at }) => (
          <li key={id} className="row">
            <Id value={id} />
            <Moment at={at} />
            <Button aria-label={`${t("loops.remove")}: ${short(id)}`} onClick={() => void unblock(id)}>
              {t("loops.remove")}
            </Button>
          </li>
        ))}
      </ul>
    </section>
  );
}
