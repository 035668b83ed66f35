// -- from results to what the page draws -------------------------------------------------------------------
// The same quantities as comparison/observations.py gives; measures, units and looks are written into the page from
// there. Numbers are those that the runs have written: nothing is measured here.
const MEAN = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
const there = (value) => typeof value === "number" && Number.isFinite(value);
const WHOLE = (values) => (values.every(there) ? MEAN(values) : null); // a mean with a missing part is missing

// Mean over seeds with Student's t interval, as `mean_interval(...).shown()`.
function estimate(values) {
  const own = values.filter(there), mean = MEAN(own), count = own.length;
  if (count < 2) return { mean, low: null, high: null, count };
  const spread = Math.sqrt(own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1));
  const half = ((RULE.student[count - 2] ?? RULE.student.at(-1)) * spread) / Math.sqrt(count);
  // Of two values the interval is 12.7 times their distance: they are shown themselves, found as Python finds them.
  const reach = count === 2 ? (mean + half - mean) / RULE.student[0] : half;
  return { mean, low: mean - reach, high: mean + reach, count };
}

// Columns with a name in their name stand once for each task or suite.
function measuresOf(tasks, suites) {
  return RULE.measures.flatMap((measure) => {
    if (!measure.name.includes(RULE.any)) return [measure];
    return (measure.name.startsWith("task:") ? tasks : suites).map((name) => Object.fromEntries(
      Object.entries(measure).map(([key, text]) => [key, typeof text === "string" ? text.replaceAll(RULE.any, name) : text])));
  });
}

const BY_NAME = [["task", "speciality_by_task"], ["suite", "generality_by_suite"], ["perplexity", "perplexity_by_suite"]];

function runValues({ metrics, rows }, controlSeconds) {
  const test = metrics.test, values = {}, { cost } = rows.at(-1);
  for (const [name, value] of Object.entries(test)) if (there(value)) values[name] = value;
  for (const [prefix, name] of BY_NAME) for (const [key, value] of Object.entries(test[name] ?? {})) values[`${prefix}:${key}`] = value;
  for (const { name } of RULE.cost) values[name] = cost?.[name] ?? null;
  values.relative_cost = controlSeconds ? (cost?.train_seconds ?? null) / controlSeconds : null;
  return values;
}

// Of a row alone: what needs no other rows. `first` is that of the pre-trained model.
function rowValues(result, row, first) {
  const of = (kind, names, read) => Object.fromEntries(names.map((name) => [name, read(row[kind][name].test)]));
  const tasks = of("tasks", result.tasks, (scores) => scores.accuracy), suites = of("suites", result.suites, (scores) => scores.accuracy);
  const perplexities = of("suites", result.suites, (scores) => scores.perplexity);
  const graded = result.suites.filter((name) => !there(first.suites[name].test.perplexity));
  const general_ = (measured) => {
    return WHOLE(graded.map((name) => measured.suites[name].test.accuracy));
  };
  const values = { speciality: WHOLE(Object.values(tasks)), generality: general_(row) };
  const before = general_(first);
  if (there(values.generality) && before) Object.assign(values, { retention: values.generality / before, generality_drop: before - values.generality });
  const shifted = result.tasks.map((name) => Object.values(row.tasks[name].shifted ?? {}).map(({ accuracy }) => accuracy));
  if (shifted.every((own) => own.length && own.every(there))) values.ood_accuracy = MEAN(shifted.map(MEAN));
  const divergences = result.tasks.map((name) => row.tasks[name].test.kl_to_base);
  if (divergences.every(there)) values.kl_to_base = MEAN(divergences);
  for (const [prefix, own] of [["task", tasks], ["suite", suites], ["perplexity", perplexities]]) for (const [name, value] of Object.entries(own)) values[`${prefix}:${name}`] = value;
  return values;
}

function controlOf(results) {
  const plain = results.filter(({ run }) => Array.isArray(run.mitigations) && !run.mitigations.length).map(({ method }) => method);
  return plain.includes(RULE.plain) ? RULE.plain : plain.at(-1) ?? null;
}

const frameOf_ = (entries) => {
  const frame = {};
  for (const entry of entries) for (const [key, value] of Object.entries(entry)) (frame[key] ??= []).push(value);
  return frame;
};

// Seeds folded: one entry per combination of the other columns.
function fold(entries) {
  const groups = new Map();
  for (const { seed, run, value, ...keys } of entries) {
    const id = JSON.stringify(keys);
    if (!groups.has(id)) groups.set(id, { keys, values: [] });
    groups.get(id).values.push(value);
  }
  return frameOf_([...groups.values()].map(({ keys, values }) => ({ ...keys, ...estimate(values) })));
}

