const TEXT = {
  en: { show: "On cells", size: "Size", dark: "Dark", light: "Light", nothing: "nothing", copy: "Copy", copied: "Copied",
        values: "Values", scores: "Measured, compared with cell {}", command: "Command that merges it", recipe: "As a recipe", variables: "Recipe variables",
        prompt: "Prompt", negative: "Negative prompt", settings: "Settings", close: "Close", compare: "Hold to see the reference", colon: ": ",
        reference: "reference", cells: "cells", missing: "not rendered yet",
        base: "This cell is the checkpoint itself: nothing to merge.",
        steps: "Start and stop steps exist only while rendering; the merged file acts in every step.",
        tokens: "R, U and X in a block list have values only while rendering; put numbers there first.",
        apply: "The recipe makes the checkpoint; this cell has adapters on top of it, listed under Settings.",
        hint: "← → ↑ ↓ move · Space compares · click zooms · Esc closes",
        rendering: "rendering…", adapters: "Adapters", seed: "Seed", sampler: "Sampler", size_: "Size", checkpoint: "Checkpoint" },
  zh: data.words.texts,
};
/* What the program calls axes, their values and scores, in Chinese; names of files, LoRAs and variables stay. */
const PATTERNS = Object.entries(data.words.patterns).map(([pattern, chinese]) => [new RegExp(pattern), chinese]);

function named(text) {
  if (language !== "zh") return text;
  const part = PATTERNS.find(([pattern]) => pattern.test(text));
  return data.words.names[text] ?? (part ? text.replace(...part) : text);
}

const [nx, ny, nz] = data.shape;
const cellAt = (x, y, z) => data.cells[x + nx * (y + ny * z)];
const referenceOf = (cell) => cellAt(...cell.reference);
let z = 0, picked = null, lit = false, sized = false, showReference = null;
let shown = data.chosen[0] ?? memory.get("score") ?? (data.scores[0] || "");

const axisFacts = (cell) => data.axes.map((axis, i) => axis && [named(axis.title), named(cell.labels[i]) || "—"]).filter(Boolean);
const label = (cell) => axisFacts(cell).map((pair) => pair.join(t("colon"))).join(" · ");

function picture(cell, className = "") {
  const image = make("img", { alt: label(cell), className, loading: "lazy", draggable: false });
  image.width = cell.width; image.height = cell.height;
  if (data.live && !cell.done) {
    image.onerror = () => setTimeout(() => { image.src = cell.src + "?" + Date.now(); }, 4000);
    image.onload = () => { cell.done = true; image.closest(".cell")?.classList.remove("absent"); countLive(); };
  }
  if (cell.done || data.live) image.src = cell.src;
  return image;
}

function drawCell(cell) {
  const score = shown && cell.scores ? cell.scores[shown] : undefined;
  const box = make("button", {
    className: "cell" + (cell.done ? "" : " absent") + (cell === picked ? " picked" : ""),
    onclick: () => pick(cell), onpointermove: (event) => { if (event.pointerType === "mouse") tip(event, cell); }, onpointerleave: () => { $("tip").hidden = true; },
  }, make("span", { className: "frame", style: `aspect-ratio:${data.slot[0]}/${data.slot[1]}` },
          picture(cell)));
  box.setAttribute("aria-label", label(cell));
  box.querySelector("img").style.width = `${100 * cell.width / data.slot[0]}%`;
  if (score !== undefined) box.append(make("span", { className: "badge", textContent: cell === referenceOf(cell) && !data.chosen.includes(shown) ? t("reference") : number(score, 2) }));
  cell.box = box;
  return make("td", {}, box);
}

function drawGrid() {
  const [x, y] = data.axes;
  const corner = [x && named(x.title) + " →", y && named(y.title) + " ↓"].filter(Boolean).join("\n");
  const head = make("tr", {}, make("th", { className: "corner", textContent: corner }),
    ...Array.from({ length: nx }, (_, i) => make("th", { textContent: x ? named(x.values[i]) || "—" : "" })));
  const rows = Array.from({ length: ny }, (_, j) => make("tr", {},
    make("th", { textContent: y ? named(y.values[j]) || "—" : "" }),
    ...Array.from({ length: nx }, (_, i) => drawCell(cellAt(i, j, z)))));
  $("grid").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
}

