// The table of a scan's lesions; a click on a row goes to the lesion's largest slice and marks it.

const LESION_COLUMNS = [
  { name: "No.", value: (le) => le.number },
  { name: "Class", value: (le) => le.class, text: "class" },
  { name: "Vol. ml", title: "Volume in ml", value: (le) => le.volume_ml,
    show: (le) => millilitres(le.volume_ml) },
  { name: "Pixels", title: "Pixels of all slices", value: (le) => le.pixels,
    show: (le) => number(le.pixels), only: (summary) => summary.lesion_volume_ml === null },
  { name: "Size mm", title: "Longest axial diameter and its perpendicular", value: (le) => le.diameter_mm,
    show: (le) => `${number(le.diameter_mm)} × ${number(le.perpendicular_mm)}` },
  { name: "Slices", title: "First and last slice", value: (le) => le.first_slice, show: slicesOf },
  { name: "Mean HU", value: (le) => le.mean_hu, show: (le) => number(le.mean_hu) },
  { name: "Dense %", title: "Share above −300 HU, like a consolidation", value: (le) => le.dense_share,
    show: (le) => le.dense_share === null ? NOTHING : number(100 * le.dense_share, 1) },
  { name: "Place", title: "Lung and its third", value: placeOf, text: "words" },
  { name: "Pleura mm", title: "Distance to the pleura", value: (le) => le.pleura_mm,
    show: (le) => number(le.pleura_mm, 1) },
  { name: "Score", title: "Highest score", value: (le) => le.score, show: (le) => number(le.score, 2) },
];

function slicesOf({ first_slice, last_slice }) {
  return first_slice === last_slice ? `${first_slice + 1}` : `${first_slice + 1}–${last_slice + 1}`;
}

function placeOf({ lung, third }) {
  return third === null ? null : [lung, third].filter((word) => word !== null).join(" ");
}

class LesionTable {
  /** chosen(lesion): the user clicks on a row. */
  constructor(summary, chosen) {
    this.lesions = summary.lesion_list;
    this.classNames = summary.lesion_class_names;
    this.chosen = chosen;
    this.selected = null;
    this.columns = LESION_COLUMNS.filter((column) => this.applies(column, summary));
    this.column = this.columns[0];
    this.descending = false;
    this.body = element("tbody", {});
    this.head = element("tr", {}, this.columns.map((column) =>
      element("th", { scope: "col", class: column.text ?? "number" },
        button(column.name, { title: `Sort by ${(column.title ?? column.name).toLowerCase()}`,
          onclick: () => this.sortBy(column) }))));
    this.root = this.lesions.length === 0 ? null
      : element("section", { class: "panel", "aria-label": "Lesions of the scan" },
        element("h2", {}, `${plural(this.lesions.length, "lesion")} in this scan`),
        element("div", { class: "table lesion-table" }, element("table", { id: "lesions" },
          element("thead", {}, this.head), this.body)));
    this.fill();
  }

  /** Whether to show a column: if it has values, and the class if the model has several classes. */
  applies(column, summary) {
    if (column.name === "No.") return true;
    if (column.name === "Class" && summary.lesion_class_names.length < 2) return false;
    if (column.only && !column.only(summary)) return false;
    return this.lesions.some((lesion) => column.value(lesion) !== null);
  }

  sortBy(column) {
    this.descending = this.column === column ? !this.descending : !column.text;
    this.column = column;
    this.fill();
  }

  fill() {
    this.body.replaceChildren(
      ...ordered(this.lesions, this.column.value, this.descending).map((lesion) => this.row(lesion)));
    this.columns.forEach((column, i) => this.head.children[i].setAttribute("aria-sort",
      column !== this.column ? "none" : this.descending ? "descending" : "ascending"));
    this.select(this.selected);
  }

  row(lesion) {
    const style = lesionStyle({ number: lesion.number, class_name: lesion.class }, this.classNames);
    const cells = this.columns.map((column) => {
      const text = column.show ? column.show(lesion) : column.value(lesion) ?? NOTHING;
      return element("td", { class: column.text ?? "number" },
        column.name !== "No." ? text
          : button([lineSample(style), `${text}`], { "aria-label": `Show lesion ${text}` }));
    });
    return element("tr", { "data-number": lesion.number, onclick: () => this.chosen(lesion) }, cells);
  }

  /** Mark the row of a lesion, by its number. */
  select(selected) {
    this.selected = selected;
    for (const row of this.body.children) {
      row.classList.toggle("marked", Number(row.dataset.number) === selected);
    }
  }
}
