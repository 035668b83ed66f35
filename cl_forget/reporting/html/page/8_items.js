// -- the items behind a number ----------------------------------------------------------------------------
// Read when first asked for: from the page itself, or from the server of a live one.
const STATES = [["lost", "right before, wrong now"], ["gained", "wrong before, right now"], ["kept", "right both times"], ["never known", "wrong both times"], ["all", ""]];
const stateOf = (before, now) => (before ? (now ? "kept" : "lost") : now ? "gained" : "never known");
const CARDS = 48, SHOWN_CLASSES = 12, PICTURE = 64;
let book = null, choice = null, cardsShown = CARDS, classesShown = SHOWN_CLASSES;

async function loadItems() {
  const data = JSON.parse(byId("items-data") ? await inflated("items-data") : await (await fetch("items")).text());
  if (!data) return null;
  const decode = (text) => Array.from(text, (sign) => sign.codePointAt(0) - data.first);
  const { strings } = data;
  const style = document.head.appendChild(document.createElement("style"));
  data.sets.forEach((set, k) => {
    set.labels = decode(set.labels);
    set.sheet = `sheet-${k}`;
    const address = data.sheets[set.name] ?? [...document.querySelectorAll("script.sheet")].find((one) => one.dataset.set === set.name)?.textContent;
    if (set.picture && address) style.sheet.insertRule(`.${set.sheet} { background-image: url("${address}"); }`);
  });
  const answers = new Map();  // a string is taken apart when it is first looked at
  const once = (number, make) => answers.get(`${make.name}${number}`) ?? answers.set(`${make.name}${number}`, make(strings[number])).get(`${make.name}${number}`);
  const flags = (text) => Array.from(text, (sign) => sign === "1");
  return { ...data, setOf: new Map(data.sets.map((set) => [set.name, set])), right: (number) => once(number, flags), said: (number) => once(number, decode) };
}

const chosenSets = () => {
  const [group, plural] = choice.set.split(":");
  return plural === "" && ["tasks", "suites"].includes(group) ? book.sets.filter(({ role }) => `${role}s` === group) : [book.setOf.get(choice.set) ?? book.sets[0]];
};
const runsOf = (method) => book.runs.filter((run) => run.method === method);
const itemRun = (method, seed) => runsOf(method).find((run) => run.seed === seed) ?? runsOf(method)[0];
const rowOf = (run, after) => {
  const at = run.rows.findIndex((row) => row.after === after);
  return at < 0 ? run.rows.length - 1 : at;
};

// Every item of the chosen sets with what was said before, now, and by the run beside it.
function itemsOf() {
  const run = itemRun(choice.method, choice.seed), now = run.rows[choice.row].sets, before = run.rows[choice.before].sets;
  const beside = choice.other ? itemRun(choice.other, choice.seed) : null, other = beside?.rows[Math.min(choice.row, beside.rows.length - 1)].sets;
  const found = [], sets = chosenSets();
  for (const set of sets) {
    if (!now[set.name] || !before[set.name]) continue;
    const side = ([right, said]) => ({ right: book.right(right), said: book.said(said) });
    const [was, is, its] = [side(before[set.name]), side(now[set.name]), other?.[set.name] ? side(other[set.name]) : null];
    set.labels.forEach((label, k) => found.push({
      // Two data sets may each have a class "four": together they are told apart.
      set, k, label: set.names[label], group: sets.length > 1 ? `${set.names[label] || "(not kept)"} · ${set.name}` : set.names[label], state: stateOf(was.right[k], is.right[k]),
      before: [was.right[k], set.names[was.said[k]]], now: [is.right[k], set.names[is.said[k]]],
      other: its && [its.right[k], set.names[its.said[k]]],
    }));
  }
  return found;
}

const fill = (name, options, value) => {
  const select = byId("items").querySelector(`[data-items=${name}]`);
  select.replaceChildren(...options.map(([key, text]) => new Option(text, key, false, String(key) === String(value))));
  select.closest("label").hidden = options.length < 2;
};

