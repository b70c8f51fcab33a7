// The address determines the view, so that links and the back button work.

const root = document.getElementById("page");
let shown = null;  // the current ScanView, or null for the table
let request = {};  // a new object for each change of address, so that outdated views are dropped

/** Called by a scan's view.js with the scan's data as JSON. */
window.ctLesion = {
  receive(text) {
    document.currentScript.view = JSON.parse(text);
  },
};

function loadView(scan) {
  return new Promise((resolve, reject) => {
    const src = `${encodeURIComponent(scan)}/view/${page.view_file}`;
    const fail = () => reject(new Error(`Cannot read ${src}. Keep the scan's folder beside this page.`));
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
  scrollTo(0, problem === null ? table.scrolled : 0);
  [...document.querySelectorAll("#scans tr")].find((row) => row.dataset.scan === from)
    ?.querySelector("a").focus({ preventScroll: true });
  // opening the same scan again must change the address
  if (problem !== null) history.replaceState(null, "", "#");
}

async function showScan(summary, slice, windowName) {
  const { scan } = summary;
  if (shown === null) table.scrolled = scrollY;
  const mine = request;
  let view;
  try {
    view = await loadView(scan);
  } catch (error) {
    if (mine === request) showTable(error.message);
    return;
  }
  if (mine !== request) return;
  view.summary.scan = scan;  // the folder may have been renamed; its current name locates the images
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
  request = {};
  const wanted = new URLSearchParams(location.hash.slice(1));
  const name = wanted.get("scan");
  const number = Number.parseInt(wanted.get("slice"), 10);
  const slice = Number.isNaN(number) ? null : number - 1;
  const summary = page.scans.find((s) => s.scan === name);
  if (summary && shown?.summary.scan === name) {
    if (slice !== null) shown.go(slice);
    if (wanted.get("window") !== null) shown.setWindow(shown.windowNamed(wanted.get("window")));
    return;
  }
  if (summary) {
    showScan(summary, slice, wanted.get("window"));
    return;
  }
  showTable(name === null ? null : `This page has no scan named ${name}. Choose one from the table.`);
}

addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=range]), select, textarea");
  if (!shown || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (shown.press(event.key)) event.preventDefault();
});
route();
