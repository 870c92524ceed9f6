// Labelling at the speed of keys, whatever is asked. The next items are here before they are looked at, an answer shows the
// next one at once, and what was decided waits in an outbox, which outlives the page, until the server has it. Every step
// has an id, so that one that is sent again counts once. Model text is only ever set as text.
//
// A form (pairs.js and its neighbours) hands itself to `open`, and calls `decide` with an answer:
//   show(item, answer)  puts an item on the screen; with the answer that was taken back, where one was
//   step(item, answer)  what the server is told of an answer
//   said(answer)        the answer in words
//   key(key, event)     does what a key means there; true where it means something
//   repeats             keys that count while they are held down

import { keep, kept, outboxOf, put } from "./kept.js";

const AHEAD = 20; // items to have in hand
const LOW = 12; // items in hand below which more are asked for
const KEPT = 10; // answers that can be taken back
const MANY = 900; // items left of which no more is said: the server counts those that are no pairs up to 1,000
const BATCH = 50; // steps sent at once
const CALL_MS = 15_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 4_000;
const LOOK_AGAIN_MS = 10_000; // where nothing is left, others may give items back
const SHORTCUTS = "charter/shortcuts";
const TOLD = 100; // letters of a prompt in the list of the last answers

export const at = (id) => document.getElementById(id);
export const { form: name, labeler, objective, run, gate } = at("desk").dataset;
const OUTBOX = outboxOf(labeler);
const DECIDED = `charter/decided/${labeler}/${name}/${objective}/${run}`;

let form; // what this desk asks
let active = false; // this tab labels, and no other one
let outbox = []; // steps that the server may not have yet, in order
let decided = []; // the last answers, to be taken back
let queue = []; // items to come; the first one is on the screen
let before; // the answer to it that was taken back
let remaining = 0;
let given = 0;
let looked = false; // the server has been asked at least once
let trouble = ""; // why the outbox does not empty
let busy = false;
let pause = FIRST_PAUSE_MS;
let timer = 0;

// ---- what a person does

/** The item on the screen; none where there is none, or another tab labels. */
export function current() {
  return active ? queue[0] : undefined;
}

/** Answer the item on the screen, and go on. */
export function decide(answer) {
  if (!active || !queue.length) return;
  const item = queue.shift();
  const note = at("note").value.trim().toWellFormed();
  at("note").value = "";
  outbox.push({ kind: name, id: newId(), item: item.id, objective, note, ...form.step(item, answer) });
  decided.push({ item, answer, note });
  decided.splice(0, decided.length - KEPT);
  before = undefined;
  count(1);
  say("");
  carryOn();
}

function takeBack() {
  if (!active) return;
  const last = decided.pop();
  if (!last) {
    say("There is no answer to take back here: the last ten can be.");
    progress();
    return;
  }
  outbox.push({ kind: "undo", id: newId(), form: name, item: last.item.id, objective });
  queue.unshift(last.item);
  before = last.answer;
  at("note").value ||= last.note;
  count(-1);
  say(`Taken back: ${form.said(last.answer)}.`);
  carryOn();
}

function carryOn() {
  keepAll();
  show();
  sync();
}

function count(answers) {
  remaining = Math.max(0, remaining - answers);
  given = Math.max(0, given + answers);
}

function keepAll() {
  if (!keep(OUTBOX, outbox, DECIDED, decided)) {
    say("This browser has no room to keep answers: leave the page only when all are saved.");
  }
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
  keepAll();
  for (const reason of Object.values(outcome.refused)) {
    at("refused").textContent = `An answer could not be stored: ${reason}`;
    at("refused").hidden = false;
  }
  progress();
}

async function lookAhead() {
  const midnight = new Date();
  midnight.setHours(0, 0, 0, 0);
  const size = Math.min(100, queue.length + AHEAD);
  const asked = { form: name, objective, run, gate: gate === "true", count: size, since: midnight.toISOString() };
  const answer = await post("/label/next", asked);
  if (!active) return;
  // What is in the outbox now came after the server had counted.
  const known = new Set(queue.map((item) => item.id));
  [remaining, given] = [answer.remaining, answer.given];
  for (const step of outbox.filter((each) => each.objective === objective && (each.form ?? each.kind) === name)) {
    if (step.kind !== "undo") known.add(step.item);
    count(step.kind === "undo" ? -1 : 1);
  }
  queue.push(...answer.items.filter((item) => !known.has(item.id)));
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
  if (response.status === 401) {
    signedOut();
    throw new Error("You are signed out: sign in again in another tab");
  }
  const told = await response.json().catch(() => null);
  throw new Error(told?.error?.message ?? `The server says ${response.status}`);
}