function showItems() {
  const card = byId("items"), run = itemRun(choice.method, choice.seed);
  choice.seed = run.seed;
  choice.row = Math.min(choice.row, run.rows.length - 1);
  choice.before = Math.min(choice.before, choice.row);
  const groups = ["suites", "tasks"].filter((group) => book.sets.filter(({ role }) => `${role}s` === group).length > 1).map((group) => [`${group}:`, `all ${group}`]);
  fill("set", [...groups, ...book.sets.map(({ name }) => [name, name])], choice.set);
  const names = [...new Set(book.runs.map(({ method }) => method))];
  fill("method", names.map((name) => [name, name]), choice.method);
  fill("seed", runsOf(choice.method).map(({ seed }) => [seed, seed]), choice.seed);
  fill("row", run.rows.map(({ after }, k) => [k, after]), choice.row);
  fill("before", run.rows.slice(0, Math.max(1, choice.row)).map(({ after }, k) => [k, k ? after : "the pre-trained model"]), choice.before);
  fill("other", [["", "no other model"], ...names.filter((name) => name !== choice.method).map((name) => [name, name])], choice.other);
  card.querySelector("[data-items=otherState]").value = choice.otherState;
  byId("items-other-is").hidden = !choice.other;
  const text = card.querySelector("[data-items=text]");
  if (text.value !== choice.text) text.value = choice.text;

  const everything = itemsOf(), sets = chosenSets();
  const among = everything.filter(({ other }) => choice.otherState === "" || !choice.other || (other && other[0] === (choice.otherState === "1")));
  const count = (name) => (name === "all" ? among : among.filter(({ state }) => state === name)).length;
  card.querySelector(".states").replaceChildren(...STATES.map(([name, meaning]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: `chip state ${name.split(" ")[0]}`, title: meaning, textContent: `${name} ` });
    button.dataset.state = name;
    button.setAttribute("aria-pressed", String(choice.state === name));
    button.append(Object.assign(document.createElement("b"), { textContent: count(name).toLocaleString("en") }));
    return button;
  }));
  byId("items-title").textContent = `${choice.method}${runsOf(choice.method).length > 1 ? `, seed ${run.seed}` : ""}, ${run.rows[choice.row].after}: ${sets.map(({ name }) => name).join(", ")}`;
  byId("items-note").textContent = sampledNote(run, sets);
  const behind = runOf({ method: choice.method, seed: run.seed });
  card.querySelector(".its-run").hidden = behind === undefined;
  card.querySelector(".its-run").onclick = () => { card.close(); showRun(behind); };
  const inState = choice.state === "all" ? among : among.filter(({ state }) => state === choice.state);
  const words = choice.text.trim().toLowerCase();
  const matches = ({ set, k, label, before, now, other }) => !words || [label, before[1], now[1], other?.[1], set.prompts?.[k]].some((part) => part?.toLowerCase().includes(words));
  const found = inState.filter(matches);
  drawConfusion(found, everything);
  drawCards(found.filter(({ group }) => choice.label === null || group === choice.label));
  remember();
}

// Where the page has a sample only, the numbers of all stand beside it.
function sampledNote(run, sets) {
  const cut = sets.some((set) => set.cut) ? "Some answers are left out to keep the page small; cl-forget report --serve has them. " : "";
  if (!sets.some(({ shown }) => shown)) return cut;
  const shownCount = sets.reduce((sum, set) => sum + set.labels.length, 0), total = sets.reduce((sum, set) => sum + set.total, 0);
  const of = (place) => sets.reduce((sum, { name }) => sum + (run.rows[choice.row].sets[name]?.[place] ?? 0), 0).toLocaleString("en");
  const whole = choice.before ? "" : ` Of all, ${of(3)} were lost, ${of(4)} gained, ${of(2)} kept, ${of(5)} never known.`;
  return `${cut}This page holds ${shownCount.toLocaleString("en")} of ${total.toLocaleString("en")} items, spread evenly; cl-forget report --serve shows all of them.${whole}`;
}

const made = (tag, className, text) => Object.assign(document.createElement(tag), { className, textContent: text ?? "" });

