// Decisions by single keys: each presses the button, follows the link or goes to the field that names it.

let sent = false;

document.addEventListener("submit", (event) => {
  if (sent) event.preventDefault(); // one decision a page
  sent = true;
});
addEventListener("pageshow", () => {
  sent = false; // come back to by the browser's history
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest("textarea, input")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const key = { ArrowLeft: "a", ArrowRight: "b", "=": "t", Backspace: "u" }[event.key] ?? event.key.toLowerCase();
  const details = document.querySelector("details.guide");
  const found = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (key === "w" && details) details.open = !details.open;
  else if (found instanceof HTMLTextAreaElement) found.focus();
  else if (found) found.click();
  else return;
  event.preventDefault();
});
