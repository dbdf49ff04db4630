/* Step 4: the LoRA of the difference of two models; ranks beside one another by looking. */
import { filePicker } from "../files.js";
import { settingsForm } from "../form.js";
import { frame, maker, modelOf, originOf, pictures, seedAxis, setOrigin } from "../making.js";
import { button, chips, field, fold, note, nothingChosen, numberInput, refuse, row, section } from "../parts.js";
import { rankSweep } from "../ranks.js";
import { sharesChart } from "../shares.js";
import { label, newLora } from "../state.js";
import { make } from "../study/elements.js";

const RANKS = [4, 8, 16, 32, 64, 128];

export async function open(root, app) {
  const { t, state } = app, kept = app.draft("extract"), { form, got } = frame(root, "extract");
  const tuned = () => state.get().merged;
  const base = () => originOf(tuned()) || state.get().base;
  let drawn = "";
  const chart = make("div", {}), next = make("div", { className: "taken", role: "status" });
  const shown = pictures({ key: "extract", form, title: t("extract.look") });
  const original = pictures({ key: "extract.tuned", form, title: t("extract.look_tuned") });

  const from = filePicker({ kind: "checkpoint", value: tuned(), onchange: (name) => { state.set({ merged: name }); under.set(base()); made.refresh(); } });
  const under = filePicker({ kind: "checkpoint", value: base(), base: tuned, onchange: (name) => { setOrigin(tuned(), name); made.refresh(); } });
  const settings = await settingsForm({ values: state.get().settings, base, onchange: (values) => state.set({ settings: values }) });
  const words = () => (tuned() && base() ? [tuned(), base()] : null);
  const suggest = () => `${label(tuned()) || "lora"}-lora`;
  const made = await maker({ app, page: "extract", command: "extract", words, base, form, suggest, text: t("extract.run"), title: (name) => t("extract.job", name),
    usual: ["rank", "conv_rank", "energy", "size", "dtype"], defaults: { rank: 32, dtype: "fp16" }, onjob: report, onmade: (file) => { state.set({ extracted: file }); } });

  /* Shares by block of the last extraction; what they call for stands in the job's card. */
  function report(job) {
    if (job.state !== "done" || !job.report?.blocks?.length || drawn === job.id) return;
    drawn = job.id;
    chart.replaceChildren(section(t("extract.chart"), sharesChart(job.report.blocks)));
    onward(t("extract.made", label(modelOf(job))));
  }

  function onward(text) {
    next.replaceChildren(note(text), row(button(t("extract.to_test"), test, { kind: "small" }), button(t("extract.to_carry"), () => app.go("carry"), { kind: "small" })));
  }

  function test() {
    state.set({ base: base(), loras: [newLora(state.get().extracted)] });
    app.draft("test").set("axes", null);
    app.go("test");
  }

  const ranks = chips({ label: t("extract.ranks"), values: RANKS, on: kept.get("ranks", [8, 16, 32, 64, 128]), onchange: (on) => kept.set("ranks", on) });
  const seeds = numberInput(kept.get("seeds", 2), (count) => kept.set("seeds", count), { min: 1, step: 1 });
  const table = make("div", { "aria-live": "polite" });
  const sweep = rankSweep({ key: "extract", form, table, ondone: look, onpick: (rank, file) => { state.set({ extracted: file }); onward(t("extract.taken", rank)); } });
  const start = button(t("extract.compare_ranks"), () => {
    const missing = nothingChosen(form);
    if (missing) refuse(form, missing);
    else sweep.start({ words: words(), ranks: ranks.values(), name: suggest() });
  });

  function look(files) {
    const options = settings.values(), y = "lora = " + files.map((file) => label(file)).join(", "), x = seedAxis(+seeds.value || 1);
    original.run({ command: "grid", words: [tuned()], options: { ...options, x }, title: t("extract.look_tuned") });
    shown.run({ command: "grid", words: [base(), `${files[0]}:1`], options: { ...options, x, y }, title: t("extract.look") });
  }

  form.append(section("", field({ name: "tuned", label: t("extract.tuned"), input: from.node, wide: true }), field({ name: "base", label: t("extract.base"), input: under.node, wide: true })),
    section(t("extract.several"), note(t("extract.several_note")), ranks.node, field({ name: "seeds", label: t("making.seeds"), input: seeds }), row(start), fold(t("making.settings"), settings.node)),
    section(t("making.save"), made.save));
  got.append(made.go, next, chart, table, original.node, shown.node);
  return () => { made.close(); sweep.close(); shown.close(); original.close(); };
}
