// The image of a slice with its contours: loading, zoom, wheel and touch.

const AHEAD = 4, BEHIND = 1;  // neighbouring slices that are preloaded
const CACHED = 80;  // images that stay loaded
const MOST_ZOOM = 12;
const WHEEL_STEP = 50;  // pixels of a touch pad's wheel event per slice
const SWIPE_STEP = 12;  // pixels of a swipe per slice

/** Loads images and preloads a few slices in the direction of movement. */
class ImageLoader {
  constructor(scan, count) {
    this.base = `${encodeURIComponent(scan)}/view`;
    this.count = count;
    this.images = new Map();  // url -> promise of a loaded image, least recently used first
  }

  url(folder, slice) {
    return `${this.base}/${encodeURIComponent(folder)}/${String(slice + 1).padStart(4, "0")}.jpg`;
  }

  get(folder, slice) {
    const url = this.url(folder, slice);
    let image = this.images.get(url);
    if (image) this.images.delete(url);
    else {
      const made = new Image();
      made.src = url;
      image = made.decode().then(() => made, () => { throw new Error(`Cannot read ${url}. Keep the scan's folder beside this page.`); });
      image.catch(() => this.images.delete(url));  // the next request loads it again
    }
    this.images.set(url, image);
    if (this.images.size > CACHED) this.images.delete(this.images.keys().next().value);
    return image;
  }

  prepare(folder, slice, direction) {
    for (let step = -BEHIND; step <= AHEAD; step++) {
      const near = slice + step * direction;
      if (step && near >= 0 && near < this.count) this.get(folder, near).catch(() => {});
    }
  }
}

class Stage {
  /** moved(steps): the user scrolls; pointed(detection, x, y): at an index in the slice, or null. */
  constructor(view, { moved, pointed }) {
    const { summary } = view;
    const [, dy, dx] = summary.spacing_mm ?? [1, 1, 1];
    [this.height, this.width] = view.size;
    this.aspect = (this.width * dx) / (this.height * dy);  // physical proportions
    this.classNames = summary.lesion_class_names;
    this.loader = new ImageLoader(summary.scan, view.slices.length);
    this.moved = moved;
    this.pointed = pointed;
    this.single = view.slices.length === 1;
    this.image = element("img", { alt: "", draggable: "false" });
    this.overlay = svgElement("svg", { viewBox: `0 0 ${this.width} ${this.height}`,
      preserveAspectRatio: "none", "aria-hidden": "true" });
    this.inner = element("div", { class: "inner" }, this.image, this.overlay);
    this.tip = element("div", { class: "tip", hidden: true });
    this.message = element("p", { class: "message", role: "alert", hidden: true });
    this.root = element("div", { class: "stage", style: `--aspect:${this.aspect}` },
      this.inner, this.tip, this.message);
    this.selected = null;  // number of the lesion that is marked in all slices
    this.zoom = 1;
    this.centre = [0.5, 0.5];  // of the visible part, as fractions of the image's width and height
    this.pointers = new Map();
    this.wheel = 0;
    this.listen();
    new ResizeObserver(() => this.place()).observe(this.root);
  }

  /** Show a slice; image and contours change together, once the image is loaded. */
  async show(index, slice, folder, label) {
    const request = this.request = {};
    const step = index - (this.index ?? index - 1);
    this.index = index;
    this.root.setAttribute("aria-busy", "true");
    let image = null, failure = null;
    // While a slider moves, only its latest position is loaded, one image at a time.
    await new Promise(requestAnimationFrame);
    await this.loading;
    if (request !== this.request) return;
    this.loading = this.loader.get(folder, index).then(
      (loaded) => { image = loaded; }, (error) => { failure = error; });
    await this.loading;
    if (request !== this.request) return;
    this.root.removeAttribute("aria-busy");
    this.message.hidden = failure === null;
    this.message.textContent = failure === null ? "" : failure.message;
    this.inner.hidden = failure !== null;
    if (image) this.image.src = image.src;
    this.image.alt = label;
    this.image.dataset.slice = index;
    this.draw(slice);
    if (step !== 0) this.loader.prepare(folder, index, Math.sign(step));
  }

  draw(slice) {
    this.detections = slice.lesions;
    this.overlay.replaceChildren(...this.detections.map((detection, i) => {
      const style = lesionStyle(detection, this.classNames);
      const d = detection.contours.map(ring).join("");
      return svgElement("g", { class: "detection", "data-detection": i },
        svgElement("path", { class: "halo", d }),
        svgElement("path", { class: "line", d, stroke: style.colour, fill: style.colour,
          "stroke-dasharray": style.dashes.join(" ") || "none" }));
    }));
    this.rest();
  }

  /** Mark only the selected lesion, if it is in this slice. */
  rest() {
    const index = this.detections.findIndex(({ number }) => number === this.selected);
    this.highlight(index < 0 ? null : index);
  }

  toggle(shown) {
    this.root.classList.toggle("plain", !shown);
    this.highlight(null);
  }

