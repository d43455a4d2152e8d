// Runs one case in a real headless Chromium, against a worker that the Rust side starts, kills and feeds:
//
//   node browser.js CASE URL
//
// It asks for things by lines on standard output (`ask kill`), which are answered by a line on standard
// input, once done. Everything that the browser says or does that it should not fails the case.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import process from "node:process";
import * as dead from "./dead.js";
import * as live from "./live.js";
import * as looks from "./looks.js";
import * as states from "./states.js";

const { chromium } = createRequire(`${process.env.FOREBAY_PAGE_MODULES}/`)("playwright-core");
const CASES = { ...dead, ...live, ...looks, ...states };
/** Longer than anything here should take, on a machine with much else to do. */
const PATIENCE = 90_000;

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the Rust side do something, and waits until it is done. */
async function ask(what, argument = "") {
  process.stdout.write(`ask ${what} ${argument}`.trimEnd() + "\n");
  const { value } = await answers.next();
  if (value === undefined) throw new Error(`nobody does what was asked: ${what}`);
  return value;
}

/** Looks until it is so. */
async function until(what, isSo) {
  const end = Date.now() + PATIENCE;
  for (let last; ; ) {
    try {
      last = await isSo();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`not within ${PATIENCE} ms: ${what} (last: ${last})`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function check(isSo, what) {
  if (!isSo) throw new Error(what);
}

const [name, url] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.FOREBAY_CHROMIUM ?? "/usr/bin/chromium",
  args: process.getuid() === 0 ? ["--no-sandbox"] : [],
  timeout: PATIENCE,
});
const faults = [];

/** A page that is watched. `expects`: console errors that the case itself brings about. */
async function open({ expects = [], ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.on("console", (message) => {
    const text = message.text();
    if (["error", "warning"].includes(message.type()) && !expects.some((part) => text.includes(part))) {
      faults.push(`the console says: ${text}`);
    }
  });
  page.on("pageerror", (error) => faults.push(`uncaught: ${error}`));
  context.on("request", (request) => {
    if (!request.url().startsWith(url)) faults.push(`a request leaves the host: ${request.url()}`);
  });
  await page.goto(url);
  return page;
}

try {
  await CASES[name]({ open, ask, until, check, url });
  check(faults.length === 0, faults.join("\n"));
  process.stdout.write("passed\n");
} catch (error) {
  process.stderr.write(`${name}: ${error.stack}\n${faults.join("\n")}\n`);
  process.exitCode = 1;
} finally {
  await browser.close();
  process.stdin.destroy();
}
