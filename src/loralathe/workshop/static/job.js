/* Jobs of the queue.

   follow(id, handler(job)) → a function that ends it. handler is called at once and after every change; the
       job has its cells and log; what was missed while the connection was lost is asked for again
   jobCard(id, {compact, form, begun, onjob(job), onagain(job)}) → {node, close()}: progress, time left, cancel, again, log,
       outputs, error, which is told beside its field of the form, too, where the job was begun here or was seen to run;
       onagain is told the new job that "again" began
   runner({page, text, request(), form, title(), onjob(job), start, plan}) → {node, button, run(request?), close()}
       the button "run" and the card of the page's last job, which it finds again after a reload. Errors go to
       `form`, beside their fields. page: the name that remembers the job; plan: a planBox shown under the button.
       request() gives a request or a Promise of one, null where a file is not chosen, false to let it be
   begin(request) → the new job, queued
   isOver(job), hasPictures(job), latest(page) → the id of the page's last job */
import { Refusal, del, fileUrl, get, post, subscribe } from "./api.js";
import { draft } from "./state.js";
import { announce, retitled, session, showDate, showSize, showTime, t } from "./words.js";
import { accept, button, fold, lateHint, nothingChosen, notes, question, refuse } from "./parts.js";
import { copyable, facts, make } from "./study/elements.js";

const jobs = new Map();
const followers = new Map();
const listeners = new Set();
let listening = false, paused = false;

export const isOver = (job) => !["waiting", "running"].includes(job.state);
/* Whether it ended while this answer was on its way: the event of its end may come first. */
const endedSince = (job) => !isOver(job) && Boolean(jobs.get(job.id)?.state) && isOver(jobs.get(job.id));
export const hasPictures = (job) => Boolean(job.page || job.cells?.length);
export const latest = (page) => draft(page).get("job");

function listen() {
  if (listening) return;
  listening = true;
  subscribe("job", (job) => merge(job, job.id));
  subscribe("cell", ({ job, ...cell }) => grow(job, "cells", cell, (one) => one.index === cell.index));
  subscribe("log", ({ job, ...line }) => grow(job, "log", line, (one) => one.time === line.time && one.text === line.text));
  subscribe("found", reload);
  subscribe("hello", reload);
}

function merge(some, id) {
  const ends = keep({ ...(jobs.get(id) ?? { cells: [], log: [] }), ...some }, true);
  if (ends && followers.get(id)?.size) load(id);  // its report and outputs
  tell(id);
}

/* Whether it ends with this. An event or an answer may bring that first: it is said once. */
function keep(job, event = false) {
  const before = jobs.get(job.id)?.state, ends = isOver(job) && (before ? !isOver({ state: before }) : event);
  jobs.set(job.id, job);
  if (ends && job.state !== "gone") announce(t("shell.said_" + job.state, retitled(job.title) || job.command));
  return ends;
}

/* Events about it may come before this answer. */
export async function begin(request) {
  listen();
  const job = await post("jobs", request);
  if (!jobs.get(job.id)?.state) keep({ cells: [], log: [], ...job });
  return job;
}

function grow(id, part, item, same) {
  const job = jobs.get(id);
  if (!job) return;
  const kept = job[part] ?? [];
  const at = kept.findIndex(same);
  if (at >= 0) kept[at] = item; else kept.push(item);
  job[part] = kept;
  tell(id);
}

function tell(id) {
  for (const handler of [...(followers.get(id) ?? [])]) handler(jobs.get(id));
  for (const listener of [...listeners]) listener();
}

/* What a page makes of a job is its own affair: only the server says that there is no such job. */
async function load(id) {
  let job;
  try { job = await get("jobs/" + encodeURIComponent(id)); } catch (error) {
    if (error.status !== 404) return;  // no connection: it is asked for again when there is one
    job = { id, state: "gone", error, cells: [], log: [] };
  }
  if (endedSince(job)) return load(id);
  keep(job);
  tell(id);
}

async function reload() {
  await Promise.all([...followers].filter(([, set]) => set.size).map(([id]) => load(id)));
  if (listeners.size) await loadAll();
}

async function loadAll() {
  const found = await get("jobs?limit=40");
  paused = found.paused;
  for (const job of found.jobs.filter((one) => !endedSince(one))) keep({ ...(jobs.get(job.id) ?? { cells: [], log: [] }), ...job });
  for (const listener of [...listeners]) listener();
}

export function follow(id, handler) {
  listen();
  if (!followers.has(id)) followers.set(id, new Set());
  followers.get(id).add(handler);
  const job = jobs.get(id);
  if (job?.report !== undefined || (job && !isOver(job))) handler(job);
  load(id);
  return () => followers.get(id)?.delete(handler);
}

