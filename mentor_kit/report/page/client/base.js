"use strict";
// The page's namespace. Everything of a run goes into the page through `h`, as text: no other function makes elements.
const MentorKit = {
  /** Tabs in order: {key, title, applies(index), render(root, index), keys: {key: function}}. A script adds its own. */
  tabs: [],
  /** The index: what there is of every run. */
  index: null,
};

/** An element. Attributes: `on…` functions, `style` as an object of properties, the others as strings; children are text. */
MentorKit.h = function (tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
};

/** A sentence's parts, those between two backticks as code. */
MentorKit.withCode = function (text) {
  const parts = String(text).split("`");
  if (parts.length % 2 === 0) return [text];
  return parts.map((part, place) => (place % 2 ? MentorKit.h("code", {}, part) : part));
};

MentorKit.clear = function (element, ...children) {
  element.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
};

MentorKit.format = {
  number(value, digits = 3) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    return Number.isInteger(value) ? String(value) : value.toFixed(digits);
  },
  signed(value, digits = 3) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
  },
  percent(value) {
    return value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`;
  },
  points(value) {
    return value === null || value === undefined ? "–" : MentorKit.format.signed(100 * value, 1);
  },
  interval(low, high) {
    if (low === null || low === undefined) return "–";
    return `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}`;
  },
  /** A number in as few digits as tell it apart in a chart. */
  short(value) {
    if (value === null || value === undefined) return "–";
    return Number(value.toPrecision(3)).toString();
  },
  seconds(value) {
    if (value < 90) return `${value.toFixed(1)} s`;
    if (value < 5400) return `${(value / 60).toFixed(1)} min`;
    return `${(value / 3600).toFixed(1)} h`;
  },
  time(text) {
    return text ? text.replace("T", " ").replace(/\.\d+.*$/, " UTC") : "–";
  },
};

/** A table: heads, rows of cells (text or elements); columns before `left` and from `right` on are words, the others numbers. */
MentorKit.table = function (heads, rows, left = 1, right = heads.length) {
  const h = MentorKit.h;
  const align = (place) => (place < left || place >= right ? "word" : "number");
  return h("div", { class: "scroll" },
    h("table", {},
      h("thead", {}, h("tr", {}, heads.map((head, place) => h("th", { class: align(place) }, head)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, place) => h("td", { class: align(place) }, cell)))))));
};

/** A menu: options as [value, label]; `pick` gets the value. */
MentorKit.menu = function (label, options, value, pick) {
  const h = MentorKit.h;
  const select = h("select", { "aria-label": label, onchange: (event) => pick(event.target.value) },
    options.map(([key, text]) => h("option", { value: key }, text)));
  select.value = value;
  return h("label", { class: "menu" }, h("span", {}, label), select);
};
