// -- how often near the best ----------------------------------------------------------------------------
function drawProfiles(figure, plot) {
  const measure = figure.measureOf[plot.dataset.panel], scale = scaleOf(measure);
  const rows = shown(figure.dataLines).filter((row) => row.measure === measure.name);
  if (!rows.length) return clear(plot);
  const furthest = Math.max(...rows.map((row) => row.gap * scale)) || 1, traces = [];
  for (const method of methods.keys()) {
    const own = rows.filter((row) => row.method === method), ink = methodColor(method);
    if (!own.length) continue;
    const half = own[own.length >> 1];  // where its line rises, and not at 0, where all begin
    const told = own.map((row) => `<b>${plain(method)}</b><br>within ${format(row.gap, { unit: measure.unit === "percent" ? "points" : measure.unit })} ${measure.unit === "percent" ? "points" : spec.units[measure.unit].suffix} of the best in ${format(row.share, figure.measures[0])} % of the problems`);
    traces.push({
      x: [...own.map((row) => row.gap * scale), furthest * 1.04], y: [...own.map((row) => row.share * 100), own.at(-1).share * 100], mode: "lines", line: { color: ink, width: 1.8, shape: "hv" },
      text: [...told, told.at(-1)], hovertemplate: "%{text}<extra></extra>",
    }, { x: [half.gap * scale], y: [half.share * 100], mode: "markers", hoverinfo: "skip", marker: { size: 8, color: ink, symbol: methods.get(method).symbol, line: { color: color("ground"), width: 0.8 } } });
  }
  return draw(plot, traces, layoutOf({
    width: plot.clientWidth, height: 270, margin: { l: 46, r: 14, t: 10, b: 46 },
    xaxis: axis({ range: [-0.02 * furthest, 1.04 * furthest], nticks: 6, title: title(`behind the best, ${measure.unit === "percent" ? "points" : spec.units[measure.unit].suffix}`) }),
    yaxis: axis({ range: [-3, 104], nticks: 6, ticksuffix: " %" }),
  }));
}

// -- the law panel ----------------------------------------------------------------------------------------
function drawLaw(figure, plot) {
  const [distance, beyond] = plot.dataset.panel.split(":");
  return beyond ? drawBeyond(figure, plot, distance) : drawMoved(figure, plot, distance);
}

// A logarithmic axis with the round numbers between its ends, the decades alone where these are many.
function logarithms(low, high) {
  const round = (steps) => Array.from({ length: 60 }, (_, k) => steps.map((step) => step * 10 ** (k - 30))).flat().filter((value) => value >= low * 0.95 && value <= high * 1.05);
  const [all, decades] = [round([1, 2, 5]), round([1])], ticks = all.length > 8 && decades.length > 1 ? decades : all;
  return { type: "log", tickvals: ticks, ticktext: ticks.map((value) => `${+value.toPrecision(3)}`) };
}

function drawMoved(figure, plot, distance) {
  const across = figure.measureOf[distance], kept = figure.measureOf[figure.y], scale = scaleOf(kept);
  const rows = shown(figure.dataLines).filter((row) => known(row[distance]) && known(row[kept.name]));
  if (!rows.length) return clear(plot);
  const [xs, ys] = figure.curves[distance], logarithmic = xs[0] > 0 && xs.at(-1) > 10 * xs[0];
  const spots = [...methods.keys()].map((method) => [method, rows.filter((row) => row.method === method)]).filter(([, own]) => own.length).map(([method, own]) => ({
    x: own.map((row) => row[distance]), y: own.map((row) => row[kept.name] * scale), mode: "markers", customdata: own.map(runOf), hovertemplate: "%{text}<extra></extra>",
    marker: { size: 7, color: faded(methodColor(method), 0.75), symbol: methods.get(method).symbol, line: { color: color("ground"), width: 0.8 } },
    text: own.map((row) => trialText(row, [plain(row.setting ?? ""), `${plain(across.title)} ${format(row[distance], across)} ${spec.units[across.unit].suffix}`, `${plain(kept.title)} ${format(row[kept.name], kept)} ${spec.units[kept.unit].suffix}`])),
  }));
  const line = { x: xs, y: ys.map((y) => y * scale), mode: "lines", line: { color: color("ink"), width: 1.6 }, hoverinfo: "skip" };
  return draw(plot, [...spots, line], layoutOf({
    width: plot.clientWidth, height: 320, margin: { l: 46, r: 16, t: 10, b: 46 },
    xaxis: axis({ ...(logarithmic ? logarithms(xs[0], xs.at(-1)) : { nticks: 6 }), title: title([plain(across.title), spec.units[across.unit].suffix].filter(Boolean).join(", ")) }),
    yaxis: axis({ nticks: 6, ticksuffix: ` ${spec.units[kept.unit].suffix}` }),
  }));
}

function drawBeyond(figure, plot, distance) {
  const measure = figure.measureOf.beyond, scale = scaleOf(measure);
  const own = Object.entries(figure.residuals[distance]).filter(([method, cell]) => !hidden.has(method) && known(cell.mean)).sort(([, a], [, b]) => b.mean - a.mean);
  if (!own.length) return sayInstead(plot, "No method has settings within the distances of the others.");
  const names = own.map(([method]) => method), left = Math.min(150, Math.max(...names.map((name) => textWidth(name, 12)))) + 10;
  const bars = own.some(([, cell]) => known(cell.low)) ? {
    type: "data", symmetric: false, color: color("muted"), thickness: 1.2, width: 0,
    array: own.map(([, cell]) => (known(cell.high) ? cell.high - cell.mean : 0) * scale), arrayminus: own.map(([, cell]) => (known(cell.low) ? cell.mean - cell.low : 0) * scale),
  } : undefined;
  return draw(plot, [{
    x: own.map(([, cell]) => cell.mean * scale), y: names, mode: "markers", error_x: bars,
    marker: { size: 9, color: names.map(methodColor), symbol: names.map((name) => methods.get(name).symbol), line: { color: color("ground"), width: 0.8 } },
    text: own.map(([method, cell]) => `<b>${plain(method)}</b> ${withInterval(cell, measure)} points`), hovertemplate: "%{text}<extra></extra>",
  }], layoutOf({
    width: plot.clientWidth, height: Math.max(160, 24 * names.length + 60), margin: { l: left, r: 56, t: 10, b: 44 },
    xaxis: axis({ zeroline: true, zerolinecolor: color("muted"), zerolinewidth: 1, nticks: 6, title: title("points beyond the others' curve") }),
    yaxis: axis({ autorange: "reversed", showgrid: false, type: "category", tickvals: names, ticktext: names.map((name) => plain(shorten(name, left - 10))), tickfont: { color: color("ink"), size: 12 } }),
    annotations: own.map(([method, cell]) => ({ xref: "paper", x: 1, xanchor: "left", xshift: 6, y: method, showarrow: false, text: format(cell.mean, measure), font: { size: 12, color: color("muted") } })),
  }));
}