function bar(job) {
  const { done = 0, total = 0, task = "", unit = "", seconds_left: left = null } = job.progress ?? {};
  const share = total ? Math.min(1, done / total) : 0;
  const fill = make("div", { className: "fill", style: `width:${100 * share}%` });
  const track = make("div", { className: "meter" + (total ? "" : " unknown"), role: "progressbar", "aria-label": task || t("shell.progress"), "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(100 * share) }, fill);
  const count = total ? (unit === "bytes" || unit === "B" ? `${showSize(done)} / ${showSize(total)}` : `${done} / ${total}${unit ? " " + unit : ""}`) : "";
  const words = [task, count, left === null ? "" : t("shell.left", showTime(left))].filter(Boolean).join(" · ");
  return make("div", { className: "progress" }, track, make("small", { textContent: words }));
}

function outputs(job) {
  const of = { page: "shell.open_page", picture: "shell.open", model: "shell.download", data: "shell.open" };
  const list = make("ul", { className: "outputs" }, ...(job.outputs ?? []).filter((output) => output.kind !== "picture" || job.outputs.length < 6).map((output) => {
    if (output.url === "") return make("li", {}, make("span", { className: "name", textContent: output.name }), make("small", { textContent: showSize(output.size) }));
    const link = make("a", { href: output.url ?? fileUrl(output.name), target: "_blank", rel: "noopener", textContent: t(of[output.kind] ?? "shell.open") });
    link.setAttribute("aria-label", `${link.textContent} ${output.name}`);
    return make("li", {}, make("span", { className: "name", textContent: output.name }), make("small", { textContent: output.size ? showSize(output.size) : "" }), link);
  }));
  return job.page ? fold(t("shell.files", list.childElementCount), list) : list;  // a study is looked at below
}

export function errorBox(error) {
  return make("div", { className: "refusal", role: "alert" }, make("b", { textContent: error.what }), error.where ? make("span", { className: "where", textContent: error.where }) : null,
    error.fix ? make("span", { className: "fix", textContent: error.fix }) : null);
}

export function jobCard(id, { compact = false, form = null, begun = false, onjob = null, onagain = null } = {}) {
  const head = make("div", { className: "job-head" }), body = make("div", { className: "job-body" });
  const lines = make("pre", { className: "log" }), log = fold(t("shell.log"), lines), command = make("div", {});
  const node = make("article", { className: "job" + (compact ? " compact" : "") }, head, body, ...(compact ? [] : [log, command]));
  const act = (path, then = null) => async () => {
    accept(node);
    try {
      const job = await post(`jobs/${encodeURIComponent(id)}/${path}`);
      then?.(job);
    } catch (error) { refuse(node, error); }
  };
  let drawn = "", live = begun;
  const stop = follow(id, (job) => {
    if (form && live && job.state === "failed") lateHint(form, job.error);
    live = !isOver(job);
    onjob?.(job);
    node.dataset.state = job.state;
    const kind = [job.state, job.outputs?.length, Boolean(job.report), job.title, job.position].join();
    if (kind !== drawn) {
      drawn = kind;
      const buttons = job.state === "gone" ? [] : isOver(job) ? (job.state === "done" ? [] : [button(t("shell.again"), act("again", onagain), { kind: "small" })]) : [button(t("shell.cancel"), act("cancel"), { kind: "small" })];
      head.replaceChildren(make("b", { className: "title", textContent: retitled(job.title) || job.command || "" }), make("span", { className: "state", textContent: t("shell.state_" + job.state) }),
        make("small", { textContent: job.created ? showDate(job.created) : "" }), make("span", { className: "spacer" }), ...buttons);
      const line = job.command_line?.[session.system];
      command.replaceChildren(...(line ? [fold(t("shell.command"), copyable(line))] : []));
    }
    body.replaceChildren(...[isOver(job) ? null : bar(job), job.error ? errorBox(job.error) : null, compact || !job.report ? null : report(job.report), compact || !isOver(job) ? null : outputs(job)].filter(Boolean));
    log.hidden = !job.log?.length;
    lines.textContent = (job.log ?? []).map((line) => line.text).join("\n");
  });
  return { node, close: stop };
}

function report({ rows = [], sentences = [] }) {
  return make("div", { className: "report-of-job" }, rows.length ? facts(rows) : null, sentences.length ? notes(sentences) : null);
}

export function runner({ page, text, request, form, title = () => "", onjob = null, start = null, plan = null }) {
  const kept = draft(page), place = make("div", { className: "job-place" });
  let card = null;
  const go = button(text, () => run(), { kind: "main" });
  const node = make("div", { className: "runner" }, make("div", { className: "row" }, go), plan?.node ?? null, place);

  function show(id, begun = false) {
    card?.close();
    card = jobCard(id, { form, begun, onjob: (job) => {
      if (job.state === "gone") { kept.set("job", null); place.replaceChildren(); return; }
      onjob?.(job);
    }, onagain: shows });
    if (kept.get("job") !== null) place.replaceChildren(card.node);
  }

  function shows(job) {
    kept.set("job", job.id);
    start?.(job);
    show(job.id, true);
  }

  async function run(given = null) {
    accept(form);
    go.disabled = true;
    try {
      const wanted = given ?? await request();
      if (wanted === false) return null;
      if (!wanted) throw new Refusal(nothingChosen(form) ?? { what: t("shell.no_model"), fix: t("shell.no_model_fix") });
      const wrong = given ? null : plan?.problem(wanted);
      if (wrong) throw wrong;
      const job = await begin({ title: title(), ...wanted });
      shows(job);
      return job;
    } catch (error) { refuse(form, error); return null; } finally { go.disabled = false; }
  }

  if (kept.get("job")) show(kept.get("job"));
  return { node, button: go, run, close: () => card?.close() };
}

/* The queue, behind its button in the header: what runs, what waits, what was. */
export function queuePanel(opener, panel) {
  listen();
  const cards = new Map();
  const list = make("div", { className: "jobs" });
  const hold = button("", async () => { await post(paused ? "queue/resume" : "queue/pause"); await loadAll(); }, { kind: "small" });
  const shut = () => { panel.hidden = true; opener.setAttribute("aria-expanded", "false"); opener.focus(); };
  panel.replaceChildren(make("div", { className: "top" }, make("h2", { textContent: t("shell.queue") }), hold, button(t("shell.close"), shut, { kind: "small" })), list);
  panel.setAttribute("aria-label", t("shell.queue"));
  panel.onkeydown = (event) => { if (event.key === "Escape") shut(); };
  opener.onclick = () => {
    panel.hidden = !panel.hidden;
    opener.setAttribute("aria-expanded", String(!panel.hidden));
    draw();
    if (!panel.hidden) hold.focus();
  };

  function ordered() {
    const all = [...jobs.values()].filter((job) => job.state !== "gone" && job.created);
    const waiting = all.filter((job) => !isOver(job)).sort((a, b) => (a.state === "running" ? -1 : b.state === "running" ? 1 : (a.position ?? 0) - (b.position ?? 0)));
    return [waiting, all.filter(isOver).sort((a, b) => b.created - a.created).slice(0, 20)];
  }

  function entry(job, waiting) {
    const shown = cards.get(job.id) ?? jobCard(job.id, { compact: true });
    cards.set(job.id, shown);
    const at = waiting.indexOf(job);
    const move = (before) => async () => { await post(`jobs/${encodeURIComponent(job.id)}/move`, { before }); await loadAll(); };
    const remove = async () => {
      if (!await question({ title: t("shell.delete_job"), text: retitled(job.title) || job.command, yes: t("shell.delete"), danger: true })) return;
      await del("jobs/" + encodeURIComponent(job.id));
      jobs.delete(job.id);
      draw();
    };
    const tools = job.state === "waiting" ? [at > 1 || waiting[0].state === "waiting" && at > 0 ? button("↑", move(waiting[at - 1].id), { kind: "small", label: t("shell.sooner") }) : null,
      at < waiting.length - 1 ? button("↓", move(waiting[at + 2]?.id ?? null), { kind: "small", label: t("shell.later") }) : null] : isOver(job) ? [button("×", remove, { kind: "small", label: t("shell.delete_job") })] : [];
    return make("div", { className: "entry" }, shown.node, make("div", { className: "side" }, ...tools));
  }

  function draw() {
    const [waiting, over] = ordered();
    const first = waiting[0];
    const progress = first?.progress?.total ? ` ${Math.floor(100 * first.progress.done / first.progress.total)} %` : "";
    opener.textContent = paused ? t("shell.paused") : waiting.length ? `${t("shell.running")}${progress}${waiting.length > 1 ? " +" + (waiting.length - 1) : ""}` : t("shell.queue");
    opener.classList.toggle("busy", waiting.length > 0 && !paused);
    hold.textContent = t(paused ? "shell.resume" : "shell.pause");
    if (panel.hidden) { for (const card of cards.values()) card.close(); cards.clear(); list.replaceChildren(); return; }
    const order = [...waiting, ...over].map((job) => [job.id, job.state]).join();
    if (list.dataset.order === order && list.childElementCount) return;
    list.dataset.order = order;
    const part = (key, some) => (some.length ? [make("h3", { textContent: t(key) }), ...some.map((job) => entry(job, waiting))] : []);
    list.replaceChildren(...part("shell.now", waiting), ...part("shell.before", over));
    if (!list.childElementCount) list.append(make("p", { className: "note", textContent: t("shell.no_jobs") }));
  }

  listeners.add(draw);
  loadAll().catch(() => draw());
}

