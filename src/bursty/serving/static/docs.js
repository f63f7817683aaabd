// Copy buttons, addresses of this server in the examples, and the forms to try endpoints. Everything else works without.
"use strict";

const root = location.pathname.replace(/\/docs\/?$/, "");
const here = location.origin + root;
const HEADERS = ["Bursty-Answer", "Bursty-Items", "Bursty-Prediction", "X-Request-Id"];
const KINDS = { fresh: "good", cached: "warn", default: "warn", mixed: "warn" };

for (const code of document.querySelectorAll("pre code")) {
  code.textContent = code.textContent.replaceAll("http://localhost:8000", here);
}

for (const figure of document.querySelectorAll(".examples figure")) {
  const label = figure.querySelector("figcaption").textContent;
  const button = element("button", "copy", "Copy");
  button.type = "button";
  button.setAttribute("aria-label", `Copy ${label}`);
  button.addEventListener("click", async () => {
    let done = "Copied";
    try {
      await navigator.clipboard.writeText(figure.querySelector("code").textContent);
    } catch { // pages that came over plain HTTP from elsewhere may not
      getSelection().selectAllChildren(figure.querySelector("code"));
      done = "Selected";
    }
    button.textContent = done;
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  figure.append(button);
}

for (const form of document.querySelectorAll("form")) form.hidden = false;
document.querySelector("form.token")?.addEventListener("submit", (event) => event.preventDefault());

for (const form of document.querySelectorAll("form.try")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button[type=submit]");
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    const result = form.querySelector(".result");
    try {
      result.replaceChildren(...await answerOf(form));
    } catch (error) {
      result.replaceChildren(element("p", "bad", `No answer: ${error.message}`));
    } finally {
      button.removeAttribute("aria-busy");
    }
  });
}

async function answerOf(form) {
  let path = form.dataset.pathTemplate;
  for (const input of form.querySelectorAll("[data-path]")) {
    path = path.replace(`{${input.dataset.path}}`, encodeURIComponent(input.value));
  }
  const headers = {};
  const token = document.getElementById("token")?.value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  const body = form.querySelector("[data-body]")?.value;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const begun = performance.now();
  const response = await fetch(root + path, { method: "POST", headers, body, credentials: "omit" });
  const text = await response.text();
  const took = performance.now() - begun;
  return [verdict(response, took), answer(text)];
}

function verdict(response, took) {
  const line = element("p", "verdict");
  line.append(element("span", response.ok ? "good" : "bad", `${response.status} ${response.statusText}`));
  for (const name of HEADERS) {
    const value = response.headers.get(name);
    if (value === null || (name === "X-Request-Id" && response.headers.has("Bursty-Prediction"))) continue;
    const words = name === "Bursty-Answer" ? value : `${name.replace("Bursty-", "").toLowerCase()} ${value}`;
    line.append(element("span", name === "Bursty-Answer" ? KINDS[value] ?? "quiet" : "quiet", words));
  }
  line.append(element("span", "quiet", `${took.toFixed(took < 10 ? 1 : 0)} ms with the way there and back`));
  return line;
}

function answer(text) {
  const pre = element("pre");
  pre.tabIndex = 0;
  let shown = text;
  if (text.length < 200000) {
    try {
      shown = JSON.stringify(JSON.parse(text), null, 2);
    } catch { /* shown as it is */ }
  }
  pre.append(element("code", "", shown));
  return pre;
}

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}
