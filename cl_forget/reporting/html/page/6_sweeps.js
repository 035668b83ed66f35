// -- one method along its knob ------------------------------------------------------------------------
const STROKES = ["solid", "dash"];

// Settings on a logarithmic scale where they span more than a decade; 0 then stands left of the smallest.
function knobScale(settings) {
  const positive = settings.filter((s) => s > 0), least = Math.min(...positive);
  const logarithmic = positive.length > 1 && Math.max(...positive) / least > 10 && settings.every((s) => s >= 0);
  if (!logarithmic) return (s) => s;
  return (s) => (s > 0 ? Math.log10(s) : Math.log10(least) - 0.7);
}

// The settings themselves, or round numbers where there are too many of them.
function knobTicks(settings, at) {
  if (settings.length <= 7) return settings;
  const [low, high] = [settings[0] || settings[1], settings.at(-1)];
  const decades = at(high) === high ? [] : Array.from({ length: 40 }, (_, k) => 10 ** (k - 20)).filter((s) => s >= low && s <= high);
  if (decades.length < 2) return settings.filter((_, k) => k % Math.ceil(settings.length / 6) === 0);
  return decades.filter((_, k) => k % Math.ceil(decades.length / 6) === 0);
}

function drawKnobs(figure, plot) {
  const name = plot.dataset.method, chosen = [...new Set([figure.x, figure.y])].map((key) => figure.measureOf[key]);
  plot.closest(".facet").hidden = hidden.has(name);
  const own = hidden.has(name) ? [] : figure.foldedLines.filter((entry) => entry.method === name && entry.setting !== null);
  const entries = own.filter((entry) => chosen.some((measure) => measure.name === entry.measure));
  if (!entries.length) return clear(plot);
  const settings = [...new Set(entries.map((entry) => entry.setting))].sort((a, b) => a - b);
  const at = knobScale(settings), ink = methodColor(name), traces = [];
  const ribbons = [], points = [];
  chosen.forEach((measure, k) => {
    const along = entries.filter((entry) => entry.measure === measure.name).sort((a, b) => a.setting - b.setting);
    const scale = scaleOf(measure), xs = along.map((entry) => at(entry.setting)), yaxis = k && chosen[0].unit !== measure.unit ? "y2" : "y";
    if (!along.length) return;
    if (along.length > 1 && along.every((entry) => known(entry.low))) ribbons.push({
      x: [...xs, ...[...xs].reverse()], y: [...along.map((e) => ends(e, measure)[1]), ...[...along].reverse().map((e) => ends(e, measure)[0])].map((end) => end * scale),
      mode: "lines", fill: "toself", fillcolor: faded(ink, 0.13), line: { width: 0 }, hoverinfo: "skip", yaxis,
    });
    traces.push({
      x: xs, y: along.map((entry) => entry.mean * scale), mode: "lines+markers", yaxis, name: measure.title,
      line: { color: ink, width: 1.8, dash: STROKES[k] }, marker: { size: 6, symbol: methods.get(name).symbol, color: k ? color("ground") : ink, line: { color: ink, width: 1.5 } },
      customdata: along.map((entry) => runOf({ ...entry, seed: methods.get(name).seeds[0] })),
      text: along.map((entry) => `<b>${plain(entry.knob)} = ${entry.setting}</b><br>${plain(measure.title)} ${withInterval(entry, measure)} ${spec.units[measure.unit].suffix}<br>${entry.count} ${entry.count > 1 ? "seeds" : "seed"}`),
      hovertemplate: "%{text}<extra></extra>",
    });
    if (showSeeds) {
      const seeds = figure.dataLines.filter((entry) => entry.method === name && entry.measure === measure.name && entry.setting !== null);
      if (seeds.length > along.length) points.push({
        x: seeds.map((entry) => at(entry.setting)), y: seeds.map((entry) => entry.value * scale), mode: "markers", yaxis,
        marker: { size: 4, color: ink, opacity: 0.4 }, customdata: seeds.map(runOf),
        text: seeds.map((entry) => `seed ${entry.seed}: ${format(entry.value, measure)}${shortcut(runOf(entry))}`), hovertemplate: "%{text}<extra></extra>",
      });
    }
  });
  const picked = figure.selected[name], ticks = knobTicks(settings, at);
  const two = chosen.length > 1 && chosen[0].unit !== chosen[1].unit;
  const legend = chosen.map((measure, k) => `${k ? "╌╌" : "──"} ${plain(measure.title)} ${spec.units[measure.unit].suffix}`).join("   ");
  return draw(plot, [...ribbons, ...points, ...traces], layoutOf({
    width: plot.clientWidth, height: 250, margin: { l: 38, r: two ? 40 : 10, t: 24, b: 44 },
    shapes: known(picked) ? [{ type: "line", xref: "x", yref: "paper", x0: at(picked), x1: at(picked), y0: 0, y1: 1, line: { color: color("muted"), width: 1, dash: "dot" } }] : [],
    annotations: [{ xref: "paper", yref: "paper", x: 0, y: 1, xanchor: "left", yanchor: "bottom", showarrow: false, text: legend, font: { size: 11, color: textColor(name) } }],
    xaxis: axis({ tickangle: 0, tickvals: ticks.map(at), ticktext: ticks.map((s) => `${+s.toPrecision(3)}`), title: { text: plain(own[0].knob), standoff: 6, font: { size: 11, color: color("muted") } } }),
    yaxis: axis({ nticks: 6 }), ...(two ? { yaxis2: axis({ overlaying: "y", side: "right", showgrid: false, nticks: 6 }) } : {}),
  }));
}

