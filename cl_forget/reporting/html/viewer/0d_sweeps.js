// -- sweeps: every trial, each method at the setting that validation data choose -----------------------------
// As comparison/selection.py chooses where a sweep names no rule of its own: from an equal number of settings the one
// with the largest mean of speciality and retention, all seeds of its method finished; of equals the one that retains
// more, then the first of the grid. Nothing that chooses reads a test number.
const NOT_OF_A_TRIAL = new Set(RULE.not_of_a_trial);

// The trials of a sweep that was dropped; throws where a record is none.
function wholeTrial(text, folder) {
  let plain;
  try {
    plain = JSON.parse(text);
  } catch (error) {
    throw new Error(`is no record of a trial (${error.message}); restore it from a copy`);
  }
  const object = (value) => value && typeof value === "object" && !Array.isArray(value);
  if (!object(plain) || typeof plain.method !== "string" || typeof plain.id !== "string" || typeof plain.status !== "string" || !Number.isInteger(plain.seed ?? 0)) throw new Error("is no record of a trial; restore it from a copy");
  return { seed: 0, role: "tune", mitigations: [], config: {}, test: {}, validation: {}, knob: null, value: null, reason: null, cost: null, seconds: null, fingerprints: null, ...plain, folder };
}

const variedOf = (trial) => Object.fromEntries(Object.entries(trial.config ?? {}).filter(([name]) => !NOT_OF_A_TRIAL.has(name.split(".")[0])));
const settingKey = (trial) => jsonOf([trial.method, trial.mitigations, variedOf(trial)]);

function settingLabel(trial) {
  const said = trial.knob === null || trial.value === null ? {} : { [trial.knob.split(".").at(-1)]: trial.value };
  const begun = Object.keys(said).length > 0;
  for (const [name, value] of Object.entries(variedOf(trial))) if (name !== trial.knob || !begun) said[name] = value;
  return Object.entries(said).map(([name, value]) => `${name} = ${written(value)}`).join(", ");
}

// As `check_trials`: why these trials may not stand in one report; null where they may.
function refusalOfTrials(trials) {
  if (!trials.length) return "no trials to report: the sweep has not planned any yet; start it with `cl-forget sweep`.";
  const measured = trials.filter(({ test }) => Object.keys(test).length), [first, ...others] = measured.filter(({ fingerprints }) => fingerprints);
  for (const other of first ? others : []) {
    const changed = changesOf(first.fingerprints, other.fingerprints);
    if (changed.length) return `${first.id} of ${first.sweep} and ${other.id} of ${other.sweep} cannot stand in one report: ${changed.join(" and ")} are not the same in both. Report the sweeps separately.`;
  }
  const places = [["tasks", ({ test }) => Object.keys(test.speciality_by_task ?? {})], ["suites", ({ test }) => Object.keys(test.generality_by_suite ?? {})],
    ["pre-trained models or test data (generality before any training)", ({ test }) => test.generality_pretrained ?? null]];
  for (const [what, read] of places) for (const other of measured.slice(1)) {
    const [one, own] = [read(measured[0]), read(other)];
    if (!same(one, own) && other.role === measured[0].role) return `trials with different ${what} cannot stand in one report: ${measured[0].id} of ${measured[0].sweep} has ${written(one)}, ${other.id} of ${other.sweep} has ${written(own)}. Report the sweeps separately.`;
  }
  return null;
}

// Method -> its settings among the tuning trials, in the order of the knob.
function settingsByMethod(trials) {
  const found = new Map();
  for (const trial of trials.filter(({ role }) => role === "tune")) {
    if (!found.has(trial.method)) found.set(trial.method, new Map());
    const own = found.get(trial.method), key = settingKey(trial);
    if (!own.has(key)) own.set(key, { key, label: settingLabel(trial), knob: trial.knob, value: trial.value, trials: [] });
    const { trials: kept } = own.get(key), again = kept.findIndex(({ seed }) => seed === trial.seed);
    if (again < 0) kept.push(trial);
    else kept[again] = trial;
  }
  return new Map([...found].map(([method, own]) => [method, [...own.values()].sort((a, b) => (a.value === null) - (b.value === null) || (a.value ?? 0) - (b.value ?? 0))]));
}

// `count` of the items, the ends among them; halves are rounded to even, as Python does.
function spread(items, count) {
  if (items.length <= count) return items;
  if (count === 1) return [items[(items.length - 1) >> 1]];
  const rounded = (value) => (value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value));
  return Array.from({ length: count }, (_, k) => items[rounded((k * (items.length - 1)) / (count - 1))]);
}

// Python's order of lists: the first difference decides, then the length.
function ordered(one, other) {
  if (!Array.isArray(one)) return one < other ? -1 : Number(one > other);
  for (let k = 0; k < Math.min(one.length, other.length); k++) {
    const difference = ordered(one[k], other[k]);
    if (difference) return difference;
  }
  return one.length - other.length;
}

