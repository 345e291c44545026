// Speeds up the submit form: steps change the page in place, files can be dropped, counts and errors show while typing, three
// prompts are tried in place. The server reads and checks the same form; without this script the page has every function.

import { addCopyButtons } from "./copy.js";
import { focusFirstError, showErrors } from "./form_errors.js";
import { follow } from "./live.js";
import { checkOutput, isOutput } from "./output.js";

const PAUSE = 500; // ms after the last key before the form is checked
const LOGGED_OUT = 401;

const form = document.getElementById("submit");
const address = form.getAttribute("action"); // `form.action` is the buttons of that name
const count = document.getElementById("count");
const trial = document.getElementById("trial");

class LoggedOut extends Error {}

/** Send the form for `action`: try, submit or check. Answers what the server said; `errors` by field where it refused. */
async function send(action, signal) {
  const answer = await fetch(address, { method: "POST", body: content(action), signal, headers: { Accept: "application/json" } });
  if (answer.status === LOGGED_OUT) throw new LoggedOut();
  if (!answer.headers.get("content-type")?.startsWith("application/json")) {
    throw new Error(`The server answered ${answer.status}.`);
  }
  return answer.json();
}

function content(action) {
  const body = new FormData(form);
  body.set("action", action);
  return body;
}

// Counting and checking while somebody types

let timer, checking, stepping;
let shown = location.search; // which draft and step the page shows

function changed(event) {
  clearTimeout(timer);
  if (event.target.type === "file") return;
  forgetCheck();
  if (event.target.id === "model" || event.target.name?.startsWith("params.")) checkOutput(form);
  if (form.querySelector(".part-preview") && event.target.closest(".parts") && !isOutput(event.target)) timer = setTimeout(previewAgain, PAUSE);
  else if (!form.dataset.large) timer = setTimeout(check, PAUSE);
}

/** What a check said is not true of what was typed since: Enter checks again. */
function forgetCheck() {
  const step = form.elements.step;
  if (step.value !== "check") return;
  form.querySelector(".part-check")?.remove();
  step.value = form.elements.input_file.value ? "preview" : "";
  form.querySelector("button").textContent = "Next step: check";
}

/** The preview and the errors as of what is typed now; nothing else on the page changes. */
async function previewAgain() {
  checking?.abort();
  checking = new AbortController();
  try {
    const answer = await fetch(address, { method: "POST", body: content("preview"), signal: checking.signal, headers: { Accept: "text/html" } });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("submit");
    if (!fresh) return;
    const errors = errorsIn(fresh), preview = fresh.querySelector(".part-preview");
    const kept = (name) => fresh.querySelector(`input[name="${name}"]`).value;
    keepAddress(kept("draft"), kept("seen"), !fresh.querySelector("#apart").hidden);
    if (preview) form.querySelector(".part-preview").replaceWith(preview);
    showErrors(form, errors, isNotOutput);
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
}

const isEmpty = () => !form.elements.prompts?.value.trim() && !form.elements.input_file.value && !form.elements.like.value;

/** What is wrong with the output format is checked apart, also without a prompt. */
const isNotOutput = (box) => !isOutput(box);

async function check() {
  checking?.abort();
  if (isEmpty()) {
    count.textContent = "";
    showErrors(form, {}, isNotOutput);
    return;
  }
  checking = new AbortController();
  try {
    const { errors, summary, draft, seen, apart } = await send("check", checking.signal);
    showErrors(form, errors, isNotOutput);
    count.textContent = summary;
    if (draft) keepAddress(draft, seen, apart);
  } catch (error) {
    if (error.name !== "AbortError") count.textContent = "";
  }
}

function stopChecking() {
  clearTimeout(timer);
  checking?.abort();
}

/** The page's address names the draft, so that what was typed is there again when the page is loaded again. */
function keepAddress(draft, seen, apart) {
  form.elements.draft.value = draft;
  form.elements.seen.value = seen;
  if (apart) document.getElementById("apart").hidden = false;
  const url = new URL(location.href);
  url.searchParams.delete("like");
  url.searchParams.set("draft", draft);
  history.replaceState(history.state, "", url);
  shown = location.search;
}

form.addEventListener("input", changed);
if (!isEmpty() && !form.dataset.large && !count.textContent) check();
if (!form.querySelector("[data-errors]:not([hidden])")) checkOutput(form);

// Buttons

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.submitter ?? form.querySelector("button");
  button.disabled = true;
  await act(button.value);
  button.disabled = false;
});

async function act(action) {
  stopChecking();
  form.setAttribute("aria-busy", "true");
  try {
    if (action === "try" || action === "submit") await submit(action);
    else await takeStep(action);
  } catch (error) {
    if (error.name === "AbortError") return;
    count.textContent = "";
    if (error instanceof LoggedOut) askToLogIn();
    else showErrors(form, { "": [`Nothing was submitted: ${error.message} Try again.`] });
    focusFirstError(form);
  } finally {
    form.removeAttribute("aria-busy");
  }
}

/** The login is in a window of its own, so that all that was typed stays here. */
function askToLogIn() {
  showErrors(form, { "": ["You are logged out, so nothing was submitted. Log in; then press the button again. What you typed stays here."] });
  const link = Object.assign(document.createElement("a"), { href: location.href, target: "_blank", textContent: "Log in" });
  document.getElementById("general-errors").append(link);
}

