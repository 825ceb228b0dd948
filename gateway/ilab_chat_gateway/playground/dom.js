// Elements are made from text only: nothing here, and nothing that uses it, parses HTML.

/** Return an element. Attributes that begin with "on" are listeners; children are elements or texts. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Return a paragraph of a user's or a model's text, in the direction of its script. */
export const textOf = (content) => el("p", { class: "text", dir: "auto" }, content);

export const badge = (content) => el("span", { class: "badge", dir: "auto" }, content);

/** Replace the children of an element; *empty* says what to do when there are none. */
export function fill(element, children, empty) {
  const note = typeof empty === "string" ? el(element.tagName === "UL" ? "li" : "p", { class: "note" }, empty) : empty;
  element.replaceChildren(...(children.length ? children : [note]));
}

/** Return a time of the contract as local text. */
export const when = (time) => (time ? new Date(time).toLocaleString() : "");

/** Return an enum value without its prefix, in lower case. */
export const short = (value, prefix) => value.replace(prefix, "").toLowerCase();
