// The frame around every page: where one can go, how fresh it all is, what was told.
import { useEffect, useState, type ReactNode } from "react";
import { LANGUAGES, t, type Message } from "../messages";
import { Link, usePlace } from "../router";
import { clear, hide, notices, takeBack } from "../stores/notices";
import { prefs, type Theme } from "../stores/prefs";
import { useStore } from "../stores/store";
import { useServices } from "./context";
import { Icon, type IconName } from "./icon";
import { Button, Moment } from "./parts";
import { SignIn, SignInButton, SignOutButton } from "./sign-in";
import { Banner, LiveStatus, usePopover } from "./status";
import { WorkStrip } from "./work";

export const PAGES = ["overview", "streams", "watch", "engines", "log", "metrics", "settings", "doctor"] as const;
export type Page = (typeof PAGES)[number];
/** What stays in the bar of a phone; the rest is behind "More". */
const PHONE_PAGES = 4;

export const pathOf = (page: Page): string => (page === "overview" ? "./" : page);

export function Shell({ children }: { children: ReactNode }) {
  const { segments } = usePlace();
  const first = segments[0] ?? "overview";
  const current = first === "engine" || first === "variant" ? "engines" : first;
  return (
    <div className="shell">
      <a className="skip" href="#main">
        {t("app.skip")}
      </a>
      <header className="bar">
        <Link to="./" className="brand" aria-label={t("app.name")}>
          <Logo />
          <span className="brand-name">{t("app.name")}</span>
        </Link>
        <nav className="nav" aria-label={t("nav.label")}>
          {PAGES.map((page, at) => (
            <PageLink key={page} page={page} isCurrent={page === current} isLate={at >= PHONE_PAGES} />
          ))}
          <More current={current} />
        </nav>
        <div className="bar-end">
          <SignInButton />
          <LiveStatus />
          <Notices />
          <View />
        </div>
      </header>
      <main id="main" className="main" tabIndex={-1}>
        <Banner />
        <WorkStrip />
        {children}
      </main>
      <Toasts />
      <SignIn />
    </div>
  );
}

function Logo() {
  return (
    <svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true" className="logo">
      <path className="logo-water" d="M3 9h11M3 16h11M3 23h11" />
      <path className="logo-gate" d="M16.5 4v24" />
      <path className="logo-out" d="M20 7h9M20 11.5h9M20 16h9M20 20.5h9M20 25h9" />
    </svg>
  );
}

function PageLink({ page, isCurrent, isLate }: { page: Page; isCurrent: boolean; isLate: boolean }) {
  return (
    <Link to={pathOf(page)} className={`nav-link ${isLate ? "nav-late" : ""}`} aria-current={isCurrent ? "page" : undefined}>
      <Icon name={page as IconName} />
      <span>{t(`nav.${page}`)}</span>
    </Link>
  );
}

function More({ current }: { current: string }) {
  const { isOpen, setOpen, box } = usePopover();
  const late = PAGES.slice(PHONE_PAGES);
  return (
    <div className="popover-anchor nav-more" ref={box}>
      <button type="button" className={`nav-link ${late.some((page) => page === current) ? "nav-here" : ""}`} aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <Icon name="more" />
        <span>{t("nav.more")}</span>
      </button>
      {isOpen && (
        <div className="popover popover-up">
          {late.map((page) => (
            <Link key={page} to={pathOf(page)} className="menu-item" aria-current={page === current ? "page" : undefined} onClick={() => setOpen(false)}>
              <Icon name={page as IconName} />
              <span>{t(`nav.${page}`)}</span>
            </Link>
          ))}
        </div>
      )}
    </div>
  );
}

function View() {
  const { api } = useServices();
  const { isOpen, setOpen, box } = usePopover();
  const chosen = useStore(prefs);
  const [version, setVersion] = useState<string | null>(null);
  useEffect(() => {
    if (!isOpen) return;
    const stop = new AbortController();
    void api.version(stop.signal).then((outcome) => {
      if (outcome.status === "success") setVersion(outcome.value.version);
    });
    return () => stop.abort();
  }, [api, isOpen]);
  const themes: Theme[] = ["system", "light", "dark"];
  return (
    <div className="popover-anchor" ref={box}>
      <button type="button" className="icon-button" aria-label={t("menu.title")} aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <Icon name="view" />
      </button>
      {isOpen && (
        <div className="popover" role="dialog" aria-label={t("menu.title")}>
          <label className="field-row">
            <span>{t("menu.theme")}</span>
            <select value={chosen.theme} onChange={(event) => prefs.update((all) => ({ ...all, theme: event.target.value as Theme }))}>
              {themes.map((theme) => (
                <option key={theme} value={theme}>
                  {t(`menu.theme.${theme}` as Message)}
                </option>
              ))}
            </select>
          </label>
          <label className="field-row">
            <span>{t("menu.language")}</span>
            <select value={chosen.language ?? ""} onChange={(event) => prefs.update((all) => ({ ...all, language: event.target.value || null }))}>
              <option value="">{t("menu.language.system")}</option>
              {Object.entries(LANGUAGES).map(([code, name]) => (
                <option key={code} value={code} lang={code}>
                  {name}
                </option>
              ))}
            </select>
          </label>
          <SignOutButton />
          <p className="dim small">{version === null ? "" : t("menu.version", { version })}</p>
        </div>
      )}
    </div>
  );
}

function Notices() {
  const all = useStore(notices);
  const { isOpen, setOpen, box } = usePopover();
  const failed = all.filter((notice) => notice.kind === "failed").length;
  return (
    <div className="popover-anchor" ref={box}>
      <button type="button" className="icon-button" aria-label={`${t("notices.title")}: ${t("notices.open", { n: all.length })}`} aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <Icon name="bell" />
        {failed > 0 && <span className="badge">{failed > 9 ? "9+" : failed}</span>}
      </button>
      {isOpen && (
        <div className="popover popover-wide" role="dialog" aria-label={t("notices.title")}>
          {all.length === 0 ? (
            <p className="dim">{t("notices.none")}</p>
          ) : (
            <>
              <ul className="notice-list">
                {all.map((notice) => (
                  <li key={notice.id} className={`notice-${notice.kind}`}>
                    <Icon name={notice.kind === "failed" ? "stalled" : "check"} />
                    <div>
                      <p>
                        {notice.text}
                        {notice.count > 1 && <span className="count"> × {notice.count}</span>}
                      </p>
                      {notice.detail && <p className="dim small">{notice.detail}</p>}
                      <p className="dim small">
                        <Moment at={notice.at} />
                      </p>
                      {notice.undo && <Button onClick={() => takeBack(notice.id)}>{t("settings.undo")}</Button>}
                    </div>
                  </li>
                ))}
              </ul>
              <Button onClick={clear}>{t("notices.clear")}</Button>
            </>
          )}
        </div>
      )}
    </div>
  );
}

function Toasts() {
  const shown = useStore(notices).filter((notice) => notice.isShown);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.slice(0, 4).map((notice) => (
        <div key={notice.id} className={`toast toast-${notice.kind}`}>
          <Icon name={notice.kind === "failed" ? "stalled" : "check"} />
          <div>
            <p>
              {notice.text}
              {notice.count > 1 && <span className="count"> × {notice.count}</span>}
            </p>
            {notice.detail && <p className="small">{notice.detail}</p>}
          </div>
          {notice.undo && <Button onClick={() => takeBack(notice.id)}>{t("settings.undo")}</Button>}
          <button type="button" className="icon-button" aria-label={t("notices.dismiss")} onClick={() => hide(notice.id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}
