// The curve of lesion area along the scan, and the bars of class probabilities.

/** Lesion area along the scan, one step per slice; a click or drag goes to the slice. */
class AreaCurve {
  constructor(slices, summary, jump) {
    this.count = slices.length;
    const areas = slices.map((slice) => slice.area_mm2 ?? slice.area_px);
    const most = Math.max(...areas);
    const peak = summary.most_lesion_slice;
    this.marker = element("div", { class: "marker" });
    this.plot = element("div", { class: "plot", onpointerdown: (e) => this.drag(e, jump),
      onpointermove: (e) => this.drag(e, jump) },
      svgElement("svg", { viewBox: `0 0 ${this.count} 1`, preserveAspectRatio: "none",
        "aria-hidden": "true" },
        svgElement("path", { class: "curve", d: steps(areas, most || 1) })),
      peak === null ? null : element("div", { class: "peak", style: `left:${this.place(peak)}%`,
        "aria-hidden": "true" }),
      this.marker);
    const top = most > 0 && peak !== null
      ? `maximum ${area(slices[peak])}, slice ${peak + 1}` : "no lesion";
    this.root = element("figure", { class: "panel area" },
      element("figcaption", {},
        element("b", {}, "Lesion area along the scan"),
        element("span", { class: "soft" }, top)),
      this.plot,
      element("div", { class: "ends soft", "aria-hidden": "true" },
        element("span", {}, end(slices, 0)), element("span", {}, end(slices, this.count - 1))));
  }

  /** Centre of a slice, in percent of the width. */
  place(slice) {
    return 100 * (slice + 0.5) / this.count;
  }

  show(slice) {
    this.marker.style.left = `${this.place(slice)}%`;
  }

  drag(event, jump) {
    if (event.type === "pointerdown") this.plot.setPointerCapture(event.pointerId);
    else if (event.buttons === 0) return;
    const box = this.plot.getBoundingClientRect();
    const slice = Math.floor((event.clientX - box.left) / box.width * this.count);
    jump(Math.min(Math.max(slice, 0), this.count - 1));
  }
}

function steps(areas, most) {
  const heights = areas.map((value) => (1 - value / most).toFixed(4));
  return "M0 1" + heights.map((height, i) => `V${height}H${i + 1}`).join("") + "V1Z";
}

function end(slices, slice) {
  const z = slices[slice].z_mm;
  return `slice ${slice + 1}` + (z === null ? "" : ` (z ${number(z)} mm)`);
}

/** Bars of the class probabilities of the current slice, and of the scan below each. */
class ProbabilityBars {
  constructor(summary) {
    this.slice = new Map();
    const rows = summary.class_names.map((name) => {
      this.slice.set(name, bar("slice", "this slice"));
      const scan = bar("scan", "scan");
      setBar(scan, summary.probabilities[name] ?? null);
      return [element("dt", {}, name, name === summary.class ? " (the scan's class)" : ""),
        element("dd", {}, this.slice.get(name), scan)];
    });
    this.names = summary.class_names;
    this.root = element("section", { class: "panel probabilities", "aria-label": "Class probabilities" },
      element("h2", {}, "Class probabilities"),
      element("dl", {}, rows),
      element("p", { class: "soft" }, summary.rule));
  }

  show(probabilities) {
    this.names.forEach((name, i) => setBar(this.slice.get(name), probabilities?.[i] ?? null));
  }
}

function bar(kind, label) {
  return element("div", { class: `bar ${kind}` },
    element("span", { class: "label" }, label),
    element("span", { class: "track" }, element("span", { class: "length" })),
    element("span", { class: "value" }));
}

function setBar(made, value) {
  made.querySelector(".length").style.width = `${100 * (value ?? 0)}%`;
  made.querySelector(".value").textContent = probability(value);
}