// As `place`: settings in the order of their grid, the learning rates outermost.
function byPlace(settings) {
  const number = (value) => typeof value === "number" || typeof value === "boolean";
  const place = ({ trials }) => Object.entries(trials[0].config ?? {}).map(([name, value]) =>
    [Number(!name.startsWith("train.")), name, ...(number(value) ? [Number(value), ""] : [0, jsonOf(value)])]).sort(ordered);
  const places = new Map(settings.map((setting) => [setting, place(setting)]));
  return [...settings].sort((a, b) => ordered(places.get(a), places.get(b)));
}

// As `evenly`: a spread over the method's grid, in the order that the settings have.
function evenly(settings, count) {
  const chosen = new Set(spread(byPlace(settings), count));
  return settings.filter((setting) => chosen.has(setting));
}

function chosenSettings(settings, trials) {
  const several = [...settings.values()].filter((own) => own.length > 1).map((own) => own.length), fewest = several.length ? Math.min(...several) : Infinity;
  const balanced = trials.some(({ validation }) => there(validation.retention)), choices = new Map();
  for (const [method, own] of settings) {
    const seeds = new Set(own.flatMap(({ trials: several }) => several.map(({ seed }) => seed)));
    let best = null;
    for (const setting of byPlace(evenly(own, fewest))) {
      if (setting.trials.length < seeds.size || setting.trials.some(({ status }) => status !== "finished")) continue;
      const mean = (name) => WHOLE(setting.trials.map(({ validation }) => validation[name]));
      const score = balanced ? WHOLE([mean("speciality"), mean("retention")]) : mean("speciality"), retention = mean("retention") ?? 0;
      if (there(score) && (!best || score > best.score || (score === best.score && retention > best.retention))) best = { setting, score, retention };
    }
    if (best) choices.set(method, best.setting);
  }
  return choices;
}

function specificationOfSweep(trials) {
  const settings = settingsByMethod(trials), choices = chosenSettings(settings, trials), names = [...new Set(trials.map(({ method }) => method))];
  const plain = names.filter((name) => trials.some(({ method, mitigations }) => method === name && Array.isArray(mitigations) && !mitigations.length));
  const control = plain.includes(RULE.plain) ? RULE.plain : plain[0] ?? null;
  const measured = trials.filter(({ test }) => Object.keys(test).length);
  const [tasks, suites] = ["speciality_by_task", "generality_by_suite"].map((name) => [...new Set(measured.flatMap(({ test }) => Object.keys(test[name] ?? {})))]);
  // Once one method has runs to report, one without its own has no number: it may be tuned on another stream.
  const reports = trials.filter(({ role }) => role === "report");
  const reported = new Map([...choices].map(([method, setting]) => [method, reports.length
    ? reports.filter((trial) => trial.method === method && settingKey(trial) === setting.key) : setting.trials]));
  const seconds = new Map((reported.get(control) ?? []).map(({ seed, cost }) => [seed, cost?.train_seconds]));
  const values = new Map(measured.map((trial) => [trial.id, trialValues(trial, seconds.get(trial.seed))]));
  const chosen = [...reported].flatMap(([method, own]) => own.filter(({ id }) => values.has(id)).map((trial) => ({ result: { method, seed: trial.seed, run: trial }, values: values.get(trial.id), folder: trial.folder })));
  const merit = (method) => MEAN(chosen.filter(({ result }) => result.method === method).flatMap((one) => [one.values.speciality, one.values.generality]).filter(there)) ?? -1;
  names.sort((a, b) => (a !== control) - (b !== control) || merit(b) - merit(a) || (a < b ? -1 : 1));
  const looks = stylesOf(names, control), all = measuresOf(tasks, suites);
  const methods = [RULE.pretrained, ...names].map((name) => ({
    name, role: name === RULE.pretrained ? "reference" : name === control ? "control" : "method", seeds: [...new Set(trials.filter(({ method }) => method === name).map(({ seed }) => seed))].sort((a, b) => a - b), ...looks.get(name),
  }));
  const first = chosen[0]?.values ?? values.values().next().value ?? {}, before = { speciality: first.speciality_pretrained, generality: first.generality_pretrained, ...(first.generality_pretrained ? { retention: 1 } : {}) };
  const table = tableOf(chosen, names, [before], all, control);
  table.settings = Object.fromEntries(names.map((name) => [name, choices.has(name) ? choices.get(name).label : "none finished"]));
  table.text = "Test data of the setting with the largest mean of speciality and retention on validation data, from as many settings for every method; a sweep with a rule of its own has it on the page that cl-forget report makes. Bold is the best of a column, ± the 95 % interval over seeds.";
  const unordered = [...settings].filter(([, own]) => own.length > 1 && (own.some(({ value }) => value === null) || new Set(own.map(({ value }) => value)).size < own.length)).map(([name]) => name);
  const place = new Map([...settings].flatMap(([method, own]) => own.flatMap((setting, k) => setting.trials.map(({ id }) => [id, unordered.includes(method) ? ["setting", k + 1] : [setting.knob, setting.value]]))));
  const placeOfChoice = (method) => place.get(choices.get(method).trials[0].id)[1];
  const byReport = new Set(trials.filter(({ role }) => role === "report").map(({ method }) => method));
  const listed = all.filter(({ name }) => !/^(task|suite):/.test(name) && [...values.values()].some((one) => there(one[name]))).slice(0, 10);
  const figures = [sweepTradeoff(measured, values, place, before, all.filter(({ name }) => [...values.values()].some((one) => there(one[name]))), {
    selected: Object.fromEntries([...choices.keys()].filter((name) => !byReport.has(name)).map((name) => [name, placeOfChoice(name)]).filter(([, at_]) => at_ !== null)), unordered, trained: true,
  }), trialList(trials, values, listed)].filter(Boolean);
  const counts = Object.entries(Object.groupBy(trials, ({ status }) => status)).map(([status, own]) => `${own.length} ${status.replaceAll("_", " ")}`).join(", ");
  const sweeps = [...new Set(trials.map(({ sweep }) => sweep))];
  return {
    title: `Sweep ${inWords(sweeps)}: what each method keeps, for what it learns`,
    subtitle: `${tasks.join(" → ")} · ${names.length} methods · ${trials.length.toLocaleString("en")} trials: ${counts}`,
    methods, figures: Object.fromEntries(figures.map((one) => [one.name, one])), units: RULE.units,
    formulas: Object.fromEntries(all.filter(({ formula }) => formula).map(({ name, formula }) => [name, formula])), items: null, table, ...trialRecords(trials),
  };
}

