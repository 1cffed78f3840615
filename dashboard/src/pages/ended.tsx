// Streams that ended within the last hour, and why.
import { useMemo } from "react";
import type { EndedStream } from "../api/log";
import { Empty, Moment } from "../components/parts";
import { reasonText } from "../components/reason";
import { StreamMark } from "../components/state";
import { faultText } from "../components/status";
import { plain, short } from "../format/text";
import { bytes, duration, UNKNOWN } from "../format/units";
import { t } from "../messages";
import { Link } from "../router";
import type { Reading } from "../stores/live";

const ROWS_MAX = 500;

export function EndedStreams({ reading, search }: { reading: Reading<EndedStream[]>; search: string }) {
  const { value, fault } = reading;
  const shown = useMemo(() => {
    const wanted = search.toLowerCase();
    return (value ?? []).filter(({ key, engine, reason }) => `${key} ${engine} ${reason} ${reasonText(reason)}`.toLowerCase().includes(wanted)).slice(0, ROWS_MAX);
  }, [value, search]);
  return (
    <section>
      {fault && (
        <p className="note bad" role="alert">
          {t("streams.ended.unread")}: {faultText(fault)}
        </p>
      )}
      {value === null ? null : shown.length === 0 ? (
        <Empty title={t("streams.ended.none")}>{t("streams.ended.note")}</Empty>
      ) : (
        <>
          <p className="dim small">{t("streams.ended.note")}</p>
          <div className="scroll-x" tabIndex={0} role="region" aria-label={t("streams.ended")}>
            <table className="plain-table">
              <thead>
                <tr>
                  <th scope="col">{t("col.state")}</th>
                  <th scope="col">{t("col.stream")}</th>
                  <th scope="col">{t("players.reason")}</th>
                  <th scope="col">{t("col.started")}</th>
                  <th scope="col">{t("col.ended")}</th>
                  <th scope="col" className="cell-number">{t("col.lasted")}</th>
                  <th scope="col">{t("col.engine")}</th>
                  <th scope="col" className="cell-number">{t("stream.downloaded")}</th>
                  <th scope="col" className="cell-number">{t("stream.uploaded")}</th>
                </tr>
              </thead>
              <tbody>
                {shown.map((stream) => (
                  <tr key={`${stream.id} ${stream.endedAt}`}>
                    <td>
                      <StreamMark state="ended" />
                    </td>
                    <td>
                      <Link to={`streams/${encodeURIComponent(stream.key)}`} title={plain(stream.key)}>
                        <code className="id">{short(stream.key)}</code>
                      </Link>
                    </td>
                    <td title={stream.reason ?? ""}>{reasonText(stream.reason)}</td>
                    <td>
                      <Moment at={stream.startedAt} />
                    </td>
                    <td>
                      <Moment at={stream.endedAt} />
                    </td>
                    <td className="cell-number">{stream.startedAt !== null && stream.endedAt !== null ? duration(stream.endedAt - stream.startedAt) : UNKNOWN}</td>
                    <td>{stream.engine ? <Link to={`engine/${encodeURIComponent(stream.engine)}`}>{stream.engine.slice(0, 24)}</Link> : UNKNOWN}</td>
                    <td className="cell-number">{bytes(stream.downloaded)}</td>
                    <td className="cell-number">{bytes(stream.uploaded)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
    </section>
  );
}
