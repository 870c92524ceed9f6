// Labelling at the speed of keys. The next pairs are here before they are looked at, an answer shows the next one at once,
// and what was decided waits in an outbox, which outlives the page, until the server has it. Every step has an id, so that
// one that is sent again counts once. Model text is only ever set as text.

const AHEAD = 20; // pairs to have in hand
const LOW = 12; // pairs in hand below which more are asked for
const KEPT = 10; // answers that can be taken back
const BATCH = 50; // steps sent at once
const CALL_MS = 15_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 4_000;
const LOOK_AGAIN_MS = 10_000; // where nothing is left, others may give pairs back
const KEYS = {
  a: "left", ArrowLeft: "left", b: "right", ArrowRight: "right", t: "tie", "=": "tie", x: "both_bad", s: "skip",
};
const SAID = { left: "A is better", right: "B is better", tie: "equal", both_bad: "both bad", skip: "skipped" };

const at = (id) => document.getElementById(id);
const { labeler, objective, run, gate } = at("desk").dataset;
const OUTBOX = `charter/outbox/${labeler}`;
const DECIDED = `charter/decided/${labeler}/${objective}/${run}`;
const SHORTCUTS = "charter/shortcuts";

let active = false; // this tab labels, and no other one
let outbox = []; // steps that the server may not have yet, in order
let decided = []; // the last answers, to be taken back
let queue = []; // pairs to come; the first one is on the screen
let remaining = 0;
let given = 0;
let looked = false; // the server has been asked at least once
let trouble = ""; // why the outbox does not empty
let busy = false;
let pause = FIRST_PAUSE_MS;
let timer = 0;

// ---- what a person does

function decide(choice) {
  if (!active || !queue.length) return;
  const pair = queue.shift();
  const note = at("note").value.trim().toWellFormed();
  at("note").value = "";
  outbox.push({ kind: "label", id: newId(), comparison: pair.id, objective, choice, swapped: pair.swapped, note });
  decided.push({ pair, choice });
  decided.splice(0, decided.length - KEPT);
  count(1);
  say("");
  carryOn();
}

function takeBack() {
  if (!active) return;
  const last = decided.pop();
  if (!last) {
    say("There is no answer to take back here: the last ten can be.");
    return;
  }
  outbox.push({ kind: "undo", id: newId(), comparison: last.pair.id, objective });
  queue.unshift(last.pair);
  count(-1);
  say(`Taken back: ${SAID[last.choice]}.`);
  carryOn();
}

function carryOn() {
  keep();
  show();
  sync();
}

function count(answers) {
  remaining = Math.max(0, remaining - answers);
  given = Math.max(0, given + answers);
}

// ---- what goes to the server and comes from it: one call at a time, in order

async function sync() {
  if (busy || !active) return;
  busy = true;
  clearTimeout(timer);
  try {
    do {
      while (active && outbox.length) await send();
      if (active && queue.length < LOW) await lookAhead();
    } while (active && outbox.length);
    trouble = "";
    pause = FIRST_PAUSE_MS;
    if (!queue.length) timer = setTimeout(sync, LOOK_AGAIN_MS);
  } catch (error) {
    trouble = error.message;
    timer = setTimeout(sync, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
  }
  busy = false;
  show();
}

async function send() {
  const outcome = await post("/label/steps", { labeler, steps: outbox.slice(0, BATCH) });
  if (!active) return;
  const settled = new Set([...outcome.done, ...Object.keys(outcome.refused)]);
  outbox = outbox.filter((step) => !settled.has(step.id));
  keep();
  for (const reason of Object.values(outcome.refused)) {
    at("refused").textContent = `An answer could not be stored: ${reason}`;
    at("refused").hidden = false;
  }
  progress();
}

async function lookAhead() {
  const midnight = new Date();
  midnight.setHours(0, 0, 0, 0);
  const asked = {
    objective, run, gate: gate === "true", count: Math.min(100, queue.length + AHEAD), since: midnight.toISOString(),
  };
  const answer = await post("/label/next", asked);
  if (!active) return;
  // What is in the outbox now came after the server had counted.
  const known = new Set(queue.map((pair) => pair.id));
  [remaining, given] = [answer.remaining, answer.given];
  for (const step of outbox.filter((each) => each.objective === objective)) {
    if (step.kind === "label") known.add(step.comparison);
    count(step.kind === "label" ? 1 : -1);
  }
  queue.push(...answer.pairs.filter((pair) => !known.has(pair.id)));
  looked = true;
  show();
}

async function post(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { accept: "application/json", "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(CALL_MS),
    });
  } catch {
    throw new Error("No connection");
  }
  if (response.ok) return response.json();
  if (response.status === 401) throw new Error("You are signed out: sign in again in another tab");
  const told = await response.json().catch(() => null);
  throw new Error(told?.error?.message ?? `The server says ${response.status}`);
}