// Per true class: how many of its items are in the state, and what they are called now.
function drawConfusion(items, everything) {
  const place = byId("items").querySelector(".confusion"), groups = new Map(), sizes = new Map();
  for (const { group } of everything) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  for (const item of items) {
    if (!groups.has(item.group)) groups.set(item.group, []);
    groups.get(item.group).push(item);
  }
  place.replaceChildren();
  if (chosenSets().some(({ prompts }) => prompts) || !groups.size) return;
  const title = { lost: "Classes that were lost", gained: "Classes that were gained", kept: "Classes that were kept", "never known": "Classes never known", all: "Classes" }[choice.state];
  place.append(made("h4", "", title), made("p", "note", choice.state === "gained" ? "what they were called before" : "what they are called now"));
  const table = made("table", "classes"), rows = [...groups].sort((a, b) => b[1].length - a[1].length || a[0].localeCompare(b[0]));
  for (const [label, own] of rows.slice(0, classesShown)) {
    const row = table.insertRow(), button = made("button", "class", label || "(not kept)"), said = new Map();
    row.className = choice.label === label ? "chosen" : "";
    button.type = "button";
    button.dataset.label = label;
    button.setAttribute("aria-pressed", String(choice.label === label));
    for (const item of own) {
      const [, word] = choice.state === "gained" ? item.before : item.now;
      said.set(word, (said.get(word) ?? 0) + 1);
    }
    const called = [...said].sort((a, b) => b[1] - a[1]).slice(0, 3).map(([word, n]) => `${word || "?"}${n > 1 ? ` ${n}×` : ""}`);
    row.insertCell().append(button);
    row.insertCell().textContent = `${own.length} of ${sizes.get(label)}`;
    row.insertCell().textContent = called.join(", ") + (said.size > 3 ? ", …" : "");
  }
  place.append(table);
  if (rows.length > classesShown) place.append(Object.assign(made("button", "more classes-more", `${rows.length - classesShown} more classes`), { type: "button" }));
}

function thumbnail({ set, k, label }) {
  if (!set.picture || set.picture.has[k] !== "1") return null;
  const [width, height] = set.picture.size, scale = PICTURE / Math.max(width, height), wide = Math.min(set.picture.wide, set.labels.length);
  const picture = made("span", `thumb ${set.sheet}`);
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", label);
  Object.assign(picture.style, {
    width: `${width * scale}px`, height: `${height * scale}px`, backgroundSize: `${wide * width * scale}px auto`,
    backgroundPosition: `${-(k % set.picture.wide) * width * scale}px ${-Math.floor(k / set.picture.wide) * height * scale}px`,
  });
  return picture;
}

const answerLine = (who, [right, word], own) => {
  const line = made("span", `answer ${right ? "right" : "wrong"}`);
  line.append(made("small", "", own ? `${who} ` : ""), `${right ? "✓" : "✗"} ${word || (right ? "right" : "wrong")}`);
  return line;
};

function drawCards(items) {
  const card = byId("items"), list = card.querySelector(".cards"), sets = chosenSets(), several = sets.length > 1;
  card.querySelector(".search .count").textContent = `${items.length.toLocaleString("en")} ${items.length === 1 ? "item" : "items"}${choice.label === null ? "" : ` of ${choice.label}`}`;
  list.classList.toggle("texts", sets.some(({ prompts }) => prompts));
  list.replaceChildren(...items.slice(0, cardsShown).map((item) => {
    const entry = document.createElement("li"), body = made("div", "said"), picture = thumbnail(item), prompt = item.set.prompts?.[item.k];
    if (picture) entry.append(picture);
    if (prompt) body.append(made("p", "prompt", prompt));
    if (prompt) body.append(made("small", "", "right would be"));
    body.append(made("b", "", item.label || `item ${item.set.shown ? item.set.shown[item.k] : item.k}`));
    if (several) body.append(made("small", "", item.set.name));
    body.append(answerLine("before", item.before, true), answerLine("now", item.now, true));
    if (item.other) body.append(answerLine(choice.other, item.other, true));
    entry.append(body);
    return entry;
  }));
  const more = card.querySelector(".shown > .more");
  more.hidden = items.length <= cardsShown;
  more.textContent = `show more (${(items.length - cardsShown).toLocaleString("en")})`;
}

