/* grid.html: a saved grid, its header and the panel of a cell. */

const TEXT = { en: GRID_WORDS, zh: data.words.texts };
const inChinese = namer(data.words);
const named = (text) => (language === "zh" ? inChinese(text) : text);
const view = gridView({ data, t, named, onpick: drawPanel, box: { stage: $("stage"), grid: $("grid"), tabs: $("tabs"), tip: $("tip"), light: $("light"), means: $("means") } });
view.ondone = countLive;
view.onsize = (pixels) => { $("size").value = pixels; };

function drawPanel() {
  const panel = $("panel"), before = panel.hidden, cell = view.picked;
  panel.hidden = !cell;
  if (panel.hidden !== before) view.fit();
  if (!cell) return;
  const image = view.picture(cell, "big"), reference = view.referenceOf(cell);
  image.onclick = () => view.openLight(cell);
  const hold = (down) => { image.src = (down ? reference : cell).src; };
  panel.replaceChildren(
    make("div", { className: "top" }, make("h2", { textContent: view.label(cell) || data.title }), make("button", { textContent: t("close"), onclick: () => view.mark(null) })),
    image, make("div", { className: "row" }, cell === reference ? null : view.compareButton(hold)), ...view.details(cell));
}

function countLive() {
  const done = data.cells.filter((cell) => cell.done).length;
  $("live").hidden = !data.live || done === data.cells.length;
  $("live").textContent = `${t("rendering")} ${done} / ${data.cells.length}`;
}

function redraw() {
  const count = `${data.cells.length} ${t("cells")}`;
  $("summary").textContent = [data.axes.filter(Boolean).map((axis) => `${named(axis.title)} × ${axis.values.length}`).join(" · "), count].filter(Boolean).join(" · ");
  const options = ["", ...data.scores];
  if (!options.includes(view.shown)) view.shown = "";
  $("score").replaceChildren(...options.map((name) => make("option", { value: name, textContent: named(name) || t("nothing"), selected: name === view.shown })));
  $("score-label").hidden = !data.scores.length;
  view.draw(); drawPanel(); countLive();
}

$("score").onchange = (event) => { view.shown = event.target.value; memory.set("score", view.shown); redraw(); };
$("size").oninput = (event) => { view.sized = true; view.setSize(+event.target.value); };
view.listen();
start();
if (asked.has("cell")) {
  const [x, y, z] = asked.get("cell").split(",").map((n) => n - 1);
  view.z = z || 0; redraw(); view.pick(view.cellAt(x, y, view.z));
  if (asked.has("light")) view.openLight(view.picked);
}
