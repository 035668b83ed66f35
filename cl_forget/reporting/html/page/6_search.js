// -- what each setting explains -------------------------------------------------------------------------
function drawShares(figure, plot) {
  const study = plot.dataset.panel, own = figure.dataLines.filter((row) => row.study === study);
  if (hidden.has(study)) return clear(plot);
  const objectives = figure.measures.slice(1), share = figure.measures[0];
  const most = Map.groupBy(own, (row) => row.field), top = (name) => Math.max(...most.get(name).map((row) => row.share));
  const names = [...most.keys()].sort((a, b) => top(b) - top(a));
  const left = Math.min(150, Math.max(...names.map((name) => textWidth(name, 12)))) + 10;
  const looks = [{ color: color("accent") }, { color: faded(color("muted"), 0.55), pattern: { shape: "/", fgcolor: color("ink"), bgcolor: faded(color("muted"), 0.2), size: 5, solidity: 0.25 } }];
  const traces = objectives.map((measure, k) => {
    const of = new Map(own.filter((row) => row.measure === measure.name).map((row) => [row.field, row.share]));
    return {
      type: "bar", orientation: "h", name: measure.title, y: names, x: names.map((name) => (of.get(name) ?? 0) * 100), marker: looks[k % 2],
      text: names.map((name) => (of.has(name) ? `${format(of.get(name), share)} %` : "–")), textposition: "outside", textfont: { size: 11, color: color("muted") }, cliponaxis: false,
      hovertext: names.map((name) => `${plain(name)} alone explains ${format(of.get(name), share)} % of ${plain(measure.title.toLowerCase())}`), hovertemplate: "%{hovertext}<extra></extra>",
    };
  });
  return draw(plot, traces, layoutOf({
    width: plot.clientWidth, height: 40 * names.length + 58, margin: { l: left, r: 44, t: 26, b: 24 }, barmode: "group", bargap: 0.3,
    showlegend: true, legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", traceorder: "normal", font: { size: 11, color: color("muted") }, itemclick: false, itemdoubleclick: false },
    xaxis: axis({ range: [0, 100], tickvals: [0, 50, 100], ticksuffix: " %" }),
    yaxis: axis({ autorange: "reversed", showgrid: false, tickvals: names, ticktext: names.map((name) => plain(shorten(name, left - 10))), tickfont: { color: color("ink"), size: 12 } }),
  }));
}

// -- one field --------------------------------------------------------------------------------------------
function drawSlices(figure, plot) {
  const { method } = figure.choice, field = figure.axes[method][+plot.dataset.panel];
  if (!field) return clear(plot);
  const measure = figure.measureOf[figure.choice.measure], scale = scaleOf(measure), ink = methodColor(method);
  const rows = figure.dataLines.filter((row) => row.method === method && known(row[field.name]) && known(row[measure.name]));
  if (!rows.length) return clear(plot);
  const at = (row) => coordinate(field, row[field.name]), groups = Map.groupBy(rows, at);
  const places = [...groups.keys()].sort((a, b) => a - b);
  return draw(plot, [
    { x: places, y: places.map((x) => meanOf(groups.get(x).map((row) => row[measure.name] * scale))), mode: "lines", line: { color: ink, width: 1.8 }, hoverinfo: "skip" },
    {
      x: rows.map(at), y: rows.map((row) => row[measure.name] * scale), mode: "markers", marker: { size: 7, color: faded(ink, 0.6), symbol: methods.get(method).symbol, line: { color: color("ground"), width: 0.8 } },
      customdata: rows.map(runOf), hovertemplate: "%{text}<extra></extra>",
      text: rows.map((row) => trialText(row, [...figure.axes[method].map((one) => (known(row[one.name]) ? `${plain(one.name)} = ${plain(shownValue(row[one.name]))}` : "")), `${plain(measure.title)} ${format(row[measure.name], measure)} ${spec.units[measure.unit].suffix}`])),
    },
  ], layoutOf({
    width: plot.clientWidth, height: 232, margin: { l: 42, r: 12, t: 8, b: 26 },
    xaxis: fieldAxis(field, rows.map((row) => row[field.name]), { title: undefined }),
    yaxis: axis({ nticks: 6 }),
  }));
}

