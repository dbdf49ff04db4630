/* Bars of a block study while its pictures are made, as the saved study counts them: the share of colour values
   that differ from the source of their seed by more than the threshold.

   growingBars(threshold) → {node, add(cell)}; a cell has url and labels [block, seed], "" for the source */
import { t } from "./words.js";
import { fixed, make } from "./study/elements.js";
import { effectBar, topOf } from "./study/blocks_view.js";

const STUDENT = [0, 0, 0, 4.3, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26];

/* Student's t for 95 % by the number of seeds; beyond the table Abramowitz and Stegun, 26.7.5, right to 0.003. */
const student = (n) => STUDENT[n] ?? 1.96 + 2.37 / (n - 1) + 2.82 / (n - 1) ** 2;

async function valuesOf(url) {
  const image = make("img", { src: url });
  await image.decode();
  const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight }), context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
}

function changed(one, other, threshold) {
  let count = 0;
  for (let i = 0; i < one.length; i += 1) if (i % 4 !== 3 && Math.abs(one[i] - other[i]) > threshold) count += 1;
  return 100 * count / (one.length * 0.75);
}

function summed(values) {
  const n = values.length, mean = values.reduce((sum, value) => sum + value, 0) / n;
  if (n < 3) return { mean, low: null, high: null };
  const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1) / n) * student(n);
  return { mean, low: mean - spread, high: mean + spread };
}

export function growingBars(threshold) {
  const sources = new Map(), found = new Map(), seen = new Set(), body = make("tbody");
  const node = make("section", { className: "card growing" }, make("h2", { textContent: t("blocks.growing") }), make("table", { className: "bars" }, body));

  function draw() {
    const effects = [...found].map(([name, values]) => ({ name, changed: summed(values) })), top = topOf(effects);
    body.replaceChildren(...effects.map(({ name, changed: effect }) => make("tr", {}, make("td", { textContent: name }), make("td", { className: "wide" }, effectBar(effect, top)), make("td", { textContent: `${fixed(effect.mean, 3)} %` }))));
  }

  async function add({ url, labels: [block, seed] }) {
    if (seen.has(url)) return;
    seen.add(url);
    if (!block) { sources.set(seed, valuesOf(url)); return; }
    const values = found.get(block) ?? [];
    found.set(block, values);
    try {
      values.push(changed(await valuesOf(url), await sources.get(seed), threshold));
      draw();
    } catch { seen.delete(url); }  // a picture that was replaced meanwhile is read with the next event
  }

  return { node, add };
}
