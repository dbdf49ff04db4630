/* What saved pages have in common: their data, language and theme. Scripts, not modules: they stand after elements.js
   and the view in one <script>. */

const data = JSON.parse(document.getElementById("data").textContent);
let language = memory.get("language") || (/^zh/i.test(navigator.language || "") ? "zh" : "en");
const asked = new URLSearchParams(location.search);
if (["zh", "en"].includes(asked.get("lang"))) language = asked.get("lang");
const t = (key) => (TEXT[language][key] ?? TEXT.en[key] ?? key);
const $ = (id) => document.getElementById(id);

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

function start() {
  speak(t);
  const wanted = asked.get("theme") || memory.get("theme")
    || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = wanted === "dark" ? "dark" : "light";
  $("theme").onclick = () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  $("language").onclick = () => setLanguage(language === "zh" ? "en" : "zh");
  setLanguage(language);
}
