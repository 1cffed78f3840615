// The state of the VPN as the API gives it.
import type { Vpn } from "../api/fleet";
import { duration } from "../format/units";
import { t } from "../messages";
import { useAnswer } from "./asking";
import { useServices } from "./context";
import { Fact, Moment } from "./parts";
import { Mark } from "./state";
import { faultText } from "./status";

const VPN_MS = 10_000;

export function VpnPanel() {
  const { api } = useServices();
  const { reading } = useAnswer((signal) => api.vpn(signal), [], VPN_MS);
  const { value, fault } = reading;
  return (
    <section className="panel" aria-label={t("vpn.title")}>
      <h2>{t("vpn.title")}</h2>
      {fault && <p className="bad">{faultText(fault)}</p>}
      {value === null ? (
        <p>–</p>
      ) : value.nodes.length === 0 ? (
        <p>{t(value.mode === "disabled" ? "vpn.disabled" : "vpn.unknown")}</p>
      ) : (
        <>
          {value.emergency && (
            <p className="bad" role="alert">
              {t("vpn.emergency", { failed: value.emergency.failed ?? "–", healthy: value.emergency.healthy ?? "–", span: duration((value.emergency.seconds ?? 0) * 1000) })}
            </p>
          )}
          {value.nodes.map((node) => (
            <Node key={node.name} node={node} />
          ))}
        </>
      )}
    </section>
  );
}

function Node({ node }: { node: Vpn }) {
  const isUp = node.isConnected === true;
  return (
    <dl className="facts facts-row">
      <Fact name={t("vpn.container")}>
        <bdi>{node.name}</bdi>
      </Fact>
      <Fact name={t("col.state")}>
        <Mark tone={isUp ? "good" : node.isConnected === null ? "quiet" : "bad"} icon={isUp ? "check" : "stalled"}>
          {[node.status, node.health].filter(Boolean).join(" · ") || "–"}
        </Mark>
      </Fact>
      <Fact name={t("vpn.address")}>{node.address ?? "–"}</Fact>
      <Fact name={t("vpn.port")}>{node.forwardedPort ?? "–"}</Fact>
      <Fact name={t("vpn.provider")}>{node.provider ?? "–"}</Fact>
      <Fact name={t("vpn.place")}>{[node.city, node.country].filter(Boolean).join(", ") || "–"}</Fact>
      <Fact name={t("engines.col.checked")}>
        <Moment at={node.checkedAt} />
      </Fact>
    </dl>
  );
}