function drawTabs() {
  const axis = data.axes[2];
  $("tabs").hidden = !axis;
  if (!axis) return;
  $("tabs").replaceChildren(make("span", { className: "name", textContent: named(axis.title) }), ...axis.values.map((value, k) => {
    const tab = make("button", { textContent: named(value) || "—", onclick: () => { z = k; redraw(); } });
    tab.setAttribute("aria-pressed", k === z);
    return tab;
  }));
}

function facts(pairs) {
  return make("dl", {}, ...pairs.flatMap(([key, value]) => [make("dt", { textContent: key }), make("dd", { textContent: value })]));
}

function tip(event, cell) {
  const box = $("tip");
  const scores = Object.entries(cell.scores || {}).filter(([, value]) => value !== null).map(([key, value]) => [named(key), number(value)]);
  box.replaceChildren(facts([...axisFacts(cell), ...(cell.done ? scores : [["", t("missing")]])]));
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  box.style.left = Math.min(event.clientX + 16, innerWidth - width - 8) + "px";
  box.style.top = (event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18) + "px";
}

function settings(cell) {
  return [[t("checkpoint"), cell.checkpoint], ...cell.adapters.map((use) => [t("adapters"), use]), [t("seed"), cell.seed],
          [t("sampler"), cell.sampling], [t("size_"), `${cell.width}×${cell.height}`]];
}

