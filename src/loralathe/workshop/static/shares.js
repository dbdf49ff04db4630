/* sharesChart(blocks): what an extraction kept of each block, as bars: kept, truncated, outside.
   blocks: [{name, kept, cut, outside, rank}], shares from 0 to 1.
   changed(blocks): those in which there was something to keep */
import { t } from "./words.js";
import { fixed, make } from "./study/elements.js";

const SVG = "http://www.w3.org/2000/svg";
const PARTS = ["kept", "cut", "outside"];
const LINE = 22, LEFT = 92, RIGHT = 64;
const NARROW = 720;  // such windows get shorter bars, so that letters stay as large

function drawn(tag, attributes, text = null) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  return node;
}

const percent = (share) => `${fixed(100 * share, share > 0.9995 || share < 0.0995 ? 1 : 0)} %`;

export const changed = (blocks) => blocks.filter((block) => block.kept > 0 || block.outside > 0);

export function sharesChart(all) {
  const blocks = changed(all), WIDE = innerWidth < NARROW ? 180 : 400;
  const svg = drawn("svg", { viewBox: `0 0 ${LEFT + WIDE + RIGHT} ${LINE * blocks.length}`, class: "shares", role: "img", "aria-label": t("extract.chart") });
  blocks.forEach((block, i) => {
    const line = drawn("g", { transform: `translate(0 ${i * LINE})` });
    line.append(drawn("title", {}, `${block.name}: ${PARTS.map((part) => `${t("extract." + part)} ${percent(block[part] ?? 0)}`).join(", ")}`));
    line.append(drawn("text", { x: LEFT - 8, y: 15, "text-anchor": "end" }, block.name));
    let x = LEFT;
    for (const part of PARTS) {
      const width = WIDE * Math.max(0, Math.min(1, block[part] ?? 0));
      line.append(drawn("rect", { x, y: 4, width, height: LINE - 8, class: part }));
      x += width;
    }
    line.append(drawn("text", { x: LEFT + WIDE + 6, y: 15 }, percent(block.kept ?? 0)));
    svg.append(line);
  });
  const legend = make("p", { className: "legend" }, ...PARTS.map((part) => make("span", { className: part, textContent: t("extract." + part) })));
  const table = make("table", {}, make("caption", { textContent: t("extract.chart") }),
    make("tr", {}, make("th", { textContent: t("extract.block") }), ...PARTS.map((part) => make("th", { textContent: t("extract." + part) }))),
    ...blocks.map((block) => make("tr", {}, make("th", { textContent: block.name }), ...PARTS.map((part) => make("td", { textContent: percent(block[part] ?? 0) })))));
  svg.setAttribute("aria-hidden", "true");
  return make("figure", { className: "chart" }, legend, svg, make("div", { className: "hidden" }, table));  // a hidden table would still be as high as its rows
}
