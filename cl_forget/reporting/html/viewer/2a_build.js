// -- the page of what was dropped: the same elements as page.html has -----------------------------------------
{
  const mark = (text) => String(text ?? "").replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  const glyph = (name) => `<svg class="glyph" viewBox="-10 -10 20 20" aria-hidden="true"><path d="${viewer.paths[methods.get(name).symbol]}" fill="var(--m${methods.get(name).index})"/></svg>`;
  const term = (measure) => `<button type="button" class="term" data-of="${mark(measure.name)}" data-definition="${mark(measure.definition)}">${mark(measure.title)}</button>`;
  const suffix = (measure) => spec.units[measure.unit].suffix;
  const head = (item, formats) => `<header><h3 id="${item.name}-title">${mark(item.title)}</h3><p class="read" id="${item.name}-read">${mark(item.how_to_read)}</p><div class="saves">${
    formats.map((format) => `<button type="button" class="save" data-name="${item.name}" data-format="${format}" aria-label="save ${mark(item.title)} as ${format.toUpperCase()}">${format.toUpperCase()}</button>`).join("")
  }<button type="button" class="copies" data-name="${item.name}" popovertarget="copies" aria-label="copy from ${mark(item.title)}">copy</button></div></header>`;
  const article = (item, kind, body, formats = ["csv", "svg", "png"]) =>
    `<article class="${kind}" id="${item.name}" aria-labelledby="${item.name}-title" aria-describedby="${item.name}-read">${head(item, formats)}${body}${(item.notes ?? []).map((note) => `<p class="note">${mark(note)}</p>`).join("")}</article>`;
  const sortable = (name, title, unit, kind = "") => `<th scope="col" class="${kind}" data-measure="${mark(name)}">${title} <span><small>${unit}</small><button type="button" class="sort" aria-label="sort by ${mark(name)}">↕</button></span></th>`;

  const best = (measure) => {
    const own = Object.entries(spec.table.rows).filter(([name, row]) => methods.get(name).role !== "reference" && known(row[measure.name]?.mean));
    const texts = new Set(own.map(([, row]) => format(row[measure.name].mean, measure)));
    if (!measure.better || texts.size < 2) return () => false;
    const top = own.map(([, row]) => row[measure.name].mean).reduce((a, b) => ((measure.better === "higher") === (a > b) ? a : b));
    return (cell, name) => methods.get(name).role !== "reference" && known(cell?.mean) && format(cell.mean, measure) === format(top, measure);
  };
  // What stands behind a mean, as `spread` of reporting/numbers.py.
  const spreadOf = (own, measure) => {
    if (!known(own?.mean)) return "";
    if (!known(own.low)) return known(own.error) ? `(${format(own.error, { ...measure, unit: measure.unit === "change" ? "points" : measure.unit }, own.mean)})` : "";
    const behind = withInterval(own, measure).slice(format(own.mean, measure).length).trim();
    return own.count === 2 ? behind.replace(/^\(|\)$/g, "") : behind;
  };
  const tableOf = () => {
    const { measures, rows } = spec.table, isBest = new Map(measures.map((measure) => [measure.name, best(measure)])), groups = [];
    for (const measure of measures) if (groups.at(-1)?.[0] === measure.group) groups.at(-1)[1]++; else groups.push([measure.group, 1]);
    const cell = (name, measure) => {
      const own = rows[name][measure.name], behind = spreadOf(own, measure);
      return `<td data-measure="${mark(measure.name)}" data-value="${own?.mean ?? ""}"${isBest.get(measure.name)(own, name) ? ' class="best"' : ""}>${format(own?.mean, measure)}${behind ? `<small>${behind}</small>` : ""}</td>`;
    };
    return `<div class="scroll" tabindex="0" role="region" aria-labelledby="results-title"><table class="results"><thead><tr><td></td>${groups.map(([name, count]) => `<th scope="colgroup" colspan="${count}">${mark(name)}</th>`).join("")}</tr>
      <tr><th scope="col">method</th>${measures.map((measure) => sortable(measure.name, term(measure), suffix(measure))).join("")}</tr></thead><tbody>${
      Object.keys(rows).map((name) => `<tr data-method="${mark(name)}" class="${methods.get(name).role}"><th scope="row">${glyph(name)}${mark(name)}${methods.get(name).role === "control" ? " <small>control</small>" : ""}${spec.table.settings?.[name] ? ` <small>${mark(spec.table.settings[name])}</small>` : ""}</th>${measures.map((measure) => cell(name, measure)).join("")}</tr>`).join("")}</tbody></table></div>`;
  };
  const gridOf = (item, name) => {
    const cells = new Map(item.foldedLines.filter((entry) => entry.method === name).map((entry) => [JSON.stringify([entry.row, entry.column]), entry]));
    const of = (row, column) => cells.get(JSON.stringify([row, column]));
    const stepwise = item.rows.every((row) => item.tasks.every((task) => of(row, task)));
    const cell = (row, j, column, i) => {
      const own = of(row, column), classes = [stepwise && j > 0 && item.tasks[j - 1] === column ? "framed" : "", i === item.tasks.length ? "first" : "", own?.mean > 0.62 ? "strong" : ""].join(" ");
      return own ? `<td class="${classes}" style="--v: ${(100 * own.mean).toFixed(1)}%" title="${withInterval(own, item.measures[0])} %" data-row="${mark(row)}" data-column="${mark(column)}">${Math.round(100 * own.mean)}</td>` : `<td class="${classes}">–</td>`;
    };
    return `<table class="grid" data-method="${mark(name)}"><caption>${glyph(name)}${mark(name)}</caption><thead><tr><td></td>${item.columns.map((column, i) => `<th scope="col"${i === item.tasks.length ? ' class="first"' : ""}>${mark(column)}</th>`).join("")}</tr></thead><tbody>${
      item.rows.map((row, j) => `<tr><th scope="row">${mark(row)}</th>${item.columns.map((column, i) => cell(row, j, column, i)).join("")}</tr>`).join("")}</tbody></table>`;
  };
  const axisOf = (item, axis, word) => `<span><label>${word} <select data-axis="${axis}">${item.measures.map((measure) => `<option value="${mark(measure.name)}"${measure.name === item[axis] ? " selected" : ""}>${mark(measure.title)}</option>`).join("")}</select></label>
    <button type="button" class="term" data-explains="${axis}" data-of="${mark(item[axis])}" data-definition="${mark(item.measureOf[item[axis]].definition)}" aria-label="definition">?</button></span>`;
  const bodies = {
    tradeoff: (item) => `<div class="axes">${axisOf(item, "y", "up")}${axisOf(item, "x", "across")}</div><div class="plot" role="img" aria-labelledby="${item.name}-title"></div>`,
    matrix: (item) => `<div class="grids">${[...methods.values()].filter(({ role }) => role !== "reference").map(({ name }) => gridOf(item, name)).join("")}</div>`,
    listing: (item) => `<div class="search"><label>find <input type="search" placeholder="method, setting, status …"></label> <span class="count" role="status"></span></div>
      <div class="scroll" tabindex="0" role="region" aria-labelledby="${item.name}-title"><table class="results listing"><thead><tr>${item.texts.map((name) => sortable(name, name, "", "text")).join("")}${item.measures.map((measure) => sortable(measure.name, term(measure), suffix(measure))).join("")}</tr></thead><tbody></tbody></table></div>
      <button type="button" class="more" hidden>show more</button>`,
  };
  const facets = (item) => `<div class="facets">${item.measures.map((measure) => `<div class="facet"><h4>${term(measure)} <small>${suffix(measure)}</small></h4><div class="plot" data-measure="${mark(measure.name)}" role="img" aria-label="${mark(measure.title)}"></div></div>`).join("")}</div>`;
  const section = (title, content) => {
    if (!content) return "";
    const name = title.toLowerCase().replaceAll(" ", "-");
    return `<section id="section-${name}" aria-labelledby="section-${name}-heading"><h2 id="section-${name}-heading">${title}</h2>${content}</section>`;
  };
  const drawn = (name) => {
    const item = spec.figures[name];
    return item ? article(item, item.kind, (bodies[item.kind] ?? facets)(item), item.kind === "listing" ? ["csv"] : undefined) : "";
  };

  const style = document.head.appendChild(document.createElement("style"));
  style.textContent = `:root { ${[...methods.values()].map(({ index, color: light, color_dark: dark }) => `--m${index}: light-dark(${light}, ${dark}); --t${index}: color-mix(in srgb, var(--m${index}) 70%, var(--ink));`).join(" ")} }`;
  document.querySelector("h1").textContent = document.title = spec.title;
  document.querySelector(".subtitle").textContent = spec.subtitle;
  document.querySelector("nav").hidden = false;
  document.querySelector(".chips").innerHTML = [...methods.values()].map(({ name, role }) =>
    `<button type="button" class="chip" aria-pressed="true" data-method="${mark(name)}">${glyph(name)}${mark(name)}${role === "control" ? " <small>control</small>" : ""}</button>`).join("")
    + '<button type="button" class="chip plain" id="all" title="all methods on or off; double-click a method to see it alone">all</button><label class="chip"><input type="checkbox" id="seeds" checked> single seeds</label>';
  const text = spec.table.text ?? `Accuracies in %, on test data, after the last task; the first line is the model before any fine-tuning. ${spec.table.control ? `The control, plain fine-tuning, is '${spec.table.control}'.` : "No plain fine-tuning is among these runs, so there is no control."} Bold is the best of a column, ± the 95 % interval of the mean over seeds; of two seeds both values are given, and in brackets behind a single seed's number is its standard error over test items.`;
  const results = { name: "results", title: "Every method in numbers", how_to_read: text };
  const notes = spec.runs.filter(({ note }) => note);
  document.querySelector("main").innerHTML = section("Trade-off", drawn("tradeoff")) + section("Results", article(results, "table", tableOf(), ["csv"]))
    + section("Along the sequence", drawn("retention") + drawn("accuracy-matrix") + drawn("transfer")) + section("Cost", drawn("cost")) + section("Runs", drawn("runs")) + section("Trials", drawn("trials"))
    + (notes.length ? section("Notes", `<dl class="notes">${notes.map(({ name, note }) => `<dt>${mark(name)}</dt><dd>${mark(note)}</dd>`).join("")}</dl>`) : "")
    + '<p class="note">Items, training curves and what is inside the model are on the page that <code>cl-forget report</code> makes of the same folders.</p>';
  const csvLine = (cells) => cells.map((cell) => (/[",\r\n]/.test(cell ?? "") ? `"${String(cell).replaceAll('"', '""')}"` : cell ?? "")).join(",");
  const quoted = (name) => (/^ *[=+\-@\t\r\n＝＋－＠]/.test(name) ? `'${name}` : name);
  spec.tables = { results: `${csvLine(["method", ...spec.table.measures.flatMap(({ name }) => [name, `${name}_low`, `${name}_high`, `${name}_count`])])}\n${
    Object.entries(spec.table.rows).map(([name, row]) => csvLine([quoted(name), ...spec.table.measures.flatMap((measure) => ["mean", "low", "high", "count"].map((end) => row[measure.name]?.[end]))])).join("\n")}\n` };
  spec.latex = {};
}

