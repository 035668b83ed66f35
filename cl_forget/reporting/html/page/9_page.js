// -- the page -----------------------------------------------------------------------------------------
function clear(plot) {
  Plotly.purge(plot);
  delete plot.dataset.live;
  delete plot.dataset.brush;
  plot.textContent = "";
}

const RENDERERS = {
  tradeoff: drawTradeoff, bars: drawBars, lines: drawLines, curves: drawCurves, knobs: drawKnobs, parallel: drawParallel,
  shares: drawShares, slices: drawSlices, pairs: drawPairs, history: drawHistory, anytime: drawAnytime, lanes: drawLanes, profiles: drawProfiles, law: drawLaw,
};
const plots = figures.flatMap((figure) =>
  [...byId(figure.name).querySelectorAll(".plot")].map((plot) => ({ figure, plot, near: false })));
const entryOf = new Map(plots.map((entry) => [entry.plot, entry]));
const stale = new Set(plots);
let drawing = Promise.resolve();

// One plot at a time: plotly does not survive being called on a plot it is still busy with.
function drawNow(entry) {
  drawing = drawing.then(async () => {
    if (!stale.delete(entry)) return;
    await RENDERERS[entry.figure.kind](entry.figure, entry.plot);
    await new Promise((resume) => setTimeout(resume));  // the page answers while others are still to come
  });
  return drawing;
}

// Only what is in sight or nearly so is drawn; the rest when it is scrolled to.
function redraw(entries = plots) {
  entries.forEach((entry) => stale.add(entry));
  return drawNear();
}

async function drawNear() {
  delete document.documentElement.dataset.ready;
  await Promise.all(plots.filter((entry) => entry.near && stale.has(entry)).map(drawNow));
  if (!plots.some((entry) => entry.near && stale.has(entry))) document.documentElement.dataset.ready = "true";
}

const watch = new IntersectionObserver((changes) => {
  if (!probe.isConnected) return;  // another page has been written in the place of this one
  for (const { target, isIntersecting } of changes) entryOf.get(target).near = isIntersecting;
  drawNear();
}, { rootMargin: "300px 0px" });

const drawAll = () => Promise.all(plots.map(drawNow));

// -- what the reader has chosen, kept in the address so that a view can be shared and survives a reload ---
function remember() {
  const chosen = new URLSearchParams();
  if (hidden.size) chosen.set("off", JSON.stringify([...hidden]));
  if (showSeeds !== spec.runs.length <= 400) chosen.set("seeds", showSeeds ? "1" : "0");
  if (isDark() !== system.matches) chosen.set("theme", isDark() ? "dark" : "light");
  for (const figure of figures) {
    if (figure.initial && (figure.x !== figure.initial[0] || figure.y !== figure.initial[1])) chosen.set(`axes.${figure.name}`, JSON.stringify([figure.x, figure.y]));
    if (figure.smoothing) chosen.set(`smooth.${figure.name}`, figure.smoothing);
    if (figure.logarithmic) chosen.set(`log.${figure.name}`, "1");
    const search = byId(figure.name)?.querySelector(".search input[type=search]");
    if (search?.value) chosen.set(`find.${figure.name}`, search.value);
  }
  for (const heading of document.querySelectorAll("article th[aria-sort]")) {
    chosen.set(`sort.${heading.closest("article").id}`, JSON.stringify([heading.dataset.measure, heading.getAttribute("aria-sort")]));
  }
  // What is unbounded has no number in JSON.
  if (brushes.size) chosen.set("brush", JSON.stringify([...brushes].map(([name, range]) => [name, range.map((end) => (Number.isFinite(end) ? end : null))])));
  if (byId("run").open) chosen.set("run", byId("run").dataset.run);
  const forgot = panel ? ["first", "second", "set", "seed"].map((name) => panelPick(name).value) : [];
  if (panel?.chosen) chosen.set("forgot", JSON.stringify(forgot));
  for (const figure of figures) if (figure.choice && JSON.stringify(figure.choice) !== figure.firstChoice) chosen.set(`choice.${figure.name}`, JSON.stringify(figure.choice));
  if (choice) chosen.set("items", JSON.stringify(choice));
  history.replaceState(null, "", `#${chosen}`);
}

