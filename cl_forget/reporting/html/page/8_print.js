// -- on paper -------------------------------------------------------------------------------------------
// A browser lays a page out anew for paper but does not wait for anybody: when it says that it is about to, every plot
// is drawn at the width of the paper, in light colours, there and then.
const LINES_ON_PAPER = 100;  // of a list of runs; a line above says how many there are
let printed = null;

function beforePrint() {
  if (printed) return;
  printed = { dark: isDark(), details: [...document.querySelectorAll("details")].map((part) => [part, part.open]), parts: [], limits: [] };
  document.documentElement.classList.add("paper");
  setTheme(false);
  for (const [part] of printed.details) if (part.closest("#about")) part.open = true;
  for (const listing of listings) {
    printed.limits.push([listing, listing.limit]);
    listing.limit = Math.max(listing.limit, LINES_ON_PAPER);
    listing.fill();
  }
  for (const entry of plots) {
    RENDERERS[entry.figure.kind](entry.figure, entry.plot);
    stale.add(entry);
    const wide = entry.plot.layout?.width ?? 0, room = entry.plot.closest(".scroll, .facet, article").clientWidth;
    if (wide > room) entry.plot.style.zoom = room / wide;
  }
  for (const table of document.querySelectorAll(".scroll > table.results")) splitTable(table);
}

function afterPrint() {
  if (!printed) return;
  const { dark, details, parts, limits } = printed;
  printed = null;
  document.documentElement.classList.remove("paper");
  parts.forEach((part) => part.remove());
  document.querySelectorAll(".off-paper").forEach((part) => part.classList.remove("off-paper"));
  for (const { plot } of plots) plot.style.zoom = "";
  for (const [part, open] of details) part.open = open;
  for (const [listing, limit] of limits) {
    listing.limit = limit;
    listing.fill();
  }
  setTheme(dark);
  redraw();
}

// A table wider than the paper stands as several, one below the other, each with the names of its lines.
function splitTable(table) {
  const place = table.parentElement, room = place.clientWidth, heads = [...table.tHead.rows].at(-1).cells;
  if (table.scrollWidth <= room) return;
  const widths = [...heads].map((head) => head.offsetWidth), chunks = [];
  let left = 0;
  for (let k = 1; k < widths.length; k++) {
    if (!chunks.length || left < widths[k]) {
      chunks.push([]);
      left = room - widths[0];
    }
    chunks.at(-1).push(k);
    left -= widths[k];
  }
  place.classList.add("off-paper");
  let last = place;
  for (const columns of chunks) {
    const part = table.cloneNode(true);
    part.classList.add("part");
    keepColumns(part, new Set([0, ...columns]));
    last.after(part);
    printed.parts.push(part);
    last = part;
  }
}

function keepColumns(table, columns) {
  for (const row of table.rows) {
    let at = 0;
    for (const cell of [...row.cells]) {
      const inside = Array.from({ length: cell.colSpan }, (_, k) => at + k).filter((k) => columns.has(k)).length;
      at += cell.colSpan;
      if (inside) cell.colSpan = inside; else cell.remove();
    }
  }
}
