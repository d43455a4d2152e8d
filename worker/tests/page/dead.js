// Dead letters: found, read, moved back, deleted, each after a question that says how many.

const rows = (page) => page.locator("#letters tr").count();
const result = (page) => page.textContent("#result");
const isOpen = (page, id) => page.locator(`#${id}[open]`).count();

/** Nothing is dead: the page says so, and offers nothing that there is nothing for. */
export async function says_that_there_are_none({ open, until, check }) {
  const page = await open();
  await until("it says that there are none", async () => (await page.textContent("#empty")).includes("No dead letters."));
  check(await page.isHidden("table.letters"), "no empty table");
  for (const id of ["redrive-chosen", "purge-chosen", "redrive-all", "purge-all", "previous", "next"]) {
    check(await page.isDisabled(`#${id}`), `${id} offers nothing`);
  }
  await until("the count is 0", async () => await page.textContent("#dead-count") === "0");
}

/** Thirty letters in pages; some are looked for, one is read, and its payload stays text. */
export async function are_found_and_read({ open, ask, until, check }) {
  const page = await open();
  const hostile = `die <img src=x onerror="document.title='owned'"> {"a":1}`;
  await ask("send", JSON.stringify([...Array.from({ length: 28 }, (_, n) => `die ${n}`), "late 1", hostile]));
  await until("they come by themselves", async () => await rows(page) === 25 && await page.textContent("#dead-count") === "30");
  check((await page.textContent("#page")).startsWith("1 to 25"), "the page is told");
  await page.click("#next");
  await until("the next page", async () => await rows(page) === 5);
  check(await page.isDisabled("#next") && !await page.isDisabled("#previous"), "there is no third page");
  await page.click("#previous");
  await until("and back", async () => await rows(page) === 25);

  await page.fill("#contains", "too late");
  await page.keyboard.press("Enter");
  await until("one matches", async () => await rows(page) === 1);
  await page.selectOption("#reason", "attempts_exhausted");
  await until("the reason narrows too", async () => await rows(page) === 0);
  check((await page.textContent("#empty")).includes("No dead letter matches."), "and it says so");
  await page.click("#clear");
  await until("all of them again", async () => await rows(page) === 25);

  await page.fill("#contains", "onerror");
  await page.click("#search button[type=submit]");
  await until("the hostile one", async () => await rows(page) === 1);
  await page.click("#letters .link");
  await page.waitForSelector("#letter .payload");
  check((await page.textContent("#payload")).startsWith("die <img"), "the payload is shown as text");
  check((await page.textContent("#letter .failures")).includes("<img src=x"), "so is the error");
  check((await page.textContent("#letter .headers")).includes("kind") && (await page.textContent("#letter .headers")).includes("test"), "and its headers");
  check(await page.locator("#letter img, #letters img").count() === 0, "no markup comes of it");
  check(await page.title() === "orders · Forebay", "and no script");
  await page.focus("#letter [role=tab][aria-selected=true]");
  await page.keyboard.press("ArrowRight");
  check((await page.textContent("#payload")).startsWith("00000000  64 69 65 20"), "bytes are a key away");
  await page.keyboard.press("Escape");
  await until("Escape closes it", async () => !await isOpen(page, "letter"));
  check(await page.evaluate(() => document.activeElement.dataset.part) === "open", "the focus is where it was");
  // Opened again at once: the word that it was closed comes when it is open.
  await page.evaluate(() => {
    const letter = document.querySelector("#letters .link");
    letter.click();
    document.querySelector("#letter").close();
    letter.click();
  });
  await page.waitForSelector("#letter .payload");
  await page.keyboard.press("Escape");
}

/** From the list to a redrive, and a purge, without a pointer. */
export async function are_settled_by_keys({ open, ask, until, check }) {
  const page = await open();
  await ask("send", JSON.stringify(["die 1", "die 2", "die 3"]));
  await until("three letters", async () => await rows(page) === 3);
  await page.focus("#letters tr:nth-child(1) [data-part=pick]");
  await page.keyboard.press("Space");
  await page.focus("#letters tr:nth-child(3) [data-part=pick]");
  await page.keyboard.press("Space");
  check(await page.textContent("#chosen") === "2 selected", "it counts what is chosen");
  await page.focus("#redrive-chosen");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#ask[open]");
  await until("it says how many", async () => (await page.textContent("#ask-text")).startsWith("Move 2 dead letters back into orders"));
  // Round the dialog, as often as there are stops, and never out of it.
  for (let presses = 0; presses < 8; presses += 1) {
    await page.keyboard.press("Tab");
    check(await page.evaluate(() => {
      const at = document.activeElement;
      return at === document.body || document.querySelector("#ask").contains(at);
    }), "the focus stays in the dialog");
  }
  await page.keyboard.press("Escape");
  await until("Escape calls it off", async () => !await isOpen(page, "ask"));
  check(await page.evaluate(() => document.activeElement.id) === "redrive-chosen", "the focus is back");
  check(await rows(page) === 3, "nothing was done");

  await ask("mend");
  await page.keyboard.press("Enter");
  await until("asked again", async () => (await page.textContent("#ask-text")).startsWith("Move 2 "));
  await page.focus("#ask .primary");
  await page.keyboard.press("Enter");
  await until("it says what was done", async () => await result(page) === "Redrove 2 dead letters.");
  await until("one is left", async () => await rows(page) === 1);
  await until("and they were handled", async () => await page.textContent("#totals [data-key=acked]") === "2");

  // Called off and asked again at once: the word that the first is over comes when the second is open.
  await page.evaluate(() => {
    document.querySelector("#purge-all").click();
    document.querySelector("#ask").close();
    document.querySelector("#purge-all").click();
  });
  await until("a purge says how many, and what it means", async () =>
    await page.textContent("#ask-text") === "Delete 1 dead letter of orders for good? This cannot be undone.");
  await page.focus("#ask .danger");
  await page.keyboard.press("Enter");
  await until("it is gone", async () => await result(page) === "Purged 1 dead letter.");
  await until("and the page says that none is left", async () => (await page.textContent("#empty")).includes("No dead letters."));
  check(await page.getAttribute("#result", "aria-live") === "polite", "results are announced");
}

/** More than a step of a redrive takes, all that match, with what the guard holds back left alone. */
export async function are_redriven_all_together({ open, ask, until, check }) {
  const page = await open();
  // As many succeed, or the fuse would keep them from being dead letters.
  const pair = (_, n) => [`ok ${n}`, `die ${n}`];
  await ask("send", JSON.stringify([...Array.from({ length: 130 }, pair).flat(), "late 1"]));
  const done = () => page.textContent("#totals [data-key=acked]");
  await until("all are dead", async () => await page.textContent("#dead-count") === "131" && await done() === "130");
  await page.fill("#contains", "no such customer");
  await page.keyboard.press("Enter");
  await until("those that match", async () => (await page.textContent("#redrive-all")) === "Redrive all that match…");
  await ask("mend");
  await page.click("#redrive-all");
  await until("it says which and how many", async () =>
    (await page.textContent("#ask-text")).startsWith("Move 130 dead letters whose last error contains “no such customer” back"));
  await page.click("#ask .primary");
  await until("all of them are moved", async () => await result(page) === "Redrove 130 dead letters.");
  await until("and handled", async () => await done() === "260");
  await page.click("#clear");
  await until("the other stays", async () => await rows(page) === 1);
}
