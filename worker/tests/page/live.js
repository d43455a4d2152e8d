// The page loads, and follows what the worker does.

const number = (text) => Number(text.replaceAll(",", ""));

/** The page names its worker, and its counts and charts move by themselves. */
export async function follows({ open, ask, until, check }) {
  const page = await open();
  await until("the state is told", async () => (await page.textContent("#state")).startsWith("Running"));
  check(await page.textContent("#name") === "orders", "the name is the worker's");
  check((await page.textContent("#source")).includes("queue `orders`"), "the source is told");
  check(await page.title() === "orders · Forebay", "so is the title");
  const done = async () => number(await page.textContent("#totals [data-key=acked]"));
  await until("nothing is done", async () => await done() === 0);
  await ask("send", JSON.stringify(Array.from({ length: 20 }, (_, n) => `ok ${n}`)));
  await until("what is done is counted", async () => await done() === 20);
  // The chart of throughput leaves its floor, with no help from anyone.
  await until("the chart moves", async () => {
    const line = await page.getAttribute("#card-throughput .line.good", "d");
    return new Set(line.match(/ [\d.]+/g)).size > 1;
  });
  await until("handling times are told", async () =>
    /\d/.test(await page.textContent("#card-handling .now")));
  await until("wait times are told", async () => /\d/.test(await page.textContent("#card-wait .now")));
  await until("in flight and limit", async () => /^\d+ \/ 4$/.test((await page.textContent("#card-concurrency .now")).trim()));
  await until("the advice has its reason", async () =>
    (await page.textContent("#card-workers .note")).length > 3 && /\d/.test(await page.textContent("#card-workers .now")));
  await until("the backlog is told", async () => /\d/.test(await page.textContent("#card-backlog .now")));
}

/** A chart is read out by keys alone, at the same time in all of them. */
export async function is_read_by_keys({ open, until, check }) {
  const page = await open();
  await until("there are some samples", async () =>
    Number(await page.getAttribute("#card-backlog .chart", "aria-valuemax")) >= 5);
  const chart = page.locator("#card-backlog .chart");
  // From the top of the page, by Tab: the link that skips the charts is first.
  await page.keyboard.press("Tab");
  check(await page.evaluate(() => document.activeElement.className) === "skip", "the first stop is the skip link");
  for (let presses = 0; !await chart.evaluate((node) => node === document.activeElement); presses += 1) {
    check(presses < 20, "the chart is reached by Tab");
    await page.keyboard.press("Tab");
  }
  const outline = await chart.evaluate((node) => getComputedStyle(node).outlineStyle);
  check(outline === "solid", "the focus is seen");
  const now = async () => Number(await chart.getAttribute("aria-valuenow"));
  await page.keyboard.press("Home");
  check(await now() === 0, "Home goes to the oldest");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  check(await now() === 2, "arrows go by samples");
  check((await page.textContent("#cursor")).startsWith("At "), "the time is told");
  check(/^\d\d:\d\d:\d\d, leased \S+, ready \S+, delayed \S+$/.test(await chart.getAttribute("aria-valuetext")),
    `it is read out: ${await chart.getAttribute("aria-valuetext")}`);
  check(await page.locator(".top-marks .cursor").count() === 8, "all charts show the time");
  // Samples go on coming; the cursor stays with its own.
  const seen = (await chart.getAttribute("aria-valuetext")).slice(0, 8);
  const last = Number(await chart.getAttribute("aria-valuemax"));
  await until("more samples come", async () => Number(await chart.getAttribute("aria-valuemax")) > last + 1);
  check((await chart.getAttribute("aria-valuetext")).startsWith(seen), "the cursor stays");
  await page.keyboard.press("Escape");
  check(await page.locator(".top-marks .cursor").count() === 0, "Escape lets go");
  await chart.hover();
  await until("the pointer does the same", async () => await page.locator(".top-marks .cursor").count() === 8);
}

/** Nobody has told the tab the token: it asks, refuses a wrong one, and keeps the right one in the tab. */
export async function asks_for_the_token({ open, until, check }) {
  const page = await open({ expects: ["401"] });
  await page.waitForSelector("#token[open]");
  check((await page.textContent("#state")).startsWith("Locked"), "it says that it is locked");
  check(await page.evaluate(() => document.activeElement.id) === "token-value", "the field has the focus");
  await page.keyboard.type("wrong");
  await page.keyboard.press("Enter");
  await until("a wrong token is refused", async () => /missing or wrong/.test(await page.textContent("#token-error")));
  await page.keyboard.press("Escape");
  await until("Escape closes it", async () => await page.locator("#token[open]").count() === 0);
  await page.click("#ask-token");
  await page.fill("#token-value", "a-token-of-the-tests");
  await page.keyboard.press("Enter");
  await until("the right one is let in", async () => (await page.textContent("#state")).startsWith("Running"));
  const kept = await page.evaluate(() => [Object.keys(localStorage).length, Object.keys(sessionStorage), document.cookie]);
  check(JSON.stringify(kept) === '[0,["forebay-token"],""]', `it is kept in the tab alone: ${JSON.stringify(kept)}`);
  await page.reload();
  await until("a reload does not ask again", async () => (await page.textContent("#state")).startsWith("Running"));
  check(await page.locator("#token[open]").count() === 0, "no dialog");
}
