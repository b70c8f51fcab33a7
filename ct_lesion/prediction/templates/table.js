// The table of scans: one row per scan, sortable by any column.

const ALL_COLUMNS = [
  { name: "Scan", value: (s) => s.scan, show: scanCell },
  { name: "Status", value: (s) => (s.incomplete ? "incomplete" : null) },
  { name: "Class", value: (s) => s.class },
  { name: "Probability", value: certainty, show: (s) => probability(certainty(s)) },
  { name: "Slices", value: (s) => s.slices, show: (s) => number(s.slices) },
  { name: "Lesion volume (ml)", value: (s) => s.lesion_volume_ml,
    show: (s) => millilitres(s.lesion_volume_ml) },
  { name: "Lesions", value: (s) => s.lesions, show: (s) => number(s.lesions) },
  { name: "Slices with lesion", value: (s) => s.slices_with_lesion,
    show: (s) => number(s.slices_with_lesion) },
  { name: "Share of lung", value: (s) => s.lesion_share_of_lung,
    show: (s) => percent(s.lesion_share_of_lung) },
  { name: "Notes", value: (s) => remarks(s).length || null, show: remarksCell, wide: true },
];

/** The columns with a value, e.g. no class without a classifier. */
const columns = ALL_COLUMNS.filter(
  (column) => column.name === "Scan" || page.scans.some((scan) => column.value(scan) !== null),
);

const table = { column: columns[0], descending: false, filter: "", scrolled: 0 };

function warnings(summary) {
  return summary.qc.map((finding) => `Warning: ${finding.message}`);
}

function remarks(summary) {
  return [...warnings(summary), ...summary.notes];
}

function scanCell(summary) {
  const link = element("a", { href: scanHash(summary.scan) }, summary.scan);
  if (!hasPicture(summary, page.thumbnail)) return link;
  return element("div", { class: "scan-cell" }, element("div", { class: "thumbnail" },
    element("img", { src: pathOf(summary.scan, page.thumbnail), alt: "", loading: "lazy" })), link);
}

function remarksCell(summary) {
  const found = remarks(summary);
  if (!found.length) return NOTHING;
  return element("span", { class: "remarks", title: found.join("\n") }, found.join(" · "));
}

function isNumeric(column) {
  return column.name !== "Notes" && page.scans.some((s) => typeof column.value(s) === "number");
}

function sortedScans() {
  const wanted = table.filter.toLowerCase();
  const scans = page.scans.filter((scan) => scan.scan.toLowerCase().includes(wanted));
  return ordered(scans, table.column.value, table.descending);
}

/** The items, sorted; items without a value come last in both directions. */
function ordered(items, value, descending) {
  const sign = descending ? -1 : 1;
  const names = new Intl.Collator("en", { numeric: true });
  return [...items].sort((first, second) => {
    const a = value(first), b = value(second);
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" ? a - b : names.compare(a, b));
  });
}

function sortBy(column, descending) {
  table.column = column;
  table.descending = descending;
  fillTable();
}

function tableView() {
  const view = element("section", { class: "scans", "aria-labelledby": "title" },
    element("h1", { id: "title", tabindex: "-1" }, "Lesion predictions"),
    element("p", { class: "lead" }, overview()),
    madeBy(),
    page.scans.length > 1 ? tableControls() : null,
    element("div", { class: "table" },
      element("table", { role: "table", "aria-label": "Scans" },
        element("thead", { role: "rowgroup" },
          element("tr", { role: "row" }, columns.map(headerCell))),
        element("tbody", { role: "rowgroup", id: "scans" }))),
    element("p", { id: "found", class: "soft", role: "status" }),
  );
  return view;
}

function overview() {
  const lesions = page.scans.filter((scan) => scan.lesions > 0).length;
  const count = plural(page.scans.length, "scan");
  if (!page.scans.length) return "No scans.";
  const incomplete = page.scans.filter((scan) => scan.incomplete).length;
  const missing = incomplete ? `, ${number(incomplete)} incomplete (slices are missing)` : "";
  return `${count}, ${number(lesions)} with lesions${missing}. Open a scan to view its slices.`;
}

function headerCell(column) {
  const press = () => sortBy(column, table.column === column ? !table.descending : isNumeric(column));
  return element("th", { scope: "col", role: "columnheader", class: isNumeric(column) && "number" },
    button(column.name, { onclick: press, title: `Sort by ${column.name.toLowerCase()}` }));
}

function tableControls() {
  const choose = (event) => {
    const column = columns[event.target.value];
    sortBy(column, isNumeric(column));
  };
  const filter = (event) => { table.filter = event.target.value; fillTable(); };
  return element("div", { class: "controls" },
    element("label", {}, "Find ",
      element("input", { type: "search", id: "filter", value: table.filter, oninput: filter,
        placeholder: "scan name" })),
    element("label", { class: "phone" }, "Sort by ",
      element("select", { id: "sort", onchange: choose },
        columns.map((column, i) => element("option", { value: i }, column.name)))),
    button("Reverse", { class: "phone", onclick: () =>
      sortBy(table.column, !table.descending) }),
  );
}

/** Fill in the rows in the current order. */
function fillTable() {
  const scans = sortedScans();
  document.getElementById("scans").replaceChildren(...scans.map(row));
  const headers = document.querySelectorAll(".scans thead th");
  columns.forEach((column, i) => {
    const direction = table.descending ? "descending" : "ascending";
    headers[i].setAttribute("aria-sort", column === table.column ? direction : "none");
  });
  const select = document.getElementById("sort");
  if (select) select.value = columns.indexOf(table.column);
  document.getElementById("found").textContent =
    scans.length < page.scans.length ? `${scans.length} of ${plural(page.scans.length, "scan")}` : "";
}

function row(summary) {
  const open = (event) => {
    if (!event.target.closest("a") && !String(getSelection())) location.hash = scanHash(summary.scan);
  };
  return element("tr", { role: "row", "data-scan": summary.scan, onclick: open },
    columns.map((column) => element("td", {
      role: "cell",
      "data-label": column.name,
      class: isNumeric(column) ? "number" : column.wide ? "wide" : null,
    }, column.show ? column.show(summary) : column.value(summary) ?? NOTHING)));
}
