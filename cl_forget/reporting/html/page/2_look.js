// -- look -------------------------------------------------------------------------------------------
const probe = document.body.appendChild(document.createElement("span"));
probe.hidden = true;
const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
const colors = new Map();
// A colour of the style sheet as rgb(): mixed colours are computed in notations that plotly does not read.
const color = (name) => {
  if (!colors.has(name)) {
    probe.style.color = `var(--${name})`;
    pen.fillStyle = getComputedStyle(probe).color;
    pen.fillRect(0, 0, 1, 1);
    colors.set(name, `rgb(${pen.getImageData(0, 0, 1, 1).data.slice(0, 3).join(", ")})`);
  }
  return colors.get(name);
};
const methodColor = (name) => color(`m${methods.get(name).index}`);
const textColor = (name) => color(`t${methods.get(name).index}`);
// The method's marker as it stands in the list of methods.
const glyphOf = (name) => document.querySelector(`.chip[data-method="${CSS.escape(name)}"] .glyph`).cloneNode(true);
const faded = (rgb, alpha) => rgb.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);
const FONT = getComputedStyle(document.body).fontFamily;
const CONFIG = { displayModeBar: false, responsive: false };
// What a point is and leads to, below its numbers: the command of its run, and what a click opens.
const shortcut = (index, items) => {
  const command = index === undefined || !spec.runs[index]?.command ? "" : `<br><span style="font-size:10px">${plain(shortCommand(index))}</span>`;
  return items ? `${command}<br><i>click for the items behind it</i>` : command && `${command}<br><i>click for the run</i>`;
};

// Draw, and let a click on a point open the run behind it (`customdata` holds its number).
async function draw(plot, traces, layout) {
  if (!plot.dataset.live) plot.textContent = "";  // a sentence may stand in its place
  await Plotly.react(plot, traces, layout, CONFIG);
  if (plot.dataset.live) return;
  plot.dataset.live = "true";
  plot.on("plotly_click", ({ points: [{ customdata }] }) => {
    if (typeof customdata === "object" && customdata) openItems(customdata);
    else if (known(customdata)) showRun(customdata);
  });
}

const axis = (extra) => ({
  gridcolor: color("line"), zeroline: false, linecolor: color("line"), ticks: "",
  tickfont: { color: color("muted"), size: 11 }, fixedrange: true, ...extra,
});
const layoutOf = (extra) => ({
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
  font: { family: FONT, color: color("ink"), size: 12 }, dragmode: false,
  hoverlabel: { bgcolor: color("panel"), bordercolor: color("line"), font: { color: color("ink"), family: FONT, size: 12 }, align: "left" },
  ...extra,
});
const textWidth = (() => {
  const context = document.createElement("canvas").getContext("2d");
  return (text, size, weight = 400) => {
    context.font = `${weight} ${size}px ${FONT}`;
    return context.measureText(text).width;
  };
})();

