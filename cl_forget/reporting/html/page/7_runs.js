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
    if (row) for (const measure of figure.measures) numbers.push([measure.title, `${withError(row, measure)} ${known(row[measure.name]) ? spec.units[measure.unit].suffix : ""}`]);
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
  showNote(card, run);
  card.dataset.run = run.name;
  card.querySelectorAll("details").forEach((part) => { part.open = false; });
  if (!card.open) card.showModal();
  remember();
}

// What somebody noted about the run; on a served page it can be written here, and is kept in the run's folder.
function showNote(card, run) {
  const place = card.querySelector(".written"), writing = card.querySelector(".writing");
  place.textContent = run.note ?? "";
  place.hidden = !run.note;
  if (!writing) return;
  const text = writing.querySelector("textarea"), says = writing.querySelector("[role=status]");
  text.value = run.note ?? "";
  says.textContent = "";
  writing.hidden = !run.folder;
  writing.querySelector(".keep").onclick = async () => {
    says.textContent = "…";
    try {
      const answer = await fetch("notes", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ run: run.name, text: text.value }) });
      if (!answer.ok) throw new Error((await answer.text()) || answer.statusText);
      run.note = text.value.trim();
      showNote(card, run);
      says.textContent = "kept";
    } catch (error) {
      says.textContent = error.message;
    }
  };
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
