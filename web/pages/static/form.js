// Speeds up the submit form: files can be dropped, counts and errors show while typing, three prompts are tried in place.
// The server reads and checks the same form; without this script the page has every function.

import { follow } from "./live.js";

const PAUSE = 500; // ms after the last key before the form is checked
const LARGE = 4 * 2 ** 20; // bytes; larger files are checked once when chosen, not at every change of a setting

const form = document.getElementById("submit");
const address = form.getAttribute("action"); // `form.action` is the buttons of that name
const file = document.getElementById("file");
const count = document.getElementById("count");
const trial = document.getElementById("trial");

/** Send the form for `action`: try, submit or check. Answers what the server said; `errors` by field where it refused. */
async function send(action, signal) {
  const body = new FormData(form);
  body.set("action", action);
  const answer = await fetch(address, { method: "POST", body, signal, headers: { Accept: "application/json" } });
  if (!answer.headers.get("content-type")?.startsWith("application/json")) {
    throw new Error(`The server answered ${answer.status}.`);
  }
  return answer.json();
}

function showErrors(errors) {
  for (const box of form.querySelectorAll("[data-errors]")) {
    const name = box.dataset.errors;
    const messages = errors[name] ?? [];
    box.replaceChildren(...messages.map((text) => Object.assign(document.createElement("p"), { textContent: text })));
    box.hidden = messages.length === 0;
    const input = form.elements.namedItem(name);
    if (messages.length && input?.closest("details")) input.closest("details").open = true;
    if (messages.length) input?.setAttribute?.("aria-invalid", "true");
    else input?.removeAttribute?.("aria-invalid");
  }
}

function focusFirstError() {
  const box = form.querySelector("[data-errors]:not([hidden])");
  const target = form.elements.namedItem(box?.dataset.errors || "") ?? box;
  target?.focus();
  target?.scrollIntoView({ block: "center" });
}

// Counting and checking while somebody types

let timer, checking;

function checkSoon(event) {
  clearTimeout(timer);
  if (file.files[0]?.size > LARGE && event.target !== file) return;
  timer = setTimeout(check, PAUSE);
}

async function check() {
  checking?.abort();
  if (!form.elements.prompts.value.trim() && !file.files.length) {
    count.textContent = "";
    showErrors({});
    return;
  }
  checking = new AbortController();
  try {
    const { errors, summary } = await send("check", checking.signal);
    showErrors(errors);
    count.textContent = summary;
  } catch (error) {
    if (error.name !== "AbortError") count.textContent = "";
  }
}

form.addEventListener("input", checkSoon);

// Sending

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.submitter ?? form.querySelector(".primary");
  clearTimeout(timer);
  checking?.abort();
  button.disabled = true;
  try {
    const answer = await send(button.value);
    showErrors(answer.errors ?? {});
    if (answer.errors) focusFirstError();
    else if (button.value === "try") await showTrial(answer.url);
    else location.assign(answer.url);
  } catch (error) {
    showErrors({ "": [`Nothing was submitted: ${error.message} Try again.`] });
    focusFirstError();
  } finally {
    button.disabled = false;
  }
});

/** The trial's job, filling in below the form. The next try is another job, even of the same prompts. */
async function showTrial(url) {
  const answer = await fetch(`${url}/trial`, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
  trial.innerHTML = await answer.text(); // made and escaped by the server's template
  trial.hidden = false;
  follow(document.getElementById("live"));
  trial.scrollIntoView({ block: "nearest" });
  renewToken();
}

function renewToken() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  form.elements.token.value = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

addEventListener("pageshow", (event) => {
  if (event.persisted) renewToken(); // back from the job's page: sending again is meant
});

// Dropping a file anywhere on its box

const drop = document.getElementById("drop");

for (const type of ["dragenter", "dragover"]) {
  drop.addEventListener(type, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const type of ["dragleave", "drop"]) drop.addEventListener(type, () => drop.classList.remove("over"));

drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (!event.dataTransfer.files.length) return;
  file.files = event.dataTransfer.files;
  file.dispatchEvent(new Event("input", { bubbles: true }));
});
