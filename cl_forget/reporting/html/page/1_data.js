// The embedded specification, and how its numbers are written. Every figure is redrawn from data on each change
// (method switched, seeds folded, axis chosen, theme, width): there is one path and no state in the drawings.
const byId = (id) => document.getElementById(id);

// The page carries its numbers and plotly.js compressed: a file a third as large opens sooner.
async function inflated(id) {
  const text = atob(byId(id).textContent), bytes = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
// A viewer has no numbers of its own: it computes them from what is dropped into it.
const [numbers, plotly] = await Promise.all([byId("specification") ? inflated("specification") : viewer.seen(), inflated("plotly")]);
document.head.append(Object.assign(document.createElement("script"), { textContent: plotly }));
const spec = JSON.parse(numbers);
const methods = new Map(spec.methods.map((method, index) => [method.name, { ...method, index }]));
const figures = Object.values(spec.figures);
const hidden = new Set();
let showSeeds = spec.runs.length <= 400;  // of very many trials the folded ones are drawn first

// Columns of texts arrive as levels and codes; see reporting/html/render.py.
const unpacked = (column) => (Array.isArray(column) ? column : column.codes.map((code) => column.levels[code]));
// Long frames arrive with one entry per run and a list per measure.
function frameOf(packed) {
  if (!packed.measures) return Object.fromEntries(Object.entries(packed).map(([name, column]) => [name, unpacked(column)]));
  const keys = Object.entries(packed.keys).map(([name, column]) => [name, unpacked(column)]), values = Object.entries(packed.values);
  const frame = Object.fromEntries(packed.columns.map((name) => [name, []])), first = values[0][1];
  for (let row = 0; row < first[0].length; row++) {
    packed.measures.forEach((measure, m) => {
      if (first[m][row] === null) return;
      frame.measure.push(measure);
      for (const [name, column] of keys) frame[name].push(column[row]);
      for (const [name, grid] of values) frame[name].push(grid[m][row]);
    });
  }
  return frame;
}
const lines = (frame) => {
  const columns = Object.keys(frame);
  return (frame[columns[0]] ?? []).map((_, k) => Object.fromEntries(columns.map((name) => [name, frame[name][k]])));
};
// Taken apart when first asked for: a page with thousands of trials must open at once.
const lazily = (object, name, make) => {
  let made;
  Object.defineProperty(object, name, { get: () => (made ??= make()), enumerable: true });
};
for (const figure of figures) {
  for (const name of ["data", "folded"]) {
    const packed = figure[name];
    lazily(figure, name, () => frameOf(packed));
  }
  lazily(figure, "dataLines", () => lines(figure.data));
  lazily(figure, "foldedLines", () => lines(figure.folded));
  figure.measureOf = Object.fromEntries(figure.measures.map((measure) => [measure.name, measure]));
}
const shown = (entries) => entries.filter((entry) => !hidden.has(entry.method));
const scaleOf = (measure) => spec.units[measure.unit].scale;
const known = (value) => value !== null && value !== undefined;

// The run behind an observation: a trial's own name where there is one, else its method, setting and seed.
const runKey = (method, seed, setting) => JSON.stringify([method, seed ?? null, setting ?? null]);
const runIndex = new Map(spec.runs.flatMap((run, index) => [
  [runKey(run.method, run.seed, run.setting), index], ...(run.name ? [[run.name, index]] : [])]));
const runOf = (entry) => runIndex.get(entry.run ?? runKey(entry.method, entry.seed, entry.setting)) ?? runIndex.get(runKey(entry.method, entry.seed));
const shortCommand = (index) => {
  const command = spec.runs[index]?.command ?? "";
  return command.length > 88 ? `${command.slice(0, 87)}…` : command;
};

// Numbers are written as in reporting/numbers.py: three significant digits, at most three decimals.
const threeDigits = (value, like = value) => {
  const size = Math.abs(like), digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 || size === 0 ? 2 : 3;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
};
// `like`, as it is stored, gives the number of digits: the end of an interval is written as its mean is.
const format = (value, measure, like = value) => {
  if (!known(value)) return "–";
  if (typeof value === "string") return value;
  const scaled = value * scaleOf(measure), model = Math.abs((like ?? value) * scaleOf(measure));
  let text;
  if (scaleOf(measure) === 100) text = scaled.toFixed(1);
  else if (measure.unit === "ratio") text = scaled.toFixed(2);
  else if (measure.unit !== "count") text = threeDigits(scaled, model);
  else {
    const [, size, letter] = [[1e9, 1e9, " G"], [1e6, 1e6, " M"], [1e4, 1e3, " k"]].find(([from]) => model >= from) ?? [0, 1, ""];
    text = letter ? threeDigits(scaled / size, model / size) + letter : scaled.toLocaleString("en", { maximumFractionDigits: 0 });
  }
  if (!/[1-9]/.test(text)) text = text.replace("-", "");
  return (measure.unit === "change" && scaled > 0 && /[1-9]/.test(text) ? "+" : "") + text.replace("-", "−");
};
const withInterval = (entry, measure) => {
  const text = format(entry.mean, measure);
  if (!known(entry.low)) return text;
  const [low, high] = [within(entry.low, measure), within(entry.high, measure)].map((end) => format(end, measure, entry.mean));
  if (entry.count === 2) return low === high ? text : `${text} (${low} to ${high})`;
  if (within(entry.low, measure) !== entry.low && within(entry.high, measure) !== entry.high) return `${text} [${low}, ${high}]`;
  const half = format((entry.high - entry.low) / 2, { ...measure, unit: measure.unit === "change" ? "points" : measure.unit }, entry.mean);
  return `${text} ± ${half}`;
};

// A number of one run, with its standard error over items where that is known.
const withError = (row, measure) => {
  const error = row[`${measure.name}_error`];
  return format(row[measure.name], measure) + (known(error) ? ` (${format(error, { ...measure, unit: measure.unit === "change" ? "points" : measure.unit })})` : "");
};

// The ends of an interval as they are drawn: cut where no value can be (see `bounded` in reporting/numbers.py).
const within = (value, measure) => {
  const [least, most] = spec.units[measure.unit].limits;
  return Math.min(most ?? Infinity, Math.max(least ?? -Infinity, value));
};
const ends = (entry, measure) => (known(entry.low) ? [within(entry.low, measure), within(entry.high, measure)] : [null, null]);

// Plotly reads tags in its texts; names are to be shown as they are.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");

const csv = (name) => {
  if (name in spec.tables) return spec.tables[name];
  const data = spec.figures[name]?.data;
  // A spreadsheet must not run a name as a formula; see `csv_text` in spreadsheet.py.
  const inert = (cell) => (typeof cell === "string" && /^ *[=+\-@\t\r\n＝＋－＠]/.test(cell) && isNaN(cell) ? `'${cell}` : cell);
  const quote = (cell) => (/[",\r\n]/.test(cell ?? "") ? `"${String(cell).replaceAll('"', '""')}"` : cell ?? "");
  // What is computed on the page is saved as it stands there.
  const rows = data ? [Object.keys(data), ...lines(data).map(Object.values)] : shownRows(name);
  return rows.map((row) => row.map(inert).map(quote).join(",")).join("\n") + "\n";
};

