// -- what may stand together -------------------------------------------------------------------------------
// The rule is `check_comparable` of comparison/observations.py, and the places it reads come from there: RULE is
// written into this page by reporting/html/viewer.py.
const RULE = JSON.parse(document.getElementById("rule").textContent);

// As `written` of comparison/settings.py: JSON in Python's spacing, plain words as they are.
function jsonOf(value) {
  if (Array.isArray(value)) return `[${value.map(jsonOf).join(", ")}]`;
  if (value && typeof value === "object") return `{${Object.keys(value).sort().map((key) => `${jsonOf(key)}: ${jsonOf(value[key])}`).join(", ")}}`;
  if (typeof value === "number") return general(value);
  const text = JSON.stringify(value ?? null);
  return text.replace(/[\u0080-\uffff]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
// Numbers as Python writes them: 1e-05 where JavaScript has 0.00001.
const general = (value) => (Number.isInteger(value) ? String(value) : (Math.abs(value) < 1e-4 ? value.toExponential() : String(value)).replace(/e([+-])(\d)$/, "e$10$2"));
const written = (value) => (typeof value === "string" ? value : typeof value === "number" ? general(value) : jsonOf(value));
const same = (a, b) => jsonOf(a) === jsonOf(b);

function at(value, path) {
  for (const [k, part] of path.entries()) {
    if (part === "*") return Object.fromEntries(Object.entries(value ?? {}).map(([name, one]) => [name, at(one, path.slice(k + 1))]));
    value = value?.[part];
  }
  return value ?? null;
}
const found = (result, places) => {
  const parts = places.map((place) => at(result, place.split(".")));
  return parts.length === 1 ? parts[0] : Object.assign({}, ...parts);
};
const labelOf = (result) => `'${result.method}' seed ${result.seed}`;

// Why these results may not stand in one report, in a sentence; null where they may.
function refusal(results) {
  if (!results.length) return "no results to report: give at least one finished run.";
  const [first, ...others] = results;
  for (const [what, places] of RULE.identity) {
    const known_ = found(first, places);
    for (const other of others) {
      const own = found(other, places);
      if (!same(own, known_)) return `results with different ${what} cannot stand in one report: ${labelOf(first)} has ${written(known_)}, ${labelOf(other)} has ${written(own)}. Report them separately.`;
    }
  }
  return otherPrints(results) ?? otherNames(results);
}

// What two fingerprints both have and is not the same, in words.
function changesOf(known_, now) {
  const names = Object.keys(known_.data).filter((name) => name in now.data && now.data[name] !== known_.data[name]);
  return [...(known_.model === now.model ? [] : ["the base model's weights"]), ...(names.length ? [`the data of ${names.join(", ")}`] : [])];
}

function otherPrints(results) {
  const [first, ...others] = results.filter(({ fingerprints }) => fingerprints);
  for (const other of others) {
    const changed = changesOf(first.fingerprints, other.fingerprints);
    if (changed.length) return `${labelOf(first)} and ${labelOf(other)} cannot stand in one report: ${changed.join(" and ")} are not the same in both. Report them separately.`;
  }
  return null;
}

function otherNames(results) {
  const mitigations = new Map(), seen = new Set();
  for (const result of results) {
    const listed = (result.run.mitigations ?? []).map(written).sort();
    const known_ = mitigations.get(result.method) ?? mitigations.set(result.method, listed).get(result.method);
    if (!same(known_, listed)) {
      return `the name '${result.method}' stands for two methods, ${known_.join(" + ") || "none"} and ${listed.join(" + ") || "none"}: name the arms differently, or report them separately.`;
    }
    if (seen.has(labelOf(result))) return `${labelOf(result)} is given twice: leave out one of the two folders.`;
    if (result.method === RULE.pretrained) return `a method is called '${RULE.pretrained}', which names the untouched model: rename it.`;
    seen.add(labelOf(result));
  }
  return null;
}

// Every setting of a recorded run by its dotted name; what an earlier version did not know is its default.
function settingsOf(run) {
  const filled = { ...run };
  for (const [name, defaults] of Object.entries(RULE.defaults)) filled[name] = { ...defaults, ...(run[name] ?? {}) };
  const flat = {};
  const add = (value, prefix) => {
    for (const [key, item] of Object.entries(value)) {
      const name = `${prefix}${key}`;
      if (RULE.not_of_a_run.includes(name)) continue;
      if (item && typeof item === "object" && !Array.isArray(item)) add(item, `${name}.`);
      else flat[name] = item;
    }
  };
  add(filled, "");
  return flat;
}

function whatDiffers(settings) {
  const names = [...new Set(settings.flatMap((one) => Object.keys(one)))];
  const odd = names.filter((name) => new Set(settings.map((one) => written(one[name]))).size > 1);
  return settings.map((one) => odd.map((name) => `${name}=${written(one[name])}`).join(", "));
}

// As `separate` of comparison/arms.py: where a name stands for several settings, what differs is behind it.
function separate(runs) {
  const arms = new Map(), keys = runs.map(({ result }) => {
    const settings = settingsOf(result.run), key = jsonOf(settings);
    if (!arms.has(result.method)) arms.set(result.method, new Map());
    arms.get(result.method).set(key, settings);
    return key;
  });
  const names = new Map();
  for (const [method, own] of arms) whatDiffers([...own.values()]).forEach((differs, k) => names.set(JSON.stringify([method, [...own.keys()][k]]), differs ? `${method} (${differs})` : method));
  return runs.map((run, k) => ({ ...run, result: { ...run.result, method: names.get(JSON.stringify([run.result.method, keys[k]])) } }));
}

// As `load_runs`: one method's same seed from two dropped folders becomes two arms, named by the folders.
function namedByRoot(runs) {
  const twice = new Set();
  for (const { result } of runs) {
    const own = runs.filter((other) => other.result.method === result.method);
    if (new Set(own.map(({ root }) => root)).size > 1 && new Set(own.map((other) => other.result.seed)).size < own.length) twice.add(result.method);
  }
  return runs.map((run) => (twice.has(run.result.method) ? { ...run, result: { ...run.result, method: `${run.result.method} (${run.root})` } } : run));
}

// Runs that may stand together, the largest group first, each of the others with the reason.
function groupsOf(runs) {
  const groups = [];
  for (const run of namedByRoot(separate(runs))) {
    let reason = null;
    const home = groups.find((group) => {
      const why = refusal([...group.runs, run].map(({ result }) => result));
      reason ??= why;
      return why === null;
    });
    if (home) home.runs.push(run);
    else groups.push({ runs: [run], reason });
  }
  return groups;
}

