// Every check there is, with what helps. The same checks that the overview shows when they are not in order.
import { useLive, useNow, useServices } from "../components/context";
import { Fresh, Title } from "../components/parts";
import { LevelMark } from "../components/state";
import { t } from "../messages";
import { Link } from "../router";
import { checks } from "../stores/checks";

export function DoctorPage() {
  const { live } = useServices();
  const state = useLive((all) => all);
  const now = useNow(2000);
  return (
    <>
      <Title title={t("doctor.title")} />
      <p className="dim">{t("doctor.text")}</p>
      <Fresh reading={state.figures} as="section">
        <ul className="checks checks-all">
          {state.isSettled &&
            checks(state, live.history, now).map((check) => (
              <li key={check.id} className={`check check-${check.level}`}>
                <LevelMark level={check.level} />
                <div>
                  <p>{check.to ? <Link to={check.to}>{t(check.text, check.params)}</Link> : t(check.text, check.params)}</p>
                  {check.remedy && (
                    <p className="dim small">
                      {t("doctor.remedy")}: {t(check.remedy)}
                    </p>
                  )}
                </div>
              </li>
            ))}
        </ul>
      </Fresh>
    </>
  );
}
