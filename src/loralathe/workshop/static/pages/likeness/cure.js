/* A LoRA that acts less without its trigger word, so that not everybody looks like her. */
import { filePicker } from "../../files.js";
import { fieldsOf, settingsForm } from "../../form.js";
import { maker } from "../../making.js";
import { areaInput, field, note, numberInput, row, button, section } from "../../parts.js";
import { label, newLora } from "../../state.js";
import { make } from "../../study/elements.js";
import { liveReport } from "../../reports.js";
import { personField } from "./common.js";

const RARE = ["scorers", "photo", "face_box", "likeness", "trigger", "also", "strength", "watch", "first_seeds", "most_seeds", "check_seeds", "error"];

export async function open({ app, form, kept, go }) {
  const { t, state } = app, results = make("div", {}), next = make("div", { className: "taken", role: "status" });
  const base = () => state.get().base, lora = () => kept.get("cure.lora") ?? state.get().loras.find((one) => one.file)?.file ?? "";
  let shown = "", report = null;
  const changed = () => made.refresh();

  const model = filePicker({ kind: "checkpoint", value: base(), onchange: (name) => { state.set({ base: name }); changed(); } });
  const picker = filePicker({ kind: "lora", value: lora(), base, onchange: (name) => { kept.set("cure.lora", name); changed(); } });
  const settings = await settingsForm({ values: state.get().settings, base, skip: ["on", "devices"], onchange: (values) => { state.set({ settings: values }); changed(); } });
  const person = personField({ kept, go, onchange: changed });
  const people = areaInput(kept.get("cure.people", ""), (text) => { kept.set("cure.people", text); changed(); }, { placeholder: t("shell.one_a_line") });
  const keep = numberInput(kept.get("cure.keep", 2), (value) => { kept.set("cure.keep", value ?? 2); changed(); }, { min: 0, step: 0.5 });

  const given = () => {
    const { on: _, devices: __, ...own } = settings.values(), others = kept.get("cure.people", "").split("\n").map((line) => line.trim()).filter(Boolean);
    return { ...own, ...(kept.get("card") ? { card: kept.get("card") } : {}), ...(others.length ? { people: others } : {}), keep: kept.get("cure.keep", 2) };
  };
  const all = (await fieldsOf("cure")).map((option) => option.name);
  const made = await maker({ app, page: "likeness", command: "cure", words: () => (base() && lora() && kept.get("card") ? [base(), lora()] : null), base, form, given, text: t("likeness.cure_run"),
    suggest: () => `${label(lora()) || "lora"}-cured`, title: (name) => t("likeness.cure_job", name), skip: all.filter((name) => !RARE.includes(name)), onjob: show, onmade: onward });

  function show(job) {
    if (job.id === shown || (!job.page && !job.cells?.length)) return;
    shown = job.id;
    report?.close();
    report = liveReport(job.id, "cure");
    results.replaceChildren(report.node);
  }

  function onward(file) {
    next.replaceChildren(note(t("likeness.cured", label(file))), row(button(t("likeness.test_it"), () => { state.set({ loras: [newLora(file)], extracted: file }); app.go("test"); }, { kind: "small" })));
  }

  return {
    form: [section(t("likeness.what"), field({ name: "checkpoint", label: t("test.base"), input: model.node, wide: true }), field({ name: "adapters", label: t("likeness.lora"), input: picker.node, wide: true })),
      section(t("likeness.who"), person),
      section(t("likeness.counts"), field({ name: "keep", label: t("likeness.keep"), input: keep, help: t("likeness.keep_help"), wide: true }), field({ name: "people", label: t("likeness.people"), input: people, help: t("likeness.people_help"), wide: true })),
      section(t("likeness.look"), note(t("likeness.prompt_note")), settings.node), section(t("making.save"), made.save)],
    got: [made.go, next, results],
    close: () => { made.close(); report?.close(); },
  };
}
