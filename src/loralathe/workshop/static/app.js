/* The shell around the pages: nav, routing by #name, language, theme, queue, events.

   PAGES   the pages that there are, in the article's order: name → its module. A new page is a line here
           and `shell.page_NAME` in both catalogues of words. Those of NUMBERED are steps 1, 2, …
   A page's module: export function open(root, app) → a function that cleans up, or nothing; or a Promise of it.
   app     {session, t, api, state, draft, go(name), announce(text)} */
import * as api from "./api.js";
import { errorBox, queuePanel } from "./job.js";
import { state, draft } from "./state.js";
import { announce, language, session, setLanguage, t } from "./words.js";
import { make, memory } from "./study/elements.js";

const PAGES = {
  test: () => import("./pages/test.js"),
  blocks: () => import("./pages/blocks.js"),
  merge: () => import("./pages/merge.js"),
  extract: () => import("./pages/extract.js"),
  carry: () => import("./pages/carry.js"),
  difference: () => import("./pages/difference.js"),
  proof: () => import("./pages/proof.js"),
  recipe: () => import("./pages/recipe.js"),
  likeness: () => import("./pages/likeness.js"),
  programs: () => import("./pages/programs.js"),
  history: () => import("./pages/history.js"),
  library: () => import("./pages/library.js"),
};
const NUMBERED = ["test", "blocks", "merge", "extract", "carry", "difference", "proof", "recipe"];

const $ = (id) => document.getElementById(id);
const app = { session, t, api, state, draft, go, announce };
let close = null;

export function go(name) {
  if (location.hash === "#" + name) route();
  else location.hash = name;
}

async function route() {
  const asked = location.hash.slice(1).split("/")[0];
  const name = PAGES[asked] ? asked : Object.keys(PAGES)[0];
  if (!name) return;
  close?.();
  close = null;
  closeMenu();
  document.title = `${t("shell.page_" + name)} · loralathe`;
  for (const link of $("nav").children) link.setAttribute("aria-current", link.dataset.page === name ? "page" : "false");
  const root = make("div", { className: "page-" + name });
  const waiting = make("p", { className: "waiting", role: "status", textContent: t("shell.loading") });
  $("page").replaceChildren(root, waiting);
  try {
    const page = await PAGES[name]();
    if (!root.isConnected) return;
    const done = await page.open(root, app);
    if (root.isConnected) close = done ?? null;
    else done?.();
  } catch (error) {
    root.prepend(errorBox(error.what ? error : { what: t("shell.broken", String(error.message ?? error)) }));
    if (!error.what) throw error;
  } finally { waiting.remove(); }
  scrollTo(0, 0);
}

function drawNav() {
  $("nav").setAttribute("aria-label", t("shell.pages"));
  $("nav").replaceChildren(...Object.keys(PAGES).map((name) => {
    const step = NUMBERED.indexOf(name) + 1;
    const link = make("a", { href: "#" + name, className: step ? "" : "beside" }, step ? make("span", { className: "step", textContent: step }) : null, t("shell.page_" + name));
    link.dataset.page = name;
    return link;
  }));
}

function closeMenu() { $("menu").setAttribute("aria-expanded", "false"); document.body.classList.remove("menu-open"); }

function drawTools() {
  $("skip").textContent = t("shell.skip");
  $("skip").onclick = (event) => { event.preventDefault(); $("page").focus(); };
  $("menu").textContent = t("shell.menu");
  $("menu").onclick = () => {
    const open = document.body.classList.toggle("menu-open");
    $("menu").setAttribute("aria-expanded", String(open));
  };
  $("language").textContent = language === "zh-TW" ? "English" : "繁體中文";
  $("language").lang = language === "zh-TW" ? "en" : "zh-Hant-TW";
  $("language").onclick = () => setLanguage(language === "zh-TW" ? "en" : "zh-TW");
  const theme = () => document.documentElement.dataset.theme;
  const show = () => { $("theme").textContent = t(theme() === "dark" ? "shell.light" : "shell.dark"); };
  $("theme").onclick = () => {
    document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
    memory.set("theme", theme());
    show();
  };
  show();
}

function banner(text, button = null) {
  $("banner").hidden = !text;
  $("banner").replaceChildren(...(text ? [text, ...(button ? [button] : [])] : []));
}

function watchConnection() {
  api.subscribe("lost", () => banner(t("shell.lost")));
  api.subscribe("found", () => banner(""));
  api.subscribe("hello", ({ version }) => {
    if (version === session.version) return;
    banner(t("shell.upgraded"), make("button", { type: "button", textContent: t("shell.reload"), onclick: () => location.reload() }));
  });
}

/* The program around the frame hands settings over: only what forms hold, and only from whom the server named. */
function watchFrame() {
  addEventListener("message", ({ origin, data }) => {
    if (!session.frames.includes(origin) || data?.kind !== "lathe settings") return;
    state.set({ settings: { ...state.get().settings, ...data.settings } });
    go("test");
  });
}

Object.assign(api.offline, { what: t("shell.no_answer"), fix: t("shell.no_answer_fix") });
state.begin(session.start);
drawTools();
drawNav();
queuePanel($("queue"), $("queue-panel"));
watchConnection();
watchFrame();
addEventListener("hashchange", route);
route();
