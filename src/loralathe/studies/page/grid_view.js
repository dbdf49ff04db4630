/* A grid of pictures: the table with its axes, tabs of the third one, what a cell says, and a picture made large.
   Saved pages carry it inside; the workshop's live pages load it.

   gridView({data, t, named, box: {stage, grid, tabs, tip, light}, onpick(cell)}) → the view
   namer(words): what the program calls axes, their values and scores, in another language. */
import { copyable, facts, make, memory, number, zoomable } from "./elements.js";

export const GRID_WORDS = {
  show: "On cells", size: "Size", dark: "Dark", light: "Light", nothing: "nothing", copy: "Copy", copied: "Copied",
  values: "Values", scores: "Measured, compared with cell {}", command: "Command that merges it", recipe: "As a recipe", variables: "Recipe variables",
  prompt: "Prompt", negative: "Negative prompt", settings: "Settings", close: "Close", compare: "Hold to see the reference", colon: ": ",
  reference: "reference", cells: "cells", missing: "not rendered yet",
  base: "This cell is the checkpoint itself: nothing to merge.",
  steps: "Start and stop steps exist only while rendering; the merged file acts in every step.",
  tokens: "R, U and X in a block list have values only while rendering; put numbers there first.",
  apply: "The recipe makes the checkpoint; this cell has adapters on top of it, listed under Settings.",
  hint: "← → ↑ ↓ move · Space compares · click zooms · Esc closes",
  means: "Over the seeds", mean: "Mean", interval: "95 %", against: "Difference to the reference", pictures: "Pictures", diversity: "Diversity",
  surely: "Bold: the interval leaves out 0, so the seeds alone do not explain the difference.",
  rendering: "rendering…", adapters: "Adapters", seed: "Seed", sampler: "Sampler", size_: "Size", checkpoint: "Checkpoint"
};

/* Names of files, LoRAs and variables stay. */
export function namer({ names, patterns }) {
  const found = Object.entries(patterns).map(([pattern, other]) => [new RegExp(pattern), other]);
  return (text) => {
    const part = found.find(([pattern]) => pattern.test(text));
    return names[text] ?? (part ? text.replace(...part) : text);
  };
}

