// Playing into a video element: MPEG-TS by mpegts.js, HLS by the browser where it can and by hls.js where it cannot.
import type { Delivery } from "../api/api";
import { faultOf } from "../api/network";

export interface Trouble {
  kind: "unsupported" | "failed";
  message: string;
}

type Report = (trouble: Trouble) => void;
type Detach = () => void;

/** Starts to play; what it returns ends it and frees everything. */
export function attach(video: HTMLVideoElement, url: string, delivery: Delivery, report: Report): Detach {
  const stopped = new AbortController();
  let detach: Detach = () => undefined;
  const begin = delivery === "hls" ? playHls : playTs;
  void begin(video, url, report).then(
    (end) => {
      if (stopped.signal.aborted) end();
      else detach = end;
    },
    (error: unknown) => {
      if (!stopped.signal.aborted) report({ kind: "failed", message: String(error) });
    },
  );
  return () => {
    stopped.abort();
    detach();
    video.removeAttribute("src");
    video.load();
  };
}

/** Browsers start with sound only after a click; without one it starts silent. */
async function start(video: HTMLVideoElement): Promise<void> {
  try {
    await video.play();
  } catch {
    video.muted = true;
    await video.play().catch(() => undefined);
  }
}

async function playTs(video: HTMLVideoElement, url: string, report: Report): Promise<Detach> {
  const { default: mpegts } = await import("mpegts.js");
  if (!mpegts.getFeatureList().mseLivePlayback) {
    report({ kind: "unsupported", message: "" });
    return () => undefined;
  }
  mpegts.LoggingControl.enableAll = false;
  const player = mpegts.createPlayer(
    { type: "mpegts", isLive: true, url, cors: false },
    { enableWorker: false, lazyLoad: false, autoCleanupSourceBuffer: true, liveSync: false },
  );
  player.on(mpegts.Events.ERROR, (kind: string, detail: string, info: { code?: number; msg?: string } | undefined) => {
    const code = info?.code ?? 0;
    const message = code >= 400 ? faultOf(code, info?.msg ?? "").message : info?.msg || `${kind}: ${detail}`;
    report({ kind: "failed", message });
  });
  player.attachMediaElement(video);
  player.load();
  void start(video);
  return () => player.destroy();
}

async function playHls(video: HTMLVideoElement, url: string, report: Report): Promise<Detach> {
  if (video.canPlayType("application/vnd.apple.mpegurl") !== "" && !("MediaSource" in window)) {
    video.src = url;
    video.onerror = () => report({ kind: "failed", message: video.error?.message ?? "" });
    void start(video);
    return () => {
      video.onerror = null;
    };
  }
  const { default: Hls } = await import("hls.js/light");
  if (!Hls.isSupported()) {
    report({ kind: "unsupported", message: "" });
    return () => undefined;
  }
  const player = new Hls({ enableWorker: false, manifestLoadPolicy: { default: { maxTimeToFirstByteMs: 60_000, maxLoadTimeMs: 70_000, timeoutRetry: null, errorRetry: null } } });
  player.on(Hls.Events.ERROR, (_event, data) => {
    if (!data.fatal) return;
    const text = data.response ? `HTTP ${data.response.code} ${data.response.text ?? ""}` : data.error.message;
    report({ kind: "failed", message: text });
  });
  player.on(Hls.Events.MEDIA_ATTACHED, () => void start(video));
  player.loadSource(url);
  player.attachMedia(video);
  return () => player.destroy();
}
