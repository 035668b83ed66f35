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
    means: folded.filter((pair) => pair.setting === null || pair.setting === figure.selected[pair.method]),
    curve: folded.filter((pair) => pair.setting !== null)
      .sort((a, b) => a.method.localeCompare(b.method) || a.setting - b.setting),
    seeds: joined(shown(figure.dataLines), xMeasure, yMeasure, "seed").filter((pair) => pair.seed !== null && (pair.setting === null || figure.trained)),
    unordered: new Set(figure.unordered), selected: figure.selected,
    value,
  };
}

// Margins and ranges are set here, not left to plotly, so that labels can be placed in pixels beforehand.
function rangesOf(data) {
  const rangeOf = (which, measure) => {
    const values = data.points.map((point) => point[which === "x" ? 0 : 1]);
    if (showSeeds) for (const pair of data.seeds) values.push(pair[which].value * scaleOf(measure));
    // The intervals of two or three seeds can be many times as long as the points are apart: they are cut at the edge.
    const span = [Math.min(...values), Math.max(...values)], room = 0.4 * (span[1] - span[0]);
    const cut = (end) => Math.max(span[0] - room, Math.min(span[1] + room, end * scaleOf(measure)));
    for (const pair of data.means) if (known(pair[which].low)) values.push(...ends(pair[which], measure).map(cut));
    const low = Math.min(...values), high = Math.max(...values), pad = (high - low || Math.abs(high) || 1) * 0.07;
    return [low - pad, high + pad];
  };
  return [rangeOf("x", data.xMeasure), rangeOf("y", data.yMeasure)];
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
  const ranges = (data.ranges = rangesOf(data));
  const pixel = ([x, y]) => [
    margin.l + ((x - ranges[0][0]) / (ranges[0][1] - ranges[0][0])) * (width - margin.l - margin.r),
    margin.t + ((ranges[1][1] - y) / (ranges[1][1] - ranges[1][0])) * (height - margin.t - margin.b),
  ];
  const path = stair(data.front, data.signs, ranges);
  const traces = [{ x: path.map((p) => p[0]), y: path.map((p) => p[1]), mode: "lines", line: { color: color("front"), width: 5 }, hoverinfo: "skip", name: "Pareto front" }];
  const layers = [...methods.keys()].filter((name) => !hidden.has(name)).map((name) => methodTraces(name, data));
  for (const layer of ["ribbon", "seeds", "curve", "mean"]) traces.push(...layers.map((of) => of[layer]).filter(Boolean));
  const bounds = [margin.l, margin.t, width - margin.r, height - margin.b];
  const arrow = (measure) => ({ higher: "  → better", lower: "  ← better" })[measure.better] ?? "";
  const title = (measure) => ({ text: `${plain(measure.title)}${spec.units[measure.unit].suffix ? ", " + spec.units[measure.unit].suffix : ""}${arrow(measure)}`, standoff: 8, font: { size: 12, color: color("muted") } });
  const zoomable = matchMedia("(pointer: fine)").matches;
  return draw(plot, traces, layoutOf({
    width, height, margin, annotations: tradeoffLabels(data, path, pixel, bounds), dragmode: zoomable ? "zoom" : false,
    xaxis: axis({ range: ranges[0], title: title(xMeasure), fixedrange: !zoomable }),
    yaxis: axis({ range: ranges[1], title: title(yMeasure), fixedrange: !zoomable }),
  }));
}

