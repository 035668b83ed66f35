// -- the page that waits for results ------------------------------------------------------------------------
// What was dropped is kept on the window: for each comparison the document is written anew, as if it had just been
// opened, so that the page's own script runs once and never has to forget anything.
const kept = (window.clForgetDropped ??= { texts: [], problems: [], chosen: 0, source: `<!doctype html>${document.documentElement.outerHTML}` });
const say = (text) => { document.getElementById("reading").textContent = text; };

function reopen() {
  document.open();
  document.write(kept.source);
  document.close();
}

async function take(files) {
  say("reading …");
  const { texts, problems } = await textsOf(files);
  const known_ = new Map(kept.texts.map((one) => [one.path, one]));
  for (const one of texts) known_.set(one.path, one);  // the same folder dropped again is read anew
  kept.texts = [...known_.values()];
  kept.problems = [...new Set([...kept.problems, ...problems])];
  if (!kept.texts.length && !kept.problems.length) return say("there is no result.json in what was dropped: give a folder that cl-forget run wrote");
  kept.chosen = 0;
  reopen();
}

const failed = (error) => say(`it could not be read: ${error.message || error}`);
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  filesOfDrop(event.dataTransfer).then(take).catch(failed);
});
for (const id of ["folder", "archive"]) document.getElementById(id).addEventListener("change", ({ target }) => { take(filesOfInput(target)).catch(failed); });
document.getElementById("forget").addEventListener("click", () => {
  Object.assign(kept, { texts: [], problems: [], chosen: 0 });
  history.replaceState(null, "", "#");
  reopen();
});

// The list of what was read: the groups that may stand together, and what has no part in this with its reason.
function listRead(groups, refused) {
  const place = document.getElementById("read"), add = (tag, text, parent = place) => parent.appendChild(Object.assign(document.createElement(tag), { textContent: text }));
  place.hidden = false;
  document.getElementById("forget").hidden = false;
  const count = ({ runs, trials }) => (trials ? `${trials.length} trials` : `${runs.length} ${runs.length === 1 ? "run" : "runs"}`);
  groups.forEach((group, k) => {
    const line = add("p", "");
    line.className = "group";
    line.dataset.group = k;
    if (k === kept.chosen) add("strong", `Shown: ${count(group)}`, line);
    else {
      const button = add("button", `show these ${count(group)} instead`, line);
      button.type = "button";
      button.addEventListener("click", () => { kept.chosen = k; history.replaceState(null, "", "#"); reopen(); });
    }
    const folders = group.folders ?? group.runs.map(({ folder }) => folder);
    add("span", ` ${folders.slice(0, 3).join(", ")}${folders.length > 3 ? ` and ${folders.length - 3} more` : ""}`, line);
    if (k !== kept.chosen) add("small", ` ${whyApart(groups[kept.chosen], group)}`, line);
  });
  if (refused.length) {
    const list = add("ul", "");
    list.className = "refused";
    refused.forEach((reason) => add("li", reason, list));
  }
}

// Why a group does not stand beside the one that is shown.
function whyApart(shown, other) {
  if (shown.trials && other.trials) return refusalOfTrials([...shown.trials, ...other.trials]) ?? other.reason ?? "";
  if (shown.trials || other.trials) {
    const [sweep, runs] = shown.trials ? [shown, other] : [other, shown];
    return `${sweep.folders[0]} is a sweep and ${runs.runs[0].folder} is not: report them separately.`;
  }
  return refusal([...shown.runs, other.runs[0]].map(({ result }) => result)) ?? other.reason ?? "";
}

// Sweeps that may stand together, where a method that stands in more than one has the sweep's name behind it.
function groupsOfSweeps(sweeps, refused) {
  const groups = [];
  for (const [folder, own] of sweeps) {
    const name = fileName(folder), trials = own.map((trial) => ({ ...trial, sweep: name })), why = refusalOfTrials(trials);
    if (why) {
      refused.push(why);
      continue;
    }
    const home = groups.find((group) => refusalOfTrials([...group.trials, ...trials]) === null);
    if (home) {
      home.trials.push(...trials);
      home.folders.push(folder);
    } else groups.push({ trials, folders: [folder] });
  }
  for (const group of groups) if (group.folders.length > 1) {
    const places = new Map();
    for (const { method, sweep } of group.trials) places.set(method, new Set([...(places.get(method) ?? []), sweep]));
    group.trials = group.trials.map((trial) => ({ ...trial, id: `${trial.sweep}/${trial.id}`, method: places.get(trial.method).size > 1 ? `${trial.method} (${trial.sweep})` : trial.method }));
  }
  return groups;
}

// What the page's script draws from, once there is something; until then it waits.
async function seen() {
  document.documentElement.dataset.ready = "true";
  const { runs, sweeps, refused } = runsIn(kept.texts, kept.problems), size = ({ trials, runs: own }) => (trials ?? own).length;
  const groups = [...groupsOf(runs), ...groupsOfSweeps(sweeps, refused)].sort((a, b) => size(b) - size(a));
  if (!groups.length) {
    if (kept.texts.length || refused.length) {
      say("there is no finished run in what was dropped");
      listRead([], refused);
    }
    return new Promise(() => {});
  }
  delete document.documentElement.dataset.ready;
  listRead(groups, refused);
  say("drop more folders to compare them with these");
  const { trials, runs: chosen } = groups[kept.chosen];
  return JSON.stringify(trials ? specificationOfSweep(trials) : specificationOf(chosen));
}

// For those who compare results by a program of their own, and for tests.
window.clForgetRule = { refusal, refusalOfTrials, specificationOfSweep, separate, stylesOf };

return { seen, refusal, unzip, separate, stylesOf, paths: RULE.paths };
