/* The choices that travel along from page to page. They are kept in the browser.

   state.get()               {base, loras, settings, second, merged, extracted}; a copy
     base, second, merged, extracted   names of files (PLACE/path) or ""
     loras                   [{file, strength, blocks: "", te: null, unet: null, elements: ""}]
     settings                options of pictures: prompt, negative, steps, cfg, seed, …
   state.set({base: …})      changes some of them;  state.watch(handler) → a function that ends it
   state.begin(start)        what the server proposes, where nothing has been chosen yet
   draft(page)               what a page itself remembers: .get(name, default), .set(name, value)
   loraWord(lora)            "loras/hina.safetensors:0.7:te=0.5:lbw=OUTALL", as a request's word
   intoFolder(request)       the request of a study with the name of its folder: the same study finds its
                             finished pictures again, also with more values on an axis; another has its own
   modelWords()              [base, …loras] of the choices;  label(file): the name without place and ending */

const KEY = "lathe.workshop";
const EMPTY = { base: "", loras: [], settings: {}, second: "", merged: "", extracted: "" };
const watchers = new Set();

function read(key, empty) {
  try { return { ...empty, ...JSON.parse(localStorage.getItem(key) ?? "{}") }; } catch { return { ...empty }; }
}

function write(key, value) {
  try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* private mode */ }
}

let choices = read(KEY, EMPTY);

export const state = {
  get: () => structuredClone(choices),
  set(some) {
    choices = { ...choices, ...structuredClone(some) };
    write(KEY, choices);
    for (const watcher of [...watchers]) watcher(state.get());
  },
  watch(watcher) { watchers.add(watcher); return () => watchers.delete(watcher); },
  begin(start) {
    if (choices.base || choices.loras.length || !start) return;
    state.set({ base: start.checkpoint ?? "", settings: { ...start.settings },
                loras: (start.loras ?? []).map((lora) => newLora(lora.file, lora.strength)) });
  },
};

export const newLora = (file, strength = 1) => ({ file, strength, blocks: "", te: null, unet: null, elements: "" });

const drafts = new Map();

export function draft(page) {
  const key = `${KEY}.${page}`;
  if (!drafts.has(key)) drafts.set(key, read(key, {}));
  const kept = drafts.get(key);
  return {
    get: (name, otherwise = null) => kept[name] ?? otherwise,
    set(name, value) { kept[name] = value; write(key, kept); },
  };
}

export function loraWord(lora) {
  const named = [["te", lora.te], ["unet", lora.unet], ["lbw", lora.blocks], ["lbwe", lora.elements]];
  const given = named.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return [lora.file, lora.strength, ...given.map(([name, value]) => `${name}=${value}`)].join(":");
}

export const modelWords = () => [choices.base, ...choices.loras.filter((lora) => lora.file).map(loraWord)];

export const label = (file) => (file ?? "").split("/").pop().replace(/\.(safetensors|ckpt|pt|pth|bin)$/i, "");

/* FNV-1a: short, and only to tell studies apart. */
function digest(text) {
  let sum = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) sum = Math.imul(sum ^ byte, 0x01000193) >>> 0;
  return sum.toString(36);
}

export function intoFolder(request) {
  const { x = "", y = "", z = "", redo, force, title, budget, ...rest } = request.options;
  const axes = [x, y, z].map((axis) => axis.split("=")[0].trim());
  const random = !(rest.seed >= 0) && !axes.includes("seed") ? Date.now() : 0;
  const same = [request.words, Object.entries(rest).sort(([one], [other]) => (one < other ? -1 : 1)), axes, random];
  const files = request.words.filter((word) => typeof word === "string").map((word) => label(word.split(":")[0]));
  return { ...request, options: { ...request.options, output: `${request.command}/${files.join("+").slice(0, 60)}-${digest(JSON.stringify(same))}` } };
}