const figure = (kind, name, title, how_to_read, measures, entries, more = {}) =>
  ({ kind, name, title, how_to_read, measures, data: frameOf_(entries), folded: fold(entries), notes: [], ...more });

// The comparison: everything that the page's script wants to know, and the tables that it does not draw.
function specificationOf(runs) {
  const control = controlOf(runs.map(({ result }) => result));
  const seconds = new Map(runs.filter(({ result }) => result.method === control).map(({ result }) => [result.seed, result.rows.at(-1).cost?.train_seconds]));
  const valued = runs.map((run) => ({ ...run, values: runValues(run.result, seconds.get(run.result.seed)) }));
  const merit = (method) => MEAN(valued.filter(({ result }) => result.method === method).flatMap(({ values }) => [values.speciality, values.generality]).filter(there)) ?? 0;
  const order = (a, b) => (a.method !== control) - (b.method !== control) || merit(b.method) - merit(a.method) || (a.method < b.method ? -1 : a.method > b.method ? 1 : a.seed - b.seed);
  valued.sort((a, b) => order(a.result, b.result));
  const { tasks, suites, model } = valued[0].result, names = [...new Set(valued.map(({ result }) => result.method))];
  const looks = stylesOf(names, control);
  const seedsOf = (name) => valued.filter(({ result }) => result.method === name).map(({ result }) => result.seed);
  const methods = [RULE.pretrained, ...names].map((name) => ({
    name, role: name === RULE.pretrained ? "reference" : name === control ? "control" : "method", seeds: name === RULE.pretrained ? [] : seedsOf(name), ...looks.get(name),
  }));
  // What is a change since the pre-trained model is none of its own.
  const untouched = ({ result, values }) => ({ ...rowValues(result, result.rows[0], result.rows[0]), ...Object.fromEntries(["delta_lp", "f_true", "bt_true"].filter((name) => there(values[name])).map((name) => [name, 0])) });
  const firsts = new Map(valued.map(untouched).map((own) => [JSON.stringify(own), own]));
  const all = measuresOf(tasks, suites), several = names.length < valued.length;
  const table = tableOf(valued, names, [...firsts.values()], all, control);
  const listed = all.filter(({ name }) => valued.some(({ values }) => there(values[name])));
  const figures = [tradeoffOf(valued, [...firsts.values()], table.measures, several), retentionOf(valued, all, tasks, suites, several), matrixOf(valued, tasks, suites),
    barsOf(valued, "transfer", "What do the tasks do to each other?", "In percentage points. Backward transfer below 0: later tasks erased earlier ones. Forward transfer above 0: earlier tasks helped later ones before these were trained.", all.filter(({ name }) => ["bwt", "fwt"].includes(name))),
    barsOf(valued, "cost", "What does it cost?", "Less is better. Passes count samples.", RULE.cost.filter(({ name }) => control || name !== "relative_cost")),
    {
      ...figure("listing", "runs", "Every run", "One line per method and seed. Press a name for the command that made the run, its settings, versions and commit.", listed, []), texts: ["run"],
      data: frameOf_(valued.map(({ result, values }) => ({ run: nameOf(result), method: result.method, seed: result.seed, ...Object.fromEntries(listed.map(({ name }) => [name, there(values[name]) ? values[name] : null])) }))),
    }].filter(Boolean);
  return {
    title: `What was forgotten while learning ${inWords(tasks)}`,
    subtitle: `${model} · ${tasks.join(" → ")} · ${names.length} ${names.length === 1 ? "method" : "methods"} · ${new Set(valued.map(({ result }) => result.seed)).size} seeds`,
    methods, figures: Object.fromEntries(figures.map((one) => [one.name, one])), units: RULE.units, formulas: Object.fromEntries(all.filter(({ formula }) => formula).map(({ name, formula }) => [name, formula])), items: null, table, tasks, columns: [...tasks, ...suites],
    ...recordsOf(valued),
  };
}

