// -- what was dropped --------------------------------------------------------------------------------------
// A file that says something about a run, and is read; everything else stays unread. What was dropped before is kept
// on the window, which outlives the document that is written anew for each comparison.
const READ = /(^|\/)(result\.json|state\.json|experiment\.json|notes\.md|sweep\.json|trial\.json|audit\.json|repair\.json)$/;
const fileName = (path) => path.slice(path.lastIndexOf("/") + 1);
const folderOf = (path) => path.slice(0, Math.max(0, path.lastIndexOf("/")));

// Every file below a handle or an entry, as {path, file}; what is not wanted is not opened.
async function* filesOf(item, path = item.name) {
  if (item.kind === "file") yield { path, file: () => item.getFile() };
  else if (item.kind === "directory") for await (const child of item.values()) yield* filesOf(child, `${path}/${child.name}`);
  else if (item.isFile) yield { path, file: () => new Promise((resolve, reject) => { item.file(resolve, reject); }) };
  else {
    const reader = item.createReader();
    for (;;) {  // it gives a hundred at a time
      const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
      if (!some.length) break;
      for (const child of some) yield* filesOf(child, `${path}/${child.name}`);
    }
  }
}

async function filesOfDrop(transfer) {
  // All have to be asked for before the first wait: the list is emptied when the event is over.
  const items = [...transfer.items].filter(({ kind }) => kind === "file");
  const asked = items.map((item) => (item.getAsFileSystemHandle ? item.getAsFileSystemHandle() : item.webkitGetAsEntry()));
  const found = [];
  for (const item of await Promise.all(asked)) if (item) for await (const one of filesOf(item)) found.push(one);
  return found;
}

const filesOfInput = (input) => [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file: async () => file }));

// The texts of the wanted files, archives unfolded; what cannot be read is a reason and not the end.
async function textsOf(files) {
  const texts = [], problems = [];
  for (const { path, file } of files) {
    try {
      if (/\.zip$/i.test(path)) {
        const stem = fileName(path).replace(/\.zip$/i, "");
        const inside = await unzip(await file(), (name) => READ.test(name));
        // An archive of one folder is that folder; one of many files has the archive's own name above them.
        const roots = new Set(inside.map((one) => one.path.split("/")[0]));
        const bare = roots.size !== 1 || inside.some((one) => !one.path.includes("/"));
        texts.push(...inside.map((one) => ({ ...one, path: bare ? `${stem}/${one.path}` : one.path })));
        if (!inside.length) problems.push(`${path}: the archive holds no result.json`);
      } else if (READ.test(path)) {
        texts.push({ path: path.includes("/") ? path : `dropped/${path}`, text: await (await file()).text() });
      }
    } catch (error) {
      problems.push(`${path}: ${error.message || error}`);
    }
  }
  return { texts, problems };
}

// From texts to runs ({result, folder, root, note}) and sweeps ([folder, trials]), and why others are neither.
function runsIn(texts, problems) {
  const byPath = new Map(texts.map(({ path, text }) => [path, text])), runs = [], refused = [...problems];
  const folders = (name) => [...byPath.keys()].filter((path) => fileName(path) === name).map(folderOf);
  const finished = new Set(folders("result.json"));
  for (const folder of folders("state.json")) if (!finished.has(folder) && !byPath.has(`${folder}/trial.json`)) refused.push(`${folder} has not finished: resume it with --resume`);
  for (const [name, what] of [["audit.json", "an audit"], ["repair.json", "a repair"]]) for (const folder of folders(name)) refused.push(`${folder} is ${what} and no run: its page is report.html beside it`);
  const sweeps = new Map();
  for (const folder of folders("trial.json").sort()) {
    try {
      const root = folder.includes("/trials/") ? folder.slice(0, folder.lastIndexOf("/trials/")) : folderOf(folder);
      const trial = { ...wholeTrial(byPath.get(`${folder}/trial.json`), folder), note: (byPath.get(`${folder}/notes.md`) ?? "").trim() };
      if (!sweeps.has(root)) sweeps.set(root, []);
      sweeps.get(root).push(trial);
    } catch (error) {
      refused.push(`${folder}/trial.json ${error.message}`);
    }
  }
  const trialFolders = new Set(folders("trial.json"));
  for (const folder of finished) {
    if (trialFolders.has(folder)) continue;
    const index = byPath.get(`${folderOf(folder)}/experiment.json`);
    try {
      if (index && !JSON.parse(index).runs.includes(fileName(folder))) {
        refused.push(`${folder} is not of the experiment that was last run into the same folder: left over from an earlier one, or renamed`);
        continue;
      }
    } catch {
      refused.push(`${folderOf(folder)}/experiment.json names no runs; delete it to read every run in the folder`);
      continue;
    }
    try {
      const result = wholeResult(byPath.get(`${folder}/result.json`));
      runs.push({ result, folder, root: folder.split("/")[0], note: (byPath.get(`${folder}/notes.md`) ?? "").trim() });
    } catch (error) {
      refused.push(`${folder}/result.json ${error.message}`);
    }
  }
  return { runs: runs.sort((a, b) => (a.folder < b.folder ? -1 : 1)), sweeps: [...sweeps], refused };
}

// As `Result.load` checks: what a comparison needs is there.
function wholeResult(text) {
  const bad = (what) => new Error(`is not a result of this version (${what}); restore it from a copy, or run it again.`);
  let plain;
  try {
    plain = JSON.parse(text);
  } catch (error) {
    throw bad(error.message);
  }
  if (plain?.schema_version > RULE.schema) throw new Error(`is of schema ${plain.schema_version}, and this page reads up to ${RULE.schema}: make a newer page.`);
  const object = (value) => value && typeof value === "object" && !Array.isArray(value);
  if (!object(plain) || typeof plain.method !== "string" || !Number.isInteger(plain.seed) || !object(plain.run)) throw bad("method, seed or run is missing");
  if (!Array.isArray(plain.tasks) || !plain.tasks.length || new Set(plain.tasks).size < plain.tasks.length) throw bad("tasks: there are none, or one is named twice");
  if (!Array.isArray(plain.suites)) throw bad("suites: missing");
  if (!Array.isArray(plain.rows) || !plain.rows.length || plain.rows[0]?.after !== null) throw bad("rows: row 0, the pre-trained model, is missing");
  if (!object(plain.metrics?.test) || !("speciality" in plain.metrics.test)) throw bad("metrics: those on test data are missing");
  for (const row of plain.rows) for (const [kind, names] of [["tasks", plain.tasks], ["suites", plain.suites]]) {
    const measured = Object.keys(row[kind] ?? {});
    if (measured.length !== names.length || names.some((name) => !object(row[kind][name]?.test))) throw bad(`rows.${kind}: not those of the result`);
  }
  return { curves: [], notes: [], probes: [], environment: {}, fingerprints: null, ...plain };
}

