/* Step 7: the same face over seeds and prompts, scored where a scorer is set. */
import { get } from "../api.js";
import { fileInfo, filePicker, loraRows } from "../files.js";
import { fieldsOf, optionsForm, planBox, settingsForm } from "../form.js";
import { hasPictures, runner } from "../job.js";
import { liveGrid } from "../live.js";
import { areaInput, field, fold, note, section, textInput } from "../parts.js";
import { intoFolder, label, loraWord } from "../state.js";
import { fixed, make } from "../study/elements.js";

const SCORING = ["card", "bleed", "scorers", "photo", "face_box", "reference"];

/* Prompts as values of an axis: a prompt has commas, so it stands in quotes. */
const quoted = (text) => `'${text.replaceAll("'", "''")}'`;

export async function open(root, app) {
  const { t, state } = app, kept = app.draft("proof"), choices = state.get();
  const form = make("form", { className: "ask", onsubmit: (event) => event.preventDefault() }), pictures = make("div", {}), got = make("div", { className: "got" });
  const told = make("div", { className: "taken", role: "status" });
  let grid = null, shown = null, counted = "";
  const given = { model: choices.merged || kept.get("model") || choices.base, loras: choices.merged ? [] : choices.loras, seeds: "1-4", prompts: choices.settings.prompt ?? "" };
  const value = { model: given.model, loras: kept.get("loras") ?? given.loras, seeds: kept.get("seeds") ?? given.seeds, prompts: kept.get("prompts") || given.prompts };
  const change = (name) => (next) => { value[name] = next; kept.set(name, next); plan.refresh(); };
  const base = () => value.model;

  const settings = await settingsForm({ values: { ...choices.settings, ...kept.get("settings", {}) }, skip: ["prompt", "seed"], base, onchange: change("settings") });
  const options = await fieldsOf("grid"), card = app.draft("likeness").get("card");  // the one that was made last
  const scoring = optionsForm({ options: options.filter((option) => SCORING.includes(option.name)), usual: SCORING, values: kept.get("scoring") ?? (card ? { card } : {}), base, onchange: change("scoring") });
  const picker = filePicker({ kind: "checkpoint", value: value.model, onchange: change("model") });
  const rows = loraRows({ value: value.loras, base, onchange: change("loras") });
  const prompts = areaInput(value.prompts, change("prompts"), { rows: 4 });

  const request = () => {
    const lines = value.prompts.split("\n").map((line) => line.trim()).filter(Boolean);
    if (!value.model) return null;
    const { prompt: _, seed: __, ...rest } = settings.values();
    const axes = { x: `seed = ${value.seeds}`, ...(lines.length > 1 ? { y: `prompt s/r = ${lines.map(quoted).join(", ")}` } : {}) };
    return intoFolder({ command: "grid", words: [value.model, ...value.loras.filter((lora) => lora.file).map(loraWord)], options: { ...rest, ...(lines.length ? { prompt: lines[0] } : {}), ...axes, ...scoring.values() } });
  };
  const plan = planBox({ request, form });
  const run = runner({ page: "proof", text: t("proof.run"), form, plan, request, title: () => t("proof.job", label(value.model)), onjob(job) {
    if (job.state === "done" && counted !== job.id) { counted = job.id; verdict(job); }
    if (job.id === shown || !hasPictures(job)) return;
    shown = job.id;
    told.replaceChildren();
    grid?.close();
    grid = liveGrid(job.id);
    pictures.replaceChildren(section("", grid.node));
  } });

  /* The answer to the page's question, where a card can give it. */
  async function verdict(job) {
    told.replaceChildren();
    if (!job.options.card) return;
    const [{ data }, { threshold }] = await Promise.all([get(`jobs/${encodeURIComponent(job.id)}/page`), fileInfo(job.options.card)]);
    const seen = data.cells.map((cell) => cell.scores.likeness), values = seen.filter((value) => value !== null && value !== undefined);
    if (!values.length) { told.replaceChildren(note(t("proof.nobody"))); return; }
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length, same = values.filter((value) => value >= threshold).length;
    told.replaceChildren(note(t("proof.verdict", same, seen.length, fixed(mean, 3), fixed(Math.min(...values), 3), fixed(threshold, 3))));
  }

  form.append(section("", field({ name: "checkpoint", label: t("proof.model"), input: picker.node, wide: true }), fold(t("proof.loras"), rows.node)),
    section("", field({ name: "prompt", label: t("proof.prompts"), input: prompts, help: t("proof.prompts_help"), wide: true }),
      field({ name: "x", label: t("proof.seeds"), input: textInput(value.seeds, change("seeds")), help: "1-4   ·   1, 7, 42", wide: true }), fold(t("proof.settings"), settings.node)),
    section(t("proof.scoring"), note(t("proof.scoring_note")), make("div", { className: "spaced" }, scoring.node)));
  if (!grid) pictures.append(make("section", { className: "card empty" }, note(t("proof.empty"))));
  got.append(make("section", { className: "card go" }, run.node), told, pictures);
  root.append(make("h1", { textContent: t("proof.title") }), make("p", { className: "lead", textContent: t("proof.lead") }), make("div", { className: "two" }, form, got));
  return () => { grid?.close(); run.close(); };
}
