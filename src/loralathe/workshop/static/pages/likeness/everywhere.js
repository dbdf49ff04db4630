/* One LoRA on many bases: a search on each, and what came out side by side. */
import { filePicker, filesPicker } from "../../files.js";
import { fieldsOf, optionsForm, planBox, settingsForm } from "../../form.js";
import { runner } from "../../job.js";
import { button, field, flagInput, fold, note, numberInput, rangeInput, row, section } from "../../parts.js";
import { liveReport, usesAt } from "../../reports.js";
import { intoFolder, label, loraWord, newLora } from "../../state.js";
import { copyable, make } from "../../study/elements.js";
import { budgetField, goalsField, isJudged, judging, personField } from "./common.js";

const RARE = ["sweep", "scorers", "photo", "face_box", "likeness", "trigger", "within", "weigh", "also", "first_seeds", "most_seeds", "check_seeds", "error", "search", "title", "embed", "force"];

export async function open({ app, form, kept, go }) {
  const { t, state } = app, results = make("div", { className: "results" });
  const lora = () => kept.get("everywhere.lora") ?? state.get().loras.find((one) => one.file) ?? null, bases = () => kept.get("everywhere.bases", []), base = () => bases()[0] ?? "";
  let report = null, shown = null;
  const changed = () => plan.refresh();
  const put = (some) => { kept.set("everywhere.lora", { ...(lora() ?? newLora("")), ...some }); changed(); };

  const picker = filePicker({ kind: "lora", value: lora()?.file ?? "", onchange: (file) => put({ file }) });
  const strength = rangeInput({ value: lora()?.strength ?? 1, min: 0, max: 1.5, step: 0.05, label: t("likeness.strength"), onchange: (value) => put({ strength: value }) });
  const many = filesPicker({ kind: "checkpoint", value: bases(), label: t("likeness.bases"), onchange: (names) => { kept.set("everywhere.bases", names); changed(); } });
  const own = filePicker({ kind: "checkpoint", value: kept.get("everywhere.source", ""), none: t("shell.none"), onchange: (name) => { kept.set("everywhere.source", name); changed(); } });
  const parts = numberInput(kept.get("everywhere.segments", 3), (count) => { kept.set("everywhere.segments", count); changed(); }, { min: 0, max: 8, step: 1 });
  const difference = flagInput(kept.get("everywhere.difference", false), (on) => { kept.set("everywhere.difference", on); changed(); });
  const settings = await settingsForm({ values: state.get().settings, base, onchange: (values) => { state.set({ settings: values }); changed(); } });
  const person = personField({ kept, go, onchange: changed });
  const goals = goalsField({ value: kept.get("goals", ["likeness", "bleed"]), onchange: (next) => { kept.set("goals", next); changed(); } });
  const budget = budgetField({ value: kept.get("budget", "200 pictures"), text: t("likeness.budget_each"), onchange: (text) => { kept.set("budget", text); changed(); } });
  const options = (await fieldsOf("everywhere")).filter((option) => RARE.includes(option.name));
  const more = optionsForm({ options, values: kept.get("everywhere", {}), usual: RARE, base, onchange: (values) => { kept.set("everywhere", values); changed(); } });

  const request = () => {
    if (!lora()?.file || !bases().length || !isJudged(kept, more)) return null;
    const source = kept.get("everywhere.source"), segments = kept.get("everywhere.segments", 3);
    const wanted = { ...settings.values(), ...judging(kept), bases: bases(), ...(source ? { source } : {}), ...(difference.checked ? { difference: true } : {}), segments, budget: kept.get("budget", "200 pictures"), ...more.values() };
    return intoFolder({ command: "everywhere", words: [loraWord(lora())], options: wanted });
  };
  const plan = planBox({ request, form });
  const run = runner({ page: "likeness.everywhere", text: t("likeness.everywhere_run"), form, plan, request, title: () => t("likeness.everywhere_job", label(lora()?.file)), onjob: show });

  function show(job) {
    if (job.id === shown || (!job.page && !job.cells?.length)) return;
    shown = job.id;
    report?.close();
    report = liveReport(job.id, "everywhere", { use });
    results.replaceChildren(report.node);
  }

  /* On this base: the strengths for the other pages, or the merge at once. */
  function use(data, job, found) {
    const file = (job.options.bases ?? []).find((one) => label(one) === label(found.name.split("/").pop()));
    const moved = found.moved ? `${job.folder}/${found.folder}/${label(found.lora)}.safetensors` : "";
    const uses = usesAt(found.adapters, [moved || job.words[0]]);
    if (!file || !uses.length) return make("div", {}, ...[found.render, found.merge].filter(Boolean).map(copyable));
    const taken = make("div", { className: "taken", role: "status" });
    const carry = (page) => () => { state.set({ base: file, loras: uses }); app.go(page); };
    return make("div", {}, row(button(t("likeness.to_test"), carry("test"), { kind: "small" }), button(t("test.to_merge"), carry("merge"), { kind: "small" })), taken, fold(t("shell.command"), ...[found.render, found.merge].filter(Boolean).map(copyable)));
  }

  return {
    form: [section(t("likeness.what"), field({ name: "adapters", label: t("likeness.lora"), input: picker.node, wide: true }), field({ name: "strength", label: t("likeness.strength"), input: strength.node, wide: true }),
      field({ name: "bases", label: t("likeness.bases"), input: many.node, wide: true }), field({ name: "source", label: t("likeness.source"), input: own.node, help: t("likeness.source_help"), wide: true })),
      section(t("likeness.who"), person),
      section(t("likeness.change"), note(t("likeness.everywhere_note")), field({ name: "segments", label: t("likeness.parts"), input: parts, wide: true }), field({ name: "difference", label: t("likeness.difference"), input: difference, wide: true })),
      section(t("likeness.counts"), goals, budget), section(t("likeness.look"), note(t("likeness.prompt_note")), settings.node), section("", fold(t("groups.rare"), more.node))],
    got: [make("section", { className: "card go" }, run.node), results],
    close: () => { run.close(); report?.close(); },
  };
}
