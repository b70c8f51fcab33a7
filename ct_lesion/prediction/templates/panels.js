// The panels beside the image: facts and remarks about the scan, detections in the current slice.

/** The main results of a scan in one line; unknown ones are left out. */
function headline(summary) {
  const results = [
    summary.incomplete ? "incomplete" : null,
    summary.class === null ? null : `${summary.class} (${probability(certainty(summary))})`,
    summary.lesions ? plural(summary.lesions, "lesion") : "no lesion",
    summary.lesion_volume_ml === null ? null : `${millilitres(summary.lesion_volume_ml)} ml`,
    summary.lesion_share_of_lung === null ? null : `${percent(summary.lesion_share_of_lung)} of the lungs`,
  ];
  return element("p", { class: "headline", id: "headline" },
    results.filter((result) => result !== null).join(" · "));
}

function scanFacts(summary) {
  const [height, width] = summary.size;
  const spacing = summary.spacing_mm;
  const range = summary.lesion_slice_range;
  const within = range === null ? ""
    : range[0] === range[1] ? ` (slice ${range[0] + 1})` : ` (slices ${range[0] + 1} to ${range[1] + 1})`;
  const facts = [
    ["Status", summary.incomplete ? "incomplete: slices are missing" : null],
    ["Class", summary.class === null ? null : `${summary.class}, probability ${probability(certainty(summary))}`],
    ["Lesion volume", summary.lesion_volume_ml === null ? null : `${millilitres(summary.lesion_volume_ml)} ml`],
    ["Share of lung", summary.lesion_share_of_lung === null ? null : percent(summary.lesion_share_of_lung)],
    ...lungFacts(summary.lungs ?? {}),
    ["Lesions", `${number(summary.lesions)} (${plural(summary.detections, "detection")} in slices)`],
    ["Slices with lesion", `${number(summary.slices_with_lesion)} of ${number(summary.slices)}${within}`],
    ["Score threshold", number(summary.score_thresh, 2)],
    ["Slice size", `${width} × ${height} px`],
    ["Voxel", spacing === null ? "size unknown"
      : [spacing[2], spacing[1], spacing[0]].map((mm) => mm === null ? "?" : number(mm, 2)).join(" × ") + " mm"],
    ["Patient", summary.patient || null],
    ["Source", summary.source || null],
  ];
  return element("section", { class: "panel", "aria-label": "The scan" },
    element("h2", {}, "The scan"),
    element("dl", { class: "facts", id: "facts" },
      facts.filter(([, value]) => value !== null)
        .map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])));
}

/** Lesion as a share of each lung and its thirds, and the severity score. */
function lungFacts({ lesion_share: shares, lesion_share_of_thirds: thirds, volume_ml: volumes,
  severity_score: severity }) {
  const names = { right: "Right lung", left: "Left lung", unknown: "Lungs" };
  const facts = Object.entries(shares ?? {}).map(([side, share]) => {
    const { upper, middle, lower } = thirds?.[side] ?? {};
    const volume = volumes?.[side] ?? null;
    return [names[side], `lesion in ${percent(share)}`
      + (volume === null ? "" : ` of ${number(volume)} ml`)
      + (upper === undefined ? ""
        : ` (upper third ${percent(upper)}, middle ${percent(middle)}, lower ${percent(lower)})`)];
  });
  return (severity ?? null) === null ? facts : [...facts, ["Severity score", `${severity} of 25`]];
}

const PROJECTIONS = ["coronal", "sagittal", "axial"];

/** The projections of the scan; a click on the coronal or sagittal one goes to the slice there. */
function projections(summary, go) {
  const shown = PROJECTIONS.filter((name) => hasPicture(summary, `view/${name}.jpg`)
    && (summary.slices > 1 || name === "axial"));
  if (!shown.length) return null;
  const figure = (name) => {
    const along = name !== "axial";
    const onclick = along ? (event) => {
      const box = event.currentTarget.getBoundingClientRect();
      go(clamp((box.bottom - event.clientY) / box.height, 0, 0.9999));
    } : null;
    return element("figure", { class: along ? "along" : null },
      element("div", { class: "box" },
        element("img", { src: pathOf(summary.scan, `view/${name}.jpg`), alt: `${name} projection`,
          title: along ? "Click to go to a slice" : null, ...(onclick ? { onclick } : {}) })),
      element("figcaption", {}, name));
  };
  return element("section", { class: "projections", "aria-label": "Projections" },
    element("div", { class: "three" }, shown.map(figure)),
    element("p", { class: "soft" },
      `Lesions over a mean projection of the scan${summary.spacing_mm === null ? ", not to scale" : ""}. `,
      hasPicture(summary, page.report) ? element("a", { href: pathOf(summary.scan, page.report) },
        "The scan in one picture (report.png)") : null));
}

