/* The server's API: JSON in, JSON out, and one stream of events.

   get(path), post(path, body), put(path, body), del(path): the answer's JSON; path without /api/
   upload(path, file)             a file as multipart, field `file`
   Refusal                        what they throw: what, where, fix, field (the option's name, or null), status
   subscribe(event, handler)      hello, job, cell, log, page, library; also "lost" and "found" of the
                                  connection; gives a function that ends it
   query({a: 1, b: ""})           "?a=1": empty values are left out
   fileUrl(name)                  where /files serves PLACE/path */

export class Refusal extends Error {
  constructor({ what, where = "", fix = "", field = null }, status = 0) {
    super(what);
    Object.assign(this, { what, where, fix, field, status });
  }
}

async function ask(method, path, body, headers = {}) {
  const changing = method === "GET" ? {} : { "X-Lathe": "1" };
  let answer;
  try {
    answer = await fetch("/api/" + path, { method, body, headers: { ...changing, ...headers }, credentials: "same-origin" });
  } catch {
    throw new Refusal({ what: offline.what, fix: offline.fix });
  }
  let data = null;
  try { data = await answer.json(); } catch { /* an empty or unreadable answer */ }
  if (!answer.ok) throw new Refusal(data?.error ?? { what: `${answer.status} ${answer.statusText}` }, answer.status);
  return data;
}

/* What is said when the server does not answer; app.js sets it in the person's language. */
export const offline = { what: "no answer", fix: "" };

const json = (method) => (path, body = {}) => ask(method, path, JSON.stringify(body), { "Content-Type": "application/json" });
export const get = (path) => ask("GET", path);
export const post = json("POST");
export const put = json("PUT");
export const del = (path) => ask("DELETE", path);

export function upload(path, file) {
  const form = new FormData();
  form.append("file", file);
  return ask("POST", path, form);
}

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? "?" + new URLSearchParams(given) : "";
}

export const fileUrl = (name) => "/files/" + name.split("/").map(encodeURIComponent).join("/");

const EVENTS = ["hello", "job", "cell", "log", "page", "library"];
const handlers = new Map();
let source = null, lost = false, wait = 500;

export function subscribe(event, handler) {
  if (!handlers.has(event)) handlers.set(event, new Set());
  handlers.get(event).add(handler);
  if (!source) connect();
  return () => handlers.get(event).delete(handler);
}

function tell(event, data) {
  for (const handler of [...(handlers.get(event) ?? [])]) handler(data);
}

/* One stream for the whole page. It is opened again, a little later each time, when it breaks. */
function connect() {
  source = new EventSource("/api/events");
  for (const event of EVENTS) source.addEventListener(event, (message) => tell(event, JSON.parse(message.data)));
  source.onopen = () => { wait = 500; if (lost) { lost = false; tell("found", {}); } };
  source.onerror = () => {
    source.close();
    if (!lost) { lost = true; tell("lost", {}); }
    setTimeout(connect, wait);
    wait = Math.min(wait * 2, 8000);
  };
}
addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (event) => { if (event.persisted && source) connect(); });
