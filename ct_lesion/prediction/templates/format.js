// Elements and numbers. Text is inserted only as text nodes, because names come from users' files.

const page = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const NOTHING = "–";

/** Create an element; "on..." attributes are listeners, null and false attributes are omitted. */
function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svgElement(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null));
  return made;
}

function button(text, attributes = {}) {
  return element("button", { type: "button", ...attributes }, text);
}

/** A number with the given decimals, never −0; a dash for null. */
function number(value, decimals = 0) {
  if (value === null || value === undefined) return NOTHING;
  const options = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return value.toLocaleString("en", options).replace(/^-(?=0(\.0+)?$)/, "").replace(/^-/, "−");
}

function probability(value) {
  return number(value, 3);
}

function millilitres(value) {
  return number(value, value !== null && value < 10 ? 2 : 1);
}

function percent(value) {
  return value === null ? NOTHING : number(100 * value, 1) + "\u00a0%";
}

/** The area of a slice's lesions or of a detection, in mm² if the spacing is known. */
function area({ area_mm2, area_px }) {
  return area_mm2 === null ? `${number(area_px)} px` : `${number(area_mm2)} mm²`;
}

function plural(count, word) {
  return `${number(count)} ${word}${count === 1 ? "" : "s"}`;
}

/** The probability of a scan's predicted class; null without one. */
function certainty(summary) {
  if (summary.class === null || summary.probabilities === null) return null;
  return Object.hasOwn(summary.probabilities, summary.class)
    ? summary.probabilities[summary.class] : null;
}

/** One line with the date and the model; the footer has all facts. */
function madeBy() {
  const [model] = Object.entries(page.model);
  const data = page.model["Segmentation training data"];
  return element("p", { class: "soft made" },
    `Predicted ${page.generated}` + (model ? ` · ${model[0]}: ${model[1]}` : "")
      + (data ? `, trained on ${data}` : ""));
}

/** Whether a scan has a picture; earlier versions of ct_lesion wrote none. */
function hasPicture(summary, name) {
  return (summary.pictures ?? []).includes(name);
}

/** The address of a file in a scan's folder. */
function pathOf(scan, name) {
  return `${encodeURIComponent(scan)}/${name}`;
}

/** The hash of a scan's viewer; slices count from 0. */
function scanHash(scan, slice = null, windowName = null) {
  let hash = `#scan=${encodeURIComponent(scan)}`;
  if (slice !== null) hash += `&slice=${slice + 1}`;
  if (windowName !== null) hash += `&window=${encodeURIComponent(windowName)}`;
  return hash;
}
