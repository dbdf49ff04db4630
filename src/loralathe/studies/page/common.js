"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const memory = { get: (k) => { try { return localStorage.getItem("lathe." + k); } catch { return null; } },
                 set: (k, v) => { try { localStorage.setItem("lathe." + k, v); } catch { /* private mode */ } } };
let language = memory.get("language") || (/^zh/i.test(navigator.language || "") ? "zh" : "en");
const asked = new URLSearchParams(location.search);
if (["zh", "en"].includes(asked.get("lang"))) language = asked.get("lang");
const t = (key) => (TEXT[language][key] ?? TEXT.en[key] ?? key);
const $ = (id) => document.getElementById(id);

function make(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node && key !== "style") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  memory.set("theme", theme);
  const button = $("theme");
  if (button) button.textContent = t(theme === "dark" ? "light" : "dark");
}

function setLanguage(next) {
  language = next;
  memory.set("language", next);
  document.documentElement.lang = next === "zh" ? "zh-Hant-TW" : "en";
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = t(node.dataset.text);
  $("language").textContent = next === "zh" ? "English" : "繁體中文";
  setTheme(document.documentElement.dataset.theme);
  redraw();
}

async function copyText(text, button) {
  try { await navigator.clipboard.writeText(text); }
  catch {
    const area = make("textarea", { value: text, style: "position:fixed;opacity:0" });
    document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
  }
  const before = t("copy");
  button.textContent = t("copied");
  setTimeout(() => { button.textContent = before; }, 1400);
}

function copyable(text) {
  const button = make("button", { textContent: t("copy"), onclick: () => copyText(text, button) });
  return make("div", { className: "copyable" }, make("pre", { textContent: text }), button);
}

/* A click zooms: to the picture's own size, or to the screen's where that is larger. */
function zoomable(image, width, height) {
  image.style.setProperty("--own", width + "px");
  image.style.setProperty("--ratio", width / height);
  image.onclick = () => $("light").classList.toggle("full");
  return image;
}

const number = (value, digits = 3) => (value === null || value === undefined) ? "—" : String(+value.toFixed(digits));

function start() {
  const wanted = asked.get("theme") || memory.get("theme")
    || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = wanted === "dark" ? "dark" : "light";
  $("theme").onclick = () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  $("language").onclick = () => setLanguage(language === "zh" ? "en" : "zh");
  setLanguage(language);
}
