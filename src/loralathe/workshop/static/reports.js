/* The report of a search, of segments, of many bases, of a soup or of a cure, while it is made and when it is done.

   liveReport(id, kind, {use(data, job, base)}) → {node, close()}; use gives what stands in place of the commands
   usesAt(adapters, words)   LoRAs of a report, as [{file, strength, te, unet, blocks, elements}]: their files are those
                             that the job was given */
import { isOver } from "./job.js";
import { studyOf, usesOf, wordsOf } from "./live.js";
import { label } from "./state.js";
import { studyWords, t } from "./words.js";
import { make } from "./study/elements.js";
import { WORDS as TUNE_WORDS, reportView as tuneView } from "./study/tune_view.js";
import { WORDS as EVERYWHERE_WORDS, reportView as everywhereView } from "./study/everywhere_view.js";
import { WORDS as SOUP_WORDS, reportView as soupView } from "./study/soup_view.js";
import { WORDS as SEGMENT_WORDS, reportView as segmentsView } from "./study/segments_view.js";
import { WORDS as CURE_WORDS, reportView as cureView } from "./study/cure_view.js";

const VIEWS = { tune: [TUNE_WORDS, tuneView], everywhere: [EVERYWHERE_WORDS, everywhereView], soup: [SOUP_WORDS, soupView], cure: [CURE_WORDS, cureView], segments: [SEGMENT_WORDS, segmentsView] };
const OWN = { running: "likeness.running", moved: "likeness.moved" };
const NEWEST = 8;

export function liveReport(id, kind, { use = null } = {}) {
  const [english, view] = VIEWS[kind], say = wordsOf(english, studyWords[kind]), words = (key) => (OWN[key] ? t(OWN[key]) : say(key));
  const node = make("div", { className: "live-report" });
  let shown = null, data = null, job = null;
  const redraw = () => node.replaceChildren(...shown.cards());

  const stop = studyOf(id, kind, (found) => {
    data = found;
    shown?.closeLight();
    shown = view({ data, t: words, light: document.getElementById("light"), redraw, use: use && ((base) => use(data, job, base)) });
    redraw();
  }, (next) => {
    job = next;
    if (data || isOver(job) || !job.cells?.length) return;
    node.replaceChildren(make("section", { className: "card" }, make("h3", { textContent: t("likeness.newest") }),
      make("div", { className: "strip" }, ...job.cells.slice(-NEWEST).map((cell) => make("img", { src: cell.url, alt: "" })))));
  }, 4000);
  const escape = (event) => { if (event.key === "Escape") shown?.closeLight(); };
  const fit = () => shown?.fit?.();
  addEventListener("keydown", escape);
  addEventListener("resize", fit);
  return { node, close: () => { stop(); removeEventListener("keydown", escape); removeEventListener("resize", fit); shown?.closeLight(); } };
}

export function usesAt(adapters, words) {
  const files = words.map((word) => String(word).split(":")[0]);
  return usesOf({ adapters }).flatMap(({ name, ...values }) => {
    const file = files.find((one) => label(one) === label(name));
    return file ? [{ file, ...values }] : [];
  });
}