function methodTraces(name, data) {
  const ink = methodColor(name), { xMeasure, yMeasure, value } = data;
  const of = (pairs) => pairs.filter((pair) => pair.method === name);
  const text = (pair) => `${plain(xMeasure.title)} ${withInterval(pair.x, xMeasure)}<br>${plain(yMeasure.title)} ${withInterval(pair.y, yMeasure)}`;
  const exact = (pair) => `${plain(xMeasure.title)} ${format(pair.x.value, xMeasure)}<br>${plain(yMeasure.title)} ${format(pair.y.value, yMeasure)}`;
  const traces = {};
  // A mean stands for several runs; the first seed's is shown.
  const firstRun = (pair) => runOf({ ...pair, seed: methods.get(pair.method).seeds[0] });
  // Items are kept of runs as they were trained, in a sweep of the settings that were chosen.
  const trained = (pair) => pair.setting === null || pair.setting === data.selected[pair.method];
  const items = (pair) => (trained(pair) ? itemsOfMethod(pair.method, [yMeasure.name, xMeasure.name], pair.seed) : null);
  const curve = of(data.curve), seeds = of(data.seeds), means = of(data.means);
  const loose = data.unordered.has(name);
  if (curve.length > 1 && !loose) traces.ribbon = ribbon(curve, data, ink);
  if (curve.length) traces.curve = {
    x: curve.map((p) => value(p)[0]), y: curve.map((p) => value(p)[1]), mode: loose ? "markers" : "lines+markers", opacity: 0.8,
    line: { color: ink, width: 1.5 }, marker: { size: 5, color: ink, symbol: methods.get(name).symbol }, name,
    customdata: curve.map(firstRun),
    text: curve.map((p) => `<b>${plain(name)}</b>, ${plain(p.knob)} = ${p.setting}<br>${text(p)}${shortcut(firstRun(p))}`), hovertemplate: "%{text}<extra></extra>",
  };
  if (showSeeds && seeds.length > 1 && (!loose || curve.length < seeds.length)) traces.seeds = {
    x: seeds.map((p) => p.x.value * scaleOf(xMeasure)), y: seeds.map((p) => p.y.value * scaleOf(yMeasure)), mode: "markers", name,
    marker: { size: seeds.length > 60 ? 4 : 5, color: ink, opacity: 0.4 }, customdata: seeds.map((p) => items(p) ?? runOf(p)),
    text: seeds.map((p) => `<b>${plain(name)}</b>${known(p.setting) ? `, ${plain(p.knob)} = ${p.setting}` : ""}, seed ${p.seed}<br>${exact(p)}${shortcut(runOf(p), items(p))}`), hovertemplate: "%{text}<extra></extra>",
  };
  const bars = (which, measure) => known(means[0][which].low)
    ? { type: "data", symmetric: false, thickness: 1.2, width: 0, color: ink,
        array: means.map((p) => (ends(p[which], measure)[1] - p[which].mean) * scaleOf(measure)),
        arrayminus: means.map((p) => (p[which].mean - ends(p[which], measure)[0]) * scaleOf(measure)) }
    : undefined;
  if (means.length) traces.mean = {
    x: means.map((p) => value(p)[0]), y: means.map((p) => value(p)[1]), mode: "markers", name,
    error_x: bars("x", xMeasure), error_y: bars("y", yMeasure),
    marker: { size: methods.get(name).symbol === "star" ? 15 : 11, color: ink, symbol: methods.get(name).symbol, line: { color: color("ground"), width: 1 } },
    customdata: means.map((p) => items({ ...p, seed: null }) ?? firstRun(p)),
    text: means.map((p) => `<b>${plain(name)}</b>${known(p.setting) ? `, chosen: ${plain(p.knob)} = ${p.setting}` : ""}<br>${text(p)}${shortcut(firstRun(p), items({ ...p, seed: null }))}`), hovertemplate: "%{text}<extra></extra>",
  };
  return traces;
}

// The curve as wide as the intervals of both axes reach across it, their ellipse seen along the curve.
function ribbon(curve, data, ink) {
  const sides = [[], []], points = curve.map(data.value), size = [0, 1].map((i) => data.ranges[i][1] - data.ranges[i][0]);
  const half = (entry, measure, i) => (known(entry.low) ? ((entry.high - entry.low) / 2) * scaleOf(measure) / size[i] : 0);
  points.forEach((point, k) => {
    const before = points[Math.max(0, k - 1)], after = points[Math.min(points.length - 1, k + 1)];
    const along = [0, 1].map((i) => (after[i] - before[i]) / size[i]), length = Math.hypot(...along) || 1;
    const normal = [-along[1] / length, along[0] / length];
    const reach = Math.hypot(normal[0] * half(curve[k].x, data.xMeasure, 0), normal[1] * half(curve[k].y, data.yMeasure, 1));
    [1, -1].forEach((sign, side) => sides[side].push([0, 1].map((i) => point[i] + sign * normal[i] * reach * size[i])));
  });
  const outline = [...sides[0], ...sides[1].reverse()];
  return { x: outline.map((p) => p[0]), y: outline.map((p) => p[1]), mode: "lines", fill: "toself", fillcolor: faded(ink, 0.1), line: { width: 0 }, hoverinfo: "skip" };
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
  const inner = data.curve.filter((p, k, all) => all[k - 1]?.method === p.method && all[k + 1]?.method === p.method
    && !data.unordered.has(p.method));
  const count = (method) => inner.filter((p) => p.method === method).length;
  const steps = new Map([...methods.keys()].map((name) => [name, Math.ceil(count(name) / (methods.size > 6 ? 5 : 9)) || 1])), seen = new Map();
  // A long curve is read by a few of its numbers.
  const some = inner.filter((p) => {
    const k = seen.get(p.method) ?? 0;
    seen.set(p.method, k + 1);
    return k % steps.get(p.method) === steps.get(p.method) >> 1;
  });
  const values = some.map((pair) => label(pair, `${+pair.setting.toPrecision(3)}`, 10, 400));
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

