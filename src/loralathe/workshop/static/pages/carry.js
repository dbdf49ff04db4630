/* Step 5: the extracted LoRA on another base: test its strength there, then merge. */
import { filePicker } from "../files.js";
import { settingsForm } from "../form.js";
import { frame, maker, pictures, seedAxis, setOrigin } from "../making.js";
import { button, chips, field, fold, note, nothingChosen, numberInput, rangeInput, refuse, row, section } from "../parts.js";
import { label, newLora, loraWord } from "../state.js";
import { make } from "../study/elements.js";

const STRENGTHS = [0, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.2];

export async function open(root, app) {
  const { t, state } = app, kept = app.draft("carry"), { form, got } = frame(root, "carry");
  const base = () => state.get().second, lora = () => state.get().extracted;
  const strength = () => kept.get("strength", 1);
  const word = () => loraWord(newLora(lora(), strength()));
  const next = make("div", { className: "taken", role: "status" });

  const onto = filePicker({ kind: "checkpoint", value: base(), onchange: (name) => { state.set({ second: name }); made.refresh(); } });
  const carried = filePicker({ kind: "lora", value: lora(), base, onchange: (name) => { state.set({ extracted: name }); made.refresh(); } });
  const settings = await settingsForm({ values: state.get().settings, base, onchange: (values) => state.set({ settings: values }) });
  const values = chips({ label: t("carry.strengths"), values: STRENGTHS, on: kept.get("strengths", [0, 0.5, 0.8, 1]), onchange: (on) => kept.set("strengths", on) });
  const seeds = numberInput(kept.get("seeds", 2), (count) => kept.set("seeds", count), { min: 1, step: 1 });
  const slider = rangeInput({ value: strength(), min: 0, max: 1.5, step: 0.05, label: t("carry.strength"), onchange: take });

  const shown = pictures({ key: "carry", form, title: t("carry.test"), onuse: (uses) => { slider.set(uses[0].strength); take(uses[0].strength); app.announce(t("carry.taken", uses[0].strength)); } });
  function take(number) { kept.set("strength", number); made.refresh(); }

  const suggest = () => `${label(lora()) || "lora"}-${label(base()) || "B"}`;
  const made = await maker({ app, page: "carry", command: "merge", base, form, suggest, text: t("carry.run"), words: () => (base() && lora() ? [base(), word()] : null), title: (name) => t("carry.job", name),
    usual: ["dtype", "vae", "metadata"], skip: ["te", "unet"], defaults: { dtype: "fp16" }, onmade: (file) => { kept.set("carried", file); setOrigin(file, base()); onward(); } });

  function onward() {
    const file = kept.get("carried");
    if (file) next.replaceChildren(note(t("carry.made", label(file))), row(button(t("carry.to_difference"), () => app.go("difference"), { kind: "small" })));
  }

  function test() {
    const missing = nothingChosen(form);
    if (missing) { refuse(form, missing); return; }
    const x = `${label(lora())} strength = ${values.values().join(", ")}`;
    shown.run({ command: "grid", words: [base(), `${lora()}:1`], options: { ...settings.values(), x, y: seedAxis(+seeds.value || 1) }, title: t("carry.test") });
  }

  form.append(section("", field({ name: "checkpoint", label: t("carry.base"), input: onto.node, wide: true }), field({ name: "adapters", label: t("carry.lora"), input: carried.node, wide: true })),
    section(t("carry.test"), note(t("carry.test_note")), values.node, field({ name: "seeds", label: t("making.seeds"), input: seeds }), row(button(t("carry.test_run"), test)), fold(t("making.settings"), settings.node)),
    section(t("carry.merge"), field({ name: "strength", label: t("carry.strength"), input: slider.node, wide: true }), made.save));
  onward();
  got.append(made.go, next, shown.node);
  return () => { made.close(); shown.close(); };
}