function recall() {
  const chosen = new URLSearchParams(location.hash.slice(1));
  const read = (name) => { try { return JSON.parse(chosen.get(name)); } catch { return null; } };
  const list = (name) => { const value = read(name); return Array.isArray(value) ? value : []; };
  for (const name of list("off")) if (methods.has(name)) hidden.add(name);
  if (chosen.has("seeds")) showSeeds = chosen.get("seeds") === "1";
  if (byId("seeds")) byId("seeds").checked = showSeeds;
  if (chosen.has("theme")) setTheme(chosen.get("theme") === "dark");
  for (const figure of figures.filter(({ kind }) => kind === "tradeoff" || kind === "knobs")) {
    figure.initial = [figure.x, figure.y];
    const [x, y] = list(`axes.${figure.name}`);
    if (figure.measureOf[x] && figure.measureOf[y]) Object.assign(figure, { x, y });
    for (const axisName of ["x", "y"]) {
      const select = byId(figure.name).querySelector(`[data-axis=${axisName}]`);
      if (select) select.value = figure[axisName];
    }
    explainAxes(figure);
  }
  const item = read("items"), run = spec.runs.findIndex(({ name }) => name === chosen.get("run"));
  recallDetails(chosen, list);
  if (panel && list("forgot").length) Object.assign(panel, { wanted: list("forgot"), chosen: true });
  for (const figure of figures.filter((one) => one.choice)) recallChoices(figure, read(`choice.${figure.name}`));
  showHidden();
  if (item && typeof item === "object") openItems(item);
  else if (run >= 0) showRun(run);
}

// Smoothing, searches, orders and ranges are set as a reader's hand would.
function recallDetails(chosen, list) {
  const set = (input, value) => {
    if (!input) return;
    if (input.type === "checkbox") input.checked = value; else input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  };
  for (const [key, value] of [...chosen]) {
    const place = key.indexOf("."), what = key.slice(0, place), article = place > 0 ? byId(key.slice(place + 1)) : null;
    if (!article) continue;
    if (what === "smooth") set(article.querySelector("[data-smoothing]"), value);
    if (what === "log") set(article.querySelector("[data-logarithmic]"), true);
    if (what === "find") set(article.querySelector(".search input[type=search]"), value);
    if (what === "sort") {
      const [name, order] = list(key), heading = [...article.querySelectorAll("th[data-measure]")].find((one) => one.dataset.measure === name);
      // Each press turns the order round; the first one gives the largest on top, or whatever the table begins with.
      for (let k = 0; heading && k < 2 && heading.getAttribute("aria-sort") !== order; k++) heading.querySelector(".sort")?.click();
    }
  }
  for (const one of list("brush")) {
    if (Array.isArray(one) && Array.isArray(one[1])) setBrush(one[0], one[1].map((end, k) => (typeof end === "number" ? end : [-Infinity, Infinity][k])));
  }
}
function explainAxes(figure) {
  for (const axisName of ["x", "y"]) {
    const button = byId(figure.name).querySelector(`[data-explains=${axisName}]`);
    if (button) Object.assign(button.dataset, { of: figure[axisName], definition: figure.measureOf[figure[axisName]].definition });
  }
}

function setTheme(dark) {
  colors.clear();
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
}
const isDark = () => document.documentElement.style.colorScheme === "dark";

function showHidden() {
  document.querySelectorAll(".chip[data-method]").forEach((chip) => chip.setAttribute("aria-pressed", String(!hidden.has(chip.dataset.method))));
  document.querySelectorAll("tr[data-method], table[data-method], .verdicts li").forEach((element) => {
    element.hidden = hidden.has(element.dataset.method);
  });
  // A plot of one method alone: what is hidden is never in sight, so it is shown again here and not as it is drawn.
  document.querySelectorAll(".facet > .plot").forEach((plot) => {
    const name = plot.dataset.method ?? plot.dataset.panel;
    if (methods.has(name)) plot.parentElement.hidden = hidden.has(name);
  });
}

function switchMethods(change) {
  change();
  showHidden();
  listings.forEach((listing) => listing.fill());
  remember();
  redraw();
}

const toggleMethod = (name) => switchMethods(() => { if (!hidden.delete(name)) hidden.add(name); });
const onlyMethod = (name) => switchMethods(() => {
  const others = [...methods.keys()].filter((other) => other !== name);
  const alone = others.every((other) => hidden.has(other));
  hidden.clear();
  if (!alone) others.forEach((other) => hidden.add(other));
});
const allMethods = () => switchMethods(() => { if (hidden.size) hidden.clear(); else [...methods.keys()].forEach((name) => hidden.add(name)); });

function define(button) {
  const box = byId("definition");
  box.textContent = button.dataset.definition;
  const formula = spec.formulas?.[button.dataset.of];
  if (formula) box.insertAdjacentHTML("beforeend", formula);
  box.showPopover();
  const place = button.getBoundingClientRect();
  box.style.left = `${Math.max(8, Math.min(place.left, innerWidth - box.offsetWidth - 8))}px`;
  box.style.top = `${Math.min(place.bottom + 6, innerHeight - box.offsetHeight - 8)}px`;
}

