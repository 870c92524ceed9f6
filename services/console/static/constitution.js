// A constitution's text, checked by the server as one types; each mistake leads to its place.

const WAIT_MS = 250;
const at = (id) => document.getElementById(id);
let timer = 0;
let latest = 0;

async function check() {
  const number = ++latest;
  let found;
  try {
    const response = await fetch("/constitution/check", {
      method: "POST",
      headers: { accept: "application/json", "content-type": "text/plain" },
      body: at("text").value,
    });
    found = await response.json();
    if (!response.ok) throw new Error(found.error.message);
  } catch (error) {
    at("verdict").textContent = `Not checked: ${error.message}`;
    return;
  }
  if (number !== latest) return; // the text has changed since
  const errors = found.problems.filter(([, , code]) => code.startsWith("C")).length;
  const told = [`${errors} ${errors === 1 ? "mistake" : "mistakes"}`, `${found.problems.length - errors} doubts`];
  at("verdict").textContent = `${told.join(", ")}. ${found.summary}`;
  at("verdict").className = errors ? "wrong" : "";
  at("problems").replaceChildren(...found.problems.map(problem));
}

function problem([line, column, code, message, hint]) {
  const item = document.createElement("li");
  const place = document.createElement("button");
  place.type = "button"; // it does not send the form that it stands in
  place.textContent = `${line}:${column}`;
  place.addEventListener("click", () => goTo(line, column));
  item.append(place, ` ${code} ${message}`);
  if (hint) {
    const help = document.createElement("span");
    help.className = "soft";
    help.textContent = ` ${hint}`;
    item.append(help);
  }
  return item;
}

function goTo(line, column) {
  const lines = at("text").value.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0) + Math.max(0, column - 1);
  at("text").focus();
  at("text").setSelectionRange(start, start + 1);
  const height = parseFloat(getComputedStyle(at("text")).lineHeight);
  at("text").scrollTop = Math.max(0, (line - 5) * height);
}

at("text").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(check, WAIT_MS);
});
check();
