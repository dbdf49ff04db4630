/* What the pages share that make files.

   frame(root, page)   heading and two columns → {form, got}
   maker({app, page, command, words(), text, title(name), suggest(), usual, skip, given(), defaults, base, form, onmade(file, job), onjob(job)})
       → Promise of {options, run, refresh(), close()}: the card of the settings of saving, and the card with the
       plan and the button. A file that exists is replaced only after a question
   pictures({key, form, title, onuse}) → {node, run(request), close()}: one grid, found again after a reload
   originOf(file), setOrigin(file, base)   on which base a model was made, for the pages that subtract it again
   axisValue(file)      how a file is called in an axis;  seedAxis(n)  "seed = 1-3"
   choose({label, value, choices, onchange})   chips of which one is chosen → {node, set(value)} */
import { fieldsOf, optionsForm, planBox } from "./form.js";
import { begin, jobCard, runner } from "./job.js";
import { liveGrid } from "./live.js";
import { accept, button, field, question, refuse, section, textInput } from "./parts.js";
import { draft, intoFolder } from "./state.js";
import { t } from "./words.js";
import { make } from "./study/elements.js";

export function frame(root, page) {
  const form = make("form", { className: "ask", onsubmit: (event) => event.preventDefault() }), got = make("div", { className: "got" });
  root.append(make("h1", { textContent: t(page + ".title") }), make("p", { className: "lead", textContent: t(page + ".lead") }), make("div", { className: "two" }, form, got));
  return { form, got };
}

const origins = draft("origins");
export const originOf = (file) => origins.get(file, "");
export const setOrigin = (file, base) => origins.set(file, base);

export function axisValue(file) {
  const name = file.split("/").slice(1).join("/").replace(/\.safetensors$/i, "");
  return /[,:'"\s]/.test(name) ? `'${name.replaceAll("'", "''")}'` : name;
}

export const seedAxis = (count) => (count > 1 ? `seed = 1-${count}` : "seed = 1");

export const modelOf = (job) => job.outputs?.find((output) => output.kind === "model")?.name ?? "";

export function choose({ label, value, choices, onchange }) {
  const node = make("div", { className: "chips", role: "group", "aria-label": label });
  const set = (chosen) => { for (const chip of node.children) chip.setAttribute("aria-pressed", String(chip.dataset.value === String(chosen))); };
  node.append(...choices.map(([key, text]) => {
    const chip = button(text, () => { set(key); onchange(key); }, { kind: "chip" });
    chip.dataset.value = key;
    return chip;
  }));
  set(value);
  return { node, set };
}

export async function maker({ app, page, command, words, text, title, suggest, usual = [], skip = [], given: more = () => ({}), defaults = {}, base, form, onmade = null, onjob = null }) {
  const kept = app.draft(page), all = await fieldsOf(command), saved = "options." + command;
  const name = textInput(kept.get("output", ""), (value) => { kept.set("output", value.trim()); plan.refresh(); });
  const output = field({ name: "output", label: all.find((option) => option.name === "output")?.label ?? t("shell.name"), input: name, wide: true });
  const options = optionsForm({ options: all, values: kept.get(saved, defaults), usual, skip: ["output", ...skip], base, onchange: (values) => { kept.set(saved, values); refresh(); } });
  let there = [];
  const wanted = () => {
    const given = words();
    return given && { command, words: given, options: { ...options.values(), ...more(), output: named() } };
  };
  /* The request; before a file is replaced, the person is asked. */
  async function guarded() {
    const request = wanted();
    if (!request) return null;
    const wrong = plan.problem(request);
    if (wrong) throw wrong;
    if (!there.length || request.options.force) return request;
    const yes = await question({ title: t("making.replace"), text: there.join("\n"), yes: t("making.replace_yes"), danger: true });
    return yes && { ...request, options: { ...request.options, force: true } };
  }
  const named = () => name.value.trim() || suggest();
  const plan = planBox({ request: wanted, form, onplan: (found) => { there = (found?.outputs ?? []).filter((one) => one.exists).map((one) => one.name); } });
  const run = runner({ page: `${page}.${command}`, text, form, request: guarded, title: () => title(named()), onjob: heard });
  function heard(job) {
    onjob?.(job);
    if (job.state !== "done" || !modelOf(job) || kept.get("made") === job.id) return;
    kept.set("made", job.id);
    onmade?.(modelOf(job), job);
    plan.refresh();
  }
  function refresh() { name.placeholder = suggest(); plan.refresh(); }
  refresh();
  const save = make("div", {}, output, options.node), go = make("section", { className: "card go" }, run.node, plan.node);
  return { save, go, refresh, close: () => run.close() };
}

export function pictures({ key, form, title = "", onuse = null, ondone = null }) {
  const kept = draft("pictures"), node = make("div", { className: "pictures" });
  let grid = null, card = null;
  function close() { grid?.close(); card?.close(); grid = card = null; }
  function show(id, begun = false) {
    close();
    const place = section("");
    place.setAttribute("aria-label", title);
    grid = liveGrid(id, { onuse });
    card = jobCard(id, { compact: true, form, begun, onjob: (job) => {
      if (job.state === "gone") { kept.set(key, null); node.replaceChildren(); } else if (job.state === "done") ondone?.(job);
    }, onagain: shows });
    place.append(card.node, grid.node);
    node.replaceChildren(place);
  }
  function shows(job) { kept.set(key, job.id); show(job.id, true); }
  async function run(request) {
    accept(form);
    try {
      const job = await begin(intoFolder(request));
      shows(job);
      return job;
    } catch (error) { refuse(form, error); return null; }
  }
  if (kept.get(key)) show(kept.get(key));
  return { node, run, show, close };
}