function sortTable(button) {
  const heading = button.closest("th"), table = heading.closest("table"), body = table.tBodies[0];
  const descending = heading.getAttribute("aria-sort") !== "descending";
  table.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const value = (row) => row.querySelector(`td[data-measure="${CSS.escape(heading.dataset.measure)}"]`).dataset.value;
  // The pre-trained model stays on top and missing values at the bottom, whichever way the rest goes.
  const rows = [...body.rows].filter((row) => !row.classList.contains("reference"));
  const missing = (row) => value(row) === "";
  rows.sort((a, b) => missing(a) - missing(b) || (descending ? -1 : 1) * (value(a) - value(b)));
  body.append(...rows);
  remember();
}

const system = matchMedia("(prefers-color-scheme: dark)");
setTheme(system.matches);
// A browser may call itself light while it prints: the page is light on paper anyway, and as it was afterwards.
system.addEventListener("change", () => { if (probe.isConnected && !printed) { setTheme(system.matches); redraw(); } });
byId("theme").addEventListener("click", () => {
  setTheme(!isDark());
  remember();
  redraw();
});
byId("seeds")?.addEventListener("change", (event) => { showSeeds = event.target.checked; remember(); redraw(); });
document.querySelectorAll("[data-axis]").forEach((select) => select.addEventListener("change", () => {
  const figure = spec.figures[select.closest("article").id];
  figure[select.dataset.axis] = select.value;
  explainAxes(figure);
  remember();
  redraw(plots.filter((entry) => entry.figure === figure));
}));
document.querySelectorAll("[data-brush-axis]").forEach((input) => input.addEventListener("change", () => {
  const name = input.dataset.brushAxis, both = [...input.closest("fieldset").querySelectorAll("input")].map((one) => one.value);
  setBrush(name, both.every((value) => value === "") ? null : both.map((value, k) => (value === "" ? [-Infinity, Infinity][k] : +value)));
}));
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches(".chip[data-method]")) (event.shiftKey || event.altKey ? onlyMethod : toggleMethod)(button.dataset.method);
  if (button.matches("#all")) allMethods();
  if (button.matches(".term")) define(button);
  if (button.matches("table.results:not(.listing) .sort")) sortTable(button);
  if (button.matches(".save")) download(button.dataset.name, button.dataset.format);
  if (button.matches(".open")) showRun(+button.dataset.index);
  if (button.matches(".copy")) copy(button);
  if (button.matches(".copies")) chooseCopy(button);
  if (button.dataset.copies) copyOf(button.dataset.copies);
  if (button.matches(".clear-brush")) { brushes.clear(); brushChanged(); }
});
document.addEventListener("dblclick", (event) => {
  const chip = event.target.closest(".chip[data-method]");
  if (chip) onlyMethod(chip.dataset.method);
});
byId("run").addEventListener("click", (event) => { if (event.target === event.currentTarget) event.currentTarget.close(); });
byId("run").addEventListener("close", ({ target }) => {
  if (target.open) return;
  delete target.dataset.run;
  remember();
});
addEventListener("beforeprint", beforePrint);
addEventListener("afterprint", afterPrint);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width || printed) return;  // a phone's address bar changes the height only
  width = innerWidth;
  redraw();
});
// A served page asks what is new; its choices are in the address, so it may load itself again at any time.
async function ask() {
  const line = byId("live");
  try {
    const status = await (await fetch("status")).json();
    line.textContent = status.progress;
    line.classList.remove("lost");
    if (status.version !== line.dataset.version && !document.querySelector("dialog[open]")) location.reload();
  } catch {
    line.textContent = "the server has stopped; this is the last state";
    line.classList.add("lost");
  }
}
if (byId("live")) {
  ask();
  setInterval(ask, 3000);
}
linkItems();
watchScrolls();
// Whatever was pressed or typed may be part of the view; links within the page keep their own address.
let later;
for (const kind of ["input", "change", "click", "pointerup"]) document.addEventListener(kind, ({ target }) => {
  clearTimeout(later);
  if (!target.closest?.("a")) later = setTimeout(() => { if (probe.isConnected) remember(); }, 60);
});
window.clForget = { runs: spec.runs, csv, paretoFront, figureSvg, figurePng, drawAll, showRun, setBrush, openItems, copyText };
recall();
plots.forEach((entry) => watch.observe(entry.plot));
if (!plots.length) document.documentElement.dataset.ready = "true";
