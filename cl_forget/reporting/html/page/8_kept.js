// -- what one model forgot and another kept, class by class ------------------------------------------------
const CLASSES_FIRST = 5, PICTURES = 3;
const panel = byId("forgotten"), panelPick = (name) => panel.querySelector(`[data-forgot=${name}]`);
let classesListed = CLASSES_FIRST;

// Per class, over the chosen seeds: how many items were right before, how many each model still has right, and what the
// first one calls the others now.
function classesOf(set, first, second, seeds) {
  const found = new Map();
  for (const seed of seeds) {
    const [one, other] = [first, second].map((method) => runsOf(method).find((run) => run.seed === seed));
    if (!one || !other) continue;
    const [before, now, beside] = [one.rows[0], one.rows.at(-1), other.rows.at(-1)].map((row) => row.sets[set.name]);
    if (!before || !now || !beside) continue;
    const [was, is, its] = [before, now, beside].map(([right]) => book.right(right)), said = book.said(now[1]);
    set.labels.forEach((label, k) => {
      if (!was[k]) return;
      const name = set.names[label] || "(not kept)";
      if (!found.has(name)) found.set(name, { name, items: [], before: 0, first: 0, second: 0, both: 0, called: new Map() });
      const own = found.get(name);
      own.before++;
      own.first += is[k];
      own.second += its[k];
      if (!own.items.includes(k)) own.items.push(k);
      if (is[k]) return;
      own.both += its[k];
      const word = set.names[said[k]] || "?";
      own.called.set(word, (own.called.get(word) ?? 0) + 1);
    });
  }
  return [...found.values()].filter(({ both }) => both).sort((a, b) => b.both - a.both || b.second - b.first - (a.second - a.first) || a.name.localeCompare(b.name));
}

const seedsOfBoth = (first, second) => runsOf(first).map(({ seed }) => seed).filter((seed) => runsOf(second).some((run) => run.seed === seed));

async function showForgotten() {
  if (!panel) return;
  book ??= await loadItems();
  const place = panel.querySelector(".kept-classes");
  if (!book) return;
  const sets = book.sets.filter(({ prompts }) => !prompts), names = [...new Set(book.runs.map(({ method }) => method))];
  if (!sets.length || names.length < 2) {
    panel.closest("section").hidden = true;
    return;
  }
  panel.querySelector(".axes").hidden = false;
  panel.querySelector(".asks").hidden = true;
  const options = (select, entries, value) => {
    if (select.options.length) return;
    select.replaceChildren(...entries.map(([key, text]) => new Option(text, key, false, key === value)));
  };
  const wanted = panel.wanted ?? [];
  const first = names.includes(wanted[0]) ? wanted[0] : names.includes(panel.dataset.first) ? panel.dataset.first : names[0];
  options(panelPick("first"), names.map((name) => [name, name]), first);
  options(panelPick("second"), names.map((name) => [name, name]), [wanted[1], panel.dataset.second, ...names].find((name) => names.includes(name) && name !== first));
  options(panelPick("set"), sets.map(({ name }) => [name, name]), [wanted[2], sets.find(({ role }) => role === "suite")?.name, sets[0].name].find((name) => sets.some((set) => set.name === name)));
  const [one, other, setName] = ["first", "second", "set"].map((name) => panelPick(name).value), seeds = seedsOfBoth(one, other), seedPick = panelPick("seed");
  const before = seedPick.options.length ? seedPick.value : wanted[3];
  seedPick.replaceChildren(...[["", "all seeds"], ...seeds.map((seed) => [String(seed), `seed ${seed}`])].map(([key, text]) => new Option(text, key, false, key === before)));
  seedPick.closest("label").hidden = seeds.length < 2;
  const chosen = seedPick.value === "" ? seeds : [+seedPick.value], set = book.setOf.get(setName), rows = one === other ? [] : classesOf(set, one, other, chosen);
  const total = rows.reduce((sum, { both }) => sum + both, 0), shownRows = rows.slice(0, classesListed);
  panel.querySelector(".kept-says").textContent = rows.length
    ? `${one} forgot what ${other} kept in ${rows.length} ${rows.length === 1 ? "class" : "classes"} of ${setName}: ${total.toLocaleString("en")} answers that were right before${chosen.length > 1 ? `, over ${chosen.length} seeds` : ""}.${set.shown ? " Of the items that this page holds." : ""}`
    : one === other ? "Choose two models." : `There is nothing in ${setName} that ${one} forgot and ${other} kept.`;
  place.replaceChildren();
  if (!rows.length) return;
  const table = made("table", "results kept-table"), head = table.createTHead().insertRow();
  for (const title of ["class", `${one} calls it now`, "right before", `${one} now`, `${other} now`]) head.append(Object.assign(made("th", "", title), { scope: "col" }));
  const body = table.createTBody();
  for (const row of shownRows) {
    const line = body.insertRow(), button = Object.assign(made("button", "class", row.name), { type: "button" });
    const label = made("th", "");
    label.scope = "row";
    label.append(button);
    button.addEventListener("click", () => openItems({ method: one, set: setName, other, otherState: "1", state: "lost", label: row.name, seed: chosen[0] }));
    line.append(label);
    const pictures = label.appendChild(made("span", "pictures"));
    for (const k of row.items.slice(0, PICTURES)) {
      const picture = thumbnail({ set, k, label: row.name });
      if (picture) pictures.append(picture);
    }
    const called = [...row.called].sort((a, b) => b[1] - a[1]);
    line.insertCell().textContent = called.slice(0, 3).map(([word, n]) => `${word}${n > 1 ? ` ${n}×` : ""}`).join(", ") + (called.length > 3 ? ", …" : "");
    for (const count of [row.before, row.first, row.second]) line.insertCell().textContent = count.toLocaleString("en");
  }
  const scroll = made("div", "scroll");
  scroll.append(table);
  place.append(scroll);
  showMore(scroll);
  scroll.addEventListener("scroll", () => showMore(scroll), { passive: true });
  if (rows.length > shownRows.length) {
    const more = Object.assign(made("button", "more", `${rows.length - shownRows.length} more classes`), { type: "button" });
    more.addEventListener("click", () => { classesListed = Infinity; showForgotten(); });
    place.append(more);
  }
}

if (panel) {
  panel.addEventListener("input", () => { classesListed = CLASSES_FIRST; Object.assign(panel, { wanted: null, chosen: true }); showForgotten(); });
  panel.querySelector(".asks button").addEventListener("click", showForgotten);
  // A page that has its items reads them when this comes into sight, or when it has nothing else to do, as paper cannot
  // wait; a served one asks its server when it is told to.
  if (byId("items-data")) {
    let begun = false;
    const begin = () => { if (!begun) { begun = true; showForgotten(); } };
    new IntersectionObserver((changes) => { if (changes.some(({ isIntersecting }) => isIntersecting)) begin(); }, { rootMargin: "400px 0px" }).observe(panel);
    addEventListener("load", () => (window.requestIdleCallback ?? setTimeout)(begin));
    if (document.readyState === "complete") (window.requestIdleCallback ?? setTimeout)(begin);
  }
}
