// -- one value per method -----------------------------------------------------------------------------
function drawBars(figure, plot) {
  const measure = figure.measureOf[plot.dataset.measure], scale = scaleOf(measure);
  const folded = shown(figure.foldedLines.filter((entry) => entry.measure === measure.name));
  if (!folded.length) return clear(plot);
  const names = folded.map((entry) => entry.method), inks = names.map(methodColor);
  const left = Math.min(150, Math.max(...names.map((name) => textWidth(name, 12)))) + 18;
  const shared = figure.shared_scale ? [0, 1.04 * scale * Math.max(...shown(figure.foldedLines).map((entry) => entry.mean))] : null;
  const traces = [{
    type: "bar", orientation: "h", y: names, x: folded.map((entry) => entry.mean * scale), marker: { color: inks.map((ink) => faded(ink, 0.75)) }, width: 0.62,
    error_x: folded.some((entry) => known(entry.low)) ? {
      type: "data", symmetric: false, color: color("ink"), thickness: 1, width: 0,
      array: folded.map((entry) => (known(entry.high) ? ends(entry, measure)[1] - entry.mean : 0) * scale),
      arrayminus: folded.map((entry) => (known(entry.low) ? entry.mean - ends(entry, measure)[0] : 0) * scale),
    } : undefined,
    customdata: folded.map((entry) => itemsOfMethod(entry.method, [measure.name]) ?? runOf({ ...entry, seed: methods.get(entry.method).seeds[0] })),
    text: folded.map((entry) => `<b>${plain(entry.method)}</b> ${withInterval(entry, measure)} ${spec.units[measure.unit].suffix}${itemsOfMethod(entry.method, [measure.name]) ? shortcut(undefined, true) : ""}`), hovertemplate: "%{text}<extra></extra>", textposition: "none",
  }];
  // The method's marker at the foot of its bar, for those who see no colour.
  traces.push({
    type: "scatter", mode: "markers", y: names, x: names.map(() => 0), hoverinfo: "skip", cliponaxis: false,
    marker: { size: 8, color: inks, symbol: names.map((name) => methods.get(name).symbol), line: { color: color("ground"), width: 0.8 } },
  });
  const seeds = shown(figure.dataLines.filter((entry) => entry.measure === measure.name));
  if (showSeeds && seeds.length > folded.length) traces.push({
    type: "scatter", mode: "markers", y: seeds.map((entry) => entry.method), x: seeds.map((entry) => entry.value * scale),
    marker: { size: 5, color: seeds.map((entry) => methodColor(entry.method)), line: { color: color("ground"), width: 0.8 } },
    customdata: seeds.map((entry) => itemsOfMethod(entry.method, [measure.name], entry.seed) ?? runOf(entry)),
    text: seeds.map((entry) => `<b>${plain(entry.method)}</b>, seed ${entry.seed}: ${format(entry.value, measure)}${shortcut(runOf(entry), itemsOfMethod(entry.method, [measure.name], entry.seed))}`), hovertemplate: "%{text}<extra></extra>",
  });
  return draw(plot, traces, layoutOf({
    width: plot.clientWidth, height: 23 * names.length + 34, margin: { l: left, r: 56, t: 4, b: 26 },
    xaxis: axis({ zeroline: true, zerolinecolor: color("muted"), zerolinewidth: 1, nticks: 5, ...(shared ? { range: shared } : { rangemode: "tozero" }), ...countTicks(measure, folded.map((entry) => entry.mean)) }),
    yaxis: axis({ autorange: "reversed", showgrid: false, tickmode: "array", tickvals: names, ticktext: names.map((name) => `${plain(shorten(name, left - 16))}\u00a0\u00a0`), tickfont: { color: color("ink"), size: 12 } }),
    annotations: folded.map((entry) => ({
      xref: "paper", x: 1, xanchor: "left", xshift: 6, y: entry.method, showarrow: false, text: format(entry.mean, measure), font: { size: 12, color: color("muted") },
    })),
  }));
}

// Large numbers on an axis are written as beside the bars: 8,000 and 800 k, never 8000.
const countTicks = (measure, values) =>
  measure.unit === "count" && Math.max(...values) >= 1e4 ? { tickformat: "~s" } : { separatethousands: true };

function shorten(text, room, size = 12) {
  let kept = text;
  while (kept.length > 2 && textWidth(kept, size) > room) kept = `${kept.replace("…", "").slice(0, -1)}…`;
  return kept;
}

