/* Step 6: B′ + M · (B − A), M looked at on both sides of 0; then the model, from which a LoRA is extracted again. */
import { filePicker } from "../files.js";
import { settingsForm } from "../form.js";
import { frame, maker, pictures, seedAxis, setOrigin } from "../making.js";
import { button, field, fold, note, nothingChosen, numberInput, rangeInput, refuse, row, section, textInput } from "../parts.js";
import { label } from "../state.js";
import { make } from "../study/elements.js";

const FROM = -1, TO = 1;

export async function open(root, app) {
  const { t, state, api } = app, kept = app.draft("difference"), { form, got } = frame(root, "difference");
  const primary = () => kept.get("primary") || app.draft("carry").get("carried", "") || state.get().merged;
  const second = () => state.get().second, third = () => state.get().base, multiplier = () => kept.get("M", -0.7);
  const next = make("div", { className: "taken", role: "status" }), meaning = make("p", { className: "act", role: "status" }), distance = make("div", { "aria-live": "polite" });
  const shown = pictures({ key: "difference", form, title: t("difference.sweep") });

  const picker = (name, value, onchange) => field({ name, label: t("difference." + name), wide: true, input: filePicker({ kind: "checkpoint", value, base: third, onchange: (file) => { onchange(file); made.refresh(); } }).node });
  const models = [picker("primary", primary(), (file) => kept.set("primary", file)), picker("secondary", second(), (file) => state.set({ second: file })), picker("tertiary", third(), (file) => state.set({ base: file }))];
  const settings = await settingsForm({ values: state.get().settings, base: second, onchange: (values) => state.set({ settings: values }) });
  const axis = textInput(kept.get("axis", "-0.7, -0.35, 0, 0.35, 0.7"), (text) => { kept.set("axis", text); drawTakes(); });
  const seeds = numberInput(kept.get("seeds", 2), (count) => kept.set("seeds", count), { min: 1, step: 1 });
  const slider = rangeInput({ value: multiplier(), min: FROM, max: TO, step: 0.05, label: "M", onchange: take });
  const takes = make("div", { className: "chips", role: "group", "aria-label": t("difference.takes") });

  function take(number) { kept.set("M", number); say(); made.refresh(); }
  function say() {
    const M = multiplier(), way = M < 0 ? "towards" : M > 0 ? "away" : "zero";
    meaning.textContent = t("difference." + way, Math.abs(M), label(third()) || "A", label(second()) || "B");
  }
  function drawTakes() {
    const values = axis.value.split(",").map((text) => text.trim()).filter((text) => text !== "" && !isNaN(text));
    takes.replaceChildren(...values.map((text) => button(`M = ${text}`, () => { slider.set(+text); take(+text); }, { kind: "chip" })));
  }

  const files = () => (primary() && second() && third() ? [primary(), second(), third()] : null);
  const suggest = () => `${label(primary()) || "B"}${multiplier() < 0 ? "-to-" : "-from-"}${label(third()) || "A"}`;
  const made = await maker({ app, page: "difference", command: "add_difference", base: third, form, suggest, text: t("difference.run"), words: () => files() && [...files(), multiplier()], title: (name) => t("difference.job", name, multiplier()),
    usual: ["dtype", "vae", "metadata"], defaults: { dtype: "fp16" }, onmade: (file) => { state.set({ merged: file }); setOrigin(file, second()); onward(file); } });

  function onward(file) {
    kept.set("result", file);
    next.replaceChildren(note(t("difference.made", label(file))), row(button(t("difference.to_extract"), () => app.go("extract"), { kind: "small" }), button(t("difference.to_proof"), () => { state.set({ base: file, loras: [] }); app.go("proof"); }, { kind: "small" })));
  }

  /* The recipe of the very merge, its M an axis: each model is computed in memory, and no file is written. */
  async function sweep() {
    const recipe = "difference-" + label(primary()).replaceAll(/[^\w.-]+/g, "_");
    const missing = nothingChosen(form);
    if (missing) { refuse(form, missing); return; }
    try {
      const plan = await api.post("plan", { command: "add_difference", words: [...files(), multiplier()], options: { output: recipe } });
      await api.put("recipes/" + encodeURIComponent(recipe), { text: plan.recipe });
    } catch (error) { refuse(form, error); return; }
    await shown.run({ command: "grid", words: [], options: { ...settings.values(), recipe: `out/recipes/${recipe}.toml`, x: `M = ${axis.value}`, y: seedAxis(+seeds.value || 1) }, title: t("difference.sweep") });
  }

  async function measure() {
    const missing = nothingChosen(form);
    if (missing) { refuse(form, missing); return; }
    distance.replaceChildren(note(t("difference.measuring")));
    try {
      const found = await api.post("ask", { command: "compare", words: [third(), second()], options: {} });
      distance.replaceChildren(...(found.sentences?.length ? found.sentences : [found.data?.verdict ?? ""]).map((text) => note(text)));
    } catch (error) { distance.replaceChildren(); refuse(form, error); }
  }

  form.append(section("", make("p", { className: "formula", textContent: "B′ + M · (B − A)" }), ...models, row(button(t("difference.measure"), measure, { kind: "small" })), distance),
    section(t("difference.sweep"), field({ name: "x", label: t("difference.axis"), input: axis, wide: true, help: t("difference.axis_help") }), field({ name: "seeds", label: t("making.seeds"), input: seeds }), row(button(t("difference.look"), sweep)), fold(t("making.settings"), settings.node)),
    section(t("difference.make"), field({ name: "multiplier", label: t("difference.multiplier"), input: slider.node, wide: true }), takes, meaning, made.save));
  drawTakes();
  say();
  if (kept.get("result")) onward(kept.get("result"));
  got.append(made.go, next, shown.node);
  return () => { made.close(); shown.close(); };
}
