// How good one reply is, by a number.

import { at, decide, onPress, open, run } from "./desk.js";

const buttons = [...document.querySelectorAll("[data-rating]")];
const numbers = new Map(buttons.map((button) => [button.dataset.rating || "s", Number(button.dataset.rating) || null]));

for (const button of buttons) onPress(button, () => decide({ rating: numbers.get(button.dataset.rating || "s") }));
open({
  items: "replies",
  show(item, before) {
    at("reply").textContent = item.text;
    for (const button of buttons) {
      button.classList.toggle("before", Boolean(before?.rating) && Number(button.dataset.rating) === before.rating);
    }
  },
  step: (item, { rating }) => ({ rating, run }),
  said: ({ rating }) => (rating === null ? "skipped" : `rated ${rating}`),
  key(key) {
    if (!numbers.has(key)) return false;
    decide({ rating: numbers.get(key) });
    return true;
  },
});
