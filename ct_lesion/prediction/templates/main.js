// Which view is shown: the address says it, so that the back button and links work.

const root = document.getElementById("page");
let shown = null;  // the ScanView on the page, or null for the table
let expected = null;  // name of the scan being opened

/** Called by a scan's view.js, which hands its data over as JSON. */
window.ctLesion = {
  receive(text) {
    document.currentScript.view = JSON.parse(text);
  },
};

function loadView(scan) {
  return new Promise((resolve, reject) => {
    const src = `${encodeURIComponent(scan)}/view/${page.view_file}`;
    const fail = () => reject(new Error(`Cannot read ${src}. Is the scan's folder beside this page?`));
    const script = element("script", { src, onerror: fail, onload: () => {
      script.remove();
      if (script.view) resolve(script.view);
      else fail();
    } });
    document.head.append(script);
  });
}

function showTable(problem = null) {
  const from = shown?.summary.scan;
  shown = null;
  root.replaceChildren(...(problem === null ? [] : [message(problem)]), tableView());
  fillTable();
  document.title = "Lesion predictions";
  scrollTo(0, table.scrolled);
  [...document.querySelectorAll("#scans tr")].find((row) => row.dataset.scan === from)
    ?.querySelector("a").focus({ preventScroll: true });
}

async function showScan(summary, slice, windowName) {
  const { scan } = summary;
  if (shown === null && expected === null) table.scrolled = scrollY;
  expected = scan;
  let view;
  try {
    view = await loadView(scan);
  } catch (error) {
    if (expected === scan) showTable(error.message);
    return;
  } finally {
    if (expected === scan) expected = null;
    else view = null;  // another view was asked for meanwhile
  }
  if (!view) return;
  view.summary.scan = scan;  // the folder may have been renamed together with the page's entry
  shown = new ScanView(view, slice, windowName);
  root.replaceChildren(shown.root);
  document.title = `${scan} – lesion predictions`;
  scrollTo(0, 0);
  document.getElementById("title").focus({ preventScroll: true });
}

function message(text) {
  return element("p", { class: "caution", role: "alert" }, text);
}

function route() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const name = wanted.get("scan");
  const number = Number.parseInt(wanted.get("slice"), 10);
  const slice = Number.isNaN(number) ? null : number - 1;
  const summary = page.scans.find((s) => s.scan === name);
  if (summary && shown?.summary.scan === name) {
    if (slice !== null) shown.go(slice);
    return;
  }
  if (summary) {
    showScan(summary, slice, wanted.get("window"));
    return;
  }
  expected = null;
  showTable(name === null ? null : `There is no scan named ${name} here.`);
}

addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=range]), select, textarea");
  if (!shown || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (shown.press(event.key)) event.preventDefault();
});
route();
