// What is the matter is told at once, and that it is over, too.

import process from "node:process";

const state = (page) => page.textContent("#state");
const LOST = ["ERR_CONNECTION", "Failed to load resource"];

/** The server dies: the page says so, and since when; it comes back, and the page with it. */
export async function loses_contact_and_finds_it_again({ open, ask, until, check }) {
  const page = await open({ expects: LOST });
  await until("it runs", async () => (await state(page)).startsWith("Running"));
  await ask("kill");
  await until("the loss is told", async () => (await state(page)).startsWith("No contact"));
  const text = await state(page);
  check(/the server cannot be reached · since \d\d:\d\d:\d\d/.test(text), `why, and since when: ${text}`);
  const tone = await page.getAttribute("#banner", "data-tone");
  check(tone === "bad", "it is seen");
  const before = Number(await page.getAttribute("#card-backlog .chart", "aria-valuemax"));
  await ask("start");
  await until("it is back", async () => (await state(page)).startsWith("Running"));
  await until("with the story of the new process", async () =>
    Number(await page.getAttribute("#card-backlog .chart", "aria-valuemax")) !== before);
  await ask("send", JSON.stringify(["ok 1"]));
  await until("and it follows", async () => await page.textContent("#totals [data-key=acked]") === "1");
}

/** A redrive whose answer never comes says what is known of it. */
export async function tells_of_a_redrive_that_failed({ open, ask, until, check }) {
  const page = await open({ expects: LOST });
  await ask("send", JSON.stringify(["die 1", "die 2"]));
  await until("two letters", async () => await page.locator("#letters tr").count() === 2);
  await page.click("#redrive-all");
  await until("asked", async () => (await page.textContent("#ask-text")).startsWith("Move 2 "));
  await ask("kill");
  await page.click("#ask .primary");
  await until("it says that it failed", async () =>
    (await page.textContent("#ask .wrong")).includes("the server cannot be reached"));
  check((await page.textContent("#ask .progress")).startsWith("Redrove 0 dead letters of 2 dead letters"), "and how far it got");
  check(await page.locator("#ask[open]").count() === 1, "it stays to be read");
  await page.keyboard.press("Escape");
  await until("until it is closed", async () => await page.locator("#ask[open]").count() === 0);
}

/** What is behind fails: the breaker opens, and the page says so. */
export async function tells_of_an_open_breaker({ open, ask, until }) {
  const page = await open();
  await ask("send", JSON.stringify(Array.from({ length: 60 }, (_, n) => `fail ${n}`)));
  await until("the breaker is told", async () => (await state(page)).startsWith("Breaker open"));
  await until("and since when", async () => /since \d\d:\d\d:\d\d/.test(await state(page)));
  await until("in its card too", async () =>
    (await page.textContent("#card-concurrency .note")).startsWith("breaker "));
  await until("and in the past of the charts", async () =>
    await page.locator("#card-throughput .bands .breaker-open").count() > 0);
}

/** Nearly nothing succeeds: the fuse blows, and the page says that messages are kept. */
export async function tells_of_a_blown_fuse({ open, ask, until, check }) {
  const page = await open();
  await ask("send", JSON.stringify(Array.from({ length: 80 }, (_, n) => `die ${n}`)));
  await until("the fuse is told", async () => (await state(page)).startsWith("Fuse blown"));
  const dead = async () => Number(await page.textContent("#dead-count"));
  await until("the dead are counted", async () => await dead() > 0);
  check(await dead() < 80, `and the rest is kept: ${await dead()} are dead`);
}

/** SIGTERM: the page shows the drain, then the end. */
export async function tells_of_a_drain({ open, ask, until }) {
  const page = await open({ expects: LOST });
  await ask("send", JSON.stringify(["hold"]));
  await until("it runs", async () => /^1 \//.test((await page.textContent("#card-concurrency .now")).trim()));
  await ask("drain");
  await until("the drain is told", async () => (await state(page)).startsWith("Draining"));
  await ask("mend");
  await until("then the end", async () => (await state(page)).startsWith("No contact"));
}

/** RabbitMQ cuts its connections, then falls silent: the page says so soon, and that it is over. */
export async function tells_of_a_broker_that_is_gone({ open, ask, until, check }) {
  // Dead letters that are looked for meanwhile cannot be had, which the browser notes by itself.
  const page = await open({ expects: ["the server responded with a status of 503"] });
  const acked = () => page.textContent("#totals [data-key=acked]");
  await until("it runs", async () => (await state(page)).startsWith("Running"));
  for (const [round, fault] of ["refuse", "silence"].entries()) {
    await ask(fault, "on");
    const began = Date.now();
    await until(`${fault}: the loss is told`, async () => (await state(page)).startsWith("Broker gone"));
    const took = Date.now() - began;
    process.stderr.write(`${fault}: told after ${took} ms\n`);
    // To be told within some two seconds; a machine with much else to do may take a few more.
    check(took < 10_000, `${fault}: it took ${took} ms`);
    check(/Broker gone .+ · since \d\d:\d\d:\d\d/.test(await state(page)), `why, and since when: ${await state(page)}`);
    check(await page.getAttribute("#banner", "data-tone") === "bad", "it is seen");
    // A loss that is over before the next sample is in no chart.
    const charted = async () => await page.locator("#card-throughput .bands .broker-gone").count() > 0;
    await until("and in the charts", charted);
    await ask(fault, "off");
    await until(`${fault}: it is back`, async () => (await state(page)).startsWith("Running"));
    await until("and in the past of the charts", charted);
    await ask("send", JSON.stringify([`ok ${round}`]));
    await until("and it works", async () => await acked() === String(round + 1));
  }
}

/** Nobody takes the telemetry: the page says so, and jobs go on. */
export async function tells_of_telemetry_that_is_not_sent({ open, ask, until, check }) {
  const page = await open();
  await ask("send", JSON.stringify(["ok 1"]));
  const also = () => page.textContent("#also");
  await until("it is told", async () => /^Telemetry not sent for \S+/.test((await also()).trim()));
  await until("and which of it", async () =>
    (await also()).includes("metrics and traces cannot be sent by OTLP: the log says why"));
  const tone = await page.getAttribute("#also li", "data-tone");
  check(tone === "warn", `it is seen, and is no alarm: ${tone}`);
  check((await state(page)).startsWith("Running"), `the worker itself is well: ${await state(page)}`);
  await until("the job is done", async () => await page.textContent("#totals [data-key=acked]") === "1");
}
