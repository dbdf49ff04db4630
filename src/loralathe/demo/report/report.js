"use strict";
const root = document.documentElement;
const keep = (key, value) => { try { localStorage.setItem("lathe." + key, value); } catch { /* private mode */ } };
const WORDS = {
  "en": { copy: "Copy", copied: "Copied", light: "Light", dark: "Dark" },
  "zh-TW": { copy: "複製", copied: "已複製", light: "淺色", dark: "深色" },
};
const t = (key) => WORDS[root.dataset.language][key];

function show() {
  root.lang = root.dataset.language === "zh-TW" ? "zh-Hant-TW" : "en";
  for (const button of document.querySelectorAll("[data-language]:not(html)"))
    button.setAttribute("aria-pressed", String(button.dataset.language === root.dataset.language));
  for (const link of document.querySelectorAll("a.zoom")) link.search = root.dataset.language === "zh-TW" ? "?lang=zh" : "?lang=en";
  for (const button of document.querySelectorAll("[data-copy]")) button.textContent = t("copy");
  document.getElementById("theme").textContent = t(root.dataset.theme === "dark" ? "light" : "dark");
  document.title = document.querySelector(`h1 [lang="${root.dataset.language}"]`).textContent;
}

async function copy(button) {
  const text = button.previousElementSibling.textContent;
  try { await navigator.clipboard.writeText(text); }
  catch {
    const area = document.createElement("textarea");
    area.value = text; area.style.cssText = "position:fixed;opacity:0";
    document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
  }
  button.textContent = t("copied");
  setTimeout(() => { button.textContent = t("copy"); }, 1400);
}

const light = document.getElementById("light");
document.addEventListener("click", (event) => {
  const target = event.target;
  if (target.matches("header [data-language]")) {
    const anchor = [...document.querySelectorAll("section")].find((s) => s.getBoundingClientRect().bottom > 80);
    const before = anchor ? anchor.getBoundingClientRect().top : 0;
    root.dataset.language = target.dataset.language;
    show();
    if (anchor) window.scrollBy(0, anchor.getBoundingClientRect().top - before);
  } else if (target.id === "theme") {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    keep("theme", root.dataset.theme);
    show();
  } else if (target.matches("[data-copy]")) copy(target);
  else if (target.matches(".pic img")) {
    const big = new Image(); big.src = target.src; big.alt = target.alt; big.style.filter = getComputedStyle(target).filter;
    const note = document.createElement("p"); note.textContent = target.alt;
    light.replaceChildren(big, note); light.hidden = false;
  } else if (light.contains(target)) light.hidden = true;
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") light.hidden = true; });
show();
