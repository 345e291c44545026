// Rates by keys: ← → ↓ for sides and ties, 1 to 5 on a scale, s to skip, u to take the last back. With several criteria a key answers the
// first that has no answer yet, and the last answer sends the form. Without this script the buttons do the same. It runs before the page is
// shown, so that no key is lost between two tasks.

const form = document.querySelector("[data-rate]");
const undo = document.querySelector("[data-undo]");
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", s: "skip" };
const open = () => [...form.querySelectorAll("fieldset")].find((set) => set.querySelector("input") && !set.querySelector(":checked"));
let sent = false;

function mark() {
  for (const set of form.querySelectorAll("fieldset")) set.classList.toggle("now", set === open());
}

function send(submit) {
  if (sent) return;
  sent = true;
  submit();
}

function answer(value) {
  const button = form.querySelector(`button[name="c0"][value="${value}"]`);
  if (button) return send(() => form.requestSubmit(button));
  const radio = open()?.querySelector(`[value="${value}"]`);
  if (radio) radio.click();
}

if (form) {
  form.addEventListener("submit", () => (sent = true));
  form.addEventListener("change", () => {
    mark();
    if (!open()) send(() => form.requestSubmit());
  });
  mark();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const value = KEYS[key] ?? (/^[1-5]$/.test(key) ? key : undefined);
  if (key === "u" && undo && !undo.querySelector("button").disabled) {
    event.preventDefault();
    send(() => undo.requestSubmit());
  } else if (form && value && form.querySelector(`[value="${value}"]`)) {
    event.preventDefault();
    answer(value);
  }
});

// A page that the browser kept is used again.
addEventListener("pageshow", (event) => event.persisted && location.reload());