// -- parallel coordinates -----------------------------------------------------------------------------
// Plain lines on one pair of axes: they print, scale and export like every other figure.
const brushes = new Map();  // axis -> [low, high] in the units shown
const MISSING_AT = -0.1;

function parallelAxes(figure) {
  return figure.axes.map((name) => {
    const measure = figure.measureOf[name], values = figure.data[name].filter(known).map((value) => value * scaleOf(measure));
    const logarithmic = figure.logarithmic.includes(name), to = logarithmic ? Math.log10 : (value) => value;
    const usable = logarithmic ? values.filter((value) => value > 0) : values;
    const low = Math.min(...usable), high = Math.max(...usable), from = to(low), span = to(high) - from || 1;
    return {
      name, measure, low, high, at: (value) => (!known(value) || (logarithmic && value <= 0) ? MISSING_AT : (to(value) - from) / span),
      back: (position) => (logarithmic ? 10 ** (from + position * span) : from + position * span),
    };
  });
}

const brushed = (row, measureOf) => [...brushes].every(([name, [low, high]]) => {
  const value = known(row[name]) ? row[name] * scaleOf(measureOf[name]) : null;
  return value !== null && value >= low && value <= high;
});

// Seeds folded: one row per method and setting, the mean of what each axis measured.
function meansOf(rows, axes) {
  const groups = Map.groupBy(rows, (row) => JSON.stringify([row.method, row.setting]));
  const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
  return [...groups.values()].map((own) => ({
    ...own[0], count: own.length, ...Object.fromEntries(axes.map((ax) => [ax.name, mean(own.map((row) => row[ax.name]).filter(known))])),
  }));
}

function drawParallel(figure, plot) {
  const rows = shown(figure.dataLines), axes = parallelAxes(figure);
  if (!rows.length) return clear(plot);
  const shownValue = (ax, row) => (known(row[ax.name]) ? row[ax.name] * scaleOf(ax.measure) : null);
  const path = (of) => ({
    x: of.flatMap(() => [...axes.keys(), null]), y: of.flatMap((row) => [...axes.map((ax) => ax.at(shownValue(ax, row))), null]),
  });
  const kept = rows.filter((row) => brushed(row, figure.measureOf)), left = rows.filter((row) => !brushed(row, figure.measureOf));
  const [inside, outside] = showSeeds ? [kept, left] : [meansOf(kept, axes), meansOf(left, axes)];
  const traces = [];
  if (outside.length) traces.push({ ...path(outside), mode: "lines", line: { color: color("front"), width: 0.7 }, opacity: 0.5, hoverinfo: "skip" });
  for (const name of methods.keys()) {
    const own = inside.filter((row) => row.method === name);
    if (!own.length) continue;
    traces.push({
      ...path(own), mode: "lines", name, line: { color: methodColor(name), width: own.length > 200 ? 0.8 : 1.3 }, opacity: Math.max(0.12, Math.min(0.75, 60 / inside.length)),
      customdata: own.flatMap((row) => [...axes.map(() => runOf(row)), null]),
      text: own.flatMap((row) => [...axes.map((ax) => `<b>${plain(name)}</b>${known(row.setting) ? `, ${plain(row.setting)}` : ""}, ${row.count ? `mean of ${row.count}` : `seed ${row.seed}`}<br>${plain(ax.measure.title)} ${format(row[ax.name], ax.measure)}${shortcut(runOf(row))}`), null]),
      hovertemplate: "%{text}<extra></extra>",
    });
  }
  const width = Math.max(plot.parentElement.clientWidth, 96 * axes.length), small = { size: 10.5, color: color("muted") };
  const note = (k, y, text, extra) => ({ x: k, y, text, showarrow: false, font: small, bgcolor: faded(color("ground"), 0.7), ...extra });
  const finish = byId(`${figure.name}-count`);
  if (finish) finish.textContent = `${kept.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} trials`;
  const room = (width - 80) / Math.max(1, axes.length - 1) - 8;
  return draw(plot, traces, layoutOf({
    width, height: 400, margin: { l: 44, r: 44, t: 44, b: 30 }, dragmode: matchMedia("(pointer: fine)").matches ? "select" : false, selections: [],
    shapes: axes.flatMap((ax, k) => [
      { type: "line", x0: k, x1: k, y0: 0, y1: 1, line: { color: color("muted"), width: 1 } },
      ...(brushes.has(ax.name) ? [{ type: "rect", x0: k - 0.06, x1: k + 0.06, y0: ax.at(Math.max(brushes.get(ax.name)[0], ax.low)), y1: ax.at(Math.min(brushes.get(ax.name)[1], ax.high)), fillcolor: faded(color("accent"), 0.25), line: { color: color("accent"), width: 1 } }] : []),
    ]),
    annotations: axes.flatMap((ax, k) => [
      note(k, 1.07, plain(shorten(ax.measure.title, room, 11)), { font: { size: 11, color: color("ink") }, yanchor: "bottom" }),
      note(k, 1, format(ax.high / scaleOf(ax.measure), ax.measure), { yanchor: "bottom" }),
      note(k, 0, format(ax.low / scaleOf(ax.measure), ax.measure), { yanchor: "top" }),
    ]),
    xaxis: axis({ range: [-0.15, axes.length - 0.85], visible: false }), yaxis: axis({ range: [-0.14, 1.16], visible: false }),
  })).then(() => {
    if (plot.dataset.brush) return;
    plot.dataset.brush = "true";
    plot.on("plotly_selected", (event) => {
      if (!event?.range) return;
      const [left, right] = event.range.x.toSorted((a, b) => a - b), [low, high] = event.range.y.toSorted((a, b) => a - b);
      const all = parallelAxes(figure);
      let hit = all.filter((_, k) => k >= left && k <= right);
      if (!hit.length) hit = [all[Math.max(0, Math.min(all.length - 1, Math.round((left + right) / 2)))]];
      hit.forEach((ax) => setBrush(ax.name, [ax.back(Math.max(low, 0)), ax.back(Math.min(high, 1))]));
    });
    plot.on("plotly_doubleclick", () => { brushes.clear(); brushChanged(); });
  });
}

