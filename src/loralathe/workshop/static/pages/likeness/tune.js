/* The search: what may change, what counts, how much it may take; then what is recommended, and what to do with it. */
import { filePicker, loraRows } from "../../files.js";
import { fieldsOf, optionsForm, planBox, settingsForm } from "../../form.js";
import { runner } from "../../job.js";
import { field, fold, note, section } from "../../parts.js";
import { liveReport, usesAt } from "../../reports.js";
import { intoFolder, label, modelWords } from "../../state.js";
import { sweepsForm } from "../../sweeps.js";
import { make } from "../../study/elements.js";
import { budgetField, goalsField, isJudged, judging, personField, useCard } from "./common.js";

const RARE = ["scorers", "photo", "face_box", "likeness", "trigger", "within", "weigh", "also", "first_seeds", "most_seeds", "check_seeds", "error", "search", "reuse", "title", "embed", "force"];

export async function open({ app, form, kept, go }) {
  const { t, state } = app, results = make("div", { className: "results" });
  const base = () => state.get().base, loras = () => state.get().loras;
  let report = null, shown = null, acting = null, actingOf = "";
  const changed = () => plan.refresh();

  const picker = filePicker({ kind: "checkpoint", value: base(), onchange: (name) => { state.set({ base: name }); sweeps.refresh(); changed(); } });
  const rows = loraRows({ value: loras(), base, onchange: (next) => { state.set({ loras: next }); sweeps.refresh(); changed(); } });
  const settings = await settingsForm({ values: state.get().settings, base, onchange: (values) => { state.set({ settings: values }); changed(); } });
  const sweeps = sweepsForm({ value: kept.get("sweeps"), more: kept.get("sweeps.more", ""), base, loras, onchange: (value, more) => { kept.set("sweeps", value); kept.set("sweeps.more", more); changed(); } });
  const person = personField({ kept, go, onchange: changed });
  const goals = goalsField({ value: kept.get("goals", ["likeness", "bleed"]), onchange: (next) => { kept.set("goals", next); changed(); } });
  const budget = budgetField({ value: kept.get("budget", "200 pictures"), onchange: (text) => { kept.set("budget", text); changed(); } });
  const options = (await fieldsOf("tune")).filter((option) => RARE.includes(option.name));
  const more = optionsForm({ options, values: kept.get("tune", {}), usual: RARE, base, onchange: (values) => { kept.set("tune", values); changed(); } });

  const request = () => {
    if (!base() || !loras().some((lora) => lora.file) || !isJudged(kept, more)) return null;
    const wanted = { ...settings.values(), ...judging(kept), sweep: sweeps.lines(), budget: kept.get("budget", "200 pictures"), ...more.values() };
    return intoFolder({ command: "tune", words: modelWords(), options: wanted });
  };
  const plan = planBox({ request, form });
  const title = () => t("likeness.tune_job", [label(base()), ...loras().map((lora) => label(lora.file))].join(" + "));
  const run = runner({ page: "likeness.tune", text: t("likeness.tune_run"), form, plan, request, title, onjob: show });

  function show(job) {
    if (job.id === shown || (!job.page && !job.cells?.length)) return;
    shown = job.id;
    report?.close();
    acting?.close();
    acting = null;
    report = liveReport(job.id, "tune", { use });
    results.replaceChildren(report.node);
  }

  /* The card stays while another dot of the chart is looked at. */
  function use(data, job) {
    const key = `${job.id}.${data.recommended}`, uses = usesAt(data.commands.adapters, job.words.slice(1));
    if (acting && actingOf === key) return acting.node;
    acting?.close();
    actingOf = key;
    acting = useCard({ app, form, key, base: job.words[0], uses, settings: state.get().settings, study: job.folder, name: `${label(job.words[0])}-${uses.map((one) => label(one.file)).join("-")}-found` });
    return acting.node;
  }

  return {
    form: [section(t("likeness.what"), field({ name: "checkpoint", label: t("test.base"), input: picker.node, wide: true }), make("h3", { textContent: t("test.loras") }), rows.node),
      section(t("likeness.who"), person), section(t("likeness.change"), note(t("likeness.change_note")), sweeps.node),
      section(t("likeness.counts"), goals, budget), section(t("likeness.look"), note(t("likeness.prompt_note")), settings.node), section("", fold(t("groups.rare"), more.node))],
    got: [make("section", { className: "card go" }, run.node), results],
    close: () => { run.close(); report?.close(); acting?.close(); },
  };
}