async function submit(action) {
  const said = count.textContent;
  count.textContent = "Sending…";
  const answer = await send(action);
  count.textContent = said;
  showErrors(form, answer.errors ?? {});
  if (answer.errors) focusFirstError(form);
  else if (action === "try") await showTrial(answer.url);
  else location.assign(answer.url);
}

/** A step answers the whole page, of which this one takes over what changed; what was typed meanwhile stays. */
async function takeStep(action) {
  const body = content(action);
  count.textContent = body.get("file")?.size ? "Sending and reading the file…" : "Working…";
  stepping?.abort(); // who goes back twice sees the last of it
  stepping = new AbortController();
  const answer = await fetch(address, { method: "POST", body, signal: stepping.signal, headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("submit");
  if (!fresh) {
    if (answer.status === LOGGED_OUT) throw new LoggedOut();
    if (answer.ok) return location.assign(answer.url); // the next step was to submit
    throw new Error(page.querySelector("main")?.textContent.trim().replace(/\s+/g, " ") || `The server answered ${answer.status}.`);
  }
  const typed = new FormData(form), errors = errorsIn(fresh);
  for (const part of [".parts", ...(action === "preset" ? [".settings"] : [])]) {
    form.querySelector(part).replaceWith(fresh.querySelector(part));
  }
  for (const old of form.querySelectorAll(":scope > input[type=hidden]:not([name=token])")) {
    old.value = fresh.querySelector(`input[name="${old.name}"]`).value;
  }
  const nameOf = (page) => page.querySelector('input[name="metadata.name"]');
  nameOf(form).placeholder = nameOf(fresh).placeholder; // a job is called as its file
  keepTyped(body, typed);
  form.toggleAttribute("data-large", "large" in fresh.dataset);
  form.querySelector("button").textContent = fresh.querySelector("button").textContent;
  count.textContent = page.getElementById("count").textContent;
  if (answer.redirected) goTo(answer.url);
  showErrors(form, errors);
  addCopyButtons(form);
  const heading = document.getElementById(new URL(answer.url).hash.slice(1) || place(action));
  if (heading) heading.focus();
  else focusFirstError(form);
  if (!isEmpty() && !form.dataset.large && !count.textContent) check();
  if (!form.querySelector("[data-errors]:not([hidden])")) checkOutput(form);
}

/** Each step is a place in the browser's history, so that its Back button leads to the step before. */
function goTo(url) {
  const stepOf = (search) => new URLSearchParams(search).get("step");
  if (stepOf(new URL(url).search) === stepOf(location.search)) {
    history.replaceState(history.state, "", url);
  } else {
    keepAddress(form.elements.draft.value, form.elements.seen.value, false); // the step that is left has a draft now
    history.pushState(null, "", url);
  }
  shown = location.search;
}

addEventListener("popstate", () => {
  if (location.search === shown) return; // to another place of the same page
  shown = location.search;
  act(new URLSearchParams(shown).get("step") ?? "back");
});

/** The heading that a step leads to. Answers to redirects have lost the address's last part. */
const place = (action) => ({ preset: "template", remove: "data", back: "data", next: form.elements.step.value })[action] ?? action;

/** Put back what was typed between `sent` and `now`. */
function keepTyped(sent, now) {
  for (const name of new Set([...sent.keys(), ...now.keys()])) {
    const input = form.elements.namedItem(name), value = now.get(name); // null: a box that is not ticked
    if (!input || value === sent.get(name) || input.type === "hidden") continue;
    if (input.type === "checkbox") input.checked = value !== null;
    else if (typeof value === "string" && "value" in input) input.value = value;
  }
}

function errorsIn(page) {
  const boxes = [...page.querySelectorAll("[data-errors]:not([hidden])")];
  return Object.fromEntries(boxes.map((box) => [box.dataset.errors, [...box.querySelectorAll("p")].map((p) => p.textContent)]));
}

// Steps that need no button: a chosen file is read at once, a chosen preset fills the form in

const press = (action) => form.requestSubmit(form.querySelector(`button[value="${action}"]`));

let choseReading = false;

form.addEventListener("change", (event) => {
  if (event.target.name === "reads") choseReading = true;
  if (event.target.id === "model") suggestReading(event.target);
  if (event.target.id === "file" && event.target.files.length) press("columns");
  if (event.target.id === "preset") press("preset");
});

/** Prompts are asked where the model has chats, until somebody chose; where it has none they can only be continued. */
function suggestReading(model) {
  const canAsk = !("noChats" in model.selectedOptions[0].dataset);
  const reads = form.elements.reads;
  if (reads && (!canAsk || !choseReading)) reads.value = canAsk ? "chat" : "text";
}

// A column goes to where the cursor is; without this script, to the end

form.addEventListener("click", (event) => {
  const chip = event.target.closest("[data-insert]");
  if (!chip) return;
  event.preventDefault();
  const template = document.getElementById("template.text");
  template.setRangeText(chip.dataset.insert, template.selectionStart, template.selectionEnd, "end");
  template.focus();
  template.dispatchEvent(new Event("input", { bubbles: true }));
});

// The trial

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

const dropped = (event) => event.target.closest?.("#drop");

for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
  form.addEventListener(type, (event) => {
    const drop = dropped(event);
    if (!drop) return;
    drop.classList.toggle("over", type === "dragenter" || type === "dragover");
    if (type !== "dragleave") event.preventDefault();
    if (type !== "drop" || !event.dataTransfer.files.length) return;
    const file = document.getElementById("file");
    file.files = event.dataTransfer.files;
    file.dispatchEvent(new Event("change", { bubbles: true }));
  });
}

addCopyButtons(form);