function trialValues({ test, cost, seconds }, controlSeconds) {
  const values = Object.fromEntries(Object.entries(test).filter(([, value]) => there(value)));
  for (const [prefix, name] of BY_NAME) for (const [key, value] of Object.entries(test[name] ?? {})) values[`${prefix}:${key}`] = value;
  if (cost) for (const { name } of RULE.cost) values[name] = cost[name] ?? null;
  values.relative_cost = cost && controlSeconds ? cost.train_seconds / controlSeconds : null;
  return { ...values, seconds };
}

function sweepTradeoff(measured, values, place, before, measures, more) {
  const known = new Set(measures.map(({ name }) => name)), y = ["generality", "delta_lp", "bwt"].find((name) => known.has(name));
  if (!y || !known.has("speciality")) return null;
  const entries = measured.flatMap((trial) => {
    const [knob, setting] = trial.role === "tune" ? place.get(trial.id) ?? [null, null] : [null, null];
    return measures.filter(({ name }) => there(values.get(trial.id)[name])).map(({ name }) => ({ method: trial.method, seed: trial.seed, run: trial.id, measure: name, value: values.get(trial.id)[name], knob, setting }));
  });
  for (const name of ["speciality", "generality"]) if (there(before[name])) entries.push({ method: RULE.pretrained, seed: null, run: null, measure: name, value: before[name], knob: null, setting: null });
  return figure("tradeoff", "tradeoff", "What generality does the speciality cost?",
    "Each line is a method with its knob turned from weak to strong, a point per setting, mean over seeds; the large marker is the setting chosen on validation data. Up and to the right is better, and on the grey stair no other point is better on both.",
    measures, entries, { x: "speciality", y, ...more });
}

function trialList(trials, values, measures) {
  const lines = trials.map((trial) => ({
    run: trial.id, method: trial.method, seed: trial.seed, setting: settingLabel(trial) || null, status: trial.status, reason: trial.reason,
    ...Object.fromEntries(measures.map(({ name }) => [name, values.get(trial.id)?.[name] ?? null])),
  }));
  return { ...figure("listing", "trials", "Every trial", "One line per trial. Press a name for its settings and where it lies.", measures, []), texts: ["run", "setting", "status", "reason"], data: frameOf_(lines) };
}

function trialRecords(trials) {
  const flat = trials.map((trial) => flatOf({ mitigations: trial.mitigations, ...trial.config, seed: trial.seed }));
  const common = Object.fromEntries(Object.entries(flat[0]).filter(([key, value]) => flat.every((one) => same(one[key], value))));
  const runs = trials.map((trial, k) => ({
    name: trial.id, method: trial.method, seed: trial.seed, knob: trial.knob, setting: trial.value, status: trial.status, reason: trial.reason, folder: trial.folder, note: trial.note,
    command: null, environment: 0, own: Object.fromEntries(Object.entries(flat[k]).filter(([key]) => !(key in common))),
  }));
  return { runs, common, environments: [{}] };
}

