// Shows what the server said of the submit form: each message at its input.

const MANY = 8; // messages at one input

/** Show messages by input name, in the boxes that are `wanted`: all, unless something else is asked for. */
export function showErrors(form, errors, wanted = () => true) {
  for (const box of [...form.querySelectorAll("[data-errors]")].filter(wanted)) {
    const name = box.dataset.errors;
    const messages = errors[name] ?? [];
    box.replaceChildren(...messages.map((text) => Object.assign(document.createElement("p"), { textContent: text })));
    box.hidden = messages.length === 0;
    if (name) box.tabIndex = messages.length > MANY ? 0 : -1; // a long list scrolls, also by keys
    const input = form.elements.namedItem(name);
    if (messages.length && input?.closest("details")) input.closest("details").open = true;
    if (messages.length) input?.setAttribute?.("aria-invalid", "true");
    else input?.removeAttribute?.("aria-invalid");
  }
}

export function focusFirstError(form) {
  const box = form.querySelector("[data-errors]:not([hidden])");
  const target = form.elements.namedItem(box?.dataset.errors || "") ?? box;
  target?.focus();
  target?.scrollIntoView({ block: "center" });
}