function pick(cell) {
  picked?.box?.classList.remove("picked");
  if (picked === cell && !lit) return openLight(cell);
  picked = cell;
  cell.box?.classList.add("picked");
  drawPanel();
  cell.box?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/* Down shows the reference in the picture's place, up the picture again. */
function compareButton(hold) {
  return make("button", { className: "compare", textContent: t("compare"), onpointerdown: () => hold(true), onpointerup: () => hold(false),
    onpointerleave: () => hold(false), onpointercancel: () => hold(false), oncontextmenu: (event) => event.preventDefault() });
}

function drawPanel() {
  const panel = $("panel"), before = panel.hidden;
  panel.hidden = !picked;
  if (panel.hidden !== before) fit();
  if (!picked) return;
  const image = picture(picked, "big");
  image.onclick = () => openLight(picked);
  const hold = (down) => { image.src = (down ? referenceOf(picked) : picked).src; };
  const scores = Object.entries(picked.scores || {});
  const parts = [
    make("div", { className: "top" }, make("h2", { textContent: label(picked) || data.title }),
      make("button", { textContent: t("close"), onclick: () => { picked.box?.classList.remove("picked"); picked = null; drawPanel(); } })),
    image, make("div", { className: "row" }, picked === referenceOf(picked) ? null : compareButton(hold)),
  ];
  const command = picked.command;
  if (command) {
    parts.push(make("h3", { textContent: t("command") }), copyable(command.command),
      make("h3", { textContent: t(data.recipe ? "variables" : "recipe") }), copyable(command.snippet),
      ...command.notes.map((note) => make("p", { className: "note", textContent: t(note) })));
  } else parts.push(make("p", { className: "note", textContent: t("base") }));
  parts.push(make("h3", { textContent: t("values") }), facts(axisFacts(picked)));
  if (scores.length) parts.push(make("h3", { textContent: t("scores").replace("{}", picked.reference.slice(0, data.axes[2] ? 3 : 2).map((n) => n + 1).join(", ")) }),
    facts(scores.map(([key, value]) => [named(key), number(value, 4)])));
  parts.push(make("h3", { textContent: t("settings") }), facts(settings(picked)),
    make("h3", { textContent: t("prompt") }), copyable(picked.prompt));
  if (picked.negative) parts.push(make("h3", { textContent: t("negative") }), copyable(picked.negative));
  panel.replaceChildren(...parts);
}

function openLight(cell) {
  lit = true;
  picked?.box?.classList.remove("picked"); picked = cell; cell.box?.classList.add("picked"); drawPanel();
  const box = $("light"), image = zoomable(picture(cell), cell.width, cell.height), words = make("span", { textContent: label(cell) });
  showReference = (down) => { image.src = (down ? referenceOf(cell) : cell).src; words.textContent = down ? `${t("reference")}${t("colon")}${label(referenceOf(cell))}` : label(cell); };
  const step = ([sign, dx, dy]) => make("button", { textContent: sign, onclick: () => move(dx, dy) });
  const steps = [...(nx > 1 ? [["←", -1, 0], ["→", 1, 0]] : []), ...(ny > 1 ? [["↑", 0, -1], ["↓", 0, 1]] : [])];
  box.hidden = false;
  box.replaceChildren(make("button", { className: "x", textContent: t("close"), onclick: closeLight }),
    make("div", { className: "view", onclick: (event) => { if (event.target === event.currentTarget) closeLight(); } }, image),
    make("div", { className: "caption" }, words, make("span", { className: "steps" }, ...steps.map(step)),
      cell === referenceOf(cell) ? null : compareButton(showReference), make("span", { className: "hint", textContent: t("hint") })));
}

function closeLight() { lit = false; $("light").hidden = true; $("light").classList.remove("full"); }

function move(dx, dy) {
  const [x, y, zz] = picked.position;
  const next = cellAt(Math.min(nx - 1, Math.max(0, x + dx)), Math.min(ny - 1, Math.max(0, y + dy)), zz);
  if (lit) openLight(next);
  else { picked.box?.classList.remove("picked"); picked = next; next.box?.classList.add("picked"); next.box?.scrollIntoView({ block: "nearest", inline: "nearest" }); drawPanel(); }
}

addEventListener("keydown", (event) => {
  if (event.target.matches?.("input, select")) return;
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (event.key === "Escape") closeLight();
  else if (step && picked) { event.preventDefault(); move(...step); }
  else if (event.key === " " && lit && !event.repeat) { event.preventDefault(); showReference(true); }
});
addEventListener("keyup", (event) => { if (event.key === " " && lit) { event.preventDefault(); showReference(false); } });

function countLive() {
  const done = data.cells.filter((cell) => cell.done).length;
  $("live").hidden = !data.live || done === data.cells.length;
  $("live").textContent = `${t("rendering")} ${done} / ${data.cells.length}`;
}

function setSize(pixels) {
  document.documentElement.style.setProperty("--cell", pixels + "px");
  $("size").value = pixels;
}

/* Cells as large as the window lets all columns be, and one row; from then on the slider decides. */
function fit() {
  if (sized) return;
  const stage = $("stage"), style = getComputedStyle(stage), head = $("grid").querySelector("tbody th")?.offsetWidth ?? 0;
  const wide = (stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - head - 6 * (nx + 1)) / nx;
  const high = 0.86 * (stage.clientHeight - $("tabs").offsetHeight) * data.slot[0] / data.slot[1];
  setSize(Math.round(Math.max(96, Math.min(wide, high, 768))));
}

function redraw() {
  const count = `${data.cells.length} ${t("cells")}`;
  $("summary").textContent = [data.axes.filter(Boolean).map((axis) => `${named(axis.title)} × ${axis.values.length}`).join(" · "), count].filter(Boolean).join(" · ");
  const options = ["", ...data.scores];
  if (!options.includes(shown)) shown = "";
  $("score").replaceChildren(...options.map((name) => make("option", { value: name, textContent: named(name) || t("nothing"), selected: name === shown })));
  $("score-label").hidden = !data.scores.length;
  drawTabs(); drawGrid(); drawPanel(); fit(); countLive();
}

$("score").onchange = (event) => { shown = event.target.value; memory.set("score", shown); redraw(); };
$("size").oninput = (event) => { sized = true; setSize(+event.target.value); };
addEventListener("resize", fit);
start();
if (asked.has("cell")) {
  const [x, y, zz] = asked.get("cell").split(",").map((n) => n - 1);
  z = zz; redraw(); pick(cellAt(x, y, z));
  if (asked.has("light")) openLight(picked);
}
