// Signs of the panel, drawn on a grid of 16. They accompany words and are never read aloud.
const PATHS = {
  overview: "M2 9.5h3l2-5 3 8 1.5-3H14",
  streams: "M2 4.5h12M2 8h12M2 11.5h12",
  watch: "M5 3.5v9l7.5-4.5z",
  engines: "M3 3h10v4H3zM3 9h10v4H3zM5.5 5h.01M5.5 11h.01",
  metrics: "M2.5 13.5v-11M2.5 13.5h11M5 10.5l3-3.5 2 2 3.5-4.5",
  doctor: "M8 3v10M3 8h10",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  search: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9M10.3 10.3 14 14",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  log: "M3 3h10v10H3zM5.5 6h5M5.5 8.5h5M5.5 11h3",
  settings: "M2 5h6M11 5h3M2 11h2M7 11h7M9.5 3.2v3.6M5.5 9.2v3.6",
  add: "M8 3.5v9M3.5 8h9",
  check: "M3 8.5l3.2 3.2L13 4.8",
  close: "M4 4l8 8M12 4l-8 8",
  move: "M2.5 5h9M9 2.5 11.5 5 9 7.5M13.5 11h-9M7 8.5 4.5 11 7 13.5",
  stop: "M4.5 4.5h7v7h-7z",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  bell: "M4 11V7a4 4 0 0 1 8 0v4l1 1H3zM6.8 14h2.4",
  view: "M2 5h7M12 5h2M2 11h2M7 11h7M10.5 3.5v3M5.5 9.5v3",
  up: "M8 13V3.5M4 7.5l4-4 4 4",
  down: "M8 3v9.5M4 8.5l4 4 4-4",
  right: "M6 3.5 10.5 8 6 12.5",
  stalled: "M8 2.5 14.5 13.5h-13zM8 6.5v3.5M8 12h.01",
  starting: "M8 2.5a5.5 5.5 0 1 0 5.5 5.5",
  recovering: "M13 5.5A5.5 5.5 0 0 0 3 6M3 2.8V6h3.2M3 10.5A5.5 5.5 0 0 0 13 10M13 13.2V10H9.8",
  grace: "M8 2.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11M8 5v3.2l2 1.3",
  unknown: "M5.8 6a2.2 2.2 0 1 1 3.2 2c-.7.4-1 .8-1 1.6M8 12.3h.01",
  info: "M8 7.5V12M8 4.5h.01",
  key: "M10.5 2.5a3 3 0 1 1 0 6 3 3 0 0 1 0-6M8.3 7.7 2.5 13.5M4.5 11.5l1.8 1.8",
  save: "M8 2.5v7.5M4.8 7 8 10.2 11.2 7M3 13h10",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
