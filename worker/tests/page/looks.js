// What the page looks like, as far as that can be measured: it fits a phone, and all text can be read.

/** All text whose contrast with its ground is below what WCAG AA asks for. */
function faint() {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const over = (top, under) => ({
    r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a),
    b: top.b * top.a + under.b * (1 - top.a), a: 1,
  });
  const ground = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.a > 0) layers.push(colour);
      if (colour.a === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), { r: 255, g: 255, b: 255, a: 1 });
  };
  const light = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const found = [];
  let looked = 0;
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].filter((it) => it.nodeType === Node.TEXT_NODE).map((it) => it.data).join("").trim();
    // What is disabled is exempt, as is what nobody sees.
    if (!text || !node.checkVisibility() || node.closest(":disabled, noscript")) continue;
    looked += 1;
    const style = getComputedStyle(node);
    const under = ground(node.closest("svg")?.parentElement ?? node);
    const ink = over(parse(node.closest("svg") ? style.fill : style.color), under);
    const [a, b] = [light(ink), light(under)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${node.tagName} ${node.className} "${text.slice(0, 40)}"`);
  }
  return { looked, found };
}

async function fill({ open, ask, until }, options) {
  const page = await open(options);
  await until("there are letters", async () => {
    if (await page.locator("#letters tr").count() > 0) return true;
    await ask("send", JSON.stringify(["die 1", "late 1", `die ${"a long word ".repeat(20)}${"x".repeat(200)}`]));
    await until("they are dead", async () => await page.locator("#letters tr").count() > 0);
    return true;
  });
  await until("the advice is there", async () => /\d/.test(await page.textContent("#card-workers .now")));
  return page;
}

async function fits(page, check, what) {
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  check(wide <= room, `${what}: ${wide} px of content in ${room} px`);
  const out = await page.evaluate(() => [...document.querySelectorAll("body *")]
    .filter((node) => node.checkVisibility() && !node.closest(".skip, svg"))
    .filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
    .map((node) => `${node.tagName}.${node.className}#${node.id}`));
  check(out.length === 0, `${what}: out of sight: ${out}`);
}

async function reads(page, check, what) {
  const { looked, found } = await page.evaluate(faint);
  check(looked > 20, `${what}: there is text`);
  check(found.length === 0, `${what}: too faint:\n${found.join("\n")}`);
}

/** On a screen of 360 px, nothing lies beside it: page, letter, question. */
export async function fits_a_phone(tools) {
  const page = await fill(tools, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
  const { check, until } = tools;
  await fits(page, check, "the page");
  for (const button of await page.locator("main .button").all()) {
    const box = await button.boundingBox();
    check(box === null || box.height >= 36, "buttons are as high as a finger needs");
  }
  await page.tap("#letters tr:last-child .link");
  await page.waitForSelector("#letter .payload");
  await fits(page, check, "a letter");
  await page.tap("#letter .danger");
  await until("asked", async () => (await page.textContent("#ask-text")).startsWith("Delete 1 dead letter"));
  await fits(page, check, "a question");
  await page.tap("#ask [data-role=cancel]");
}

/** In both schemes, also in dialogs and under trouble, all text has a contrast of 4.5 or more. */
export async function can_be_read_in_light_and_dark(tools) {
  const { check, ask, until } = tools;
  const pages = [];
  for (const colorScheme of ["light", "dark"]) {
    const page = await fill(tools, { colorScheme, reducedMotion: "reduce", expects: ["ERR_CONNECTION"] });
    await reads(page, check, colorScheme);
    const moves = await page.evaluate(() => [...document.querySelectorAll("*")]
      .filter((node) => getComputedStyle(node).transitionDuration !== "0s" || getComputedStyle(node).animationName !== "none").length);
    check(moves === 0, `${colorScheme}: nothing moves where that is not wanted`);
    await page.click("#letters tr:first-child .link");
    await page.waitForSelector("#letter .payload");
    await reads(page, check, `${colorScheme}, a letter`);
    await page.keyboard.press("Escape");
    pages.push([colorScheme, page]);
  }
  const grounds = await Promise.all(pages.map(([, page]) => page.evaluate(() => getComputedStyle(document.body).backgroundColor)));
  check(grounds[0] !== grounds[1], "the schemes differ");
  await ask("kill");
  for (const [colorScheme, page] of pages) {
    await page.bringToFront();
    await until("contact is lost", async () => (await page.textContent("#state")).startsWith("No contact"));
    await reads(page, check, `${colorScheme}, without contact`);
  }
}
