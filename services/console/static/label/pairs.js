// Which of two replies is better.

import { at, decide, onPress, open } from "./desk.js";

const KEYS = {
  a: "left", ArrowLeft: "left", b: "right", ArrowRight: "right", t: "tie", "=": "tie", x: "both_bad", s: "skip",
};
const SAID = { left: "A is better", right: "B is better", tie: "equal", both_bad: "both bad", skip: "skipped" };

function piece([text, differs]) {
  if (!differs) return document.createTextNode(text);
  const mark = document.createElement("mark");
  mark.textContent = text;
  return mark;
}

for (const button of document.querySelectorAll("[data-choice]")) {
  onPress(button, () => decide(button.dataset.choice));
}
open({
  items: "pairs",
  show(pair) {
    at("left").replaceChildren(...pair.left.map(piece));
    at("right").replaceChildren(...pair.right.map(piece));
  },
  step: (pair, choice) => ({ choice, swapped: pair.swapped }),
  said: (choice) => SAID[choice],
  key(key) {
    if (!KEYS[key]) return false;
    decide(KEYS[key]);
    return true;
  },
});