/** The warnings about a scan, then the notes. */
function scanRemarks(summary) {
  const list = (attributes, texts) => texts.length
    ? element("ul", attributes, texts.map((text) => element("li", {}, text))) : null;
  return [
    list({ class: "caution", "aria-label": "Warnings about this scan" }, warnings(summary)),
    list({ class: "notes", "aria-label": "Notes on this scan" },
      summary.notes.map((note) => `Note: ${note}`)),
  ].filter((made) => made !== null);
}

/** The detections in the current slice; hovering or focusing one highlights it in the image. */
class DetectionList {
  constructor(summary, highlight) {
    this.summary = summary;
    this.highlight = highlight;
    this.heading = element("h2", { id: "found-here" });
    this.list = element("ol", { class: "detections" });
    this.root = element("section", { class: "panel", "aria-label": "Detections in this slice" },
      this.heading, this.list);
  }

  show(slice) {
    const count = slice.lesions.length;
    this.heading.textContent = count
      ? `${plural(count, "detection")} in this slice, ${area(slice)}` : "No lesion in this slice";
    this.list.replaceChildren(...slice.lesions.map((detection, i) => this.item(detection, i)));
  }

  item(detection, i) {
    const on = () => this.highlight(i), off = () => this.highlight(null);
    return element("li", {},
      button([
        lineSample(lesionStyle(detection, this.summary.lesion_class_names)),
        element("span", { class: "what" }, lesionName(detection)),
        element("span", { class: "score" }, `score ${number(detection.score, 2)}`),
        element("span", { class: "size" }, area(detection)),
      ], { onfocus: on, onpointerenter: on, onblur: off, onpointerleave: off, onclick: on }));
  }

  mark(detection) {
    [...this.list.children].forEach((item, i) => item.classList.toggle("marked", i === detection));
  }
}

/** The line of a lesion in all slices: the class determines the dashes, the number the colour. */
function lesionStyle({ number, class_name }, classNames) {
  const colours = page.lesion_colours;
  const colour = number ? colours[(number - 1) % colours.length] : page.hidden_colour;
  return { ...classStyle(class_name, classNames), colour };
}

function classStyle(className, classNames) {
  const styles = page.line_styles;
  return { ...styles[Math.max(classNames.indexOf(className), 0) % styles.length], colour: "#ffffff" };
}

/** The name of a detection: its lesion's number and class, or the class alone if others hide it. */
function lesionName({ number, class_name }) {
  return number ? `${number}. ${class_name}` : class_name;
}

function lineSample(style) {
  return svgElement("svg", { class: "sample", viewBox: "0 0 26 10", "aria-hidden": "true" },
    svgElement("rect", { width: 26, height: 10, rx: 2, fill: "#20262d" }),
    svgElement("line", { x1: 2, x2: 24, y1: 5, y2: 5, stroke: style.colour, "stroke-width": 2,
      "stroke-dasharray": style.dashes.join(" ") || "none" }));
}

/** The line styles of the classes; null if there is only one class. */
function legend(summary) {
  if (summary.lesion_class_names.length < 2) return null;
  return element("ul", { class: "legend", "aria-label": "Lines" },
    summary.lesion_class_names.map((name) =>
      element("li", {}, lineSample(classStyle(name, summary.lesion_class_names)), name)));
}

const KEYS = [
  ["← →  ↑ ↓", "previous, next slice (or the wheel on the image)"],
  ["PgUp PgDn", "ten slices back, forward"],
  ["Home End", "first, last slice"],
  ["N  P", "next, previous slice with a lesion"],
  ["M", "slice with the largest lesion area"],
  ["C", "show or hide contours"],
  ["W", "next window"],
  ["+  −  0", "zoom in, zoom out, fit (or Ctrl and the wheel)"],
  ["Esc", "back to all scans"],
];

function keyHelp() {
  return element("details", { class: "keys" },
    element("summary", {}, "Keys"),
    element("dl", { class: "facts" }, KEYS.map(([key, meaning]) =>
      [element("dt", {}, element("kbd", {}, key)), element("dd", {}, meaning)])));
}
