// -- the search as it went ------------------------------------------------------------------------------
// Seconds in the unit that a length of time is told in.
const clock = (length) => (length < 180 ? [1, "seconds"] : length < 10800 ? [60, "minutes"] : [3600, "hours"]);
const title = (text) => ({ text, standoff: 6, font: { size: 11, color: color("muted") } });
const duration = (seconds) => { const [unit, name] = clock(seconds); return `${threeDigits(seconds / unit)} ${name}`; };

function drawHistory(figure, plot) {
  const measure = figure.measureOf[figure.choice.measure], scale = scaleOf(measure), { along } = figure.choice;
  const rows = shown(figure.dataLines), best = `best:${measure.name}`;
  if (!rows.length) return clear(plot);
  const [unit, name] = along === "seconds" ? clock(Math.max(...rows.map((row) => row.seconds))) : [1, "trials, in the order in which they ended"];
  const at = (row) => row[along] / unit, values = rows.map((row) => row[measure.name]).filter(known).map((value) => value * scale);
  const low = Math.min(...values), high = Math.max(...values), pad = 0.07 * (high - low || 1);
  const steps = [], spots = [];
  for (const method of methods.keys()) {
    const own = rows.filter((row) => row.method === method), ink = methodColor(method);
    if (!own.length) continue;
    const found = own.filter((row) => known(row[best]));
    steps.push({ x: found.map(at), y: found.map((row) => row[best] * scale), mode: "lines", line: { color: ink, width: 1.6, shape: "hv" }, hoverinfo: "skip" });
    for (const [some, symbol, y] of [
      [own.filter((row) => known(row[measure.name])), methods.get(method).symbol, (row) => row[measure.name] * scale],
      [own.filter((row) => !known(row[measure.name])), "x-thin", () => low - pad],
    ]) if (some.length) spots.push({
      x: some.map(at), y: some.map(y), mode: "markers", marker: { size: 7, symbol, color: faded(ink, 0.75), line: { color: symbol === "x-thin" ? ink : color("ground"), width: symbol === "x-thin" ? 1.5 : 0.8 } },
      customdata: some.map(runOf), hovertemplate: "%{text}<extra></extra>",
      text: some.map((row) => trialText(row, [plain(row.setting ?? ""), `${plain(measure.title)} ${format(row[measure.name], measure)}, ${plain(row.status)}`, `trial ${row.number}, after ${duration(row.seconds)}`])),
    });
  }
  return draw(plot, [...steps, ...spots], layoutOf({
    width: plot.clientWidth, height: 340, margin: { l: 46, r: 16, t: 10, b: 46 },
    xaxis: axis({ rangemode: "tozero", title: title(name), separatethousands: true }), yaxis: axis({ range: [low - 2 * pad, high + pad], nticks: 7 }),
  }));
}

function drawAnytime(figure, plot) {
  const column = plot.dataset.panel, measure = figure.measures[0], rows = shown(figure.dataLines).filter((row) => known(row.hypervolume));
  if (!rows.length) return clear(plot);
  const traces = [], most = Math.max(...rows.map((row) => row[column]));
  const [unit, name] = column === "seconds" ? clock(most) : [1, "passes, in samples"];
  for (const method of methods.keys()) {
    const own = rows.filter((row) => row.method === method), ink = methodColor(method);
    if (!own.length) continue;
    const xs = own.map((row) => row[column] / unit), ys = own.map((row) => row.hypervolume * 100), end = own.length - 1;
    traces.push({
      x: [0, ...xs], y: [0, ...ys], mode: "lines", line: { color: ink, width: 1.7, shape: "hv" }, customdata: [null, ...own.map(runOf)], hovertemplate: "%{text}<extra></extra>",
      text: ["", ...own.map((row) => `<b>${plain(method)}</b><br>${format(row.hypervolume, measure)} % of the ideal after ${column === "seconds" ? duration(row.seconds) : `${format(row.passes, { unit: "count" })} passes`}${shortcut(runOf(row))}`)],
    }, { x: [xs[end]], y: [ys[end]], mode: "markers", hoverinfo: "skip", marker: { size: 8, color: ink, symbol: methods.get(method).symbol, line: { color: color("ground"), width: 0.8 } } });
  }
  return draw(plot, traces, layoutOf({
    width: plot.clientWidth, height: 320, margin: { l: 46, r: 16, t: 10, b: 46 },
    xaxis: axis({ rangemode: "tozero", nticks: 6, title: title(name), ...(column === "passes" ? countTicks({ unit: "count" }, [most]) : {}) }),
    yaxis: axis({ rangemode: "tozero", nticks: 6, ticksuffix: " %" }),
  }));
}

