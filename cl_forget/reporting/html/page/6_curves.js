// -- along the optimiser steps ------------------------------------------------------------------------
// An exponential mean that starts at the first value and not at zero (Adam's correction), anew in each task.
function smoothed(values, stageOf, weight) {
  let sum = 0, norm = 0, stage;
  return values.map((value, k) => {
    if (stageOf[k] !== stage) [sum, norm, stage] = [0, 0, stageOf[k]];
    [sum, norm] = [weight * sum + (1 - weight) * value, weight * norm + (1 - weight)];
    return sum / norm;
  });
}

// Where one task ends and the next begins nothing is joined: the loss of one has nothing to do with the other's.
function broken(xs, ys, stageOf) {
  const [x, y] = [[], []];
  xs.forEach((at, k) => {
    if (k && stageOf[k] !== stageOf[k - 1]) { x.push(xs[k - 1]); y.push(null); }
    x.push(at);
    y.push(ys[k]);
  });
  return { x, y };
}

const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// Per method its seeds' curves and their mean; (method, seed, step) stand in order in the data.
function curvesOf(figure, measure) {
  const weight = measure.name === "lr" || figure.after.includes(measure.name) ? 0 : figure.smoothing ?? 0;
  const groups = new Map();
  for (const entry of figure.dataLines) {
    if (entry.measure !== measure.name || hidden.has(entry.method)) continue;
    if (!groups.has(entry.method)) groups.set(entry.method, new Map());
    const seeds = groups.get(entry.method);
    if (!seeds.has(entry.seed)) seeds.set(entry.seed, []);
    seeds.get(entry.seed).push(entry);
  }
  return [...methods.keys()].filter((name) => groups.has(name)).map((name) => {
    const ends = figure.after.includes(measure.name) ? [] : figure.stages[name] ?? [];
    const stageOf = (step) => ends.findIndex(([, last]) => step <= last);
    const seeds = [...groups.get(name)].map(([seed, entries]) => {
      const xs = entries.map((entry) => entry.step), stages = xs.map(stageOf);
      return { seed, xs, stages, ys: smoothed(entries.map((entry) => entry.value * scaleOf(measure)), stages, weight) };
    });
    const at = new Map();
    for (const { xs, ys } of seeds) xs.forEach((x, k) => at.set(x, [...(at.get(x) ?? []), ys[k]]));
    const xs = [...at.keys()].sort((a, b) => a - b);
    return { name, seeds, xs, ys: xs.map((x) => meanOf(at.get(x))), counts: xs.map((x) => at.get(x).length), stages: xs.map(stageOf) };
  });
}

function drawCurves(figure, plot) {
  const measure = figure.measureOf[plot.dataset.measure], groups = curvesOf(figure, measure);
  if (!groups.length) return clear(plot);
  const after = figure.after.includes(measure.name), logarithmic = Boolean(figure.logarithmic) && measure.unit !== "percent";
  const kept = (value) => (logarithmic && !(value > 0) ? null : value);
  const faint = [], traces = [];
  for (const { name, seeds, xs, ys, counts, stages } of groups) {
    const ink = methodColor(name), places = figure.stages[name] ?? [];
    if (showSeeds && seeds.length > 1) for (const one of seeds) {
      faint.push({ ...broken(one.xs, one.ys.map(kept), one.stages), mode: "lines", line: { color: faded(ink, 0.28), width: 0.8 }, hoverinfo: "skip", name });
    }
    const line = broken(xs, ys.map(kept), stages);
    const stage = (x) => places.find(([, last]) => x <= last)?.[0] ?? "";
    traces.push({
      ...line, mode: after ? "lines+markers" : "lines", name, connectgaps: false, line: { color: ink, width: 1.7 },
      marker: { size: 6, color: ink, symbol: methods.get(name).symbol },
      text: line.x.map((x) => `<b>${plain(name)}</b>, step ${x.toLocaleString("en")}${after ? "" : ` (${plain(stage(x))})`}<br>${format(ys[xs.indexOf(x)] / scaleOf(measure), measure)} ${spec.units[measure.unit].suffix}${counts[xs.indexOf(x)] > 1 ? `, mean of ${counts[xs.indexOf(x)]} seeds` : ""}`),
      hovertemplate: "%{text}<extra></extra>",
    });
    // The method's marker at the end of its line, for those who see no colour.
    const end = ys.length - 1;
    if (!after && kept(ys[end]) !== null) traces.push({
      x: [xs[end]], y: [ys[end]], mode: "markers", hoverinfo: "skip", name,
      marker: { size: 7, color: ink, symbol: methods.get(name).symbol, line: { color: color("ground"), width: 0.8 } },
    });
  }
  // Methods share most borders; each is drawn once, named by the first that has it.
  const borders = new Map();
  for (const { name } of groups) for (const [stage, last] of figure.stages[name] ?? []) if (!borders.has(last)) borders.set(last, stage);
  const few = borders.size <= 8 ? [...borders] : [];
  return draw(plot, [...faint, ...traces], layoutOf({
    width: plot.clientWidth, height: 270, margin: { l: 50, r: 14, t: 18, b: 40 },
    shapes: [...borders.keys()].map((x) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: color("muted"), width: 1, dash: "dot" } })),
    annotations: few.map(([x, stage]) => ({
      x, yref: "paper", y: 1, xanchor: "right", yanchor: "bottom", showarrow: false,
      text: plain(shorten(stage, 70, 10)), font: { size: 10, color: color("muted") },
    })),
    xaxis: axis({ rangemode: "tozero", nticks: 5, separatethousands: true, showgrid: false, title: { text: "optimiser steps", standoff: 4, font: { size: 11, color: color("muted") } } }),
    yaxis: axis({ type: logarithmic ? "log" : "linear", nticks: 6, exponentformat: "power", ...(logarithmic ? { dtick: undefined } : {}) }),
  }));
}

for (const input of document.querySelectorAll("[data-smoothing], [data-logarithmic]")) {
  const figure = spec.figures[input.closest("article").id];
  input.addEventListener("input", () => {
    if (input.type === "range") {
      figure.smoothing = +input.value;
      input.parentElement.querySelector("output").textContent = figure.smoothing ? figure.smoothing.toFixed(2) : "off";
    } else {
      figure.logarithmic = input.checked;
    }
    redraw(plots.filter((entry) => entry.figure === figure));
  });
}
