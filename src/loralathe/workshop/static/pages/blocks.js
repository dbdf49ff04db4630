/* Step 2: which blocks of a LoRA matter. Its weights by block at once, sliders with a picture that follows, and
   the Effective Block Analyzer live. */
import { blockList } from "../block_list.js";
import { compare } from "../compare.js";
import { filePicker } from "../files.js";
import { fieldsOf, optionsForm, planBox, settingsForm } from "../form.js";
import { begin, hasPictures, isOver, jobCard, runner } from "../job.js";
import { liveBlocks } from "../live.js";
import { liveReport } from "../reports.js";
import { button, choiceInput, debounce, field, flagInput, fold, note, rangeInput, refuse, row, section } from "../parts.js";
import { intoFolder, label, loraWord, newLora } from "../state.js";
import { make, number } from "../study/elements.js";

const USUAL = ["range", "blocks", "segments", "seeds", "threshold"];

/* Half of the strength that was chosen, and all of it: the pictures are then those that one knows. */
const usualRange = (strength) => (strength > 0 ? `${number(strength / 2)},${strength}` : "0.5,1");

export async function open(root, app) {
  const { t, state } = app, kept = app.draft("blocks"), choices = state.get();
  let at = Math.min(kept.get("lora", 0), Math.max(0, choices.loras.length - 1)), study = null, shown = null, begun = false;
  const base = () => state.get().base, loras = () => state.get().loras, lora = () => loras()[at] ?? null;
  const form = make("form", { className: "ask", onsubmit: (event) => event.preventDefault() }), results = make("div", { className: "results" });
  root.append(make("h1", { textContent: t("blocks.title") }), make("p", { className: "lead", textContent: t("blocks.lead") }));

  const picker = filePicker({ kind: "checkpoint", value: choices.base, onchange: (name) => { state.set({ base: name }); changed(); } });
  const which = make("div", {});
  const settings = await settingsForm({ values: choices.settings, base, onchange: (values) => { state.set({ settings: values }); plan.refresh(); } });
  const options = (await fieldsOf("blocks")).filter((option) => option.name !== "adapter" && (USUAL.includes(option.name) || ["blocks", "rare"].includes(option.group))).map((option) => ({ ...option }));
  const range = options.find((option) => option.name === "range");
  const fitRange = () => { range.default = usualRange(lora()?.strength); };
  fitRange();
  const more = optionsForm({ options, skip: ["output", "force"], usual: USUAL, values: kept.get("options", {}), base, onchange: (values) => { kept.set("options", values); plan.refresh(); } });
  const list = blockList({ onchange: (text) => { put({ blocks: text }); preview.ask(); } });
  const preview = previewOf(app, { form, base, loras });

  function put(some) { state.set({ loras: loras().map((one, i) => (i === at ? { ...one, ...some } : one)) }); }

  function drawWhich() {
    const files = loras().map((one) => one.file);
    const pick = filePicker({ kind: "lora", value: lora()?.file ?? "", base, onchange: (file) => { if (lora()) put({ file, blocks: "" }); else state.set({ loras: [newLora(file)] }); changed(); } });
    const select = files.length > 1 ? field({ name: "adapter", label: t("blocks.which"), input: choiceInput(String(at), (i) => { at = +i; kept.set("lora", at); changed(); }, files.map((file, i) => [String(i), label(file)])), wide: true }) : null;
    const strength = lora() ? field({ name: "strength", label: t("shell.strength_of", label(lora().file)), input: rangeInput({ value: lora().strength, min: 0, max: 1.5, step: 0.05, onchange: restrength }).node, wide: true }) : null;
    which.replaceChildren(...[select, field({ name: "adapters", label: "LoRA", input: pick.node, wide: true }), strength].filter(Boolean));
  }

  /* The range goes with the strength, unless it was written. */
  function restrength(strength) {
    const written = more.values();
    put({ strength });
    fitRange();
    more.set(written);
    plan.refresh();
    preview.ask();
  }

  function changed() { drawWhich(); list.load(base(), lora()); plan.refresh(); }

  const request = () => {
    if (!base() || !lora()) return null;
    const words = [base(), ...loras().filter((one) => one.file).map((one, i) => loraWord(i === at ? { ...one, strength: 1, blocks: "" } : one))];
    return intoFolder({ command: "blocks", words, options: { ...settings.values(), range: range.default, ...more.values(), ...(words.length > 2 ? { adapter: label(lora().file) } : {}) } });
  };
  const plan = planBox({ request, form: root });
  const run = runner({ page: "blocks", text: t("blocks.run"), form: root, plan, request, title: () => t("blocks.job", label(lora()?.file)), start: () => { begun = true; }, onjob(job) {
    if (job.id === shown || !hasPictures(job)) return;
    shown = job.id;
    study?.close();
    study = job.options?.segments ? liveReport(job.id, "segments") : liveBlocks(job.id, { onadvice: apply });
    results.replaceChildren(study.node);
    if (begun) requestAnimationFrame(() => results.scrollIntoView({ block: "start" }));
    begun = false;
  } });

  /* The advice is a list for the larger weight of the range: that is the strength that goes with it. */
  function apply(text, strength) {
    const before = lora().strength;
    put({ strength });
    drawWhich();
    list.set(text);
    applied.replaceChildren(note(before === strength ? t("blocks.applied", strength) : t("blocks.applied_anew", strength, before)), row(button(t("blocks.to_merge"), () => app.go("merge"), { kind: "small" })));
    list.node.scrollIntoView({ block: "nearest" });
  }

  const applied = make("div", { className: "taken", role: "status" });
  form.append(section("", field({ name: "checkpoint", label: t("blocks.base"), input: picker.node, wide: true }), which),
    section(t("blocks.weights"), list.node, applied), section("", fold(t("blocks.settings"), settings.node)));
  const got = make("div", { className: "got" }, section(t("blocks.preview"), preview.node),
    make("section", { className: "card" }, make("h2", { textContent: t("blocks.analyzer") }), more.node, run.node));
  got.append(results);
  root.append(make("div", { className: "two wide-ask" }, form, got));
  changed();
  return () => { study?.close(); run.close(); preview.close(); };
}

