// Streams that ended while this page was open, and why, as far as the appliance tells.
import { useMemo } from "react";
import { useServices } from "../components/context";
import { Empty, Moment } from "../components/parts";
import { StreamMark } from "../components/state";
import { short } from "../format/text";
import { bytes, count, duration, UNKNOWN } from "../format/units";
import { t } from "../messages";
import { Link } from "../router";
import { useStore } from "../stores/store";
import { streamPath } from "./streams";

export function EndedStreams({ search }: { search: string }) {
  const { live } = useServices();
  const ended = useStore(live.ended.list);
  const shown = useMemo(() => ended.filter(({ stream }) => `${stream.id} ${stream.engine}`.toLowerCase().includes(search.toLowerCase())), [ended, search]);
  if (shown.length === 0) return <Empty title={t("streams.ended.none")}>{t("streams.ended.note")}</Empty>;
  return (
    <section>
      <p className="dim small">{t("streams.ended.note")}</p>
      <div className="scroll-x" tabIndex={0} role="region" aria-label={t("streams.ended")}>
        <table className="plain-table">
          <thead>
            <tr>
              <th scope="col">{t("col.state")}</th>
              <th scope="col">{t("col.stream")}</th>
              <th scope="col">{t("col.engine")}</th>
              <th scope="col" className="cell-number">{t("col.players")}</th>
              <th scope="col" className="cell-number">{t("stream.received")}</th>
              <th scope="col" className="cell-number">{t("col.lasted")}</th>
              <th scope="col">{t("col.ended")}</th>
            </tr>
          </thead>
          <tbody>
            {shown.map(({ stream, at }) => (
              <tr key={`${stream.key} ${at}`}>
                <td>
                  <StreamMark state="ended" />
                </td>
                <td>
                  <Link to={streamPath(stream)} title={stream.id}>
                    <code className="id">{short(stream.id)}</code>
                  </Link>
                </td>
                <td>{stream.engine ?? UNKNOWN}</td>
                <td className="cell-number">{count(stream.players)}</td>
                <td className="cell-number">{bytes(stream.bytesIn)}</td>
                <td className="cell-number">{stream.startedAt === null ? UNKNOWN : duration(at + live.state.get().clockOffset - stream.startedAt)}</td>
                <td>
                  <Moment at={at} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
