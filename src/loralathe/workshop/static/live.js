/* Results of a job while they are made.

   liveGrid(id, {onuse(loras, cell), onredo(cell, job)}) → {node, close()}: the pictures of a grid as they
       come; the chosen cell below, to compare with another, to take its strengths on, to redo, to make it large
   liveBlocks(id, {onadvice(list, strength)}) → {node, close()}: bars of a block study that grow, then its pictures
   usesOf(cell) → the cell's LoRAs as [{name, strength, te, unet, blocks, elements}] */
import { get, subscribe } from "./api.js";
import { compare } from "./compare.js";
import { growingBars } from "./growing.js";
import { follow, isOver } from "./job.js";
import { button, choiceInput, row } from "./parts.js";
import { studyWords, language, t } from "./words.js";
import { make, memory } from "./study/elements.js";
import { GRID_WORDS, gridView, namer } from "./study/grid_view.js";
import { WORDS as BLOCK_WORDS, reportView as blocksView } from "./study/blocks_view.js";

export const wordsOf = (english, chinese) => (key) => chinese?.texts?.[key] ?? english[key] ?? key;
const gridWord = wordsOf(GRID_WORDS, studyWords.grid), blockWord = wordsOf(BLOCK_WORDS, studyWords.blocks);
const named = language === "zh-TW" && studyWords.grid ? namer(studyWords.grid) : (text) => text;
const $ = (id) => document.getElementById(id);

export function usesOf(cell) {
  return cell.adapters.map((text) => {
    const [name, ...items] = text.replace(/ \[.*$/, "").split(":");
    const use = { name, strength: 1, te: null, unet: null, blocks: "", elements: "" };
    const rules = items.findIndex((item) => item.startsWith("lbwe="));
    if (rules >= 0) use.elements = items.splice(rules).join(":").slice(5);
    for (const item of items) {
      const [key, ...rest] = item.split("="), value = rest.join("=");  // a list by names has more of them
      if (!rest.length) use.strength = +item;
      else if (key === "lbw") use.blocks = value;
      else use[key] = +value;
    }
    if (use.te !== null && use.unet !== null) { use.strength = use.unet; use.unet = null; }
    return use;
  });
}

/* The study's data: asked for when the job has some (`page`, or the event of that name), again when it is over, and
   every so many milliseconds while it runs, if that is wanted. */
export function studyOf(id, kind, show, onchange = null, every = 0) {
  let last = 0;
  let data = null, asking = false, again = false, over = null, open = true;
  async function ask() {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const found = await get(`jobs/${encodeURIComponent(id)}/page`);
      if (open && found.kind === kind) { data = found.data; show(data); }
    } catch (error) { if (!error.what) throw error; /* not there yet: its event comes */ } finally { asking = false; }
    if (again && open) { again = false; ask(); }
  }
  const unheard = subscribe("page", ({ job }) => { if (job === id) ask(); });
  const stop = follow(id, (job) => {
    if (!open || job.state === "gone") return;
    const ended = isOver(job), first = over === null;
    if (job.page && (first || (ended && over === false))) ask();
    else if (every && job.page && !ended && Date.now() - last > every) { last = Date.now(); ask(); }
    over = ended;
    onchange?.(job, data);
  });
  return () => { open = false; unheard(); stop(); };
}