// -- two fields -------------------------------------------------------------------------------------------
function drawPairs(figure, plot) {
  const { method, x, y } = figure.choice, measure = figure.measureOf[figure.choice.measure], scale = scaleOf(measure);
  const field = (name) => figure.axes[method].find((one) => one.name === name), [across, up] = [field(x), field(y)];
  const rows = figure.dataLines.filter((row) => row.method === method && known(row[x]) && known(row[y]) && known(row[measure.name]));
  if (!rows.length) return sayInstead(plot, "No trial has finished yet.");
  const bar = { thickness: 10, outlinewidth: 0, tickfont: { size: 10.5, color: color("muted") }, len: 1 };
  const low = color("panel"), high = color("accent"), layout = layoutOf({
    width: plot.clientWidth, height: 340, margin: { l: 58, r: 60, t: 10, b: 46 },
    xaxis: fieldAxis(across, rows.map((row) => row[x])), yaxis: fieldAxis(up, rows.map((row) => row[y])),
  });
  const text = rows.map((row) => trialText(row, [`${plain(x)} = ${plain(shownValue(row[x]))}`, `${plain(y)} = ${plain(shownValue(row[y]))}`, `${plain(measure.title)} ${format(row[measure.name], measure)} ${spec.units[measure.unit].suffix}, rank ${row[`rank:${measure.name}`]}`]));
  const spots = { mode: "markers", customdata: rows.map(runOf), text, hovertemplate: "%{text}<extra></extra>" };
  if (plot.dataset.panel === "rank") {
    const ranks = rows.map((row) => row[`rank:${measure.name}`]), placed = apart(rows, (row) => coordinate(across, row[x]), (row) => coordinate(up, row[y]), layout.xaxis.range);
    return draw(plot, [{
      ...spots, ...placed,
      marker: { size: 12, symbol: methods.get(method).symbol, color: ranks, cmin: 1, cmax: rows.length, colorscale: [[0, high], [1, low]], line: { color: color("muted"), width: 1 }, showscale: true, colorbar: { ...bar, tickvals: [1, Math.round(rows.length / 2), rows.length] } },
    }], layout);
  }
  const found = figure.surfaces.find((one) => one.method === method && one.measure === measure.name && [x, y].includes(one.x) && [x, y].includes(one.y));
  if (!found) return sayInstead(plot, "The trials lie on one line: there is no surface through them.");
  const upright = found.x === x, heights = found.heights.map((line) => line.map((z) => (z === null ? null : z * scale)));
  const surface = {
    type: "contour", x: upright ? found.at_x : found.at_y, y: upright ? found.at_y : found.at_x, z: upright ? heights : heights[0].map((_, k) => heights.map((line) => line[k])),
    colorscale: measure.better === "lower" ? [[0, high], [1, low]] : [[0, low], [1, high]], ncontours: 12, line: { width: 0.5, color: color("muted") }, connectgaps: false, colorbar: bar, hoverinfo: "skip",
  };
  return draw(plot, [surface, {
    ...spots, x: rows.map((row) => coordinate(across, row[x])), y: rows.map((row) => coordinate(up, row[y])),
    marker: { size: 6, color: color("ink"), line: { color: color("ground"), width: 1 } },
  }], layout);
}

// Trials at the same place beside each other.
function apart(rows, across, up, range) {
  const groups = Map.groupBy(rows.keys(), (k) => `${across(rows[k])} ${up(rows[k])}`), step = (range[1] - range[0]) / 45;
  const xs = rows.map(across);
  for (const group of groups.values()) group.forEach((k, place) => { xs[k] += step * (place - (group.length - 1) / 2); });
  return { x: xs, y: rows.map(up) };
}
