// Adds a copy button to every `[data-copy]`. Browsers give no clipboard to plain HTTP from another machine: no button there.

export function addCopyButtons(root = document) {
  if (!navigator.clipboard) return;
  for (const code of root.querySelectorAll("[data-copy]")) {
    if (code.nextElementSibling?.classList.contains("copy") || code.previousElementSibling?.classList.contains("copy")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button quiet copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    if (code.closest("pre")) code.before(button);
    else code.after(button);
  }
}
