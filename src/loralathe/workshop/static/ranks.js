/* Extractions at several ranks, one after another, found again after a reload.

   rankSweep({key, form, table, ondone([file]), onpick(rank, file)}) → {start({words, ranks, name}), close()}
       fills `table` with rank, size and what is kept; ondone when the last file is there */
import { post } from "./api.js";
import { begin, follow, isOver } from "./job.js";
import { modelOf } from "./making.js";
import { accept, button, question, refuse, section } from "./parts.js";
import { changed } from "./shares.js";
import { draft } from "./state.js";
import { showSize, t } from "./words.js";
import { fixed, make } from "./study/elements.js";

export function rankSweep({ key, form, table, ondone, onpick }) {
  const kept = draft("ranks");
  let sweep = kept.get(key), stops = [];
  const found = new Map();

  function close() { for (const stop of stops) stop(); stops = []; }

  function watch() {
    close();
    found.clear();
    for (const [rank, id] of sweep.jobs) stops.push(follow(id, (job) => { found.set(rank, job); draw(); finish(); }));
  }

  async function start({ words, ranks, name }) {
    accept(form);
    const jobs = [], requests = ranks.map((rank) => [rank, { command: "extract", words, options: { rank, output: `${name}-r${rank}`, dtype: "fp16" }, title: t("extract.job_rank", rank) }]);
    try {
      const plans = await Promise.all(requests.map(([, request]) => post("plan", request)));
      const there = plans.flatMap((plan) => plan.outputs.filter((output) => output.exists).map((output) => output.name));
      if (there.length && !await question({ title: t("making.replace"), text: there.join(", "), yes: t("making.replace_yes"), danger: true })) return;
      for (const [rank, request] of requests) {
        const options = { ...request.options, ...(there.length ? { force: true } : {}) };
        jobs.push([rank, (await begin({ ...request, options })).id]);
      }
    } catch (error) { refuse(form, error); }
    if (!jobs.length) return;
    sweep = { jobs, drawn: false };
    kept.set(key, sweep);
    watch();
  }

  function finish() {
    const jobs = sweep.jobs.map(([rank]) => found.get(rank));
    if (sweep.drawn || !jobs.every((job) => job && isOver(job) && (job.state !== "done" || job.outputs?.length))) return;
    sweep.drawn = true;
    kept.set(key, sweep);
    const files = jobs.filter((job) => job.state === "done").map(modelOf).filter(Boolean);
    if (files.length) ondone(files);
  }

  function draw() {
    const line = ([rank]) => {
      const job = found.get(rank), file = job && modelOf(job), output = job?.outputs?.find((one) => one.name === file);
      return make("tr", {}, make("th", { scope: "row", textContent: rank }), make("td", { textContent: job ? t("shell.state_" + job.state) : "" }), make("td", { textContent: keptOf(job) }),
        make("td", { textContent: output?.size ? showSize(output.size) : "" }), make("td", {}, file ? button(t("extract.take"), () => onpick(rank, file), { kind: "small", label: t("extract.take_rank", rank) }) : ""));
    };
    table.replaceChildren(section(t("extract.several"), make("table", { className: "ranks" },
      make("thead", {}, make("tr", {}, ...["rank", "state", "kept", "size"].map((name) => make("th", { scope: "col", textContent: t("extract." + name) })), make("td", {}))), make("tbody", {}, ...sweep.jobs.map(line)))));
  }

  if (sweep) watch();
  return { start, close };
}

/* The report's row of what is kept; its label is in the person's language, so that the shares of blocks count. */
function keptOf(job) {
  const blocks = changed(job?.report?.blocks ?? []);
  if (!blocks.length) return "";
  const least = blocks.reduce((low, block) => (block.kept < low.kept ? block : low));
  return t("extract.least", fixed(100 * least.kept, 1), least.name);
}