  /** Highlight a detection, or none; its label is at x, y, or by default above its contour. */
  highlight(detection, x = null, y = null) {
    [...this.overlay.children].forEach((group, i) => group.classList.toggle("marked", i === detection));
    this.tip.hidden = detection === null || this.root.classList.contains("plain");
    if (this.tip.hidden) return;
    const found = this.detections[detection];
    this.tip.textContent = `${lesionName(found)} · score ${number(found.score, 2)} · ${area(found)}`;
    const stage = this.root.getBoundingClientRect();
    if (x === null) {
      const box = this.overlay.children[detection].getBoundingClientRect();
      [x, y] = [(box.left + box.right) / 2, box.top];
    }
    const { offsetWidth: wide, offsetHeight: high } = this.tip;
    const left = x - stage.left - wide / 2, top = y - stage.top - high - 12;
    this.tip.style.left = `${clamp(left, 4, stage.width - wide - 4)}px`;
    this.tip.style.top = `${clamp(top, 4, stage.height - high - 4)}px`;
  }

  /** Zoom by a factor; the point at x, y on the screen stays in place. */
  zoomBy(factor, x = null, y = null) {
    const before = this.zoom;
    this.zoom = clamp(before * factor, 1, MOST_ZOOM);
    if (x !== null) {
      const box = this.inner.getBoundingClientRect();
      const at = [(x - box.left) / box.width, (y - box.top) / box.height];
      this.centre = this.centre.map((c, i) => at[i] + (c - at[i]) * before / this.zoom);
    }
    this.place();
  }

  fit() {
    this.zoom = 1;
    this.centre = [0.5, 0.5];
    this.place();
  }

  /** Set the image's size and position; at zoom 1 it fits the stage. */
  place() {
    const { clientWidth: wide, clientHeight: high } = this.root;
    const fitted = Math.min(wide, high * this.aspect);
    const size = [fitted * this.zoom, fitted / this.aspect * this.zoom];
    this.centre = this.centre.map((c, i) => {
      const half = Math.min([wide, high][i] / size[i] / 2, 0.5);
      return clamp(c, half, 1 - half);
    });
    Object.assign(this.inner.style, {
      width: `${size[0]}px`, height: `${size[1]}px`,
      left: `${wide / 2 - this.centre[0] * size[0]}px`,
      top: `${high / 2 - this.centre[1] * size[1]}px`,
    });
    this.root.classList.toggle("zoomed", this.zoom > 1);
    this.root.dataset.zoom = this.zoom.toFixed(2);
    this.tip.hidden = true;
  }

  listen() {
    const { root } = this;
    root.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    root.addEventListener("pointerdown", (event) => {
      this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
      this.way = 0;
    });
    root.addEventListener("pointermove", (event) => this.onMove(event));
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
      root.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    root.addEventListener("pointerleave", () => this.pointed(null));
    root.addEventListener("click", (event) => this.point(event));  // a tap on a touch screen
    root.addEventListener("dblclick", () => this.fit());
  }

  onWheel(event) {
    if (this.single && !event.ctrlKey) return;
    event.preventDefault();
    if (event.ctrlKey) return this.zoomBy(Math.exp(-event.deltaY / 300), event.clientX, event.clientY);
    this.wheel += event.deltaMode === 0 ? event.deltaY : event.deltaY * WHEEL_STEP;
    // a notch of a mouse wheel moves one slice, whatever delta the system reports
    const steps = Math.abs(event.deltaY) >= WHEEL_STEP || event.deltaMode !== 0
      ? Math.sign(event.deltaY) : Math.trunc(this.wheel / WHEEL_STEP);
    if (steps === 0) return;
    this.wheel = 0;
    this.moved(steps);
  }

  point(event) {
    const group = event.target.closest("[data-detection]");
    this.pointed(group ? Number(group.dataset.detection) : null, event.clientX, event.clientY);
  }

  onMove(event) {
    const at = [event.clientX, event.clientY];
    const last = this.pointers.get(event.pointerId);
    if (!last) return this.point(event);
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
    this.pointers.set(event.pointerId, at);
    if (others.length === 1) {
      const [other] = others[0].slice(1);
      const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
      this.zoomBy(apart(at) / Math.max(apart(last), 1), ...other);
    } else if (this.zoom > 1) {
      const box = this.inner.getBoundingClientRect();
      this.centre = [this.centre[0] - (at[0] - last[0]) / box.width,
        this.centre[1] - (at[1] - last[1]) / box.height];
      this.place();
    } else if (event.pointerType !== "mouse") {
      this.way += at[0] - last[0];
      const steps = Math.trunc(this.way / SWIPE_STEP);
      this.way -= steps * SWIPE_STEP;
      if (steps) this.moved(steps);
    }
  }
}

function ring(flat) {
  let d = "";
  for (let i = 0; i < flat.length; i += 2) d += `${i ? "L" : "M"}${flat[i]} ${flat[i + 1]}`;
  return d + "Z";
}

function clamp(value, low, high) {
  return Math.max(low, Math.min(value, high));
}
