// -- tables that are wider than the page ------------------------------------------------------------------
// The side that has more fades, and a line below says how many columns are out of sight.
function showMore(place) {
  const table = place.querySelector("table");
  if (!table) return;
  const right = place.scrollWidth - place.clientWidth - place.scrollLeft > 2, left = place.scrollLeft > 2;
  place.dataset.more = [left && "left", right && "right"].filter(Boolean).join(" ");
  let line = place.nextElementSibling;
  if (!line?.classList.contains("sideways")) place.after(line = Object.assign(document.createElement("p"), { className: "sideways" }));
  const edge = place.getBoundingClientRect().right, heads = [...(table.tHead?.rows ?? [])].at(-1)?.cells ?? [];
  const hiddenColumns = [...heads].filter((head) => head.getBoundingClientRect().right > edge + 2).length;
  line.textContent = right && hiddenColumns ? `${hiddenColumns} more ${hiddenColumns === 1 ? "column" : "columns"} →` : left ? "← scrolled to the end" : "";
}

function watchScrolls() {
  const sizes = new ResizeObserver((changes) => changes.forEach(({ target }) => showMore(target.matches(".scroll") ? target : target.closest(".scroll"))));
  for (const place of document.querySelectorAll(".scroll")) {
    const table = place.querySelector("table");
    if (!table) continue;
    place.addEventListener("scroll", () => showMore(place), { passive: true });
    sizes.observe(place);
    sizes.observe(table);
  }
}