const nameOf = (result) => `${result.method}, seed ${result.seed}`;
const inWords = (names) => (names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`);

// Standard errors over test items of one run's numbers, as `item_errors`: they stand where a single seed has no interval.
function itemErrors(result, row) {
  const found = {}, first = result.rows[0], variance = ({ accuracy, samples }) => (there(accuracy) && samples >= 2 ? (accuracy * (1 - accuracy)) / (samples - 1) : null);
  const add = (name, values) => { if (values.length && values.every(there)) found[name] = Math.sqrt(values.reduce((a, b) => a + b, 0)) / values.length; };
  const graded = (of, kind) => Object.fromEntries(result[kind].map((name) => [name, of[kind][name].test]).filter(([, { accuracy }]) => there(accuracy)));
  for (const [prefix, kind, mean] of [["task", "tasks", "speciality"], ["suite", "suites", "generality"]]) {
    const each = Object.entries(graded(row, kind)).map(([name, scores]) => [name, variance(scores)]);
    for (const [name, value] of each) if (there(value)) found[`${prefix}:${name}`] = Math.sqrt(value);
    add(mean, each.map(([, value]) => value));
  }
  const shifted = result.tasks.map((name) => Object.values(row.tasks[name].shifted ?? {}).map(variance)).map((own) => (own.length && own.every(there) ? own.reduce((a, b) => a + b, 0) / own.length ** 2 : null));
  add("ood_accuracy", shifted);
  const now = graded(row, "suites"), names = Object.keys(now);
  if (!names.length || row === first) return found;
  add("generality_drop", names.map((name) => {
    const { lost, gained, samples } = now[name];
    return there(lost) && there(gained) && samples >= 2 ? Math.max(0, lost + gained - (lost - gained) ** 2) / (samples - 1) : null;
  }));
  const before = graded(first, "suites");
  if (!("generality_drop" in found) || !same(names, Object.keys(before))) return found;
  const [[mean, spread_], [was, spreadBefore]] = [now, before].map((scores) => [MEAN(names.map((name) => scores[name].accuracy)), names.reduce((sum, name) => sum + (variance(scores[name]) ?? 0), 0) / names.length ** 2]);
  if (was === 0) return found;
  const ratio = mean / was, together = (spread_ + spreadBefore - found.generality_drop ** 2) / 2;
  return { ...found, retention: Math.sqrt(Math.max(0, spread_ + ratio ** 2 * spreadBefore - 2 * ratio * together)) / was };
}

function tableOf(valued, names, firsts, all, control) {
  const measures = [...all, ...RULE.against], rows = { [RULE.pretrained]: {} };
  const bySeed = (name) => new Map(valued.filter(({ result }) => result.method === name).map(({ result, values }) => [result.seed, values]));
  for (const { name } of measures) rows[RULE.pretrained][name] = estimate(firsts.map((values) => values[name]));
  for (const name of names) {
    const own = bySeed(name), plain = bySeed(control);
    rows[name] = Object.fromEntries(all.map((measure) => [measure.name, estimate([...own.values()].map((values) => values[measure.name]))]));
    for (const against of RULE.against) {
      const what = against.name.slice("against:".length), pairs = [...own].filter(([seed]) => plain.has(seed)).map(([seed, values]) => [values[what], plain.get(seed)[what]]);
      rows[name][against.name] = control === null || name === control ? estimate([]) : estimate(pairs.filter(([a, b]) => there(a) && there(b)).map(([a, b]) => a - b));
    }
  }
  const single = (name, result, row) => {
    const errors = itemErrors(result, row);
    for (const [measure, cell] of Object.entries(rows[name])) if (there(cell.mean) && measure in errors) cell.error = errors[measure];
  };
  for (const name of names) {
    const own = valued.filter(({ result }) => result.method === name);
    if (own.length === 1 && own[0].result.rows) single(name, own[0].result, own[0].result.rows.at(-1));
  }
  if (firsts.length === 1 && valued[0]?.result.rows) single(RULE.pretrained, valued[0].result, valued[0].result.rows[0]);
  return { measures: measures.filter(({ name }) => Object.values(rows).some((row) => there(row[name]?.mean))), rows, control };
}

function tradeoffOf(valued, firsts, measures, several) {
  const entries = [], add = (method, seed, values, knob, setting) => {
    for (const { name } of measures) if (there(values[name])) entries.push({ method, seed, measure: name, value: values[name], knob, setting });
  };
  firsts.forEach((values, k) => add(RULE.pretrained, firsts.length > 1 ? k : null, values, null, null));
  for (const { result, values } of valued) add(result.method, result.seed, values, null, null);
  for (const { result } of valued) for (const curve of result.curves) for (const point of curve.points) {
    add(result.method, result.seed, rowValues(result, point.row, result.rows[0]), `${curve.mitigation}.${curve.knob}`, point.value);
  }
  const known = new Set(entries.map(({ measure }) => measure)), y = ["generality", "delta_lp", "bwt"].find((name) => known.has(name));
  if (!y || !known.has("speciality")) return null;
  const text = ["Up and to the right is better: right is more accuracy on the new tasks, up is more of what the model could do before.",
    several ? "Large markers are means with 95 % intervals, dots are seeds." : "", "On the grey stair no other point is better on both."].filter(Boolean).join(" ");
  return figure("tradeoff", "tradeoff", "What generality does the speciality cost?", text, measures.filter(({ name }) => known.has(name)), entries, { x: "speciality", y, selected: {}, unordered: [], trained: false });
}

// The row after each task; joint training has its only one at the end.
const rowsByStage = (result) => [result.rows[0], ...result.tasks.map((task, k) => result.rows.find(({ after }) => after === task) ?? (k === result.tasks.length - 1 && result.rows.length > 1 ? result.rows.at(-1) : null))];

function retentionOf(valued, all, tasks, suites, several) {
  if (!suites.length) return null;
  const stages = [RULE.pretrained, ...tasks], entries = [];
  for (const { result } of valued) rowsByStage(result).forEach((row, k) => {
    const values = row && rowValues(result, row, result.rows[0]);
    const names = [...(suites.length > 1 ? ["generality", ...suites.map((name) => `suite:${name}`)] : ["generality"]), ...suites.map((name) => `perplexity:${name}`)];
    for (const measure of names) if (values && there(values[measure])) entries.push({ method: result.method, seed: result.seed, measure, x: stages[k], value: values[measure] });
  });
  const known = new Set(entries.map(({ measure }) => measure)), measures = all.filter(({ name }) => known.has(name));
  if (!measures.length) return null;
  return figure("lines", "retention", "When is generality lost?", `Accuracy on what was never trained, after each task in turn, starting from the pre-trained model: a flat line forgets nothing.${several ? " Shading is the 95 % interval over seeds." : ""}`,
    measures, entries, { axis: "after task", beside: [], places: Object.fromEntries(measures.map(({ name }) => [name, stages])) });
}

function matrixOf(valued, tasks, suites) {
  const rows = [RULE.pretrained, ...tasks.map((name) => `after ${name}`)], entries = [];
  for (const { result } of valued) rowsByStage(result).forEach((row, k) => {
    for (const [kind, names] of row ? [["tasks", tasks], ["suites", suites]] : []) for (const column of names) {
      const value = row[kind][column].test.accuracy;
      if (there(value)) entries.push({ method: result.method, seed: result.seed, measure: "accuracy", row: rows[k], column, value });
    }
  });
  return figure("matrix", "accuracy-matrix", "What does the model know after each task?",
    "One grid per method, accuracy in %: each line is the model after one more task, each column a task (left) or a suite nothing was trained on (right). Read down a column: fading is forgetting, rising before the framed cell is transfer. The framed cell is the task just trained.",
    [{ name: "accuracy", title: "Accuracy", unit: "percent", definition: "test accuracy after each stage", better: "higher", group: "" }], entries, { rows, columns: [...tasks, ...suites], tasks });
}

function barsOf(valued, name, title, text, measures) {
  const entries = valued.flatMap(({ result, values }) => measures.filter((measure) => there(values[measure.name])).map((measure) => ({ method: result.method, seed: result.seed, measure: measure.name, value: values[measure.name] })));
  const known = new Set(entries.map(({ measure }) => measure));
  return entries.length ? figure("bars", name, title, text, measures.filter((measure) => known.has(measure.name)), entries, { shared_scale: false }) : null;
}

// As `recorded_runs`: what all have in common, and each environment, stands once.
function recordsOf(valued) {
  const flat = valued.map(({ result }) => flatOf(result.run)), environments = [];
  const common = Object.fromEntries(Object.entries(flat[0]).filter(([key, value]) => flat.every((one) => same(one[key], value))));
  const runs = valued.map(({ result, folder, note }, k) => {
    const { command, ...machine } = result.environment, plain = flatOf(machine);
    let place = environments.findIndex((one) => same(one, plain));
    if (place < 0) place = environments.push(plain) - 1;
    return {
      name: nameOf(result), method: result.method, seed: result.seed, knob: null, setting: null, status: "finished", reason: null, folder, note,
      command: command ?? null, environment: place, own: Object.fromEntries(Object.entries(flat[k]).filter(([key]) => !(key in common))),
    };
  });
  return { runs, common, environments };
}

function flatOf(value, prefix = "", flat = {}) {
  for (const [key, item] of Object.entries(value)) {
    const nested = Array.isArray(item) ? item.length && item.every((one) => one && typeof one === "object" && !Array.isArray(one)) : item && typeof item === "object" && Object.keys(item).length;
    if (!nested) flat[`${prefix}${key}`] = item;
    else for (const one of Array.isArray(item) ? item : [item]) flatOf(one, `${prefix}${key}.`, flat);
  }
  return flat;
}

