// -- figures with choices of their own ------------------------------------------------------------------
function fillOptions(select, names, value) {
  select.replaceChildren(...names.map((name) => Object.assign(document.createElement("option"), { value: name, textContent: name })));
  select.value = names.includes(value) ? value : names[0];
  select.closest("label").hidden = names.length < 2;
}

const selectOf = (figure, name) => byId(figure.name).querySelector(`[data-choice="${name}"]`);

// Which two fields can be chosen depends on the method.
function fillFields(figure) {
  if (!("x" in figure.choice)) return;
  const names = figure.axes[figure.choice.method].map((field) => field.name);
  fillOptions(selectOf(figure, "x"), names, figure.choice.x);
  figure.choice.x = selectOf(figure, "x").value;
  fillOptions(selectOf(figure, "y"), names.filter((name) => name !== figure.choice.x), figure.choice.y);
  figure.choice.y = selectOf(figure, "y").value;
}

// A method has as many plots as fields; what is hidden is never in sight, so this cannot wait until it is drawn.
function showFields(figure) {
  if (figure.kind !== "slices") return;
  for (const plot of byId(figure.name).querySelectorAll(".plot")) {
    const field = figure.axes[figure.choice.method][+plot.dataset.panel], facet = plot.parentElement;
    facet.hidden = !field;
    Object.assign(facet.querySelector("h4"), { hidden: false, textContent: field?.name ?? "" });
  }
}

function choose(figure, name, value) {
  figure.choice[name] = value;
  fillFields(figure);
  showFields(figure);
  remember();
  redraw(plots.filter((entry) => entry.figure === figure));
}

for (const figure of figures.filter((one) => "panels" in one)) {
  figure.choice = {};
  for (const select of byId(figure.name).querySelectorAll("[data-choice]")) {
    figure.choice[select.dataset.choice] = select.value;
    select.addEventListener("change", () => choose(figure, select.dataset.choice, select.value));
  }
  fillFields(figure);
  showFields(figure);
  figure.firstChoice = JSON.stringify(figure.choice);
}

// What an address says of the choices; what does not exist any more is passed over.
function recallChoices(figure, chosen) {
  for (const name of ["method", "measure", "along", "x", "y"]) {
    const select = selectOf(figure, name);
    if (!select || ![...select.options].some((option) => option.value === chosen?.[name])) continue;
    select.value = figure.choice[name] = chosen[name];
    fillFields(figure);
  }
  showFields(figure);
}

function sayInstead(plot, text) {
  clear(plot);
  plot.append(Object.assign(document.createElement("p"), { className: "note", textContent: text }));
}

// -- fields as axes -------------------------------------------------------------------------------------
const coordinate = (field, value) => {
  if (!known(value)) return null;
  if (typeof value === "string") return field.levels.indexOf(value);
  return field.logarithmic ? Math.log10(value) : value;
};
const shownValue = (value) => (typeof value === "string" ? value : `${+value.toPrecision(4)}`);

function fieldAxis(field, values, extra) {
  const distinct = [...new Set(values)].sort((a, b) => coordinate(field, a) - coordinate(field, b));
  const at = (value) => coordinate(field, value), ticks = field.levels.length ? distinct : knobTicks(distinct, at);
  const ends = [at(distinct[0]), at(distinct.at(-1))], pad = 0.08 * (ends[1] - ends[0] || 1);
  return axis({
    range: [ends[0] - pad, ends[1] + pad], tickvals: ticks.map(at), ticktext: ticks.map((value) => plain(shorten(shownValue(value), 70, 11))), tickangle: 0,
    title: { text: plain(field.name), standoff: 6, font: { size: 11, color: color("muted") } }, ...extra,
  });
}

// What a trial is, for the label under the mouse.
const trialText = (row, lines) => `<b>${plain(row.method)}</b>, seed ${row.seed}<br>${lines.filter(Boolean).join("<br>")}${shortcut(runOf(row))}`;
