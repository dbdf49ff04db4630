/* Two pictures on one another: wipe, flicker, difference.

   compare({first: {src, text}, second: {src, text}, width, height}) opens the window over the page. */
import { button, dialog, rangeInput } from "./parts.js";
import { t } from "./words.js";
import { make, memory } from "./study/elements.js";

const MODES = ["wipe", "flicker", "difference", "beside"];

export function compare({ first, second, width, height }) {
  const under = make("img", { src: first.src, alt: first.text, draggable: false }), over = make("img", { src: second.src, alt: second.text, draggable: false });
  const stage = make("div", { className: "compare-stage" }, under, over);
  stage.style.setProperty("--ratio", width / height);
  const tools = make("div", { className: "row" }), modes = make("div", { className: "chips", role: "group", "aria-label": t("compare.how") });
  let timer = 0, front = true;

  const slider = (label, props, show) => {
    const range = rangeInput({ ...props, label: t(label), onchange: show });
    show(props.value);
    return make("label", { className: "slide" }, t(label), range.node);
  };
  const kinds = {
    wipe: () => slider("compare.place", { value: 50, min: 0, max: 100, step: 1 }, (value) => stage.style.setProperty("--wipe", value + "%")),
    flicker: () => slider("compare.seconds", { value: 0.6, min: 0.1, max: 2, step: 0.1 }, (value) => {
      clearInterval(timer);
      timer = setInterval(() => { front = !front; over.style.visibility = front ? "visible" : "hidden"; }, value * 1000);
    }),
    difference: () => slider("compare.brightness", { value: 4, min: 1, max: 16, step: 1 }, (value) => stage.style.setProperty("--bright", value)),
    beside: () => null,
  };

  function choose(mode) {
    clearInterval(timer);
    over.style.visibility = "visible";
    stage.dataset.mode = mode;
    memory.set("compare", mode);
    for (const box of modes.children) box.setAttribute("aria-pressed", String(box.dataset.mode === mode));
    tools.replaceChildren(...[kinds[mode]()].filter(Boolean));
  }

  modes.append(...MODES.map((mode) => {
    const box = button(t("compare." + mode), () => choose(mode), { kind: "chip" });
    box.dataset.mode = mode;
    return box;
  }));
  stage.onpointermove = (event) => {
    if (stage.dataset.mode !== "wipe" || !(event.buttons || event.pointerType === "mouse")) return;
    const { left, width: wide } = stage.getBoundingClientRect();
    stage.style.setProperty("--wipe", `${Math.max(0, Math.min(100, 100 * (event.clientX - left) / wide))}%`);
  };
  const names = make("div", { className: "compare-names" }, make("span", { textContent: first.text }), make("span", { textContent: second.text }));
  const { box } = dialog(t("compare.title"), modes, stage, names, tools);
  box.classList.add("comparing");
  box.addEventListener("close", () => clearInterval(timer));
  choose(MODES.includes(memory.get("compare")) ? memory.get("compare") : "wipe");
}
