// Which words of a reply break which principle. A cursor goes from word to word; with Shift it takes words along.

import { at, current, decide, onPress, open, run } from "./desk.js";

const principles = [...document.querySelectorAll("[data-principle]")].map((button) => button.dataset.principle);
const titles = [...document.querySelectorAll("[data-principle] b")].map((title) => title.textContent);

let here = 0; // the word under the cursor
let from = 0; // the other end of what is selected
let marks = []; // { first, last, principle }: places of words, and of the principle
let dragging = false;

const range = () => [Math.min(here, from), Math.max(here, from)];
const spoken = ([first, last]) => current().words.slice(first, last + 1).map(([text]) => text).join("").trim();

function move(to, extend) {
  here = Math.max(0, Math.min(current().words.length - 1, to));
  if (!extend) from = here;
  draw();
}

/** The word of the next or the last line that stands nearest below or above. */
function line(down) {
  const words = [...at("words").children];
  const own = words[here].getBoundingClientRect();
  const beyond = words
    .map((word, place) => ({ place, box: word.getBoundingClientRect() }))
    .filter(({ box }) => (down ? box.top >= own.bottom - 2 : box.bottom <= own.top + 2));
  const lines = beyond.map(({ box }) => box.top);
  const next = down ? Math.min(...lines) : Math.max(...lines);
  const best = beyond
    .filter(({ box }) => Math.abs(box.top - next) < 4)
    .sort((a, b) => Math.abs(a.box.left - own.left) - Math.abs(b.box.left - own.left))[0];
  return best?.place ?? (down ? words.length - 1 : 0);
}

function mark(principle) {
  if (principle >= principles.length || !current().words.length) return;
  const [first, last] = range();
  const same = (each) => each.first === first && each.last === last && each.principle === principle;
  if (!marks.some(same)) marks.push({ first, last, principle });
  marks.sort((a, b) => a.first - b.first || a.last - b.last || a.principle - b.principle);
  draw();
}

function unmark() {
  const [first, last] = range();
  marks = marks.filter((each) => each.last < first || each.first > last);
  draw();
}

function whole() {
  [from, here] = [0, Math.max(0, current().words.length - 1)];
  draw();
}

function store() {
  const { words } = current();
  const spans = marks.map(({ first, last, principle }) => ({
    start: words[first][1], end: words[last][2], principle: principles[principle],
  }));
  decide({ spans });
}

const skip = () => decide({ spans: null });

function draw() {
  const [first, last] = range();
  [...at("words").children].forEach((word, place) => {
    const over = marks.filter((each) => each.first <= place && place <= each.last);
    const ending = over.filter((each) => each.last === place).map((each) => each.principle + 1);
    word.classList.toggle("selected", first <= place && place <= last);
    word.classList.toggle("cursor", place === here);
    word.classList.toggle("marked", over.length > 0);
    word.dataset.ends = ending.join(" ");
  });
  at("words").children[here]?.scrollIntoView({ block: "nearest" });
  at("picked").textContent = current().words.length ? `Selected: “${spoken([first, last])}”` : "The reply is empty.";
  at("marks").replaceChildren(...marks.map(listed));
}

function listed(each) {
  const entry = document.createElement("li");
  const button = document.createElement("button");
  button.textContent = "Remove";
  button.setAttribute("aria-label", `Remove the mark on ${spoken([each.first, each.last])}`);
  onPress(button, () => {
    marks = marks.filter((other) => other !== each);
    draw();
  });
  entry.append(`${each.principle + 1} ${titles[each.principle]}: “${spoken([each.first, each.last])}” `, button);
  return entry;
}

/** The marks that spans say. */
function markOf({ start, end, principle }) {
  const { words } = current();
  const first = words.findIndex((word) => word[1] === start);
  return { first, last: words.findIndex((word) => word[2] === end), principle: principles.indexOf(principle) };
}

function dragged(event, begins) {
  const place = [...at("words").children].indexOf(event.target);
  if (place >= 0) move(place, !begins || event.shiftKey);
}

const MOVES = {
  ArrowRight: () => here + 1, ArrowLeft: () => here - 1, ArrowDown: () => line(true), ArrowUp: () => line(false),
  Home: () => 0, End: () => current().words.length - 1,
};
const KEYS = { Enter: store, d: unmark, Delete: unmark, w: whole, s: skip };

at("words").addEventListener("pointerdown", (event) => {
  dragging = true;
  event.target.releasePointerCapture?.(event.pointerId); // a finger would hold on to its first word
  dragged(event, true);
});
at("words").addEventListener("pointerover", (event) => dragging && dragged(event, false));
addEventListener("pointerup", () => (dragging = false));
[...document.querySelectorAll("[data-principle]")].forEach((button, place) => onPress(button, () => mark(place)));
onPress(at("store"), store);
onPress(at("whole"), whole);
onPress(at("unmark"), unmark);
onPress(at("skip"), skip);
open({
  items: "replies",
  repeats: Object.keys(MOVES),
  show(item, before) {
    const words = item.words.map(([text]) => {
      const word = document.createElement("span");
      word.textContent = text;
      return word;
    });
    at("words").replaceChildren(...words);
    [here, from, marks] = [0, 0, (before?.spans ?? []).map(markOf)];
    draw();
  },
  step: (item, { spans }) => ({ spans, run }),
  said: ({ spans }) => (spans === null ? "skipped" : spans.length ? `${spans.length} marked` : "no fault"),
  key(key, event) {
    if (MOVES[key]) move(MOVES[key](), event.shiftKey);
    else if (/^[1-9]$/.test(key)) mark(Number(key) - 1);
    else if (KEYS[key]) KEYS[key]();
    else return false;
    return true;
  },
});
