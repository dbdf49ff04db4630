/* Step 1: a LoRA, or several, on a base at some strengths; X/Y/Z with every axis. */
import { axesForm, strengthsOf } from "../axes.js";
import { filePicker, loraRows } from "../files.js";
import { fieldsOf, optionsForm, planBox, settingsForm } from "../form.js";
import { hasPictures, runner } from "../job.js";
import { liveGrid } from "../live.js";
import { button, field, fold, note, row, section } from "../parts.js";
import { intoFolder, label, modelWords } from "../state.js";
import { make } from "../study/elements.js";

const ELSEWHERE = ["x", "y", "z", "recipe", "step", "variables", "output", "redo"];

export async function open(root, app) {
  const { t, state } = app, kept = app.draft("test");
  const form = make("form", { className: "ask", onsubmit: (event) => event.preventDefault() }), pictures = make("div", {}), got = make("div", { className: "got" }, pictures);
  root.append(make("h1", { textContent: t("test.title") }), make("p", { className: "lead", textContent: t("test.lead") }), make("div", { className: "two" }, form, got));
  const choices = state.get(), base = () => state.get().base, loras = () => state.get().loras;

  const settings = await settingsForm({ values: choices.settings, base, onchange: (values) => { state.set({ settings: values }); plan.refresh(); } });
  const axes = await axesForm({ value: kept.get("axes") ?? (choices.loras[0] ? [strengthsOf(choices.loras[0])] : []), loras, onchange: (next) => { kept.set("axes", next); plan.refresh(); } });
  const options = (await fieldsOf("grid")).filter((option) => ["axes", "rare"].includes(option.group));
  const more = optionsForm({ options, skip: ELSEWHERE, values: kept.get("more", {}), usual: options.map((option) => option.name), base, onchange: (values) => { kept.set("more", values); plan.refresh(); } });
  const picker = filePicker({ kind: "checkpoint", value: choices.base, onchange: (name) => { state.set({ base: name }); plan.refresh(); } });
  const rows = loraRows({ value: choices.loras, base, ontrigger: settings.addToPrompt, onchange: (next) => { const first = !loras().length; state.set({ loras: next }); if (first && next.length) axes.set([strengthsOf(next[0])]); else axes.refresh(); cross.hidden = next.length < 2; plan.refresh(); } });
  const single = button(t("test.single"), () => axes.set(loras()[0] ? [strengthsOf(loras()[0])] : []), { kind: "small" });
  const cross = button(t("test.cross"), () => axes.set(loras().slice(0, 2).map(strengthsOf)), { kind: "small" });
  const swap = button(t("test.swap"), () => { const [x, y, z] = axes.get(); axes.set([y, x, z]); }, { kind: "small" });
  cross.hidden = choices.loras.length < 2;

  const request = () => (base() ? intoFolder({ command: "grid", words: modelWords(), options: { ...settings.values(), ...axes.options(), ...more.values() } }) : null);
  const plan = planBox({ request, form });
  let shown = null, grid = null;
  const run = runner({ page: "test", text: t("test.run"), form, plan, request, title: () => t("test.job", [label(base()), ...loras().map((lora) => label(lora.file))].join(" + ")), onjob: show });

  function show(job) {
    if (job.id === shown || !hasPictures(job)) return;  // until then, those of before stay
    shown = job.id;
    grid?.close();
    grid = liveGrid(job.id, { onuse: use, onredo: redo });
    pictures.replaceChildren(section("", grid.node));
  }

  /* The strengths of a cell become those of the LoRAs here, and so of the pages that follow. */
  function use(uses) {
    const next = loras().map((lora) => {
      const found = uses.find((one) => label(one.name) === label(lora.file));
      const { strength = 0, te = null, unet = null, blocks = "", elements = "" } = found ?? {};
      return { ...lora, strength, te, unet, blocks: blocks || lora.blocks, elements };
    });
    state.set({ loras: next });
    rows.set(next);
    app.announce(t("test.taken"));
    taken.replaceChildren(note(t("test.taken")), row(button(t("test.to_blocks"), () => app.go("blocks"), { kind: "small" }), button(t("test.to_merge"), () => app.go("merge"), { kind: "small" })));
    taken.scrollIntoView({ block: "nearest" });
  }

  function redo(cell, job) {
    const place = cell.position.map((n) => n + 1).join(",");
    shown = null;
    run.run({ command: "grid", words: job.words, options: { ...job.options, redo: [place] }, title: job.title });
  }

  const taken = make("div", { className: "taken", role: "status" });
  if (app.session.demo) root.querySelector(".lead").after(make("p", { className: "note demo" }, t("test.demo"), button(t("shell.page_library"), () => app.go("library"), { kind: "small" })));
  form.append(
    section("", field({ name: "checkpoint", label: t("test.base"), input: picker.node, wide: true }), make("h3", { textContent: t("test.loras") }), rows.node, taken),
    section("", settings.node),
    section(t("test.axes"), row(single, cross, swap), axes.node, fold(t("test.more"), more.node)));
  got.prepend(make("section", { className: "card go" }, run.node));
  if (!grid) pictures.append(make("section", { className: "card empty" }, note(t("test.empty"))));
  return () => { grid?.close(); run.close(); };
}