// ---- what outlives the page

function keep() {
  if (!put(OUTBOX, outbox)) {
    localStorage.removeItem(DECIDED); // the longest by far
    if (!put(OUTBOX, outbox)) say("This browser has no room to keep answers: leave the page only when all are saved.");
  }
  if (!put(DECIDED, decided)) localStorage.removeItem(DECIDED);
}

function put(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

function kept(key) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? [];
  } catch {
    return [];
  }
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// ---- what is seen

function show() {
  const pair = active ? queue[0] : undefined;
  at("pair").hidden = !pair;
  if (pair && at("pair").dataset.id !== pair.id) {
    at("prompt").replaceChildren(...pair.turns.map(([role, text]) => turn(role, text, pair.turns.length > 1)));
    at("left").replaceChildren(...pair.left.map(piece));
    at("right").replaceChildren(...pair.right.map(piece));
    if (at("desk").getBoundingClientRect().top < 0) at("desk").scrollIntoView();
  }
  at("pair").dataset.id = pair?.id ?? "";
  progress();
}

function turn(role, text, named) {
  const paragraph = document.createElement("p");
  paragraph.className = `turn ${role}`;
  if (named) {
    const name = document.createElement("span");
    name.className = "role";
    name.textContent = role;
    paragraph.append(name);
  }
  paragraph.append(text);
  return paragraph;
}

function piece([text, differs]) {
  if (!differs) return document.createTextNode(text);
  const mark = document.createElement("mark");
  mark.textContent = text;
  return mark;
}

let said = "";
function say(text) {
  said = text;
}

function progress() {
  const waiting = outbox.length === 1 ? "1 answer waits" : `${outbox.length} answers wait`;
  const saved = !looked && !outbox.length ? "" : outbox.length ? ` · ${waiting}` : " · all saved";
  at("progress").textContent = looked || outbox.length ? `${remaining} left · ${given} today${saved}` : "";
  const empty = active && !queue.length;
  let text = said;
  if (trouble) text = `${trouble}. ${outbox.length ? `${waiting} here and will be sent` : "Trying again"}.`;
  else if (empty && !looked) text = "Fetching pairs …";
  else if (empty && remaining) text = `The ${remaining} that are left are with other people now.`;
  else if (empty && !busy) text = `Nothing is left to label for ${objective}.`;
  if (at("state").textContent !== text) at("state").textContent = text;
  at("state").classList.toggle("wrong", Boolean(trouble));
  at("undo").disabled = !active || !decided.length;
}

// ---- one tab at a time

function labelHere(options) {
  if (!navigator.locks) {
    begin(); // an address without encryption, which is not this machine's: no lock can be had
    return;
  }
  const held = navigator.locks.request(`charter/label/${labeler}`, options, (lock) => {
    at("elsewhere").hidden = Boolean(lock);
    if (!lock) return undefined;
    begin();
    return new Promise(() => {}); // until the page goes, or another tab takes it
  });
  held.catch(() => {
    active = false;
    queue = [];
    at("elsewhere").hidden = false;
    show();
  });
}

function begin() {
  [outbox, decided, queue, looked, active] = [kept(OUTBOX), kept(DECIDED), [], false, true];
  show();
  sync();
}

at("here").addEventListener("click", () => labelHere({ steal: true }));
at("undo").addEventListener("click", takeBack);
for (const button of document.querySelectorAll("[data-choice]")) {
  button.addEventListener("click", () => decide(button.dataset.choice));
}
at("keys").checked = localStorage.getItem(SHORTCUTS) !== "off";
at("keys").addEventListener("change", () => localStorage.setItem(SHORTCUTS, at("keys").checked ? "on" : "off"));
addEventListener("online", () => sync());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest("textarea, input:not([type=checkbox])")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (!at("keys").checked) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (KEYS[key]) decide(KEYS[key]);
  else if (key === "u" || key === "Backspace") takeBack();
  else if (key === "n") at("note").focus();
  else return;
  event.preventDefault();
});
labelHere({ ifAvailable: true });