function setBrush(name, ends) {
  if (ends) brushes.set(name, ends);
  else brushes.delete(name);
  brushChanged();
}

function brushChanged() {
  document.querySelectorAll("[data-brush-axis]").forEach((input) => {
    if (input === document.activeElement) return;
    const ends = brushes.get(input.dataset.brushAxis), end = ends?.[+input.dataset.end];
    input.value = Number.isFinite(end) ? +end.toPrecision(4) : "";
  });
  redraw(plots.filter(({ figure }) => figure.kind === "parallel"));
  listings.forEach((listing) => listing.fill());
}

// -- lists of runs and trials ---------------------------------------------------------------------------
const PAGE = 25;

class Listing {
  constructor(figure) {
    Object.assign(this, { figure, host: byId(figure.name), limit: PAGE, by: null, descending: true, words: "" });
    this.texts = figure.texts;
    this.body = this.host.querySelector("tbody");
    this.host.querySelector("input[type=search]").addEventListener("input", (event) => { this.words = event.target.value.toLowerCase(); this.limit = PAGE; this.fill(); });
    this.host.querySelector(".more").addEventListener("click", () => { this.limit += 4 * PAGE; this.fill(); });
    this.host.querySelectorAll("th .sort").forEach((button) => button.addEventListener("click", () => this.sort(button.closest("th"))));
    this.fill();
  }

  sort(heading) {
    const name = heading.dataset.measure;
    this.descending = this.by === name ? !this.descending : true;
    this.by = name;
    this.host.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
    this.fill();
  }

  rows() {
    const words = this.words.split(/\s+/).filter(Boolean);
    const matches = (row) => words.every((word) => this.texts.some((name) => String(row[name] ?? "").toLowerCase().includes(word)));
    const inBrush = (row) => !brushes.size || [...brushes.keys()].some((name) => !(name in row)) || brushed(row, this.figure.measureOf);
    const rows = shown(this.figure.dataLines).filter((row) => matches(row) && inBrush(row));
    if (!this.by) return rows;
    const sign = this.descending ? -1 : 1, by = this.by;
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    return rows.sort((a, b) => (known(a[by]) ? 0 : 1) - (known(b[by]) ? 0 : 1) || (known(a[by]) && known(b[by]) ? sign * compare(a[by], b[by]) : 0));
  }

  fill() {
    const rows = this.rows();
    this.body.replaceChildren(...rows.slice(0, this.limit).map((row) => this.line(row)));
    this.host.querySelector(".count").textContent = `${Math.min(this.limit, rows.length).toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
    this.host.querySelector(".more").hidden = rows.length <= this.limit;
  }

  line(row) {
    const line = document.createElement("tr");
    this.texts.forEach((name, k) => {
      const cell = line.appendChild(document.createElement(k ? "td" : "th"));
      cell.className = "text";
      if (k) cell.textContent = row[name] ?? "–";
      else {
        cell.scope = "row";
        const button = cell.appendChild(document.createElement("button"));
        Object.assign(button, { type: "button", className: "open", textContent: row[name] });
        button.dataset.index = runOf(row) ?? "";
        button.prepend(glyphOf(row.method));
        const { note } = spec.runs[runOf(row)] ?? {};
        if (note) cell.append(Object.assign(document.createElement("small"), { textContent: " ✎", title: note }));
      }
    });
    for (const measure of this.figure.measures) {
      const cell = line.appendChild(document.createElement("td"));
      cell.textContent = withError(row, measure);
    }
    return line;
  }
}
const listings = figures.filter((figure) => figure.kind === "listing").map((figure) => new Listing(figure));
