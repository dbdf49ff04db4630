/* The page's words in the person's language.

   t("test.run", …values)   {1}, {2} take the values; a key without a text is shown itself
   language                 "en" | "zh-TW";  setLanguage(next) keeps it in a cookie and loads the page again
   session                  as GET /api/session when the page was loaded
   studyWords               {grid, blocks}: Chinese words of saved pages, or {} in English
   retitled(title)          a job's title in the person's language, whatever language it was made in
   announce(text)           says it to screen readers
   showTime(seconds), showSize(bytes), showDate(seconds since 1970) */
import { number, speak } from "./study/elements.js";

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const all = read("words");
export const session = read("session");
export const language = /^zh/i.test(document.documentElement.lang) ? "zh-TW" : "en";
export const studyWords = language === "zh-TW" ? all.study ?? {} : {};

export function t(key, ...values) {
  const [section, name] = key.split(".");
  const text = all[language]?.[section]?.[name] ?? all.en[section]?.[name] ?? key;
  return values.reduce((done, value, i) => done.replaceAll(`{${i + 1}}`, () => value), text);
}

const TITLES = ["test.job", "blocks.job", "blocks.preview_job", "proof.job", "merge.job", "merge.job_one", "merge.before_after", "extract.job", "extract.job_rank",
  "extract.look", "extract.look_tuned", "carry.job", "carry.test", "difference.job", "difference.sweep", "recipe.job", "recipe.sweep", "programs.job", "programs.job_transfer",
  "likeness.card_job", "likeness.tune_job", "likeness.soup_job", "likeness.cure_job", "likeness.everywhere_job", "likeness.render_job", "likeness.merge_job", "likeness.save_job"];
let patterns = null;

/* Of the pages' own titles, which a job keeps as text; another stays as it is. */
export function retitled(title) {
  patterns ??= Object.keys(all).filter((one) => one !== "study" && one !== language).flatMap((one) => TITLES.map((key) => {
    const [section, name] = key.split("."), text = all[one][section][name], order = [...text.matchAll(/\{(\d)\}/g)].map((found) => +found[1]);
    return { key, order, pattern: new RegExp("^" + text.replace(/[.*+?^$()|[\]\\/]/g, "\\$&").replace(/\{\d\}/g, "(.*)") + "$") };
  }));
  for (const { key, order, pattern } of patterns) {
    const found = pattern.exec(title ?? "");
    if (found) return t(key, ...order.map((_, i) => found[1 + order.indexOf(i + 1)]));
  }
  return title;
}

export function setLanguage(next) {
  document.cookie = `lathe-language=${next}; path=/; max-age=31536000; samesite=strict`;
  location.reload();
}

export function announce(text) { document.getElementById("said").textContent = text; }

export function showTime(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return t("shell.seconds", whole);
  if (whole < 3600) return t("shell.minutes", Math.floor(whole / 60), String(whole % 60).padStart(2, "0"));
  return t("shell.hours", Math.floor(whole / 3600), String(Math.floor(whole / 60) % 60).padStart(2, "0"));
}

export function showSize(bytes) {
  const units = ["B", "KB", "MB", "GB"];
  let value = bytes ?? 0, unit = 0;
  while (value >= 1000 && unit < 3) { value /= 1000; unit += 1; }
  return `${value >= 100 || unit === 0 ? Math.round(value) : number(value, 1)} ${units[unit]}`;
}

export function showDate(seconds) {
  const date = new Date(seconds * 1000), day = { month: "short", day: "numeric" };
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(language === "zh-TW" ? "zh-Hant-TW" : "en", { ...(today ? {} : day), hour: "2-digit", minute: "2-digit" });
}

speak((key) => t("shell." + key));
