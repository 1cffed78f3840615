// Plays an HLS address with hls.js in headless Chromium, and says how it went.
//
//   node tests/browser/play.js <playlist address> <seconds to play>
//
// One line of JSON a second on standard output: how far the video has come, pictures seen to change, faults. The last
// one has "done": true. The page is of no origin, so everything it loads needs CORS. Ends with 0 whatever it saw; with 1
// only when there is nothing to say: no browser, or no picture in time.

import { createRequire } from "node:module";
import process from "node:process";
import { chromium } from "playwright-core";

const [address, seconds] = [process.argv[2], Number(process.argv[3])];
const START_TIMEOUT_MS = 60_000;
// A browser that plays a minute of live video needs a minute, and what starting and a slow machine add.
const deadline = Date.now() + START_TIMEOUT_MS + seconds * 2_000;

const say = (report) => process.stdout.write(`${JSON.stringify(report)}\n`);

/// In the page: plays, and samples the picture four times a second.
function play(source) {
    const video = document.querySelector("video");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [64, 36];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const state = { fatal: [], errors: {}, samples: 0, changes: 0, still: 0, stillMax: 0, last: null };
    window.state = state;
    const hls = new window.Hls({ debug: false });
    hls.on(window.Hls.Events.ERROR, (_, { fatal, details, reason }) => {
        state.errors[details] = (state.errors[details] ?? 0) + 1;
        if (fatal) state.fatal.push(`${details}: ${reason ?? ""}`);
    });
    hls.on(window.Hls.Events.MANIFEST_PARSED, () => video.play());
    hls.loadSource(source);
    hls.attachMedia(video);
    setInterval(() => {
        if (video.currentTime === 0 || video.videoWidth === 0) return;
        context.drawImage(video, 0, 0, canvas.width, canvas.height);
        const picture = context.getImageData(0, 0, canvas.width, canvas.height).data.join();
        const moved = state.last !== null && state.last !== picture;
        state.samples += 1;
        state.changes += moved ? 1 : 0;
        state.still = moved ? 0 : state.still + 1;
        state.stillMax = Math.max(state.stillMax, state.still);
        state.last = picture;
    }, 250);
}

/// In the page: what is known so far.
function look() {
    const video = document.querySelector("video");
    const { fatal, errors, samples, changes, stillMax } = window.state;
    const played = [...Array(video.played.length).keys()]
        .reduce((sum, n) => sum + video.played.end(n) - video.played.start(n), 0);
    const { totalVideoFrames, droppedVideoFrames } = video.getVideoPlaybackQuality();
    return {
        played, fatal, errors, samples, changes, still_s: stillMax / 4,
        width: video.videoWidth, frames: totalVideoFrames, dropped: droppedVideoFrames,
    };
}

const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
try {
    const page = await browser.newPage();
    await page.setContent("<video muted playsinline width=320></video>");
    await page.addScriptTag({ path: createRequire(import.meta.url).resolve("hls.js/dist/hls.min.js") });
    await page.evaluate(play, address);
    const begun = Date.now();
    for (;;) {
        await new Promise((wake) => setTimeout(wake, 1_000));
        const report = await page.evaluate(look);
        const over = report.played >= seconds || report.fatal.length > 0 || Date.now() > deadline;
        say({ ...report, done: over });
        if (over) break;
        if (report.samples === 0 && Date.now() - begun > START_TIMEOUT_MS) {
            throw new Error(`no picture in time: ${JSON.stringify(report)}`);
        }
    }
} finally {
    await browser.close();
}
