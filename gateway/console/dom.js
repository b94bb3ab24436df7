/**
 * Elements, built from text only: no text becomes markup, whatever a caller or a provider has put into it.
 */

const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes that are functions are listeners (`onclick`); null, undefined and false leave one out. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...present(children));
  return element;
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Text of somebody else: its direction does not leave its place. */
export function foreign(text, className = "") {
  return el("bdi", { class: className || null, title: text.length > 40 ? text.slice(0, 1000) : null }, text);
}

/** Replace the children of an element, and keep the focus where the same control is in both; one beside it gets it if that is disabled. */
export function show(parent, ...children) {
  const focused = parent.contains(document.activeElement) ? control(document.activeElement) : null;
  parent.replaceChildren(...present(children));
  if (!focused) return;
  const same = [...parent.querySelectorAll("a, button, input, select, summary, [tabindex]")].find((one) => control(one) === focused);
  (same?.disabled ? same.parentElement.querySelector("button:enabled") : same)?.focus();
}

/** What identifies a control: its own mark, target or text, and the row or card (`data-key`) that it is in. */
function control(element) {
  const own = element.dataset.focus ?? element.getAttribute("href") ?? element.getAttribute("aria-label") ?? element.textContent;
  return `${element.closest("[data-key]")?.dataset.key} ${element.localName} ${own}`;
}

/** Say something at the edge of the page for a few seconds. Screen readers read it out. */
export function notify(text, kind = "info") {
  const notice = el("p", { class: `notice ${kind}` }, text);
  document.getElementById("notices").append(notice);
  setTimeout(() => notice.remove(), kind === "error" ? 12000 : 5000);
}

export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = el("textarea", {}, text); // pages over plain HTTP have no clipboard of their own
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