/** Nothing that the server would not show now stays on the screen or in the browser; answers that wait do. */
function signedOut() {
  [queue, decided, before] = [[], [], undefined];
  put(DECIDED, decided);
  show();
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// ---- what is seen

function show() {
  const item = current();
  at("item").hidden = !item;
  if (item && at("item").dataset.id !== item.id) {
    at("prompt").replaceChildren(...item.turns.map(([role, text]) => turn(role, text, item.turns.length > 1)));
    form.show(item, before);
    if (at("desk").getBoundingClientRect().top < 0) at("desk").scrollIntoView();
  }
  at("item").dataset.id = item?.id ?? "";
  recall();
  progress();
}

/** The last answers, those that can be taken back, to be read again. */
function recall() {
  at("last").hidden = !active || !decided.length;
  at("answers").replaceChildren(
    ...decided.toReversed().map(({ item, answer, note }) => {
      const [, asked] = item.turns.at(-1);
      const line = document.createElement("li");
      const told = [...asked].slice(0, TOLD).join("");
      line.textContent = `${form.said(answer)}: ${told}${told === asked ? "" : " …"}${note ? ` (${note})` : ""}`;
      return line;
    }),
  );
}

function turn(role, text, named) {
  const paragraph = document.createElement("p");
  paragraph.className = `turn ${role}`;
  if (named) {
    const who = document.createElement("span");
    who.className = "role";
    who.textContent = role;
    paragraph.append(who);
  }
  paragraph.append(text);
  return paragraph;
}

let said = "";
function say(text) {
  said = text;
}

function progress() {
  const waiting = outbox.length === 1 ? "1 answer waits" : `${outbox.length} answers wait`;
  const saved = !looked && !outbox.length ? "" : outbox.length ? ` · ${waiting}` : " · all saved";
  const left = name !== "pairs" && remaining > MANY ? `over ${MANY}` : remaining;
  at("progress").textContent = looked || outbox.length ? `${left} left · ${given} today${saved}` : "";
  const empty = active && !queue.length;
  let text = said;
  if (trouble) text = `${trouble}. ${outbox.length ? `${waiting} here and will be sent` : "Trying again"}.`;
  else if (empty && !looked) text = `Fetching ${form.items} …`;
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
  put(DECIDED, decided); // so that other tabs can tell this one that it is forgotten
  show();
  sync();
}

// ---- keys and buttons

/** Have a button do something; a mouse leaves no focus on it, on which Enter would press it again. */
export function onPress(button, work) {
  button.addEventListener("click", (event) => {
    if (event.detail) button.blur();
    work();
  });
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("textarea, input:not([type=checkbox])")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (["Enter", " "].includes(key) && event.target.closest("button, a, summary, input")) return;
  if (!at("keys").checked || (event.repeat && !form.repeats?.includes(key))) return;
  if ((current() && form.key(key, event)) || shared(key)) event.preventDefault();
}

/** What a key means at every desk; true where it means something. */
function shared(key) {
  if (key === "u" || key === "Backspace") takeBack();
  else if (key === "n") at("note").focus();
  else return false;
  return true;
}

/** Begin to ask in a form. */
export function open(given_) {
  form = given_;
  onPress(at("here"), () => labelHere({ steal: true }));
  onPress(at("undo"), takeBack);
  at("keys").checked = localStorage.getItem(SHORTCUTS) !== "off";
  at("keys").addEventListener("change", () => localStorage.setItem(SHORTCUTS, at("keys").checked ? "on" : "off"));
  addEventListener("online", () => sync());
  // Signed out in another tab: ask the server, which knows.
  addEventListener("storage", (event) => {
    if (event.key !== DECIDED || event.newValue !== null || !active) return;
    signedOut();
    sync();
  });
  document.addEventListener("keydown", pressed);
  labelHere({ ifAvailable: true });
}
