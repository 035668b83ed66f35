// Draws the embedded specification. Every figure is redrawn from data on each change (method switched,
// seeds folded, axis chosen, theme, width), so there is one path and no state in the drawings.
"use strict";
(() => {
const byId = (id) => document.getElementById(id);
const spec = JSON.parse(byId("specification").textContent);
const methods = new Map(spec.methods.map((method, index) => [method.name, { ...method, index }]));
const figures = Object.values(spec.figures);
const hidden = new Set();
let showSeeds = true;

// -- data -------------------------------------------------------------------------------------------
const lines = (frame) => {
  const columns = Object.keys(frame);
  return (frame[columns[0]] ?? []).map((_, k) => Object.fromEntries(columns.map((name) => [name, frame[name][k]])));
};
for (const figure of figures) {
  figure.dataLines = lines(figure.data);
  figure.foldedLines = lines(figure.folded);
  figure.measureOf = Object.fromEntries(figure.measures.map((measure) => [measure.name, measure]));
}
const shown = (entries) => entries.filter((entry) => !hidden.has(entry.method));
const scaleOf = (measure) => spec.units[measure.unit].scale;
const known = (value) => value !== null && value !== undefined;

// Numbers are written as in reporting/numbers.py: three significant digits, at most three decimals.
const threeDigits = (value) => {
  const size = Math.abs(value), digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 || size === 0 ? 2 : 3;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
};
const format = (value, measure) => {
  const scaled = value * scaleOf(measure);
  let text;
  if (scaleOf(measure) === 100) text = scaled.toFixed(1);
  else if (measure.unit === "ratio") text = scaled.toFixed(2);
  else if (measure.unit !== "count") text = threeDigits(scaled);
  else {
    const [, size, letter] = [[1e9, 1e9, " G"], [1e6, 1e6, " M"], [1e4, 1e3, " k"]].find(([from]) => scaled >= from) ?? [0, 1, ""];
    text = letter ? threeDigits(scaled / size) + letter : scaled.toLocaleString("en", { maximumFractionDigits: 0 });
  }
  if (!/[1-9]/.test(text)) text = text.replace("-", "");
  return (measure.unit === "change" && scaled > 0 && /[1-9]/.test(text) ? "+" : "") + text.replace("-", "−");
};
const withInterval = (entry, measure) => {
  const text = format(entry.mean, measure);
  if (!known(entry.low)) return text;
  const half = format((entry.high - entry.low) / 2, { ...measure, unit: measure.unit === "change" ? "points" : measure.unit });
  return `${text} ± ${half}`;
};

// Plotly reads tags in its texts; names are to be shown as they are.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");

const csv = (name) => {
  if (name in spec.tables) return spec.tables[name];
  const { data } = spec.figures[name];
  const quote = (cell) => (/[",\n]/.test(cell ?? "") ? `"${String(cell).replaceAll('"', '""')}"` : cell ?? "");
  const rows = [Object.keys(data), ...lines(data).map(Object.values)];
  return rows.map((row) => row.map(quote).join(",")).join("\n") + "\n";
};

// -- look -------------------------------------------------------------------------------------------
const probe = document.body.appendChild(document.createElement("span"));
probe.hidden = true;
const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
const colors = new Map();
// A colour of the style sheet as rgb(): mixed colours are computed in notations that plotly does not read.
const color = (name) => {
  if (!colors.has(name)) {
    probe.style.color = `var(--${name})`;
    pen.fillStyle = getComputedStyle(probe).color;
    pen.fillRect(0, 0, 1, 1);
    colors.set(name, `rgb(${pen.getImageData(0, 0, 1, 1).data.slice(0, 3).join(", ")})`);
  }
  return colors.get(name);
};
const methodColor = (name) => color(`m${methods.get(name).index}`);
const textColor = (name) => color(`t${methods.get(name).index}`);
const faded = (rgb, alpha) => rgb.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);
const FONT = getComputedStyle(document.body).fontFamily;
const CONFIG = { displayModeBar: false, responsive: false };

const axis = (extra) => ({
  gridcolor: color("line"), zeroline: false, linecolor: color("line"), ticks: "",
  tickfont: { color: color("muted"), size: 11 }, fixedrange: true, ...extra,
});
const layoutOf = (extra) => ({
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
  font: { family: FONT, color: color("ink"), size: 12 }, dragmode: false,
  hoverlabel: { bgcolor: color("panel"), bordercolor: color("line"), font: { color: color("ink"), family: FONT, size: 12 }, align: "left" },
  ...extra,
});
const textWidth = (() => {
  const context = document.createElement("canvas").getContext("2d");
  return (text, size, weight = 400) => {
    context.font = `${weight} ${size}px ${FONT}`;
    return context.measureText(text).width;
  };
})();

// -- labels -----------------------------------------------------------------------------------------
const DISTANCES = [5, 8, 12, 18, 27, 40, 58, 84];
const overlap = (a, b) =>
  Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
const along = (from, to, count) =>
  Array.from({ length: count }, (_, k) => [0, 1].map((i) => from[i] + ((to[i] - from[i]) * (k + 1)) / (count + 1)));

// The same search as reporting/_labels.py: the cheapest place around the anchor, three times over.
function placeLabels(labels, obstacles, bounds) {
  const placed = [];
  for (let round = 0; round < 3; round++) {
    labels.forEach((label, k) => {
      const others = placed.filter((_, i) => i !== k);
      const leaders = others.flatMap(({ anchor, x, y }) => along(anchor, [x, y], 12).map(([px, py]) => [px - 1, py - 1, px + 1, py + 1]));
      const reach = [label.width, label.height].map((length) => length + DISTANCES.at(-1));
      const near = ([left, top, right, bottom]) =>
        right > label.anchor[0] - reach[0] && left < label.anchor[0] + reach[0] &&
        bottom > label.anchor[1] - reach[1] && top < label.anchor[1] + reach[1];
      const boxes = [...obstacles, ...leaders, ...others.map((other) => other.box)].filter(near);
      let best = null;
      for (const distance of DISTANCES) {
        for (let a = 0; a < 16; a++) {
          const [dx, dy] = [Math.cos((a * Math.PI) / 8), Math.sin((a * Math.PI) / 8)];
          const x = label.anchor[0] + dx * (distance + label.width / 2);
          const y = label.anchor[1] + dy * (distance + label.height / 2);
          const box = [x - label.width / 2, y - label.height / 2, x + label.width / 2, y + label.height / 2];
          let cost = distance + 1 - dx;
          if (box[0] < bounds[0] || box[1] < bounds[1] || box[2] > bounds[2] || box[3] > bounds[3]) cost += 1e5;
          const limit = best ? best.cost : Infinity;
          for (const taken of boxes) if ((cost += 4 * overlap(box, taken)) >= limit) break;
          if (cost >= limit) continue;
          const path = along(label.anchor, [x, y], 12);
          for (const { box: [left, top, right, bottom] } of others) {
            if (path.some(([px, py]) => px > left && px < right && py > top && py < bottom)) cost += 60;
          }
          if (cost < limit) best = { ...label, x, y, box, cost };
        }
      }
      placed[k] = best;
    });
  }
  return placed;
}

// -- trade-off --------------------------------------------------------------------------------------
// Positions of the points no other dominates, by rising x; a measure of which less is better counts negatively.
function paretoFront(points, signs) {
  const order = points.map((_, k) => k).sort((a, b) =>
    signs[0] * (points[b][0] - points[a][0]) || signs[1] * (points[b][1] - points[a][1]));
  const front = [];
  for (const k of order) {
    const last = points[front[front.length - 1]];
    const better = !last || signs[1] * (points[k][1] - last[1]) > 0;
    if (better || (points[k][0] === last[0] && points[k][1] === last[1])) front.push(k);
  }
  return front.reverse();
}

function joined(entries, xMeasure, yMeasure, key) {
  const found = new Map();
  for (const entry of entries) {
    if (entry.measure !== xMeasure.name && entry.measure !== yMeasure.name) continue;
    const id = JSON.stringify([entry.method, entry.knob, entry.setting, entry[key]]);
    const pair = found.get(id) ?? found.set(id, { ...entry }).get(id);
    if (entry.measure === xMeasure.name) pair.x = entry;
    if (entry.measure === yMeasure.name) pair.y = entry;
  }
  return [...found.values()].filter((pair) => pair.x && pair.y);
}

function tradeoffData(figure) {
  const xMeasure = figure.measureOf[figure.x], yMeasure = figure.measureOf[figure.y];
  const folded = joined(shown(figure.foldedLines), xMeasure, yMeasure, "none");
  const value = (pair) => [pair.x.mean * scaleOf(xMeasure), pair.y.mean * scaleOf(yMeasure)];
  const points = folded.map(value);
  const signs = [xMeasure, yMeasure].map((measure) => (measure.better === "lower" ? -1 : 1));
  return {
    xMeasure, yMeasure, signs, points,
    front: paretoFront(points, signs).map((k) => points[k]),
    means: folded.filter((pair) => pair.setting === null),
    curve: folded.filter((pair) => pair.setting !== null)
      .sort((a, b) => a.method.localeCompare(b.method) || a.setting - b.setting),
    seeds: joined(shown(figure.dataLines), xMeasure, yMeasure, "seed").filter((pair) => pair.setting === null && pair.seed !== null),
    value,
  };
}

// Margins and ranges are set here, not left to plotly, so that labels can be placed in pixels beforehand.
function rangesOf(data) {
  const ends = (which, measure) => {
    const values = data.points.map((point) => point[which === "x" ? 0 : 1]);
    for (const pair of data.means) if (known(pair[which].low)) values.push(pair[which].low * scaleOf(measure), pair[which].high * scaleOf(measure));
    if (showSeeds) for (const pair of data.seeds) values.push(pair[which].value * scaleOf(measure));
    const low = Math.min(...values), high = Math.max(...values), pad = (high - low || Math.abs(high) || 1) * 0.07;
    return [low - pad, high + pad];
  };
  return [ends("x", data.xMeasure), ends("y", data.yMeasure)];
}

function stair(front, signs, ranges) {
  if (!front.length) return [];
  // From the edge where the first coordinate is worst to the edge where the second is.
  const worst = [ranges[0][signs[0] > 0 ? 0 : 1], ranges[1][signs[1] > 0 ? 0 : 1]];
  const ordered = [...front].sort((a, b) => signs[0] * (a[0] - b[0]));
  const path = [[worst[0], ordered[0][1]]];
  ordered.forEach((point, k) => path.push(point, [point[0], k + 1 < ordered.length ? ordered[k + 1][1] : worst[1]]));
  return path;
}

function drawTradeoff(figure, plot) {
  const data = tradeoffData(figure), { xMeasure, yMeasure } = data;
  if (!data.points.length) return clear(plot);
  const width = plot.clientWidth, height = Math.max(400, Math.min(600, 0.58 * width));
  const margin = { l: 56, r: 12, t: 8, b: 46 };
  const ranges = rangesOf(data);
  const pixel = ([x, y]) => [
    margin.l + ((x - ranges[0][0]) / (ranges[0][1] - ranges[0][0])) * (width - margin.l - margin.r),
    margin.t + ((ranges[1][1] - y) / (ranges[1][1] - ranges[1][0])) * (height - margin.t - margin.b),
  ];
  const path = stair(data.front, data.signs, ranges);
  const traces = [{ x: path.map((p) => p[0]), y: path.map((p) => p[1]), mode: "lines", line: { color: color("front"), width: 5 }, hoverinfo: "skip", name: "Pareto front" }];
  const layers = [...methods.keys()].filter((name) => !hidden.has(name)).map((name) => methodTraces(name, data));
  for (const layer of ["curve", "seeds", "mean"]) traces.push(...layers.map((of) => of[layer]).filter(Boolean));
  const bounds = [margin.l, margin.t, width - margin.r, height - margin.b];
  const arrow = (measure) => ({ higher: "  → better", lower: "  ← better" })[measure.better] ?? "";
  const title = (measure) => ({ text: `${plain(measure.title)}${spec.units[measure.unit].suffix ? ", " + spec.units[measure.unit].suffix : ""}${arrow(measure)}`, standoff: 8, font: { size: 12, color: color("muted") } });
  const zoomable = matchMedia("(pointer: fine)").matches;
  return Plotly.react(plot, traces, layoutOf({
    width, height, margin, annotations: tradeoffLabels(data, path, pixel, bounds), dragmode: zoomable ? "zoom" : false,
    xaxis: axis({ range: ranges[0], title: title(xMeasure), fixedrange: !zoomable }),
    yaxis: axis({ range: ranges[1], title: title(yMeasure), fixedrange: !zoomable }),
  }), CONFIG);
}

function methodTraces(name, data) {
  const ink = methodColor(name), { xMeasure, yMeasure, value } = data;
  const of = (pairs) => pairs.filter((pair) => pair.method === name);
  const text = (pair) => `${plain(xMeasure.title)} ${withInterval(pair.x, xMeasure)}<br>${plain(yMeasure.title)} ${withInterval(pair.y, yMeasure)}`;
  const traces = {};
  const curve = of(data.curve), seeds = of(data.seeds), means = of(data.means);
  if (curve.length) traces.curve = {
    x: curve.map((p) => value(p)[0]), y: curve.map((p) => value(p)[1]), mode: "lines+markers", opacity: 0.8,
    line: { color: ink, width: 1.5 }, marker: { size: 5, color: ink }, name,
    text: curve.map((p) => `<b>${plain(name)}</b>, ${plain(p.knob)} = ${p.setting}<br>${text(p)}`), hovertemplate: "%{text}<extra></extra>",
  };
  if (showSeeds && seeds.length > 1) traces.seeds = {
    x: seeds.map((p) => p.x.value * scaleOf(xMeasure)), y: seeds.map((p) => p.y.value * scaleOf(yMeasure)), mode: "markers", name,
    marker: { size: 5, color: ink, opacity: 0.4 }, text: seeds.map((p) => `${plain(name)}, seed ${p.seed}`), hovertemplate: "%{text}<extra></extra>",
  };
  const bars = (which, measure) => known(means[0][which].low)
    ? { type: "data", symmetric: false, thickness: 1.2, width: 0, color: ink,
        array: means.map((p) => (p[which].high - p[which].mean) * scaleOf(measure)),
        arrayminus: means.map((p) => (p[which].mean - p[which].low) * scaleOf(measure)) }
    : undefined;
  if (means.length) traces.mean = {
    x: means.map((p) => value(p)[0]), y: means.map((p) => value(p)[1]), mode: "markers", name,
    error_x: bars("x", xMeasure), error_y: bars("y", yMeasure),
    marker: { size: methods.get(name).symbol === "star" ? 15 : 11, color: ink, symbol: methods.get(name).symbol, line: { color: color("ground"), width: 1 } },
    text: means.map((p) => `<b>${plain(name)}</b><br>${text(p)}`), hovertemplate: "%{text}<extra></extra>",
  };
  return traces;
}

function tradeoffLabels(data, front, pixel, bounds) {
  const around = ([x, y], r) => [x - r, y - r, x + r, y + r];
  const obstacles = data.means.map((pair) => around(pixel(data.value(pair)), 7));
  const path = (points, radius = 1.5) => points.slice(1).flatMap((end, k) => {
    const count = Math.ceil(Math.hypot(end[0] - points[k][0], end[1] - points[k][1]) / 8);
    return [points[k], ...along(points[k], end, count)].map((point) => around(point, radius));
  });
  for (const name of methods.keys()) obstacles.push(...path(data.curve.filter((p) => p.method === name).map((p) => pixel(data.value(p)))));
  obstacles.push(...path(front.map(pixel), 0.5));  // better on the stair than far away, but not if there is a choice
  const [sx, sy] = [scaleOf(data.xMeasure), scaleOf(data.yMeasure)];
  for (const { x, y } of data.means) {
    if (known(x.low)) obstacles.push(...path([pixel([x.low * sx, y.mean * sy]), pixel([x.high * sx, y.mean * sy])]));
    if (known(y.low)) obstacles.push(...path([pixel([x.mean * sx, y.low * sy]), pixel([x.mean * sx, y.high * sy])]));
  }
  const label = (pair, text, size, weight) => ({
    pair, text, size, weight, anchor: pixel(data.value(pair)), width: textWidth(text, size, weight) + 10, height: size * 1.25,
  });
  const size = bounds[2] < 520 ? 11 : 12.5;
  const names = placeLabels(data.means.map((pair) => label(pair, pair.method, size, 600)), obstacles, bounds);
  // The ends of a curve lie on other points, which have names.
  const inner = data.curve.filter((p, k, all) => all[k - 1]?.method === p.method && all[k + 1]?.method === p.method);
  const values = inner.map((pair) => label(pair, `${+pair.setting.toPrecision(3)}`, 10, 400));
  const placed = placeLabels(values, [...obstacles, ...names.map((place) => place.box)], bounds).filter((place) => place.cost < 16);
  return [...names, ...placed].map((place) => annotation(place, data));
}

function annotation(place, data) {
  const [x, y] = data.value(place.pair), ink = textColor(place.pair.method);
  const near = [0, 1].map((i) => Math.min(Math.max(place.anchor[i], place.box[i]), place.box[i + 2]));
  const far = Math.hypot(near[0] - place.anchor[0], near[1] - place.anchor[1]) > 16;
  return {
    x, y, ax: place.x - place.anchor[0], ay: place.y - place.anchor[1], showarrow: true, arrowhead: 0, standoff: 6,
    arrowwidth: 0.8, arrowcolor: far ? faded(ink, 0.6) : "rgba(0,0,0,0)", borderpad: 0,
    text: place.weight > 400 ? `<b>${plain(place.text)}</b>` : place.text, font: { size: place.size, color: ink },
  };
}

// -- one value per method -----------------------------------------------------------------------------
function drawBars(figure, plot) {
  const measure = figure.measureOf[plot.dataset.measure], scale = scaleOf(measure);
  const folded = shown(figure.foldedLines.filter((entry) => entry.measure === measure.name));
  if (!folded.length) return clear(plot);
  const names = folded.map((entry) => entry.method), inks = names.map(methodColor);
  const left = Math.min(150, Math.max(...names.map((name) => textWidth(name, 12)))) + 10;
  const traces = [{
    type: "bar", orientation: "h", y: names, x: folded.map((entry) => entry.mean * scale), marker: { color: inks.map((ink) => faded(ink, 0.75)) }, width: 0.62,
    error_x: folded.some((entry) => known(entry.low)) ? {
      type: "data", symmetric: false, color: color("ink"), thickness: 1, width: 0,
      array: folded.map((entry) => (known(entry.high) ? entry.high - entry.mean : 0) * scale),
      arrayminus: folded.map((entry) => (known(entry.low) ? entry.mean - entry.low : 0) * scale),
    } : undefined,
    text: folded.map((entry) => `<b>${plain(entry.method)}</b> ${withInterval(entry, measure)} ${spec.units[measure.unit].suffix}`), hovertemplate: "%{text}<extra></extra>", textposition: "none",
  }];
  const seeds = shown(figure.dataLines.filter((entry) => entry.measure === measure.name));
  if (showSeeds && seeds.length > folded.length) traces.push({
    type: "scatter", mode: "markers", y: seeds.map((entry) => entry.method), x: seeds.map((entry) => entry.value * scale),
    marker: { size: 5, color: seeds.map((entry) => methodColor(entry.method)), line: { color: color("ground"), width: 0.8 } },
    text: seeds.map((entry) => `${plain(entry.method)}, seed ${entry.seed}: ${format(entry.value, measure)}`), hovertemplate: "%{text}<extra></extra>",
  });
  return Plotly.react(plot, traces, layoutOf({
    width: plot.clientWidth, height: 23 * names.length + 34, margin: { l: left, r: 56, t: 4, b: 26 },
    xaxis: axis({ zeroline: true, zerolinecolor: color("muted"), zerolinewidth: 1, nticks: 5, rangemode: "tozero" }),
    yaxis: axis({ autorange: "reversed", showgrid: false, tickmode: "array", tickvals: names, ticktext: names.map((name) => plain(shorten(name, left - 10))), tickfont: { color: color("ink"), size: 12 } }),
    annotations: folded.map((entry) => ({
      xref: "paper", x: 1, xanchor: "left", xshift: 6, y: entry.method, showarrow: false, text: format(entry.mean, measure), font: { size: 12, color: color("muted") },
    })),
  }), CONFIG);
}

function shorten(text, room, size = 12) {
  let kept = text;
  while (kept.length > 2 && textWidth(kept, size) > room) kept = `${kept.replace("…", "").slice(0, -1)}…`;
  return kept;
}

// -- values along the sequence or the depth -----------------------------------------------------------
function drawLines(figure, plot) {
  const measure = figure.measureOf[plot.dataset.measure], scale = scaleOf(measure), order = figure.order[measure.name];
  const folded = shown(figure.foldedLines.filter((entry) => entry.measure === measure.name));
  if (!folded.length) return clear(plot);
  const position = Object.fromEntries(order.map((name, k) => [name, k]));
  const height = 290, margin = { l: 40, r: 0, t: 10, b: 46 };
  const groups = [...methods.keys()].map((name) => [name, folded.filter((entry) => entry.method === name)
    .sort((a, b) => position[a.x] - position[b.x])]).filter(([, entries]) => entries.length);
  const traces = [];
  for (const [name, entries] of groups) {
    const ink = methodColor(name), xs = entries.map((entry) => position[entry.x]);
    if (entries.every((entry) => known(entry.low)) && entries.length > 1) traces.push({
      x: [...xs, ...[...xs].reverse()], y: [...entries.map((e) => e.high * scale), ...[...entries].reverse().map((e) => e.low * scale)],
      mode: "lines", fill: "toself", fillcolor: faded(ink, 0.13), line: { width: 0 }, hoverinfo: "skip", name,
    });
  }
  for (const [name, entries] of groups) {
    const ink = methodColor(name);
    traces.push({
      x: entries.map((entry) => position[entry.x]), y: entries.map((entry) => entry.mean * scale), mode: "lines+markers", name,
      line: { color: ink, width: 1.8 }, marker: { size: 7, color: ink, symbol: methods.get(name).symbol, line: { color: color("ground"), width: 0.8 } },
      text: entries.map((entry) => `<b>${plain(name)}</b>, ${plain(entry.x)}<br>${withInterval(entry, measure)} ${spec.units[measure.unit].suffix}`), hovertemplate: "%{text}<extra></extra>",
    });
  }
  const values = folded.flatMap((entry) => [entry.mean, entry.low, entry.high]).filter(known).map((value) => value * scale);
  const low = Math.min(...values), high = Math.max(...values), pad = (high - low || Math.abs(high) || 1) * 0.06;
  const range = [low - pad, high + pad];
  const labels = endLabels(groups, position, scale, range, height - margin.t - margin.b);
  margin.r = labels.room;
  return Plotly.react(plot, traces, layoutOf({
    width: plot.clientWidth, height, margin, annotations: labels.annotations,
    xaxis: axis({ range: [-0.15, order.length - 0.85], tickvals: order.map((_, k) => k), ticktext: order.map((name) => plain(shorten(name, 90, 11))), showgrid: false, title: { text: figure.x, standoff: 6, font: { size: 11, color: color("muted") } } }),
    yaxis: axis({ range, nticks: 6 }),
  }), CONFIG);
}

// Names at the right ends of the lines, pushed apart until none overlaps.
function endLabels(groups, position, scale, range, height) {
  const size = 11.5, step = 14;
  if (groups.length * step > height) return { room: 12, annotations: [] };
  const ends = groups.map(([name, entries]) => {
    const end = entries[entries.length - 1];
    return { name, x: position[end.x], value: end.mean * scale, at: ((range[1] - end.mean * scale) / (range[1] - range[0])) * height };
  }).sort((a, b) => a.at - b.at);
  ends.forEach((end, k) => { end.y = Math.max(end.at, step / 2, k ? ends[k - 1].y + step : 0); });
  for (let k = ends.length - 1; k >= 0; k--) ends[k].y = Math.min(ends[k].y, k + 1 < ends.length ? ends[k + 1].y - step : height - step / 2);
  const room = Math.min(130, Math.max(...ends.map((end) => textWidth(end.name, size, 600))) + 26);
  return {
    room,
    annotations: ends.map((end) => ({
      xref: "paper", x: 1, xanchor: "left", xshift: 8, yref: "paper", y: 1 - end.y / height, yanchor: "middle", showarrow: false,
      text: plain(shorten(end.name, room - 14, size)), font: { size, color: textColor(end.name) },
    })),
  };
}

// -- the page -----------------------------------------------------------------------------------------
function clear(plot) {
  Plotly.purge(plot);
  plot.textContent = "";
}

const RENDERERS = { tradeoff: drawTradeoff, bars: drawBars, lines: drawLines };
const plots = figures.flatMap((figure) =>
  [...byId(figure.name).querySelectorAll(".plot")].map((plot) => ({ figure, plot })));
const stale = new Set();
let drawing = false;

const nearest = (entries) => {
  const distance = ({ plot }) => {
    const { top, bottom } = plot.getBoundingClientRect();
    return Math.max(0, top - innerHeight, -bottom);
  };
  return [...entries].map((entry) => [distance(entry), entry]).sort((a, b) => a[0] - b[0])[0][1];
};

// One plot at a time, those in sight first, so that the page answers while the others are still to come.
// Each is awaited: plotly does not survive being called on a plot it is still busy with.
async function redraw(entries = plots) {
  entries.forEach((entry) => stale.add(entry));
  delete document.documentElement.dataset.ready;
  if (drawing) return;
  drawing = true;
  while (stale.size) {
    const entry = nearest(stale);
    stale.delete(entry);
    await RENDERERS[entry.figure.kind](entry.figure, entry.plot);
    await new Promise((resume) => setTimeout(resume));
  }
  drawing = false;
  document.documentElement.dataset.ready = "true";
}

function setTheme(dark) {
  colors.clear();
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
}

function toggleMethod(button) {
  const name = button.dataset.method, on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(on));
  if (on) hidden.delete(name);
  else hidden.add(name);
  document.querySelectorAll("tr[data-method], table[data-method]").forEach((element) => {
    element.hidden = hidden.has(element.dataset.method);
  });
  redraw();
}

function define(button) {
  const box = byId("definition");
  box.textContent = button.dataset.definition;
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
}

function download(name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv(name)], { type: "text/csv" }));
  link.download = `${name}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

const system = matchMedia("(prefers-color-scheme: dark)");
setTheme(system.matches);
system.addEventListener("change", () => { setTheme(system.matches); redraw(); });
byId("theme").addEventListener("click", () => {
  setTheme(document.documentElement.style.colorScheme !== "dark");
  redraw();
});
byId("seeds")?.addEventListener("change", (event) => { showSeeds = event.target.checked; redraw(plots.filter(({ figure }) => figure.kind !== "lines")); });
document.querySelectorAll("[data-axis]").forEach((select) => select.addEventListener("change", () => {
  const figure = spec.figures[select.closest("article").id];
  figure[select.dataset.axis] = select.value;
  redraw(plots.filter((entry) => entry.figure === figure));
}));
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.matches(".chip")) toggleMethod(button);
  if (button?.matches(".term")) define(button);
  if (button?.matches(".sort")) sortTable(button);
  if (button?.matches(".csv")) download(button.dataset.name);
});
document.querySelectorAll("[data-run]").forEach((details) => details.addEventListener("toggle", () => {
  const { configuration, environment } = spec.runs[details.dataset.run];
  details.querySelector("pre").textContent = JSON.stringify({ configuration, environment }, null, 2);
}));
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;  // a phone's address bar changes the height only
  width = innerWidth;
  redraw();
});
window.clForget = { csv, paretoFront };
redraw();
})();
