// The few words of DOM that this page needs. Text goes in as text nodes and attributes only, never as
// markup: payloads, errors and keys come from strangers.

export const $ = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

function build(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** An element with attributes, `on…` listeners and children. */
export function el(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

/** The same in a drawing. */
export function svg(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

/** Sets text only where it differs, so that nothing is announced or laid out for nothing. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets an attribute only where it differs. */
export function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** A figure with its units set smaller: `2 m 10 s`. */
export function figure(node, text) {
  if (node.dataset.text === text) return;
  node.dataset.text = text;
  const parts = text.match(/[\d.,–]+|[^\d.,–]+/g) ?? [];
  node.replaceChildren(...parts.map((part) =>
    /[\d–]/.test(part) ? part : el("span", { class: "unit" }, part)));
}