// Open on a method's numbers for a data set ("suites:" for all suites), after a task.
async function openItems(wanted) {
  if (!byId("items") || !spec.items) return;
  book ??= await loadItems();
  if (!book) return;
  const method = spec.items.includes(wanted.method) ? wanted.method : spec.items[0];
  const run = itemRun(method, wanted.seed ?? null);
  const row = wanted.method === methods.keys().next().value && wanted.method !== method ? 0 : wanted.row ?? rowOf(run, wanted.after);
  choice = { set: "suites:", seed: run.seed, before: 0, other: "", otherState: "", state: "lost", text: "", label: null, ...wanted, method, row };
  if (choice.set === "suites:" && !book.sets.some(({ role }) => role === "suite")) choice.set = "tasks:";
  if (!wanted.state && row === 0) choice.state = "all";
  cardsShown = CARDS;
  classesShown = SHOWN_CLASSES;
  showItems();
  if (!byId("items").open) byId("items").showModal();
}

// The data set that a measure is taken on; undefined where it is no accuracy of a data set.
const setOfMeasure = (name) => {
  if (["generality", "retention", "generality_drop", "f_true", "bt_true", "against:generality"].includes(name)) return "suites:";
  if (["speciality", "bwt", "fwt", "forgetting_max", "against:speciality"].includes(name)) return "tasks:";
  return /^(suite|task):/.test(name) ? name.slice(name.indexOf(":") + 1) : undefined;
};

// What a point along the sequence leads to; null where there are no items behind it.
const itemsBehind = (method, measure, stage) => {
  const set = setOfMeasure(measure), after = methods.get(stage)?.role === "reference" ? stage : `after ${stage}`;
  return set && spec.items?.includes(method) ? { method, set, after } : null;
};

// What a method's final number, in a bar or a point, leads to: by the first measure that is one of accuracy.
const itemsOfMethod = (method, measures, seed) => {
  const set = measures.map(setOfMeasure).find(known), has = spec.items?.includes(method) || (spec.items && methods.get(method)?.role === "reference");
  return set && has ? { method, set, ...(known(seed) ? { seed } : {}) } : null;
};

// Numbers that lead to items are buttons: with a click, Enter or the space bar.
function linkItems() {
  if (!spec.items) return;
  const link = (cell, name, wanted) => {
    cell.classList.add("leads");
    cell.tabIndex = 0;
    cell.setAttribute("role", "button");
    cell.title = [cell.title, "press for the items behind it"].filter(Boolean).join("; ");
    const open = () => openItems(wanted);
    cell.addEventListener("click", open);
    cell.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(); } });
  };
  for (const cell of document.querySelectorAll("table.grid td[data-row]")) {
    const { method } = cell.closest("table").dataset;
    if (spec.items.includes(method)) link(cell, method, { method, set: cell.dataset.column, after: cell.dataset.row });
  }
  for (const cell of document.querySelectorAll("#results tbody td[data-measure]")) {
    const { method } = cell.closest("tr").dataset, set = setOfMeasure(cell.dataset.measure);
    if (set && cell.dataset.value && (spec.items.includes(method) || methods.get(method)?.role === "reference")) link(cell, method, { method, set });
  }
  const change = (name, value) => {
    const whole = ["row", "before", "seed"].includes(name) ? +value : value;
    if (name === "set" || name === "method") choice.label = null;
    if (name === "otherState" || name === "text" || name === "other" || name === "row" || name === "set" || name === "method") cardsShown = CARDS;
    choice[name] = whole;
    if (name === "other" && !value) choice.otherState = "";
    if (choice.other === choice.method) choice.other = "";
    showItems();
  };
  byId("items").addEventListener("input", ({ target }) => { if (target.dataset.items) change(target.dataset.items, target.value); });
  byId("items").addEventListener("click", (event) => {
    if (event.target === event.currentTarget) return event.currentTarget.close();
    const button = event.target.closest("button");
    if (button?.dataset.state) { choice.state = button.dataset.state; choice.label = null; cardsShown = CARDS; classesShown = SHOWN_CLASSES; showItems(); }
    if (button?.matches(".class")) { choice.label = choice.label === button.dataset.label ? null : button.dataset.label; showItems(); }
    if (button?.matches(".classes-more")) { classesShown = Infinity; showItems(); }
    if (button?.matches(".shown > .more")) { cardsShown += 4 * CARDS; showItems(); }
  });
  byId("items").addEventListener("close", ({ target }) => {
    if (target.open) return;  // it was opened again before it was told
    choice = null;
    remember();
  });
}
