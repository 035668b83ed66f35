// -- one run --------------------------------------------------------------------------------------------
function pairs(list, entries) {
  list.replaceChildren(...entries.flatMap(([name, value]) => [
    Object.assign(document.createElement("dt"), { textContent: name }),
    Object.assign(document.createElement("dd"), { textContent: known(value) ? (typeof value === "object" ? JSON.stringify(value) : value) : "–" })]));
}

// What one run was, what it measured, and the command that makes it again.
function showRun(index) {
  const run = spec.runs[index], card = byId("run");
  if (!run) return;
  const setting = known(run.setting) ? `, ${run.knob} = ${run.setting}` : "";
  card.querySelector("h3").textContent = `${run.method}${setting}, seed ${run.seed}`;
  card.querySelector(".state").textContent = [run.status, run.reason, run.folder].filter(Boolean).join(" · ");
  card.querySelector("code").textContent = run.command ?? "";
  card.querySelector(".command").hidden = !run.command;
  const numbers = [];
  for (const figure of figures.filter(({ kind }) => kind === "listing")) {
    const row = figure.dataLines.find((entry) => runOf(entry) === index);
    if (row) for (const measure of figure.measures) numbers.push([measure.title, `${format(row[measure.name], measure)} ${known(row[measure.name]) ? spec.units[measure.unit].suffix : ""}`]);
  }
  pairs(card.querySelector(".numbers"), numbers);
  pairs(card.querySelector(".own"), Object.entries(run.own));
  pairs(card.querySelector(".shared"), Object.entries(spec.common));
  pairs(card.querySelector(".environment"), Object.entries(spec.environments[run.environment] ?? {}));
  const behind = card.querySelector(".behind");
  if (behind) {
    behind.hidden = !spec.items?.includes(run.method);
    behind.onclick = () => { card.close(); openItems({ method: run.method, seed: run.seed }); };
  }
  card.showModal();
}

async function copy(button) {
  const text = button.parentElement.querySelector("code").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Some browsers refuse the clipboard to pages opened from a file: select the text instead.
    getSelection().selectAllChildren(button.parentElement.querySelector("code"));
    return;
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1500);
}
