// Checks what a text must be while somebody types it: the server builds the grammar, and says which keyword is to blame.

import { showErrors } from "./form_errors.js";

const PAUSE = 400; // ms after the last key

let timer, checking;

/** Whether an element belongs to the output format. */
export const isOutput = (element) => Boolean(element.closest(".output"));

/** Check the output format of the form after a pause. */
export function checkOutput(form) {
  clearTimeout(timer);
  checking?.abort();
  tell("");
  timer = setTimeout(() => check(form), PAUSE);
}

async function check(form) {
  if (!isTyped(form)) return showErrors(form, {}, isOutput);
  checking = new AbortController();
  const body = new FormData();
  for (const [name, value] of new FormData(form)) {
    if (name === "model" || name.startsWith("params.")) body.set(name, value);
  }
  try {
    const answer = await fetch(form.dataset.checkOutput, { method: "POST", body, signal: checking.signal, headers: { Accept: "application/json" } });
    if (!answer.ok) return; // a submit says what is wrong
    const { errors } = await answer.json();
    showErrors(form, errors, isOutput);
    if (!Object.keys(errors).length) tell("Checked: texts can be held to this.");
  } catch (error) {
    if (error.name !== "AbortError" && !(error instanceof TypeError)) throw error; // TypeError: the server is away
  }
}

/** Whether there is something to check. What has not been typed yet is not wrong. */
function isTyped(form) {
  const kind = form.elements["params.output.kind"].value;
  const text = form.elements[`params.output.${kind}`];
  return Boolean(form.elements["params.thinking.max_tokens"]?.value || (kind && (!text || text.value.trim())));
}

function tell(text) {
  const said = document.getElementById("output-said");
  if (said.textContent !== text) said.textContent = text;
}