export function gridView({ data, t, named, box, onpick }) {
  const [nx, ny] = data.shape;
  const cellAt = (x, y, z) => data.cells[x + nx * (y + ny * z)];
  const referenceOf = (cell) => cellAt(...cell.reference);
  const view = { z: 0, picked: null, lit: false, sized: false, shown: data.chosen[0] ?? memory.get("score") ?? (data.scores[0] || "") };
  const axisFacts = (cell) => data.axes.map((axis, i) => axis && [named(axis.title), named(cell.labels[i]) || "—"]).filter(Boolean);
  const label = (cell) => axisFacts(cell).map((pair) => pair.join(t("colon"))).join(" · ");
  let showReference = null;

  function picture(cell, className = "") {
    const image = make("img", { alt: label(cell), className, loading: "lazy", decoding: "async", draggable: false });
    image.width = cell.width; image.height = cell.height;
    if (data.live && !cell.done) {
      image.onerror = () => setTimeout(() => { image.src = cell.src + "?" + Date.now(); }, 4000);
      image.onload = () => { cell.done = true; image.closest(".cell")?.classList.remove("absent"); view.ondone?.(); };
    }
    if (cell.done || data.live) image.src = cell.src;
    return image;
  }

  function drawCell(cell) {
    const score = view.shown && cell.scores ? cell.scores[view.shown] : undefined;
    const button = make("button", {
      className: "cell" + (cell.done ? "" : " absent") + (cell === view.picked ? " picked" : ""),
      onclick: () => pick(cell), onpointermove: (event) => { if (event.pointerType === "mouse") tip(event, cell); }, onpointerleave: () => { box.tip.hidden = true; },
    }, make("span", { className: "frame", style: `aspect-ratio:${data.slot[0]}/${data.slot[1]}` }, picture(cell)));
    button.setAttribute("aria-label", label(cell));
    button.querySelector("img").style.width = `${100 * cell.width / data.slot[0]}%`;
    if (score !== undefined) button.append(make("span", { className: "badge", textContent: cell === referenceOf(cell) && !data.chosen.includes(view.shown) ? t("reference") : number(score, 2) + (score !== null && view.shown.endsWith("%") ? " %" : "") }));
    cell.box = button;
    return button;
  }

  function drawGrid() {
    const [x, y] = data.axes;
    const corner = [x && named(x.title) + " →", y && named(y.title) + " ↓"].filter(Boolean).join("\n");
    const head = make("tr", {}, make("th", { className: "corner", textContent: corner }),
      ...Array.from({ length: nx }, (_, i) => make("th", { textContent: x ? named(x.values[i]) || "—" : "" })));
    const rows = Array.from({ length: ny }, (_, j) => make("tr", {},
      make("th", { textContent: y ? named(y.values[j]) || "—" : "" }),
      ...Array.from({ length: nx }, (_, i) => make("td", {}, drawCell(cellAt(i, j, view.z))))));
    box.grid.replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
  }

  function drawTabs() {
    const axis = data.axes[2];
    box.tabs.hidden = !axis;
    if (!axis) return;
    box.tabs.replaceChildren(make("span", { className: "name", textContent: named(axis.title) }), ...axis.values.map((value, k) => {
      const tab = make("button", { textContent: named(value) || "—", onclick: () => { view.z = k; draw(); } });
      tab.setAttribute("aria-pressed", k === view.z);
      return tab;
    }));
  }

  const plusMinus = ([mean, low, high], digits = 3) => number(mean, digits) + (high === null ? "" : ` ± ${number((high - low) / 2, digits)}`);
  const groupOf = (cell) => (data.groups ?? []).find((one) => one.cells.some((at) => at.join() === cell.position.join()));

  /* What the shown score is over cells that differ by seed only, a row for each such group. */
  function drawMeans() {
    if (!box.means) return;
    const name = view.shown, groups = (data.groups ?? []).filter((one) => one.scores[name]);
    box.means.hidden = !groups.length;
    if (!groups.length) return;
    const titles = data.axes.filter((axis) => axis && groups.some((one) => axis.title in one.labels)).map((axis) => axis.title);
    const against = groups.some((one) => one.against[name]), diverse = groups.some((one) => one.diversity !== null);
    const heads = [...titles.map(named), t("pictures"), `${named(name)}${t("colon")}${t("mean")}`, ...(against ? [t("against")] : []), ...(diverse ? [t("diversity")] : [])];
    const row = (one) => {
      const other = one.against[name], sure = other && other[1] !== null && (other[1] > 0 || other[2] < 0);
      return make("tr", { onclick: () => pick(cellAt(...one.cells[0])) },
        ...titles.map((title) => make("td", { textContent: named(one.labels[title] ?? "") || "—" })),
        make("td", { textContent: one.cells.length }), make("td", { textContent: plusMinus(one.scores[name]) }),
        against ? make("td", { textContent: other ? plusMinus(other) : t("reference"), className: sure ? "sure" : "" }) : null,
        diverse ? make("td", { textContent: number(one.diversity) }) : null);
    };
    box.means.replaceChildren(make("h2", { textContent: `${t("means")} (${t("interval")})` }),
      make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { textContent: text })))), make("tbody", {}, ...groups.map(row))),
      against ? make("p", { className: "note", textContent: t("surely") }) : "");
  }

  function draw() { drawTabs(); drawGrid(); drawMeans(); fit(); }

  /* Only this cell, when its picture has come. */
  function drawAgain(cell) {
    if (cell.position[2] !== view.z || !cell.box?.isConnected) return;
    const before = cell.box, focused = before === document.activeElement;
    before.replaceWith(drawCell(cell));
    if (focused) cell.box.focus();
  }

  function tip(event, cell) {
    const scores = Object.entries(cell.scores || {}).filter(([, value]) => value !== null).map(([key, value]) => [named(key), number(value)]);
    box.tip.replaceChildren(facts([...axisFacts(cell), ...(cell.done ? scores : [["", t("missing")]])]));
    box.tip.hidden = false;
    const { width, height } = box.tip.getBoundingClientRect();
    box.tip.style.left = Math.min(event.clientX + 16, innerWidth - width - 8) + "px";
    box.tip.style.top = (event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18) + "px";
  }

  function mark(cell) {
    view.picked?.box?.classList.remove("picked");
    view.picked = cell;
    cell?.box?.classList.add("picked");
    onpick(cell);
  }

  function pick(cell) {
    if (view.picked === cell && !view.lit) return openLight(cell);
    mark(cell);
    cell.box?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function settings(cell) {
    return [[t("checkpoint"), cell.checkpoint], ...cell.adapters.map((use) => [t("adapters"), use]), [t("seed"), cell.seed],
            [t("sampler"), cell.sampling], [t("size_"), `${cell.width}×${cell.height}`]];
  }

  /* What stands under a cell's picture. */
  function details(cell) {
    const scores = Object.entries(cell.scores || {}), command = cell.command, parts = [];
    if (command) {
      parts.push(make("h3", { textContent: t("command") }), copyable(command.command),
        make("h3", { textContent: t(data.recipe ? "variables" : "recipe") }), copyable(command.snippet),
        ...command.notes.map((note) => make("p", { className: "note", textContent: t(note) })));
    } else parts.push(make("p", { className: "note", textContent: t("base") }));
    parts.push(make("h3", { textContent: t("values") }), facts(axisFacts(cell)));
    if (scores.length) parts.push(make("h3", { textContent: t("scores").replace("{}", cell.reference.slice(0, data.axes[2] ? 3 : 2).map((n) => n + 1).join(", ")) }),
      facts(scores.map(([key, value]) => [named(key), number(value, 4)])));
    const group = groupOf(cell);
    if (group && group.cells.length > 1) parts.push(make("h3", { textContent: `${t("means")} (${t("interval")})` }),
      facts([...Object.entries(group.scores).map(([key, value]) => [named(key), plusMinus(value)]), ...(group.diversity === null ? [] : [[t("diversity"), number(group.diversity)]])]));
    parts.push(make("h3", { textContent: t("settings") }), facts(settings(cell)),
      make("h3", { textContent: t("prompt") }), copyable(cell.prompt));
    if (cell.negative) parts.push(make("h3", { textContent: t("negative") }), copyable(cell.negative));
    return parts;
  }

  /* Down shows the reference in the picture's place, up the picture again. */
  function compareButton(hold) {
    return make("button", { className: "compare", textContent: t("compare"), onpointerdown: () => hold(true), onpointerup: () => hold(false),
      onpointerleave: () => hold(false), onpointercancel: () => hold(false), oncontextmenu: (event) => event.preventDefault() });
  }

  function openLight(cell) {
    view.lit = true;
    mark(cell);
    const image = zoomable(picture(cell), cell.width, cell.height, box.light), words = make("span", { textContent: label(cell) });
    showReference = (down) => { image.src = (down ? referenceOf(cell) : cell).src; words.textContent = down ? `${t("reference")}${t("colon")}${label(referenceOf(cell))}` : label(cell); };
    const step = ([sign, dx, dy]) => make("button", { textContent: sign, onclick: () => move(dx, dy) });
    const steps = [...(nx > 1 ? [["←", -1, 0], ["→", 1, 0]] : []), ...(ny > 1 ? [["↑", 0, -1], ["↓", 0, 1]] : [])];
    box.light.hidden = false;
    box.light.replaceChildren(make("button", { className: "x", textContent: t("close"), onclick: closeLight }),
      make("div", { className: "view", onclick: (event) => { if (event.target === event.currentTarget) closeLight(); } }, image),
      make("div", { className: "caption" }, words, make("span", { className: "steps" }, ...steps.map(step)),
        cell === referenceOf(cell) ? null : compareButton(showReference), make("span", { className: "hint", textContent: t("hint") })));
  }

  function closeLight() { view.lit = false; box.light.hidden = true; box.light.classList.remove("full"); }

  function move(dx, dy) {
    const [x, y, z] = view.picked.position;
    const next = cellAt(Math.min(nx - 1, Math.max(0, x + dx)), Math.min(ny - 1, Math.max(0, y + dy)), z);
    if (view.lit) openLight(next);
    else { mark(next); next.box?.scrollIntoView({ block: "nearest", inline: "nearest" }); }
  }

  function keydown(event) {
    if (event.target.matches?.("input, select, textarea")) return;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Escape") closeLight();
    else if (step && view.picked) { event.preventDefault(); move(...step); }
    else if (event.key === " " && view.lit && !event.repeat) { event.preventDefault(); showReference(true); }
  }

  function keyup(event) { if (event.key === " " && view.lit) { event.preventDefault(); showReference(false); } }

  /* Keys and the window's size; gives a function that ends it. */
  function listen() {
    const heard = { keydown, keyup, resize: fit };
    for (const [event, handler] of Object.entries(heard)) addEventListener(event, handler);
    return () => { for (const [event, handler] of Object.entries(heard)) removeEventListener(event, handler); };
  }

  function setSize(pixels) {
    document.documentElement.style.setProperty("--cell", pixels + "px");
    view.onsize?.(pixels);
  }

  /* Cells as large as the window lets all columns be, and one row; from then on the slider decides. */
  function fit() {
    if (view.sized || !box.stage.clientWidth) return;
    const { stage } = box, style = getComputedStyle(stage), head = box.grid.querySelector("tbody th")?.offsetWidth ?? 0;
    const wide = (stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - head - 6 * (nx + 1)) / nx;
    const room = view.room?.() ?? stage.clientHeight - box.tabs.offsetHeight;
    setSize(Math.round(Math.max(96, Math.min(wide, 0.86 * room * data.slot[0] / data.slot[1], 768))));
  }

  return Object.assign(view, { axisFacts, cellAt, closeLight, compareButton, details, draw, drawAgain, fit, label, listen, mark, move, openLight, pick, picture, referenceOf, setSize });
}
