// The panel: services, frame, and the page the address names. Pages that need players or charts are loaded when opened.
import { Suspense, lazy, useEffect, type ReactNode } from "react";
import type { Api } from "./api/api";
import { Boundary } from "./components/boundary";
import { ServicesProvider, type Services } from "./components/context";
import { Empty, Title } from "./components/parts";
import { Shell } from "./components/shell";
import { language, t } from "./messages";
import { DoctorPage } from "./pages/doctor";
import { EnginesPage } from "./pages/engines";
import { OverviewPage } from "./pages/overview";
import { StreamPage } from "./pages/stream";
import { StreamsPage } from "./pages/streams";
import { RootProvider, usePlace } from "./router";
import { Live } from "./stores/live";
import { applyTheme, prefs } from "./stores/prefs";
import { Session } from "./stores/session";
import { useStore } from "./stores/store";
import { Titles } from "./stores/titles";
import { Work } from "./stores/work";

const EnginePage = lazy(() => import("./pages/engine"));
const LogPage = lazy(() => import("./pages/log"));
const MetricsPage = lazy(() => import("./pages/metrics"));
const SettingsPage = lazy(() => import("./pages/settings"));
const VariantPage = lazy(() => import("./pages/variant"));
const WatchPage = lazy(() => import("./pages/watch"));

export function services(api: Api): Services {
  const live = new Live(api, prefs.get().intervalS * 1000);
  const isResting = () => document.visibilityState === "hidden" || live.state.get().isPaused;
  return { api, live, session: new Session(api), work: new Work(api, live.changes), titles: new Titles(api, isResting) };
}

export function App({ root, services }: { root: URL; services: Services }) {
  const { intervalS, language: chosen } = useStore(prefs);
  useEffect(applyTheme, []);
  useEffect(() => {
    services.live.start();
    const rest = services.work.start();
    return () => {
      services.live.stop();
      rest();
    };
  }, [services]);
  useEffect(() => services.live.setInterval(intervalS * 1000), [services, intervalS]);
  useEffect(() => {
    document.documentElement.lang = language();
  }, [chosen]);
  return (
    <RootProvider value={root}>
      <ServicesProvider value={services}>
        {/* Texts are read while drawing, so another language draws everything anew. */}
        <Shell key={chosen}>
          <CurrentPage />
        </Shell>
      </ServicesProvider>
    </RootProvider>
  );
}

function CurrentPage() {
  const { segments } = usePlace();
  const [page = "overview", id] = segments;
  return (
    <Boundary key={segments.join("/")}>
      <Suspense fallback={<div className="loading" />}>{pageOf(page, id)}</Suspense>
    </Boundary>
  );
}

function pageOf(page: string, id: string | undefined): ReactNode {
  switch (page) {
    case "overview":
      return <OverviewPage />;
    case "streams":
      return id === undefined ? <StreamsPage /> : <StreamPage id={id} />;
    case "watch":
      return <WatchPage id={id ?? null} />;
    case "engines":
      return <EnginesPage />;
    case "engine":
      return <EnginePage id={id ?? ""} />;
    case "variant":
      return <VariantPage />;
    case "log":
      return <LogPage />;
    case "settings":
      return <SettingsPage />;
    case "metrics":
      return <MetricsPage />;
    case "doctor":
      return <DoctorPage />;
    default:
      return (
        <>
          <Title title={t("page.missing")} />
          <Empty title={t("page.missing.text")} />
        </>
      );
  }
}