// A line is cut where nothing was measured between two places, and before what lies beside its axis (`Lines.pieces`).
const pieces = (entries, position, beside) => entries.reduce((found, entry, k) => {
  const last = entries[k - 1];
  const cut = !last || position[entry.x] > position[last.x] + 1 || beside.includes(entry.x) || beside.includes(last.x);
  if (cut) found.push([]);
  found.at(-1).push(entry);
  return found;
}, []);

// -- values along the sequence or the depth -----------------------------------------------------------
function drawLines(figure, plot) {
  const measure = figure.measureOf[plot.dataset.measure], scale = scaleOf(measure), order = figure.places[measure.name];
  const folded = shown(figure.foldedLines.filter((entry) => entry.measure === measure.name));
  if (!folded.length) return clear(plot);
  const position = Object.fromEntries(order.map((name, k) => [name, k]));
  const margin = { l: 40, r: 0, t: 10, b: 46 };
  const groups = [...methods.keys()].map((name) => [name, folded.filter((entry) => entry.method === name)
    .sort((a, b) => position[a.x] - position[b.x])]).filter(([, entries]) => entries.length);
  const traces = [];
  for (const [name, entries] of groups) {
    const ink = methodColor(name);
    for (const piece of pieces(entries, position, figure.beside)) {
      const xs = piece.map((entry) => position[entry.x]);
      if (piece.every((entry) => known(entry.low)) && piece.length > 1) traces.push({
        x: [...xs, ...[...xs].reverse()], y: [...piece.map((e) => ends(e, measure)[1] * scale), ...[...piece].reverse().map((e) => ends(e, measure)[0] * scale)],
        mode: "lines", fill: "toself", fillcolor: faded(ink, 0.13), line: { width: 0 }, hoverinfo: "skip", name,
      });
    }
  }
  for (const [name, whole] of groups) {
    const ink = methodColor(name), gap = { x: null, mean: null };
    const entries = pieces(whole, position, figure.beside).flatMap((piece, k) => (k ? [gap, ...piece] : piece));
    traces.push({
      x: entries.map((entry) => position[entry.x] ?? null), y: entries.map((entry) => (known(entry.mean) ? entry.mean * scale : null)), mode: "lines+markers", name,
      line: { color: ink, width: 1.8 }, marker: { size: 7, color: ink, symbol: methods.get(name).symbol, line: { color: color("ground"), width: 0.8 } },
      customdata: entries.map((entry) => (entry === gap ? null : itemsBehind(name, measure.name, entry.x))),
      text: entries.map((entry) => entry === gap ? "" : `<b>${plain(name)}</b>, ${plain(entry.x)}<br>${withInterval(entry, measure)} ${spec.units[measure.unit].suffix}`), hovertemplate: "%{text}<extra></extra>",
    });
  }
  const values = folded.flatMap((entry) => [entry.mean, ...ends(entry, measure)]).filter(known).map((value) => value * scale);
  const low = Math.min(...values), high = Math.max(...values), pad = (high - low || Math.abs(high) || 1) * 0.06;
  const range = [low - pad, high + pad];
  const inner = 234, labels = endLabels(groups, position, scale, range, inner);
  margin.r = labels.room;
  // Names that do not fit side by side are slanted, and the plot is as much taller.
  const names = order.map((name) => shorten(name, 110, 11)), widths = names.map((name) => textWidth(name, 11));
  const apart = (plot.clientWidth - margin.l - margin.r) / (names.length - 0.7);
  const slanted = widths.slice(1).some((width, k) => (widths[k] + width) / 2 + 4 > apart);
  if (slanted) margin.b += Math.ceil(0.57 * Math.max(...widths));
  const height = inner + margin.t + margin.b;
  return draw(plot, traces, layoutOf({
    width: plot.clientWidth, height, margin, annotations: labels.annotations,
    xaxis: axis({ range: [-0.15, order.length - 0.85], tickvals: order.map((_, k) => k), ticktext: names.map(plain), tickangle: slanted ? 35 : 0, showgrid: false, title: { text: figure.axis, standoff: 6, font: { size: 11, color: color("muted") } } }),
    yaxis: axis({ range, nticks: 6 }),
  }));
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
  const room = Math.min(140, Math.max(...ends.map((end) => textWidth(end.name, size, 600))) + 26);
  return {
    room,
    annotations: ends.map((end) => ({
      xref: "paper", x: 1, xanchor: "left", xshift: 8, yref: "paper", y: 1 - end.y / height, yanchor: "middle", showarrow: false,
      text: plain(shorten(end.name, room - 14, size)), font: { size, color: textColor(end.name) },
    })),
  };
}

