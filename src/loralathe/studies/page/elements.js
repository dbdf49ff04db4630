/* Small parts that saved pages and the workshop's live pages share.
   make, facts, rounded, fixed, signed, number, points, signedPoints, interval, copyText, copyable, zoomable, lightbox, memory; speak(t) tells them the page's words. */
let say = (key) => key;
export function speak(words) { say = words; }

export const memory = {
  get: (key) => { try { return localStorage.getItem("lathe." + key); } catch { return null; } },
  set: (key, value) => { try { localStorage.setItem("lathe." + key, value); } catch { /* private mode */ } },
};

/* An element: properties, attributes, `on…` listeners, `style` as text; children that are null are left out. */
export function make(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") node.style.cssText = value;
    else if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function facts(pairs) {
  return make("dl", {}, ...pairs.flatMap(([key, value]) => [make("dt", { textContent: key }), make("dd", { textContent: value })]));
}

/* Rounded numbers: what rounds to nothing is 0, never -0. `fixed` keeps its zeros; `signed` is a difference. */
export const rounded = (value, digits) => +value.toFixed(digits) + 0;
export const fixed = (value, digits) => rounded(value, digits).toFixed(digits);
export const signed = (value, digits) => `${rounded(value, digits) > 0 ? "+" : ""}${fixed(value, digits)}`;
export const number = (value, digits = 3) => (value === null || value === undefined) ? "—" : String(rounded(value, digits));

/* A share in points of 100; with its 95 % interval, if it has one. */
export const points = (value) => fixed(100 * value, 1);
export const signedPoints = (value) => signed(100 * value, 1);
export function interval(value) {
  if (!value) return "—";
  return value.low === null ? points(value.mean) : `${points(value.mean)} (${points(value.low)} – ${points(value.high)})`;
}

export async function copyText(text, button) {
  try { await navigator.clipboard.writeText(text); }
  catch {
    const area = make("textarea", { value: text, style: "position:fixed;opacity:0" });
    document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
  }
  const before = say("copy");
  button.textContent = say("copied");
  setTimeout(() => { button.textContent = before; }, 1400);
}

export function copyable(text) {
  const button = make("button", { type: "button", textContent: say("copy"), onclick: () => copyText(text, button) });
  return make("div", { className: "copyable" }, make("pre", { textContent: text }), button);
}

/* The image fills the screen; a click zooms `box`: to the picture's own size, or to half as much again where that is larger. */
export function zoomable(image, width, height, box) {
  image.style.setProperty("--own", width + "px");
  image.style.setProperty("--ratio", width / height);
  image.onclick = () => box.classList.toggle("full");
  return image;
}

/* One picture over the whole page: open(src, caption, {width, height}, its class), close(). */
export function lightbox(light) {
  const close = () => { light.hidden = true; light.classList.remove("full"); };
  function open(src, caption, { width, height }, kind = "") {
    const image = zoomable(make("img", { src, alt: caption, className: kind }), width, height, light);
    light.hidden = false;
    light.replaceChildren(make("button", { className: "x", textContent: say("close"), onclick: close }),
      make("div", { className: "view", onclick: (event) => { if (event.target === event.currentTarget) close(); } }, image),
      make("div", { className: "caption" }, make("span", { textContent: caption })));
  }
  return { open, close };
}
