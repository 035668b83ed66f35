// -- saving ---------------------------------------------------------------------------------------------
const escaped = (text) => String(text).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// A plot as an <svg> element's text, drawn if it has not been yet.
async function plotSvg(entry) {
  await drawNow(entry);
  if (!entry.plot.layout) return null;
  const { width, height } = entry.plot.layout;
  const address = await Plotly.toImage(entry.plot, { format: "svg", width, height });
  return { width, height, text: decodeURIComponent(address.slice(address.indexOf(",") + 1)).replace(/^<\?xml[^>]*>/, "") };
}

// A matrix is a table on the page; in a picture its cells are rectangles.
function gridSvg(table) {
  const [w, h, left] = [58, 28, 104], ink = color("ink"), rows = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells].slice(1);
  const text = (x, y, content, extra = "") => `<text x="${x}" y="${y}" font-family="${escaped(FONT)}" font-size="11" ${extra}>${escaped(content)}</text>`;
  let body = text(0, 12, table.caption.textContent.trim(), `font-weight="600" fill="${ink}"`);
  heads.forEach((head, i) => { body += text(left + i * w + w / 2, 32, shorten(head.textContent.trim(), w - 4, 11), `text-anchor="middle" fill="${color("muted")}"`); });
  rows.forEach((row, j) => {
    const y = 38 + j * h;
    body += text(0, y + h / 2 + 4, shorten(row.cells[0].textContent.trim(), left - 6, 11), `fill="${color("muted")}"`);
    [...row.cells].slice(1).forEach((cell, i) => {
      if (!cell.hasAttribute("style")) return;
      const look = getComputedStyle(cell);
      pen.fillStyle = look.backgroundColor;
      pen.fillRect(0, 0, 1, 1);
      const ground = `rgb(${pen.getImageData(0, 0, 1, 1).data.slice(0, 3).join(", ")})`;
      const frame = cell.classList.contains("framed") ? `stroke="${ink}" stroke-width="2"` : "";
      body += `<rect x="${left + i * w + 1}" y="${y + 1}" width="${w - 2}" height="${h - 2}" rx="3" fill="${ground}" ${frame}/>`;
      body += text(left + i * w + w / 2, y + h / 2 + 4, cell.textContent.trim(), `text-anchor="middle" fill="${look.color}"`);
    });
  });
  const [width, height] = [left + heads.length * w, 44 + rows.length * h];
  return { width, height, text: `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${body}</svg>` };
}

// The whole figure, all of its facets in the arrangement of a page, as one SVG on the ground of the theme.
async function figureSvg(name) {
  const article = byId(name), tiles = [];
  const title = (plot) => plot.closest(".facet")?.querySelector("h4")?.textContent.trim() ?? "";
  if (spec.figures[name].kind === "matrix") {
    for (const table of article.querySelectorAll("table.grid:not([hidden])")) tiles.push({ ...gridSvg(table), title: "" });
  } else {
    for (const entry of plots.filter(({ figure }) => figure.name === name)) {
      const drawn = await plotSvg(entry);
      if (drawn) tiles.push({ ...drawn, title: title(entry.plot) });
    }
  }
  const columns = Math.min(3, tiles.length) || 1, gap = 24, top = 40;
  const width = Math.max(360, columns * Math.max(0, ...tiles.map((tile) => tile.width)) + gap * (columns + 1));
  const label = (x, y, size, text) => `<text x="${x}" y="${y}" font-family="${escaped(FONT)}" font-size="${size}" font-weight="600" fill="${color("ink")}">${escaped(text)}</text>`;
  let body = label(gap, 28, 16, article.querySelector("h3").textContent.trim()), y = top, tallest = 0;
  tiles.forEach((tile, k) => {
    if (k % columns === 0 && k) { y += tallest + gap; tallest = 0; }
    const x = gap + (k % columns) * (Math.max(...tiles.map((other) => other.width)) + gap);
    if (tile.title) body += label(x, y + 14, 12, tile.title);
    body += `<g transform="translate(${x} ${y + (tile.title ? 20 : 0)})">${tile.text}</g>`;
    tallest = Math.max(tallest, tile.height + (tile.title ? 20 : 0));
  });
  const height = y + tallest + gap;
  return `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"><rect width="100%" height="100%" fill="${color("ground")}"/>${body}</svg>`;
}

async function figurePng(name, factor = 2) {
  const svg = await figureSvg(name), image = new Image();
  image.src = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: image.width * factor, height: image.height * factor });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(image.src);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

async function download(name, format) {
  if (format === "csv") save(`${name}.csv`, new Blob([csv(name)], { type: "text/csv" }));
  if (format === "svg") save(`${name}.svg`, new Blob([await figureSvg(name)], { type: "image/svg+xml" }));
  if (format === "png") save(`${name}.png`, await figurePng(name));
}

