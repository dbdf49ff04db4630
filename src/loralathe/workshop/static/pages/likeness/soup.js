/* A training's epochs into one LoRA: their average, or what pictures say of them. */
import { filePicker, filesPicker } from "../../files.js";
import { fieldsOf, settingsForm } from "../../form.js";
import { choose, maker } from "../../making.js";
import { field, numberInput, section, textInput } from "../../parts.js";
import { liveReport } from "../../reports.js";
import { label, newLora } from "../../state.js";
import { make } from "../../study/elements.js";
import { goalsField, judging, personField } from "./common.js";

const SAVING = ["save_dtype", "metadata"], SEEDS = ["within", "first_seeds", "most_seeds", "check_seeds", "error", "strength"];

export async function open({ app, form, kept, go }) {
  const { t, state } = app, results = make("div", { className: "results" }), asked = make("div", {}), saving = make("div", {}), going = make("div", {});
  const base = () => state.get().base, way = () => kept.get("soup.way", "equal"), epochs = () => kept.get("soup.epochs", []);
  let made = null, report = null, shown = null, turn = 0;
  const changed = () => made?.refresh();

  const files = filesPicker({ kind: "lora", value: epochs(), base, label: t("likeness.epochs"), onchange: (names) => { kept.set("soup.epochs", names); changed(); } });
  const ways = choose({ label: t("likeness.way"), value: way(), choices: ["equal", "ema", "found"].map((one) => [one, t("likeness.way_" + one)]), onchange: (one) => { kept.set("soup.way", one); build(); } });
  const rank = numberInput(kept.get("soup.rank"), (value) => { kept.set("soup.rank", value); changed(); }, { min: 1, step: 1, placeholder: t("likeness.rank_exact") });
  const ema = numberInput(kept.get("soup.ema", 0.9), (value) => { kept.set("soup.ema", value); changed(); }, { min: 0, max: 1, step: 0.05 });
  const picker = filePicker({ kind: "checkpoint", value: base(), onchange: (name) => { state.set({ base: name }); changed(); } });
  const settings = await settingsForm({ values: state.get().settings, base, onchange: (values) => { state.set({ settings: values }); changed(); } });
  const all = (await fieldsOf("soup")).map((option) => option.name);

  function given() {
    const cut = kept.get("soup.rank") ? { ranks: { rank: +kept.get("soup.rank") } } : {};
    if (way() === "ema") return { ...cut, ema: kept.get("soup.ema", 0.9) };
    return way() === "found" ? { ...cut, ...settings.values(), ...judging(kept), base: base() } : cut;
  }

  async function build() {
    const mine = ++turn, found = way() === "found";
    made?.close();
    const wanted = found ? [...SAVING, ...SEEDS] : SAVING;
    const words = () => (epochs().length > 1 ? epochs() : null);
    const suggest = () => `${label(epochs()[0] ?? "lora").replace(/[-_]?\d{2,}$/, "")}-soup`;
    const ready = await maker({ app, page: "likeness", command: "soup", words, base, form, suggest, text: t("likeness.soup_run"), title: (name) => t("likeness.soup_job", name), usual: SAVING,
      skip: all.filter((name) => !wanted.includes(name)), given, onjob: show, onmade: (file) => state.set({ extracted: file, loras: [newLora(file)] }) });
    if (mine !== turn) { ready.close(); return; }
    made = ready;
    asked.replaceChildren(...(found ? [section(t("likeness.who"), personField({ kept, go, onchange: changed })),
      section(t("likeness.counts"), goalsField({ value: kept.get("goals", ["likeness", "bleed"]), onchange: (next) => { kept.set("goals", next); changed(); } })),
      section(t("likeness.look"), field({ name: "base", label: t("test.base"), input: picker.node, wide: true }), settings.node)]
      : way() === "ema" ? [section("", field({ name: "ema", label: t("likeness.ema"), input: ema, help: t("likeness.ema_help"), wide: true }))] : []));
    saving.replaceChildren(section(t("making.save"), field({ name: "ranks", label: t("likeness.rank"), input: rank, help: t("likeness.rank_help"), wide: true }), ready.save));
    going.replaceChildren(ready.go);
  }

  function show(job) {
    if (job.id === shown || (!job.page && !job.cells?.length)) return;
    shown = job.id;
    report?.close();
    report = liveReport(job.id, "soup");
    results.replaceChildren(report.node);
  }

  const form_ = [section("", field({ name: "adapters", label: t("likeness.epochs"), input: files.node, wide: true }), make("h3", { textContent: t("likeness.way") }), ways.node), asked, saving];
  await build();
  return { form: form_, got: [going, results], close: () => { turn += 1; made?.close(); report?.close(); } };
}