/* The picture at the list of the moment. Two names in turn, so that the one before can be compared. */
function previewOf(app, { form, base, loras }) {
  const { t } = app, kept = app.draft("blocks");
  const place = make("div", { className: "preview" }, note(t("blocks.no_preview"))), state = make("div", {});
  let card = null, running = null, turn = 0, before = null, now = null, wanted = false;
  const follow = flagInput(kept.get("follow", true), (on) => { kept.set("follow", on); if (on) render(); });
  const against = button(t("blocks.compare"), () => compare({ first: { src: before.src, text: before.text }, second: { src: now.src, text: now.text }, width: now.width, height: now.height }), { kind: "small" });
  against.hidden = true;
  const node = make("div", {}, row(button(t("blocks.render"), () => render()), make("label", { className: "flag" }, follow, t("blocks.follow")), against), state, place);

  function show(job) {
    const output = job.outputs?.find((one) => one.kind === "picture");
    if (!output) return;
    const text = running.text, image = make("img", { className: "big", alt: text, src: `${output.url}${output.url.includes("?") ? "&" : "?"}job=${encodeURIComponent(job.id)}` });
    image.onload = () => { now.width = image.naturalWidth; now.height = image.naturalHeight; };
    before = now;
    now = { src: image.src, text, width: 1, height: 1 };
    against.hidden = !before;
    place.replaceChildren(image);
  }

  async function render() {
    if (running) { wanted = true; return; }
    const words = [base(), ...loras().filter((one) => one.file).map(loraWord)], settings = app.state.get().settings;
    if (!base()) return;
    running = { text: loras().map((one) => one.blocks || t("blocks.all")).join(" · ") };
    turn = 1 - turn;
    try {
      const options = { ...settings, seed: settings.seed >= 0 ? settings.seed : 1, output: `preview/blocks-${turn + 1}`, force: true };
      const job = await begin({ command: "render", words, options, title: t("blocks.preview_job") });
      card?.close();
      card = jobCard(job.id, { compact: true, onjob: (next) => {
        if (!running || !isOver(next) || (next.state === "done" && !next.outputs?.length)) return;
        if (next.state === "done") { show(next); state.replaceChildren(); }
        running = null;
        if (wanted) { wanted = false; render(); }
      } });
      state.replaceChildren(card.node);
    } catch (error) { running = null; refuse(form, error); }
  }

  const soon = debounce(500, () => { if (follow.checked) render(); });
  return { node, ask: soon, close: () => card?.close() };
}
