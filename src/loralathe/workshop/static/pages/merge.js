/* Step 3: LoRAs into a checkpoint, or LoRAs into one; then the pictures before and after. */
import { filePicker, loraRows } from "../files.js";
import { settingsForm } from "../form.js";
import { axisValue, choose, frame, maker, pictures, seedAxis, setOrigin } from "../making.js";
import { button, field, flagInput, fold, note, row, section } from "../parts.js";
import { label, loraWord } from "../state.js";
import { make } from "../study/elements.js";

export async function open(root, app) {
  const { t, state } = app, kept = app.draft("merge"), { form, got } = frame(root, "merge");
  const base = () => state.get().base, loras = () => state.get().loras.filter((lora) => lora.file);
  const saving = make("div", {}), going = make("div", {}), next = make("div", { className: "taken", role: "status" });
  const shown = pictures({ key: "merge", form, title: t("merge.before_after") });
  let made = null, turn = 0;

  const kinds = choose({ label: t("merge.kind"), value: kept.get("kind", "merge"), choices: [["merge", t("merge.into_checkpoint")], ["combine", t("merge.into_one")]], onchange: (kind) => { kept.set("kind", kind); build(kind); } });
  const picker = filePicker({ kind: "checkpoint", value: base(), onchange: (name) => { state.set({ base: name }); made?.refresh(); } });
  const baseField = field({ name: "checkpoint", label: t("merge.base"), input: picker.node, wide: true });
  const rows = loraRows({ value: state.get().loras, base, onchange: (list) => { state.set({ loras: list }); made?.refresh(); } });
  const settings = await settingsForm({ values: state.get().settings, base, onchange: (values) => state.set({ settings: values }) });
  const after = flagInput(kept.get("pictures", true), (on) => kept.set("pictures", on));

  const suggest = (kind) => [...loras().map((lora) => label(lora.file) + (lora.strength === 1 ? "" : `-${lora.strength}`)), kind === "merge" ? label(base()) : ""].filter(Boolean).join("-");

  async function build(kind) {
    const mine = ++turn;
    made?.close();
    baseField.querySelector("label").textContent = t(kind === "merge" ? "merge.base" : "merge.base_of_pictures");
    const words = () => (kind === "merge" ? (base() && loras().length ? [base(), ...loras().map(loraWord)] : null) : loras().length ? loras().map(loraWord) : null);
    const ready = await maker({ app, page: "merge", command: kind, words, base, form, text: t(kind === "merge" ? "merge.run" : "merge.run_one"), suggest: () => suggest(kind), onmade: (file) => finished(kind, file),
      title: (name) => t(kind === "merge" ? "merge.job" : "merge.job_one", name), usual: kind === "merge" ? ["dtype", "vae", "metadata"] : ["rank", "dtype", "metadata"], skip: ["te", "unet"], defaults: { dtype: "fp16" } });
    if (mine !== turn) { ready.close(); return; }
    made = ready;
    saving.replaceChildren(ready.save);
    going.replaceChildren(ready.go);
    onward();
  }

  function finished(kind, file) {
    if (kind === "merge") { state.set({ merged: file }); setOrigin(file, base()); }
    else state.set({ extracted: file });
    kept.set("last." + kind, file);
    onward();
    if (after.checked && base()) draw(kind, file);
  }

  function draw(kind, file) {
    const x = kind === "merge" ? `checkpoint = ${axisValue(base())}, ${axisValue(file)}` : `${label(file)} strength = 0, 1`;
    shown.run({ command: "grid", words: kind === "merge" ? [base()] : [base(), `${file}:1`], options: { ...settings.values(), x, y: seedAxis(2) }, title: t("merge.before_after") });
  }

  function onward() {
    const kind = kept.get("kind", "merge"), file = kept.get("last." + kind);
    const go = (page) => () => { state.set(kind === "merge" ? { merged: file } : { extracted: file }); app.go(page); };
    if (!file) { next.replaceChildren(); return; }
    next.replaceChildren(note(t("merge.made", label(file))), row(kind === "merge" ? button(t("merge.to_extract"), go("extract"), { kind: "small" }) : button(t("merge.to_carry"), go("carry"), { kind: "small" }),
      button(t("merge.again"), () => draw(kind, file), { kind: "small" })));
  }

  form.append(section("", kinds.node, baseField, make("h3", { textContent: t("merge.loras") }), rows.node),
    section(t("making.save"), saving),
    section(t("merge.before_after"), field({ name: "after", label: t("merge.pictures"), input: after, wide: true }), fold(t("making.settings"), settings.node)));
  got.append(going, next, shown.node);
  await build(kept.get("kind", "merge"));
  return () => { made?.close(); shown.close(); };
}
