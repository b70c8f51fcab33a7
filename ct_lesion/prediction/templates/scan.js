// The viewer of a scan; all panels follow the current slice.

class ScanView {
  constructor(view, start, windowName) {
    this.view = view;
    this.summary = view.summary;
    this.slices = view.slices;
    this.contours = true;
    this.window = this.windowNamed(windowName);
    this.stage = new Stage(view, {
      moved: (steps) => this.go(this.index + steps),
      pointed: (detection, x, y) => {
        if (detection === null) this.stage.rest();
        else this.stage.highlight(detection, x, y);
        this.list.mark(detection);
      },
    });
    this.curve = new AreaCurve(this.slices, this.summary, (slice) => this.go(slice));
    this.list = new DetectionList(this.summary, (detection) =>
      detection === null ? this.stage.rest() : this.stage.highlight(detection));
    this.lesions = new LesionTable(this.summary, (lesion) => this.choose(lesion));
    this.bars = this.summary.probabilities === null ? null : new ProbabilityBars(this.summary);
    this.readout = element("p", { class: "readout", id: "readout" });
    this.slider = element("input", { type: "range", id: "slice", min: 1, step: 1,
      max: this.slices.length, "aria-label": "Slice",
      oninput: (event) => this.go(Number(event.target.value) - 1) });
    this.single = this.slices.length === 1;
    this.root = this.layout();
    this.go(start ?? this.summary.most_lesion_slice ?? Math.floor(this.slices.length / 2));
  }

  layout() {
    return element("section", { class: "scan", "aria-labelledby": "title" },
      element("nav", { class: "crumbs", "aria-label": "Scans" },
        element("a", { href: "#", id: "back" }, "← All scans"), neighbours(this.summary.scan)),
      element("h1", { id: "title", tabindex: "-1" }, this.summary.scan),
      headline(this.summary),
      madeBy(),
      scanRemarks(this.summary),
      element("div", { class: "columns" },
        element("div", { class: "picture" }, this.toolbar(), this.stage.root,
          element("div", { class: "under" }, this.readout, legend(this.summary)),
          this.single ? null : element("div", { class: "slide" },
            this.step("◀", "Previous slice", -1), this.slider, this.step("▶", "Next slice", 1)),
          projections(this.summary, (height) => this.go(Math.floor(height * this.slices.length)))),
        element("div", { class: "side" }, this.single ? null : this.curve.root, this.lesions.root,
          this.list.root,
          this.bars ? this.bars.root : null, scanFacts(this.summary), keyHelp())));
  }

  step(text, label, by) {
    return button(text, { "aria-label": label, onclick: () => this.go(this.index + by) });
  }

  toolbar() {
    const none = this.summary.most_lesion_slice === null;
    this.previous = button("◀ lesion", { id: "previous-lesion", title: "Previous slice with lesion (P)",
      onclick: () => this.goToLesion(-1) });
    this.next = button("lesion ▶", { id: "next-lesion", title: "Next slice with lesion (N)",
      onclick: () => this.goToLesion(1) });
    this.toggle = button("Contours", { id: "contours", "aria-pressed": "true", disabled: none,
      title: "Show or hide contours (C)", onclick: () => this.toggleContours() });
    this.windows = this.view.windows.map((w) => button(w.name.replaceAll("_", " "), {
      title: w.level === null ? "Grey values of the model's input"
        : `Level ${number(w.level)} HU, width ${number(w.width)} HU (W)`,
      disabled: this.view.windows.length === 1, onclick: () => this.setWindow(w) }));
    return element("div", { class: "toolbar", role: "toolbar", "aria-label": "View" },
      this.single ? null : group("Slices with lesion", this.previous,
        button("Largest area", { id: "most-lesion", disabled: none,
          title: "Slice with the largest lesion area (M)", onclick: () => this.goToMost() }), this.next),
      group("Contours", this.toggle),
      group("Window", ...this.windows),
      group("Zoom",
        button("−", { "aria-label": "Zoom out", onclick: () => this.stage.zoomBy(1 / 1.4) }),
        button("Fit", { id: "fit", title: "Zoom to fit (0)", onclick: () => this.stage.fit() }),
        button("+", { "aria-label": "Zoom in", id: "zoom-in",
          onclick: () => this.stage.zoomBy(1.4) })));
  }

