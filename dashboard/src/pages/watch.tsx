// Any stream in the page, and its addresses for players elsewhere. The players are loaded here and nowhere else.
import { useEffect, useMemo, useRef, useState } from "react";
import type { Delivery } from "../api/api";
import { saveFile } from "../components/asking";
import { useLive, useServices } from "../components/context";
import { Icon } from "../components/icon";
import { Button, CopyButton, Empty, Title } from "../components/parts";
import { StreamMark } from "../components/state";
import { StreamName } from "../components/stream-name";
import { short } from "../format/text";
import { bitrate, count } from "../format/units";
import { t } from "../messages";
import { Link, navigate, useHref, useParam } from "../router";
import { attach, type Trouble } from "./watch-player";

/** The id in whatever somebody pastes: an id, an acestream:// link, a play URL. */
export function idOf(text: string): string | null {
  const trimmed = text.trim().toLowerCase();
  return /^[0-9a-f]{40}$/.test(trimmed) ? trimmed : (/(?:acestream:\/\/|[?&](?:id|infohash)=|btih:)([0-9a-f]{40})(?![0-9a-f])/.exec(trimmed)?.[1] ?? null);
}

export default function WatchPage({ id }: { id: string | null }) {
  const asked = id === null ? null : idOf(id);
  return (
    <>
      <Title title={t("watch.title")} />
      <Ask key={id} id={id} />
      {asked === null ? <Choices /> : <Screen key={asked} id={asked} />}
    </>
  );
}

function Ask({ id }: { id: string | null }) {
  const [text, setText] = useState(id ?? "");
  const href = useHref();
  const found = idOf(text);
  const isWrong = text.trim() !== "" && found === null;
  return (
    <form
      className="toolbar"
      onSubmit={(event) => {
        event.preventDefault();
        if (found !== null) navigate(href(`watch/${found}`));
      }}
    >
      <label className="search search-wide">
        <Icon name="watch" />
        <input value={text} placeholder={t("watch.ask")} aria-label={t("watch.ask")} aria-invalid={isWrong} aria-describedby="watch-fault" spellCheck={false} autoComplete="off" onChange={(event) => setText(event.target.value)} />
      </label>
      <Button type="submit" tone="main" disabled={found === null}>
        {t("watch.play")}
      </Button>
      <p id="watch-fault" className="bad small" role="status">
        {isWrong ? t("watch.malformed", { n: text.trim().length }) : ""}
      </p>
    </form>
  );
}

function Choices() {
  const streams = useLive((state) => state.streams.value);
  const top = useMemo(() => [...(streams ?? [])].filter((stream) => stream.state !== "stopping").sort((one, other) => (other.players ?? 0) - (one.players ?? 0)).slice(0, 24), [streams]);
  if (top.length === 0) return <Empty title={t("watch.idle")} />;
  return (
    <section>
      <h2>{t("watch.playing")}</h2>
      <ul className="choices">
        {top.map((stream) => (
          <li key={stream.key}>
            <Link to={`watch/${stream.id}`} className="choice">
              <StreamMark state={stream.state} />
              <StreamName stream={stream} />
              <span className="dim">
                {bitrate(stream.bitrate)} · {count(stream.players)} {t("overview.players").toLowerCase()}
              </span>
            </Link>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Screen({ id }: { id: string }) {
  const { api } = useServices();
  const [form, setForm] = useParam("as");
  const delivery: Delivery = form === "hls" ? "hls" : "ts";
  const video = useRef<HTMLVideoElement>(null);
  const [trouble, setTrouble] = useState<Trouble | null>(null);
  const [isOpening, setOpening] = useState(true);
  const [isMuted, setMuted] = useState(false);
  const [attempt, setAttempt] = useState(0);
  const href = useHref();
  const url = api.playUrl(id, delivery);
  useEffect(() => {
    const element = video.current;
    if (!element) return;
    setTrouble(null);
    setOpening(true);
    const onPlaying = () => {
      setOpening(false);
      setMuted(element.muted);
    };
    element.addEventListener("playing", onPlaying);
    const detach = attach(element, url, delivery, (found) => {
      setTrouble(found);
      setOpening(false);
    });
    return () => {
      element.removeEventListener("playing", onPlaying);
      detach();
    };
  }, [url, delivery, attempt]);
  const stream = useLive((state) => state.streams.value)?.find((found) => found.id === id || found.infohash === id);
  return (
    <div className="watch">
      <div className="watch-screen">
        <video ref={video} controls playsInline aria-label={short(id)} />
        {isOpening && !trouble && (
          <p className="watch-note" role="status">
            {t("watch.opening")}
          </p>
        )}
        {trouble && (
          <div className="watch-note watch-trouble" role="alert">
            <p>
              <strong>{t("watch.failed")}</strong>
            </p>
            <p>{trouble.kind === "unsupported" ? t("watch.unsupported") : trouble.message}</p>
            <Button icon="recovering" onClick={() => setAttempt((before) => before + 1)}>
              {t("banner.retry")}
            </Button>
          </div>
        )}
      </div>
      <div className="watch-side">
        {isMuted && <p className="dim small">{t("watch.silent")}</p>}
        <div className="row">
          <div className="chips" role="group" aria-label={t("watch.form")}>
            {(["ts", "hls"] as const).map((kind) => (
              <button key={kind} type="button" className="chip" aria-pressed={delivery === kind} onClick={() => setForm(kind === "ts" ? "" : kind)}>
                {t(`watch.${kind}`)}
              </button>
            ))}
          </div>
          <Button icon="close" onClick={() => navigate(href("watch"))}>
            {t("watch.stop")}
          </Button>
        </div>
        {stream && (
          <p className="stream-line">
            <StreamMark state={stream.state} />
            <Link to={`streams/${encodeURIComponent(stream.key)}`}>
              {t("players.shown", { n: stream.players ?? 0 })} · {bitrate(stream.bitrate)}
            </Link>
          </p>
        )}
        <h2>{t("watch.links")}</h2>
        <Links id={id} />
      </div>
    </div>
  );
}

function Links({ id }: { id: string }) {
  const { api } = useServices();
  const [ts, hls] = [api.playUrl(id, "ts"), api.playUrl(id, "hls")];
  const rows = [
    { name: t("watch.link.ts"), value: ts },
    { name: t("watch.link.hls"), value: hls },
    { name: t("watch.link.mpv"), value: `mpv '${ts}'` },
    { name: t("watch.link.vlc"), value: `vlc '${ts}'` },
  ];
  const save = () => saveFile(new Blob([`#EXTM3U\n#EXTINF:-1,${id}\n${ts}\n`], { type: "audio/x-mpegurl" }), `${id}.m3u`);
  return (
    <>
      <ul className="links">
        {rows.map(({ name, value }) => (
          <li key={name}>
            <span className="dim small">{name}</span>
            <span className="link-row">
              <code>{value}</code>
              <CopyButton value={value} label={name} compact />
            </span>
          </li>
        ))}
      </ul>
      <Button icon="save" onClick={save}>
        {t("watch.m3u")}
      </Button>
    </>
  );
}