// -- copying --------------------------------------------------------------------------------------------
const LATEX = {
  "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
  "−": "$-$", "±": "$\\pm$", "–": "--", "×": "$\\times$", "Δ": "$\\Delta$", "θ": "$\\theta$", "→": "$\\rightarrow$", "·": "$\\cdot$",
};
const latex = (text) => Array.from(text, (sign) => LATEX[sign] ?? sign).join("");
const unique = (values) => [...new Set(values.filter(known))];

// The folders that this page was made of, as they were given: those that the runs' own lie in.
const foldersShown = () => unique(spec.runs.map(({ folder }) => folder).filter(Boolean).map((folder) => {
  if (spec.runs.length === 1) return folder;
  const end = folder.lastIndexOf("/trials/");
  return folder.slice(0, end >= 0 ? end : Math.max(0, folder.lastIndexOf("/"))) || folder;
}));
const quotedWord = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

function citation(title) {
  const versions = unique(spec.environments.map((one) => one["packages.cl-forget"])), commits = unique(spec.environments.map((one) => one.commit));
  const made = [versions.length ? `cl\\_forget ${versions.map(latex).join(", ")}` : "cl\\_forget", ...(commits.length ? [`commit ${commits.map(latex).join(", ")}`] : [])].join(", ");
  const key = spec.title.toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_|_$/g, "").slice(0, 40);
  return `@misc{${key},\n  title = {{${latex(spec.title)}}},\n  howpublished = {${made}},\n  note = {${latex(title)} ${latex(spec.subtitle)}},\n}\n`;
}

function commands() {
  const own = unique(spec.runs.map(({ command }) => command)), folders = foldersShown().map(quotedWord).join(" ");
  const shown = own.slice(0, 20), more = own.length > shown.length ? [`# and ${own.length - shown.length} more`] : [];
  return `${[...shown, ...more, `cl-forget report ${folders || "FOLDER"}`].join("\n")}\n`;
}

// The lines of a table on the page, headings first: a button's name without its pictures.
const shownRows = (name) => [...byId(name).querySelectorAll("table tr")].map((row) => [...row.cells].map((cell) => (cell.querySelector("button:not(.sort)") ?? cell).textContent.trim()));

function shownLatex(name) {
  const [head, ...rows] = shownRows(name), line = (cells) => `${cells.map(latex).join(" & ")} \\\\`;
  if (!head) return "";
  return ["% \\usepackage{booktabs}", `\\begin{tabular}{ll${"r".repeat(head.length - 2)}}`, "\\toprule", line(head), "\\midrule", ...rows.map(line), "\\bottomrule", "\\end{tabular}", ""].join("\n");
}

function figureLatex(name) {
  if (spec.latex[name]) return spec.latex[name];
  if (name === "forgotten") return shownLatex(name);
  const article = byId(name), title = article.querySelector("h3").textContent.trim(), read = article.querySelector(".read").textContent.trim();
  const file = name in spec.tables ? "table.tex" : `${name}.pdf`;
  const shown = name in spec.tables ? `\\input{${file}}` : `\\includegraphics{${file}}`;
  return `% ${file} is made by: cl-forget figures ${foldersShown().map(quotedWord).join(" ") || "FOLDER"}\n\\begin{figure}\n  \\centering\n  ${shown}\n  \\caption{${latex(title)} ${latex(read)}}\n  \\label{fig:${name}}\n\\end{figure}\n`;
}

// What "copy" at a figure gives.
function copyText(name, kind) {
  if (kind === "citation") return citation(byId(name).querySelector("h3").textContent.trim());
  if (kind === "command") return commands();
  if (kind === "latex") return figureLatex(name);
  if (kind === "link") {
    remember();
    const address = new URL(location.href), state = address.hash;
    return `${address.href.slice(0, address.href.length - state.length)}${state && state !== "#" ? state : "#"}`;
  }
  return csv(name);
}

// The choice of what to copy opens below its button.
function chooseCopy(button) {
  const card = byId("copies"), place = button.getBoundingClientRect();
  card.dataset.of = button.dataset.name;
  card.querySelector("[role=status]").textContent = "";
  card.querySelector("textarea").hidden = true;
  card.style.left = `${Math.max(8, Math.min(place.left, innerWidth - 220))}px`;
  card.style.top = `${Math.max(8, Math.min(place.bottom + 4, innerHeight - 210))}px`;
}

async function copyOf(kind) {
  const card = byId("copies"), says = card.querySelector("[role=status]"), hand = card.querySelector("textarea");
  const text = copyText(card.dataset.of, kind);
  hand.hidden = true;
  try {
    await navigator.clipboard.writeText(text);
    says.textContent = "copied";
    setTimeout(() => { card.hidePopover(); says.textContent = ""; }, 900);
  } catch {
    // Some browsers refuse the clipboard to pages opened from a file: the text is there to be taken by hand.
    says.textContent = "select and copy:";
    hand.hidden = false;
    hand.value = text;
    hand.select();
  }
}
