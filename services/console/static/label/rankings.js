// In which order several replies come: their numbers, the best first, and "=" before one that is as good as the one before.

import { at, current, decide, onPress, open, run } from "./desk.js";

let placed = []; // groups of equals, the best first, each the places of its replies on the screen
let tying = false; // the next one is as good as the last one placed

const all = () => placed.flat();
const left = () => current().replies.map((_, place) => place).filter((place) => !all().includes(place));

function put(place) {
  if (place >= current().replies.length || all().includes(place)) return;
  if (tying) placed.at(-1).push(place);
  else placed.push([place]);
  tying = false;
  draw();
}

function tie() {
  if (!placed.length || !left().length) return;
  tying = !tying;
  draw();
}

function unplace() {
  if (tying) tying = false;
  else if (placed.length && placed.at(-1).pop() !== undefined && !placed.at(-1).length) placed.pop();
  draw();
}

function store() {
  const rest = left();
  if (!placed.length || rest.length > 1) return;
  if (rest.length) put(rest[0]);
  const ranks = current().replies.map((_, place) => placed.findIndex((group) => group.includes(place)) + 1);
  decide({ ranks, all_bad: false });
}

const skip = () => decide({ ranks: [], all_bad: false });
const allBad = () => decide({ ranks: [], all_bad: true });

function section({ text }, place) {
  const part = document.createElement("section");
  const title = document.createElement("h2");
  title.textContent = `Reply ${place + 1} `;
  const rank = document.createElement("span");
  rank.className = "rank";
  title.append(rank);
  const words = document.createElement("div");
  words.className = "reply";
  words.textContent = text;
  const button = document.createElement("button");
  const key = document.createElement("kbd");
  key.textContent = place + 1;
  button.append(`Place reply ${place + 1} next `, key);
  onPress(button, () => put(place));
  part.append(title, words, button);
  return part;
}

function draw() {
  [...at("replies").children].forEach((part, place) => {
    const rank = placed.findIndex((group) => group.includes(place)) + 1;
    part.querySelector(".rank").textContent = rank ? `· rank ${rank}` : "";
    part.querySelector("button").disabled = Boolean(rank);
  });
  const order = placed.map((group) => group.map((place) => place + 1).join(" = ")).join(" > ");
  at("order").textContent = order ? `Your order: ${order}${tying ? " =" : ""}` : "";
  at("store").disabled = !placed.length || left().length > 1;
  at("tie").disabled = !placed.length || !left().length;
  at("tie").setAttribute("aria-pressed", tying);
  at("unplace").disabled = !placed.length;
}

/** The groups that ranks say. */
function groups(ranks) {
  return ranks.reduce((found, rank, place) => {
    (found[rank - 1] ??= []).push(place);
    return found;
  }, []);
}

const KEYS = { "=": tie, Enter: store, x: allBad, s: skip };

onPress(at("store"), store);
onPress(at("tie"), tie);
onPress(at("unplace"), unplace);
onPress(at("all-bad"), allBad);
onPress(at("skip"), skip);
open({
  items: "replies",
  show(item, before) {
    at("replies").replaceChildren(...item.replies.map(([sample, text], place) => section({ sample, text }, place)));
    [placed, tying] = [groups(before?.ranks ?? []), false];
    draw();
  },
  step: (item, answer) => ({ samples: item.replies.map(([sample]) => sample), run, ...answer }),
  said: ({ ranks, all_bad: bad }) => (bad ? "all bad" : ranks.length ? `ranks ${ranks.join(", ")}` : "skipped"),
  key(key) {
    if (/^[1-9]$/.test(key)) put(Number(key) - 1);
    else if (key === "Backspace" && (placed.length || tying)) unplace();
    else if (KEYS[key]) KEYS[key]();
    else return false;
    return true;
  },
});
