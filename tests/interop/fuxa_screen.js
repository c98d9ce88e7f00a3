// What FUXA's page shows, in a headless Chromium. Takes {url, chromium, steps: [[{id, text} | {id, visible}]]}: says
// "step N" when it looks for the N-th, and goes on as soon as every element of it is as wanted. Gives what
// each showed, up to the first that did not come.
const puppeteer = require("puppeteer-core");
const { main } = require("./program.js");
const WAIT_MS = 60000;

// In the page: each wanted element's text, null where it is hidden.
const look = (ids) => ids.map((id) => {
  const element = document.getElementById(id);
  if (!element || element.getClientRects().length === 0) return null;
  return element.textContent;
});

const fits = (wanted, shown) => wanted.every((w, i) => "text" in w
  ? shown[i] === w.text : w.visible === (shown[i] !== null));

main(async (given) => {
  const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
  const browser = await puppeteer.launch({ executablePath: given.chromium, headless: true, args });
  try {
    const page = await browser.newPage();
    await page.setViewport({ width: 1120, height: 640 });
    await page.goto(given.url, { waitUntil: "domcontentloaded" });
    const seen = [];
    for (const [i, wanted] of given.steps.entries()) {
      console.error(`step ${i}`);
      const until = Date.now() + WAIT_MS;
      let shown = [];
      do {
        await new Promise((done) => setTimeout(done, 100));
        shown = await page.evaluate(look, wanted.map((w) => w.id));
      } while (!fits(wanted, shown) && Date.now() < until);
      seen.push(shown);
      if (!fits(wanted, shown)) break;
    }
    return seen;
  } finally {
    await browser.close();
  }
});