export function liveGrid(id, { onuse = null, onredo = null } = {}) {
  const stage = make("section", { className: "stage" }), tabs = make("div", { className: "tabs" }), grid = make("table", { className: "grid" });
  const score = make("select", {}), size = make("input", { type: "range", min: 64, max: 768, step: 1 });
  const scores = make("label", {}, t("live.show"), score), count = make("small", { className: "live" });
  const head = make("div", { className: "tools" }, count, make("span", { className: "spacer" }), scores, make("label", {}, t("live.size"), size));
  const panel = make("section", { className: "cell-panel", "aria-label": t("live.cell") });
  stage.append(tabs, grid);
  const node = make("div", { className: "live-grid", hidden: true }, head, stage, panel);
  let view = null, stopKeys = null, job = null, data = null;

  function show(found) {
    const kept = view?.picked?.position, z = view?.z ?? 0;
    found.live = false;
    for (const cell of job?.cells ?? []) fill(found, cell);
    data = found;
    node.hidden = false;
    stopKeys?.();
    view = gridView({ data, t: gridWord, named, box: { stage, grid, tabs, tip: $("tip"), light: $("light") }, onpick: drawPanel });
    view.room = () => innerHeight * 0.72;
    view.onsize = (pixels) => { size.value = pixels; };
    view.z = z;
    stopKeys = view.listen();
    const options = ["", ...data.scores];
    if (!options.includes(view.shown)) view.shown = "";
    score.replaceChildren(...options.map((name) => make("option", { value: name, textContent: named(name) || gridWord("nothing"), selected: name === view.shown })));
    scores.hidden = !data.scores.length;
    view.draw();
    if (kept) view.mark(view.cellAt(...kept));
    tally();
  }

  const fill = (found, { index, url }) => {
    const cell = found.cells[index];
    if (!cell || (cell.done && cell.src === url)) return null;
    return Object.assign(cell, { done: true, src: url });
  };

  function tally() {
    const done = data.cells.filter((cell) => cell.done).length;
    count.textContent = done === data.cells.length ? t("live.all", done) : `${done} / ${data.cells.length}`;
  }

  function drawPanel(cell) {
    panel.hidden = !cell;
    if (!cell) return;
    const image = cell.done ? view.picture(cell, "big") : make("div", { className: "big" }), others = data.cells.filter((one) => one !== cell && one.done);
    if (cell.done) image.onclick = () => view.openLight(cell);
    const other = choiceInput(String(data.cells.indexOf(view.referenceOf(cell))), null, others.map((one) => [String(data.cells.indexOf(one)), view.label(one)]), { "aria-label": t("live.with") });
    const face = () => compare({ first: { src: data.cells[other.value].src, text: view.label(data.cells[other.value]) }, second: { src: cell.src, text: view.label(cell) }, width: cell.width, height: cell.height });
    const use = button(t("live.use"), () => { onuse(usesOf(cell), cell); use.textContent = t("live.used"); }, { kind: "main" });
    panel.replaceChildren(image, make("div", { className: "said" },
      make("h2", { textContent: view.label(cell) || data.title }),
      row(onuse && cell.adapters.length ? use : null, cell.done ? button(t("live.large"), () => view.openLight(cell)) : null,
        onredo && cell.done ? button(t("live.redo"), () => onredo(cell, job)) : null),
      cell.done && others.length ? make("div", { className: "row with" }, make("span", { textContent: t("live.with") }), other, button(t("live.compare"), face)) : null,
      make("details", { className: "fold" }, make("summary", { textContent: t("live.details") }), ...view.details(cell))));
  }

  size.oninput = () => { view.sized = true; view.setSize(+size.value); };
  score.onchange = () => { view.shown = score.value; memory.set("score", score.value); view.draw(); };
  panel.hidden = true;
  const stop = studyOf(id, "grid", show, (next) => {
    job = next;
    if (!data) return;
    let some = false;
    for (const cell of next.cells ?? []) {
      const changed = fill(data, cell);
      if (!changed) continue;
      some = true;
      view.drawAgain(changed);
      if (changed === view.picked) drawPanel(changed);
    }
    if (some) tally();
  });
  const first = follow(id, (next) => { job = next; });
  return { node, close: () => { stop(); first(); stopKeys?.(); view?.closeLight(); $("tip").hidden = true; } };
}

export function liveBlocks(id, { onadvice = null } = {}) {
  const node = make("div", { className: "live-blocks" });
  let view = null, data = null;
  const redraw = () => {
    const list = data.list || data.byName, advice = onadvice && list ? row(button(t("live.advice"), () => onadvice(list, data.strength), { kind: "main" })) : null;
    const weights = view.weightsCard();
    if (advice) weights.append(advice);
    node.replaceChildren(make("p", { className: "note", textContent: view.summary() }), view.effectsCard(), list ? weights : "", view.sheetCard());
  };
  let growing = null;
  const stop = studyOf(id, "blocks", (found) => {
    data = found;
    view = blocksView({ data, t: blockWord, light: $("light"), redraw });
    redraw();
  }, (job) => {
    if (data || isOver(job) || !job.cells?.length) return;
    growing ??= growingBars(job.options?.threshold ?? 20);
    if (!growing.node.isConnected) node.replaceChildren(growing.node);
    for (const cell of job.cells) growing.add(cell);
  });
  const escape = (event) => { if (event.key === "Escape") view?.closeLight(); };
  addEventListener("keydown", escape);
  return { node, close: () => { stop(); removeEventListener("keydown", escape); view?.closeLight(); } };
}