// -- trials over workers ----------------------------------------------------------------------------------
const FAILED = ["diverged", "out of memory", "failed", "died"];
const PAUSE = 0.02;  // how wide the pause between two sessions is drawn, as a share of the whole

function drawLanes(figure, plot) {
  const rows = shown(figure.dataLines);
  if (!rows.length) return clear(plot);
  const worked = figure.sessions.reduce((sum, [from, to]) => sum + to - from, 0) || 1, [unit, name] = clock(worked), gap = PAUSE * worked;
  const before = figure.sessions.map(([from], k) => from - figure.sessions.slice(0, k).reduce((sum, [start, end]) => sum + end - start, 0) - k * gap);
  // A pause takes a little room, however long it was.
  const at = (time) => (time - before[Math.max(0, figure.sessions.findLastIndex(([from]) => time >= from))]) / unit;
  const told = (row) => trialText(row, [plain(row.setting ?? ""), known(row.end) ? `${plain(row.status)} after ${duration(row.end - row.start)}` : plain(row.status), `worker ${row.lane + 1}`]);
  const traces = [];
  for (const method of methods.keys()) {
    const own = rows.filter((row) => row.method === method), ink = methodColor(method), ended = own.filter((row) => known(row.end)), open = own.filter((row) => !known(row.end));
    if (ended.length) traces.push({
      type: "bar", orientation: "h", y: ended.map((row) => row.lane + 1), base: ended.map((row) => at(row.start)), x: ended.map((row) => (row.end - row.start) / unit), width: 0.72,
      marker: { color: ended.map((row) => faded(ink, FAILED.includes(row.status) ? 0.25 : 0.8)), line: { color: ended.map((row) => (FAILED.includes(row.status) || row.status === "pruned" ? ink : color("ground"))), width: ended.map((row) => (FAILED.includes(row.status) || row.status === "pruned" ? 1.5 : rows.length > 300 ? 0.1 : 0.5)) } },
      customdata: ended.map(runOf), text: ended.map(told), textposition: "none", hovertemplate: "%{text}<extra></extra>",
    });
    if (open.length) traces.push({
      x: open.map((row) => at(row.start)), y: open.map((row) => row.lane + 1), mode: "markers", customdata: open.map(runOf), text: open.map(told), hovertemplate: "%{text}<extra></extra>",
      marker: { size: 9, symbol: open.map((row) => (row.status === "running" ? "triangle-right" : "x")), color: ink, line: { color: color("ground"), width: 1 } },
    });
  }
  const pauses = figure.sessions.slice(1).map(([from], k) => ({ x: at(from) - gap / unit / 2, length: from - figure.sessions[k][1] }));
  return draw(plot, traces, layoutOf({
    width: plot.clientWidth, height: Math.min(900, 26 * figure.lanes + 70), margin: { l: 70, r: 16, t: pauses.length ? 24 : 8, b: 44 }, barmode: "overlay",
    shapes: pauses.map(({ x }) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: color("muted"), width: 1, dash: "dot" } })),
    annotations: pauses.length <= 6 ? pauses.map(({ x, length }) => ({ x, yref: "paper", y: 1, yanchor: "bottom", showarrow: false, text: `paused ${duration(length)}`, font: { size: 10, color: color("muted") } })) : [],
    xaxis: axis({ rangemode: "tozero", title: title(`${name} at work`) }),
    yaxis: axis({ range: [figure.lanes + 0.5, 0.5], showgrid: false, dtick: 1, tickprefix: "worker " , ...(figure.lanes > 24 ? { dtick: Math.ceil(figure.lanes / 24) } : {}) }),
  }));
}
