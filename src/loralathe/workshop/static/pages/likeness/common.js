/* What the parts of the page have in common: whom it is about, what counts, how much it may take, what comes of it.

   personField({kept, go, onchange})           the identity card, and the way to make one → a field
   goalsField({value, onchange}), budgetField({value, onchange})
   judging(kept)                               card and goals as options;  isJudged(kept, form of other options)
   useCard({app, form, key, base, uses, settings, name, study})  pictures, a merge and a LoRA of what was found, by
       buttons → a card; study: the folder of the search, whose numbers go into the model */
import { get, post } from "../../api.js";
import { filePicker } from "../../files.js";
import { runner } from "../../job.js";
import { chips, button, choiceInput, field, note, numberInput, row, section, textInput } from "../../parts.js";
import { label, loraWord } from "../../state.js";
import { t } from "../../words.js";
import { make } from "../../study/elements.js";

const GOALS = ["likeness", "bleed", "prompt", "diversity"];

export function personField({ kept, go, onchange }) {
  const picker = filePicker({ kind: "card", value: kept.get("card", ""), onchange: (name) => { kept.set("card", name); onchange(); } });
  const place = make("div", {}, field({ name: "card", label: t("likeness.card"), input: picker.node, wide: true }));
  const offer = make("div", { className: "row spaced" }, button(t("likeness.make_card"), () => go("card"), { kind: "small" }));
  place.append(offer);
  /* The only card there is, is the one meant. */
  get("library?kind=card").then(({ files }) => {
    if (kept.get("card") && !files.some((file) => file.name === kept.get("card"))) { kept.set("card", ""); picker.set(""); onchange(); }
    if (kept.get("card") || files.length !== 1) return;
    kept.set("card", files[0].name);
    picker.set(files[0].name);
    onchange();
  }).catch(() => { /* the list says what is wrong when it is opened */ });
  return place;
}

export function goalsField({ value, onchange }) {
  const show = (goal) => t("likeness.goal_" + goal);
  const { node } = chips({ label: t("likeness.goals"), values: GOALS, on: value, show, onchange });
  const place = make("div", { className: "field wide" }, make("label", { textContent: t("likeness.goals") }), node, make("p", { className: "help", textContent: t("likeness.goals_help") }));
  place.dataset.field = "goal";
  return place;
}

export function budgetField({ value, onchange, text = t("likeness.budget") }) {
  const [, number, unit] = /^(\d+(?:\.\d+)?) (pictures|minutes)$/.exec(value) ?? [null, "200", "pictures"];
  const box = numberInput(number, () => tell(), { min: 1, step: 1 });
  const kind = choiceInput(unit, () => tell(), [["pictures", t("likeness.pictures")], ["minutes", t("likeness.minutes")]], { "aria-label": t("likeness.unit") });
  const tell = () => onchange(`${box.value || "200"} ${kind.value}`);
  return field({ name: "budget", label: text, input: make("div", { className: "row budget" }, box, kind), wide: true });
}

export function judging(kept) {
  const goals = kept.get("goals", ["likeness", "bleed"]);
  return { ...(kept.get("card") ? { card: kept.get("card") } : {}), ...(goals.length ? { goal: goals } : {}) };
}

/* By a card, or by a scorer among the other options. */
export const isJudged = (kept, more) => Boolean(kept.get("card") || more.values().scorers?.length);

/* With what the search measured, where it measured just this model. */
async function withNumbers(request, study) {
  const more = { ...request, options: { ...request.options, measured: `${study}/tune.json` } };
  try { await post("plan", more); return more; } catch { return request; /* what else is wrong with it, the job says */ }
}

/* What can be done with strengths that were found: a picture, a model, a LoRA; or take them along. */
export function useCard({ app, form, key, base, uses, settings, name, study }) {
  const { state } = app, words = uses.map(loraWord);
  const shown = make("div", {}), next = make("div", { className: "taken", role: "status" }), kept = make("div", { className: "taken", role: "status" });
  const named = textInput("", null, { placeholder: name, "aria-label": t("likeness.name") });
  const output = () => named.value.trim() || name;
  const picture = runner({ page: `likeness.${key}.render`, text: t("likeness.render"), form, title: () => t("likeness.render_job", name),
    request: () => ({ command: "render", words: [base, ...words], options: { ...settings, seed: -1, output: `found/${name}-${Date.now().toString(36)}` } }),
    onjob: (job) => {
      const found = job.outputs?.find((one) => one.kind === "picture");
      if (found) shown.replaceChildren(make("img", { className: "found", src: found.url, alt: name }));
    } });
  const onward = (job, act) => {
    const file = job.outputs?.find((one) => one.kind === "model")?.name;
    if (job.state === "done" && file) act(file);
  };
  const merge = runner({ page: `likeness.${key}.merge`, text: t("likeness.merge"), form, title: () => t("likeness.merge_job", output()),
    request: () => withNumbers({ command: "merge", words: [base, ...words], options: { output: output(), dtype: "fp16" } }, study),
    onjob: (job) => onward(job, (file) => next.replaceChildren(note(t("likeness.merged", label(file))), row(button(t("likeness.to_proof"), () => { state.set({ merged: file }); app.go("proof"); }, { kind: "small" })))) });
  const save = runner({ page: `likeness.${key}.combine`, text: t("likeness.save"), form, title: () => t("likeness.save_job", output()),
    request: () => ({ command: "combine", words, options: { output: `${output()}-lora`, dtype: "fp16" } }),
    onjob: (job) => onward(job, (file) => kept.replaceChildren(note(t("likeness.saved", label(file))))) });
  const take = button(t("likeness.take"), () => { state.set({ base, loras: uses }); app.announce(t("likeness.taken")); next.replaceChildren(note(t("likeness.taken")), row(button(t("test.to_merge"), () => app.go("merge"), { kind: "small" }))); }, { kind: "small" });
  const node = section(t("likeness.use"), note(t("likeness.use_note")), field({ name: "found-name", label: t("making.save"), input: named, wide: true }),
    make("div", { className: "uses" }, ...[picture, merge, save].map((one) => one.node)), row(take), shown, next, kept);
  node.classList.add("use");
  return { node, close: () => { for (const one of [picture, merge, save]) one.close(); } };
}