  /** Show a slice, counted from 0; an index out of range is clamped. */
  go(index) {
    this.index = clamp(index, 0, this.slices.length - 1);
    const slice = this.slices[this.index];
    const label = `Slice ${this.index + 1} of ${this.slices.length}`;
    const found = slice.lesions.length
      ? `${plural(slice.lesions.length, "detection")}, ${area(slice)}` : "no lesion";
    this.slider.value = this.index + 1;
    this.slider.setAttribute("aria-valuetext", `${label}, ${found}`);
    this.readout.replaceChildren(element("b", {}, label),
      slice.z_mm === null ? "" : ` · z ${number(slice.z_mm, 1)} mm`,
      slice.name ? element("span", { class: "soft name" }, ` · ${slice.name}`) : "");
    this.list.show(slice);
    if (this.bars) this.bars.show(slice.probabilities);
    this.curve.show(this.index);
    this.previous.disabled = this.lesionSlice(-1) === undefined;
    this.next.disabled = this.lesionSlice(1) === undefined;
    this.redraw(`${label}, ${found}`);
  }

  redraw(label = this.stage.image.alt) {
    this.windows.forEach((made, i) =>
      made.setAttribute("aria-pressed", String(this.view.windows[i] === this.window)));
    this.stage.show(this.index, this.slices[this.index], this.window.folder, label);
    // Browsers limit how often a page may change its address.
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.remember(), 200);
  }

  /** Put the slice into the address for links, without a new history entry. */
  remember() {
    if (!this.root.isConnected) return;
    const name = this.window === this.view.windows[0] ? null : this.window.name;
    history.replaceState(null, "", scanHash(this.summary.scan, this.index, name));
  }

  /** The nearest slice with lesion after (1) or before (-1) this one, or undefined. */
  lesionSlice(direction) {
    for (let i = this.index + direction; i >= 0 && i < this.slices.length; i += direction) {
      if (this.slices[i].lesions.length) return i;
    }
    return undefined;
  }

  goToLesion(direction) {
    const slice = this.lesionSlice(direction);
    if (slice !== undefined) this.go(slice);
  }

  /** Go to the largest slice of a lesion and mark it; unmark it if it is marked already. */
  choose(lesion) {
    const again = this.stage.selected === lesion.number;
    this.stage.selected = again ? null : lesion.number;
    this.lesions.select(this.stage.selected);
    this.go(again ? this.index : lesion.largest_slice);
  }

  goToMost() {
    if (this.summary.most_lesion_slice !== null) this.go(this.summary.most_lesion_slice);
  }

  toggleContours() {
    this.contours = !this.contours;
    this.toggle.setAttribute("aria-pressed", String(this.contours));
    this.stage.toggle(this.contours);
  }

  windowNamed(wanted) {
    return this.view.windows.find(({ name }) => name === wanted) ?? this.view.windows[0];
  }

  setWindow(chosen) {
    this.window = chosen;
    this.redraw();
  }

  nextWindow() {
    const { windows } = this.view;
    this.setWindow(windows[(windows.indexOf(this.window) + 1) % windows.length]);
  }

  /** Handle a key; returns whether it has an action. */
  press(key) {
    const actions = {
      ArrowRight: () => this.go(this.index + 1), ArrowDown: () => this.go(this.index + 1),
      ArrowLeft: () => this.go(this.index - 1), ArrowUp: () => this.go(this.index - 1),
      PageDown: () => this.go(this.index + 10), PageUp: () => this.go(this.index - 10),
      Home: () => this.go(0), End: () => this.go(this.slices.length - 1),
      n: () => this.goToLesion(1), p: () => this.goToLesion(-1), m: () => this.goToMost(),
      c: () => this.toggleContours(), w: () => this.nextWindow(),
      "+": () => this.stage.zoomBy(1.4), "=": () => this.stage.zoomBy(1.4),
      "-": () => this.stage.zoomBy(1 / 1.4), 0: () => this.stage.fit(),
      Escape: () => { location.hash = "#"; },
    };
    const name = key.length === 1 ? key.toLowerCase() : key;
    if (!Object.hasOwn(actions, name)) return false;
    actions[name]();
    return true;
  }
}

function group(label, ...buttons) {
  return element("div", { class: "group", role: "group", "aria-label": label }, buttons);
}

/** Links to the previous and next scan, in the order of the table. */
function neighbours(scan) {
  const scans = sortedScans();
  const here = scans.findIndex((summary) => summary.scan === scan);
  const link = (summary, text) => summary
    ? element("a", { href: scanHash(summary.scan), title: summary.scan }, text) : null;
  return element("span", { class: "neighbours" },
    here < 0 ? null : link(scans[here - 1], "◀ previous scan"),
    here < 0 ? null : link(scans[here + 1], "next scan ▶"));
}
